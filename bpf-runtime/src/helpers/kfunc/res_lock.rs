//! Locks that notice deadlocks, in map values and in objects.

use super::helper;
use crate::helpers::args::{Int, Lock};

helper! {
    /// Takes the lock. `-EDEADLK` if it would wait forever, `-ETIMEDOUT` if it waited for long.
    0x7ffe_0037 Any => fn bpf_res_spin_lock(cx, lock: Lock<'a>) -> Int {
        cx.env().shared.locks.acquire(cx.cpu(), lock.0).map(|()| 0)
    }
}

helper! {
    /// Gives the lock back that was taken last.
    0x7ffe_0038 Any => fn bpf_res_spin_unlock(cx, lock: Lock<'a>) -> () {
        cx.env().shared.locks.release(cx.cpu(), lock.0);
    }
}

helper! {
    /// Takes the lock, and begins a section that no interrupt interrupts.
    0x7ffe_0039 Any => fn bpf_res_spin_lock_irqsave(cx, lock: Lock<'a>, _flags: u64) -> Int {
        cx.env().shared.locks.acquire(cx.cpu(), lock.0).map(|()| 0)
    }
}

helper! {
    /// Gives the lock back, and ends the section.
    0x7ffe_003a Any => fn bpf_res_spin_unlock_irqrestore(cx, lock: Lock<'a>, _flags: u64) -> () {
        cx.env().shared.locks.release(cx.cpu(), lock.0);
    }
}
