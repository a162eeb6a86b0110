//! `bpf_get_prandom_u32`, which compiled code does itself: with a seed, all engines give the same
//! numbers, one row a CPU.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::thread;

use bpf_abi::prog::ProgType;
use bpf_runtime::{EngineChoice, Object, Runtime};
use bpf_tests::text;

/// Takes eleven numbers, in a loop, in a function and one after the other, and mixes them.
const MIX: &str = "
    r6 = 0
    r7 = 8
    again: call bpf_get_prandom_u32
    r6 *= 31
    r6 += r0
    r7 -= 1
    if r7 != 0 goto again
    call number
    r6 *= 31
    r6 += r0
    call bpf_get_prandom_u32
    r8 = r0
    call bpf_get_prandom_u32
    r8 -= r0
    r6 ^= r8
    r0 = r6
    r0 >>= 32
    r0 ^= r6
    exit
    number:
    call bpf_get_prandom_u32
    exit";

/// The upper half of a number, which is none.
const UPPER: &str = "
    call bpf_get_prandom_u32
    r0 >>= 32
    exit";

fn objects(seed: u64) -> Vec<Object> {
    let engines =
        [(EngineChoice::Interp, true), (EngineChoice::Jit, true), (EngineChoice::Jit, false)];
    let load = |(engine, optimize)| {
        let builder = Runtime::builder().seed(seed).engine(engine).optimize(optimize);
        let runtime = builder.cpus(2.try_into().unwrap()).build().ok()?;
        let programs = [("mix", MIX), ("upper", UPPER)];
        let object = text::object(ProgType::Xdp, Vec::new(), &programs).unwrap();
        Some(runtime.open(object).load().unwrap())
    };
    engines.into_iter().filter_map(load).collect()
}

/// What each CPU's programs make of the numbers.
fn rows(object: &Object) -> Vec<Vec<u32>> {
    let mix = object.program("mix").unwrap();
    let upper = object.program("upper").unwrap();
    let row = || {
        let mut packet = mix.packet(&[0; 64]).unwrap();
        let mut run = |_| {
            assert_eq!(upper.run(&mut packet).unwrap(), 0);
            mix.run(&mut packet).unwrap()
        };
        (0..50).map(&mut run).collect()
    };
    let held = mix.runner();
    let here = row();
    let there = thread::scope(|scope| scope.spawn(row).join().unwrap());
    drop(held);
    vec![here, there]
}

#[test]
fn all_engines_take_the_same_numbers() {
    let rows: Vec<_> = objects(7).iter().map(rows).collect();
    assert!(rows.len() >= 2, "there is no compiler here");
    for other in &rows {
        assert_eq!(*other, rows[0]);
    }
    let [first, second] = &rows[0][..] else { panic!("there are two CPUs") };
    assert_ne!(first, second);
    let mut different = first.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), first.len());
}

#[test]
fn another_seed_makes_other_numbers() {
    let rows: Vec<_> = [1, 2].iter().map(|seed| rows(&objects(*seed)[0])).collect();
    assert_ne!(rows[0], rows[1]);
}
