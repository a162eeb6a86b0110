//! Questions about calls.

#![expect(clippy::wildcard_enum_match_arm, reason = "most kinds are asked about alike")]

use bpf_abi::helper::ArgKind;
use bpf_abi::helper::protos::PROTOS;
use bpf_abi::map::{MapFlags, MapSpec, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{Reference, ReferenceTo};
use bpf_btf::Builder;
use bpf_isa::{Pc, Slot};

use super::code::{EXIT, add, call, call_kernel, mov, set, store_imm, wide};
use super::hooks::{HOOKS, Hook};
use super::loads::{plain, plain_types};
use super::{Item, Question};

/// The numbers of helpers that are asked for: all there are, and some past the end.
const NUMBERS: std::ops::Range<i32> = 0..214;

/// Helpers that some attach types have and others have not, and a few that all have.
const DEPENDING: [i32; 24] = [
    1, 12, 35, 46, 47, 48, 49, 57, 64, 81, 84, 85, 86, 95, 96, 98, 99, 107, 108, 122, 173, 174,
    186, 187,
];

/// Every helper, called with the context and nothing else, in every hook.
pub(super) fn helpers(each: &mut dyn FnMut(Question)) {
    for hook in HOOKS {
        for number in NUMBERS {
            each(bare_call(hook, hook.name.to_owned(), number));
        }
    }
}

/// The same for every attach type that a program type is loaded with.
pub(super) fn helpers_by_attach_type(each: &mut dyn FnMut(Question)) {
    for prog_type in plain_types() {
        for attach in 0..58 {
            let usual = plain(prog_type);
            let hook = Hook { attach, ..usual };
            for number in DEPENDING {
                each(bare_call(&hook, format!("{prog_type} {attach}"), number));
            }
        }
    }
}

/// The same under another licence, in a few hooks.
pub(super) fn licences(each: &mut dyn FnMut(Question)) {
    const TYPES: [ProgType; 7] = [
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::Xdp,
        ProgType::Kprobe,
        ProgType::PerfEvent,
        ProgType::CgroupSkb,
        ProgType::SkMsg,
    ];
    for hook in TYPES.map(Hook::of) {
        for number in NUMBERS {
            let mut question = bare_call(hook, hook.name.to_owned(), number);
            for program in &mut question.object.programs {
                program.license = "Proprietary".to_owned();
            }
            each(question);
        }
    }
    let hook = Hook::of(ProgType::Kprobe);
    // What is accepted is spelt exactly so.
    for license in [
        "GPL",
        "GPL_v2",
        "GPL_and_additional_rights",
        "Dual_BSD/GPL",
        "Dual_MIT/GPL",
        "Dual_MPL/GPL",
        "gpl",
        "GPLv2",
        "GPL-2.0",
        "MIT",
        "BSD",
        "Dual_BSD/GPL-2.0",
        "GPL_",
    ] {
        const KTIME_GET_CURRENT_TASK: i32 = 35;
        let mut question = bare_call(hook, "spelling".to_owned(), KTIME_GET_CURRENT_TASK);
        question.item = Item::Name(license.to_owned());
        for program in &mut question.object.programs {
            program.license = license.replace('_', " ");
        }
        each(question);
    }
}

fn bare_call(hook: &Hook, group: String, number: i32) -> Question {
    hook.asks(group, Item::Number(number.into()), vec![call(number), set(0, 0), EXIT])
}

/// Every kernel function that the record knows, with five zeros, in every hook.
pub(super) fn kfuncs(each: &mut dyn FnMut(Question)) {
    for name in KFUNCS.lines().filter(|line| !line.is_empty()) {
        for hook in HOOKS {
            let mut insns: Vec<Slot> = (1..=5).map(|reg| set(reg, 0)).collect();
            insns.extend([call_kernel(), set(0, 0), EXIT]);
            let item = Item::Name(name.to_owned());
            let mut question = hook.asks(hook.name.to_owned(), item, insns);
            for program in &mut question.object.programs {
                let to = ReferenceTo::Kfunc { name: name.to_owned(), weak: false };
                program.references.push(Reference { at: Pc(5), to });
            }
            each(question);
        }
    }
}

/// The names of the kernel functions, one a line.
const KFUNCS: &str = include_str!("../../facts/kfunc-names.txt");

/// Every helper that takes a map, with a map of every type that can be made here.
pub(super) fn maps(each: &mut dyn FnMut(Question)) {
    for row in PROTOS {
        let proto = &row.proto;
        let takes_map = proto.args.iter().any(|arg| arg.kind == ArgKind::ConstMapPtr);
        let takes_function = proto.args.iter().any(|arg| arg.kind == ArgKind::Func);
        let Some(hook) = hook_with(proto.id).filter(|_| takes_map && !takes_function) else {
            continue;
        };
        for map_type in MapType::ALL {
            let Some((map, types)) = map_of(*map_type) else { continue };
            let mut insns = vec![mov(6, 1)];
            insns.extend((1..=16).map(|n| store_imm(0x18, 10, -8 * n, 0)));
            let mut references = Vec::new();
            for (reg, arg) in (1..).zip(proto.args) {
                match arg.kind {
                    ArgKind::ConstMapPtr => {
                        let at = Pc(u32::try_from(insns.len()).unwrap_or(u32::MAX));
                        references.push(Reference { at, to: ReferenceTo::Map(0) });
                        insns.extend(wide(reg, 1, 0));
                    }
                    ArgKind::Ctx => insns.push(mov(reg, 6)),
                    ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem => {
                        insns.extend([mov(reg, 10), add(reg, -128)]);
                    }
                    ArgKind::ConstSize
                    | ArgKind::ConstSizeOrZero
                    | ArgKind::ConstAllocSizeOrZero => insns.push(set(reg, 8)),
                    _ => insns.push(set(reg, 0)),
                }
            }
            let number = i32::try_from(proto.id).unwrap_or(i32::MAX);
            insns.extend([call(number), set(0, 0), EXIT]);
            let item = Item::Number(map_type.number().into());
            let mut question = hook.asks(row.linux.to_owned(), item, insns);
            for program in &mut question.object.programs {
                program.references.clone_from(&references);
            }
            question.object.maps.push(map);
            question.object.btf = types;
            each(question);
        }
    }
}

/// A hook whose programs may call the helper with this number.
fn hook_with(id: u32) -> Option<&'static Hook> {
    use bpf_abi::helper::hooks::{Hook as Abi, Lookup};
    use bpf_abi::prog::{AttachType, ProgFlags};
    HOOKS.iter().filter(|hook| hook.target.is_empty()).find(|hook| {
        let abi = Abi {
            prog_type: hook.prog_type,
            attach_type: AttachType::new(hook.attach),
            sleepable: hook.flags & ProgFlags::SLEEPABLE.bits() != 0,
            target: "",
        };
        matches!(abi.helper(id), Lookup::Found(_))
    })
}

/// A map of this type and the types of its keys and values, if one can be made by itself.
pub(super) fn map_of(map_type: MapType) -> Option<(MapSpec, Option<std::sync::Arc<bpf_btf::Btf>>)> {
    use MapType as M;
    let (key, value, entries) = match map_type {
        M::Unspec | M::StructOps => return None,
        M::Hash | M::Array | M::PercpuHash | M::PercpuArray | M::LruHash | M::LruPercpuHash => {
            (4, 8, 4)
        }
        M::LpmTrie => (8, 8, 4),
        M::StackTrace => (4, 80, 4),
        M::CgroupStorage | M::PercpuCgroupStorage => (8, 8, 0),
        M::Queue | M::Stack | M::BloomFilter => (0, 8, 4),
        M::Ringbuf | M::UserRingbuf => (0, 0, 4096),
        M::Arena => (0, 0, 1),
        M::SkStorage | M::InodeStorage | M::TaskStorage | M::CgrpStorage => (4, 8, 0),
        M::ProgArray
        | M::PerfEventArray
        | M::CgroupArray
        | M::ArrayOfMaps
        | M::HashOfMaps
        | M::Devmap
        | M::Sockmap
        | M::Cpumap
        | M::Xskmap
        | M::Sockhash
        | M::ReuseportSockarray
        | M::DevmapHash => (4, 4, 4),
    };
    let mut map = MapSpec::new("map", map_type, key, value, entries);
    let mut types = None;
    match map_type {
        M::LpmTrie => map.flags = MapFlags::NO_PREALLOC,
        M::Arena => {
            map.flags = MapFlags::MMAPABLE;
            map.map_extra = 1 << 44;
        }
        M::SkStorage | M::InodeStorage | M::TaskStorage | M::CgrpStorage => {
            map.flags = MapFlags::NO_PREALLOC;
            let mut builder = Builder::new();
            map.btf_key_type_id = builder.int("int", 4, true).0;
            map.btf_value_type_id = builder.int("long", 8, true).0;
            types = builder.finish().ok().map(std::sync::Arc::new);
        }
        M::ArrayOfMaps | M::HashOfMaps => {
            map.inner = Some(Box::new(MapSpec::new("inner", M::Array, 4, 8, 4)));
        }
        _ => {}
    }
    Some((map, types))
}
