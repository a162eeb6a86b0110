//! When something that running programs may still look at can be freed.
//!
//! A *grace period* is over when each thread that was running a program at its beginning has
//! left since. Take a thing out of where programs find it, let a grace period pass, and no
//! program has it any more:
//!
//! ```text
//!     a program                        who takes a thing away
//!     state = running                  slot = empty
//!     light barrier                    heavy barrier
//!     thing = slot                     wait while a state that was running has not changed
//!     … uses it …                      free the thing
//!     state = left       (release)     (acquire)
//! ```
//!
//! If the program finds the thing, its second line came before the barrier, so its first is
//! seen and waited for; and what it did with the thing happens before the freeing.
//!
//! Linux: RCU; `synchronize_rcu`, `call_rcu`.

use std::fmt;
use std::sync::Arc;

use crate::cpu::{Cpus, GRACE, Pool, Record, Shared, State};
use crate::sync::{Ordering, lock, wait};

/// The thread that asked runs a program itself, and would wait for its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a running program cannot wait for running programs to end")]
pub struct RunsItself;

impl Cpus {
    /// Waits until every program that runs now has ended.
    ///
    /// # Errors
    ///
    /// Returns an error if this thread is running a program.
    pub fn synchronize(&self) -> Result<(), RunsItself> {
        if self.is_running() {
            return Err(RunsItself);
        }
        self.shared().synchronize();
        Ok(())
    }

    /// Does something once every program that runs now has ended: at once if none does, else
    /// on the thread that finds it out.
    pub fn defer(&self, what: impl FnOnce() + Send + 'static) {
        self.shared().defer(Box::new(what));
    }
}

/// Something to be done after a grace period.
pub(crate) struct Deferred {
    running: Running,
    what: Box<dyn FnOnce() + Send>,
}

impl Deferred {
    pub(crate) fn run(self) {
        (self.what)();
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deferred")
    }
}

/// Threads that were running programs at one moment.
struct Running(Vec<(Arc<Record>, State)>);

impl Running {
    /// Those that run now. The barrier must be before.
    fn now(pool: &Pool) -> Self {
        let states = pool.records.iter().map(|record| (record, record.seen()));
        let running = states.filter(|(_, state)| state.is_running());
        Self(running.map(|(record, state)| (Arc::clone(record), state)).collect())
    }

    /// Whether all of them have left since.
    fn have_left(&mut self) -> bool {
        self.0.retain(|(record, first)| !record.seen().has_left_since(*first));
        self.0.is_empty()
    }
}

impl Shared {
    pub(crate) fn synchronize(&self) {
        // After this barrier a running thread is seen running, and one that leaves sees that
        // someone waits.
        self.attention.fetch_add(GRACE, Ordering::Relaxed);
        self.barrier.heavy();
        let mut pool = lock(&self.pool);
        let mut running = Running::now(&pool);
        while !running.have_left() {
            pool = wait(&self.changed, pool);
        }
        self.attention.fetch_sub(GRACE, Ordering::Relaxed);
        let ready = self.take_ready(&mut pool);
        drop(pool);
        ready.into_iter().for_each(Deferred::run);
    }

    pub(crate) fn defer(&self, what: Box<dyn FnOnce() + Send>) {
        self.attention.fetch_add(GRACE, Ordering::Relaxed);
        self.barrier.heavy();
        let mut pool = lock(&self.pool);
        let running = Running::now(&pool);
        pool.deferred.push(Deferred { running, what });
        let ready = self.take_ready(&mut pool);
        drop(pool);
        ready.into_iter().for_each(Deferred::run);
    }

    /// Takes out what was deferred long enough.
    pub(crate) fn take_ready(&self, pool: &mut Pool) -> Vec<Deferred> {
        let ready: Vec<_> =
            pool.deferred.extract_if(.., |deferred| deferred.running.have_left()).collect();
        for _ in &ready {
            self.attention.fetch_sub(GRACE, Ordering::Relaxed);
        }
        ready
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Who runs borrows the CPUs, so nobody does.
        let pool = std::mem::take(&mut lock(&self.pool).deferred);
        pool.into_iter().for_each(Deferred::run);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn cpus(count: u32) -> Cpus {
        Cpus::new(count.try_into().unwrap())
    }

    #[test]
    fn a_running_program_cannot_wait_for_itself() {
        let cpus = cpus(1);
        assert_eq!(cpus.synchronize(), Ok(()));
        let here = cpus.enter();
        assert_eq!(cpus.synchronize(), Err(RunsItself));
        drop(here);
        assert_eq!(cpus.synchronize(), Ok(()));
    }

    #[test]
    fn what_is_deferred_happens_at_once_if_nobody_runs() {
        let cpus = cpus(1);
        let done = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&done);
        cpus.defer(move || set.store(true, Ordering::Relaxed));
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_deferred_waits_for_the_outermost_run() {
        let cpus = cpus(1);
        let done = Arc::new(AtomicBool::new(false));
        let (outer, inner) = (cpus.enter(), cpus.enter());
        let set = Arc::clone(&done);
        cpus.defer(move || set.store(true, Ordering::Relaxed));
        assert!(!done.load(Ordering::Relaxed));
        drop(inner);
        assert!(!done.load(Ordering::Relaxed));
        drop(outer);
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    fn synchronizing_waits_for_programs_that_run_and_no_others() {
        let cpus = cpus(3);
        let (entered, is_in) = mpsc::channel();
        let (leave, told) = mpsc::channel::<()>();
        let (finished, is_over) = mpsc::channel();
        thread::scope(|scope| {
            let world = &cpus;
            scope.spawn(move || {
                let _here = world.enter();
                entered.send(()).unwrap();
                told.recv().unwrap();
            });
            is_in.recv().unwrap();
            scope.spawn(move || {
                world.synchronize().unwrap();
                finished.send(()).unwrap();
            });
            assert!(is_over.recv_timeout(Duration::from_millis(20)).is_err());
            drop(cpus.enter());
            leave.send(()).unwrap();
            is_over.recv().unwrap();
        });
    }

    #[test]
    fn a_program_never_sees_what_was_freed() {
        let cpus = cpus(2);
        let slot = AtomicUsize::new(1);
        let freed: Vec<_> = (0..200).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let stop = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 20 } else { freed.len() };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _here = cpus.enter();
                        let thing = &freed[slot.load(Ordering::Acquire)];
                        for _ in 0..20 {
                            assert!(!thing.load(Ordering::Relaxed), "freed while in use");
                        }
                    }
                });
            }
            for next in 2..rounds {
                let old = slot.swap(next, Ordering::AcqRel);
                let flag = Arc::clone(&freed[old]);
                if next % 2 == 0 {
                    cpus.synchronize().unwrap();
                    flag.store(true, Ordering::Relaxed);
                } else {
                    cpus.defer(move || flag.store(true, Ordering::Relaxed));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(freed[1..rounds - 1].iter().all(|flag| flag.load(Ordering::Relaxed)));
    }
}
