//! A pair of barriers of unequal weight: the light one is free, the heavy one is for both.
//!
//! Two threads that each write one word and then read the other's need a full barrier between
//! the two steps, or both may miss the other's write. Entering a program is one such side and
//! happens millions of times a second; waiting for programs is the other, and is rare. With
//! `membarrier(2)` the rare side pays for both: it makes every running thread of the process
//! pass a full barrier, so the frequent side needs only to keep the compiler from reordering.

use crate::sync::{Ordering, fence};

/// Whether the light side must fence because the heavy side cannot do it for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// The heavy side makes all threads fence.
    #[cfg_attr(
        not(all(target_os = "linux", not(loom), not(miri))),
        expect(dead_code, reason = "needs Linux")
    )]
    Membarrier,
    /// Both sides fence.
    Fences,
}

impl Barrier {
    /// The cheapest that this system has.
    #[cfg(all(target_os = "linux", not(loom), not(miri)))]
    pub(crate) fn new() -> Self {
        use rustix::thread::{MembarrierCommand, membarrier};
        match membarrier(MembarrierCommand::RegisterPrivateExpedited) {
            Ok(()) => Self::Membarrier,
            Err(_) => Self::Fences,
        }
    }

    /// The cheapest that this system has.
    #[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
    pub(crate) fn new() -> Self {
        Self::Fences
    }

    /// The frequent side's: after its write, before its read.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            Self::Membarrier => std::sync::atomic::compiler_fence(Ordering::SeqCst),
            Self::Fences => fence(Ordering::SeqCst),
        }
    }

    /// The rare side's: after its write, before its read.
    pub(crate) fn heavy(self) {
        fence(Ordering::SeqCst);
        match self {
            #[cfg(all(target_os = "linux", not(loom), not(miri)))]
            Self::Membarrier => {
                use rustix::thread::{MembarrierCommand, membarrier};
                membarrier(MembarrierCommand::PrivateExpedited)
                    .expect("a registered process may use it");
            }
            #[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
            Self::Membarrier => {}
            Self::Fences => {}
        }
        fence(Ordering::SeqCst);
    }
}
