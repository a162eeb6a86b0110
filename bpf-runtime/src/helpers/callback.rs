//! Helpers that call a function of the program.

use bpf_abi::errno::Errno;
use bpf_maps::CpuId;

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
        let shape = map.map().shape();
        let key_memory = Memory::new(shape.key_size as usize);
        let mut key: Option<Vec<u8>> = None;
        let mut count = 0;
        let most = u64::from(shape.max_entries);
        while count < most {
            let mut next = vec![0; shape.key_size as usize];
            if map.map().next_key(key.as_deref(), &mut next).is_err() {
                break;
            }
            let value = map.map().lookup_addr(CpuId(cx.cpu()), &next);
            key_memory.write(0, &next).ok_or(Errno::EINVAL)?;
            key = Some(next);
            if value == 0 {
                continue;
            }
            count += 1;
            let args = [map.register(), key_memory.address(), value, callback_ctx.0];
            if cx.call(callback_fn, args)? != 0 {
                break;
            }
        }
        Ok(count)
    }
}
