//! What it takes from an object's bytes to the end of a program's first run, and what of that is
//! compiling.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_isa::{AluOp, Insn, JumpOp, Operand, Program as Insns, Reg, Size, Width};
use bpf_jit::{Jit, JitOptions};
use bpfkit::prelude::*;

use crate::inputs;
use crate::kernel::Kernel;
use crate::programs::{self, Source};
use crate::stats::{Times, cell, geometric_mean};

/// How often a program is compiled in a round, by its number of instructions.
const SIZES: [(u32, u32); 5] = [(100, 50), (1_000, 10), (10_000, 2), (50_000, 1), (100_000, 1)];

/// Measures the programs with these names, or all, and then programs of all sizes.
pub(crate) fn run(rounds: u32, names: &[String]) -> anyhow::Result<()> {
    println!(
        "{:10} {:>9} {:>12} {:>9} {:>9} {:>9} {:>9} {:>10}  (us to the first result, medians)",
        "program", "kernel", "background", "eager", "kept", "on disk", "off", "ours/kernel"
    );
    let runtime = |mode| Runtime::builder().jit(mode).code_cache(None).build();
    let modes = [JitMode::Background, JitMode::Eager, JitMode::Off].map(runtime);
    let modes: Vec<Runtime> = modes.into_iter().collect::<Result<_, _>>()?;
    let in_memory = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
    let in_memory = Runtime::builder().code_cache(in_memory).build()?;
    let folder = Folder::new()?;
    let mut ratios = Vec::new();
    for source in programs::wanted(names)? {
        let bytes = std::fs::read(&source.path)?;
        let packet = inputs::packet(&source.name);
        let mut kernel = Times::default();
        let mut ours = [Times::default(), Times::default(), Times::default()];
        let (mut kept, mut on_disk) = (Times::default(), Times::default());
        // What is compiled here is kept from here on.
        in_runtime(&in_memory, &source, &bytes, &packet)?;
        in_runtime(&folder.runtime()?, &source, &bytes, &packet)?;
        for _ in 0..rounds {
            if bpf_oracle::kernel::available().is_ok() {
                kernel.push(in_kernel(&source, &bytes, &packet)?);
            }
            for (runtime, times) in modes.iter().zip(&mut ours) {
                times.push(in_runtime(runtime, &source, &bytes, &packet)?);
            }
            kept.push(in_runtime(&in_memory, &source, &bytes, &packet)?);
            on_disk.push(in_runtime(&folder.runtime()?, &source, &bytes, &packet)?);
        }
        let ratio = ours[0].ratio_to(&kernel);
        ratios.extend(ratio);
        let micro = |times: &Times, width| cell(times.median().map(|time| time / 1e3), width, 1);
        println!(
            "{:10} {} {} {} {} {} {} {}",
            source.name,
            micro(&kernel, 9),
            micro(&ours[0], 12),
            micro(&ours[1], 9),
            micro(&kept, 9),
            micro(&on_disk, 9),
            micro(&ours[2], 9),
            cell(ratio, 10, 3)
        );
    }
    sizes(rounds)?;
    match geometric_mean(&ratios) {
        Some(mean) => println!("geometric mean ours/kernel: {mean:.3}"),
        None => println!("geometric mean ours/kernel: not measured"),
    }
    Ok(())
}

/// A directory for compiled code, which is gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bpf-bench-{}", std::process::id()));
        // What is there is another run's, and of no use.
        let _ = std::fs::remove_dir_all(&path);
        Ok(Self(path))
    }

    /// A runtime that has code in this directory and none in memory, as a process that was started
    /// anew.
    fn runtime(&self) -> anyhow::Result<Runtime> {
        Ok(Runtime::builder().code_cache(CodeCache::on_disk(&self.0)?).build()?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn nanoseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9
}

fn in_kernel(source: &Source, bytes: &[u8], packet: &[u8]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let spec = bpf_object::read(bytes, &source.name)?;
    let mut kernel = Kernel::load(&spec, packet)?;
    crate::contender::Contender::run(&mut kernel)?;
    Ok(nanoseconds(start))
}

fn in_runtime(
    runtime: &Runtime,
    source: &Source,
    bytes: &[u8],
    packet: &[u8],
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let object = runtime.open(bpf_object::read(bytes, &source.name)?).load()?;
    let program = object.programs().first().context("an object of no program")?;
    program.run(&mut program.packet(packet)?)?;
    let took = nanoseconds(start);
    // What is still being compiled does not disturb the next.
    program.settle();
    Ok(took)
}

/// What compiling takes by the size of the program.
fn sizes(rounds: u32) -> anyhow::Result<()> {
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12}  (us an instruction; bytes an instruction)",
        "size", "optimised", "not", "kept", "bytes kept"
    );
    let runtime = Runtime::builder().jit(JitMode::Off).build()?;
    let jit = Jit::new(JitOptions { max_optimized: usize::MAX, ..JitOptions::default() })?;
    let plain = Jit::new(JitOptions { optimize: false, ..JitOptions::default() })?;
    for (size, repeat) in SIZES {
        let mut spec = ObjectSpec { name: "sized".to_owned(), ..ObjectSpec::default() };
        let insns = Insns::new(sized(size)).to_slots();
        spec.programs.push(ProgramSpec::new("sized", ProgType::Xdp, insns));
        let object = runtime.open(spec).load()?;
        let program = object.program("sized")?;
        let mut times = [Times::default(), Times::default()];
        for _ in 0..rounds.min(5) {
            for (jit, times) in [&jit, &plain].into_iter().zip(&mut times) {
                let start = Instant::now();
                for _ in 0..repeat {
                    jit.compile(program.image())?;
                }
                times.push(nanoseconds(start) / f64::from(repeat) / f64::from(size) / 1e3);
            }
        }
        let cache = CodeCache::in_memory(1 << 30);
        let keeping = Jit::new(JitOptions { cache: Some(cache.clone()), ..JitOptions::default() })?;
        keeping.compile(program.image())?;
        let mut kept = Times::default();
        for _ in 0..rounds.min(5) * repeat {
            let start = Instant::now();
            keeping.cached(program.image(), None).context("code that is kept")?;
            kept.push(nanoseconds(start) / f64::from(size) / 1e3);
        }
        let [optimized, plain] = times.map(|times| cell(times.median(), 12, 2));
        let kept = cell(kept.median(), 12, 4);
        let bytes = cache.stats().bytes / size as usize;
        println!("{size:>10} {optimized} {plain} {kept} {bytes:>12}");
    }
    Ok(())
}

/// A program of so many instructions, of the kinds that programs are made of: a load from the
/// context, arithmetic, the stack, and a branch every sixteen.
fn sized(size: u32) -> Vec<Insn> {
    let alu = |op, dst, src| Insn::Alu { op, width: Width::W64, dst, src };
    let mut insns = vec![
        alu(AluOp::Mov, Reg::R6, Operand::Reg(Reg::R1)),
        alu(AluOp::Mov, Reg::R0, Operand::Imm(1)),
    ];
    let off = |n: u32| -8 * i16::try_from(n % 32 + 1).unwrap_or(1);
    for n in 0..(size.saturating_sub(4)) / 16 {
        let number = i32::try_from(n).unwrap_or(i32::MAX);
        insns.extend([
            Insn::Load {
                size: Size::W,
                ext: bpf_isa::Extension::Unsigned,
                dst: Reg::R2,
                base: Reg::R6,
                off: 16,
            },
            alu(AluOp::Add, Reg::R2, Operand::Imm(number)),
            alu(AluOp::Xor, Reg::R0, Operand::Reg(Reg::R2)),
            Insn::Store { size: Size::DW, base: Reg::FP, off: off(n), src: Operand::Reg(Reg::R0) },
            alu(AluOp::Lsh, Reg::R0, Operand::Imm(3)),
            Insn::JumpIf {
                op: JumpOp::Eq,
                width: Width::W64,
                dst: Reg::R2,
                src: Operand::Imm(number),
                off: 1,
            },
            alu(AluOp::Mul, Reg::R0, Operand::Imm(17)),
            alu(AluOp::Mov, Reg::R4, Operand::Reg(Reg::R0)),
            alu(AluOp::Rsh, Reg::R4, Operand::Imm(7)),
            alu(AluOp::Xor, Reg::R0, Operand::Reg(Reg::R4)),
            alu(AluOp::And, Reg::R4, Operand::Imm(0xff)),
            alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R4)),
            alu(AluOp::Or, Reg::R4, Operand::Imm(5)),
            alu(AluOp::Sub, Reg::R0, Operand::Reg(Reg::R4)),
            alu(AluOp::Arsh, Reg::R0, Operand::Imm(1)),
            Insn::Load {
                size: Size::DW,
                ext: bpf_isa::Extension::Unsigned,
                dst: Reg::R3,
                base: Reg::FP,
                off: off(n),
            },
        ]);
    }
    insns.push(Insn::Exit);
    insns
}
