//! What it costs to enter a program through the safe interface.

use std::hint::black_box;

use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_isa::Slot;
use bpf_runtime::{EngineChoice, Program, Runtime, TestRun};
use criterion::{Criterion, criterion_group, criterion_main};

/// `r0 = 2; exit`, loaded.
fn empty(engine: EngineChoice) -> Option<Program> {
    let slot = |opcode, imm| Slot { opcode, dst: 0, src: 0, off: 0, imm };
    let program = ProgramSpec::new("empty", ProgType::Xdp, vec![slot(0xb7, 2), slot(0x95, 0)]);
    let spec = ObjectSpec { programs: vec![program], ..ObjectSpec::default() };
    let runtime = Runtime::builder().engine(engine).build().ok()?;
    runtime.open(spec).load().ok()?.program("empty").ok()
}

fn enter(criterion: &mut Criterion) {
    for (name, engine) in [("jit", EngineChoice::Jit), ("interp", EngineChoice::Interp)] {
        let Some(program) = empty(engine) else { continue };
        let Ok(mut packet) = program.packet(&[0; 64]) else { continue };
        criterion.bench_function(&format!("enter an empty program, {name}"), |bencher| {
            bencher.iter(|| program.run(&mut packet).unwrap_or(0));
        });
        let runner = program.runner();
        criterion.bench_function(&format!("enter on a CPU that is taken, {name}"), |bencher| {
            bencher.iter(|| runner.run(&mut packet).unwrap_or(0));
        });
        drop(runner);
        criterion.bench_function(
            &format!("fill a packet of 64 bytes and enter, {name}"),
            |bencher| {
                bencher.iter(|| {
                    let _ = packet.set(black_box(&[7; 64]));
                    program.run(&mut packet).unwrap_or(0)
                });
            },
        );
        criterion.bench_function(&format!("a test run of 1000 repeats, {name}"), |bencher| {
            let run = TestRun::packet(&[0; 64]).repeat(1000);
            bencher.iter(|| program.test_run(&run).map_or(0, |out| out.return_value));
        });
    }
}

criterion_group!(benches, enter);
criterion_main!(benches);
