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

/// Programs just within a limit and just beyond it.
pub(super) fn limits(each: &mut dyn FnMut(Question)) {
    let hook = Hook::of(ProgType::SocketFilter);
    let mut ask = |group: &str, number: i64, insns: Vec<Slot>| {
        each(hook.asks(group.to_owned(), Item::Number(number), insns));
    };
    for off in (-528..=8).step_by(8) {
        let end = [set(0, 0), EXIT];
        ask("write to the stack", off.into(), [&[store(0x18, 10, off, 10)][..], &end].concat());
    }
    for depth in 1..=10 {
        ask("frames", depth, chain(depth, 0));
    }
    for functions in 250..=260 {
        ask("functions", functions, star(functions));
    }
    for bytes in (0..=512).step_by(8) {
        ask("stack of each of two frames", bytes, chain(2, bytes));
    }
    for bytes in (0..=72).step_by(8) {
        ask("stack of each of eight frames", bytes, chain(8, bytes));
    }
    for waiting in 8190..=8194 {
        ask("branches that wait", waiting, branches(waiting));
    }
    for len in [0, 1, 2, 4096, 4097, 1_000_000, 1_000_001] {
        let mut insns = vec![set(0, 0); usize::try_from(len).unwrap_or(0)];
        if let Some(last) = insns.last_mut() {
            *last = EXIT;
        }
        ask("instructions", len, insns);
    }
    for shift in 0..31 {
        for by in [-1, 0, 1] {
            let number = (1 << shift) + by;
            let moved = vec![mov(2, 10), add(2, number), set(0, 0), EXIT];
            ask("offset of a pointer", number.into(), moved);
            let back = vec![mov(2, 10), add(2, -number), set(0, 0), EXIT];
            ask("offset of a pointer", (-number).into(), back);
        }
    }
    for rounds in [1, 1000, 333_332, 333_333] {
        let insns = vec![
            set(0, 0),
            add(0, 1),
            alu(0xb0, 1, 0),
            jump_imm(0xa0, 0, rounds, -3),
            set(0, 0),
            EXIT,
        ];
        ask("rounds of a loop", rounds.into(), insns);
    }
}

/// So many functions, each of which calls the next and uses so much stack.
fn chain(depth: i64, stack: i64) -> Vec<Slot> {
    let off = i16::try_from(-stack).unwrap_or(i16::MIN);
    let mut insns = Vec::new();
    for left in (0..depth).rev() {
        if stack > 0 {
            insns.push(store(0x18, 10, off, 10));
        }
        if left > 0 {
            // Over `r0 = 0` and the exit, to the next function.
            insns.push(Slot { opcode: 0x85, dst: 0, src: 1, off: 0, imm: 2 });
        }
        insns.extend([set(0, 0), EXIT]);
    }
    insns
}

/// So many functions, the first of which calls all others.
fn star(functions: i64) -> Vec<Slot> {
    let others = i32::try_from(functions - 1).unwrap_or(0);
    let mut insns = Vec::new();
    for n in 0..others {
        // The calls that are left, the end of this function, and the functions before.
        let imm = others - n - 1 + 2 + 2 * n;
        insns.push(Slot { opcode: 0x85, dst: 0, src: 1, off: 0, imm });
    }
    for _ in 0..functions {
        insns.extend([set(0, 0), EXIT]);
    }
    insns
}

/// A path on which so many branches are put aside.
fn branches(waiting: i64) -> Vec<Slot> {
    const RANDOM: i32 = 7;
    let mut insns = vec![call(RANDOM), mov(6, 0), set(0, 0)];
    for n in 0..waiting {
        let to_exit = i16::try_from(waiting - n - 1).unwrap_or(i16::MAX);
        insns.push(jump_imm(0x10, 6, i32::try_from(n).unwrap_or(0), to_exit));
    }
    insns.push(EXIT);
    insns
}

const _: () = assert!(ProgFlags::SLEEPABLE.bits() == 16, "hooks write it as a number");
