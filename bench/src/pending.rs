//! Chains that are not compiled yet, or not all of them, and programs that come into a chain that runs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::inputs;
use crate::kernel;
use crate::programs::named;
use crate::stats::{Times, cell};
use crate::tail::{self, MIDDLE, Ours};

/// The chains that are looked at.
const CHAINS: [(&str, &str); 2] =
    [("known", "index known at load"), ("unknown", "index not known")];
/// The programs that are put into a running chain.
const INSERTED: [&str; 3] = ["empty", "http", "json"];
/// How many chains are loaded anew at most.
const LOADS: u32 = 15;

/// Measures all of it.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!("chains that are being compiled");
    calls(rounds)?;
    println!("the first run of a chain (us)");
    println!("{:28} {:>9} {:>10} {:>9}", "", "kernel", "background", "eager");
    for (kind, what) in CHAINS {
        first_run(kind, what, rounds.min(LOADS))?;
    }
    println!("a program into a chain that runs (us from its object's bytes to its first packet)");
    println!(
        "{:28} {:>9} {:>10} {:>9} {:>9} {:>15}",
        "", "kernel", "background", "eager", "kept", "backgr./kernel"
    );
    for name in INSERTED {
        insertion(name, rounds.min(LOADS))?;
    }
    Ok(())
}

/// A runtime that compiles in the background and finds nothing that was kept.
fn in_the_background() -> anyhow::Result<Runtime> {
    Ok(Runtime::builder().jit(JitMode::Background).code_cache(None).build()?)
}

/// What a tail call takes while no program, every second, and each is compiled.
fn calls(rounds: u32) -> anyhow::Result<()> {
    const STAGES: [&str; 3] = ["none is compiled", "every second is", "all are"];
    let packet = inputs::headers();
    println!("{:28} {:>9} {:>9}  (ns a tail call, medians)", "", "known", "not");
    let mut table = STAGES.map(|_| Vec::new());
    for (kind, _) in CHAINS {
        let runtime = in_the_background()?;
        let hold = runtime.hold_compiler();
        let ours = tail::ours(kind, &runtime)?;
        for (stage, cells) in table.iter_mut().enumerate() {
            let programs = ours.chain.programs.iter().enumerate();
            for (_, program) in programs.filter(|(n, _)| stage > 1 || stage == 1 && n % 2 == 1) {
                program.settle();
            }
            let mut times = Times::default();
            for _ in 0..rounds {
                times.push(tail::a_call(&ours.chain, &packet)?);
            }
            cells.push(cell(times.median(), 9, 2));
        }
        drop(hold);
    }
    for (what, cells) in STAGES.iter().zip(table) {
        println!("{what:28} {}", cells.join(" "));
    }
    Ok(())
}

/// What a chain takes that was never run before: here by hand, in the kernel by its own clock.
fn first_run(kind: &'static str, what: &str, loads: u32) -> anyhow::Result<()> {
    let packet = inputs::headers();
    let mut times = [Times::default(), Times::default(), Times::default()];
    for _ in 0..loads {
        if linux::available().is_ok() {
            let (chain, _array) = tail::in_kernel(kind)?;
            times[0].push(kernel::test_run(&chain.first, &packet, 1)?.1 / 1e3);
        }
        let eager = Runtime::builder().code_cache(None).build()?;
        let background = in_the_background()?;
        let hold = background.hold_compiler();
        for (runtime, times) in [&background, &eager].into_iter().zip(&mut times[1..]) {
            let ours = tail::ours(kind, runtime)?;
            let mut packet = ours.chain.first.packet(&packet)?;
            let start = Instant::now();
            ours.chain.first.run(&mut packet)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        drop(hold);
    }
    let [kernel, background, eager] = times.map(|times| times.median());
    let (kernel, eager) = (cell(kernel, 9, 2), cell(eager, 9, 2));
    println!("{what:28} {kernel} {} {eager}", cell(background, 10, 2));
    Ok(())
}

/// What it takes until a program handles its first packet, put into the middle of a chain that another
/// thread runs all the time.
fn insertion(name: &str, loads: u32) -> anyhow::Result<()> {
    let bytes = std::fs::read(named(name).path)?;
    let packet = if name == "empty" { inputs::headers() } else { inputs::packet(name) };
    let kept = Runtime::builder().jit(JitMode::Background).build()?;
    // What is compiled here is kept from here on.
    for program in kept.open(bpf_object::read(&bytes, name)?).load()?.programs() {
        program.settle();
    }
    let eager = Runtime::builder().code_cache(None).build()?;
    let modes = [in_the_background()?, eager, kept];
    let modes = modes.iter().map(|runtime| tail::ours("known", runtime));
    let modes = modes.collect::<anyhow::Result<Vec<Ours>>>()?;
    let mut kernel = Times::default();
    let mut ours = [Times::default(), Times::default(), Times::default()];
    for _ in 0..loads {
        if linux::available().is_ok() {
            kernel.push(in_kernel(name, &bytes, &packet)?);
        }
        for (chain, times) in modes.iter().zip(&mut ours) {
            times.push(in_runtime(chain, name, &bytes, &packet)?);
        }
    }
    let ratio = ours[0].ratio_to(&kernel);
    let [background, eager, kept] = ours.map(|times| times.median());
    println!(
        "{name:28} {} {} {} {} {}",
        cell(kernel.median(), 9, 1),
        cell(background, 10, 1),
        cell(eager, 9, 1),
        cell(kept, 9, 1),
        cell(ratio, 15, 3)
    );
    Ok(())
}

fn in_runtime(ours: &Ours, name: &str, bytes: &[u8], packet: &[u8]) -> anyhow::Result<f64> {
    let array = ours.object.map("known")?.prog_array()?;
    let mut packet = ours.chain.first.packet(packet)?;
    let took = until_it_shows(
        || Ok(ours.chain.first.run(&mut packet)?),
        || {
            let object = ours.object.runtime().open(bpf_object::read(bytes, name)?).load()?;
            let program = object.programs().first().context("an object of no program")?;
            array.set(MIDDLE, program)?;
            Ok(object)
        },
    )?;
    array.set(MIDDLE, ours.chain.middle()?)?;
    Ok(took)
}

fn in_kernel(name: &str, bytes: &[u8], packet: &[u8]) -> anyhow::Result<f64> {
    let (chain, array) = tail::in_kernel("known")?;
    until_it_shows(
        || Ok(kernel::test_run(&chain.first, packet, 1)?.0),
        || {
            let spec = bpf_object::read(bytes, name)?;
            let maps = spec.maps.iter().map(kernel::create).collect::<anyhow::Result<Vec<_>>>()?;
            let fds: Vec<i32> = maps.iter().map(linux::Map::fd).collect();
            let program = spec.programs.first().context("an object of no program")?;
            let program = kernel::load(program, &fds)?;
            tail::update(&array, &program)?;
            Ok((maps, program))
        },
    )
}

/// Microseconds from before `insert` to the first run that comes to another result, while a thread
/// runs all the time.
fn until_it_shows<K>(
    mut run: impl FnMut() -> anyhow::Result<u32> + Send,
    insert: impl FnOnce() -> anyhow::Result<K>,
) -> anyhow::Result<f64> {
    const WARM: u32 = 100;
    let (runs, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let usual = run()?;
            while !is_over.load(Ordering::Relaxed) {
                if run()? != usual {
                    return Ok(Some(Instant::now()));
                }
                runs.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(None)
        });
        while runs.load(Ordering::Relaxed) < WARM && !traffic.is_finished() {
            std::thread::yield_now();
        }
        let start = Instant::now();
        let kept = insert();
        if kept.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        let seen = traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?;
        drop(kept?);
        let seen = seen?.context("the chain's result never changed")?;
        Ok((seen - start).as_secs_f64() * 1e6)
    })
}
