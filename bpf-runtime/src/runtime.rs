//! A runtime: what the kernel would be.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bpf_abi::exec::RandomLayout;
use bpf_btf::Btf;
use bpf_jit::{CodeCache, JitOptions, SlotMode};
use bpf_maps::cpu::Cpus;
use bpf_maps::reclaim::RunsItself;
use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};

use crate::background::CompilerHold;
use crate::engine::{EngineChoice, Engines, JitMode};
use crate::error::Error;
use crate::locks::Locks;
use crate::network::{Around, Idle, Network};
use crate::objects::Registry;
use crate::own::OwnTypes;
use crate::owned::Pool;
use crate::timers::{TimerMode, Timers};

/// Where programs are loaded, keep their maps, and run.
///
/// A cheap handle: clones are the same runtime. There can be any number of runtimes in a
/// process, and they share nothing.
///
/// ```
/// use bpf_runtime::Runtime;
///
/// let runtime = Runtime::builder().cpus(2).seed(7).build()?;
/// assert_eq!(runtime.cpus(), 2);
/// # Ok::<(), bpf_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a runtime share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cpus: Cpus,
    pub(crate) engines: Engines,
    /// Whether later loads are as in a kernel that does not compile.
    no_jit: AtomicBool,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) own_types: OwnTypes,
    /// What programs allocate.
    pub(crate) objects: Arc<Pool>,
    /// Locks that notice deadlocks.
    pub(crate) locks: Locks,
    /// What programs leave to be done later.
    pub(crate) timers: Arc<Timers>,
    /// What the host tells of the network.
    pub(crate) network: Around,
    kernel_btf: KernelBtf,
    kernel_types: OnceLock<Option<Arc<Btf>>>,
    printer: Mutex<Printer>,
    /// The thread that prints, by the number of its own; 0 if none does.
    printing: AtomicUsize,
}

/// However the printer ends, it has.
struct Printing<'a>(&'a AtomicUsize);

impl Drop for Printing<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A number that no other thread has while this one lives, and not 0.
fn thread_number() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// Where programs' prints go.
struct Printer(Print);

/// Takes a line.
type Print = Box<dyn FnMut(&[u8]) + Send>;

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Printer")
    }
}

/// Where the types of the kernel come from: for CO-RE, kernel functions and typed contexts.
#[derive(Clone, Debug, Default)]
pub enum KernelBtf {
    /// From the kernel that this process runs on, if it publishes them. Read when first needed.
    #[default]
    Running,
    /// From a file, read when first needed.
    File(PathBuf),
    /// These.
    Given(Arc<Btf>),
    /// Nowhere: what needs them is refused.
    None,
}

/// How a [`Runtime`] is to be.
pub struct Builder {
    cpus: Option<NonZeroU32>,
    engine: EngineChoice,
    jit: JitMode,
    counts: bool,
    slots: SlotMode,
    code_cache: Option<CodeCache>,
    optimize: bool,
    inline: bool,
    code_memory: Option<usize>,
    kernel_btf: KernelBtf,
    clock: Clock,
    timers: TimerMode,
    network: Around,
    seed: Option<u64>,
    printer: Printer,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("cpus", &self.cpus)
            .field("engine", &self.engine)
            .field("kernel_btf", &self.kernel_btf)
            .field("clock", &self.clock)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// How many virtual CPUs there are; as many as this process may use at once, if not said.
    /// Zero counts as one.
    #[must_use]
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = Some(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        self
    }

    /// Which engine runs programs; [`EngineChoice::Auto`] if not said.
    #[must_use]
    pub const fn engine(mut self, engine: EngineChoice) -> Self {
        self.engine = engine;
        self
    }

    /// When programs are compiled; [`JitMode::Eager`] if not said.
    #[must_use]
    pub const fn jit(mut self, mode: JitMode) -> Self {
        self.jit = mode;
        self
    }

    /// Whether programs count how often they run and what comes of their tail calls, for
    /// [`Program::counters`](crate::Program::counters). Costs a little where they do, and nothing
    /// where they do not.
    #[must_use]
    pub const fn count(mut self, counts: bool) -> Self {
        self.counts = counts;
        self
    }

    /// How entries of compiled functions are changed while programs run; as one word, if not said.
    #[must_use]
    pub const fn slots(mut self, slots: SlotMode) -> Self {
        self.slots = slots;
        self
    }

    /// How much memory there is for compiled code, in bytes, rounded up to a power of two from 64 KiB to
    /// 1 GiB; 256 MiB if not said. Linux: `net.core.bpf_jit_limit`.
    #[must_use]
    pub const fn code_memory(mut self, bytes: usize) -> Self {
        self.code_memory = Some(bytes);
        self
    }

    /// Whether compiled code is optimised; it is, if not said. Code that is not is compiled sooner,
    /// and tells whether it was the optimiser that went wrong.
    #[must_use]
    pub const fn optimize(mut self, optimize: bool) -> Self {
        self.optimize = optimize;
        self
    }

    /// Whether small static functions become part of those that call them, and `bpf_loop` and the like
    /// become loops; they do, if not said. Probes can be attached to them all the same; the first one has
    /// the program compiled once more.
    #[must_use]
    pub const fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// Where compiled code is kept for programs that are loaded again; `None` keeps none. If not
    /// said, each runtime keeps some in memory: [`CodeCache::DEFAULT_MEMORY`] bytes, enough for an
    /// object to be loaded again, or in many copies, without being compiled again.
    ///
    /// A cache can be shared by runtimes, and one in a directory by processes. What it has is
    /// compiled code from the start, also where programs are compiled in the background.
    ///
    /// ```
    /// use bpf_runtime::{CodeCache, Runtime};
    ///
    /// let cache = CodeCache::in_memory(1 << 20);
    /// let runtimes = [(); 2].map(|()| Runtime::builder().code_cache(cache.clone()).build());
    /// assert_eq!(cache.stats().hits, 0);
    /// # for runtime in runtimes { runtime?; }
    /// # Ok::<(), bpf_runtime::Error>(())
    /// ```
    #[must_use]
    pub fn code_cache(mut self, cache: impl Into<Option<CodeCache>>) -> Self {
        self.code_cache = cache.into();
        self
    }

    /// Where the kernel's types come from; from the running kernel if not said.
    #[must_use]
    pub fn kernel_btf(mut self, kernel_btf: KernelBtf) -> Self {
        self.kernel_btf = kernel_btf;
        self
    }

    /// What programs' clocks show; the system's clocks if not said.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Who runs what programs leave to timers and work items; a thread of the runtime if not said.
    /// See [`Runtime::run_due`].
    #[must_use]
    pub const fn timers(mut self, timers: TimerMode) -> Self {
        self.timers = timers;
        self
    }

    /// The network that programs are told of; [`Idle`] if not said.
    #[must_use]
    pub fn network(mut self, network: impl Network) -> Self {
        self.network = Around(Box::new(network));
        self
    }

    /// Makes `bpf_get_prandom_u32` repeatable: the same seed gives the same numbers.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where lines go that programs print with `bpf_trace_printk`; nowhere if not said. Called
    /// while a program runs, so it should be quick. If it panics, the panic goes on where the program
    /// was run. It may run programs itself: what those print is refused with `EBUSY`.
    #[must_use]
    pub fn on_print(mut self, printer: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.printer = Printer(Box::new(printer));
        self
    }

    /// The runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if compiled code was asked for and there can be none.
    pub fn build(self) -> Result<Runtime, Error> {
        let cpus = self.cpus.map_or_else(Cpus::available, Cpus::new);
        let usual = JitOptions::default();
        let options = JitOptions {
            slots: self.slots,
            optimize: self.optimize,
            inline: self.inline,
            cache: self.code_cache,
            reserve: self.code_memory.unwrap_or(usual.reserve),
            ..usual
        };
        let engines = Engines::new(self.engine, self.jit, self.counts, options)?;
        let random = Random::new(self.seed, cpus.count());
        let objects = Arc::new(Pool::new(cpus.clone()));
        let timers = Timers::new(cpus.clone(), self.clock.clone(), self.timers);
        let shared = Shared {
            cpus: cpus.clone(),
            engines,
            no_jit: AtomicBool::new(false),
            registry: Registry::default(),
            clock: self.clock,
            random,
            own_types: OwnTypes::default(),
            objects,
            locks: Locks::new(cpus.count()),
            timers: Arc::new(timers),
            network: self.network,
            kernel_btf: self.kernel_btf,
            kernel_types: OnceLock::new(),
            printer: Mutex::new(self.printer),
            printing: AtomicUsize::new(0),
        };
        Ok(Runtime { shared: Arc::new(shared) })
    }
}

impl Runtime {
    /// A runtime with everything as [`Builder`] has it at first.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Begins to say how a runtime is to be.
    pub fn builder() -> Builder {
        Builder {
            cpus: None,
            engine: EngineChoice::default(),
            jit: JitMode::default(),
            counts: false,
            slots: SlotMode::Word,
            code_cache: Some(CodeCache::in_memory(CodeCache::DEFAULT_MEMORY)),
            optimize: true,
            inline: true,
            code_memory: None,
            kernel_btf: KernelBtf::default(),
            clock: Clock::default(),
            timers: TimerMode::default(),
            network: Around(Box::new(Idle)),
            seed: None,
            printer: Printer(Box::new(|_| ())),
        }
    }

    /// How many virtual CPUs there are.
    pub fn cpus(&self) -> u32 {
        self.shared.cpus.count()
    }

    /// Whether programs that are loaded from now on count as compiled. If not, they are interpreted,
    /// and judged as a kernel does that only has an interpreter: extensions are refused, and stack
    /// is counted otherwise.
    ///
    /// A runtime whose engine is the interpreter treats its programs as compiled all the same,
    /// until this says otherwise. Linux: `net.core.bpf_jit_enable`.
    pub fn enable_jit(&self, on: bool) {
        self.shared.no_jit.store(!on, Ordering::Relaxed);
    }

    /// Whether programs that are loaded now count as compiled.
    pub fn jit_enabled(&self) -> bool {
        self.shared.compiles()
    }

    /// Holds up the compiler that works in the [background](JitMode::Background), until the result is
    /// dropped: programs that are loaded meanwhile are interpreted, unless
    /// [`settle`](crate::Program::settle) or a link has them compiled. For tests and measurements.
    pub fn hold_compiler(&self) -> CompilerHold {
        CompilerHold::new(self.shared.engines.compiler())
    }

    /// Where compiled code is kept for programs that are loaded again, if it is.
    pub fn code_cache(&self) -> Option<&CodeCache> {
        self.shared.engines.jit()?.cache()
    }

    /// How many bytes of the memory for compiled code are free; `None` if there is no compiler.
    pub fn free_code_memory(&self) -> Option<usize> {
        Some(self.shared.engines.jit()?.free_memory())
    }

    /// Waits until every program that runs now has ended: then nothing runs any more that was taken
    /// out of program arrays and detached before.
    ///
    /// # Errors
    ///
    /// Returns an error on a thread that is running a program itself, and would wait for its own
    /// end.
    pub fn synchronize(&self) -> Result<(), RunsItself> {
        self.shared.cpus.synchronize()
    }

    /// Runs the functions that programs left to timers and work items and that are due, in the order
    /// in which they are, and returns how many. What those start waits for the next time.
    ///
    /// For hosts that run them themselves: [`TimerMode::Host`], and all whose clock is their own. One
    /// function runs at a time; if another thread is running one this returns.
    ///
    /// ```
    /// use bpf_runtime::{Clock, ManualClock, Runtime};
    ///
    /// let clock = ManualClock::new(0);
    /// let runtime = Runtime::builder().clock(Clock::Manual(clock.clone())).build()?;
    /// // … programs start timers …
    /// while let Some(due) = runtime.next_due() {
    ///     clock.set(due);
    ///     runtime.run_due();
    /// }
    /// # Ok::<(), bpf_runtime::Error>(())
    /// ```
    pub fn run_due(&self) -> usize {
        self.shared.timers.run_due()
    }

    /// When the next of those functions is due, in nanoseconds of the monotonic clock.
    pub fn next_due(&self) -> Option<u64> {
        self.shared.timers.next_due()
    }

    /// The link that is pinned under a name.
    pub fn pinned(&self, name: &str) -> Option<crate::Link> {
        self.shared.registry.pinned(name)
    }

    /// Takes a pin away; returns its link, whose last handle this may be.
    pub fn unpin(&self, name: &str) -> Option<crate::Link> {
        self.shared.registry.unpin(name)
    }

    /// The types of the kernel, where they are known.
    pub fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        self.shared.kernel_types()
    }

    /// Whether the kernel is the one that this process runs on.
    pub fn is_for_running_kernel(&self) -> bool {
        matches!(self.shared.kernel_btf, KernelBtf::Running)
    }
}

impl Shared {
    /// Whether programs that are loaded now count as compiled.
    pub(crate) fn compiles(&self) -> bool {
        !self.no_jit.load(Ordering::Relaxed)
    }

    /// Hands a line to the printer; whether it could, which it cannot if it is the printer that runs
    /// the program. Linux: `bpf_try_get_buffers`.
    pub(crate) fn print(&self, line: &[u8]) -> bool {
        let this = thread_number();
        if self.printing.load(Ordering::Relaxed) == this {
            return false;
        }
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        self.printing.store(this, Ordering::Relaxed);
        let over = Printing(&self.printing);
        (printer.0)(line);
        drop(over);
        true
    }

    /// The types of the kernel, where they are known.
    pub(crate) fn kernel_types(&self) -> Option<&Arc<Btf>> {
        let types = self.kernel_types.get_or_init(|| match &self.kernel_btf {
            KernelBtf::Running => read_btf("/sys/kernel/btf/vmlinux".into()),
            KernelBtf::File(path) => read_btf(path.clone()),
            KernelBtf::Given(btf) => Some(Arc::clone(btf)),
            KernelBtf::None => None,
        });
        types.as_ref()
    }
}

/// The types in a file; none if it cannot be read.
fn read_btf(path: PathBuf) -> Option<Arc<Btf>> {
    let bytes = std::fs::read(path).ok()?;
    Btf::parse(&bytes).ok().map(Arc::new)
}

/// What programs' clocks show.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clocks.
    #[default]
    System,
    /// A clock that stands still until the host moves it.
    Manual(ManualClock),
}

/// A clock that stands still until it is moved. A cheap handle: clones are the same clock.
///
/// ```
/// use bpf_runtime::{Clock, ManualClock, Runtime};
///
/// let clock = ManualClock::new(1_000);
/// let runtime = Runtime::builder().clock(Clock::Manual(clock.clone())).build()?;
/// clock.set(2_000); // programs of `runtime` now read 2000 ns
/// # Ok::<(), bpf_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `now`, in nanoseconds.
    pub fn new(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    /// Makes it show `now`, in nanoseconds.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// What it shows, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which of the clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Monotonic,
    Boot,
    Coarse,
    Tai,
    Real,
}

impl Clock {
    /// What a clock shows, in nanoseconds.
    pub(crate) fn now(&self, which: Timer) -> u64 {
        use DynamicClockId::Known;
        let system = match (self, which) {
            (Self::Manual(clock), _) => return clock.now(),
            (Self::System, Timer::Monotonic) => Known(ClockId::Monotonic),
            (Self::System, Timer::Boot) => DynamicClockId::Boottime,
            (Self::System, Timer::Coarse) => Known(ClockId::MonotonicCoarse),
            (Self::System, Timer::Tai) => DynamicClockId::Tai,
            (Self::System, Timer::Real) => Known(ClockId::Realtime),
        };
        let Ok(time) = clock_gettime_dynamic(system) else { return 0 };
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// Numbers for `bpf_get_prandom_u32`, one row a CPU, so that CPUs do not wait for each other: see
/// [`RandomLayout`].
#[derive(Debug)]
pub(crate) struct Random {
    states: Box<[RandomState]>,
    secret: u64,
}

/// A CPU's state, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct RandomState(AtomicU64);

const _: () = assert!(size_of::<RandomState>() == RandomLayout::STRIDE as usize);

impl Random {
    fn new(seed: Option<u64>, cpus: u32) -> Self {
        use std::hash::BuildHasher;
        let seed = seed.unwrap_or_else(|| std::hash::RandomState::new().hash_one(0));
        let state =
            |cpu: u32| RandomState(AtomicU64::new(scramble(seed.wrapping_add(u64::from(cpu)))));
        Self { states: (0..cpus).map(state).collect(), secret: scramble(!seed) }
    }

    /// How the rows lie, for compiled code.
    pub(crate) fn layout(&self) -> RandomLayout {
        RandomLayout { states: self.states.as_ptr().expose_provenance() as u64 }
    }

    /// A number that programs cannot guess, always the same.
    pub(crate) const fn secret(&self) -> u64 {
        self.secret
    }

    /// The next number of a CPU's row.
    pub(crate) fn next(&self, cpu: u32) -> u32 {
        let Some(RandomState(state)) = self.states.get(cpu as usize) else { return 0 };
        // Only the thread on this CPU changes it.
        let now = state.load(Ordering::Relaxed).wrapping_add(RandomLayout::STEP);
        state.store(now, Ordering::Relaxed);
        crate::helpers::args::low(scramble(now) >> 32)
    }
}

fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(RandomLayout::FIRST);
    x = (x ^ (x >> 27)).wrapping_mul(RandomLayout::SECOND);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (a, b, c) = (Random::new(Some(1), 2), Random::new(Some(1), 2), Random::new(Some(2), 2));
        let row = |random: &Random, cpu| [random.next(cpu), random.next(cpu), random.next(cpu)];
        let first = row(&a, 0);
        assert_eq!(first, row(&b, 0));
        assert_ne!(first, row(&a, 1));
        assert_ne!(first, row(&c, 0));
    }

    #[test]
    fn system_clocks_move() {
        let clock = Clock::System;
        for which in [Timer::Monotonic, Timer::Boot, Timer::Tai] {
            let before = clock.now(which);
            assert!(before > 0 && clock.now(which) >= before);
        }
    }
}
