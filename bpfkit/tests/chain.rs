//! A chain that is rebuilt while packets run through it: every packet runs through one of the
//! chains that there were, and every packet is counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bpfkit::prelude::*;

const COUNT: u32 = 0;
const MARK: u32 = 1;
const TRIM: u32 = 2;

#[test]
fn packets_run_through_old_chains_or_new_ones_and_none_is_lost() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let runtime = Runtime::builder().engine(engine).cpus(3).build().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let object = runtime.open_file(root.join("examples/chain.bpf.o")).unwrap().load().unwrap();
        let next = object.map("next").unwrap().prog_array().unwrap();
        let program = |name| object.program(name).unwrap();
        let (count, mark, trim, last) =
            (program("count"), program("mark"), program("trim"), program("last"));
        let stop = AtomicBool::new(false);
        let sent: u64 = thread::scope(|scope| {
            let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| traffic(&count, &stop))).collect();
            for _ in 0..2000 {
                next.set(COUNT, &last).unwrap();
                next.set(MARK, &last).unwrap();
                next.set(COUNT, &mark).unwrap();
                next.set(TRIM, &last).unwrap();
                next.set(MARK, &trim).unwrap();
                next.set(COUNT, &trim).unwrap();
                next.delete(COUNT).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let seen = object.map("seen").unwrap().percpu_array::<u64>().unwrap();
        let seen: u64 = seen.get(COUNT).unwrap().iter().sum();
        assert!(sent > 0);
        assert_eq!(seen, sent);
    }
}

/// Sends packets until it is told to stop; returns how many.
fn traffic(first: &Program, stop: &AtomicBool) -> u64 {
    let bytes = [0; 100];
    let mut packet = first.packet(&bytes).unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        packet.set(&bytes).unwrap();
        let verdict = first.run(&mut packet).unwrap();
        let left = packet.to_vec();
        let (marked, trimmed) = (left[5] == 1, left.len() == 64);
        // Alone, or with `last` behind any of: nothing, mark, mark and trim, trim.
        assert!(verdict == XDP_TX || (verdict == XDP_PASS && !marked && !trimmed), "{verdict}");
        assert!(left.len() == 100 || left.len() == 64);
        sent += 1;
    }
    sent
}
