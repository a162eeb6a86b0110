//! Packets, the old way: `LD_ABS` and `LD_IND`.

use bpf_abi::prog::ProgType;
use bpf_isa::Reg;

use crate::call;
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::memory::bounds::{FixedOffset, check_offset};
use crate::state::{PointerKind, Value};
use crate::step::{StepError, exit, target};

/// The register that holds the context.
const CONTEXT: Reg = Reg::R6;

/// Whether programs of this type may load so. Linux: `may_access_skb`.
pub(crate) const fn is_allowed(prog_type: ProgType) -> bool {
    matches!(prog_type, ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct)
}

/// A load of the packet behind the context, at an immediate plus a register.
///
/// Linux: `check_ld_abs`.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>, index: Option<Reg>) -> Result<Next, Reason> {
    if !is_allowed(cx.env.kind.prog_type) {
        return Err(StepError::LegacyType.into());
    }
    let context = cx.read(CONTEXT)?;
    // Outside of the packet, the program ends here.
    exit::check_resources(cx, exit::Check::Locks, "BPF_LD_[ABS|IND]")?;
    let Value::Pointer(pointer) = context else { return Err(StepError::LegacyR6.into()) };
    if pointer.kind != PointerKind::Ctx || pointer.maybe_null() {
        return Err(StepError::LegacyR6.into());
    }
    if let Some(index) = index {
        cx.read(index)?;
    }
    check_offset(&pointer, CONTEXT, FixedOffset::Forbidden)?;
    call::clobber(cx);
    cx.set_unknown(Reg::R0);
    if cx.state.depth().0 == 0 {
        return Ok(Next::Fallthrough);
    }
    // In a function, the end of the program is a return of zero.
    let next = target(cx, 0);
    cx.push_branch(next)?;
    cx.set(Reg::R0, Value::constant(0));
    exit::leave_function(cx).map(Next::Jump)
}
