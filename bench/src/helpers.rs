//! What helpers and operations on maps take, each in a loop of its own.
//!
//! All are programs of one object, which does each thing a hundred times; its program `fill` makes
//! what they find. Ring buffers are emptied between runs, outside of what is measured.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Context as _;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ObjectSpec;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::contender::{Contender, Runner};
use crate::inputs;
use crate::kernel;
use crate::programs::named;
use crate::stats::{cell, geometric_mean};

/// How often a program does what it does.
const TIMES: f64 = 100.0;

/// The program that fills the maps.
const FILL: &str = "fill";

/// How many runs a ring buffer has room for.
const RUNS_A_RING: u32 = 32;

/// How many runs fill a ring buffer once, whatever they put into it.
const ONCE_AROUND: u32 = 1000;

/// Measures the programs with these names, or all.
pub(crate) fn run(rounds: u32, names: &[String]) -> anyhow::Result<()> {
    let source = named("helpers");
    let spec = bpf_object::read(&std::fs::read(&source.path)?, &source.name)?;
    let linux = bpf_oracle::kernel::available().is_ok().then(|| Linux::new(&spec)).transpose()?;
    let jit = object(EngineChoice::Jit)?;
    let interp = object(EngineChoice::Interp)?;
    println!(
        "{:18} {:>9} {:>9} {:>9} {:>10}  (ns each, medians)",
        "helper", "kernel", "jit", "interp", "jit/kernel"
    );
    let mut ratios = Vec::new();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    for program in &spec.programs {
        let name = program.name.as_str();
        if name == FILL || !wanted(name) {
            continue;
        }
        let mut linux = linux.as_ref().map(|linux| linux.runner(&spec, name)).transpose()?;
        let mut jit = ours(&jit, name)?;
        let mut interp = ours(&interp, name)?;
        for _ in 0..rounds {
            if let Some(linux) = &mut linux {
                linux.round()?;
            }
            jit.round()?;
            interp.round()?;
        }
        let ratio = linux.as_ref().and_then(|linux| jit.times.ratio_to(&linux.times));
        ratios.extend(ratio);
        let each = |runner: &Runner| cell(runner.times.median().map(|time| time / TIMES), 9, 2);
        println!(
            "{name:18} {} {} {} {}",
            linux.as_ref().map_or_else(|| cell(None, 9, 2), each),
            each(&jit),
            each(&interp),
            cell(ratio, 10, 3)
        );
    }
    match geometric_mean(&ratios) {
        Some(mean) => println!("geometric mean ours/kernel: {mean:.3}"),
        None => println!("geometric mean ours/kernel: not measured"),
    }
    Ok(())
}

/// The object, its maps filled.
fn object(engine: EngineChoice) -> anyhow::Result<Object> {
    let runtime = Runtime::builder().engine(engine).build()?;
    let object = runtime.open_file(&named("helpers").path)?.load()?;
    let fill = object.program(FILL)?;
    let failed = fill.run(&mut fill.packet(&inputs::headers())?)?;
    anyhow::ensure!(failed == 0, "{failed} of our maps' elements were not to be had");
    Ok(object)
}

/// A program of ours, ready to run.
fn ours(object: &Object, name: &str) -> anyhow::Result<Runner> {
    let program = object.program(name)?;
    let packet = program.packet(&packet(program.prog_type()))?;
    let ring = object.map("ring")?.clone();
    start(name, Ours { program, packet, ring })
}

/// What programs of this type run on.
fn packet(prog_type: ProgType) -> Vec<u8> {
    let mut packet = inputs::headers();
    if prog_type != ProgType::Xdp {
        // One header that is whole.
        packet[12..14].copy_from_slice(&[0x08, 0x00]);
    }
    packet
}

/// Looks whether what is measured works before it is measured.
fn start<P: Place + 'static>(name: &str, place: P) -> anyhow::Result<Runner> {
    let mut helper = Helper { place, has_ring: name.starts_with("ring_") };
    let failed = helper.run()?;
    anyhow::ensure!(failed == 0, "{name} failed {failed} times");
    if helper.has_ring {
        // Memory that nobody has touched yet is the system's to bring.
        helper.time(ONCE_AROUND)?;
    }
    Runner::new(Box::new(helper))
}

/// Where a helper is measured.
trait Place {
    /// Runs so many times; returns the last result and nanoseconds a run.
    fn runs(&mut self, repeat: u32) -> anyhow::Result<(u32, f64)>;

    /// Empties the ring buffer.
    fn empty(&mut self) -> anyhow::Result<()>;
}

/// A helper somewhere.
struct Helper<P> {
    place: P,
    has_ring: bool,
}

impl<P: Place> Contender for Helper<P> {
    fn reset(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<u32> {
        let (result, _) = self.place.runs(1)?;
        self.place.empty()?;
        Ok(result)
    }

    fn time(&mut self, repeat: u32) -> anyhow::Result<f64> {
        if !self.has_ring {
            return Ok(self.place.runs(repeat)?.1);
        }
        let (mut left, mut total) = (repeat, 0.0);
        while left > 0 {
            let now = left.min(RUNS_A_RING);
            total += self.place.runs(now)?.1 * f64::from(now);
            self.place.empty()?;
            left -= now;
        }
        Ok(total / f64::from(repeat))
    }
}

/// A program in a runtime.
struct Ours {
    program: Program,
    packet: Packet,
    ring: Map,
}

impl Place for Ours {
    fn runs(&mut self, repeat: u32) -> anyhow::Result<(u32, f64)> {
        let mut result = 0;
        let start = Instant::now();
        for _ in 0..repeat {
            result = self.program.run(&mut self.packet)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok((result, seconds * 1e9 / f64::from(repeat)))
    }

    fn empty(&mut self) -> anyhow::Result<()> {
        self.ring.ring_buffer()?.consume(|_| ());
        Ok(())
    }
}

/// The object in the kernel, its maps filled.
struct Linux {
    btf: linux::Btf,
    maps: Rc<[linux::Map]>,
}

/// A program in the kernel.
struct InLinux {
    program: linux::Program,
    packet: Vec<u8>,
    maps: Rc<[linux::Map]>,
    /// Which of the maps is the ring buffer.
    ring: usize,
}

impl Linux {
    fn new(spec: &ObjectSpec) -> anyhow::Result<Self> {
        let btf = spec.btf.as_ref().context("the object has types")?;
        let btf = linux::Btf::load(&btf.encode())
            .map_err(|(errno, log)| anyhow::anyhow!("types: the kernel says {errno}: {log}"))?;
        let maps = spec.maps.iter().map(|map| kernel::create_with(map, Some(&btf)));
        let maps = maps.collect::<anyhow::Result<_>>()?;
        let linux = Self { btf, maps };
        let (failed, _) = linux.program(spec, FILL)?.runs(1)?;
        anyhow::ensure!(failed == 0, "{failed} of the kernel's elements were not to be had");
        Ok(linux)
    }

    fn program(&self, spec: &ObjectSpec, name: &str) -> anyhow::Result<InLinux> {
        let fds: Vec<i32> = self.maps.iter().map(linux::Map::fd).collect();
        let program = spec.programs.iter().find(|program| program.name == name);
        let program = program.context("no such program")?;
        let packet = packet(program.prog_type);
        let ring = spec.maps.iter().position(|map| map.name == "ring").context("no ring")?;
        let program = kernel::load_with(program, &fds, Some(&self.btf))?;
        Ok(InLinux { program, packet, maps: Rc::clone(&self.maps), ring })
    }

    fn runner(&self, spec: &ObjectSpec, name: &str) -> anyhow::Result<Runner> {
        start(name, self.program(spec, name)?)
    }
}

impl Place for InLinux {
    fn runs(&mut self, repeat: u32) -> anyhow::Result<(u32, f64)> {
        kernel::test_run(&self.program, &self.packet, repeat)
    }

    fn empty(&mut self) -> anyhow::Result<()> {
        self.maps[self.ring].skip_records().map_err(kernel::refused("a ring buffer"))
    }
}
