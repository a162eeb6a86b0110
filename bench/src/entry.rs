//! What entering a program takes: one that does nothing, through the safe interface.

use bpfkit::prelude::EngineChoice;

use crate::contender::Runner;
use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::programs::{self, named};
use crate::stats::cell;

/// Measures the empty program on each engine and the kernel.
pub(crate) fn run(rounds: u32) -> anyhow::Result<()> {
    let (source, packet) = (named("empty"), programs::packet());
    let ours = |engine| Runner::new(Box::new(Ours::load(&source, engine, &packet)?));
    let (mut jit, mut interp) = (ours(EngineChoice::Jit)?, ours(EngineChoice::Interp)?);
    let mut kernel = if bpf_oracle::kernel::available().is_ok() {
        let spec = bpf_object::read(&std::fs::read(&source.path)?, &source.name)?;
        Some(Runner::new(Box::new(Kernel::load(&spec, &packet)?))?)
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
    println!("{:24} {:>9} {:>9} {:>9}  (ns a run)", "an empty program", "kernel", "jit", "interp");
    let row = |what: &str, value: fn(&Runner) -> Option<f64>| {
        println!(
            "{what:24} {} {} {}",
            cell(kernel.as_ref().and_then(value), 9, 2),
            cell(value(&jit), 9, 2),
            cell(value(&interp), 9, 2),
        );
    };
    row("median", |runner| runner.times.median());
    row("least", |runner| runner.times.least());
    Ok(())
}
