//! Virtual CPUs: which thread may run programs, and which programs are running.
//!
//! A thread that runs a program holds a virtual CPU, so no two running programs share a
//! per-CPU value. The same fact answers when memory that programs may be looking at can be
//! freed: when each thread that was running then has left since ([`reclaim`](crate::reclaim)).
//!
//! # The lease
//!
//! Entering must cost a nanosecond, so a thread keeps its CPU when it leaves (the lease is
//! *biased* to it), and another thread that finds no free CPU takes it away:
//!
//! ```text
//!     owner enters                     thief steals
//!     state = running                  owner.cpu = none
//!     light barrier                    heavy barrier
//!     cpu = own.cpu                    if owner.state is running { owner.cpu = it; give up }
//! ```
//!
//! Either the owner's first line comes before the thief's barrier, and the thief sees it and
//! gives the CPU back; or the owner's last line comes after it and the owner sees `none`, which
//! sends it to the lock that the thief holds. So both never have it: the argument is that of
//! Dekker's algorithm, with the barriers of [`barrier`](crate::barrier) in place of fences.
//! `cpu` is written only under the lock.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ptr;
use std::sync::atomic::AtomicU64 as Numbers;
use std::sync::{Arc, Weak};

use crate::barrier::Barrier;
use crate::reclaim::Deferred;
use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, lock, wait};

/// The number of a virtual CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u32);

impl CpuId {
    /// As an index into something that has one a CPU.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The virtual CPUs of one world, a cheap handle: clones are the same CPUs.
///
/// ```
/// use bpf_maps::cpu::Cpus;
///
/// let cpus = Cpus::new(2.try_into().unwrap());
/// let here = cpus.enter();
/// assert!(here.cpu().0 < 2);
/// ```
#[derive(Clone)]
pub struct Cpus {
    shared: Arc<Shared>,
}

impl Cpus {
    /// So many CPUs, all free.
    pub fn new(count: NonZeroU32) -> Self {
        Self { shared: Arc::new(Shared::new(count.get())) }
    }

    /// As many as this process may use at once.
    pub fn available() -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = u32::try_from(count).ok().and_then(NonZeroU32::new);
        Self::new(count.unwrap_or(NonZeroU32::MIN))
    }

    /// A number that no other CPUs of this process have.
    pub fn world(&self) -> u64 {
        self.shared.id
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.shared.count
    }

    /// Begins to run programs on this thread, until the result is dropped.
    ///
    /// Waits for a CPU if other threads run programs on all of them. A thread that is running
    /// may enter again, and stays on its CPU.
    #[inline(always)]
    pub fn enter(&self) -> OnCpu<'_> {
        self.shared.enter_as(self.here())
    }

    /// Whether this thread is running a program.
    pub fn is_running(&self) -> bool {
        self.here().is_running()
    }

    /// This thread's record.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a thread-local cache of a borrowed record")]
    fn here(&self) -> &Record {
        let (id, record) = LAST.get();
        if id == self.shared.id {
            // SAFETY: [thread-record] `shared` holds the record until this thread's end, where
            // it is taken out of `LAST` first; the borrow of `self` keeps `shared`.
            return unsafe { &*record };
        }
        self.look_up_here()
    }

    /// This thread's record, found in the list of all worlds it has entered, or made.
    #[cold]
    #[expect(unsafe_code, reason = "extends a borrow that the pool vouches for")]
    fn look_up_here(&self) -> &Record {
        let known = ENTERED.try_with(|entered| entered.borrow().find(&self.shared)).ok().flatten();
        let record = known.unwrap_or_else(|| {
            let record = self.shared.register();
            // When the thread is ending the list is gone. Then the record stays until the
            // world's end; its CPU can be stolen like any other.
            let entry = Entry { shared: Arc::downgrade(&self.shared), record: Arc::clone(&record) };
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().0.push(entry));
            record
        });
        let record = Arc::as_ptr(&record);
        LAST.set((self.shared.id, record));
        // SAFETY: [thread-record] `shared` holds it too, as in `here`.
        unsafe { &*record }
    }

    /// What all handles share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpus({})", self.shared.count)
    }
}

thread_local! {
    /// The world that this thread entered last, by its number, and its record there.
    static LAST: Cell<(u64, *const Record)> = const { Cell::new((0, ptr::null())) };
    /// All worlds that this thread has entered.
    static ENTERED: RefCell<Entered> = const { RefCell::new(Entered(Vec::new())) };
}

/// The worlds a thread has entered; gives their CPUs back when the thread ends.
struct Entered(Vec<Entry>);

/// One world a thread has entered.
struct Entry {
    shared: Weak<Shared>,
    record: Arc<Record>,
}

impl Entered {
    /// The record in this world.
    fn find(&self, shared: &Arc<Shared>) -> Option<Arc<Record>> {
        let entry = self.0.iter().find(|entry| entry.shared.as_ptr() == Arc::as_ptr(shared))?;
        Some(Arc::clone(&entry.record))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        LAST.set((0, ptr::null()));
        for entry in self.0.drain(..) {
            if let Some(shared) = entry.shared.upgrade() {
                shared.retire(&entry.record);
            }
        }
    }
}

/// A thread on a virtual CPU: programs may run until it is dropped.
#[must_use = "the CPU is left when this is dropped"]
pub struct OnCpu<'a> {
    shared: &'a Shared,
    record: &'a Record,
    cpu: u32,
    /// The thread's state since it entered, if nothing else has entered or left meanwhile.
    state: u64,
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

impl OnCpu<'_> {
    /// Which one.
    pub const fn cpu(&self) -> CpuId {
        CpuId(self.cpu)
    }
}

impl Drop for OnCpu<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.shared.leave_as(self.record, self.state);
    }
}

impl fmt::Debug for OnCpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnCpu({})", self.cpu)
    }
}

/// What a thread says of itself, and only it writes, but for `cpu`.
///
/// `state` is how often the thread has left (upper half) and how deep it is in programs (lower
/// half); it runs programs if the lower half is not zero.
#[repr(align(128))]
pub(crate) struct Record {
    state: AtomicU64,
    cpu: AtomicU32,
    /// How often it kept its CPU while others waited for one.
    kept: AtomicU32,
}

/// No CPU.
const NONE: u32 = u32::MAX;
/// The lower half of a state: how deep.
const DEPTH: u64 = 0xffff_ffff;
/// One in the upper half of a state.
const ROUND: u64 = 1 << 32;
/// How often a thread keeps its CPU while others wait: handing over is a thousand times as
/// expensive as entering.
const PATIENCE: u32 = if cfg!(loom) { 0 } else { 1000 };

impl Record {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(0), cpu: AtomicU32::new(NONE), kept: AtomicU32::new(0) }
    }

    /// Its state, as another thread sees it. What the owner did before it left is then seen.
    pub(crate) fn seen(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    fn is_running(&self) -> bool {
        self.seen().is_running()
    }
}

/// A thread's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    /// Whether it runs programs.
    pub(crate) const fn is_running(self) -> bool {
        self.0 & DEPTH != 0
    }

    /// Whether, seen later, the run that was seen first has ended.
    pub(crate) const fn has_left_since(self, first: Self) -> bool {
        !self.is_running() || self.0 >> 32 != first.0 >> 32
    }
}

/// The CPUs and the threads that may be on them.
pub(crate) struct Shared {
    /// A number that no other world has.
    id: u64,
    count: u32,
    pub(crate) barrier: Barrier,
    /// Not zero: who leaves must look whether someone waits for that. [`WAITER`]s and
    /// [`GRACE`]s.
    pub(crate) attention: AtomicU64,
    pub(crate) pool: Mutex<Pool>,
    /// Signalled when a thread left that someone may have waited for.
    pub(crate) changed: Condvar,
}

/// In `attention`: a thread that waits for a CPU.
const WAITER: u64 = 1;
/// In `attention`: someone who waits for running programs to end.
pub(crate) const GRACE: u64 = 1 << 32;

/// What the lock guards.
pub(crate) struct Pool {
    pub(crate) records: Vec<Arc<Record>>,
    free: Vec<u32>,
    pub(crate) deferred: Vec<Deferred>,
}

impl Shared {
    pub(crate) fn new(count: u32) -> Self {
        static NEXT: Numbers = Numbers::new(1);
        let pool =
            Pool { records: Vec::new(), free: (0..count).rev().collect(), deferred: Vec::new() };
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            count,
            barrier: Barrier::new(),
            attention: AtomicU64::new(0),
            pool: Mutex::new(pool),
            changed: Condvar::new(),
        }
    }

    /// A record for a thread that had none.
    pub(crate) fn register(&self) -> Arc<Record> {
        let record = Arc::new(Record::new());
        lock(&self.pool).records.push(Arc::clone(&record));
        record
    }

    /// Takes back the record of a thread that ends, and its CPU.
    fn retire(&self, record: &Arc<Record>) {
        let mut pool = lock(&self.pool);
        if record.is_running() {
            // Something that outlives the thread's own list still runs here. The record stays.
            return;
        }
        let cpu = record.cpu.load(Ordering::Relaxed);
        if cpu != NONE {
            record.cpu.store(NONE, Ordering::Relaxed);
            pool.free.push(cpu);
        }
        pool.records.retain(|other| !Arc::ptr_eq(other, record));
        drop(pool);
        self.changed.notify_all();
    }

    #[inline(always)]
    pub(crate) fn enter_as<'a>(&'a self, record: &'a Record) -> OnCpu<'a> {
        let state = record.state.load(Ordering::Relaxed) + 1;
        record.state.store(state, Ordering::Relaxed);
        self.barrier.light();
        let mut cpu = record.cpu.load(Ordering::Relaxed);
        if cpu == NONE {
            cpu = self.lease(record, state);
        }
        OnCpu { shared: self, record, cpu, state, here: PhantomData }
    }

    #[inline(always)]
    fn leave_as(&self, record: &Record, entered: u64) {
        // What is stored is almost always known without the load: the processor predicts the
        // comparison, so that the next entry does not wait for this one's way through memory.
        let state = if record.state.load(Ordering::Relaxed) == entered {
            entered - 1
        } else {
            record.state.load(Ordering::Relaxed) - 1
        };
        if state & DEPTH != 0 {
            record.state.store(state, Ordering::Release);
            return;
        }
        record.state.store(state.wrapping_add(ROUND), Ordering::Release);
        self.barrier.light();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention != 0 {
            self.attend(record, attention);
        }
    }

    /// Gets a CPU for a thread that has said `state` and found that it has none.
    #[cold]
    fn lease(&self, record: &Record, state: u64) -> u32 {
        let mut pool = lock(&self.pool);
        let cpu = record.cpu.load(Ordering::Relaxed);
        if cpu != NONE {
            // A thief saw us and gave it back.
            return cpu;
        }
        let (cpu, pool) = if let Some(cpu) = pool.free.pop() {
            (cpu, pool)
        } else {
            // Who waits runs nothing: others must not wait for us.
            record.state.store(state - 1, Ordering::Release);
            self.wait_for_cpu(pool)
        };
        record.kept.store(0, Ordering::Relaxed);
        record.cpu.store(cpu, Ordering::Relaxed);
        record.state.store(state, Ordering::Relaxed);
        // Whoever locks next sees that the CPU is in use.
        drop(pool);
        self.barrier.light();
        cpu
    }

    /// Steals a CPU, or waits until there is one.
    fn wait_for_cpu<'a>(&'a self, mut pool: MutexGuard<'a, Pool>) -> (u32, MutexGuard<'a, Pool>) {
        self.attention.fetch_add(WAITER, Ordering::Relaxed);
        // Whoever is still seen running after this barrier will see that we wait.
        self.barrier.heavy();
        let cpu = loop {
            if let Some(cpu) = pool.free.pop().or_else(|| self.steal(&pool)) {
                break cpu;
            }
            pool = wait(&self.changed, pool);
        };
        self.attention.fetch_sub(WAITER, Ordering::Relaxed);
        (cpu, pool)
    }

    /// Takes the CPU of a thread that does not use it.
    fn steal(&self, pool: &Pool) -> Option<u32> {
        pool.records.iter().find_map(|victim| {
            let cpu = victim.cpu.load(Ordering::Relaxed);
            if cpu == NONE || victim.is_running() {
                return None;
            }
            victim.cpu.store(NONE, Ordering::Relaxed);
            self.barrier.heavy();
            if victim.is_running() {
                victim.cpu.store(cpu, Ordering::Relaxed);
                return None;
            }
            Some(cpu)
        })
    }

    /// Sees to those who wait for this thread, which has just left.
    #[cold]
    fn attend(&self, record: &Record, attention: u64) {
        let kept = record.kept.load(Ordering::Relaxed);
        let hands_over = !attention.is_multiple_of(GRACE) && kept >= PATIENCE;
        record.kept.store(if hands_over { 0 } else { kept.saturating_add(1) }, Ordering::Relaxed);
        if !hands_over && attention < GRACE {
            return;
        }
        let mut pool = lock(&self.pool);
        let cpu = record.cpu.load(Ordering::Relaxed);
        if hands_over && cpu != NONE {
            record.cpu.store(NONE, Ordering::Relaxed);
            pool.free.push(cpu);
        }
        let ready = self.take_ready(&mut pool);
        drop(pool);
        self.changed.notify_all();
        for deferred in ready {
            deferred.run();
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn cpus(count: u32) -> Cpus {
        Cpus::new(count.try_into().unwrap())
    }

    #[test]
    fn a_thread_comes_back_to_its_cpu_and_stays_on_it_when_nested() {
        let cpus = cpus(4);
        let first = cpus.enter().cpu();
        let here = cpus.enter();
        assert_eq!(here.cpu(), first);
        assert_eq!(cpus.enter().cpu(), first);
        assert!(cpus.is_running());
        drop(here);
        assert!(!cpus.is_running());
    }

    #[test]
    fn worlds_have_cpus_of_their_own() {
        let (a, b) = (cpus(1), cpus(1));
        let on_a = a.enter();
        assert!(!b.is_running());
        let on_b = b.enter();
        assert_eq!((on_a.cpu(), on_b.cpu()), (CpuId(0), CpuId(0)));
        drop(on_a);
        assert!(b.is_running());
    }

    #[test]
    fn an_idle_threads_cpu_is_stolen() {
        let cpus = cpus(1);
        drop(cpus.enter());
        let other = cpus.clone();
        thread::spawn(move || assert_eq!(other.enter().cpu(), CpuId(0))).join().unwrap();
        assert_eq!(cpus.enter().cpu(), CpuId(0));
    }

    #[test]
    fn a_cpu_comes_back_when_its_thread_ends() {
        let cpus = cpus(1);
        for _ in 0..3 {
            let other = cpus.clone();
            thread::spawn(move || drop(other.enter())).join().unwrap();
        }
        assert!(lock(&cpus.shared.pool).records.is_empty());
        assert_eq!(lock(&cpus.shared.pool).free, [0]);
    }

    #[test]
    fn no_two_threads_are_on_one_cpu_however_many_there_are() {
        let cpus = cpus(2);
        let taken = [AtomicBool::new(false), AtomicBool::new(false)];
        let runs = AtomicUsize::new(0);
        let each = if cfg!(miri) { 20 } else { 5000 };
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    for _ in 0..each {
                        let here = cpus.enter();
                        let mine = &taken[here.cpu().index()];
                        assert!(!mine.swap(true, Ordering::Relaxed), "{here:?} is taken");
                        runs.fetch_add(1, Ordering::Relaxed);
                        mine.store(false, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(runs.into_inner(), 5 * each);
    }

    #[test]
    fn a_thread_waits_for_a_cpu_until_another_leaves() {
        let cpus = cpus(1);
        let here = cpus.enter();
        let (said, heard) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _here = cpus.enter();
                said.send(()).unwrap();
            });
            assert!(heard.recv_timeout(std::time::Duration::from_millis(20)).is_err());
            drop(here);
            heard.recv().unwrap();
        });
    }
}
