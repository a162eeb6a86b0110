//! A dispatcher whose filters are exchanged while two threads replay a capture through it.
//!
//! ```sh
//! cargo run --release -p bpfkit --example firewall
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bpfkit::prelude::*;

bpfkit::plain! {
    /// What the dispatcher counts for each slot.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Counts {
        passed: u64,
        dropped: u64,
        other: u64,
    }

    /// What a filter counts.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Judged {
        seen: u64,
        passed: u64,
        dropped: u64,
    }
}

/// Threads that replay the capture.
const THREADS: u32 = 2;
const SLOTS: u32 = 4;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let runtime = Runtime::builder().cpus(THREADS + 1).build()?;
    let mut dispatcher = runtime.open_file(file("firewall/dispatcher.bpf.o"))?;
    dispatcher.set_global("slots", &3_u32)?;
    let dispatcher = dispatcher.load()?;
    let firewall = dispatcher.program("firewall")?;
    let verdicts = dispatcher.map("verdicts")?.percpu_array::<Counts>()?;

    // Each filter is verified against the slot that it is to take.
    let filter = |object: &str, slot: &str| -> Result<Program> {
        let open = runtime.open_file(file(object))?.program("filter")?;
        Ok(open.extend(&firewall, slot)?.load()?)
    };
    let icmp = filter("firewall/icmp.bpf.o", "prog0")?;
    let ports = filter("firewall/ports.bpf.o", "prog1")?;
    let length = filter("firewall/length.bpf.o", "prog2")?;
    let blocked = map_of(&runtime, &ports, "blocked")?.hash::<u16, u8>()?;
    blocked.insert(&53, &1)?;

    let packets = capture()?;
    let (stop, replayed) = (AtomicBool::new(false), AtomicU64::new(0));
    let counted =
        || -> Result<Vec<Counts>> { (0..SLOTS).map(|slot| sum(&verdicts.get(slot)?)).collect() };
    let report = |phase: &str, before: &[Counts]| -> Result<Vec<Counts>> {
        thread::sleep(Duration::from_millis(300));
        let now = counted()?;
        show(phase, before, &now);
        Ok(now)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| replay(&firewall, &packets, &stop, &replayed)))
            .collect();
        let phases = || -> Result<()> {
            let seen = report("no filters", &counted()?)?;
            let on_icmp = icmp.attach()?;
            let on_ports = ports.attach()?;
            let seen = report("no ICMP, no DNS", &seen)?;
            let on_length = length.attach()?;
            drop(on_icmp);
            let seen = report("no DNS, nothing long", &seen)?;
            drop((on_ports, on_length));
            report("no filters", &seen)?;
            Ok(())
        };
        let done = phases();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| "a thread panicked")??;
        }
        done
    })?;

    println!("\n{:8} {:>10} {:>10} {:>10}", "filter", "seen", "passed", "dropped");
    for (name, program) in [("icmp", &icmp), ("ports", &ports), ("length", &length)] {
        let judged = map_of(&runtime, program, "judged")?.percpu_array::<Judged>()?.get(0)?;
        let [seen, passed, dropped] =
            [|one: &Judged| one.seen, |one: &Judged| one.passed, |one: &Judged| one.dropped]
                .map(|field| judged.iter().map(field).sum::<u64>());
        println!("{name:8} {seen:>10} {passed:>10} {dropped:>10}");
        if seen != passed + dropped {
            return Err(format!("{name} lost packets").into());
        }
    }
    let first = counted()?.first().copied().unwrap_or_default();
    let (replayed, judged) = (replayed.into_inner(), first.passed + first.dropped + first.other);
    println!("\n{replayed} packets replayed, {judged} judged");
    if replayed == judged { Ok(()) } else { Err("packets were lost".into()) }
}

/// A file of the examples.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A map that a program uses.
fn map_of(runtime: &Runtime, program: &Program, name: &str) -> Result<Map> {
    let ids = program.info().map_ids;
    let maps = ids.into_iter().filter_map(|id| runtime.map(id));
    Ok(maps.into_iter().find(|map| map.info().name == name).ok_or("the program has no such map")?)
}

/// The packets of the example's capture: pcap, little-endian.
fn capture() -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(file("mixed.pcap"))?;
    let mut packets = Vec::new();
    let mut rest = bytes.get(24..).ok_or("no capture")?;
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(header[8..12].try_into()?) as usize;
        let (packet, after) = after.split_at_checked(len).ok_or("a packet is cut")?;
        packets.push(packet.to_vec());
        rest = after;
    }
    Ok(packets)
}

/// Replays the capture in a loop until it is told to stop.
fn replay(
    firewall: &Program,
    packets: &[Vec<u8>],
    stop: &AtomicBool,
    replayed: &AtomicU64,
) -> std::result::Result<(), bpfkit::Error> {
    let mut packet = firewall.packet(&packets[0])?;
    while !stop.load(Ordering::Relaxed) {
        for bytes in packets {
            packet.set(bytes)?;
            firewall.run(&mut packet)?;
        }
        replayed.fetch_add(packets.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// What all CPUs counted.
fn sum(counts: &[Counts]) -> Result<Counts> {
    let mut all = Counts::default();
    for one in counts {
        all.passed += one.passed;
        all.dropped += one.dropped;
        all.other += one.other;
    }
    Ok(all)
}

/// What was counted in a phase.
fn show(phase: &str, before: &[Counts], now: &[Counts]) {
    println!("{phase}");
    for (slot, (before, now)) in before.iter().zip(now).enumerate() {
        let (passed, dropped) = (now.passed - before.passed, now.dropped - before.dropped);
        if passed + dropped > 0 {
            println!("  prog{slot}  {passed:>9} passed {dropped:>9} dropped");
        }
    }
}
