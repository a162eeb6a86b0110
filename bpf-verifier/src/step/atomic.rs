//! Read-modify-write, acquire and release.

use bpf_isa::{AtomicOp, Extension, Operand, Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{self, Access, What, type_name};
use crate::state::{PointerKind, Value};
use crate::step::{StepError, load_store};

/// A read-modify-write of `*(size *)(base + off)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modify {
    /// What is done.
    pub(crate) op: AtomicOp,
    /// How many bytes.
    pub(crate) size: Size,
    /// The address.
    pub(crate) base: Reg,
    /// Added to the address.
    pub(crate) off: i16,
    /// The operand.
    pub(crate) src: Reg,
}

impl Modify {
    /// The register that receives the old value.
    const fn result(self) -> Option<Reg> {
        match self.op {
            AtomicOp::Add { fetch }
            | AtomicOp::Or { fetch }
            | AtomicOp::And { fetch }
            | AtomicOp::Xor { fetch } => {
                if fetch {
                    Some(self.src)
                } else {
                    None
                }
            }
            AtomicOp::Xchg => Some(self.src),
            AtomicOp::CmpXchg => Some(Reg::R0),
        }
    }
}

/// Linux: `check_atomic_rmw`.
pub(crate) fn modify(cx: &mut StepCx<'_, '_>, modify: Modify) -> Result<(), Reason> {
    let Modify { op, size, base, off, src } = modify;
    cx.read(src)?;
    let address = cx.read(base)?;
    if op == AtomicOp::CmpXchg {
        cx.read(Reg::R0)?;
    }
    if !is_allowed(&address) {
        let ty = type_name(Some(&address));
        return Err(StepError::AtomicStore { reg: base, ty }.into());
    }
    let access = |what| Access { base, off: i32::from(off), size, what, aligned: true };
    let result = modify.result();
    if let Some(result) = result {
        cx.check_writable(result)?;
        cx.set_unknown(result);
    }
    memory::access(cx, access(What::Read))?;
    if let Some(result) = result {
        memory::access(cx, access(What::Load(result, Extension::Unsigned)))?;
    }
    let still = cx.state.reg(base).copied();
    if is_arena(still.as_ref()) {
        load_store::note_arena(cx)?;
    }
    memory::access(cx, access(What::Write))
}

/// Linux: `check_atomic_load`.
pub(crate) fn load_acquire(
    cx: &mut StepCx<'_, '_>,
    size: Size,
    dst: Reg,
    base: Reg,
    off: i16,
) -> Result<(), Reason> {
    let load = load_store::Load { size, ext: Extension::Unsigned, dst, base, off, aligned: true };
    load_store::load(cx, load)?;
    match cx.state.reg(base).copied() {
        Some(address) if !is_allowed(&address) => {
            let ty = type_name(Some(&address));
            Err(StepError::AtomicLoad { reg: base, ty }.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Linux: `check_atomic_store`.
pub(crate) fn store_release(
    cx: &mut StepCx<'_, '_>,
    size: Size,
    base: Reg,
    off: i16,
    src: Reg,
) -> Result<(), Reason> {
    cx.read(src)?;
    let address = cx.read(base)?;
    let what = What::Store(Operand::Reg(src));
    memory::access(cx, Access { base, off: i32::from(off), size, what, aligned: true })?;
    load_store::note_memory(cx, &address, load_store::Merge::Never)?;
    if !is_allowed(&address) {
        let ty = type_name(Some(&address));
        return Err(StepError::AtomicStore { reg: base, ty }.into());
    }
    Ok(())
}

/// Whether atomic operations reach such memory. Linux: `atomic_ptr_type_ok`.
fn is_allowed(address: &Value) -> bool {
    let Value::Pointer(pointer) = address else { return true };
    match pointer.kind {
        PointerKind::Ctx
        | PointerKind::Packet { .. }
        | PointerKind::PacketMeta { .. }
        | PointerKind::FlowKeys
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. } => pointer.maybe_null(),
        PointerKind::MapPtr { .. }
        | PointerKind::MapValue { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::Stack { .. }
        | PointerKind::PacketEnd
        | PointerKind::TpBuffer
        | PointerKind::Btf { .. }
        | PointerKind::Mem { .. }
        | PointerKind::Buf
        | PointerKind::Arena
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => true,
    }
}

pub(super) fn is_arena(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Pointer(pointer)) if pointer.kind == PointerKind::Arena)
}
