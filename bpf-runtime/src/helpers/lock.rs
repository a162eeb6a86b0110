//! Spin locks in map values.

use std::sync::atomic::{AtomicU32, Ordering};

use super::args::Lock;
use super::define::helper;

helper! {
    /// Takes the lock, which may take a while. The verifier sees to it that a program holds one
    /// lock at most, and releases it.
    93 Any => fn spin_lock(_cx, lock: Lock<'a>) -> () {
        acquire(lock.0);
    }
}

/// Takes a lock.
pub(crate) fn acquire(lock: &AtomicU32) {
    while lock.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::hint::spin_loop();
    }
}

/// Releases a lock.
pub(crate) fn release(lock: &AtomicU32) {
    lock.store(0, Ordering::Release);
}

helper! {
    /// Releases the lock that the program holds.
    94 Any => fn spin_unlock(_cx, lock: Lock<'a>) -> () {
        release(lock.0);
    }
}
