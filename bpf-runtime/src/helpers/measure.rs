//! Stacks, counters and branches of the machine: programs here have none to look at, and are told
//! so in the words that Linux has for it.

use bpf_abi::errno::Errno;
use bpf_maps::MapError;

use super::args::{Ctx, MapRef, MemOut, Size, SizeOrZero, Unchecked, low};
use super::define::helper;

/// In the flags of stacks: how many frames to leave out. Linux: `BPF_F_SKIP_FIELD_MASK`.
const SKIP: u64 = 0xff;
/// Linux: `BPF_F_USER_STACK`.
const USER: u64 = 1 << 8;
/// Linux: `BPF_F_FAST_STACK_CMP`, `BPF_F_REUSE_STACKID`.
const KEEPING: u64 = 1 << 9 | 1 << 10;
/// Linux: `BPF_F_USER_BUILD_ID`.
const BUILD_ID: u64 = 1 << 11;

helper! {
    /// Keeps the stack in `map` and returns its number. There is no stack here: `EFAULT`, as in Linux
    /// for stacks that end before the frames that `flags` leave out.
    27 Any => fn get_stackid(_cx, _ctx: Ctx, _map: MapRef<'a>, flags: u64) -> Result<u64, Errno> {
        let is_known = flags & !(SKIP | USER | KEEPING) == 0;
        Err(if is_known { Errno::EFAULT } else { Errno::EINVAL })
    }
}

helper! {
    /// Writes the stack to `buf` and returns how many bytes it has. There is no stack here: `EFAULT`,
    /// and zeros, as in Linux for stacks that end before the frames that `flags` leave out.
    67 Any => fn get_stack(_cx, _ctx: Ctx, buf: MemOut<'a>, _size: SizeOrZero, flags: u64) -> Result<u64, Errno> {
        let mut buf = buf;
        let entry = if flags & BUILD_ID == 0 { 8 } else { 32 };
        let is_possible = flags & !(SKIP | USER | BUILD_ID) == 0
            && flags & (USER | BUILD_ID) != BUILD_ID
            && buf.len().is_multiple_of(entry);
        buf.fill(&[]);
        match buf.len() {
            _ if !is_possible => Err(Errno::EINVAL),
            0 => Ok(0),
            _ => Err(Errno::EFAULT),
        }
    }
}

/// In the flags of counters: the slot. Linux: `BPF_F_INDEX_MASK`.
const INDEX: u64 = 0xffff_ffff;

/// Why the counter in a slot cannot be read: no slot has one.
fn no_counter(map: MapRef<'_>, flags: u64, cpu: u32) -> Errno {
    let max_entries = map.map().shape().max_entries;
    let index = if flags & INDEX == INDEX { cpu } else { low(flags) };
    match () {
        () if flags & !INDEX != 0 => Errno::EINVAL,
        () if index >= max_entries => MapError::OutOfRange { index, max_entries }.errno(),
        () => Errno::ENOENT,
    }
}

helper! {
    /// Reads the counter in a slot of `map`: the lower half of `flags` is the slot, all ones for this
    /// CPU's. No slot has a counter here: `ENOENT`.
    22 Any => fn perf_event_read(cx, map: MapRef<'a>, flags: u64) -> Result<u64, Errno> {
        Err(no_counter(map, flags, cx.cpu()))
    }
}

helper! {
    /// Reads the counter in a slot of `map` and how long it has counted, 24 bytes, to `buf`. No slot
    /// has a counter here: `ENOENT`, and zeros.
    55 Any => fn perf_event_read_value(cx, map: MapRef<'a>, flags: u64, buf: MemOut<'a>, _buf_size: Size) -> Result<(), Errno> {
        let mut buf = buf;
        let is_whole = buf.len() == 24;
        buf.fill(&[]);
        Err(if is_whole { no_counter(map, flags, cx.cpu()) } else { Errno::EINVAL })
    }
}

helper! {
    /// Writes the last branches that the processor took to `entries`. None are recorded here:
    /// `ENOENT`. `flags` must be 0.
    176 Any => fn get_branch_snapshot(_cx, _entries: MemOut<'a>, _size: SizeOrZero, flags: Unchecked) -> Result<u64, Errno> {
        Err(if flags.0 == 0 { Errno::ENOENT } else { Errno::EINVAL })
    }
}

helper! {
    /// Returns the number that the program was attached with: 0, as in Linux for those that were
    /// attached without.
    174 Any => fn get_attach_cookie(_cx, _ctx: Ctx) -> u64 {
        0
    }
}
