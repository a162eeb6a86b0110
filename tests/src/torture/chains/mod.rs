//! Chains of tail calls that are rebuilt at full speed while threads run through them.
//!
//! Threads run packets through programs of eight program arrays, on fewer CPUs than there are
//! threads. Meanwhile
//!
//! - one puts programs into slots, exchanges them and empties slots, as fast as it can;
//! - one loads programs and takes others away, whose code, maps and numbers are used again;
//! - two make arrays of their own, which programs use and are in, freeze some, and drop the last
//!   handle while the programs run;
//! - one exchanges the maps in an array of maps and a hash of maps, by which programs go on.
//!
//! Each program writes into its packet who it is and where it goes on. What must hold:
//!
//! - each tail call led to a program that was in the slot at some time during the run, or fell
//!   through a slot that was empty at some time, or was beyond the limit;
//! - no program ran, and no map was read, after it was taken away and running programs had ended;
//! - functions came back to their callers, with the result of their chain;
//! - what programs counted on their CPUs is what their packets say;
//! - every refusal is the kernel's;
//! - in the end there is as much free code memory as in the beginning, and about as much memory.

mod arrays;
mod history;
mod programs;
mod trail;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bpf_fuzz::Random;
use bpf_runtime::{Builder, Map, Packet, Program, Runtime};

use arrays::{Array, Arrays};
use history::Clock;
use programs::{FIRST, KINDS, Shop, write_route};
pub use trail::Counts;
use trail::{Ended, PACKET};

use crate::torture::text;

/// How many threads run programs, on how many CPUs.
const RUNNERS: u64 = 3;
const CPUS: u32 = 2;
/// How many packets a thread has.
const PACKETS: usize = 4;
/// What a route says that was taken away. As in the object.
const POISON: u64 = 0xdead_beef_dead_beef;
/// How much more memory there may be in the end, in bytes: what allocators keep.
const KEPT: u64 = 16 << 20;

/// What came of a torture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many packets were sent.
    pub packets: u64,
    /// What their runs did.
    pub counts: Counts,
    /// How often slots were filled, exchanged and emptied.
    pub updates: u64,
    /// How many programs were loaded and taken away.
    pub loads: u64,
    /// How many arrays lost their last handle.
    pub abandoned: u64,
    /// How often a map in a map of maps was exchanged.
    pub routes: u64,
    /// How much memory the process had after a while, and in the end, in bytes.
    pub memory: (u64, u64),
    /// How much code memory was free in the beginning, and in the end, in bytes.
    pub free_code: (Option<usize>, Option<usize>),
}

/// Tortures a runtime that is built like this for so long.
///
/// # Errors
///
/// Returns what did not hold.
pub fn chains(builder: Builder, duration: Duration) -> Result<Report, String> {
    let runtime = builder.cpus(CPUS).build().map_err(text)?;
    let free_at_first = runtime.free_code_memory();
    // What allocators keep, they keep from the first round on.
    let warm_up = (duration / 4).min(Duration::from_secs(30));
    on_runtime(&runtime, warm_up)?;
    let memory = resident();
    let mut report = on_runtime(&runtime, duration.saturating_sub(warm_up))?;
    report.memory = (memory, resident());
    report.free_code = (free_at_first, runtime.free_code_memory());
    if report.free_code.0 != report.free_code.1 {
        return Err(format!("code memory leaks: {report:?}"));
    }
    if report.memory.1 > report.memory.0 + KEPT {
        return Err(format!("memory leaks: {report:?}"));
    }
    if !runtime.programs().is_empty() || !runtime.maps().is_empty() {
        return Err("programs or maps are left".to_owned());
    }
    Ok(report)
}

/// How much memory the process has, in bytes; zero where that cannot be known.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// What the threads share.
struct World<'a> {
    runtime: &'a Runtime,
    arrays: Arrays,
    shop: Shop,
    clock: Clock,
    stop: AtomicBool,
    updates: AtomicU64,
    loads: AtomicU64,
    abandoned: AtomicU64,
    routes: AtomicU64,
}

fn on_runtime(runtime: &Runtime, duration: Duration) -> Result<Report, String> {
    let world = World {
        runtime,
        arrays: Arrays::new(runtime)?,
        shop: Shop::new(runtime)?,
        clock: Clock::new(),
        stop: AtomicBool::new(false),
        updates: AtomicU64::new(0),
        loads: AtomicU64::new(0),
        abandoned: AtomicU64::new(0),
        routes: AtomicU64::new(0),
    };
    let starts = world.starts()?;
    let begun = Instant::now();
    let (runs, changes) = thread::scope(|scope| {
        let (world, starts) = (&world, starts.as_slice());
        let runners: Vec<_> = (0..RUNNERS)
            .map(|seed| scope.spawn(move || world.guarded(|| world.run(seed, starts))))
            .collect();
        let mut changers = vec![
            scope.spawn(|| world.guarded(|| world.exchange())),
            scope.spawn(|| world.guarded(|| world.load())),
            scope.spawn(|| world.guarded(|| world.route())),
        ];
        for island in world.arrays.islands() {
            changers.push(scope.spawn(move || world.guarded(|| world.settle(island))));
        }
        while begun.elapsed() < duration && !world.stopped() {
            thread::sleep(Duration::from_millis(5));
        }
        world.stop.store(true, Ordering::SeqCst);
        let runs: Vec<_> = runners.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let changes: Vec<_> = changers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (runs, changes)
    });
    let mut report = Report::default();
    for run in runs {
        let (packets, counts) = run.map_err(|_| "a runner panicked")??;
        report.packets += packets;
        report.counts += counts;
    }
    for change in changes {
        change.map_err(|_| "a changer panicked")??;
    }
    for island in world.arrays.islands() {
        island.abandon(runtime, &world.clock)?;
    }
    world.shop.close(&world.arrays, &world.clock)?;
    world.compare(report.counts)?;
    report.updates = world.updates.into_inner();
    report.loads = world.loads.into_inner();
    report.abandoned = world.abandoned.into_inner();
    report.routes = world.routes.into_inner();
    Ok(report)
}

impl World<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does a thread's work; all stop if it fails.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let done = work();
        if done.is_err() {
            self.stop.store(true, Ordering::SeqCst);
        }
        done
    }

    /// The programs that packets are sent to, one of each kind.
    fn starts(&self) -> Result<Vec<Program>, String> {
        let lasting = self.arrays.lasting();
        let mut starts = Vec::new();
        for (number, kind) in (1..FIRST).zip(&KINDS[..6]) {
            let at = starts.len() % lasting.len();
            let arrays = [&lasting[at], &lasting[(at + 1) % lasting.len()]];
            let loaded = self.shop.load(kind, 0, arrays, number)?.ok_or("no arrays")?;
            starts.push(loaded.program.clone());
        }
        Ok(starts)
    }

    /// Sends packets until it is told to stop: how many, and what they did.
    fn run(&self, seed: u64, starts: &[Program]) -> Result<(u64, Counts), String> {
        let mut random = Random::new(seed);
        let first = starts.first().ok_or("no programs")?;
        let packet = || first.packet(&[0; PACKET]).map_err(text);
        let mut packets: Vec<Packet> = (0..PACKETS).map(|_| packet()).collect::<Result<_, _>>()?;
        let (mut sent, mut counts, mut verdicts) = (0, Counts::default(), Vec::new());
        while !self.stopped() {
            for packet in &mut packets {
                let mut choices = [0; 96];
                // Mostly slots that there are.
                choices.fill_with(|| {
                    let most = if random.chance(3) { 255 } else { 7 };
                    u8::try_from(random.next() & most).unwrap_or(0)
                });
                packet.set(&trail::packet(&choices)).map_err(text)?;
            }
            let program = &starts[random.below(starts.len())];
            verdicts.clear();
            let from = self.clock.now();
            if random.chance(50) {
                program.run_batch(&mut packets, &mut verdicts).map_err(text)?;
            } else {
                for packet in &mut packets {
                    verdicts.push(program.run(packet).map_err(text)?);
                }
            }
            let to = self.clock.now();
            for (packet, verdict) in packets.iter().zip(&verdicts) {
                let tail_calls = packet.tail_calls();
                let ended = Ended { verdict: *verdict, tail_calls, from, to };
                counts += trail::check(&packet.to_vec(), ended, &self.arrays)?;
            }
            sent += packets.len() as u64;
        }
        Ok((sent, counts))
    }

    /// Fills and empties slots, as fast as it can.
    fn exchange(&self) -> Result<(), String> {
        let (mut random, mut updates) = (Random::new(100), 0);
        while !self.stopped() {
            let array = &self.arrays.all()[random.below(self.arrays.all().len())];
            // One beyond the end.
            let index = random.below(array.len() + 1);
            let Some(program) = self.shop.pick(&mut random) else {
                thread::yield_now();
                continue;
            };
            let changed = match random.below(25) {
                0 => array.refuse(&program).map(|()| false)?,
                1 => array.delete(&self.clock, index)?,
                _ => array.set(&self.clock, index, &program)?,
            };
            updates += u64::from(changed);
        }
        self.updates.fetch_add(updates, Ordering::Relaxed);
        Ok(())
    }

    /// Loads programs and takes others away.
    fn load(&self) -> Result<(), String> {
        let mut random = Random::new(200);
        while !self.stopped() {
            self.shop.offer(self.shop.load_any(&mut random, &self.arrays)?);
            self.loads.fetch_add(1, Ordering::Relaxed);
            if let Some(program) = self.shop.surplus(&mut random) {
                self.shop.retire(program, &self.arrays, &self.clock)?;
            }
        }
        Ok(())
    }

    /// Makes an array with programs of its own, drops its last handle, takes the programs away; and
    /// again.
    fn settle(&self, island: &Array) -> Result<(), String> {
        let mut random = Random::new(300 + u64::from(island.name));
        while !self.stopped() {
            let mut settlers = Vec::new();
            for _ in 0..3 {
                let loaded = self.shop.load_for(&mut random, island, &self.arrays)?;
                let loaded = loaded.ok_or("an island has no handle")?;
                self.loads.fetch_add(1, Ordering::Relaxed);
                island.set(&self.clock, random.below(island.len()), &loaded)?;
                self.shop.offer(loaded.clone());
                settlers.push(loaded);
            }
            thread::sleep(Duration::from_micros(random.below(3000) as u64));
            if random.chance(30) {
                island.freeze()?;
                thread::sleep(Duration::from_micros(random.below(1000) as u64));
            }
            island.abandon(self.runtime, &self.clock)?;
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_micros(random.below(1000) as u64));
            for settler in settlers {
                self.shop.retire(settler, &self.arrays, &self.clock)?;
            }
            island.make(self.runtime)?;
        }
        Ok(())
    }

    /// Exchanges the maps in the maps of maps.
    fn route(&self) -> Result<(), String> {
        let outer = [self.shop.map("routes")?, self.shop.map("named_routes")?];
        let mut random = Random::new(400);
        let mut current: Vec<Option<Map>> = vec![None; 8];
        while !self.stopped() {
            let (which, key) = (random.below(2), random.below(4));
            let bytes = u32::try_from(key).unwrap_or(0).to_le_bytes();
            let place = &mut current[4 * which + key];
            let old = if random.chance(20) {
                if place.is_some() {
                    outer[which].delete(&bytes).map_err(text)?;
                }
                place.take()
            } else {
                let route = self.shop.route(random.next() >> 1)?;
                outer[which].set_inner(&bytes, &route).map_err(text)?;
                place.replace(route)
            };
            self.routes.fetch_add(1, Ordering::Relaxed);
            if let Some(old) = old {
                self.runtime.synchronize().map_err(text)?;
                write_route(&old, POISON)?;
            }
        }
        Ok(())
    }

    /// Whether programs counted on their CPUs what their packets say.
    fn compare(&self, seen: Counts) -> Result<(), String> {
        let counts = self.shop.map("counts")?.percpu_array::<u64>().map_err(text)?;
        let sum = |place| Ok::<u64, String>(counts.get(place).map_err(text)?.iter().sum());
        let counted = [sum(0)?, sum(1)?, sum(2)?];
        let seen = [seen.runs, seen.fallen, seen.back];
        if counted != seen {
            return Err(format!("packets say {seen:?}, programs counted {counted:?}"));
        }
        Ok(())
    }
}
