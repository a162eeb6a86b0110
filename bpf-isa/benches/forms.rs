//! How fast instructions go from one form to another.

use criterion::{Criterion, Throughput};
use std::hint::black_box;

use bpf_isa::asm::assemble;
use bpf_isa::{Numbers, Program, Text};

const TEXT: &str = "
    r6 = r1
    w1 = *(u32 *)(r6 + 4)
    if r1 s> 100 goto +3
    r2 = 0x123456789abcdef0 ll
    lock *(u64 *)(r10 - 8) += r2
    call 7
    exit
";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let text = TEXT.repeat(100);
    let Ok(program) = assemble(&text) else { return };
    let bytes = program.to_bytes();
    let mut group = criterion.benchmark_group("instructions");
    group.throughput(Throughput::Elements(program.len() as u64));
    group.bench_function("decode", |b| b.iter(|| Program::decode(black_box(&bytes))));
    group.bench_function("encode", |b| b.iter(|| black_box(&program).to_bytes()));
    group.bench_function("assemble", |b| b.iter(|| assemble(black_box(&text))));
    group.bench_function("text", |b| {
        b.iter(|| {
            let texts = black_box(&program).iter();
            texts.map(|(_, insn)| Text::of(insn, &Numbers).to_string().len()).sum::<usize>()
        });
    });
    group.finish();
    criterion.final_summary();
}
