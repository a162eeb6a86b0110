//! Clocks.

use super::define::helper;
use crate::runtime::Timer;

helper! {
    /// Returns the nanoseconds since boot, not counting suspension.
    5 Any => fn ktime_get_ns(cx) -> u64 {
        cx.env().shared.clock.now(Timer::Monotonic)
    }
}

helper! {
    /// Returns the nanoseconds since boot, counting suspension.
    125 Any => fn ktime_get_boot_ns(cx) -> u64 {
        cx.env().shared.clock.now(Timer::Boot)
    }
}

helper! {
    /// Returns the nanoseconds since boot, not counting suspension, as of the last tick.
    160 Any => fn ktime_get_coarse_ns(cx) -> u64 {
        cx.env().shared.clock.now(Timer::Coarse)
    }
}

helper! {
    /// Returns the nanoseconds since 1970 in international atomic time.
    208 Any => fn ktime_get_tai_ns(cx) -> u64 {
        cx.env().shared.clock.now(Timer::Tai)
    }
}

helper! {
    /// Returns the number of ticks since boot: here one every four milliseconds, and as in Linux
    /// counted from five minutes before the counter's lower half overflows. The clock that it is
    /// read from moves in ticks too.
    118 Any => fn jiffies64(cx) -> u64 {
        const TICK: u64 = 4_000_000;
        const FIRST: u64 = (-300 * 250_i32).cast_unsigned() as u64;
        FIRST + cx.env().shared.clock.now(Timer::Coarse) / TICK
    }
}
