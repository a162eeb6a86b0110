//! Models of functions that are replaced while others call them, for loom: every interleaving, every
//! allowed reordering. Run with `cargo xtask models`.
//!
//! Code is a cell that calls read and that freeing writes: loom tells if both happen at once. A
//! grace period waits for each reader that had begun; that virtual CPUs do so is a model of
//! `bpf-maps`.

#![expect(unsafe_code, reason = "loom checks what is promised")]

use std::sync::Arc as StdArc;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use crate::error::{AttachError, Refusal};
use crate::gate::ProgramGate;
use crate::switch::{Code, GracePeriods, SlotWriter};
use crate::target::{Attachment, Target};

const BODY: u64 = 1;

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Whether a reader runs, and where calls go.
#[derive(Debug)]
struct World {
    slot: AtomicU64,
    reading: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { slot: AtomicU64::new(BODY), reading: AtomicU64::new(0) })
    }

    fn target(world: &Arc<Self>, gate: &StdArc<ProgramGate>) -> StdArc<Target> {
        let grace = StdArc::new(Grace(Arc::clone(world)));
        Target::new(Box::new(Slot(Arc::clone(world))), StdArc::clone(gate), grace)
    }

    /// Runs a program that calls the function; returns what ran.
    fn call(&self, code: &[&CodeCell]) -> u64 {
        self.reading.store(1, Ordering::Relaxed);
        // What the barrier of grace periods does to a thread that enters.
        fence(Ordering::SeqCst);
        let to = self.slot.load(Ordering::Acquire);
        let ran = if to == BODY { 0 } else { code[(to - BODY - 1) as usize].run() };
        self.reading.store(0, Ordering::Release);
        ran
    }
}

#[derive(Debug)]
struct Slot(Arc<World>);

// SAFETY: [entry-slot] a call loads the word once.
unsafe impl SlotWriter for Slot {
    fn address(&self) -> u64 {
        BODY
    }

    fn body(&self) -> u64 {
        BODY
    }

    unsafe fn jump(&self, target: u64) -> bool {
        self.0.slot.store(target, Ordering::Release);
        true
    }

    fn reset(&self) {
        self.0.slot.store(BODY, Ordering::Release);
    }
}

#[derive(Debug)]
struct Grace(Arc<World>);

// SAFETY: [grace-period] waits until the reader that may have begun before has ended.
unsafe impl GracePeriods for Grace {
    fn defer(&self, what: Box<dyn FnOnce() + Send>) {
        fence(Ordering::SeqCst);
        while self.0.reading.load(Ordering::Acquire) != 0 {
            thread::yield_now();
        }
        what();
    }
}

/// Code: read by calls, written when it is freed.
#[derive(Clone)]
struct CodeCell(Arc<Shared>);

struct Shared(UnsafeCell<u64>);

// SAFETY: [model] this is what the model is to find out.
unsafe impl Send for Shared {}
// SAFETY: [model] as above.
unsafe impl Sync for Shared {}

impl CodeCell {
    fn new(result: u64) -> Self {
        Self(Arc::new(Shared(UnsafeCell::new(result))))
    }

    fn run(&self) -> u64 {
        // SAFETY: [model] loom checks that nobody writes meanwhile.
        self.0.0.with(|cell| unsafe { *cell })
    }

    /// Code at this address, whose memory is overwritten when nothing keeps it any more.
    fn code(&self, place: u64) -> Code {
        struct Freed(CodeCell);
        impl Drop for Freed {
            fn drop(&mut self) {
                // SAFETY: [model] loom checks that nobody reads meanwhile.
                self.0.0.0.with_mut(|cell| unsafe { *cell = u64::MAX });
            }
        }
        // SAFETY: [slot-target] a number, which only `World::call` understands.
        unsafe { Code::vouch(BODY + 1 + place, StdArc::new(Freed(self.clone()))) }
    }
}

fn is_busy(result: &Result<Attachment, AttachError>) -> bool {
    matches!(result, Err(AttachError::Refused(Refusal::Occupied)))
}

#[test]
fn a_call_runs_old_or_new_code_and_never_freed_code() {
    model(|| {
        let (world, new) = (World::new(), CodeCell::new(7));
        let target = World::target(&world, &ProgramGate::new());
        let caller = {
            let (world, new) = (Arc::clone(&world), new.clone());
            thread::spawn(move || world.call(&[&new]))
        };
        // Attached, detached, and the extension's program dropped at once.
        drop(target.extend(new.code(0)).unwrap());
        let ran = caller.join().unwrap();
        assert!(ran == 0 || ran == 7, "{ran}");
        assert_eq!(world.call(&[&new]), 0);
    });
}

#[test]
fn what_takes_the_place_of_another_waits_for_no_call() {
    model(|| {
        let (world, first, second) = (World::new(), CodeCell::new(7), CodeCell::new(8));
        let target = World::target(&world, &ProgramGate::new());
        let link = target.extend(first.code(0)).unwrap();
        let caller = {
            let (world, first, second) = (Arc::clone(&world), first.clone(), second.clone());
            thread::spawn(move || world.call(&[&first, &second]))
        };
        drop(link);
        let link = target.extend(second.code(1)).unwrap();
        let ran = caller.join().unwrap();
        assert!([0, 7, 8].contains(&ran), "{ran}");
        assert_eq!(world.call(&[&first, &second]), 8);
        drop(link);
    });
}

#[test]
fn of_two_who_replace_one_function_one_does() {
    model(|| {
        let (world, first, second) = (World::new(), CodeCell::new(7), CodeCell::new(8));
        let target = World::target(&world, &ProgramGate::new());
        let other = {
            let (target, first) = (StdArc::clone(&target), first.clone());
            thread::spawn(move || target.extend(first.code(0)))
        };
        let own = target.extend(second.code(1));
        let other = other.join().unwrap();
        assert!(own.is_ok() != other.is_ok() && (is_busy(&own) || is_busy(&other)));
        let expected = if own.is_ok() { 8 } else { 7 };
        assert_eq!(world.call(&[&first, &second]), expected);
        drop((own, other));
        assert_eq!(world.call(&[&first, &second]), 0);
    });
}

#[test]
fn a_program_is_replaced_in_or_in_a_program_array_and_never_both() {
    model(|| {
        let (world, new, gate) = (World::new(), CodeCell::new(7), ProgramGate::new());
        let target = World::target(&world, &gate);
        let other = {
            let gate = StdArc::clone(&gate);
            thread::spawn(move || gate.enter_prog_array())
        };
        let link = target.extend(new.code(0));
        let slot = other.join().unwrap();
        assert!(link.is_ok() != slot.is_ok());
        drop((link, slot));
        assert!(gate.enter_prog_array().is_ok());
    });
}
