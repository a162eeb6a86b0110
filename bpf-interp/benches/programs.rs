//! How fast instructions are, by kind.

use criterion::{Criterion, Throughput};
use std::hint::black_box;

use bpf_interp::{Checked, Limits, Plain};
use bpf_isa::asm::assemble;

const ROUNDS: u64 = 1000;

/// Loops of `ROUNDS` rounds: name, and what a round does.
const LOOPS: [(&str, &str); 5] = [
    ("dependent arithmetic", "r0 += r1\nr0 ^= 77\nr0 *= 3\nr0 >>= 1"),
    ("moves and arithmetic", "r2 = r0\nr2 <<= 13\nr3 = r0\nr3 >>= 51\nr2 |= r3\nr0 = r2"),
    ("loads and stores", "*(u64 *)(r10 - 8) = r0\nr2 = *(u64 *)(r10 - 8)\n*(u8 *)(r10 - 9) = r2"),
    ("branches", "if r0 s> 5 goto +1\nr0 += 1\nif r0 != 6 goto +1\nr0 = 0"),
    ("functions", "r1 = r0\ncall function\nr0 += 1"),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("checked");
    for (name, round) in LOOPS {
        let text = format!(
            "r0 = 0\nr1 = 9\nr6 = {ROUNDS}\nagain: {round}\nr6 -= 1\nif r6 != 0 goto again\nexit\n\
             function: r0 = r1\nexit"
        );
        let Ok(program) = assemble(&text) else { continue };
        let plain = Plain::new(&program);
        let mut memory = Checked::default();
        let mut instructions = 0;
        let mut count = |_: bpf_interp::Step<'_>| instructions += 1;
        let limits = || Limits::new(u64::MAX);
        drop(plain.watch(&mut memory, [0; 5], limits(), &mut count));
        group.throughput(Throughput::Elements(instructions));
        group.bench_function(name, |bencher| {
            bencher.iter(|| plain.run(&mut memory, black_box([0; 5]), limits()));
        });
    }
    group.finish();
    criterion.final_summary();
}
