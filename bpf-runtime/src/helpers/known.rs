//! Reads of addresses that nobody vouches for: only what is known to be there is read.

use bpf_abi::errno::Errno;

use super::args::{MemOut, SizeOrZero};
use super::define::helper;
use crate::env::{Env, Place};

helper! {
    /// Copies `size` bytes from the kernel address `unsafe_ptr` to `dst`. Only the memory of the
    /// context, the packet and array maps is known here; all other addresses give `EFAULT`, and
    /// zeros.
    113 Any => fn probe_read_kernel(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx.env(), &mut dst, unsafe_ptr)
    }
}

helper! {
    /// Copies `size` bytes from the address `unsafe_ptr` to `dst`, as `probe_read_kernel` does.
    4 Any => fn probe_read(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx.env(), &mut dst, unsafe_ptr)
    }
}

helper! {
    /// Copies the string at the kernel address `unsafe_ptr` and its end mark to `dst`, cut to
    /// `size` bytes; what is readable is as for `probe_read_kernel`. Returns how many bytes were
    /// written.
    115 Any => fn probe_read_kernel_str(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<u64, Errno> {
        let mut dst = dst;
        read_string(cx.env(), &mut dst, unsafe_ptr)
    }
}

helper! {
    /// Copies the string at the address `unsafe_ptr`, as `probe_read_kernel_str` does.
    45 Any => fn probe_read_str(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<u64, Errno> {
        let mut dst = dst;
        read_string(cx.env(), &mut dst, unsafe_ptr)
    }
}

/// Copies bytes, or writes zeros.
fn read(env: &Env, dst: &mut MemOut<'_>, from: u64) -> Result<(), Errno> {
    let found = bytes(env, from, dst.len());
    dst.fill(found.as_deref().unwrap_or_default());
    found.map(drop).ok_or(Errno::EFAULT)
}

/// Copies a string and its end mark; what is written otherwise is zeros.
fn read_string(env: &Env, dst: &mut MemOut<'_>, from: u64) -> Result<u64, Errno> {
    let Some(room) = dst.len().checked_sub(1) else { return Ok(0) };
    let found = string(env, from, room);
    dst.fill(found.as_deref().unwrap_or_default());
    found.map(|text| text.len() as u64 + 1).ok_or(Errno::EFAULT)
}

/// A copy of the bytes at an address, if it is known that they are there.
pub(super) fn bytes(env: &Env, address: u64, len: usize) -> Option<Vec<u8>> {
    let end = address.checked_add(len as u64)?;
    let inside = |start: u64, size: usize| {
        let at = address.checked_sub(start)?;
        (end <= start + size as u64).then_some(())?;
        usize::try_from(at).ok()
    };
    let context = match &env.place {
        Place::Bytes(memory) => memory,
        Place::Xdp(buff) => &buff.context,
        Place::Skb(skb) => &skb.context,
    };
    if let Some(at) = inside(context.address(), context.len()) {
        return Some(context.copy(at, len));
    }
    let frame = match &env.place {
        Place::Bytes(_) => None,
        Place::Xdp(buff) => Some(&buff.frame),
        Place::Skb(skb) => Some(&skb.frame),
    };
    if let Some(frame) = frame
        && let Some(at) = inside(frame.address(0), frame.capacity())
    {
        let mut out = vec![0; len];
        frame.peek(at, &mut out)?;
        return Some(out);
    }
    env.shared.registry.read_map_memory(address, len)
}

/// A copy of the string at an address, without its end mark, cut to `most` bytes, if it is
/// known that it is there.
pub(super) fn string(env: &Env, address: u64, most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < most {
        let byte = bytes(env, address.checked_add(text.len() as u64)?, 1)?;
        match byte.first() {
            Some(0) | None => break,
            Some(byte) => text.push(*byte),
        }
    }
    Some(text)
}
