//! Families of programs that run: they verify, take some time, and reach most of what engines do.
//!
//! Where [`generate`](crate::generate) makes programs that a verifier finds much to say about, a family
//! is made to be run. Its programs share maps and a program array in whose slots they stand, so that
//! they tail-call each other and themselves; nothing that they see depends on the host. A family
//! comes from a seed and nothing else.

mod topic;
mod types;
mod maps;
mod input;
mod write;

use std::sync::Arc;

use bpf_abi::map::{MapInit, MapInitValue, MapSpec};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::{InfoBlob, ObjectSpec, ProgramSpec};
use bpf_isa::Slot;
use bpf_isa::opcode::{imm_source, whole};

pub use input::Input;
pub(crate) use maps::forget_addresses;
pub use types::Types;
pub(crate) use write::EDGES;
pub use write::Uses;

use crate::random::Random;
use topic::Topic;

/// How many slots the program array has.
const SLOTS: usize = 6;

/// Programs that share maps, and what they are run on.
#[derive(Clone, Debug)]
pub struct Family {
    /// The seed it was made from.
    pub seed: u64,
    /// Its programs and the maps that they use.
    pub object: ObjectSpec,
    /// What each program does, in the order of the programs.
    pub uses: Vec<Uses>,
    /// What each program is run on, in the order of the programs.
    pub inputs: Vec<Vec<Input>>,
}

/// A kind of program that is run by hand with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Xdp,
    SchedCls,
    SocketFilter,
    CgroupSkb,
}

impl Kind {
    const fn prog_type(self) -> ProgType {
        match self {
            Self::Xdp => ProgType::Xdp,
            Self::SchedCls => ProgType::SchedCls,
            Self::SocketFilter => ProgType::SocketFilter,
            Self::CgroupSkb => ProgType::CgroupSkb,
        }
    }
}

/// What is settled before a family's programs are written.
struct About<'a> {
    kind: Kind,
    topic: Topic,
    types: &'a Types,
}

/// The family of a seed.
pub fn family(seed: u64, types: &Types) -> Family {
    let mut random = Random::new(seed ^ 0xfa31_11e5);
    let kind = random.pick(&[
        Kind::Xdp,
        Kind::Xdp,
        Kind::Xdp,
        Kind::SchedCls,
        Kind::SchedCls,
        Kind::SchedCls,
        Kind::SocketFilter,
        Kind::CgroupSkb,
    ]);
    let topic = Topic::of(seed, kind, types.kernel.as_deref());
    let about = About { kind, topic, types };
    let count = random.pick(&[3, 4, 4, 5]);
    let (mut programs, mut uses, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let written = write::program(&mut random, &about, number);
        let mut spec = ProgramSpec::new(&name(number), kind.prog_type(), written.slots);
        spec.expected_attach_type = Some(AttachType::CgroupInetIngress);
        if !written.functions.is_empty() {
            spec.btf = Some(Arc::clone(&types.btf));
            let records = written.functions.iter().flat_map(|(start, what)| {
                let ty = types.of(*what, kind);
                [*start, ty.0]
            });
            let bytes = records.flat_map(u32::to_le_bytes).collect();
            spec.func_info = InfoBlob { rec_size: 8, bytes };
        }
        programs.push(spec);
        uses.push(written.uses);
        inputs.push((0..2).map(|_| Input::new(&mut random, kind)).collect());
    }
    let mut specs = maps::specs(&mut random, &types.values);
    for slot in 0..SLOTS {
        if random.chance(70) {
            let key = u32::try_from(slot).unwrap_or(0).to_le_bytes().to_vec();
            let value = MapInitValue::Program(name(random.below(count)));
            specs[maps::PROGRAMS].init.push(MapInit { key, value });
        }
    }
    let mut object = ObjectSpec {
        name: "family".to_owned(),
        license: "GPL".to_owned(),
        maps: specs,
        programs,
        btf: Some(Arc::clone(&types.btf)),
        ..ObjectSpec::default()
    };
    leave_out_unused(&mut object);
    Family { seed, object, uses, inputs }
}

fn name(number: usize) -> String {
    format!("p{number}")
}

impl Family {
    /// Takes a program out, and out of the slots that it stands in.
    pub fn remove(&mut self, program: &str) {
        let Some(at) = self.object.programs.iter().position(|it| it.name == program) else {
            return;
        };
        self.object.programs.remove(at);
        self.uses.remove(at);
        self.inputs.remove(at);
        for map in &mut self.object.maps {
            let is_it = |init: &MapInit| matches!(&init.value, MapInitValue::Program(name) if name == program);
            map.init.retain(|init| !is_it(init));
        }
    }

    /// Whether the kernel may be asked: a tail call in a callback trips a kernel bug, so the two do not
    /// stand in one program.
    pub fn is_harmless(&self) -> bool {
        !self.uses.iter().any(|uses| uses.contains(Uses::TAIL_CALLS | Uses::CALLBACKS))
    }
}

/// Whether a slot names a map.
pub(crate) const fn names_map(slot: &Slot) -> bool {
    slot.opcode == whole::LOAD_IMM64
        && matches!(slot.src, imm_source::MAP_FD | imm_source::MAP_VALUE)
}

/// Takes out the maps that no program names: making them costs more than many a run.
fn leave_out_unused(object: &mut ObjectSpec) {
    let mut used = vec![false; object.maps.len()];
    for slot in object.programs.iter().flat_map(|program| &program.insns) {
        if names_map(slot)
            && let Some(used) = usize::try_from(slot.imm).ok().and_then(|map| used.get_mut(map))
        {
            *used = true;
        }
    }
    for inner in maps::INNER {
        used[inner] = used[maps::OUTER];
    }
    let place = |map: usize| used[..map].iter().filter(|used| **used).count();
    for slot in object.programs.iter_mut().flat_map(|program| &mut program.insns) {
        if names_map(slot) {
            let map = usize::try_from(slot.imm).unwrap_or(0);
            slot.imm = i32::try_from(place(map)).unwrap_or(0);
        }
    }
    let mut kept: Vec<MapSpec> = Vec::new();
    for (map, used) in std::mem::take(&mut object.maps).into_iter().zip(&used) {
        if *used {
            kept.push(map);
        }
    }
    for init in kept.iter_mut().flat_map(|map| &mut map.init) {
        if let MapInitValue::Map(inner) = &mut init.value {
            *inner = place(*inner);
        }
    }
    object.maps = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_family_and_other_seeds_others() {
        let types = Types::new(None);
        let insns = |seed| -> Vec<Vec<Slot>> {
            let family = family(seed, &types);
            family.object.programs.into_iter().map(|program| program.insns).collect()
        };
        assert_eq!(insns(1), insns(1));
        assert_ne!(insns(1), insns(2));
    }

    #[test]
    fn every_map_is_named_where_it_stands() {
        let types = Types::new(None);
        for seed in 0..50 {
            let family = family(seed, &types);
            let maps = family.object.maps.len();
            let mut slots = family.object.programs.iter().flat_map(|program| &program.insns);
            assert!(
                slots.all(|slot| !names_map(slot) || usize::try_from(slot.imm).unwrap() < maps)
            );
        }
    }

    #[test]
    fn a_program_that_is_taken_out_stands_nowhere() {
        let mut family = family(3, &Types::new(None));
        family.remove("p0");
        let mut inits = family.object.maps.iter().flat_map(|map| &map.init);
        assert!(inits.all(|init| init.value != MapInitValue::Program("p0".to_owned())));
        assert!(family.object.programs.iter().all(|program| program.name != "p0"));
    }
}
