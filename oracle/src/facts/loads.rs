//! Questions about loads as a whole, and about what programs return.

use bpf_abi::map::MapType;
use bpf_abi::prog::{ProgFlags, ProgType};
use bpf_abi::spec::{Reference, ReferenceTo};
use bpf_isa::{Pc, Slot};

use super::calls::map_of;
use super::code::{EXIT, add, alu, call, jump_imm, load, mov, set, store, wide};
use super::hooks::{HOOKS, Hook};
use super::{Item, Question};

/// Constants and other things, returned in every hook.
pub(super) fn returns(each: &mut dyn FnMut(Question)) {
    const RANDOM: i32 = 7;
    for hook in HOOKS {
        for number in [-300, -100, -2, -1, 0, 1, 2, 3, 4, 5, 7, 42, 100, 300] {
            let insns = vec![set(0, number), EXIT];
            each(hook.asks(hook.name.to_owned(), Item::Number(number.into()), insns));
        }
        let low = Slot { opcode: 0xb4, dst: 0, src: 0, off: 0, imm: -1 };
        let negated = Slot { opcode: 0x87, dst: 0, src: 0, off: 0, imm: 0 };
        let others: [(&str, &[Slot]); 13] = [
            ("w0=-1", &[low]),
            ("2^32", &[set(0, 1), alu(0x60, 0, 32)]),
            ("2^32+1", &[set(0, 1), alu(0x60, 0, 32), add(0, 1)]),
            ("unknown", &[call(RANDOM)]),
            ("unknown&1", &[call(RANDOM), alu(0x50, 0, 1)]),
            ("unknown&3", &[call(RANDOM), alu(0x50, 0, 3)]),
            ("-(unknown&1)", &[call(RANDOM), alu(0x50, 0, 1), negated]),
            ("unknown<2", &[call(RANDOM), jump_imm(0xa0, 0, 2, 1), set(0, 0)]),
            ("unknown<3", &[call(RANDOM), jump_imm(0xa0, 0, 3, 1), set(0, 0)]),
            ("stack", &[mov(0, 10)]),
            ("context", &[mov(0, 1)]),
            ("nothing", &[]),
            ("spilled", &[call(RANDOM), store(0, 10, -4, 0), load(0, 0, 10, -4)]),
        ];
        for (name, insns) in others {
            let insns = [insns, &[EXIT]].concat();
            each(hook.asks(hook.name.to_owned(), Item::Name(name.to_owned()), insns));
        }
    }
}

/// Every attach type that is known, and some that are not, with every program type.
pub(super) fn attach_types(each: &mut dyn FnMut(Question)) {
    for prog_type in plain_types() {
        for attach in (0..=65).chain([1000, u32::MAX]) {
            let hook = Hook { name: prog_type.name(), prog_type, attach, ..plain(prog_type) };
            let insns = vec![set(0, 0), EXIT];
            let group = prog_type.name().to_owned();
            let mut question = hook.asks(group, Item::Number(attach.into()), insns);
            question.attach = attach;
            each(question);
        }
    }
}

/// Every flag, one at a time, with every program type.
pub(super) fn flags(each: &mut dyn FnMut(Question)) {
    for prog_type in plain_types() {
        let usual = plain(prog_type);
        for bit in 0..32 {
            // A token would have to be handed over.
            const TOKEN: u32 = 16;
            if bit == TOKEN {
                continue;
            }
            let hook = Hook { flags: usual.flags ^ 1 << bit, ..usual };
            let group = prog_type.name().to_owned();
            each(hook.asks(group, Item::Number(bit.into()), vec![set(0, 1), EXIT]));
        }
    }
}

/// The program types that attach to nothing in the kernel's types.
pub(super) fn plain_types() -> impl Iterator<Item = ProgType> {
    let by_type = [ProgType::Tracing, ProgType::StructOps, ProgType::Ext, ProgType::Lsm];
    ProgType::ALL.iter().copied().filter(move |ty| !by_type.contains(ty))
}

/// The hook that a type is loaded for where nothing else is asked.
pub(super) fn plain(prog_type: ProgType) -> Hook {
    let found = HOOKS.iter().find(|hook| hook.prog_type == prog_type);
    let none = Hook { name: prog_type.name(), prog_type, attach: 0, flags: 0, target: "" };
    found.copied().unwrap_or(none)
}

/// A bare reference to a map of every type, in every hook, sleeping and not.
pub(super) fn references(each: &mut dyn FnMut(Question)) {
    for hook in HOOKS {
        for map_type in MapType::ALL {
            let Some((map, types)) = map_of(*map_type) else { continue };
            let [first, second] = wide(1, 1, 0);
            let insns = vec![first, second, set(0, 1), EXIT];
            let item = Item::Number(map_type.number().into());
            let mut question = hook.asks(hook.name.to_owned(), item, insns);
            for program in &mut question.object.programs {
                program.references.push(Reference { at: Pc(0), to: ReferenceTo::Map(0) });
            }
            question.object.maps.push(map);
            question.object.btf = types;
            each(question);
        }
    }
}

const _: () = assert!(ProgFlags::SLEEPABLE.bits() == 16, "hooks write it as a number");
