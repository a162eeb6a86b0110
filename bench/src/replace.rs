//! What it takes that functions can be replaced and probed: the slot that is idle, the slot that
//! jumps, probes around a function, and attaching while others call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpfkit::jit::SlotMode;
use bpfkit::prelude::*;

use crate::inputs;
use crate::programs::named;
use crate::stats::{Times, cell, geometric_mean};

/// The programs of the idle slots' row: those that call functions much.
const CALLERS: &[&str] = &["calls", "nest", "replace"];
/// How often a program is run in a round.
const REPEAT: u32 = 200;
/// How often `replace` calls its function.
const CALLS: f64 = 1000.0;
/// How often is attached and detached to find how long that takes.
const ATTACHED: usize = 5_000;

/// Measures all of it.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    idle(rounds)?;
    println!();
    calls(rounds)?;
    println!();
    attaching()?;
    println!();
    attaching_before_code(rounds)
}

/// A program of an object in a runtime with such slots.
fn load(slots: SlotMode, name: &str, program: &str) -> anyhow::Result<(Runtime, Program)> {
    let runtime = Runtime::builder().engine(EngineChoice::Jit).slots(slots).build()?;
    let mut open = runtime.open_file(&named(name).path)?;
    open.choose(&[program])?;
    let program = open.load()?.program(program)?;
    Ok((runtime, program))
}

/// The nanoseconds of a run.
fn time(program: &Program, packet: &[u8]) -> anyhow::Result<f64> {
    let start = Instant::now();
    program.test_run(&TestRun::packet(packet).repeat(REPEAT))?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(REPEAT))
}

/// What idle slots cost, against code without any.
fn idle(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>9}  (ns a run, medians)",
        "idle slots", "none", "word", "jump", "word/none"
    );
    let (packet, mut ratios) = (inputs::headers(), Vec::new());
    for name in CALLERS {
        let modes = [SlotMode::Absent, SlotMode::Word, SlotMode::Displacement];
        let loaded = modes.map(|slots| load(slots, name, "prog"));
        let mut times = [Times::default(), Times::default(), Times::default()];
        for _ in 0..rounds {
            for (loaded, times) in loaded.iter().zip(&mut times) {
                let (_, program) = loaded.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                times.push(time(program, &packet)?);
            }
        }
        let ratio = times[1].ratio_to(&times[0]);
        let [none, word, jump] = times.each_ref().map(|times| cell(times.median(), 9, 1));
        println!("{name:28} {none} {word} {jump} {}", cell(ratio, 9, 3));
        ratios.extend(ratio);
    }
    let mean = geometric_mean(&ratios);
    println!("{:28} {:>29} {}", "geometric mean", "", cell(mean, 9, 3));
    Ok(())
}

/// What attached programs are called in the table, in the order of the object.
const ATTACHMENTS: &[(&str, &[&str])] = &[
    ("nothing attached", &[]),
    ("replaced", &["extension"]),
    ("fentry", &["before"]),
    ("fexit", &["after"]),
    ("fentry and fexit", &["before", "after"]),
];

/// What a call takes with something attached to the function.
fn calls(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:28} {:>9} {:>9} {:>9}  (ns a call, medians; more than with nothing)",
        "a function of two arguments", "jit", "more", "interp"
    );
    let packet = inputs::headers();
    let mut table = vec![[Times::default(), Times::default()]; ATTACHMENTS.len()];
    for (column, engine) in [EngineChoice::Jit, EngineChoice::Interp].into_iter().enumerate() {
        let runtime = Runtime::builder().engine(engine).build()?;
        let mut open = runtime.open_file(&named("replace").path)?;
        let source = open.clone();
        open.choose(&["prog"])?;
        let program = open.load()?.program("prog")?;
        for _ in 0..rounds {
            for (row, (_, names)) in ATTACHMENTS.iter().enumerate() {
                let links = names.iter().map(|name| attach(&source, name, &program));
                let links = links.collect::<anyhow::Result<Vec<_>>>()?;
                time(&program, &packet)?;
                table[row][column].push(time(&program, &packet)? / CALLS);
                drop(links);
            }
        }
    }
    let direct = table[0][0].median().context("no rounds")?;
    for ((name, _), [jit, interp]) in ATTACHMENTS.iter().zip(&table) {
        let more = jit.median().map(|time| time - direct);
        let (jit, interp) = (cell(jit.median(), 9, 2), cell(interp.median(), 9, 2));
        println!("{name:28} {jit} {} {interp}", cell(more, 9, 2));
    }
    Ok(())
}

/// Loads a program of the object for the function and attaches it.
fn attach(source: &OpenObject, name: &str, target: &Program) -> anyhow::Result<Link> {
    let attaching = load_for(source, name, target)?;
    Ok(attaching.attach()?)
}

fn load_for(source: &OpenObject, name: &str, target: &Program) -> anyhow::Result<Program> {
    let mut open = source.clone();
    open.choose(&[name])?;
    open.attach_target(Some(target), target.function_id("replaced").context("no function")?);
    Ok(open.load()?.program(name)?)
}

/// How long attaching and detaching take while two threads call.
fn attaching() -> anyhow::Result<()> {
    let (runtime, program) = load(SlotMode::Word, "replace", "once")?;
    let source = runtime.open_file(&named("replace").path)?;
    let extension = load_for(&source, "extension", &program)?;
    drop(extension.attach()?);
    let stop = AtomicBool::new(false);
    let (mut attached, mut detached) = (Vec::new(), Vec::new());
    let calls = thread::scope(|scope| {
        let callers: Vec<_> = (0..2).map(|_| scope.spawn(|| call(&program, &stop))).collect();
        let measured = (0..ATTACHED).try_for_each(|_| {
            // A pause, so that callers are in the midst of their calls.
            thread::sleep(Duration::from_micros(50));
            let start = Instant::now();
            let link = extension.attach_to(&program, "replaced")?;
            attached.push(start.elapsed().as_secs_f64() * 1e6);
            let start = Instant::now();
            drop(link);
            detached.push(start.elapsed().as_secs_f64() * 1e6);
            anyhow::Ok(())
        });
        stop.store(true, Ordering::SeqCst);
        let mut calls = 0;
        for caller in callers {
            calls += caller.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
        }
        measured.map(|()| calls)
    })?;
    println!(
        "{:28} {:>9} {:>9} {:>9}  (µs, {ATTACHED} times, while two threads called {calls} times)",
        "an extension", "median", "p99", "most"
    );
    for (name, times) in [("attached", &mut attached), ("detached", &mut detached)] {
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times.get((times.len() - 1) * part / 1000).copied();
        let [median, p99, most] = [500, 990, 1000].map(|part| cell(at(part), 9, 2));
        println!("{name:28} {median} {p99} {most}");
    }
    Ok(())
}

/// What the first attaching takes by how far the compiler is: it compiles what is not compiled.
fn attaching_before_code(rounds: u32) -> anyhow::Result<()> {
    println!("{:28} {:>9} {:>9}  (µs, medians)", "the first extension", "attached", "first run");
    let rows = [
        ("both compiled", JitMode::Eager),
        ("neither compiled yet", JitMode::Background),
        ("interpreted", JitMode::Off),
    ];
    for (what, mode) in rows {
        let (mut attached, mut ran) = (Times::default(), Times::default());
        for _ in 0..rounds {
            let runtime = Runtime::builder().jit(mode).code_cache(None).build()?;
            let hold = runtime.hold_compiler();
            let mut open = runtime.open_file(&named("replace").path)?;
            let source = open.clone();
            open.choose(&["once"])?;
            let program = open.load()?.program("once")?;
            let extension = load_for(&source, "extension", &program)?;
            let mut packet = program.packet(&inputs::headers())?;
            let start = Instant::now();
            let link = extension.attach()?;
            attached.push(start.elapsed().as_secs_f64() * 1e6);
            program.run(&mut packet)?;
            ran.push(start.elapsed().as_secs_f64() * 1e6);
            drop((link, hold));
        }
        println!("{what:28} {} {}", cell(attached.median(), 9, 1), cell(ran.median(), 9, 1));
    }
    Ok(())
}

fn call(program: &Program, stop: &AtomicBool) -> anyhow::Result<u64> {
    let mut packet = program.packet(&inputs::headers())?;
    let mut calls = 0;
    while !stop.load(Ordering::Relaxed) {
        program.run(&mut packet)?;
        calls += 1;
    }
    Ok(calls)
}
