//! What entering a program takes: one that does nothing, through the safe interface.
//!
//! The loop is a user's: a call and a look at its result, nothing between.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use bpfkit::prelude::*;

use crate::contender::Runner;
use crate::inputs;
use crate::kernel::Kernel;
use crate::programs::named;
use crate::stats::{Times, cell};

/// Entries a round.
const ENTRIES: u32 = 20_000;

/// An empty program on one engine, and the packet that it ignores.
struct Empty {
    /// Keeps the program's maps and runtime.
    _object: Object,
    program: Program,
    packet: Packet,
    entered: Times,
    held: Times,
    repeated: Times,
}

impl Empty {
    fn load(engine: EngineChoice) -> anyhow::Result<Self> {
        let runtime = Runtime::builder().engine(engine).build()?;
        let object = runtime.open_file(&named("empty").path)?.load()?;
        let program = object.programs().first().context("an object of no program")?.clone();
        let packet = program.packet(&inputs::headers())?;
        let [entered, held, repeated] = std::array::from_fn(|_| Times::default());
        Ok(Self { _object: object, program, packet, entered, held, repeated })
    }

    /// Measures each way in once.
    fn round(&mut self) -> anyhow::Result<()> {
        let Self { program, packet, .. } = self;
        let entered = time(|| program.run(packet))?;
        let runner = program.runner();
        let held = time(|| runner.run(packet))?;
        drop(runner);
        let bytes = inputs::headers();
        let start = Instant::now();
        program.test_run(&TestRun::packet(&bytes).repeat(ENTRIES))?;
        let repeated = nanoseconds_each(start);
        self.entered.push(entered);
        self.held.push(held);
        self.repeated.push(repeated);
        Ok(())
    }
}

/// Nanoseconds a call.
#[inline(always)]
fn time(mut enter: impl FnMut() -> Result<u32, Error>) -> anyhow::Result<f64> {
    let start = Instant::now();
    for _ in 0..ENTRIES {
        black_box(enter()?);
    }
    Ok(nanoseconds_each(start))
}

fn nanoseconds_each(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ENTRIES)
}

/// Measures the empty program on each engine and in the kernel.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    let source = named("empty");
    let (mut jit, mut interp) =
        (Empty::load(EngineChoice::Jit)?, Empty::load(EngineChoice::Interp)?);
    let mut kernel = if bpf_oracle::kernel::available().is_ok() {
        let spec = bpf_object::read(&std::fs::read(&source.path)?, &source.name)?;
        Some(Runner::new(Box::new(Kernel::load(&spec, &inputs::headers())?))?)
    } else {
        None
    };
    for _ in 0..rounds {
        if let Some(kernel) = &mut kernel {
            kernel.round()?;
        }
        jit.round()?;
        interp.round()?;
    }
    println!(
        "{:36} {:>8} {:>8} {:>8}",
        "an empty program, ns an entry", "median", "least", "rounds"
    );
    let row = |engine: &str, way: &str, times: &Times| {
        let (median, least) = (cell(times.median(), 8, 2), cell(times.least(), 8, 2));
        println!("{engine:8} {way:27} {median} {least} {:>8}", times.len());
    };
    for (engine, of) in [("jit", &jit), ("interp", &interp)] {
        row(engine, "Program::run", &of.entered);
        row(engine, "Runner::run, a CPU held", &of.held);
        row(engine, "Program::test_run, repeated", &of.repeated);
    }
    if let Some(kernel) = &kernel {
        row("kernel", "BPF_PROG_TEST_RUN, repeated", &kernel.times);
    }
    Ok(())
}
