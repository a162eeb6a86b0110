//! Offset and range against size, and alignment.

use bpf_abi::prog::ProgFlags;
use bpf_isa::{Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{Access, MemoryError, What, pointer_name, variable_part};
use crate::scalar::Tnum;
use crate::state::{Number, PacketRange, Pointer, PointerKind, Value};

/// Variable offsets from here on are not followed: sums with them could overflow.
///
/// Linux: `BPF_MAX_VAR_OFF`.
pub(crate) const MAX_VARIABLE: i64 = 1 << 29;

/// Where the packet's network header is aligned when drivers align anything.
///
/// Linux: `NET_IP_ALIGN`, which strict alignment takes for 2.
const IP_ALIGN: u32 = 2;

/// How many bytes the pointer's object has. Linux: the `mem_size` of `check_mem_region_access`.
pub(crate) fn room(cx: &StepCx<'_, '_>, pointer: &Pointer) -> u32 {
    match pointer.kind {
        PointerKind::MapKey { map, .. } => cx.env.map(map).key_size,
        PointerKind::MapValue { map, .. } => cx.env.map(map).value_size,
        PointerKind::Mem { size, .. } => size,
        PointerKind::Packet { range } | PointerKind::PacketMeta { range } => {
            u32::try_from(range.0).unwrap_or(0)
        }
        PointerKind::Ctx
        | PointerKind::MapPtr { .. }
        | PointerKind::Stack { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::TpBuffer
        | PointerKind::Btf { .. }
        | PointerKind::Buf
        | PointerKind::Arena
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => 0,
    }
}

/// Whether `size` bytes at the fixed offset `off` lie in the `room` bytes of an object.
///
/// Linux: `__check_mem_access`.
pub(crate) fn check_fixed(
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    room: u32,
    zero_allowed: bool,
) -> Result<(), MemoryError> {
    let size_fits = size > 0 || (size == 0 && zero_allowed);
    if off >= 0 && size_fits && off + size <= i64::from(room) {
        return Ok(());
    }
    // The kernel computes with 32 bits here, and says so.
    let off = i64::from(truncate(off));
    Err(match pointer.kind {
        PointerKind::MapKey { .. } => MemoryError::OutsideKey { room, off, size },
        PointerKind::MapValue { .. } => MemoryError::OutsideValue { room, off, size },
        PointerKind::Packet { range } | PointerKind::PacketMeta { range } => {
            let id = pointer.id.map_or(0, |id| id.number());
            let PacketRange(range) = range;
            MemoryError::OutsideRange { off, size, reg, id, range }
        }
        PointerKind::Ctx
        | PointerKind::MapPtr { .. }
        | PointerKind::Stack { .. }
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
        | PointerKind::Dynptr { .. } => MemoryError::OutsideMem { room, off, size },
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is shown")]
const fn truncate(off: i64) -> i32 {
    off as i32
}

/// Whether `size` bytes at `off` and any variable offset lie in an object.
///
/// The smallest offset is judged, then the greatest; what lies between follows.
///
/// Linux: `check_mem_region_access`.
pub(crate) fn check_region(
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    room: u32,
    zero_allowed: bool,
) -> Result<(), Reason> {
    let delta = &pointer.delta;
    let least = delta.smin().checked_add(off);
    if delta.smin() < 0
        && least.is_none_or(|least| i64::from(truncate(least)) != least || least < 0)
    {
        return Err(MemoryError::NegativeMin { reg }.into());
    }
    let least = delta.smin().wrapping_add(off);
    if let Err(miss) = check_fixed(pointer, reg, least, size, room, zero_allowed) {
        return Err(MemoryError::MinOutside { miss: Box::new(miss), reg }.into());
    }
    if delta.umax() >= MAX_VARIABLE.cast_unsigned() {
        return Err(MemoryError::Unbounded { reg }.into());
    }
    let most = delta.umax().cast_signed().wrapping_add(off);
    if let Err(miss) = check_fixed(pointer, reg, most, size, room, zero_allowed) {
        return Err(MemoryError::MaxOutside { miss: Box::new(miss), reg }.into());
    }
    Ok(())
}

/// Whether a fixed offset is meant and allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixedOffset {
    /// The pointer must not have been moved.
    Forbidden,
    /// It may have been moved forward by a known number.
    Allowed,
}

/// Checks that a pointer was not moved where the kernel wants it as it gave it.
///
/// Linux: `__check_ptr_off_reg`.
pub(crate) fn check_offset(
    pointer: &Pointer,
    reg: Reg,
    fixed: FixedOffset,
) -> Result<(), MemoryError> {
    let ty = || pointer_name(pointer);
    if pointer.off < 0 {
        return Err(MemoryError::NegativeOffset { ty: ty(), reg, off: pointer.off });
    }
    if fixed == FixedOffset::Forbidden && pointer.off != 0 {
        return Err(MemoryError::Moved { ty: ty(), reg, off: pointer.off });
    }
    if !pointer.delta.is(0) {
        return Err(MemoryError::Variable { ty: ty(), var: pointer.delta.bits });
    }
    Ok(())
}

/// Whether the access must be aligned.
fn is_strict(cx: &StepCx<'_, '_>, access: &Access) -> bool {
    let flags = cx.env.spec.flags;
    let strict = flags.contains(ProgFlags::STRICT_ALIGNMENT);
    access.aligned || (strict && !flags.contains(ProgFlags::ANY_ALIGNMENT))
}

/// Checks that an access is aligned, where the host or the caller demands it.
///
/// Linux: `check_ptr_alignment`.
pub(crate) fn check_alignment(
    cx: &StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
) -> Result<(), MemoryError> {
    let strict = is_strict(cx, access);
    let what = match pointer.kind {
        PointerKind::Packet { .. } | PointerKind::PacketMeta { .. } => {
            return check_packet_alignment(pointer, access, strict);
        }
        PointerKind::Arena => return Ok(()),
        // Spilled pointers are tracked only in aligned slots.
        PointerKind::Stack { .. } => return aligned("stack ", pointer, access, true),
        PointerKind::FlowKeys => "flow keys ",
        PointerKind::MapKey { .. } => "key ",
        PointerKind::MapValue { .. } => "value ",
        PointerKind::Ctx => "context ",
        PointerKind::Socket { .. } => "sock ",
        PointerKind::SockCommon => "sock_common ",
        PointerKind::TcpSock => "tcp_sock ",
        PointerKind::XdpSock { .. } => "xdp_sock ",
        PointerKind::MapPtr { .. }
        | PointerKind::PacketEnd
        | PointerKind::TpBuffer
        | PointerKind::Btf { .. }
        | PointerKind::Mem { .. }
        | PointerKind::Buf
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => "",
    };
    // A pointer that may be null has a type of its own, without a name here.
    let what = if pointer.maybe_null() || !pointer.flags.is_empty() { "" } else { what };
    aligned(what, pointer, access, strict)
}

/// The same for what is no pointer: numbers are aligned or not like offsets.
pub(crate) fn check_scalar_alignment(
    cx: &StepCx<'_, '_>,
    value: Option<&Value>,
    access: &Access,
) -> Result<(), MemoryError> {
    let strict = is_strict(cx, access);
    let var = value.map_or(Tnum::UNKNOWN, |value| variable_part(value).bits);
    // The kernel keeps a scalar's distance from its group where a pointer's offset is.
    let fixed =
        value.and_then(Value::as_scalar).and_then(Number::delta).map_or(0, |delta| delta.by);
    check_generic("", var, fixed, access, strict)
}

/// Linux: `check_generic_ptr_alignment`.
fn aligned(
    what: &'static str,
    pointer: &Pointer,
    access: &Access,
    strict: bool,
) -> Result<(), MemoryError> {
    check_generic(what, pointer.delta.bits, pointer.off, access, strict)
}

fn check_generic(
    what: &'static str,
    var: Tnum,
    fixed: i32,
    access: &Access,
    strict: bool,
) -> Result<(), MemoryError> {
    let size = access.size.bytes();
    if !strict || size == 1 {
        return Ok(());
    }
    let off = i64::from(access.off);
    let place = var.add(Tnum::constant((i64::from(fixed) + off).cast_unsigned()));
    if place.is_aligned(u64::from(size)) {
        return Ok(());
    }
    Err(MemoryError::Misaligned { what, var, fixed, off, size })
}

/// Linux: `check_pkt_ptr_alignment`.
fn check_packet_alignment(
    pointer: &Pointer,
    access: &Access,
    strict: bool,
) -> Result<(), MemoryError> {
    let size = access.size.bytes();
    if !strict || size == 1 {
        return Ok(());
    }
    let (var, fixed, off) = (pointer.delta.bits, pointer.off, i64::from(access.off));
    let start = i64::from(IP_ALIGN) + i64::from(fixed) + off;
    if var.add(Tnum::constant(start.cast_unsigned())).is_aligned(u64::from(size)) {
        return Ok(());
    }
    Err(MemoryError::MisalignedPacket { ip_align: IP_ALIGN, var, fixed, off, size })
}

/// Checks that memory of a helper's argument is aligned to its size.
pub(crate) fn check_argument_alignment(
    cx: &StepCx<'_, '_>,
    pointer: &Pointer,
    size: Size,
) -> Result<(), Reason> {
    let what = What::Read;
    let access = Access { base: Reg::R0, off: 0, size, what, aligned: true };
    Ok(check_alignment(cx, pointer, &access)?)
}
