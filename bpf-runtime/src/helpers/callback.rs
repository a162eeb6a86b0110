//! Helpers that call a function of the program.

use bpf_abi::errno::Errno;
use bpf_maps::types::user_ringbuf::UserRingBuf;
use bpf_maps::{CpuId, Go};

use super::args::dynptr::View;
use super::args::{CallbackCx, Func, MapRef};
use super::define::helper;
use crate::memory::Memory;

helper! {
    /// Calls `callback_fn` with 0, 1, … and `callback_ctx`, `nr_loops` times or until it returns
    /// 1. `flags` must be 0. Returns how often it was called.
    181 Any => fn r#loop(cx, nr_loops: u32, callback_fn: Func, callback_ctx: CallbackCx, flags: u64) -> Result<u64, Errno> {
        const MOST: u32 = 8 * 1024 * 1024;
        let count = nr_loops;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        if count > MOST {
            return Err(Errno::E2BIG);
        }
        for i in 0..count {
            if cx.call(callback_fn, [u64::from(i), callback_ctx.0, 0, 0])? != 0 {
                return Ok(u64::from(i) + 1);
            }
        }
        Ok(u64::from(count))
    }
}

helper! {
    /// Calls `callback_fn` with `map`, and key and value of each of its entries, and
    /// `callback_ctx`, until it returns 1. `flags` must be 0. Returns how often it was called.
    164 Any => fn for_each_map_elem(cx, map: MapRef<'a>, callback_fn: Func, callback_ctx: CallbackCx, flags: u64) -> Result<u64, Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let mut failed = Ok(());
        let mut each = |key, value| {
            match cx.call(callback_fn, [map.register(), key, value, callback_ctx.0]) {
                Ok(0) => Go::On,
                Ok(_) => Go::Stop,
                Err(errno) => {
                    failed = Err(errno);
                    Go::Stop
                }
            }
        };
        let count = map.map().visit(CpuId(cx.cpu()), &mut each);
        failed.and(count.ok_or(Errno::EINVAL))
    }
}

helper! {
    /// Calls `callback_fn` with a dynptr of each sample that the host has written to `map`, and
    /// `ctx`, until it returns 1. `flags` may be 1 (do not wake the host) or 2 (wake it in any case).
    /// Returns how often it was called.
    209 Any => fn user_ringbuf_drain(cx, map: MapRef<'a>, callback_fn: Func, ctx: CallbackCx, flags: u64) -> Result<u64, Errno> {
        const WAKEUPS: u64 = 1 | 2;
        let ring: &UserRingBuf = map.map().as_type().ok_or(Errno::EINVAL)?;
        if flags & !WAKEUPS != 0 {
            return Err(Errno::EINVAL);
        }
        let each = |sample: &[u8]| {
            // An allocation has an address even if there is nothing in the sample.
            let memory = Memory::new(sample.len().max(1));
            memory.write(0, sample).ok_or(Errno::EINVAL)?;
            let pointer = Memory::new(16);
            let size = u32::try_from(sample.len()).map_err(|_| Errno::E2BIG)?;
            let [address, rest] = View::host(memory.address(), size).words();
            pointer.set_u64(0, address);
            pointer.set_u64(8, rest);
            let enough = cx.call(callback_fn, [pointer.address(), ctx.0, 0, 0])? != 0;
            Ok(if enough { Go::Stop } else { Go::On })
        };
        ring.drain(each).ok_or(Errno::EBUSY)?
    }
}
