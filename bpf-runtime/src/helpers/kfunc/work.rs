//! Work items in map values.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::{Func, Int, MapRef};
use crate::runtime::Timer;

helper! {
    /// Makes a work item. `flags` must be 0. `-EBUSY` if it is made already, `-EPERM` if the host
    /// does not hold the map.
    0x7ffe_0034 Any => fn bpf_wq_init(cx, wq: u64, map: MapRef<'a>, flags: u32) -> Int {
        none(flags)?;
        cx.env().shared.timers.init(wq, map.handle(), Timer::Monotonic).map(|()| 0)
    }
}

helper! {
    /// Says which function the work item calls, as `bpf_timer_set_callback` does.
    0x7ffe_0035 Any => fn bpf_wq_set_callback_impl(cx, wq: u64, callback_fn: Func, flags: u32, program: u64) -> Int {
        none(flags)?;
        let function = cx.later(callback_fn, program)?;
        cx.env().shared.timers.set_function(wq, function).map(|()| 0)
    }
}

helper! {
    /// Has the work item's function called soon, once if it waits already.
    0x7ffe_0036 Any => fn bpf_wq_start(cx, wq: u64, flags: u32) -> Int {
        none(flags)?;
        cx.env().shared.timers.work(wq).map(|()| 0)
    }
}

/// That there are no flags.
const fn none(flags: u32) -> Result<(), Errno> {
    if flags == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}
