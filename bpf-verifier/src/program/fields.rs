//! Is each slot an instruction?
//!
//! The kernel asks twice. Opcodes, and the shape of loads and wide immediates, are checked for
//! all slots before anything is walked; unused fields and register numbers only when a path comes
//! to the instruction, so that a program whose bad instruction is dead is accepted. What is not
//! decoded stands in the program as [`Insn::SecondSlot`], which no path ever reaches otherwise.

use bpf_isa::opcode::{Mode, atomic, whole};
use bpf_isa::{Class, DecodeErrorKind, Insn, Noticed, Pc, Program, Slot, decode, decode_slots};

use crate::env::{Env, InsnNote};
use crate::error::Reason;
use crate::program::ProgramError;

/// Decodes the program, and makes room for what will be noted of it.
pub(super) fn decode_program(env: &mut Env<'_>) {
    let insns = decode_slots(&env.spec.insns);
    env.notes = vec![InsnNote::default(); insns.len()];
    env.program =
        Program::new(insns.into_iter().map(|insn| insn.unwrap_or(Insn::SecondSlot)).collect());
}

/// What is wrong with the slot at `pc`, if it is no instruction.
fn malformed(slots: &[Slot], pc: Pc) -> Option<DecodeErrorKind> {
    let slot = *slots.get(pc.index())?;
    let next = slots.get(pc.index() + 1).copied();
    decode(slot, next, pc).err().map(|error| error.kind)
}

/// Checks what the kernel checks of a slot before any path is walked.
pub(super) fn check_up_front(slots: &[Slot], pc: Pc) -> Result<(), ProgramError> {
    match malformed(slots, pc) {
        Some(kind) if kind.noticed() == Noticed::UpFront => Err(ProgramError::Malformed(kind)),
        Some(_) | None => Ok(()),
    }
}

/// Checks what the kernel checks of an instruction when a path comes to it.
///
/// # Errors
///
/// Returns an error if its unused fields are not zero, or a register has no possible number.
pub fn check_walking(env: &Env<'_>, pc: Pc) -> Result<(), Reason> {
    if env.insn(pc) != Some(Insn::SecondSlot) {
        return Ok(());
    }
    match malformed(&env.spec.insns, pc) {
        Some(kind) => Err(ProgramError::Malformed(kind).into()),
        None => Ok(()),
    }
}

/// What a malformed instruction would be if its unused fields were zero: its effects count until
/// a path comes to it.
pub(super) fn meant(slots: &[Slot], pc: Pc) -> Option<Insn> {
    let slot = *slots.get(pc.index())?;
    let next = slots.get(pc.index() + 1).copied();
    let register = |number: u8| number.min(10);
    (0..16).find_map(|zeroed| {
        let keep = |bit: u8| zeroed & bit == 0;
        let repaired = Slot {
            dst: if keep(8) { register(slot.dst) } else { 0 },
            src: if keep(4) { register(slot.src) } else { 0 },
            off: if keep(2) { slot.off } else { 0 },
            imm: if keep(1) { slot.imm } else { least_imm(slot) },
            ..slot
        };
        decode(repaired, next, pc).ok()
    })
}

/// An immediate that says as little as possible.
const fn least_imm(slot: Slot) -> i32 {
    match (slot.opcode, Class::of(slot.opcode), Mode::of(slot.opcode)) {
        (whole::TO_LE | whole::TO_BE | whole::BSWAP, _, _) => 64,
        // Of an atomic operation that does not exist, whether it fetches still counts.
        (_, Some(Class::Stx), Some(Mode::Atomic)) => slot.imm & atomic::FETCH,
        _ => 0,
    }
}
