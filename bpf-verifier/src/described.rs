//! A world that is only described: maps and types, without anything being made.
//!
//! It is what a verifier in a build needs: an object's descriptions in, a verdict out. Programs
//! cannot be run from it, since its maps have no place in memory and its helpers no code.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::exec::HelperFn;
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::map::{MapFlags, MapInitValue, MapLayout, MapSpec, MapType};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::{ProgramSpec, ReferenceTo};
use bpf_btf::relo::{essential_name, types_compatible};
use bpf_btf::{Btf, KindCode, TypeId};

use crate::host::{Host, MapFacts, ProgramFacts};

/// The source register of a 64-bit immediate that is a kernel variable.
/// Linux: `BPF_PSEUDO_BTF_ID`.
const PSEUDO_BTF_ID: u8 = 3;

/// What a call of an unknown kernel function calls instead, beginning with the first that an object
/// takes from outside; no helper has such a number. Linux: libbpf's `POISON_CALL_KFUNC_BASE`.
const UNKNOWN_KFUNC: i32 = 2_002_000_000;

/// A world of descriptions.
#[derive(Clone, Debug, Default)]
pub struct DescribedWorld {
    maps: Vec<DescribedMap>,
    programs: Vec<Arc<ProgramFacts>>,
    kernel_btf: Option<Arc<Btf>>,
    first_fd: i32,
}

/// A map of a described world.
#[derive(Clone, Debug)]
struct DescribedMap {
    facts: Arc<MapFacts>,
    /// The bytes of its only value, if no one can change them any more.
    constant: Option<Vec<u8>>,
    /// What a program array's programs must be.
    owner: Option<(ProgType, Option<AttachType>)>,
}

impl DescribedWorld {
    /// A world without maps. `kernel_btf` are the kernel's types, where they are known.
    pub const fn new(kernel_btf: Option<Arc<Btf>>) -> Self {
        Self { maps: Vec::new(), programs: Vec::new(), kernel_btf, first_fd: 0 }
    }

    /// Numbers its maps from `fd` on, where programs name them by numbers of their own choice.
    /// Without it a map's number is its place, as in a [`ProgramSpec`] of an object.
    #[must_use]
    pub const fn first_fd(mut self, fd: i32) -> Self {
        self.first_fd = fd;
        self
    }

    /// The number of the map that is added next.
    pub fn next_fd(&self) -> i32 {
        i32::try_from(self.maps.len()).map_or(i32::MAX, |len| self.first_fd.saturating_add(len))
    }

    /// Adds a map, whose keys and values are described by `btf`.
    pub fn add_map(&mut self, spec: &MapSpec, btf: Option<&Arc<Btf>>) {
        let id = u32::try_from(self.maps.len()).unwrap_or(u32::MAX);
        self.maps.push(DescribedMap {
            facts: Arc::new(facts(spec, btf, id)),
            constant: constant(spec),
            owner: None,
        });
    }

    /// Adds a program that others attach to, as its own verdict describes it; returns the number
    /// by which they name it.
    pub fn add_program(&mut self, facts: ProgramFacts) -> i32 {
        let place = self.programs.len();
        let id = u32::try_from(place).unwrap_or(u32::MAX);
        self.programs.push(Arc::new(ProgramFacts { id, ..facts }));
        i32::try_from(place).unwrap_or(i32::MAX)
    }

    /// The program with the numbers that this world's kernel has for the functions and variables
    /// it refers to, as libbpf fills them in before a load. A function that the kernel does not
    /// know becomes a call that no path may reach, a variable becomes zero. A symbol whose address
    /// is wanted gets one, but for weak ones that the kernel's types do not name.
    #[must_use]
    pub fn resolved(&self, program: &ProgramSpec) -> ProgramSpec {
        const FUNCTION: &[KindCode] = &[KindCode::Func];
        const SYMBOL: &[KindCode] = &[KindCode::Var, KindCode::Func];
        let mut program = program.clone();
        let btf = program.btf.as_deref();
        for reference in &program.references {
            let Some(slot) = program.insns.get_mut(reference.at.index()) else { continue };
            match &reference.to {
                ReferenceTo::Map(_) | ReferenceTo::MapValue(_) => {
                    slot.imm = slot.imm.saturating_add(self.first_fd);
                }
                ReferenceTo::Kfunc { name, .. } => match self.kernel_id(btf, name, FUNCTION) {
                    Some(id) => slot.imm = id,
                    // Until now it is its place among what the object takes from outside.
                    None => (slot.src, slot.imm) = (0, UNKNOWN_KFUNC.saturating_add(slot.imm)),
                },
                ReferenceTo::Ksym { name, .. } if slot.src == PSEUDO_BTF_ID => {
                    match self.kernel_id(btf, name, SYMBOL) {
                        Some(id) => slot.imm = id,
                        None => (slot.src, slot.imm) = (0, 0),
                    }
                }
                ReferenceTo::Ksym { name, weak } => {
                    let known = self.kernel_id(btf, name, SYMBOL);
                    let address = if known.is_some() || !weak { some_address(name) } else { 0 };
                    let [low, high] = halves(address);
                    slot.imm = low;
                    if let Some(second) = program.insns.get_mut(reference.at.index() + 1) {
                        second.imm = high;
                    }
                }
            }
        }
        program
    }

    fn kernel_id(&self, local: Option<&Btf>, name: &str, kinds: &[KindCode]) -> Option<i32> {
        let id = kernel_symbol(self.kernel_btf.as_ref()?, local, name, kinds)?;
        i32::try_from(id.0).ok()
    }

    /// Says what the programs of the program array added last must be.
    pub fn set_owner(&mut self, prog_type: ProgType, attach_type: Option<AttachType>) {
        if let Some(map) = self.maps.last_mut() {
            map.owner = Some((prog_type, attach_type));
        }
    }
}

/// The kernel's symbol that an object whose types are `local` calls `name`. The object may describe
/// it several times, as `name___flavor`; a description of another function is of none.
pub fn kernel_symbol(
    kernel: &Btf,
    local: Option<&Btf>,
    name: &str,
    kinds: &[KindCode],
) -> Option<TypeId> {
    let known = essential_name(name);
    let id = kinds.iter().find_map(|kind| kernel.by_name_kind(known, *kind))?;
    let prototype = |btf: &Btf, id| Some(btf.get(id)?.func()?.proto);
    let described = local.and_then(|local| {
        let id = local.by_name_kind(name, KindCode::Func)?;
        Some((local, prototype(local, id)?))
    });
    match (described, prototype(kernel, id)) {
        (Some((local, own)), Some(kernels)) => {
            types_compatible(local, own, kernel, kernels).is_ok_and(|fits| fits).then_some(id)
        }
        (None, _) | (_, None) => Some(id),
    }
}

/// An address for a symbol of the kernel, which nobody can know without the kernel: one of its own
/// for each name, where the kernel's code lies.
fn some_address(name: &str) -> u64 {
    const TEXT: u64 = 0xffff_ffff_8100_0000;
    // FNV-1a: names have few bytes.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    TEXT + u64::from(hash & 0x00ff_fff0)
}

/// The immediates of the two halves of a wide instruction.
fn halves(value: u64) -> [i32; 2] {
    let half =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
    let bytes = value.to_le_bytes();
    [half(&bytes[..4]).cast_signed(), half(&bytes[4..]).cast_signed()]
}

/// What the verifier is told of a described map.
fn facts(spec: &MapSpec, btf: Option<&Arc<Btf>>, id: u32) -> MapFacts {
    let types = btf.filter(|_| spec.btf_key_type_id != 0 || spec.btf_value_type_id != 0);
    MapFacts {
        id,
        name: MapSpec::kernel_name(&spec.name).to_owned(),
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags,
        map_extra: spec.map_extra,
        frozen: spec.frozen,
        btf: types.cloned(),
        btf_key_type_id: TypeId(spec.btf_key_type_id),
        btf_value_type_id: TypeId(spec.btf_value_type_id),
        inner: spec.inner.as_deref().map(|inner| Arc::new(facts(inner, btf, id))),
        host: None,
    }
}

/// The bytes of an array's only value that can change no more: zeros, unless it is filled.
fn constant(spec: &MapSpec) -> Option<Vec<u8>> {
    let fixed = spec.frozen && spec.flags.contains(MapFlags::RDONLY_PROG);
    if !fixed || spec.map_type != MapType::Array || spec.max_entries != 1 {
        return None;
    }
    let filled = spec.init.iter().rev().find_map(|entry| match &entry.value {
        MapInitValue::Bytes(bytes) => Some(bytes.clone()),
        MapInitValue::Program(_) | MapInitValue::Map(_) => None,
    });
    Some(filled.unwrap_or_else(|| vec![0; spec.value_size as usize]))
}

impl Host for DescribedWorld {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        let at = fd.checked_sub(self.first_fd).and_then(|at| usize::try_from(at).ok());
        let map = at.and_then(|at| self.maps.get(at)).ok_or(Errno::EBADF)?;
        Ok(Arc::clone(&map.facts))
    }

    fn program(&self, fd: i32) -> Result<Arc<ProgramFacts>, Errno> {
        let place = usize::try_from(fd).ok();
        place.and_then(|place| self.programs.get(place)).cloned().ok_or(Errno::EBADF)
    }

    fn constant(&self, map: &MapFacts, off: u32, size: u32) -> Option<u64> {
        let value = self.maps.get(map.id as usize)?.constant.as_ref()?;
        let bytes = value.get(off as usize..off.checked_add(size)? as usize)?;
        let mut raw = [0; 8];
        raw.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(raw))
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        BoundMap {
            name: map.name.clone(),
            map_type: map.map_type,
            handle: 0,
            layout: MapLayout::Opaque,
            value: None,
            key_size: map.key_size,
            value_size: map.value_size,
            keep: Arc::new(()),
        }
    }

    fn helper_code(&self, _: &'static HelperProto) -> Option<HelperFn> {
        None
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        self.kernel_btf.as_ref()
    }

    fn check_map_owner(&self, map: &MapFacts, program: &ProgramSpec) -> Result<(), Errno> {
        let owner = self.maps.get(map.id as usize).and_then(|map| map.owner);
        // An extension counts as one of its target's type.
        let target = program.attach_prog.filter(|_| program.prog_type == ProgType::Ext);
        let prog_type = match target {
            Some(fd) => self.program(fd)?.prog_type,
            None => program.prog_type,
        };
        match owner {
            Some(owner) if owner != (prog_type, program.expected_attach_type) => Err(Errno::EINVAL),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_abi::map::MapInit;

    #[test]
    fn only_what_is_frozen_and_read_only_is_constant() {
        let mut spec = MapSpec::new("m.rodata", MapType::Array, 4, 4, 1);
        let value = MapInitValue::Bytes(vec![1, 2, 3, 4]);
        spec.init.push(MapInit { key: vec![0; 4], value });
        let asked = |spec: &MapSpec| {
            let mut world = DescribedWorld::new(None);
            world.add_map(spec, None);
            let facts = world.map(0).expect("it is the first map");
            (world.constant(&facts, 1, 2), world.constant(&facts, 3, 2))
        };
        assert_eq!(asked(&spec), (None, None));
        spec.frozen = true;
        assert_eq!(asked(&spec), (None, None));
        spec.flags = MapFlags::RDONLY_PROG;
        assert_eq!(asked(&spec), (Some(0x0302), None));
    }

    #[test]
    fn numbers_begin_where_they_are_told_to() {
        let mut world = DescribedWorld::new(None).first_fd(100);
        assert_eq!(world.next_fd(), 100);
        world.add_map(&MapSpec::new("m", MapType::Hash, 4, 4, 1), None);
        assert!(world.map(100).is_ok());
        assert_eq!(world.map(0).err(), Some(Errno::EBADF));
        assert_eq!(world.map(101).err(), Some(Errno::EBADF));
    }
}
