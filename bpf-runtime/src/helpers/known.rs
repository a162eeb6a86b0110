//! Reads of addresses that nobody vouches for: only what is known to be there is read.

use bpf_abi::errno::Errno;

use super::args::{Cx, MemOut, SizeOrZero};
use super::define::helper;
use crate::env::Place;

helper! {
    /// Copies `size` bytes from the kernel address `unsafe_ptr` to `dst`. Only the memory of the
    /// context, the packet, the stack and array maps is known here; all other addresses give
    /// `EFAULT`, or `ERANGE` if they cannot be the kernel's, and zeros.
    113 Any => fn probe_read_kernel(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx, &mut dst, unsafe_ptr, Space::Kernel)
    }
}

helper! {
    /// Copies `size` bytes from the address `unsafe_ptr` to `dst`, as `probe_read_kernel` does.
    4 Any => fn probe_read(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx, &mut dst, unsafe_ptr, Space::User)
    }
}

helper! {
    /// Copies the string at the kernel address `unsafe_ptr` and its end mark to `dst`, cut to
    /// `size` bytes; what is readable is as for `probe_read_kernel`. Returns how many bytes were
    /// written.
    115 Any => fn probe_read_kernel_str(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<u64, Errno> {
        let mut dst = dst;
        read_string(cx, &mut dst, unsafe_ptr, Space::Kernel)
    }
}

helper! {
    /// Copies the string at the address `unsafe_ptr`, as `probe_read_kernel_str` does.
    45 Any => fn probe_read_str(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<u64, Errno> {
        let mut dst = dst;
        read_string(cx, &mut dst, unsafe_ptr, Space::User)
    }
}

helper! {
    /// Copies `size` bytes from the user's address `unsafe_ptr` to `dst`, as `probe_read_kernel` does:
    /// here programs and their user share their addresses.
    112 Any => fn probe_read_user(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx, &mut dst, unsafe_ptr, Space::User)
    }
}

helper! {
    /// Copies `size` bytes from the user's address `user_ptr`, as `probe_read_user` does.
    148 Any => fn copy_from_user(cx, dst: MemOut<'a>, _size: SizeOrZero, user_ptr: u64) -> Result<(), Errno> {
        let mut dst = dst;
        read(cx, &mut dst, user_ptr, Space::User)
    }
}

helper! {
    /// Copies the string at the user's address `unsafe_ptr`, as `probe_read_kernel_str` does.
    114 Any => fn probe_read_user_str(cx, dst: MemOut<'a>, _size: SizeOrZero, unsafe_ptr: u64) -> Result<u64, Errno> {
        let mut dst = dst;
        read_string(cx, &mut dst, unsafe_ptr, Space::User)
    }
}

/// Whose an address is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// The kernel's: those of the lower half are none, whether bytes are wanted or not.
    Kernel,
    /// The user's: no bytes are anywhere.
    User,
    /// The user's, whose program may wait for them: an empty string is anywhere too.
    UserWaiting,
}

/// The first address of the kernel's half.
pub(super) const KERNEL: u64 = 0xffff_8000_0000_0000;

impl Space {
    /// What is wrong with an address where nothing is.
    const fn missing(self, address: u64) -> Errno {
        match self {
            Self::Kernel if address < KERNEL => Errno::ERANGE,
            Self::Kernel | Self::User | Self::UserWaiting => Errno::EFAULT,
        }
    }
}

/// A copy of the bytes at an address, if it is known that they are there.
pub(super) fn bytes_of(cx: Cx<'_>, address: u64, len: usize, of: Space) -> Result<Vec<u8>, Errno> {
    if len == 0 && (of != Space::Kernel || address >= KERNEL) {
        return Ok(Vec::new());
    }
    let found =
        if len == 0 { bytes(cx, address, 1).map(|_| Vec::new()) } else { bytes(cx, address, len) };
    found.ok_or(of.missing(address))
}

/// A copy of the string at an address, without its end mark, cut to `most` bytes, if it is known
/// that it is there.
pub(super) fn string_of(
    cx: Cx<'_>,
    address: u64,
    most: usize,
    of: Space,
) -> Result<Vec<u8>, Errno> {
    if most == 0 && of == Space::UserWaiting {
        return Ok(Vec::new());
    }
    // The first byte is looked at even if none is wanted.
    let first = bytes(cx, address, 1);
    first.and_then(|_| string(cx, address, most)).ok_or(of.missing(address))
}

/// Copies bytes, or writes zeros.
fn read(cx: Cx<'_>, dst: &mut MemOut<'_>, from: u64, of: Space) -> Result<(), Errno> {
    if dst.len() == 0 {
        return bytes_of(cx, from, 0, of).map(drop);
    }
    dst.make(|out| {
        let found = bytes_to(cx, from, out);
        if found.is_none() {
            out.fill(0);
        }
        found.ok_or(of.missing(from))
    })
}

/// Copies a string and its end mark; writes zeros if it is not there.
fn read_string(cx: Cx<'_>, dst: &mut MemOut<'_>, from: u64, of: Space) -> Result<u64, Errno> {
    let Some(room) = dst.len().checked_sub(1) else { return Ok(0) };
    let mut text = string_of(cx, from, room, of).inspect_err(|_| dst.fill(&[]))?;
    text.push(0);
    dst.write(&text);
    Ok(text.len() as u64)
}

/// A copy of the bytes at an address, if it is known that they are there.
pub(super) fn bytes(cx: Cx<'_>, address: u64, len: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; len];
    bytes_to(cx, address, &mut out).map(|()| out)
}

/// Copies the bytes at an address, if it is known that they are there.
fn bytes_to(cx: Cx<'_>, address: u64, out: &mut [u8]) -> Option<()> {
    if cx.stack(address, out).is_some() {
        return Some(());
    }
    let env = cx.env();
    let end = address.checked_add(out.len() as u64)?;
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
        return context.read(at, out);
    }
    let frame = match &env.place {
        Place::Bytes(_) => None,
        Place::Xdp(buff) => Some(&buff.frame),
        Place::Skb(skb) => Some(&skb.frame),
    };
    if let Some(frame) = frame
        && let Some(at) = inside(frame.address(0), frame.capacity())
    {
        return frame.peek(at, out);
    }
    env.shared.registry.read_map_memory(address, out)
}

/// A copy of the string at an address, without its end mark, cut to `most` bytes, if it is
/// known that it is there.
pub(super) fn string(cx: Cx<'_>, address: u64, most: usize) -> Option<Vec<u8>> {
    let mut text = Text::at(cx, address);
    let mut found = Vec::new();
    while found.len() < most {
        match text.byte(found.len())? {
            0 => break,
            byte => found.push(byte),
        }
    }
    Some(found)
}

/// Bytes from an address on, of which nobody knows how many are there.
#[derive(Debug)]
pub(super) struct Text<'a> {
    cx: Cx<'a>,
    address: u64,
    /// Copies of the bytes from `from` on.
    copied: Vec<u8>,
    from: usize,
}

impl<'a> Text<'a> {
    /// How many bytes are copied at once, if they are there.
    const AHEAD: usize = 64;

    /// Those from this address on.
    pub(super) const fn at(cx: Cx<'a>, address: u64) -> Self {
        Self { cx, address, copied: Vec::new(), from: 0 }
    }

    /// The byte at `index`, if it is known that it is there.
    pub(super) fn byte(&mut self, index: usize) -> Option<u8> {
        let known = index.checked_sub(self.from).and_then(|at| self.copied.get(at));
        if let Some(byte) = known {
            return Some(*byte);
        }
        let address = self.address.checked_add(index as u64)?;
        let ahead = bytes(self.cx, address, Self::AHEAD);
        self.copied = ahead.or_else(|| bytes(self.cx, address, 1))?;
        self.from = index;
        self.copied.first().copied()
    }
}
