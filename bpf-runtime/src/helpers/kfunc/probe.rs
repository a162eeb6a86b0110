//! Reads of addresses that nobody vouches for, into memory and into dynptrs.
//!
//! What is readable is as for `probe_read_kernel`, user's addresses or not: programs and their user
//! share their addresses.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::dynptr::AnyDynptr;
use crate::helpers::args::{Cx, Int, MemOut, SizeOrZero};
use crate::helpers::known::{self, Space};

/// Copies `size` bytes to a place in a dynptr.
fn copy(cx: Cx<'_>, to: AnyDynptr<'_>, off: u32, size: u32, from: u64, of: Space) -> Int {
    let to = to.get();
    to.check_room(off, size)?;
    let bytes = match known::bytes_of(cx, from, size as usize, of) {
        Ok(bytes) => bytes,
        // What is not there reads as zeros, where it can be told at once.
        Err(errno) if of == Space::UserWaiting && to.slice_rdwr(cx, off, size).is_some() => {
            to.set_bytes(cx, off, size, 0)?;
            return Err(errno);
        }
        Err(errno) => return Err(errno),
    };
    if size > 0 {
        to.write(cx, off, &bytes, 0)?;
    }
    Ok(0)
}

/// Copies a string and its end mark, cut to `size` bytes, to a place in a dynptr; how many bytes that
/// were.
fn copy_string(cx: Cx<'_>, to: AnyDynptr<'_>, off: u32, size: u32, from: u64, of: Space) -> Int {
    let to = to.get();
    to.check_room(off, size)?;
    let Some(room) = size.checked_sub(1) else { return Ok(0) };
    let mut text = known::string_of(cx, from, room as usize, of)?;
    text.push(0);
    to.write(cx, off, &text, 0)?;
    Ok(i32::try_from(text.len()).unwrap_or(i32::MAX))
}

helper! {
    /// Copies `size` bytes from a kernel's address to `off` in a dynptr.
    0x7ffe_0058 Any => fn bpf_probe_read_kernel_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy(cx, dptr, off, size, from, Space::Kernel)
    }
}

helper! {
    /// Copies `size` bytes from a user's address to `off` in a dynptr.
    0x7ffe_0059 Any => fn bpf_probe_read_user_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy(cx, dptr, off, size, from, Space::User)
    }
}

helper! {
    /// Copies a string of `size` bytes at most from a kernel's address to `off` in a dynptr.
    0x7ffe_005a Any => fn bpf_probe_read_kernel_str_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy_string(cx, dptr, off, size, from, Space::Kernel)
    }
}

helper! {
    /// Copies a string of `size` bytes at most from a user's address to `off` in a dynptr.
    0x7ffe_005b Any => fn bpf_probe_read_user_str_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy_string(cx, dptr, off, size, from, Space::User)
    }
}

helper! {
    /// Copies `size` bytes from a user's address to `off` in a dynptr.
    0x7ffe_005c Any => fn bpf_copy_from_user_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy(cx, dptr, off, size, from, Space::UserWaiting)
    }
}

helper! {
    /// Copies a string of `size` bytes at most from a user's address to `off` in a dynptr.
    0x7ffe_005d Any => fn bpf_copy_from_user_str_dynptr(cx, dptr: AnyDynptr<'a>, off: u32, size: u32, from: u64) -> Int {
        copy_string(cx, dptr, off, size, from, Space::UserWaiting)
    }
}

helper! {
    /// Copies a string and its end mark from a user's address to `dst`, cut to its size; returns how
    /// many bytes that were. With 1 in `flags` the rest becomes zeros: all if there is no string.
    0x7ffe_005e Any => fn bpf_copy_from_user_str(cx, dst: MemOut<'a>, _len: SizeOrZero, from: u64, flags: u64) -> Int {
        const PAD_ZEROS: u64 = 1;
        let mut dst = dst;
        if flags & !PAD_ZEROS != 0 {
            return Err(Errno::EINVAL);
        }
        let Some(room) = dst.len().checked_sub(1) else { return Ok(0) };
        let text = known::string_of(cx, from, room, Space::UserWaiting);
        let mut text = text.inspect_err(|_| {
            if flags == PAD_ZEROS {
                dst.fill(&[]);
            }
        })?;
        text.push(0);
        if flags == PAD_ZEROS {
            dst.fill(&text);
        } else {
            dst.write(&text);
        }
        Ok(i32::try_from(text.len()).unwrap_or(i32::MAX))
    }
}
