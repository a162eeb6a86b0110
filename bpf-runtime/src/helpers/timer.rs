//! Timers in map values.

use bpf_abi::errno::Errno;

use super::args::later::TimerAt;
use super::args::{Func, MapRef, Unchecked};
use super::define::helper;
use crate::runtime::Timer;

helper! {
    /// Makes the timer one of the clock that `flags` names: 0 shows the time of day, 1 the time since
    /// boot, 7 the same with suspension. `EBUSY` if it is made already, `EPERM` if the host does not
    /// hold the map.
    169 Any => fn timer_init(cx, timer: TimerAt, map: MapRef<'a>, flags: u64) -> Result<(), Errno> {
        let clock = match flags {
            0 => Timer::Real,
            1 => Timer::Monotonic,
            7 => Timer::Boot,
            _ => return Err(Errno::EINVAL),
        };
        cx.env().shared.timers.init(timer.0, map.handle(), clock)
    }
}

helper! {
    /// Says which function the timer calls: with the map, and key and value of the entry that the
    /// timer is in. `EINVAL` if the timer is not made, `EPERM` if the host does not hold the map.
    170 Any => fn timer_set_callback(cx, timer: TimerAt, callback_fn: Func, program: Unchecked) -> Result<(), Errno> {
        let function = cx.later(callback_fn, program.0)?;
        cx.env().shared.timers.set_function(timer.0, function)
    }
}

helper! {
    /// Starts the timer: it is due in `nsecs` nanoseconds, or if `flags` has 1 when its clock shows
    /// `nsecs`. On which CPU the program goes on is not for `flags` to say here: 2 says nothing.
    /// `EINVAL` if the timer has no function.
    171 Any => fn timer_start(cx, timer: TimerAt, nsecs: u64, flags: u64) -> Result<(), Errno> {
        const ABSOLUTE: u64 = 1;
        const SAME_CPU: u64 = 2;
        if flags & !(ABSOLUTE | SAME_CPU) != 0 {
            return Err(Errno::EINVAL);
        }
        cx.env().shared.timers.start(timer.0, nsecs, flags & ABSOLUTE != 0)
    }
}

helper! {
    /// Takes the timer back, waits for its function if that is running, and forgets the function.
    /// Returns 1 if the timer was waiting. `EDEADLK` from its own function.
    172 Any => fn timer_cancel(cx, timer: TimerAt) -> Result<u64, Errno> {
        cx.env().shared.timers.cancel(timer.0).map(u64::from)
    }
}
