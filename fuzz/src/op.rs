//! Instructions by short names, and code whose calls are not yet placed.

use bpf_isa::Slot;
use bpf_isa::opcode::{SOURCE_IS_REGISTER, callee, imm_source, whole};

/// The frame pointer.
pub const FP: u8 = 10;

/// The class of loads.
const LDX: u8 = 0x61;
/// The class of stores of numbers.
const ST: u8 = 0x62;
/// The class of stores of registers.
const STX: u8 = 0x63;
/// Arithmetic on whole registers.
pub const ALU64: u8 = 0x07;
/// Arithmetic on low halves.
pub const ALU32: u8 = 0x04;
/// Comparisons of whole registers.
pub const JMP: u8 = 0x05;
/// Comparisons of low halves.
pub const JMP32: u8 = 0x06;
/// The bits of an addition.
pub const ADD: u8 = 0x00;
/// The bits of a conjunction.
pub const AND: u8 = 0x50;
/// The bits of a move.
pub const MOV: u8 = 0xb0;
/// The bits of `==`.
pub const EQ: u8 = 0x10;
/// The bits of `>`.
pub const GT: u8 = 0x20;
/// The bits of `!=`.
pub const NE: u8 = 0x50;
/// The bits of `<`.
pub const LT: u8 = 0xa0;

/// A piece of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// As it is.
    Slot(Slot),
    /// A call of the function with this number.
    Call(usize),
    /// The address of the function with this number, in two slots.
    Address {
        /// Where it goes.
        dst: u8,
        /// The function.
        function: usize,
    },
}

impl Op {
    /// The function that it refers to.
    pub const fn function(&self) -> Option<usize> {
        match *self {
            Self::Slot(_) => None,
            Self::Call(function) | Self::Address { function, .. } => Some(function),
        }
    }

    /// The same, with the function it refers to renumbered.
    #[must_use]
    pub fn with_function(self, number: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Slot(slot) => Self::Slot(slot),
            Self::Call(function) => Self::Call(number(function)),
            Self::Address { dst, function } => Self::Address { dst, function: number(function) },
        }
    }
}

/// A wide immediate, in two slots.
pub const fn wide(dst: u8, src: u8, low: i32, high: i32) -> [Slot; 2] {
    [slot(whole::LOAD_IMM64, dst, src, 0, low), slot(0, 0, 0, 0, high)]
}

/// The distance of a jump over this code and so many slots more.
pub fn over(code: &[Op], more: i16) -> i16 {
    i16::try_from(len(code)).unwrap_or(0).saturating_add(more)
}

/// How many slots code takes.
pub fn len(code: &[Op]) -> usize {
    code.iter().map(|op| if matches!(op, Op::Address { .. }) { 2 } else { 1 }).sum()
}

/// A slot.
pub const fn slot(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Slot {
    Slot { opcode, dst, src, off, imm }
}

/// `dst op= imm`, of this class.
pub const fn alu(class: u8, op: u8, dst: u8, imm: i32) -> Slot {
    slot(class | op, dst, 0, 0, imm)
}

/// `dst op= src`, of this class.
pub const fn alu_reg(class: u8, op: u8, dst: u8, src: u8) -> Slot {
    slot(class | op | SOURCE_IS_REGISTER, dst, src, 0, 0)
}

/// `dst = imm`.
pub const fn set(dst: u8, imm: i32) -> Slot {
    alu(ALU64, MOV, dst, imm)
}

/// `dst = src`.
pub const fn copy(dst: u8, src: u8) -> Slot {
    alu_reg(ALU64, MOV, dst, src)
}

/// `dst += imm`.
pub const fn add(dst: u8, imm: i32) -> Slot {
    alu(ALU64, ADD, dst, imm)
}

/// `dst += src`.
pub const fn add_reg(dst: u8, src: u8) -> Slot {
    alu_reg(ALU64, ADD, dst, src)
}

/// The size field of an access of so many bytes.
const fn size_bits(size: u8) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        4 => 0x00,
        _ => 0x18,
    }
}

/// `dst = *(uN *)(src + off)`.
pub const fn load(size: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot(LDX | size_bits(size), dst, src, off, 0)
}

/// `dst = *(sN *)(src + off)`.
pub const fn load_signed(size: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot((LDX & 0x1f) | 0x80 | size_bits(size), dst, src, off, 0)
}

/// `*(uN *)(dst + off) = src`.
pub const fn store(size: u8, dst: u8, off: i16, src: u8) -> Slot {
    slot(STX | size_bits(size), dst, src, off, 0)
}

/// `*(uN *)(dst + off) = imm`.
pub const fn store_imm(size: u8, dst: u8, off: i16, imm: i32) -> Slot {
    slot(ST | size_bits(size), dst, 0, off, imm)
}

/// An atomic operation of so many bytes.
pub const fn atomic(size: u8, dst: u8, off: i16, src: u8, op: i32) -> Slot {
    slot(0xc3 | size_bits(size), dst, src, off, op)
}

/// `if dst op imm goto off`, of this class.
pub const fn jump_if(class: u8, op: u8, dst: u8, imm: i32, off: i16) -> Slot {
    slot(class | op, dst, 0, off, imm)
}

/// `if dst op src goto off`, of this class.
pub const fn jump_if_reg(class: u8, op: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot(class | op | SOURCE_IS_REGISTER, dst, src, off, 0)
}

/// `goto off`.
pub const fn jump(off: i16) -> Slot {
    slot(whole::JUMP, 0, 0, off, 0)
}

/// A call of a helper.
pub const fn helper(id: i32) -> Slot {
    slot(whole::CALL, 0, callee::HELPER, 0, id)
}

/// A call of a kernel function.
pub const fn kfunc(id: i32) -> Slot {
    slot(whole::CALL, 0, callee::KFUNC, 0, id)
}

/// The end of a function.
pub const fn exit() -> Slot {
    slot(whole::EXIT, 0, 0, 0, 0)
}

/// Code with its calls placed: `functions`, one after the other.
pub fn place(functions: &[Vec<Op>]) -> Vec<Slot> {
    let mut starts = Vec::new();
    let mut at = 0;
    for code in functions {
        starts.push(at);
        at += len(code);
    }
    let mut slots: Vec<Slot> = Vec::with_capacity(at);
    for op in functions.iter().flatten() {
        let distance = |function: usize| {
            let to = i32::try_from(starts.get(function).copied().unwrap_or(0)).unwrap_or(0);
            to - i32::try_from(slots.len()).unwrap_or(0) - 1
        };
        match *op {
            Op::Slot(slot) => slots.push(slot),
            Op::Call(function) => {
                let distance = distance(function);
                slots.push(slot(whole::CALL, 0, callee::LOCAL, 0, distance));
            }
            Op::Address { dst, function } => {
                let distance = distance(function);
                slots.push(slot(whole::LOAD_IMM64, dst, imm_source::FUNC, 0, distance));
                slots.push(Slot::default());
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_reach_the_functions_they_name() {
        let main = vec![Op::Address { dst: 1, function: 1 }, Op::Call(1), Op::Slot(exit())];
        let slots = place(&[main, vec![Op::Slot(set(0, 7)), Op::Slot(exit())]]);
        assert_eq!(slots.iter().map(|slot| slot.imm).collect::<Vec<_>>(), [3, 0, 1, 0, 7, 0]);
    }

    #[test]
    fn short_names_are_the_instructions_they_say() {
        let text = |slot: Slot| bpf_isa::Program::from_slots(&[slot, exit()]).unwrap().insns()[0];
        let same = |slot: Slot, words: &str| assert_eq!(format!("{}", text(slot)), words);
        same(load_signed(2, 1, FP, -8), "r1 = *(s16 *)(r10 -8)");
        same(load(8, 1, 2, 16), "r1 = *(u64 *)(r2 +16)");
        same(store(4, 1, 0, 2), "*(u32 *)(r1 +0) = r2");
        same(store_imm(1, 1, 0, 5), "*(u8 *)(r1 +0) = 5");
        same(atomic(8, 1, 0, 2, 0), "lock *(u64 *)(r1 +0) += r2");
    }
}
