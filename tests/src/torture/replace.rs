//! Functions replaced and probed at full speed while threads call them.
//!
//! Two threads call a program. One attaches and detaches extensions of one of its functions, which
//! it loads and drops, so that code memory is used again; another does the same with probes of
//! another function. What must hold:
//!
//! - every call ran the old code, or an extension that was attached at some time during the call;
//! - the programs' own counts are the sums of what the callers saw;
//! - arguments and results around probes are right;
//! - in the end there is as much free code memory as in the beginning.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bpf_runtime::{Builder, Link, Map, OpenObject, Program, Runtime};
use bpfkit::OpenElf as _;

use crate::corpus::file;
use crate::torture::text;

/// How often a loaded program is attached before it is dropped.
const ATTACHED: u32 = 64;

/// The places in the map of counts.
const OLD: u32 = 0;
const NEW: u32 = 1;
const PROBED: u32 = 2;
const WRONG: u32 = 3;

/// What came of a torture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often the program was called.
    pub calls: u64,
    /// How many of the calls ran an extension.
    pub replaced: u64,
    /// How often probes ran.
    pub probed: u64,
    /// How often a function's entry was led elsewhere or back.
    pub exchanges: u64,
    /// How many extensions and probes were loaded and dropped.
    pub loads: u64,
}

/// When extension `number` was attached and detached, by the ticks of one clock: the bounds of when
/// it may have run.
#[derive(Debug, Default)]
struct Times {
    clock: AtomicU64,
    /// Of the extension with the number of the place: the tick before it was first attached, and
    /// the tick after it was last detached, or zero while it may be attached.
    spans: Vec<(AtomicU64, AtomicU64)>,
}

/// The most extensions that are loaded.
const MOST: usize = 1 << 20;

impl Times {
    fn new() -> Self {
        let spans = (0..MOST).map(|_| (AtomicU64::new(0), AtomicU64::new(0))).collect();
        Self { clock: AtomicU64::new(1), spans }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether this extension may have run in a call that lay between these ticks.
    fn may_have_run(&self, number: usize, from: u64, to: u64) -> bool {
        let Some((begin, end)) = self.spans.get(number) else { return false };
        let (begin, end) = (begin.load(Ordering::SeqCst), end.load(Ordering::SeqCst));
        begin != 0 && begin <= to && (end == 0 || end >= from)
    }
}

/// Tortures a runtime that is built like this for so long.
///
/// # Errors
///
/// Returns what did not hold.
pub fn replace(builder: Builder, duration: Duration) -> Result<Report, String> {
    let runtime = builder.cpus(4).build().map_err(text)?;
    let free_at_first = runtime.free_code_memory();
    let report = on_runtime(&runtime, duration)?;
    // Whatever was deferred is done by now or when the next run has ended.
    let free_at_last = runtime.free_code_memory();
    if free_at_first != free_at_last {
        return Err(format!(
            "{free_at_first:?} bytes of code memory were free at first, {free_at_last:?} at last"
        ));
    }
    Ok(report)
}

fn on_runtime(runtime: &Runtime, duration: Duration) -> Result<Report, String> {
    let source = runtime.open_file(file("tests/objects/torture.bpf.o")).map_err(text)?;
    let mut open = source.clone();
    open.choose(&["main_program"]).map_err(text)?;
    let object = open.load().map_err(text)?;
    let program = object.program("main_program").map_err(text)?;
    let counts = object.map("counts").map_err(text)?;
    drop(object);
    let place = Place { source: &source, main: &program, counts: &counts };
    let times = Times::new();
    let stop = AtomicBool::new(false);
    let end = Instant::now() + duration;

    let (callers, exchangers) = thread::scope(|scope| {
        let callers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| call(&program, &times, &stop))).collect();
        let extender = scope.spawn(|| extend(place, &times, &stop, end));
        let prober = scope.spawn(|| probe(place, &stop, end));
        let exchangers = [extender.join(), prober.join()];
        stop.store(true, Ordering::SeqCst);
        let callers: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (callers, exchangers)
    });
    let mut report = Report::default();
    for exchanger in exchangers {
        let (exchanges, loads) = exchanger.map_err(|_| "an exchanger panicked")??;
        report.exchanges += exchanges;
        report.loads += loads;
    }
    for caller in callers {
        let (calls, replaced) = caller.map_err(|_| "a caller panicked")??;
        report.calls += calls;
        report.replaced += replaced;
    }
    let array = counts.array::<u64>().map_err(text)?;
    let value = |place| array.get(place).map_err(text);
    report.probed = value(PROBED)?;
    let seen = (report.calls - report.replaced, report.replaced, 0);
    let counted = (value(OLD)?, value(NEW)?, value(WRONG)?);
    if seen != counted {
        return Err(format!("callers saw {seen:?}, the programs counted {counted:?}"));
    }
    Ok(report)
}

/// Calls the program until it is told to stop: how often, and how often an extension answered.
fn call(program: &Program, times: &Times, stop: &AtomicBool) -> Result<(u64, u64), String> {
    let mut packet = program.packet(&[0; 64]).map_err(text)?;
    let (mut calls, mut replaced) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let from = times.clock.load(Ordering::SeqCst);
        let number = program.run(&mut packet).map_err(text)? as usize;
        let to = times.clock.load(Ordering::SeqCst);
        calls += 1;
        if number == 0 {
            continue;
        }
        replaced += 1;
        if !times.may_have_run(number, from, to) {
            stop.store(true, Ordering::SeqCst);
            return Err(format!("extension {number} ran while it was not attached"));
        }
    }
    Ok((calls, replaced))
}

/// Attaches and detaches extensions: how often, and how many were loaded.
fn extend(
    place: Place<'_>,
    times: &Times,
    stop: &AtomicBool,
    end: Instant,
) -> Result<(u64, u64), String> {
    let (mut exchanges, mut loads) = (0, 0);
    while Instant::now() < end && !stop.load(Ordering::Relaxed) && loads + 1 < MOST as u64 {
        loads += 1;
        let number = u32::try_from(loads).unwrap_or(u32::MAX);
        let mut open = place.open("extension")?;
        open.set_global("number", &number).map_err(text)?;
        let extension = place.load(open, "f")?;
        let (begin, over) = &times.spans[number as usize];
        begin.store(times.tick(), Ordering::SeqCst);
        for round in 0..ATTACHED {
            let link =
                if round == 0 { extension.attach() } else { extension.attach_to(place.main, "f") };
            let link = link.map_err(text)?;
            if round % 8 == 0 {
                thread::yield_now();
            }
            drop(link);
            exchanges += 2;
        }
        over.store(times.tick(), Ordering::SeqCst);
    }
    Ok((exchanges, loads))
}

/// Attaches and detaches probes: how often, and how many were loaded.
fn probe(place: Place<'_>, stop: &AtomicBool, end: Instant) -> Result<(u64, u64), String> {
    let (mut exchanges, mut loads) = (0, 0);
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        let mut links: Vec<Link> = Vec::new();
        for name in ["before", "after", "before"] {
            let probe = place.load(place.open(name)?, "g")?;
            links.push(probe.attach().map_err(text)?);
            loads += 1;
            exchanges += 2;
        }
        // Not in the order in which they came.
        links.swap(0, 1);
        for link in links {
            drop(link);
            thread::yield_now();
        }
    }
    Ok((exchanges, loads))
}

/// What is tortured, and what it is tortured with.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: &'a OpenObject,
    main: &'a Program,
    counts: &'a Map,
}

impl Place<'_> {
    /// The object, to load this program of it with the map that the others use.
    fn open(&self, program: &str) -> Result<OpenObject, String> {
        let mut open = self.source.clone();
        open.choose(&[program]).map_err(text)?;
        open.reuse_map("counts", self.counts).map_err(text)?;
        Ok(open)
    }

    /// Loads the one program of an object for a function.
    fn load(&self, mut open: OpenObject, function: &str) -> Result<Program, String> {
        let id = self.main.function_id(function).ok_or("no such function")?;
        open.attach_target(Some(self.main), id);
        let object = open.load().map_err(text)?;
        object.programs().first().cloned().ok_or_else(|| "no program".to_owned())
    }
}
