//! Models of the lease and of grace periods, for loom: every interleaving, every allowed
//! reordering. Run with `cargo xtask models`.

use std::sync::Arc as StdArc;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::cpu::{Record, Shared};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(f);
}

/// A world and one record for each thread.
fn world(cpus: u32, threads: usize) -> (Arc<Shared>, Vec<StdArc<Record>>) {
    let shared = Arc::new(Shared::new(cpus));
    let records = (0..threads).map(|_| shared.register()).collect();
    (shared, records)
}

/// Something that must not be used by two at once, nor after it is freed: loom tells.
struct Guarded(UnsafeCell<u32>);

#[expect(unsafe_code, reason = "loom checks that accesses are exclusive")]
impl Guarded {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn write(&self) {
        // SAFETY: [model] this is what the model is to find out.
        self.0.with_mut(|cell| unsafe { *cell += 1 });
    }

    fn read(&self) -> u32 {
        // SAFETY: [model] this is what the model is to find out.
        self.0.with(|cell| unsafe { *cell })
    }
}

// SAFETY: [model] this is what the model is to find out.
#[expect(unsafe_code, reason = "loom checks that accesses are exclusive")]
unsafe impl Sync for Guarded {}
// SAFETY: [model] as above.
#[expect(unsafe_code, reason = "loom checks that accesses are exclusive")]
unsafe impl Send for Guarded {}

#[test]
fn two_threads_share_one_cpu_and_are_never_on_it_at_once() {
    model(|| {
        let (shared, records) = world(1, 2);
        let value = Arc::new(Guarded::new());
        let other = {
            let (shared, value, record) =
                (Arc::clone(&shared), Arc::clone(&value), StdArc::clone(&records[1]));
            thread::spawn(move || {
                let here = shared.enter_as(&record);
                value.write();
                drop(here);
            })
        };
        for _ in 0..2 {
            let here = shared.enter_as(&records[0]);
            value.write();
            drop(here);
        }
        other.join().unwrap();
        assert_eq!(value.read(), 3);
    });
}

#[test]
fn a_thing_taken_out_of_a_slot_is_freed_after_its_last_use() {
    model(|| {
        let (shared, records) = world(2, 1);
        let slot = Arc::new(AtomicUsize::new(1));
        let thing = Arc::new(Guarded::new());
        let program = {
            let (shared, slot, thing, record) = (
                Arc::clone(&shared),
                Arc::clone(&slot),
                Arc::clone(&thing),
                StdArc::clone(&records[0]),
            );
            thread::spawn(move || {
                let here = shared.enter_as(&record);
                if slot.load(Ordering::Relaxed) == 1 {
                    thing.read();
                }
                drop(here);
            })
        };
        slot.store(0, Ordering::Relaxed);
        shared.synchronize();
        thing.write();
        program.join().unwrap();
    });
}

#[test]
fn what_is_deferred_happens_after_the_last_use_and_is_not_forgotten() {
    model(|| {
        let (shared, records) = world(2, 1);
        let slot = Arc::new(AtomicUsize::new(1));
        let thing = Arc::new(Guarded::new());
        let program = {
            let (shared, slot, thing, record) = (
                Arc::clone(&shared),
                Arc::clone(&slot),
                Arc::clone(&thing),
                StdArc::clone(&records[0]),
            );
            thread::spawn(move || {
                let here = shared.enter_as(&record);
                if slot.load(Ordering::Relaxed) == 1 {
                    thing.read();
                }
                drop(here);
            })
        };
        slot.store(0, Ordering::Relaxed);
        let freed = Arc::clone(&thing);
        shared.defer(Box::new(move || freed.write()));
        program.join().unwrap();
        assert_eq!(thing.read(), 1);
    });
}
