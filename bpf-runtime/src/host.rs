//! What the verifier is told of the world, answered from what is loaded.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::exec::{Engine, HelperFn};
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_btf::Btf;
use bpf_verifier::host::{Host, MapFacts};

use crate::helpers;
use crate::objects::map::MapObject;
use crate::objects::program::owner_of;
use crate::runtime::Shared;

/// The world, as one program about to be loaded finds it.
#[derive(Debug)]
pub(crate) struct LoadHost<'a> {
    shared: &'a Shared,
    prog_type: ProgType,
    engine: Engine,
    maps: &'a [Arc<MapObject>],
    facts: Vec<Arc<MapFacts>>,
}

impl<'a> LoadHost<'a> {
    /// The world of a program of this type that names these maps by their places.
    pub(crate) fn new(shared: &'a Shared, spec: &ProgramSpec, maps: &'a [Arc<MapObject>]) -> Self {
        let facts = maps.iter().map(|map| Arc::new(map.facts())).collect();
        Self { shared, prog_type: spec.prog_type, engine: shared.engines.engine(), maps, facts }
    }

    /// The map that facts of ours are about.
    fn object(&self, facts: &MapFacts) -> Option<&Arc<MapObject>> {
        self.maps.iter().find(|map| map.id.0 == facts.id)
    }
}

impl Host for LoadHost<'_> {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.facts.get(index).cloned().ok_or(Errno::EBADF)
    }

    fn constant(&self, map: &MapFacts, off: u32, size: u32) -> Option<u64> {
        self.object(map)?.constant(off, size)
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        self.object(map).expect("the verifier binds maps that this host gave it").bound()
    }

    fn helper_code(&self, proto: &'static HelperProto) -> Option<HelperFn> {
        let helper = helpers::find(proto.id)?;
        helper.works_for(self.prog_type).then_some(helper.entry)
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        self.shared.kernel_types()
    }

    fn check_map_owner(&self, map: &MapFacts, program: &ProgramSpec) -> Result<(), Errno> {
        let Some(array) = self.object(map).and_then(|object| object.map().as_prog_array()) else {
            return Ok(());
        };
        array.bind(&owner_of(program, self.engine)).map_err(|error| error.errno())
    }
}
