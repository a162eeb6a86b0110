//! Kernel functions: the contract is in BTF.

use bpf_btf::TypeId;
use bpf_isa::Call;

use crate::call::CallError;
use crate::cx::{Next, StepCx};
use crate::error::Reason;

/// Whether a kernel function may be called with a lock held.
pub(crate) const fn allowed_under_lock(_cx: &StepCx<'_, '_>, callee: Call) -> bool {
    !matches!(callee, Call::Kfunc { .. })
}

/// A call of a kernel function. Linux: `check_kfunc_call`.
pub(crate) fn call(cx: &mut StepCx<'_, '_>, btf_id: i32, btf: i16) -> Result<Next, Reason> {
    let _ = btf;
    let id = u32::try_from(btf_id).unwrap_or(0);
    let name = cx.env.host.kernel_btf().map_or("", |btf| btf.name_of(TypeId(id))).to_owned();
    let text = format!("calling kernel function {name} is not allowed");
    Err(CallError::KfuncDenied { text }.into())
}
