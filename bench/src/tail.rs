//! What a tail call takes: chains of 34 programs, as long as chains can be.

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

/// A chain: its first program, and its last alone.
struct Chain<P> {
    first: P,
    last: P,
    /// Keeps what the programs jump through.
    _array: Vec<P>,
}

/// Measures both kinds of index on each engine and the kernel.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:24} {:>9} {:>9} {:>9}  (ns a tail call, medians)",
        "tail calls", "kernel", "jit", "interp"
    );
    let packet = inputs::headers();
    for (kind, what) in [("known", "index known at load"), ("unknown", "index not known")] {
        let (jit_object, jit) = ours(kind, EngineChoice::Jit)?;
        let (interp_object, interp) = ours(kind, EngineChoice::Interp)?;
        let linux = bpf_oracle::kernel::available().is_ok().then(|| in_kernel(kind)).transpose()?;
        let mut times = [Times::default(), Times::default(), Times::default()];
        for _ in 0..rounds {
            if let Some((chain, _array)) = &linux {
                let whole = kernel::test_run(&chain.first, &packet, REPEAT)?;
                let alone = kernel::test_run(&chain.last, &packet, REPEAT)?;
                anyhow::ensure!(whole.0 == MAX_TAIL_CALLS, "the kernel's chain ended early");
                times[0].push((whole.1 - alone.1) / f64::from(MAX_TAIL_CALLS));
            }
            times[1].push(a_call(&jit, &packet)?);
            times[2].push(a_call(&interp, &packet)?);
        }
        drop((jit_object, interp_object));
        let [linux, jit, interp] = times.map(|times| cell(times.median(), 9, 2));
        println!("{what:24} {linux} {jit} {interp}");
    }
    Ok(())
}

/// A chain in a runtime.
fn ours(kind: &str, engine: EngineChoice) -> anyhow::Result<(Object, Chain<Program>)> {
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
    Ok((object, Chain { first, last, _array: programs }))
}

fn a_call(chain: &Chain<Program>, packet: &[u8]) -> anyhow::Result<f64> {
    let time = |program: &Program, result| -> anyhow::Result<f64> {
        let mut packet = program.packet(packet)?;
        program.run(&mut packet)?;
        let start = std::time::Instant::now();
        for _ in 0..REPEAT {
            anyhow::ensure!(program.run(&mut packet)? == result, "the chain ended early");
        }
        #[expect(clippy::cast_precision_loss, reason = "far from 2^52 nanoseconds")]
        let total = start.elapsed().as_nanos() as f64;
        Ok(total / f64::from(REPEAT))
    };
    let whole = time(&chain.first, MAX_TAIL_CALLS)?;
    let alone = time(&chain.last, MAX_TAIL_CALLS)?;
    Ok((whole - alone) / f64::from(MAX_TAIL_CALLS))
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
    let chain = Chain { first: load(0)?, last: load(MAX_TAIL_CALLS)?, _array: programs };
    let array = maps.into_iter().nth(at).context("no such array")?;
    Ok((chain, array))
}
