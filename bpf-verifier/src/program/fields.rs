//! Is each slot an instruction?
//!
//! The kernel asks twice. Opcodes, and the shape of loads and wide immediates, are checked for
//! all slots before anything is walked; unused fields and register numbers only when a path comes
//! to the instruction, so that a program whose bad instruction is dead is accepted. What is not
//! decoded stands in the program as [`Insn::SecondSlot`], which no path ever reaches otherwise.

use bpf_isa::opcode::{Mode, SOURCE_IS_REGISTER, SizeField, atomic, whole};
use bpf_isa::{
    Class, DecodeErrorKind, Family, Insn, JumpOp, Noticed, Pc, Program, Reg, Slot, decode,
    decode_slots,
};

use crate::env::{Env, InsnNote};
use crate::error::Reason;
use crate::program::ProgramError;
use crate::state::State;
use crate::step::{StepError, legacy};
use crate::walk::WalkError;

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
/// Returns an error if its unused fields are not zero, or a register has no possible number. If
/// it would read another register before that is noticed, and nothing was written to that, this
/// is the error.
pub fn check_walking(env: &Env<'_>, state: &State, pc: Pc) -> Result<(), Reason> {
    if env.insn(pc) != Some(Insn::SecondSlot) {
        return Ok(());
    }
    let Some(kind) = malformed(&env.spec.insns, pc) else { return Ok(()) };
    let slot = env.spec.insns[pc.index()];
    if let Some(reg) = read_first(slot, kind).and_then(Reg::new)
        && state.reg(reg).is_none()
    {
        return Err(WalkError::Unreadable { reg }.into());
    }
    if kind == DecodeErrorKind::Reserved(Family::Packet) && !legacy::is_allowed(env.kind.prog_type)
    {
        return Err(StepError::LegacyType.into());
    }
    Err(ProgramError::Malformed(kind).into())
}

/// The number of the register that is read before the fault is noticed. Comparisons read their
/// left operand first, everything else its right one.
fn read_first(slot: Slot, kind: DecodeErrorKind) -> Option<u8> {
    let is_comparison = matches!(Class::of(slot.opcode), Some(Class::Jmp | Class::Jmp32))
        && JumpOp::of(slot.opcode).is_some();
    let uses_register = slot.opcode & SOURCE_IS_REGISTER != 0;
    if kind == DecodeErrorKind::Reserved(Family::JumpIf) {
        return Some(slot.dst);
    }
    let DecodeErrorKind::Register(number) = kind else { return None };
    if is_comparison {
        return (number == slot.src).then_some(slot.dst);
    }
    let reads_right = match Class::of(slot.opcode)? {
        Class::Ldx | Class::Stx => true,
        Class::Alu32 | Class::Alu64 => uses_register,
        Class::Ld | Class::St | Class::Jmp | Class::Jmp32 => false,
    };
    (reads_right && number == slot.dst).then_some(slot.src)
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
            opcode: if is_atomic(slot) { slot.opcode | SizeField::DW.bits() } else { slot.opcode },
            dst: if keep(8) { register(slot.dst) } else { 0 },
            src: if keep(4) { register(slot.src) } else { 0 },
            off: if keep(2) { slot.off } else { 0 },
            imm: if keep(1) { slot.imm } else { least_imm(slot) },
        };
        decode(repaired, next, pc).ok()
    })
}

/// An immediate that says as little as possible.
const fn least_imm(slot: Slot) -> i32 {
    match slot.opcode {
        whole::TO_LE | whole::TO_BE | whole::BSWAP => 64,
        // Of an atomic operation that does not exist, whether it fetches still counts.
        _ if is_atomic(slot) => slot.imm & atomic::FETCH,
        _ => 0,
    }
}

const fn is_atomic(slot: Slot) -> bool {
    matches!(
        (Class::of(slot.opcode), Mode::of(slot.opcode)),
        (Some(Class::Stx), Some(Mode::Atomic))
    )
}
