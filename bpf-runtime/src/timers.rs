//! What programs leave to be done later: timers and work items in the values of maps.
//!
//! Each has a place, the address of its field; the field itself stays zero. A function that is due
//! runs on a thread of the runtime, or when the host says so, one at a time, in the order in which
//! they are due. Whoever takes a timer back waits until its function has ended, unless it is that
//! function itself.
//!
//! ```text
//!   place   ->  map, clock, function of a program, when it is due
//!   when    ->  place                                  the queue
//! ```
//!
//! A function keeps its program, which keeps the map. So all of a map's are let go when the host
//! gives its last handle of the map back, and each when its value goes.
//!
//! Linux: `struct bpf_hrtimer`, `struct bpf_work`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use bpf_abi::errno::Errno;
use bpf_abi::exec::CallbackFn;
use bpf_abi::id::MapId;
use bpf_maps::{Cpus, MapHandle};

use crate::enter;
use crate::env::{Env, Place};
use crate::memory::Memory;
use crate::objects::program::ProgramObject;
use crate::runtime::{Clock, Shared, Timer};

/// Who runs the functions that programs leave to timers and work items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimerMode {
    /// A thread of the runtime, which is there while something is due. If the clock is the
    /// [host's](Clock::Manual) the host runs them all the same, since it alone knows when.
    #[default]
    Thread,
    /// The host, by [`run_due`](crate::Runtime::run_due).
    Host,
}

/// How long the thread waits for more when nothing is left to be done.
const PATIENCE: Duration = Duration::from_millis(500);

/// All that programs of a runtime leave to be done later.
#[derive(Debug)]
pub(crate) struct Timers {
    cpus: Cpus,
    clock: Clock,
    mode: TimerMode,
    /// How many there are, so that who finds none need not look.
    count: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
    programs: Mutex<Programs>,
}

#[derive(Debug, Default)]
struct State {
    items: HashMap<u64, Item>,
    /// The places of those that wait, by when they are due and in which order they were started.
    queue: BTreeMap<When, u64>,
    started: u64,
    running: Option<Running>,
    has_thread: bool,
}

/// When something is due, in nanoseconds, and how many were started before it.
type When = (u64, u64);

#[derive(Debug)]
struct Item {
    map: Weak<MapHandle>,
    map_id: MapId,
    clock: Timer,
    function: Option<Arc<Later>>,
    when: Option<When>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    place: u64,
    thread: ThreadId,
}

/// A function of a program that is called later.
pub(crate) struct Later {
    /// Keeps the function.
    pub(crate) program: Arc<ProgramObject>,
    pub(crate) shared: Arc<Shared>,
    /// How the engine that has it calls it.
    pub(crate) how: CallbackFn,
    pub(crate) function: u64,
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Later").field(&self.program).finish()
    }
}

/// Programs by the numbers that their code is given.
#[derive(Debug, Default)]
struct Programs {
    last: u64,
    known: HashMap<u64, Weak<ProgramObject>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Timers {
    pub(crate) fn new(cpus: Cpus, clock: Clock, mode: TimerMode) -> Self {
        let mode = match clock {
            Clock::System => mode,
            Clock::Manual(_) => TimerMode::Host,
        };
        Self {
            cpus,
            clock,
            mode,
            count: AtomicUsize::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
            programs: Mutex::default(),
        }
    }

    /// A number for a program that is about to be loaded.
    pub(crate) fn number_program(&self) -> u64 {
        let mut programs = lock(&self.programs);
        programs.last += 1;
        programs.last
    }

    /// Says which program has a number.
    pub(crate) fn name_program(&self, number: u64, program: &Arc<ProgramObject>) {
        let mut programs = lock(&self.programs);
        programs.known.retain(|_, program| program.strong_count() > 0);
        programs.known.insert(number, Arc::downgrade(program));
    }

    /// The program of a number.
    pub(crate) fn program(&self, number: u64) -> Option<Arc<ProgramObject>> {
        lock(&self.programs).known.get(&number)?.upgrade()
    }

    /// Makes one at a place in a value of this map.
    pub(crate) fn init(&self, place: u64, map: &MapHandle, clock: Timer) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        if state.items.contains_key(&place) {
            return Err(Errno::EBUSY);
        }
        let core = map.map().core();
        if core.shape().fields.is_none() {
            // One inside of another that says more of its values than there is.
            return Err(Errno::EINVAL);
        }
        // Whoever gives the last handle back takes all away afterwards.
        if !core.has_host() {
            return Err(Errno::EPERM);
        }
        let item = Item { map: map.keep(), map_id: core.id(), clock, function: None, when: None };
        state.items.insert(place, item);
        self.count.store(state.items.len(), Ordering::Release);
        Ok(())
    }

    /// Says what is to be called.
    pub(crate) fn set_function(&self, place: u64, function: Later) -> Result<(), Errno> {
        let function = Arc::new(function);
        let mut state = lock(&self.state);
        let item = state.items.get_mut(&place).ok_or(Errno::EINVAL)?;
        let has_host = item.map.upgrade().is_some_and(|map| map.map().core().has_host());
        if !has_host {
            return Err(Errno::EPERM);
        }
        let old = item.function.replace(function);
        drop(state);
        // What goes may lock this again.
        drop(old);
        Ok(())
    }

    /// Starts a timer, or starts it anew: it is due in so many nanoseconds, or when its clock shows
    /// so many.
    pub(crate) fn start(
        self: &Arc<Self>,
        place: u64,
        time: u64,
        absolute: bool,
    ) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        let item = state.items.get(&place).filter(|item| item.function.is_some());
        let clock = item.ok_or(Errno::EINVAL)?.clock;
        let rest = if absolute { time.saturating_sub(self.clock.now(clock)) } else { time };
        let due = self.clock.now(Timer::Monotonic).saturating_add(rest);
        state.take_back(place);
        state.enqueue(place, due);
        self.wake(&mut state);
        Ok(())
    }

    /// Starts a work item, which is due at once. One that waits goes on waiting.
    pub(crate) fn work(self: &Arc<Self>, place: u64) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        let item = state.items.get(&place).filter(|item| item.function.is_some());
        if item.ok_or(Errno::EINVAL)?.when.is_none() {
            state.enqueue(place, self.clock.now(Timer::Monotonic));
            self.wake(&mut state);
        }
        Ok(())
    }

    /// Takes a timer back, and forgets its function; waits for the function to end if it runs.
    /// Returns whether the timer was waiting.
    pub(crate) fn cancel(&self, place: u64) -> Result<bool, Errno> {
        let mut state = lock(&self.state);
        if !state.items.contains_key(&place) {
            return Err(Errno::EINVAL);
        }
        while let Some(running) = state.running
            && running.place == place
        {
            if running.thread == thread::current().id() {
                return Err(Errno::EDEADLK);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let was_waiting = state.take_back(place);
        let function = state.items.get_mut(&place).and_then(|item| item.function.take());
        drop(state);
        drop(function);
        Ok(was_waiting)
    }

    /// Lets go of what is at a place: its value goes.
    pub(crate) fn forget(&self, place: u64) {
        if self.count.load(Ordering::Acquire) != 0 {
            self.forget_all(|at, _| at == place);
        }
    }

    /// Lets go of all that is in values of a map.
    pub(crate) fn forget_map(&self, map: MapId) {
        if self.count.load(Ordering::Acquire) != 0 {
            self.forget_all(|_, item| item.map_id == map);
        }
    }

    fn forget_all(&self, is_meant: impl Fn(u64, &Item) -> bool) {
        let mut state = lock(&self.state);
        let gone: Vec<(u64, Item)> =
            state.items.extract_if(|place, item| is_meant(*place, item)).collect();
        for when in gone.iter().filter_map(|(_, item)| item.when) {
            state.queue.remove(&when);
        }
        self.count.store(state.items.len(), Ordering::Release);
        drop(state);
        // What goes may lock this again.
        drop(gone);
    }

    /// When the next function is due, by the monotonic clock.
    pub(crate) fn next_due(&self) -> Option<u64> {
        lock(&self.state).queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// Runs all that is due now, but not what is started meanwhile. Returns how many ran.
    pub(crate) fn run_due(&self) -> usize {
        let (now, before) = (self.clock.now(Timer::Monotonic), lock(&self.state).started);
        let mut count = 0;
        while self.run_next(now, before) {
            count += 1;
        }
        count
    }

    /// Runs the first of those that are due by `now` and were started before `before` others were.
    fn run_next(&self, now: u64, before: u64) -> bool {
        let next = |state: &State| {
            let due = state.queue.iter().take_while(|((due, _), _)| *due <= now);
            let mut due = due.filter(|((_, order), _)| *order < before);
            due.next().map(|(when, place)| (*when, *place))
        };
        if next(&lock(&self.state)).is_none() {
            return false;
        }
        // Nobody waits for a function that waits for a CPU.
        let on = self.cpus.enter();
        let mut state = lock(&self.state);
        let Some((_, place)) = next(&state).filter(|_| state.running.is_none()) else {
            return false;
        };
        state.take_back(place);
        let item = state.items.get(&place);
        let found = item.and_then(|item| Some((item.function.clone()?, item.map.upgrade()?)));
        let Some((function, map)) = found else { return true };
        state.running = Some(Running { place, thread: thread::current().id() });
        drop(state);
        let end = End(self);
        function.call(&map, place, on.cpu().0);
        drop(end);
        drop(on);
        true
    }

    /// Has the thread look at the queue, if there is to be one.
    fn wake(self: &Arc<Self>, state: &mut State) {
        if self.mode == TimerMode::Host {
            return;
        }
        if !state.has_thread {
            let timers = Arc::clone(self);
            let thread = thread::Builder::new().name("bpf-timers".to_owned());
            // If there can be no thread now there may be one next time.
            state.has_thread = thread.spawn(move || timers.serve()).is_ok();
        }
        self.changed.notify_all();
    }

    /// What the thread does.
    fn serve(&self) {
        loop {
            self.run_due();
            let state = lock(&self.state);
            let rest = match state.queue.first_key_value() {
                Some(((due, _), _)) => {
                    Duration::from_nanos(due.saturating_sub(self.clock.now(Timer::Monotonic)))
                }
                None => PATIENCE,
            };
            // If the host runs them too, its function's end is waited for.
            let rest = if state.running.is_some() { PATIENCE } else { rest };
            let waited = self.changed.wait_timeout(state, rest);
            let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && state.queue.is_empty() {
                state.has_thread = false;
                return;
            }
        }
    }
}

/// However a function ends, those who wait for it are told.
struct End<'a>(&'a Timers);

impl Drop for End<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).running = None;
        self.0.changed.notify_all();
    }
}

impl State {
    fn enqueue(&mut self, place: u64, due: u64) {
        let when = (due, self.started);
        self.started += 1;
        if let Some(item) = self.items.get_mut(&place) {
            item.when = Some(when);
            self.queue.insert(when, place);
        }
    }

    /// Takes an item out of the queue; whether it was there.
    fn take_back(&mut self, place: u64) -> bool {
        let when = self.items.get_mut(&place).and_then(|item| item.when.take());
        when.is_some_and(|when| self.queue.remove(&when).is_some())
    }
}

impl Later {
    /// Calls the function with the map, and key and value of the entry that `place` is in.
    fn call(&self, map: &Arc<MapHandle>, place: u64, cpu: u32) {
        let Some((key, value)) = map.map().entry_at(place) else { return };
        let key_memory = Memory::new(key.len());
        if key_memory.write(0, &key).is_none() {
            return;
        }
        let mut env = Env::new(Arc::clone(&self.shared), Place::Bytes(Memory::new(0)));
        enter::later(self, &mut env, cpu, [map.addr(), key_memory.address(), value]);
    }
}
