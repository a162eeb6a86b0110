//! What a tail call takes: chains of 34 programs, as long as chains can be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use bpf_abi::limits::MAX_TAIL_CALLS;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::inputs;
use crate::kernel;
use crate::programs::named;
use crate::stats::{Times, cell};

/// How often a chain is run in a round.
const REPEAT: u32 = 500;

/// How often a slot is updated in a round.
const UPDATES: u32 = 2000;

/// The chains: the array each goes through, and what its programs do.
const CHAINS: [(&str, &str); 6] = [
    ("known", "index known at load"),
    ("unknown", "index not known"),
    ("known_live", "known, four values kept"),
    ("unknown_live", "not known, four values kept"),
    ("known_calling", "known, after a helper"),
    ("unknown_calling", "not known, after a helper"),
];

/// A chain: its first program, and its last alone.
struct Chain<P> {
    first: P,
    last: P,
    /// All of them, as they are in the array.
    programs: Vec<P>,
}

/// A chain of a runtime, with what keeps it and what changes it.
struct Ours {
    object: Object,
    chain: Chain<Program>,
    kind: &'static str,
}

/// Measures all chains on each engine and the kernel.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>10}  (ns a tail call, medians)",
        "tail calls", "kernel", "jit", "interp", "jit/kernel"
    );
    let packet = inputs::headers();
    let mut worst: Option<(f64, &str)> = None;
    for (kind, what) in CHAINS {
        let (jit, interp) = (ours(kind, EngineChoice::Jit)?, ours(kind, EngineChoice::Interp)?);
        let linux = bpf_oracle::kernel::available().is_ok().then(|| in_kernel(kind)).transpose()?;
        let mut times = [Times::default(), Times::default(), Times::default()];
        for _ in 0..rounds {
            if let Some((chain, _array)) = &linux {
                times[0].push(kernel_call(chain, &packet)?);
            }
            times[1].push(a_call(&jit.chain, &packet)?);
            times[2].push(a_call(&interp.chain, &packet)?);
        }
        let ratio = times[1].ratio_to(&times[0]);
        if let Some(ratio) = ratio
            && worst.is_none_or(|(least, _)| ratio > least)
        {
            worst = Some((ratio, what));
        }
        let [linux, jit, interp] = times.map(|times| cell(times.median(), 9, 2));
        println!("{what:28} {linux} {jit} {interp} {}", cell(ratio, 10, 3));
    }
    updates(rounds, &packet)?;
    match worst {
        Some((ratio, _)) => println!("worst row ours/kernel: {ratio:.3}"),
        None => println!("worst row ours/kernel: not measured"),
    }
    Ok(())
}

/// What it takes to change a slot, and what tail calls take while another thread changes the
/// slots of their chain as fast as it can.
fn updates(rounds: u32, packet: &[u8]) -> anyhow::Result<()> {
    let jit = ours("unknown", EngineChoice::Jit)?;
    let linux =
        bpf_oracle::kernel::available().is_ok().then(|| in_kernel("unknown")).transpose()?;
    let mut times = [Times::default(), Times::default()];
    for _ in 0..rounds {
        if let Some((chain, array)) = &linux {
            let start = Instant::now();
            for _ in 0..UPDATES {
                array
                    .update_program(&MAX_TAIL_CALLS.to_le_bytes(), &chain.last)
                    .map_err(kernel::refused("an update"))?;
            }
            times[0].push(per(start, UPDATES));
        }
        let array = jit.object.map(jit.kind)?.prog_array()?;
        let start = Instant::now();
        for _ in 0..UPDATES {
            array.set(MAX_TAIL_CALLS, &jit.chain.last)?;
        }
        times[1].push(per(start, UPDATES));
    }
    let ratio = times[1].ratio_to(&times[0]);
    let [linux_update, update] = times.map(|times| cell(times.median(), 9, 1));
    println!(
        "{:28} {linux_update} {update} {:>9} {}",
        "a slot is updated",
        "-",
        cell(ratio, 10, 3)
    );
    let array = jit.object.map(jit.kind)?.prog_array()?;
    let disturbed = beside(
        || Ok(array.set(MAX_TAIL_CALLS / 2, jit.program(MAX_TAIL_CALLS / 2)?)?),
        || a_call(&jit.chain, packet),
        rounds,
    )?;
    let linux_disturbed = linux.as_ref().map(|(chain, array)| {
        let at = MAX_TAIL_CALLS / 2;
        let program = chain.programs.get(at as usize).context("a chain has 34 programs")?;
        beside(
            || {
                array
                    .update_program(&at.to_le_bytes(), program)
                    .map_err(kernel::refused("an update"))
            },
            || kernel_call(chain, packet),
            rounds,
        )
    });
    let linux_disturbed = linux_disturbed.transpose()?;
    println!(
        "{:28} {} {} {:>9} {:>10}",
        "while a slot is updated",
        cell(linux_disturbed.and_then(|times| times.median()), 9, 2),
        cell(disturbed.median(), 9, 2),
        "-",
        "-"
    );
    Ok(())
}

/// The times that `measure` gives while another thread does `disturb` again and again.
fn beside(
    disturb: impl Fn() -> anyhow::Result<()> + Sync,
    measure: impl Fn() -> anyhow::Result<f64>,
    rounds: u32,
) -> anyhow::Result<Times> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                disturb()?;
            }
            anyhow::Ok(())
        });
        let mut times = Times::default();
        let measured = (0..rounds).try_for_each(|_| {
            times.push(measure()?);
            anyhow::Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        other.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
        measured.map(|()| times)
    })
}

/// Nanoseconds each of so many took since `start`.
fn per(start: Instant, count: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

impl Ours {
    fn program(&self, number: u32) -> anyhow::Result<&Program> {
        self.chain.programs.get(number as usize).context("a chain has 34 programs")
    }
}

/// A chain in a runtime.
fn ours(kind: &'static str, engine: EngineChoice) -> anyhow::Result<Ours> {
    let runtime = Runtime::builder().engine(engine).build()?;
    let object = runtime.open_file(&named("tail").path)?.load()?;
    let array = object.map(kind)?.prog_array()?;
    let mut programs = Vec::new();
    for n in 0..=MAX_TAIL_CALLS {
        let program = object.program(&format!("{kind}_{n}"))?;
        array.set(n, &program)?;
        programs.push(program);
    }
    let first = object.program(&format!("{kind}_0"))?;
    let last = object.program(&format!("{kind}_{MAX_TAIL_CALLS}"))?;
    Ok(Ours { object, chain: Chain { first, last, programs }, kind })
}

/// What a tail call takes in a runtime.
fn a_call(chain: &Chain<Program>, packet: &[u8]) -> anyhow::Result<f64> {
    let time = |program: &Program| -> anyhow::Result<f64> {
        let mut packet = program.packet(packet)?;
        for _ in 0..REPEAT / 4 {
            program.run(&mut packet)?;
        }
        let start = Instant::now();
        for _ in 0..REPEAT {
            anyhow::ensure!(program.run(&mut packet)? == MAX_TAIL_CALLS, "the chain ended early");
        }
        Ok(per(start, REPEAT))
    };
    Ok((time(&chain.first)? - time(&chain.last)?) / f64::from(MAX_TAIL_CALLS))
}

/// What a tail call takes in the kernel.
fn kernel_call(chain: &Chain<linux::Program>, packet: &[u8]) -> anyhow::Result<f64> {
    let time = |program| -> anyhow::Result<f64> {
        kernel::test_run(program, packet, REPEAT / 4)?;
        let (result, time) = kernel::test_run(program, packet, REPEAT)?;
        anyhow::ensure!(result == MAX_TAIL_CALLS, "the kernel's chain ended early");
        Ok(time)
    };
    Ok((time(&chain.first)? - time(&chain.last)?) / f64::from(MAX_TAIL_CALLS))
}

/// A chain in the kernel, and the array it goes through.
fn in_kernel(kind: &str) -> anyhow::Result<(Chain<linux::Program>, linux::Map)> {
    let source = named("tail");
    let spec = bpf_object::read(&std::fs::read(&source.path)?, &source.name)?;
    let maps: Vec<linux::Map> =
        spec.maps.iter().map(kernel::create).collect::<anyhow::Result<_>>()?;
    let fds: Vec<i32> = maps.iter().map(linux::Map::fd).collect();
    let at = spec.maps.iter().position(|map| map.name == kind).context("no such array")?;
    let load = |n: u32| {
        let name = format!("{kind}_{n}");
        let program = spec.programs.iter().find(|program| program.name == name);
        kernel::load(program.context("no such program")?, &fds)
    };
    let mut programs = Vec::new();
    for n in 0..=MAX_TAIL_CALLS {
        let program = load(n)?;
        maps[at]
            .update_program(&n.to_le_bytes(), &program)
            .map_err(kernel::refused("an update"))?;
        programs.push(program);
    }
    let chain = Chain { first: load(0)?, last: load(MAX_TAIL_CALLS)?, programs };
    let array = maps.into_iter().nth(at).context("no such array")?;
    Ok((chain, array))
}
