//! A function that can be replaced and probed.

use std::fmt;
use std::sync::Arc;

use bpf_abi::exec::ProbeGuard;
use bpf_abi::id::ProgId;

use crate::chain::{Chain, ProbeKind};
use crate::error::{AttachError, Refusal, ThunkError};
use crate::gate::{Extension, ProgramGate};
use crate::occupancy::Occupancy;
use crate::switch::{Code, GracePeriods, Retired, SlotWriter, Switch};
use crate::sync::{Mutex, MutexGuard, lock};

/// A function of a loaded program, and what is attached to it.
///
/// It does not keep the function's own code: its [`SlotWriter`] does.
#[derive(Debug)]
pub struct Target {
    gate: Arc<ProgramGate>,
    grace: Arc<dyn GracePeriods>,
    state: Mutex<State>,
}

/// What the lock guards.
#[derive(Debug)]
struct State {
    occupancy: Occupancy<Code, Probe>,
    switch: Switch,
}

/// A probe: the program, known by its number, and its code.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The program.
    pub program: ProgId,
    /// What a thunk calls.
    pub code: Code,
    /// Keeps it from running inside of itself.
    pub guard: Arc<ProbeGuard>,
}

/// A program is attached once to a function, whatever its code.
impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.program == other.program
    }
}

/// Makes the code that runs probes around a function.
pub trait ThunkBuilder: fmt::Debug + Send + Sync {
    /// Code that takes what the function takes, runs the probes before it, calls its body, runs
    /// the probes after it and returns what the body returned.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no memory for code.
    fn thunk(&self, chain: &Chain<Probe>, body: u64) -> Result<Code, ThunkError>;
}

impl Target {
    /// The function behind this slot, of the program with this gate.
    pub fn new(
        slot: Box<dyn SlotWriter>,
        gate: Arc<ProgramGate>,
        grace: Arc<dyn GracePeriods>,
    ) -> Arc<Self> {
        let state = State { occupancy: Occupancy::Idle, switch: Switch::new(slot) };
        Arc::new(Self { gate, grace, state: Mutex::new(state) })
    }

    /// Who is at the function's entry.
    pub fn occupancy(&self) -> Occupancy<Code, Probe> {
        self.lock().occupancy.clone()
    }

    /// Replaces the function until the result is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if anything is attached to the function, if its program is in a program
    /// array, or if the code is out of reach.
    pub fn extend(self: &Arc<Self>, code: Code) -> Result<Attachment, AttachError> {
        let mut state = self.lock();
        let next = state.occupancy.with_extension(code.clone())?;
        let extension = self.gate.extend()?;
        let retired = state.lead_to(next, Some(code.clone()))?;
        drop(state);
        retired.retire(&*self.grace);
        let what = Attached::Extension { code, _extension: extension };
        Ok(Attachment { target: Arc::clone(self), what: Some(what) })
    }

    /// Probes the function until the result is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the function is replaced, if the program probes it already, if there
    /// are too many probes, or if there is no memory for code.
    pub fn probe(
        self: &Arc<Self>,
        kind: ProbeKind,
        probe: Probe,
        builder: &Arc<dyn ThunkBuilder>,
    ) -> Result<Attachment, AttachError> {
        let mut state = self.lock();
        let next = state.occupancy.with_probe(kind, probe.clone())?;
        let thunk = state.thunk(&next, builder)?;
        let retired = state.lead_to(next, thunk)?;
        drop(state);
        retired.retire(&*self.grace);
        let what = Attached::Probe { kind, probe, builder: Arc::clone(builder) };
        Ok(Attachment { target: Arc::clone(self), what: Some(what) })
    }

    fn detach(&self, what: &Attached) -> Result<(), AttachError> {
        let mut state = self.lock();
        let retired = match what {
            Attached::Extension { code, .. } => {
                let next = state.occupancy.without_extension(code)?;
                state.lead_to(next, None)?
            }
            Attached::Probe { kind, probe, builder } => {
                let next = state.occupancy.without_probe(*kind, probe)?;
                let thunk = state.thunk(&next, builder)?;
                state.lead_to(next, thunk)?
            }
        };
        drop(state);
        retired.retire(&*self.grace);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The code that runs these probes, if there are any.
    fn thunk(
        &self,
        next: &Occupancy<Code, Probe>,
        builder: &Arc<dyn ThunkBuilder>,
    ) -> Result<Option<Code>, ThunkError> {
        match next {
            Occupancy::Idle | Occupancy::Extended(_) => Ok(None),
            Occupancy::Probed(chain) => builder.thunk(chain, self.switch.slot().body()).map(Some),
        }
    }

    /// Goes over to another occupancy, whose code this is, or stays as it is.
    fn lead_to(
        &mut self,
        next: Occupancy<Code, Probe>,
        code: Option<Code>,
    ) -> Result<Retired, AttachError> {
        let (from, to) = (self.switch.slot().address(), code.as_ref().map_or(0, Code::address));
        let retired =
            self.switch.lead_to(code).map_err(|_| AttachError::OutOfReach { from, to })?;
        self.occupancy = next;
        Ok(retired)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let retired = lock(&self.state).switch.reset();
        retired.retire(&*self.grace);
    }
}

/// An extension or a probe on a function. Dropping it detaches it.
///
/// If a probe cannot be detached when this is dropped, for want of memory for a thunk without
/// it, it stays attached: [`detach`](Self::detach) says so and can be tried again.
#[derive(Debug)]
#[must_use = "it is detached when this is dropped"]
pub struct Attachment {
    target: Arc<Target>,
    what: Option<Attached>,
}

/// What is attached.
#[derive(Debug)]
enum Attached {
    Extension {
        code: Code,
        /// Keeps the program out of program arrays.
        _extension: Extension,
    },
    Probe {
        kind: ProbeKind,
        probe: Probe,
        builder: Arc<dyn ThunkBuilder>,
    },
}

impl Attachment {
    /// The function it is on.
    pub const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Detaches it.
    ///
    /// # Errors
    ///
    /// Returns it, still attached, if there is no memory for a thunk without it.
    pub fn detach(mut self) -> Result<(), (Self, AttachError)> {
        let result = self.what.as_ref().map_or(Ok(()), |what| self.target.detach(what));
        match result {
            Ok(()) => {
                self.what = None;
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let Some(what) = self.what.take() else { return };
        match self.target.detach(&what) {
            Ok(()) | Err(AttachError::Refused(Refusal::NotAttached)) => {}
            // It runs on: what it needs must not go.
            Err(_) => std::mem::forget(what),
        }
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::switch::SlotWriter;

    const BODY: u64 = 0x1008;

    /// A slot that is a number: where calls go.
    #[derive(Debug)]
    struct Cell(Arc<AtomicU64>);

    #[expect(unsafe_code, reason = "implements the contract with a cell")]
    // SAFETY: [entry-slot] a call reads the cell once.
    unsafe impl SlotWriter for Cell {
        fn address(&self) -> u64 {
            0x1000
        }

        fn body(&self) -> u64 {
            BODY
        }

        unsafe fn jump(&self, target: u64) -> bool {
            if target >= 1 << 32 {
                return false;
            }
            self.0.store(target, Ordering::SeqCst);
            true
        }

        fn reset(&self) {
            self.0.store(BODY, Ordering::SeqCst);
        }
    }

    /// Grace periods that never end, or that are always over.
    #[derive(Debug, Default)]
    struct Grace {
        holds: AtomicBool,
        readers: AtomicUsize,
    }

    #[expect(unsafe_code, reason = "implements the contract by waiting")]
    // SAFETY: [grace-period] waits until no reader is left, or never does it.
    unsafe impl GracePeriods for Grace {
        fn defer(&self, what: Box<dyn FnOnce() + Send>) {
            if self.holds.load(Ordering::SeqCst) {
                std::mem::forget(what);
                return;
            }
            while self.readers.load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
            what();
        }
    }

    /// Thunks that are known by what they run.
    #[derive(Debug, Default)]
    struct Thunks {
        fails: AtomicBool,
        made: Mutex<Vec<String>>,
    }

    impl ThunkBuilder for Thunks {
        fn thunk(&self, chain: &Chain<Probe>, body: u64) -> Result<Code, ThunkError> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(ThunkError("no memory".into()));
            }
            let names = |kind| {
                let ids = chain.probes(kind).iter().map(|probe| probe.program.to_string());
                ids.collect::<Vec<_>>().join(",")
            };
            let text =
                format!("[{}] {body:#x} [{}]", names(ProbeKind::Entry), names(ProbeKind::Exit));
            let mut made = self.made.lock().unwrap();
            made.push(text);
            Ok(code(0x9000 + made.len() as u64))
        }
    }

    #[expect(unsafe_code, reason = "numbers, not code")]
    fn code(address: u64) -> Code {
        // SAFETY: [slot-target] nothing jumps there.
        unsafe { Code::vouch(address, Arc::new(())) }
    }

    fn probe(n: u32) -> Probe {
        Probe { program: ProgId(n), code: code(0x5000), guard: ProbeGuard::new(1) }
    }

    struct World {
        slot: Arc<AtomicU64>,
        gate: Arc<ProgramGate>,
        grace: Arc<Grace>,
        target: Arc<Target>,
        thunks: Arc<Thunks>,
    }

    impl World {
        fn new() -> Self {
            let slot = Arc::new(AtomicU64::new(BODY));
            let (gate, grace) = (ProgramGate::new(), Arc::new(Grace::default()));
            let cell = Box::new(Cell(Arc::clone(&slot)));
            let target = Target::new(cell, Arc::clone(&gate), Arc::clone(&grace) as Arc<_>);
            Self { slot, gate, grace, target, thunks: Arc::default() }
        }

        fn calls(&self) -> u64 {
            self.slot.load(Ordering::SeqCst)
        }

        fn attach(&self, kind: ProbeKind, n: u32) -> Result<Attachment, AttachError> {
            let builder = Arc::clone(&self.thunks) as Arc<dyn ThunkBuilder>;
            self.target.probe(kind, probe(n), &builder)
        }

        fn last_thunk(&self) -> (u64, String) {
            let made = self.thunks.made.lock().unwrap();
            (0x9000 + made.len() as u64, made.last().unwrap().clone())
        }
    }

    fn errno(result: Result<Attachment, AttachError>) -> bpf_abi::Errno {
        result.unwrap_err().errno()
    }

    #[test]
    fn an_extension_replaces_and_gives_back() {
        let world = World::new();
        let link = world.target.extend(code(0x7000)).unwrap();
        assert_eq!(world.calls(), 0x7000);
        assert_eq!(errno(world.target.extend(code(0x8000))), bpf_abi::Errno::EBUSY);
        assert_eq!(errno(world.attach(ProbeKind::Entry, 1)), bpf_abi::Errno::EBUSY);
        drop(link);
        assert_eq!(world.calls(), BODY);
        drop(world.target.extend(code(0x8000)).unwrap());
        assert_eq!(world.calls(), BODY);
    }

    #[test]
    fn each_change_of_the_probes_makes_a_new_thunk_and_the_last_gives_back() {
        let world = World::new();
        let a = world.attach(ProbeKind::Entry, 1).unwrap();
        let b = world.attach(ProbeKind::Exit, 2).unwrap();
        let c = world.attach(ProbeKind::Entry, 3).unwrap();
        assert_eq!((world.calls(), "[3,1] 0x1008 [2]".to_owned()), world.last_thunk());
        assert_eq!(errno(world.target.extend(code(0x7000))), bpf_abi::Errno::EBUSY);
        assert_eq!(errno(world.attach(ProbeKind::Entry, 1)), bpf_abi::Errno::EBUSY);
        drop(a);
        assert_eq!((world.calls(), "[3] 0x1008 [2]".to_owned()), world.last_thunk());
        drop(c);
        b.detach().unwrap();
        assert_eq!(world.calls(), BODY);
        assert_eq!(world.target.occupancy(), Occupancy::Idle);
    }

    #[test]
    fn what_cannot_be_done_changes_nothing() {
        let world = World::new();
        let far = errno(world.target.extend(code(1 << 40)));
        assert_eq!((far, world.calls()), (bpf_abi::Errno::ERANGE, BODY));
        drop(world.gate.enter_prog_array().unwrap());
        let link = world.attach(ProbeKind::Entry, 1).unwrap();
        let other = world.attach(ProbeKind::Entry, 2).unwrap();
        let before = world.calls();
        world.thunks.fails.store(true, Ordering::SeqCst);
        assert_eq!(errno(world.attach(ProbeKind::Exit, 3)), bpf_abi::Errno::ENOMEM);
        let (link, error) = link.detach().unwrap_err();
        assert_eq!((error.errno(), world.calls()), (bpf_abi::Errno::ENOMEM, before));
        world.thunks.fails.store(false, Ordering::SeqCst);
        drop(link);
        drop(other);
        assert_eq!(world.calls(), BODY);
    }

    #[test]
    fn programs_in_program_arrays_are_not_extended_but_may_be_probed() {
        let world = World::new();
        let slot = world.gate.enter_prog_array().unwrap();
        assert_eq!(errno(world.target.extend(code(0x7000))), bpf_abi::Errno::EBUSY);
        drop(world.attach(ProbeKind::Entry, 1).unwrap());
        drop(slot);
        let link = world.target.extend(code(0x7000)).unwrap();
        assert!(world.gate.enter_prog_array().is_err());
        drop(link);
        drop(world.gate.enter_prog_array().unwrap());
    }

    #[test]
    #[expect(unsafe_code, reason = "a number, not code")]
    fn what_was_there_is_kept_for_a_grace_period() {
        let world = World::new();
        world.grace.holds.store(true, Ordering::SeqCst);
        let keep = Arc::new(());
        // SAFETY: [slot-target] nothing jumps there.
        let code = unsafe { Code::vouch(0x7000, Arc::clone(&keep) as Arc<_>) };
        drop(world.target.extend(code).unwrap());
        assert_eq!(world.calls(), BODY);
        assert_eq!(Arc::strong_count(&keep), 2);
    }

    #[test]
    #[expect(unsafe_code, reason = "numbers, not code")]
    fn callers_run_old_or_new_code_and_never_freed_code() {
        struct Freed(Arc<Vec<AtomicBool>>, usize);
        impl Drop for Freed {
            fn drop(&mut self) {
                self.0[self.1].store(true, Ordering::SeqCst);
            }
        }
        let world = World::new();
        let rounds = if cfg!(miri) { 10 } else { 500 };
        let freed: Arc<Vec<_>> = Arc::new((0..rounds).map(|_| AtomicBool::new(false)).collect());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        world.grace.readers.fetch_add(1, Ordering::SeqCst);
                        let to = world.calls();
                        if to != BODY {
                            let n = usize::try_from(to - 0x7000).unwrap();
                            assert!(!freed[n].load(Ordering::SeqCst), "freed while it runs");
                        }
                        world.grace.readers.fetch_sub(1, Ordering::SeqCst);
                        thread::yield_now();
                    }
                });
            }
            for n in 0..rounds {
                let keep = Arc::new(Freed(Arc::clone(&freed), n));
                // SAFETY: [slot-target] nothing jumps there.
                let code = unsafe { Code::vouch(0x7000 + n as u64, keep) };
                drop(world.target.extend(code).unwrap());
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(freed.iter().all(|freed| freed.load(Ordering::SeqCst)));
    }
}
