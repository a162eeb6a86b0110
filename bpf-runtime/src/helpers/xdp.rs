//! Packets at a driver's hook.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemIn, MemOut, Size, with_room};
use super::define::helper;

helper! {
    /// Moves the packet's beginning by `delta` bytes: back makes room, forth cuts.
    44 Xdp => fn xdp_adjust_head(cx, _xdp_md: Ctx, delta: i32) -> Result<(), Errno> {
        cx.env().xdp().ok_or(Errno::EINVAL)?.adjust_head(delta)
    }
}

helper! {
    /// Moves the beginning of the metadata before the packet by `delta` bytes.
    54 Xdp => fn xdp_adjust_meta(cx, _xdp_md: Ctx, delta: i32) -> Result<(), Errno> {
        cx.env().xdp().ok_or(Errno::EINVAL)?.adjust_meta(delta)
    }
}

helper! {
    /// Moves the packet's end by `delta` bytes: forth appends zeros, back cuts.
    65 Xdp => fn xdp_adjust_tail(cx, _xdp_md: Ctx, delta: i32) -> Result<(), Errno> {
        cx.env().xdp().ok_or(Errno::EINVAL)?.adjust_tail(delta)
    }
}

helper! {
    /// Returns the packet's length, fragments included.
    188 Xdp => fn xdp_get_buff_len(cx, _xdp_md: Ctx) -> u64 {
        cx.env().xdp().map_or(0, |buff| buff.frame.len() as u64)
    }
}

helper! {
    /// Copies `len` bytes at `offset` of the packet, fragments included, to `buf`.
    189 Xdp => fn xdp_load_bytes(cx, _xdp_md: Ctx, offset: u32, buf: MemOut<'a>, _len: Size) -> Result<(), Errno> {
        let mut buf = buf;
        let buff = cx.env().xdp().ok_or(Errno::EINVAL)?;
        check(offset, buf.len())?;
        with_room(buf.len(), |bytes| {
            buff.frame.read(offset as usize, bytes).ok_or(Errno::EINVAL)?;
            buf.write(bytes);
            Ok(())
        })
    }
}

helper! {
    /// Copies `len` bytes from `buf` to `offset` of the packet, fragments included.
    190 Xdp => fn xdp_store_bytes(cx, _xdp_md: Ctx, offset: u32, buf: MemIn<'a>, _len: Size) -> Result<(), Errno> {
        let buff = cx.env().xdp().ok_or(Errno::EINVAL)?;
        check(offset, buf.len())?;
        buf.with(|bytes| buff.frame.write(offset as usize, bytes)).ok_or(Errno::EINVAL)
    }
}

/// Packets are not longer than this.
fn check(offset: u32, len: usize) -> Result<(), Errno> {
    if offset > 0xffff || len > 0xffff { Err(Errno::EFAULT) } else { Ok(()) }
}
