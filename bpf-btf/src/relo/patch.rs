//! The answer, written into the instruction.

use bpf_isa::Slot;

use super::{Answer, ReloError, Value};

/// The number of the helper that poisoned instructions call: there is none. Verifiers say `invalid func
/// unknown#195896080` if such an instruction can be reached.
///
/// Linux: `0xbad2310`.
pub const POISON: i32 = 0x0bad_2310;

const LOAD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;

/// Writes an answer into the instruction at the beginning of `insns`.
///
/// Linux: `bpf_core_patch_insn`.
pub(super) fn patch(insns: &mut [Slot], answer: Answer) -> Result<(), ReloError> {
    let Some(insn) = insns.first().copied() else { return Err(ReloError::Instruction(0)) };
    let Answer::Value(value) = answer else {
        poison(insns);
        return Ok(());
    };
    match insn.opcode & 7 {
        // ALU and ALU64 with an immediate.
        4 | 7 if insn.opcode & 8 == 0 => {
            expect(i64::from(insn.imm).cast_unsigned(), value)?;
            insns[0].imm = low(value.now);
            Ok(())
        }
        // Loads and stores.
        1..=3 => access(insns, value),
        0 if insn.opcode == LOAD_IMM64 => imm64(insns, value),
        _ => Err(ReloError::Instruction(insn.opcode)),
    }
}

fn expect(got: u64, value: Value) -> Result<(), ReloError> {
    if value.is_checked && got != value.was {
        return Err(ReloError::Unexpected { got, expected: value.was });
    }
    Ok(())
}

/// The low half of a number, as an immediate.
fn low(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn poison(insns: &mut [Slot]) {
    let is_wide = insns.first().is_some_and(|insn| insn.opcode == LOAD_IMM64);
    for insn in insns.iter_mut().take(if is_wide { 2 } else { 1 }) {
        *insn = Slot { opcode: CALL, dst: 0, src: 0, off: 0, imm: POISON };
    }
}

fn access(insns: &mut [Slot], value: Value) -> Result<(), ReloError> {
    let insn = insns[0];
    expect(i64::from(insn.off).cast_unsigned(), value)?;
    let off = i16::try_from(value.now).map_err(|_| ReloError::TooBig(value.now))?;
    if !value.may_resize {
        poison(insns);
        return Ok(());
    }
    let mut opcode = insn.opcode;
    if value.was_size != value.now_size {
        let (_, bytes) =
            SIZES.into_iter().find(|(bits, _)| *bits == opcode & 0x18).unwrap_or((0, 4));
        if bytes != value.was_size {
            return Err(ReloError::AccessSize(bytes));
        }
        let size = SIZES.into_iter().find(|(_, bytes)| *bytes == value.now_size);
        let (bits, _) = size.ok_or(ReloError::AccessSize(value.now_size))?;
        opcode = (opcode & !0x18) | bits;
    }
    insns[0] = Slot { opcode, off, ..insn };
    Ok(())
}

/// The sizes of loads and stores: the bits of the opcode, and bytes.
const SIZES: [(u8, u32); 4] = [(0x00, 4), (0x08, 2), (0x10, 1), (0x18, 8)];

fn imm64(insns: &mut [Slot], value: Value) -> Result<(), ReloError> {
    let [first, second, ..] = insns else { return Err(ReloError::Instruction(LOAD_IMM64)) };
    let is_plain =
        first.src == 0 && first.off == 0 && *second == Slot { imm: second.imm, ..Slot::default() };
    if !is_plain {
        return Err(ReloError::Instruction(LOAD_IMM64));
    }
    let halves = (first.imm.cast_unsigned(), second.imm.cast_unsigned());
    expect(u64::from(halves.0) | u64::from(halves.1) << 32, value)?;
    first.imm = low(value.now);
    second.imm = low(value.now >> 32);
    Ok(())
}
