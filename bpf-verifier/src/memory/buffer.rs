//! Sized memory: sockets, flow keys, tracepoint buffers, buffers of iterators and options.

use bpf_isa::{Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{Access, MemoryError, loaded_unknown, pointer_name, read_only};
use crate::state::{Pointer, PointerKind, PtrFlags};

/// The size of `struct bpf_flow_keys`, in bytes.
const FLOW_KEYS_SIZE: i64 = 56;

/// Linux: `check_flow_keys_access`.
pub(crate) fn check_flow_keys(off: i64, size: Size) -> Result<(), MemoryError> {
    let size = size.bytes();
    if off < 0 || off + i64::from(size) > FLOW_KEYS_SIZE {
        return Err(MemoryError::FlowKeys { off, size });
    }
    Ok(())
}

/// An access to a socket.
///
/// Linux: `check_sock_access`.
pub(crate) fn socket(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    if access.what.writes() {
        return Err(read_only(pointer, access.base).into());
    }
    if pointer.delta.smin() < 0 {
        return Err(MemoryError::NegativeMin { reg: access.base }.into());
    }
    let size = access.size.bytes();
    let readable = u32::try_from(off).is_ok_and(|off| match pointer.kind {
        PointerKind::Socket { .. } => in_sock(off, size),
        PointerKind::SockCommon => in_sock(off, size) && !in_full_sock(off),
        PointerKind::TcpSock => in_tcp_sock(off, size),
        PointerKind::XdpSock { .. } => off == 0 && size == 4,
        _ => false,
    });
    if !readable {
        let ty = pointer_name(pointer);
        return Err(MemoryError::Socket { reg: access.base, ty, off, size }.into());
    }
    loaded_unknown(cx, access);
    Ok(())
}

/// Fields of `struct bpf_sock` that only full sockets have: type, protocol, mark, priority.
const fn in_full_sock(off: u32) -> bool {
    off >= 8 && off < 24
}

/// Linux: `bpf_sock_is_valid_access`.
const fn in_sock(off: u32, size: u32) -> bool {
    if off >= 80 || !off.is_multiple_of(size) || size == 8 {
        return false;
    }
    match off {
        // src_ip4, src_ip6; dst_ip4, dst_ip6: any part.
        24..44 | 52..72 => true,
        // dst_port: the upper half of its word is nothing.
        48 => true,
        49 => size == 1,
        // family, type, protocol; src_port; state; rx_queue_mapping: from their beginning.
        4 | 8 | 12 | 44 | 72 | 76 => true,
        // bound_dev_if, mark, priority: whole.
        0 | 16 | 20 => size == 4,
        _ => false,
    }
}

/// Linux: `bpf_tcp_sock_is_valid_access`.
const fn in_tcp_sock(off: u32, size: u32) -> bool {
    if off >= 112 || !off.is_multiple_of(size) {
        return false;
    }
    match off {
        // bytes_received, bytes_acked
        80 | 88 => size == 8,
        _ => size == 4,
    }
}

/// An access to a writable tracepoint's buffer.
///
/// Linux: `check_tp_buffer_access`.
pub(crate) fn tracepoint(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let end = check_buffer(pointer, access.base, "tracepoint", off, access.size)?;
    let found = &mut cx.env.found;
    found.max_tp_access = found.max_tp_access.max(end);
    loaded_unknown(cx, access);
    Ok(())
}

/// An access to a buffer whose size is checked at attachment.
///
/// Linux: `check_buffer_access`.
pub(crate) fn buffer(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let rdonly = pointer.flags.contains(PtrFlags::RDONLY);
    if access.what.writes() && rdonly {
        return Err(read_only(pointer, access.base).into());
    }
    let name = if rdonly { "rdonly" } else { "rdwr" };
    check_buffer(pointer, access.base, name, off, access.size)?;
    loaded_unknown(cx, access);
    Ok(())
}

/// Returns the offset behind the access. Linux: `__check_buffer_access`.
fn check_buffer(
    pointer: &Pointer,
    reg: Reg,
    buffer: &'static str,
    off: i64,
    size: Size,
) -> Result<u32, MemoryError> {
    let size = size.bytes();
    if off < 0 {
        return Err(MemoryError::BufferNegative { reg, buffer, off, size });
    }
    let Some(delta) = pointer.delta.const_value() else {
        return Err(MemoryError::BufferVariable { reg, off, var: pointer.delta.bits });
    };
    let end = off.wrapping_add(delta.cast_signed()).wrapping_add(i64::from(size));
    Ok(u32::try_from(end).unwrap_or(u32::MAX))
}

/// Memory of a buffer that is handed to a callee.
pub(crate) fn check_argument(
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
) -> Result<(), MemoryError> {
    let rdonly = pointer.flags.contains(PtrFlags::RDONLY);
    let buffer = if rdonly { "rdonly" } else { "rdwr" };
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    if off < 0 {
        return Err(MemoryError::BufferNegative { reg, buffer, off, size });
    }
    if !pointer.delta.is_const() {
        return Err(MemoryError::BufferVariable { reg, off, var: pointer.delta.bits });
    }
    Ok(())
}
