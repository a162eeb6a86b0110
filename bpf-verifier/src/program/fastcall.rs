//! Spills that exist only to survive a call.
//!
//! A helper that is inlined and leaves the registers alone that it does not read needs no spills
//! around it. Compilers that know of such helpers put them there nevertheless, at offsets of the
//! stack that nothing else uses, for kernels that do not inline them:
//!
//! ```text
//!   *(u64 *)(r10 - 16) = r2
//!   *(u64 *)(r10 - 8) = r1
//!   call …
//!   r1 = *(u64 *)(r10 - 8)
//!   r2 = *(u64 *)(r10 - 16)
//! ```
//!
//! Such pairs are found here. If the walk finds that nothing else uses these slots, they are
//! removed afterwards; until then they do not count as stack.

use bpf_isa::{Extension, Insn, Operand, Pc, Reg, Size};

use crate::env::Env;
use crate::program::calls;

/// Marks the spills and fills around calls.
///
/// Linux: `mark_fastcall_patterns`.
pub(super) fn mark(env: &mut Env<'_>) {
    for index in 0..env.subprogs.len() {
        let subprog = &env.subprogs[index];
        let pcs = subprog.start.0..subprog.end.0;
        let lowest = pcs
            .clone()
            .filter_map(|pc| spill(env.insn(Pc(pc))?).map(|(_, off)| off))
            .fold(0, i16::min);
        for pc in pcs.map(Pc) {
            if matches!(env.insn(pc), Some(Insn::Call(_))) {
                mark_call(env, index, pc, lowest);
            }
        }
    }
}

/// Marks the pairs around one call: the innermost is at the lowest offset of the function, the
/// next eight bytes above, and so on; each of another register that the call would clobber but
/// does not use.
fn mark_call(env: &mut Env<'_>, subprog: usize, pc: Pc, lowest: i16) {
    let Some(summary) = calls::summary(env, env.spec.insns[pc.index()]) else { return };
    let mut expected: u8 = 0b11_1111;
    let first = if summary.is_void { 1 } else { 0 };
    for used in first..=summary.arity {
        expected &= !(1_u8 << used);
    }
    let mut off = lowest;
    let mut pairs = 0;
    for distance in 1..=6 {
        let Some((reg, [before, after])) = pair(env, pc, distance, off) else { break };
        let bit = 1_u8.checked_shl(u32::from(reg.number())).unwrap_or(0);
        if expected & bit == 0 {
            break;
        }
        expected &= !bit;
        env.note_mut(before).fastcall_pattern = true;
        env.note_mut(after).fastcall_pattern = true;
        pairs += 1;
        off += 8;
    }
    if pairs == 0 {
        return;
    }
    if summary.fastcall {
        env.note_mut(pc).fastcall_spills = pairs;
    }
    let subprog = &mut env.subprogs[subprog];
    subprog.keep_fastcall_stack |= !summary.fastcall;
    subprog.fastcall_stack_off = subprog.fastcall_stack_off.min(i32::from(off));
}

/// The register that is spilled `distance` before the call and filled `distance` behind it, and
/// where.
fn pair(env: &Env<'_>, pc: Pc, distance: i64, off: i16) -> Option<(Reg, [Pc; 2])> {
    let (before, after) = (pc.offset(-distance)?, pc.offset(distance)?);
    let (spilled, spill_off) = spill(env.insn(before)?)?;
    let (filled, fill_off) = fill(env.insn(after)?)?;
    let fits = spilled == filled && spill_off == off && fill_off == off;
    fits.then_some((spilled, [before, after]))
}

/// The register and the offset, if the instruction spills a whole register to the own stack.
const fn spill(insn: Insn) -> Option<(Reg, i16)> {
    let Insn::Store { size: Size::DW, base: Reg::FP, off, src: Operand::Reg(reg) } = insn else {
        return None;
    };
    Some((reg, off))
}

const fn fill(insn: Insn) -> Option<(Reg, i16)> {
    let Insn::Load { size: Size::DW, ext: Extension::Unsigned, dst, base: Reg::FP, off } = insn
    else {
        return None;
    };
    Some((dst, off))
}
