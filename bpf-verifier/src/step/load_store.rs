//! Loads and stores.

use bpf_abi::image::MemoryClass;
use bpf_isa::{Extension, Operand, Reg, Size};

use crate::cx::StepCx;
use crate::env::MemoryType;
use crate::error::Reason;
use crate::memory::{self, Access, What};
use crate::state::{Pointer, PointerKind, PtrFlags, Value};
use crate::step::{StepError, check_sane};

/// `dst = *(size *)(base + off)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many bytes.
    pub(crate) size: Size,
    /// How the rest of the register is filled.
    pub(crate) ext: Extension,
    /// Where it goes.
    pub(crate) dst: Reg,
    /// The address.
    pub(crate) base: Reg,
    /// Added to the address.
    pub(crate) off: i16,
    /// Whether it is atomic, which must be aligned.
    pub(crate) aligned: bool,
}

/// A load. Linux: `check_load_mem`.
pub(crate) fn load(cx: &mut StepCx<'_, '_>, load: Load) -> Result<(), Reason> {
    let Load { size, ext, dst, base, off, aligned } = load;
    let value = cx.read(base)?;
    cx.check_writable(dst)?;
    let access = Access { base, off: i32::from(off), size, what: What::Load(dst, ext), aligned };
    memory::access(cx, access)?;
    // An atomic load may not fall back to one that tolerates faults.
    let merge = if aligned { Merge::Never } else { Merge::Trust };
    note_memory(cx, &value, merge)?;
    if let Some(Value::Scalar(number)) = cx.state.reg(dst).copied() {
        let mut set = number.set;
        check_sane(cx, &mut set, if aligned { "atomic_load" } else { "ldx" })?;
        cx.state.set(dst, Some(Value::Scalar(crate::state::Number { set, ..number })));
    }
    Ok(())
}

/// A store. Linux: `check_store_reg`.
pub(crate) fn store(
    cx: &mut StepCx<'_, '_>,
    size: Size,
    base: Reg,
    off: i16,
    src: Operand,
) -> Result<(), Reason> {
    if let Operand::Reg(src) = src {
        cx.read(src)?;
    }
    let value = cx.read(base)?;
    let what = What::Store(src);
    memory::access(cx, Access { base, off: i32::from(off), size, what, aligned: false })?;
    note_memory(cx, &value, Merge::Never)
}

/// Whether one instruction may meet pointers that differ only in how far they are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// It may, and takes both for untrusted.
    Trust,
    /// It may not.
    Never,
}

/// Objects that somebody holds, so that they cannot go while they are looked at.
///
/// Linux: `convert_ctx_accesses`, where it does not make `BPF_PROBE_MEM`.
const HELD: PtrFlags = PtrFlags::ALLOC.union(PtrFlags::TRUSTED).union(PtrFlags::RCU);

/// Remembers what the instruction touches: rewriting needs one answer for all paths.
///
/// Linux: `save_aux_ptr_type`.
pub(crate) fn note_memory(
    cx: &mut StepCx<'_, '_>,
    value: &Value,
    merge: Merge,
) -> Result<(), Reason> {
    let Value::Pointer(pointer) = value else { return Ok(()) };
    let pc = cx.pc;
    let note = cx.env.note_mut(pc);
    note.touched.add(class_of(&pointer.kind));
    note.may_fault |= pointer.flags.contains(PtrFlags::UNTRUSTED)
        || (matches!(pointer.kind, PointerKind::Btf { .. }) && !pointer.flags.intersects(HELD));
    let note = &mut note.memory;
    let Some(seen) = note else {
        *note = Some(MemoryType { kind: pointer.kind, flags: pointer.flags });
        return Ok(());
    };
    let same = std::mem::discriminant(&seen.kind) == std::mem::discriminant(&pointer.kind)
        && seen.flags == pointer.flags;
    if same || (tolerates_others(&seen.kind) && tolerates_others(&pointer.kind)) {
        return Ok(());
    }
    if merge == Merge::Trust && is_mem_or_object(&seen.kind) && is_mem_or_object(&pointer.kind) {
        if matches!(pointer.kind, PointerKind::Mem { .. }) {
            seen.kind = pointer.kind;
        }
        let kept = PtrFlags::UNTRUSTED | PtrFlags::RDONLY;
        seen.flags = (seen.flags | pointer.flags) & kept;
        return Ok(());
    }
    Err(StepError::DifferentPointers.into())
}

/// What engines may know of the memory: classes that nothing of another class lies in.
const fn class_of(kind: &PointerKind) -> Option<MemoryClass> {
    match kind {
        PointerKind::Stack { .. } => Some(MemoryClass::Stack),
        PointerKind::Ctx => Some(MemoryClass::Context),
        PointerKind::Packet { .. } | PointerKind::PacketMeta { .. } => Some(MemoryClass::Packet),
        PointerKind::MapValue { .. } => Some(MemoryClass::MapValue),
        PointerKind::MapPtr { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::TpBuffer
        | PointerKind::Btf { .. }
        | PointerKind::Mem { .. }
        | PointerKind::Buf
        | PointerKind::Arena
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => None,
    }
}

const fn is_mem_or_object(kind: &PointerKind) -> bool {
    matches!(kind, PointerKind::Mem { .. } | PointerKind::Btf { .. })
}

/// Whether loads through such pointers are rewritten like any other.
///
/// Linux: `reg_type_mismatch_ok`.
const fn tolerates_others(kind: &PointerKind) -> bool {
    match kind {
        PointerKind::Ctx
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::Btf { .. }
        | PointerKind::Arena => false,
        PointerKind::MapPtr { .. }
        | PointerKind::MapValue { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::Stack { .. }
        | PointerKind::Packet { .. }
        | PointerKind::PacketMeta { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::TpBuffer
        | PointerKind::Mem { .. }
        | PointerKind::Buf
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => true,
    }
}

/// Notes that the instruction touches an arena.
pub(crate) fn note_arena(cx: &mut StepCx<'_, '_>) -> Result<(), Reason> {
    note_memory(cx, &Value::Pointer(Pointer::to(PointerKind::Arena)), Merge::Never)
}
