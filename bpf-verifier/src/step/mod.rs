//! What each instruction does, one file a family.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "rules name what they allow; all that they do not name is refused"
)]

mod error;
pub(crate) mod alu;
pub(crate) mod pointer;
pub(crate) mod branch;
pub(crate) mod null;
pub(crate) mod packet;
pub(crate) mod load_imm;
pub(crate) mod load_store;
pub(crate) mod atomic;
pub(crate) mod legacy;
pub(crate) mod exit;

use bpf_abi::prog::ProgFlags;
use bpf_isa::{Insn, Pc};

use crate::call;
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::scalar::Scalar;

pub use error::StepError;

/// Walks one instruction: checks it, changes the state, and says where the path goes.
///
/// Linux: `do_check_insn`.
///
/// # Errors
///
/// Returns an error if the program may not do that.
pub fn insn(cx: &mut StepCx<'_, '_>, insn: Insn) -> Result<Next, Reason> {
    match insn {
        Insn::Alu { .. }
        | Insn::AluSigned { .. }
        | Insn::Neg { .. }
        | Insn::MovSx { .. }
        | Insn::Endian { .. }
        | Insn::AddrSpaceCast { .. } => alu::insn(cx, insn)?,
        Insn::LoadImm64 { dst, imm } => {
            load_imm::insn(cx, dst, imm)?;
            return Ok(jump(cx, 1));
        }
        Insn::SecondSlot => {}
        Insn::Load { size, ext, dst, base, off } => {
            load_store::load(cx, load_store::Load { size, ext, dst, base, off, aligned: false })?;
        }
        Insn::Store { size, base, off, src } => load_store::store(cx, size, base, off, src)?,
        Insn::Atomic { op, size, base, off, src } => {
            atomic::modify(cx, atomic::Modify { op, size, base, off, src })?;
        }
        Insn::LoadAcquire { size, dst, base, off } => {
            atomic::load_acquire(cx, size, dst, base, off)?;
        }
        Insn::StoreRelease { size, base, off, src } => {
            atomic::store_release(cx, size, base, off, src)?;
        }
        Insn::LoadAbs { .. } => return legacy::insn(cx, None),
        Insn::LoadInd { src, .. } => return legacy::insn(cx, Some(src)),
        Insn::Jump { off, .. } => return Ok(jump(cx, i64::from(off))),
        Insn::JumpIf { op, width, dst, src, off } => {
            let compare = branch::Compare { op, width, dst, src, off };
            return branch::insn(cx, compare);
        }
        Insn::MayGoto { off } => return branch::may_goto(cx, off),
        Insn::Call(callee) => return call::insn(cx, callee),
        Insn::Exit => return exit::insn(cx),
    }
    Ok(Next::Fallthrough)
}

/// To the instruction `off` slots after the next one.
pub(crate) fn jump(cx: &StepCx<'_, '_>, off: i64) -> Next {
    Next::Jump(target(cx, off))
}

/// The instruction `off` slots after the next one.
pub(crate) fn target(cx: &StepCx<'_, '_>, off: i64) -> Pc {
    // The passes before the walk refuse jumps out of the program.
    cx.pc.offset(1 + off).unwrap_or(Pc(u32::MAX))
}

/// Notices where the parts of a number contradict each other: then nothing can be said of it.
///
/// Linux: `reg_bounds_sanity_check`.
pub(crate) fn check_sane(
    cx: &mut StepCx<'_, '_>,
    set: &mut Scalar,
    context: &str,
) -> Result<(), Reason> {
    let Some(violation) = set.violation() else { return Ok(()) };
    let text = format!("({context}): {violation}");
    let flags = cx.env.spec.flags;
    if flags.contains(ProgFlags::TEST_REG_INVARIANTS) {
        return Err(StepError::Invariants { text }.into());
    }
    cx.env.log.print(format_args!("verifier bug: REG INVARIANTS VIOLATION {text}\n"));
    set.forget_ranges();
    Ok(())
}
