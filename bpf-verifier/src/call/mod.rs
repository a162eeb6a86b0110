//! Contracts at call sites.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "rules name what they allow; all that they do not name is refused"
)]

mod error;
pub(crate) mod helper;
pub(crate) mod args;
pub(crate) mod sizes;
pub(crate) mod map_compat;
pub(crate) mod returns;
pub(crate) mod prototype;
pub(crate) mod function;
pub(crate) mod global;
pub(crate) mod callback;
pub(crate) mod objects;
pub(crate) mod locks;
pub(crate) mod fields;
pub(crate) mod strings;
pub(crate) mod kfunc;
pub(crate) mod kfunc_args;
mod kfunc_error;
pub(crate) mod graph;
pub(crate) mod iterators;

use bpf_isa::{Call, Reg};

use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::state::{Held, Keep, PointerKind, Value};

pub use error::CallError;
pub use kfunc_error::KfuncError;

/// The registers that a call leaves unwritten. Linux: `caller_saved`.
const CALLER_SAVED: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// The helper that may be called with a lock held.
const UNLOCK: i32 = 94;

/// A call.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>, callee: Call) -> Result<Next, Reason> {
    if cx.state.refs.active_locks > 0 {
        let allowed = match callee {
            Call::Helper(id) => id == UNLOCK,
            Call::Local(_) => true,
            Call::Kfunc { .. } => kfunc::allowed_under_lock(cx, callee),
        };
        if !allowed {
            return Err(CallError::LockedCall.into());
        }
    }
    cx.env.scratched.reg(Reg::R0);
    match callee {
        Call::Helper(id) => helper::call(cx, id),
        Call::Local(off) => function::call(cx, off),
        Call::Kfunc { btf_id, btf_fd_idx } => kfunc::call(cx, btf_id, btf_fd_idx),
    }
}

/// What a call leaves in the registers that nobody keeps: nothing.
///
/// Linux: `clear_caller_saved_regs`.
pub(crate) fn clobber(cx: &mut StepCx<'_, '_>) {
    for reg in CALLER_SAVED {
        cx.env.scratched.reg(reg);
        cx.state.set(reg, None);
    }
}

/// The packet may have moved: nothing that pointed into it points anywhere.
///
/// Linux: `clear_all_pkt_pointers`.
pub(crate) fn forget_packets(cx: &mut StepCx<'_, '_>) {
    let mut slices = Vec::new();
    for frame in cx.state.frames() {
        for slot in frame.stack.slots() {
            if let Held::Dynptr(part) = slot.held
                && objects::is_packet(part.kind)
            {
                slices.extend(part.id);
            }
        }
    }
    cx.state.for_each_value(|value| {
        let Value::Pointer(pointer) = value else { return Keep::Yes };
        let slice = match pointer.kind {
            PointerKind::Mem { dynptr: Some(id), .. } => slices.contains(&id),
            _ => false,
        };
        if pointer.is_any_packet() || slice {
            *value = Value::UNKNOWN;
        }
        Keep::Yes
    });
}

/// Gives an object back: whatever depended on it is a mere number.
///
/// Linux: `release_reference`.
pub(crate) fn release(cx: &mut StepCx<'_, '_>, id: crate::state::Id) -> bool {
    if !cx.state.refs.release(id) {
        return false;
    }
    cx.state.for_each_value(|value| {
        if let Value::Pointer(pointer) = value
            && pointer.ref_id == Some(id)
        {
            *value = Value::UNKNOWN;
        }
        Keep::Yes
    });
    true
}
