//! How engines, helpers and tail calls meet.
//!
//! A run has one [`RunCx`]. Compiled and interpreted code passes its address to every helper
//! it calls; the helper finds the world in it.

use std::any::Any;
use std::ffi::c_void;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::errno::Errno;
use crate::id::ProgId;
use crate::image::Image;
use crate::prog::{AttachType, ProgType};

/// What a run knows besides its registers.
///
/// The layout is fixed, since compiled code reads `cpu` at its offset.
#[derive(Debug)]
#[repr(C)]
pub struct RunCx {
    /// The virtual CPU the run is on.
    pub cpu: u32,
    /// How many tail calls the run has taken. The interpreter counts here; compiled code
    /// counts in a register and stores the count here when it leaves.
    pub tail_calls: u32,
    /// The runtime's own part. Helpers of a runtime know what it points to: `[run-env]`.
    pub env: *mut c_void,
    /// How a helper calls a function of the running program: set by the engine that runs it.
    pub callback: Option<CallbackFn>,
    /// The address of the running program's context: R1 at its beginning.
    pub ctx: u64,
    /// How the interpreter goes on in compiled code: set by whoever begins a run, if there may be
    /// any.
    pub native: Option<NativeFn>,
    /// The value of the exception that is on its way to its program's first function.
    pub cookie: u64,
    /// Whether there is one: 1, or 0.
    pub thrown: u32,
}

impl RunCx {
    /// Where compiled code finds [`cpu`](Self::cpu), in bytes.
    pub const CPU_OFFSET: usize = std::mem::offset_of!(Self, cpu);
    /// Where compiled code stores [`tail_calls`](Self::tail_calls), in bytes.
    pub const TAIL_CALLS_OFFSET: usize = std::mem::offset_of!(Self, tail_calls);
    /// Where compiled code keeps [`cookie`](Self::cookie), in bytes.
    pub const COOKIE_OFFSET: usize = std::mem::offset_of!(Self, cookie);
    /// Where compiled code keeps [`thrown`](Self::thrown), in bytes.
    pub const THROWN_OFFSET: usize = std::mem::offset_of!(Self, thrown);

    /// A run on this virtual CPU with nothing else in it.
    pub const fn new(cpu: u32) -> Self {
        let env = std::ptr::null_mut();
        Self { cpu, tail_calls: 0, env, callback: None, ctx: 0, native: None, cookie: 0, thrown: 0 }
    }
}

/// A helper's code: the run, then R1 to R5; the result is R0.
///
/// Whoever calls one promises what the helper's contract asks of the arguments:
/// `[helper-args]`.
pub type HelperFn = unsafe extern "C" fn(*mut RunCx, u64, u64, u64, u64, u64) -> u64;

/// A helper that compiled code may do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// It returns the next number of a row.
    Random(RandomLayout),
}

/// Rows of numbers that look random, one a CPU.
///
/// ```text
///   state    the word at states + c * STRIDE for CPU c; only who runs on that CPU changes it
///   next     state = state + STEP
///            x = state
///            x = (x ^ x >> 30) * FIRST
///            x = (x ^ x >> 27) * SECOND
///            the number is the upper half of x ^ x >> 31
/// ```
///
/// The generator is `SplitMix64`: a Weyl sequence, its members scrambled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomLayout {
    /// The address of the first CPU's state.
    pub states: u64,
}

impl RandomLayout {
    /// The distance of two CPUs' states, in bytes.
    pub const STRIDE: u32 = 64;
    /// What a state grows by.
    pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    /// What scrambles first.
    pub const FIRST: u64 = 0xbf58_476d_1ce4_e5b9;
    /// What scrambles then.
    pub const SECOND: u64 = 0x94d0_49bb_1331_11eb;
}

/// How a helper calls a function of the running program: the run, the function as it stood in
/// the helper's argument, then R1 to R5; the result is R0.
pub type CallbackFn = unsafe extern "C" fn(*mut RunCx, u64, u64, u64, u64, u64, u64) -> u64;

/// The arguments of a body of compiled code, in the order of the registers that they are passed in:
/// as many as it takes, then the run.
pub type NativeArgs = [u64; 6];

/// How the interpreter enters compiled code: the run, the arguments, and the address of a body or of
/// the slot before it; the result is its R0. Tail calls are counted on in the run.
///
/// Whoever calls it promises that there is such code, and what its image's voucher asks of the
/// arguments: `[prog-entry]`, `[run-context]`.
pub type NativeFn = unsafe extern "C" fn(*mut RunCx, *const NativeArgs, u64) -> u64;

/// How compiled code enters the interpreter: what [`ProgEntry::interp`] holds of a program, its R1 to
/// R5, and the run, in which tail calls are counted on.
pub type InterpFn = unsafe extern "C" fn(u64, *const [u64; 5], *mut RunCx) -> Onward;

/// How the interpreter leaves a program that compiled code has jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Onward {
    /// R0; of a tail call into compiled code, R1.
    pub value: u64,
    /// Where compiled code is to jump to with that R1; 0 if the program has ended.
    pub next: u64,
}

/// What a probe gets: the address of the arguments of the function it is on, eight bytes each, the
/// returned value behind them. In the eight bytes before it is told how many there are.
///
/// Linux: the frame of `arch_prepare_bpf_trampoline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeArgs {
    /// How many arguments there are.
    pub count: u8,
    /// Whether the function has returned.
    pub returned: bool,
}

impl ProbeArgs {
    /// The most arguments that a function of a program has.
    pub const MOST: usize = 5;
    /// How many bytes the header lies before the first argument.
    pub const HEADER: u64 = 8;

    /// What lies before the arguments.
    pub const fn header(count: u8, returned: bool) -> u32 {
        count as u32 | (returned as u32) << 8
    }

    /// What the header says.
    pub const fn of_header(header: u64) -> Self {
        Self { count: header.to_le_bytes()[0], returned: header.to_le_bytes()[1] != 0 }
    }
}

/// Keeps a probe from running inside of itself: on which CPUs it runs now, and how often it was passed
/// over because it did.
///
/// The layout of what there is for a CPU is fixed, since compiled code looks at it in place.
///
/// Linux: `active` of `struct bpf_prog`, `misses` of `struct bpf_prog_stats`.
#[derive(Debug)]
pub struct ProbeGuard {
    cpus: Box<[CpuGuard]>,
}

/// What a [`ProbeGuard`] has for one CPU: only the thread on that CPU writes it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct CpuGuard {
    /// Whether the probe runs there: 1, or 0.
    pub active: AtomicU32,
    /// How often it was passed over there.
    pub misses: AtomicU64,
}

impl CpuGuard {
    /// Where compiled code finds [`active`](Self::active), in bytes.
    pub const ACTIVE_OFFSET: usize = std::mem::offset_of!(Self, active);
    /// Where compiled code finds [`misses`](Self::misses), in bytes.
    pub const MISSES_OFFSET: usize = std::mem::offset_of!(Self, misses);
}

impl ProbeGuard {
    /// For a probe that runs on so many CPUs.
    pub fn new(cpus: u32) -> Arc<Self> {
        Arc::new(Self { cpus: (0..cpus).map(|_| CpuGuard::default()).collect() })
    }

    /// What there is for each CPU, by its number.
    pub const fn cpus(&self) -> &[CpuGuard] {
        &self.cpus
    }

    /// How often the probe was passed over. Linux: `recursion_misses`.
    pub fn misses(&self) -> u64 {
        self.cpus.iter().map(|cpu| cpu.misses.load(Ordering::Relaxed)).sum()
    }
}

/// Which engine runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The interpreter.
    Interp,
    /// Compiled code.
    Jit,
}

/// What the slots of a program array hold of a program: see
/// [`MapLayout::ProgArray`](crate::map::MapLayout::ProgArray).
///
/// ```text
///                    native             interp
///   compiled         its code           0
///   interpreted      code that enters   what the interpreter
///                    the interpreter    made of it
///   no compiler      0                  the same
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgEntry {
    /// Where compiled code jumps to; 0 if there is no compiled code.
    pub native: u64,
    /// What the interpreter made of the program; 0 if it is compiled. `[prog-entry]`
    pub interp: u64,
}

impl ProgEntry {
    /// How many bytes [`native`](Self::native) lies behind what can be called: a body sets up its
    /// frame pointer first, and who jumps to it has one set up already.
    pub const BEHIND_CALLED: u64 = 8;
}

/// What programs in one program array must have in common.
///
/// Whether they may sleep is not looked at: programs that may do not use program arrays, but may be
/// in those of others.
///
/// Linux: `struct bpf_map_owner`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgArrayOwner {
    /// The program type; for an extension, its target's.
    pub prog_type: ProgType,
    /// The attach type expected at load.
    pub expected_attach_type: Option<AttachType>,
    /// The engine.
    pub engine: Engine,
    /// Whether the program copes with XDP fragments.
    pub xdp_has_frags: bool,
    /// Which function a tracing program is for; 0 for others.
    pub attach_func: u64,
}

/// A loaded program, as maps hold it.
pub trait Runnable: Any + Debug + Send + Sync {
    /// Its number.
    fn id(&self) -> ProgId;

    /// What goes into the slots of a program array that the program has entered.
    ///
    /// Invariant: it stays valid as long as the program lives. It becomes another one when the
    /// program is compiled: then the arrays that the program has entered are told.
    fn entry(&self) -> ProgEntry;

    /// What program arrays compare.
    fn owner(&self) -> ProgArrayOwner;

    /// The verified program.
    fn image(&self) -> &Arc<Image>;

    /// Whether it is an extension, which is in no program array and settles nothing about one.
    fn is_extension(&self) -> bool {
        false
    }

    /// Called before it is put into a slot of a program array, once a slot.
    ///
    /// # Errors
    ///
    /// Returns an error if the program may not be in a program array now.
    fn enter_prog_array(&self, array: &Arc<dyn EntryHolder>) -> Result<(), Errno>;

    /// Called when a slot lets go of it.
    fn leave_prog_array(&self);
}

/// The slots of a program array, as programs know them.
pub trait EntryHolder: Debug + Send + Sync {
    /// The number of the CPUs on which programs run that jump through it: a program belongs to some
    /// CPUs, and its values have room for those.
    fn world(&self) -> u64;

    /// Has each slot hold what the [entry](Runnable::entry) of its program is now. Running programs
    /// see it at once.
    fn refresh(&self);
}

/// What a program has done, counted by its engine where that is asked for.
///
/// The layout is fixed, since compiled code adds to it in place. Threads that run the program at
/// the same time may lose counts among each other.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ProgCounters {
    /// How often it was entered, by the host or by a tail call.
    pub runs: AtomicU64,
    /// How many tail calls it took.
    pub tail_calls: AtomicU64,
    /// How many of its tail calls fell through.
    pub fallen_through: AtomicU64,
}
