//! What a tail call takes: chains of 34 programs, as long as chains can be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use bpf_abi::limits::MAX_TAIL_CALLS;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::inputs;
use crate::kernel;
use crate::pending;
use crate::programs::named;
use crate::stats::{Times, cell};

/// How often a chain is run in a round.
const REPEAT: u32 = 500;

/// How often a slot is updated in a round.
const UPDATES: u32 = 500;

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
pub(crate) struct Chain<P> {
    pub(crate) first: P,
    last: P,
    /// All of them, as they are in the array.
    pub(crate) programs: Vec<P>,
    /// The one in the middle once more, to exchange it with.
    twin: P,
}

/// A chain of a runtime, with what keeps it and what changes it.
pub(crate) struct Ours {
    pub(crate) object: Object,
    pub(crate) chain: Chain<Program>,
    kind: &'static str,
}

/// Measures all chains on each engine and the kernel.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>10}  (ns a tail call, medians)",
        "tail calls", "kernel", "jit", "interp", "jit/kernel"
    );
    let packet = inputs::headers();
    let mut worst: Option<f64> = None;
    let mut row = |what: &str, times: [Times; 3], digits: usize| {
        let ratio = times[1].ratio_to(&times[0]);
        worst = worst.into_iter().chain(ratio).reduce(f64::max);
        let [linux, jit, interp] = times.map(|times| cell(times.median(), 9, digits));
        println!("{what:28} {linux} {jit} {interp} {}", cell(ratio, 10, 3));
    };
    let place = |kind| -> anyhow::Result<Place> {
        let is_there = bpf_oracle::kernel::available().is_ok();
        Ok(Place {
            linux: is_there.then(|| in_kernel(kind)).transpose()?,
            jit: ours(kind, &Runtime::builder().engine(EngineChoice::Jit).build()?)?,
            interp: ours(kind, &Runtime::builder().engine(EngineChoice::Interp).build()?)?,
        })
    };
    for (kind, what) in CHAINS {
        row(what, place(kind)?.calls(rounds, &packet)?, 2);
    }
    println!("while another thread updates a slot of the chain as fast as it can");
    for (kind, what) in &CHAINS[..2] {
        row(what, place(kind)?.disturbed_calls(rounds, &packet)?, 2);
    }
    println!("an update of a slot");
    for (kind, what) in &CHAINS[..2] {
        row(what, place(kind)?.updates(rounds)?, 1);
    }
    pending::run(rounds)?;
    match worst {
        Some(ratio) => println!("worst row ours/kernel: {ratio:.3}"),
        None => println!("worst row ours/kernel: not measured"),
    }
    Ok(())
}

/// A chain everywhere.
struct Place {
    linux: Option<(Chain<linux::Program>, linux::Map)>,
    jit: Ours,
    interp: Ours,
}

impl Place {
    /// What a tail call takes: in the kernel, compiled, interpreted.
    fn calls(&self, rounds: u32, packet: &[u8]) -> anyhow::Result<[Times; 3]> {
        let mut times = [Times::default(), Times::default(), Times::default()];
        for _ in 0..rounds {
            if let Some((chain, _)) = &self.linux {
                times[0].push(kernel_call(chain, packet)?);
            }
            times[1].push(a_call(&self.jit.chain, packet)?);
            times[2].push(a_call(&self.interp.chain, packet)?);
        }
        Ok(times)
    }

    /// The same while another thread exchanges the program in the middle of the chain with another
    /// that does the same: every chain comes to its end.
    fn disturbed_calls(&self, rounds: u32, packet: &[u8]) -> anyhow::Result<[Times; 3]> {
        let ours = |ours: &Ours| {
            let array = ours.object.map(ours.kind)?.prog_array()?;
            let disturb = |times| Ok(array.set(MIDDLE, ours.chain.turn(times)?)?);
            beside(disturb, || a_call(&ours.chain, packet), rounds)
        };
        let linux = self.linux.as_ref().map(|(chain, array)| {
            let disturb = |times| update(array, chain.turn(times)?);
            beside(disturb, || kernel_call(chain, packet), rounds)
        });
        Ok([linux.transpose()?.unwrap_or_default(), ours(&self.jit)?, ours(&self.interp)?])
    }

    /// What it takes to change a slot: which other programs jump through it by an index that they
    /// know, the kernel keeps in mind.
    fn updates(&self, rounds: u32) -> anyhow::Result<[Times; 3]> {
        let mut times = [Times::default(), Times::default(), Times::default()];
        let ours = |ours: &Ours| -> anyhow::Result<f64> {
            let array = ours.object.map(ours.kind)?.prog_array()?;
            let start = Instant::now();
            for times in 0..UPDATES {
                array.set(MIDDLE, ours.chain.turn(times)?)?;
            }
            Ok(per(start, UPDATES))
        };
        for _ in 0..rounds {
            if let Some((chain, array)) = &self.linux {
                let start = Instant::now();
                for times in 0..UPDATES {
                    update(array, chain.turn(times)?)?;
                }
                times[0].push(per(start, UPDATES));
            }
            times[1].push(ours(&self.jit)?);
            times[2].push(ours(&self.interp)?);
        }
        Ok(times)
    }
}

/// The slot that is updated, in the middle of a chain.
pub(crate) const MIDDLE: u32 = MAX_TAIL_CALLS / 2;

impl<P> Chain<P> {
    /// What is put into the slot the next time: one of two programs that do the same.
    fn turn(&self, times: u32) -> anyhow::Result<&P> {
        Ok(if times.is_multiple_of(2) { &self.twin } else { self.middle()? })
    }

    /// The program in the middle.
    pub(crate) fn middle(&self) -> anyhow::Result<&P> {
        self.programs.get(MIDDLE as usize).context("a chain has 34 programs")
    }
}

/// Puts a program into a slot in the kernel.
pub(crate) fn update(array: &linux::Map, program: &linux::Program) -> anyhow::Result<()> {
    array.update_program(&MIDDLE.to_le_bytes(), program).map_err(kernel::refused("an update"))
}

/// The times that `measure` gives while another thread does `disturb` again and again.
fn beside(
    disturb: impl Fn(u32) -> anyhow::Result<()> + Sync,
    measure: impl Fn() -> anyhow::Result<f64>,
    rounds: u32,
) -> anyhow::Result<Times> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut times = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                disturb(times)?;
                times = times.wrapping_add(1);
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

/// A chain in a runtime.
pub(crate) fn ours(kind: &'static str, runtime: &Runtime) -> anyhow::Result<Ours> {
    let mut open = runtime.open_file(&named("tail").path)?;
    let names: Vec<String> = (0..=MAX_TAIL_CALLS).map(|n| format!("{kind}_{n}")).collect();
    open.choose(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let object = open.load()?;
    let array = object.map(kind)?.prog_array()?;
    let mut programs = Vec::new();
    for (n, name) in (0..).zip(&names) {
        let program = object.program(name)?;
        array.set(n, &program)?;
        programs.push(program);
    }
    let first = object.program(&format!("{kind}_0"))?;
    let last = object.program(&format!("{kind}_{MAX_TAIL_CALLS}"))?;
    let middle = format!("{kind}_{MIDDLE}");
    let mut again = runtime.open_file(&named("tail").path)?;
    again.reuse_map(kind, array.map())?;
    let twin = again.program(&middle)?.load()?;
    Ok(Ours { object, chain: Chain { first, last, programs, twin }, kind })
}

/// What a tail call takes in a runtime.
pub(crate) fn a_call(chain: &Chain<Program>, packet: &[u8]) -> anyhow::Result<f64> {
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
pub(crate) fn in_kernel(kind: &str) -> anyhow::Result<(Chain<linux::Program>, linux::Map)> {
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
    let (first, last, twin) = (load(0)?, load(MAX_TAIL_CALLS)?, load(MIDDLE)?);
    let chain = Chain { first, last, programs, twin };
    let array = maps.into_iter().nth(at).context("no such array")?;
    Ok((chain, array))
}
