//! Memory that is handed to a callee, and the register that measures it.

use bpf_isa::Reg;

use crate::call::helper::Meta;
use crate::call::{CallError, args};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::bounds::MAX_VARIABLE;
use crate::memory::stack::{Range, Way};
use crate::memory::type_name;
use crate::memory::{bounds, btf, buffer, context, map_value, packet, read_only};
use crate::state::{PointerKind, PtrFlags, Value};

/// Memory that a callee reads or writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The register that holds its address.
    pub(crate) reg: Reg,
    /// How many bytes.
    pub(crate) size: i64,
    /// Whether they are read or written.
    pub(crate) way: Way,
    /// Whether there may be none.
    pub(crate) zero_allowed: bool,
    /// Whether what is in them before does not matter.
    pub(crate) raw: bool,
}

/// Checks memory handed to a callee. Says whether it is stack that the callee fills, which is
/// still to be written.
///
/// Linux: `check_helper_mem_access`.
pub(crate) fn check_memory(cx: &mut StepCx<'_, '_>, memory: Memory) -> Result<bool, Reason> {
    let Memory { reg, size, way, zero_allowed, raw } = memory;
    let Some(&value) = cx.state.reg(reg) else { return Ok(false) };
    let Value::Pointer(pointer) = value else { return no_memory(&memory, &value) };
    let writes = way == Way::Write;
    let off = i64::from(pointer.off);
    let rdonly = pointer.flags.contains(PtrFlags::RDONLY);
    match pointer.kind {
        PointerKind::Packet { .. } | PointerKind::PacketMeta { .. } => {
            packet::check(cx, &pointer, reg, off, size, zero_allowed)?;
        }
        PointerKind::MapKey { .. } => {
            if writes {
                return Err(read_only(&pointer, reg).into());
            }
            let room = bounds::room(cx, &pointer);
            bounds::check_region(&pointer, reg, off, size, room, false)?;
        }
        PointerKind::MapValue { map, .. } => {
            map_value::check_permission(cx.env.map(map), off, size, writes)?;
            map_value::check(cx, &pointer, reg, off, size, zero_allowed, map_value::By::Helper)?;
        }
        PointerKind::Mem { .. } => {
            if rdonly && writes {
                return Err(read_only(&pointer, reg).into());
            }
            let room = bounds::room(cx, &pointer);
            bounds::check_region(&pointer, reg, off, size, room, zero_allowed)?;
        }
        PointerKind::Buf => {
            if rdonly && writes {
                return Err(read_only(&pointer, reg).into());
            }
            buffer::check_argument(&pointer, reg, off, size)?;
        }
        PointerKind::Stack { .. } => {
            let range = Range { zero_allowed, way, raw };
            return crate::memory::stack::check_range(cx, &pointer, reg, off, size, range);
        }
        PointerKind::Btf { .. } => btf::check_argument(cx, &pointer, reg, off, size)?,
        PointerKind::Ctx if context::is_bytes(cx) => {
            context::check_argument(cx, &pointer, reg, size, way, zero_allowed)?;
        }
        PointerKind::Ctx
        | PointerKind::MapPtr { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::TpBuffer
        | PointerKind::Arena
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => return no_memory(&memory, &value),
    }
    Ok(false)
}

/// Nothing is no memory, unless nothing is asked for.
fn no_memory(memory: &Memory, value: &Value) -> Result<bool, Reason> {
    if memory.zero_allowed && memory.size == 0 && value.is_null() {
        return Ok(false);
    }
    let ty = type_name(Some(value));
    Err(CallError::WrongType { reg: memory.reg, ty, expected: "fp" }.into())
}

/// Checks a size, and the memory before it that it measures.
///
/// Linux: `check_mem_size_reg`.
pub(crate) fn check_size(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    reg: Reg,
    way: Way,
    zero_allowed: bool,
) -> Result<(), Reason> {
    let Some(&value) = cx.state.reg(reg) else { return Ok(()) };
    let set = *args::set_of(&value);
    meta.most = set.umax();
    let raw = meta.raw && set.is_const();
    let Some(memory) = Reg::new(reg.number() - 1) else { return Ok(()) };
    let fill = measured(cx, Measure { memory, reg, way, zero_allowed, raw })?;
    let size = set.umax().cast_signed();
    args::note_fill(meta, memory, size, fill);
    Ok(())
}

/// Memory and the register that measures it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// The register that holds the address.
    pub(crate) memory: Reg,
    /// The register that holds the size.
    pub(crate) reg: Reg,
    /// Whether it is read or written.
    pub(crate) way: Way,
    /// Whether the size may be zero.
    pub(crate) zero_allowed: bool,
    /// Whether what is in the memory before does not matter.
    pub(crate) raw: bool,
}

/// Checks memory by the greatest size that the register may hold.
pub(crate) fn measured(cx: &mut StepCx<'_, '_>, measure: Measure) -> Result<bool, Reason> {
    let Measure { memory, reg, way, zero_allowed, raw } = measure;
    let Some(&value) = cx.state.reg(reg) else { return Ok(false) };
    let set = *args::set_of(&value);
    if set.smin() < 0 {
        return Err(CallError::NegativeSize { reg }.into());
    }
    if set.umin() == 0 && !zero_allowed {
        let (min, max) = (set.umin().cast_signed(), set.umax().cast_signed());
        return Err(CallError::ZeroSize { reg, min, max }.into());
    }
    if set.umax() >= MAX_VARIABLE.cast_unsigned() {
        return Err(CallError::UnboundedSize { reg }.into());
    }
    let size = set.umax().cast_signed();
    let fill = check_memory(cx, Memory { reg: memory, size, way, zero_allowed, raw })?;
    cx.mark_precise(reg)?;
    Ok(fill)
}
