//! Locks that notice deadlocks.
//!
//! A lock is half a word: 0 when it is free, else one more than the number of the CPU that has it. Who
//! waits for one looks at whom it waits for, and gives up
//! - if it has the lock itself;
//! - if the other waits for a lock that it has;
//! - after a quarter of a second, since more than two may wait in a circle.
//!
//! Each CPU tells the others only for what it waits; which locks it has it alone needs to know.
//!
//! Linux: `resilient_queued_spin_lock_slowpath`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bpf_abi::errno::Errno;

/// How many locks of a CPU are known at a time. Linux: `RES_NR_HELD`.
const HELD: usize = 31;
/// How long one waits. Linux: `RES_DEF_TIMEOUT`.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often one looks at the lock before others may run, if they must.
const LOOKS: u32 = 128;
/// Who has a lock that no program has.
const HOST: u32 = u32::MAX;

/// What CPUs have and wait for.
#[derive(Debug)]
pub(crate) struct Locks {
    cpus: Box<[OfCpu]>,
}

/// One CPU's, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfCpu {
    /// The place of the lock it waits for, or 0.
    wanted: AtomicU64,
    /// The places of those it has, in slots that are 0 when they are free. Only this CPU's thread
    /// looks at them.
    held: [AtomicU64; HELD],
}

impl OfCpu {
    fn holds(&self, place: u64) -> bool {
        place != 0 && self.held.iter().any(|held| held.load(Ordering::Relaxed) == place)
    }

    /// Puts `to` in place of `from`.
    fn exchange(&self, from: u64, to: u64) {
        let mut slots = self.held.iter();
        if let Some(slot) = slots.find(|held| held.load(Ordering::Relaxed) == from) {
            slot.store(to, Ordering::Relaxed);
        }
    }
}

fn place_of(lock: &AtomicU32) -> u64 {
    std::ptr::from_ref(lock).addr() as u64
}

fn take(lock: &AtomicU32, owner: u32) -> bool {
    lock.compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

impl Locks {
    /// For so many CPUs.
    pub(crate) fn new(cpus: u32) -> Self {
        Self { cpus: (0..cpus).map(|_| OfCpu::default()).collect() }
    }

    /// Takes a lock for a CPU of this thread.
    ///
    /// # Errors
    ///
    /// Returns an error if it would wait forever, or did for long.
    pub(crate) fn acquire(&self, cpu: u32, lock: &AtomicU32) -> Result<(), Errno> {
        let own = self.cpus.get(cpu as usize).ok_or(Errno::EINVAL)?;
        let place = place_of(lock);
        let taken = take(lock, cpu + 1) || {
            own.wanted.store(place, Ordering::SeqCst);
            let waited = self.wait(cpu, own, lock);
            own.wanted.store(0, Ordering::SeqCst);
            waited?;
            true
        };
        debug_assert!(taken, "an error says that it is not");
        own.exchange(0, place);
        Ok(())
    }

    fn wait(&self, cpu: u32, own: &OfCpu, lock: &AtomicU32) -> Result<(), Errno> {
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                if take(lock, cpu + 1) {
                    return Ok(());
                }
                let holder = lock.load(Ordering::SeqCst);
                if holder == cpu + 1 {
                    return Err(Errno::EDEADLK);
                }
                let holder = holder.checked_sub(1).and_then(|cpu| self.cpus.get(cpu as usize));
                let wanted = holder.map_or(0, |holder| holder.wanted.load(Ordering::SeqCst));
                if own.holds(wanted) {
                    return Err(Errno::EDEADLK);
                }
                std::hint::spin_loop();
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(Errno::ETIMEDOUT);
            }
            thread::yield_now();
        }
    }

    /// Gives a lock back that this CPU has.
    pub(crate) fn release(&self, cpu: u32, lock: &AtomicU32) {
        if let Some(own) = self.cpus.get(cpu as usize) {
            own.exchange(place_of(lock), 0);
        }
        lock.store(0, Ordering::Release);
    }
}

/// Takes a lock for who is no program: waits as long as it takes.
pub(crate) fn acquire_for_host(lock: &AtomicU32) {
    while !take(lock, HOST) {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_cpu_does_not_wait_for_itself() {
        let (locks, a, b) = (Locks::new(2), AtomicU32::new(0), AtomicU32::new(0));
        assert_eq!(locks.acquire(0, &a), Ok(()));
        assert_eq!(locks.acquire(0, &b), Ok(()));
        assert_eq!(locks.acquire(0, &a), Err(Errno::EDEADLK));
        locks.release(0, &b);
        locks.release(0, &a);
        assert_eq!(locks.acquire(1, &a), Ok(()));
        locks.release(1, &a);
    }

    #[test]
    fn two_do_not_wait_for_each_other() {
        let (locks, a, b) = (Locks::new(2), AtomicU32::new(0), AtomicU32::new(0));
        let both = Barrier::new(2);
        let crossed = |cpu, first: &AtomicU32, second: &AtomicU32| {
            locks.acquire(cpu, first).unwrap();
            both.wait();
            let result = locks.acquire(cpu, second);
            if result.is_ok() {
                locks.release(cpu, second);
            }
            locks.release(cpu, first);
            result
        };
        let (one, other) = thread::scope(|scope| {
            let one = scope.spawn(|| crossed(0, &a, &b));
            let other = scope.spawn(|| crossed(1, &b, &a));
            (one.join().unwrap(), other.join().unwrap())
        });
        let results = [one, other];
        assert!(results.contains(&Err(Errno::EDEADLK)), "{results:?}");
        assert!(!results.contains(&Err(Errno::ETIMEDOUT)), "{results:?}");
    }

    #[test]
    fn patience_ends() {
        let (locks, a) = (Locks::new(2), AtomicU32::new(0));
        locks.acquire(0, &a).unwrap();
        let other = thread::scope(|scope| scope.spawn(|| locks.acquire(1, &a)).join().unwrap());
        assert_eq!(other, Err(Errno::ETIMEDOUT));
    }
}
