//! Who stands at a function's entry in interpreted programs: an extension in its place, or probes
//! around it.
//!
//! Each function has an entry that is empty or holds the address of a [`Detour`]. A call looks at it
//! once, so it goes where it led at that moment, and stays there.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::exec::{ProbeArgs, ProbeGuard, RunCx};
use bpf_isa::Pc;

use crate::atomic::pointer;
use crate::call::Interp;
use crate::fault::Fault;
use crate::native;

/// What calls of a function do instead of running its body.
pub struct Detour {
    kind: Kind,
}

enum Kind {
    /// Another program's main function runs in its place, and counts its tail calls afresh.
    Replaced(Callee),
    /// Programs run before and after it.
    Probed { args: u8, before: Vec<Probe>, after: Vec<Probe> },
}

/// A program that is run before or after a function, unless it runs on that CPU already.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The program.
    pub program: Callee,
    /// Knows whether it runs.
    pub guard: Arc<ProbeGuard>,
}

/// A program that is run instead of a function, or around it: by its main function.
#[derive(Clone)]
pub enum Callee {
    /// In the interpreter.
    Interpreted(Arc<Interp>),
    /// As compiled code.
    Compiled {
        /// The address of the slot before its main function.
        entry: u64,
        /// How many arguments are passed to it, at most five, and behind them the run.
        arity: u8,
        /// Keeps the code there.
        keep: Arc<dyn Any + Send + Sync>,
    },
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreted(program) => program.fmt(f),
            Self::Compiled { entry, .. } => write!(f, "Callee({entry:#x})"),
        }
    }
}

impl fmt::Debug for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Replaced(by) => write!(f, "Detour({by:?})"),
            Kind::Probed { before, after, .. } => write!(f, "Detour({before:?}, {after:?})"),
        }
    }
}

/// Where calls of each function go.
#[derive(Debug)]
pub(crate) struct Entries(Box<[AtomicU64]>);

impl Entries {
    pub(crate) fn new(functions: usize) -> Self {
        Self((0..functions).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn get(&self, function: usize) -> Option<&AtomicU64> {
        self.0.get(function)
    }

    /// The address of what stands at this function's entry; 0 if nobody does.
    #[inline(always)]
    pub(crate) fn leads_to(&self, function: usize) -> u64 {
        self.0.get(function).map_or(0, |entry| entry.load(Ordering::Acquire))
    }
}

impl Detour {
    /// The main function of `by` runs in the place of the function.
    pub fn replaced(by: Callee) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Replaced(by) })
    }

    /// `before` and `after` run around the function, and see so many of its arguments.
    pub fn probed(args: u8, before: Vec<Probe>, after: Vec<Probe>) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Probed { args: args.min(5), before, after } })
    }

    /// The number that an entry holds to lead here.
    pub fn address(self: &Arc<Self>) -> u64 {
        Arc::as_ptr(self).expose_provenance() as u64
    }

    /// Does what is done instead of calling this function of `program`.
    ///
    /// # Safety
    ///
    /// `[entry-detour]`: `address` was read from the function's entry in this run, and `[run-context]`:
    /// `cx` is the run's, which waits, and the arguments are what the function expects.
    #[cold]
    #[expect(unsafe_code, reason = "entries hold detours by their address")]
    pub(crate) unsafe fn take(
        address: u64,
        cx: *mut RunCx,
        program: &Interp,
        function: usize,
        args: [u64; 5],
    ) -> Result<u64, Fault> {
        // SAFETY: [entry-detour] whoever leads an entry elsewhere keeps the detour for all runs that
        // may have read its address.
        let detour = unsafe { &*pointer::<Self>(address) };
        match &detour.kind {
            // SAFETY: [run-context] by the caller.
            Kind::Replaced(by) => unsafe { afresh(by, cx, args) },
            Kind::Probed { args: count, before, after } => {
                let mut words = Words::new(*count, args);
                for probe in before {
                    // SAFETY: [run-context] by the caller; a probe expects the arguments' address.
                    unsafe { guarded(probe, cx, words.context()) }?;
                }
                // SAFETY: [run-context] by the caller.
                let result = unsafe { program.call_body(cx, function, args) }?;
                // SAFETY: [run-context] the run waits.
                if unsafe { (*cx).thrown } != 0 {
                    // An exception passes through: nobody sees the function return.
                    return Ok(result);
                }
                words.returned(*count, result);
                for probe in after {
                    // SAFETY: [run-context] as before.
                    unsafe { guarded(probe, cx, words.context()) }?;
                }
                Ok(result)
            }
        }
    }
}

/// Runs a probe, unless it runs on this CPU already: then that is counted.
///
/// # Safety
///
/// As for [`afresh`].
#[expect(unsafe_code, reason = "runs a program with arguments by their addresses")]
unsafe fn guarded(probe: &Probe, cx: *mut RunCx, args: [u64; 5]) -> Result<(), Fault> {
    // SAFETY: [run-context] the run waits.
    let cpu = unsafe { (*cx).cpu };
    // Only this thread is on this CPU, so nobody else writes what there is for it.
    let guard = usize::try_from(cpu).ok().and_then(|cpu| probe.guard.cpus().get(cpu));
    if let Some(guard) = guard {
        if guard.active.load(Ordering::Relaxed) != 0 {
            guard.misses.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        guard.active.store(1, Ordering::Relaxed);
    }
    // SAFETY: [run-context] by the caller.
    let ran = unsafe { afresh(&probe.program, cx, args) };
    if let Some(guard) = guard {
        guard.active.store(0, Ordering::Relaxed);
    }
    ran.map(|_| ())
}

/// Runs a program's main function with a count of tail calls of its own.
///
/// # Safety
///
/// `[run-context]`: the arguments are what it expects, and `cx` is that of a run that waits.
#[expect(unsafe_code, reason = "runs a program with arguments by their addresses")]
unsafe fn afresh(program: &Callee, cx: *mut RunCx, args: [u64; 5]) -> Result<u64, Fault> {
    // SAFETY: [run-context] `cx` is the run's; nobody else uses it here.
    let kept = unsafe { std::mem::replace(&mut (*cx).tail_calls, 0) };
    let result = match program {
        // SAFETY: [run-context] by the caller.
        Callee::Interpreted(program) => unsafe { program.call_function(cx, 0, args) },
        Callee::Compiled { entry, arity, .. } => {
            let args = &args[..usize::from(*arity).min(args.len())];
            // SAFETY: [entry-detour] the detour keeps the code; [run-context] by the caller.
            let result = unsafe { native::enter(cx, *entry, args) };
            result.map_err(|kind| Fault { pc: Pc(0), kind })
        }
    };
    // SAFETY: [run-context] as above.
    unsafe {
        (*cx).tail_calls = kept;
    }
    result
}

/// What probes see: the header, the arguments, the returned value.
struct Words([u64; ProbeArgs::MOST + 2]);

impl Words {
    fn new(count: u8, args: [u64; ProbeArgs::MOST]) -> Self {
        let mut words = [0; ProbeArgs::MOST + 2];
        words[0] = u64::from(ProbeArgs::header(count, false));
        let count = usize::from(count);
        words[1..=count].copy_from_slice(&args[..count]);
        Self(words)
    }

    fn returned(&mut self, count: u8, result: u64) {
        self.0[0] = u64::from(ProbeArgs::header(count, true));
        self.0[1 + usize::from(count)] = result;
    }

    /// What a probe's registers hold when it begins.
    fn context(&mut self) -> [u64; 5] {
        let words = self.0.as_mut_ptr().expose_provenance() as u64;
        [words + ProbeArgs::HEADER, 0, 0, 0, 0]
    }
}
