//! A chain of programs that is rebuilt while packets run through it on every CPU.
//!
//! ```sh
//! cargo run --release -p bpfkit --example chain
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bpfkit::prelude::*;

/// Places in the chain: see `examples/chain.bpf.c`.
const COUNT: u32 = 0;
const MARK: u32 = 1;
const TRIM: u32 = 2;

/// How often a packet came out of the chain so: its verdict, whether it is marked, its length.
type Outcomes = std::collections::BTreeMap<(u32, bool, usize), u64>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/chain.bpf.o");
    let object = runtime.open_file(path)?.load()?;
    let next = object.map("next")?.prog_array()?;
    let [count, mark, trim, last] =
        ["count", "mark", "trim", "last"].map(|name| object.program(name));
    let (count, mark, trim, last) = (count?, mark?, trim?, last?);

    let stop = AtomicBool::new(false);
    let outcomes = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..runtime.cpus()).map(|_| scope.spawn(|| traffic(&count, &stop))).collect();
        let step = |what: &str| {
            thread::sleep(Duration::from_millis(200));
            println!("{what}");
        };

        step("count");
        next.set(COUNT, &last)?;
        step("count > last");
        // From behind: nobody comes to `mark` before it knows how to go on.
        next.set(MARK, &last)?;
        next.set(COUNT, &mark)?;
        step("count > mark > last");
        next.set(TRIM, &last)?;
        next.set(MARK, &trim)?;
        step("count > mark > trim > last");
        next.set(COUNT, &trim)?;
        step("count > trim > last");
        next.delete(COUNT)?;
        step("count");

        stop.store(true, Ordering::Relaxed);
        let mut all = Outcomes::new();
        for worker in workers {
            for (outcome, packets) in worker.join().map_err(|_| "a worker panicked")?? {
                *all.entry(outcome).or_default() += packets;
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(all)
    })?;

    println!("\n{:12} {:>6} {:>6} {:>12}", "verdict", "marked", "bytes", "packets");
    for ((verdict, marked, len), packets) in &outcomes {
        let verdict = if *verdict == XDP_TX { "XDP_TX" } else { "XDP_PASS" };
        println!("{verdict:12} {marked:>6} {len:>6} {packets:>12}");
    }
    let seen = object.map("seen")?.percpu_array::<u64>()?.get(COUNT)?;
    let (seen, sent): (u64, u64) = (seen.iter().sum(), outcomes.values().sum());
    println!("\n{sent} packets sent, {seen} counted");
    Ok(())
}

/// Sends packets through the chain until it is told to stop.
fn traffic(first: &Program, stop: &AtomicBool) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let bytes = [0; 100];
    let mut packet = first.packet(&bytes)?;
    while !stop.load(Ordering::Relaxed) {
        packet.set(&bytes)?;
        let verdict = first.run(&mut packet)?;
        let left = packet.to_vec();
        *outcomes.entry((verdict, left[5] == 1, left.len())).or_default() += 1;
    }
    Ok(outcomes)
}
