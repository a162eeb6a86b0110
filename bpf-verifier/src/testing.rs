//! What tests of several rooms share: a world with nothing in it, and programs from text.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::map::{MapFlags, MapLayout, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_btf::{Btf, TypeId};
use bpf_isa::Slot;
use bpf_isa::asm::assemble;

use crate::host::{Host, MapFacts};
use crate::options::{LogOptions, Options};

/// A world with a few maps, numbered from 0, and a helper for everything.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) maps: Vec<Arc<MapFacts>>,
}

extern "C" fn zero(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

impl Host for World {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        let map = usize::try_from(fd).ok().and_then(|fd| self.maps.get(fd));
        map.map(Arc::clone).ok_or(Errno::EBADF)
    }

    fn constant(&self, _: &MapFacts, _: u32, _: u32) -> Option<u64> {
        None
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        BoundMap {
            name: map.name.clone(),
            map_type: map.map_type,
            handle: 0x1000 + u64::from(map.id),
            layout: MapLayout::Opaque,
            value: None,
            key_size: map.key_size,
            value_size: map.value_size,
            keep: Arc::new(()),
        }
    }

    fn helper_code(&self, _: &'static HelperProto) -> Option<HelperFn> {
        Some(zero)
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        None
    }

    fn check_map_owner(&self, _: &MapFacts, _: &ProgramSpec) -> Result<(), Errno> {
        Ok(())
    }
}

/// A map with keys and values of four bytes.
pub(crate) fn map(id: u32, name: &str, map_type: MapType, max_entries: u32) -> Arc<MapFacts> {
    Arc::new(MapFacts {
        id,
        name: name.to_owned(),
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries,
        flags: MapFlags::empty(),
        map_extra: 0,
        frozen: false,
        btf: None,
        btf_key_type_id: TypeId(0),
        btf_value_type_id: TypeId(0),
        inner: None,
        host: None,
    })
}

/// A program from text.
pub(crate) fn program(prog_type: ProgType, text: &str) -> ProgramSpec {
    let program = assemble(text).expect("the test's text is a program");
    ProgramSpec::new("test", prog_type, program.to_slots())
}

/// A program from slots.
pub(crate) fn slots(prog_type: ProgType, slots: &[Slot]) -> ProgramSpec {
    ProgramSpec::new("test", prog_type, slots.to_vec())
}

/// Everything is logged.
pub(crate) fn everything() -> Options {
    Options { log: LogOptions { level: 6, size: None }, ..Options::default() }
}
