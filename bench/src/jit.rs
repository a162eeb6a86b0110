//! The programs on every engine, in turns.

use std::path::Path;

use bpfkit::prelude::EngineChoice;

use crate::contender::Runner;
use crate::inputs;
use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::peers::{Rbpf, RbpfMode, Sbpf};
use crate::programs::{self, Source};
use crate::stats::{cell, geometric_mean};

/// How often a program is compiled anew: where code lies matters to the processor.
const PLACES: usize = 3;

/// One program's race.
struct Race {
    kernel: Option<Runner>,
    jit: Vec<Runner>,
    interp: Runner,
    rbpf_jit: Option<Runner>,
    rbpf_interp: Option<Runner>,
    sbpf_interp: Option<Runner>,
}

/// The ratios that are averaged.
#[derive(Default)]
struct Ratios {
    to_kernel: Vec<f64>,
    worst: Option<(f64, String)>,
    to_rbpf: Vec<f64>,
    interp_to_rbpf: Vec<f64>,
    interp_to_sbpf: Vec<f64>,
}

/// Runs the programs with these names, or all; those of another folder, if one is named.
pub(crate) fn run(rounds: u32, folder: Option<&Path>, names: &[String]) -> anyhow::Result<()> {
    println!(
        "{:10} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10}  (ns a run, medians)",
        "program", "kernel", "jit", "rbpf jit", "interp", "rbpf int.", "sbpf int.", "jit/kernel"
    );
    let mut ratios = Ratios::default();
    let sources = match folder {
        Some(folder) => programs::wanted_in(folder, names),
        None => programs::wanted(names),
    };
    for source in sources? {
        let mut race = Race::new(&source)?;
        race.check(&source)?;
        for round in 0..rounds {
            race.round(round as usize)?;
        }
        race.report(&source, &mut ratios);
    }
    let line = |what: &str, values: &[f64]| match geometric_mean(values) {
        Some(mean) => println!("geometric mean {what}: {mean:.3}"),
        None => println!("geometric mean {what}: not measured"),
    };
    line("interpreter/rbpf's", &ratios.interp_to_rbpf);
    line("interpreter/solana-sbpf's", &ratios.interp_to_sbpf);
    line("ours/rbpf's JIT", &ratios.to_rbpf);
    match &ratios.worst {
        Some((ratio, program)) => println!("worst ours/kernel: {program} {ratio:.3}"),
        None => println!("worst ours/kernel: not measured"),
    }
    line("ours/kernel", &ratios.to_kernel);
    Ok(())
}

/// Prints the machine code of the programs with these names, or of all.
pub(crate) fn list(folder: Option<&Path>, names: &[String]) -> anyhow::Result<()> {
    let sources = match folder {
        Some(folder) => programs::wanted_in(folder, names),
        None => programs::wanted(names),
    };
    for source in sources? {
        let packet = inputs::packet(&source.name);
        let ours = Ours::load(&source, EngineChoice::Jit, &packet)?;
        println!("{}", ours.program.listing().unwrap_or_default());
    }
    Ok(())
}

impl Race {
    fn new(source: &Source) -> anyhow::Result<Self> {
        let packet = inputs::packet(&source.name);
        let mut jit = Vec::with_capacity(PLACES);
        for _ in 0..PLACES {
            jit.push(Ours::load(source, EngineChoice::Jit, &packet)?);
        }
        let image = jit.first().map(|ours| ours.program.image().clone());
        let interp = Ours::load(source, EngineChoice::Interp, &packet)?;
        let bytes = std::fs::read(&source.path)?;
        let spec = bpf_object::read(&bytes, &source.name)?;
        let kernel = if bpf_oracle::kernel::available().is_ok() {
            Some(Runner::new(Box::new(Kernel::load(&spec, &packet)?))?)
        } else {
            None
        };
        let peer = |mode| {
            let rbpf = Rbpf::load(image.as_deref()?, &packet, mode)?;
            Runner::new(Box::new(rbpf)).ok()
        };
        let (rbpf_jit, rbpf_interp) = (peer(RbpfMode::Jit), peer(RbpfMode::Interpreter));
        let sbpf_interp = image
            .as_deref()
            .and_then(|image| Sbpf::load(image, &packet))
            .and_then(|sbpf| Runner::new(Box::new(sbpf)).ok());
        let jit = jit.into_iter().map(|ours| Runner::new(Box::new(ours)));
        Ok(Self {
            kernel,
            jit: jit.collect::<anyhow::Result<_>>()?,
            interp: Runner::new(Box::new(interp))?,
            rbpf_jit,
            rbpf_interp,
            sbpf_interp,
        })
    }

    /// All must agree; a peer that computes something else is left out.
    fn check(&mut self, source: &Source) -> anyhow::Result<()> {
        let expected = self.interp.result()?;
        for jit in &mut self.jit {
            let result = jit.result()?;
            anyhow::ensure!(result == expected, "{}: {result:#x}, {expected:#x}", source.name);
        }
        if let Some(kernel) = &mut self.kernel {
            let result = kernel.result()?;
            anyhow::ensure!(
                result == expected,
                "{}: the kernel says {result:#x}, we say {expected:#x}",
                source.name
            );
        }
        for peer in [&mut self.rbpf_jit, &mut self.rbpf_interp, &mut self.sbpf_interp] {
            let agrees = peer
                .as_mut()
                .is_some_and(|runner| runner.result().is_ok_and(|result| result == expected));
            if !agrees {
                *peer = None;
            }
        }
        Ok(())
    }

    /// One turn of each.
    fn round(&mut self, number: usize) -> anyhow::Result<()> {
        let place = number % self.jit.len();
        let others =
            [&mut self.kernel, &mut self.rbpf_jit, &mut self.rbpf_interp, &mut self.sbpf_interp];
        for runner in others.into_iter().flatten() {
            runner.round()?;
        }
        self.interp.round()?;
        self.jit[place].round()
    }

    fn report(&self, source: &Source, ratios: &mut Ratios) {
        let mut jit = crate::stats::Times::default();
        // In the order in which they were taken.
        let rounds = self.jit.iter().map(|runner| runner.times.len()).max().unwrap_or(0);
        for round in 0..rounds {
            for runner in &self.jit {
                if let Some(time) = runner.times.get(round) {
                    jit.push(time);
                }
            }
        }
        let median = |runner: &Option<Runner>| runner.as_ref()?.times.median();
        let to_kernel = self.kernel.as_ref().and_then(|kernel| jit.ratio_to(&kernel.times));
        println!(
            "{:10} {} {} {} {} {} {} {}",
            source.name,
            cell(median(&self.kernel), 9, 1),
            cell(jit.median(), 9, 1),
            cell(median(&self.rbpf_jit), 9, 1),
            cell(self.interp.times.median(), 9, 1),
            cell(median(&self.rbpf_interp), 10, 1),
            cell(median(&self.sbpf_interp), 10, 1),
            cell(to_kernel, 10, 3),
        );
        let interp = &self.interp.times;
        let to = |runner: &Option<Runner>| interp.ratio_to(&runner.as_ref()?.times);
        ratios.to_kernel.extend(to_kernel);
        if let Some(ratio) = to_kernel
            && ratios.worst.as_ref().is_none_or(|(worst, _)| ratio > *worst)
        {
            ratios.worst = Some((ratio, source.name.clone()));
        }
        ratios.to_rbpf.extend(self.rbpf_jit.as_ref().and_then(|rbpf| jit.ratio_to(&rbpf.times)));
        ratios.interp_to_rbpf.extend(to(&self.rbpf_interp));
        ratios.interp_to_sbpf.extend(to(&self.sbpf_interp));
    }
}
