//! Entry slots: pointed elsewhere and back, also while programs run; memory used again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bpf_isa::{Insn, Reg};

use super::{Compiled, compile, jit, local, mov_imm, parts, run, vouch};
use crate::{Jit, JitOptions, SlotMode, SlotState};

/// How long each torture lasts: `BPF_JIT_TORTURE` in milliseconds, or a moment.
fn duration() -> Duration {
    let asked = std::env::var("BPF_JIT_TORTURE").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(asked.unwrap_or(150))
}

/// Returns what the function it calls returns.
fn caller(r0: i32) -> Vec<Insn> {
    vec![local(1), Insn::Exit, mov_imm(Reg::R0, r0), Insn::Exit]
}

fn in_mode(slots: SlotMode) -> Jit {
    Jit::new(JitOptions { slots, check: true, ..JitOptions::default() }).unwrap()
}

/// Points the function of `from` to the one of `to`.
#[expect(unsafe_code, reason = "both functions take and return the same")]
fn point(from: &Compiled, to: &Compiled) -> bool {
    // SAFETY: [slot-target] both are functions of `caller`, and both outlive the tests' runs.
    unsafe { from.slot(1).unwrap().jump(to.slot(1).unwrap().body()) }
}

#[test]
fn a_slot_goes_elsewhere_and_back() {
    for mode in [SlotMode::Word, SlotMode::Displacement] {
        let jit = in_mode(mode);
        let [old, new] = [1, 2].map(|r0| jit.compile(&vouch(parts(caller(r0)))).unwrap());
        let slot = old.slot(1).unwrap();
        assert_eq!(slot.state(), SlotState::Idle);
        assert_eq!(run(&old, &mut 0u64), 1);
        assert!(point(&old, &new));
        assert_eq!(slot.state(), SlotState::Jump(new.slot(1).unwrap().body()));
        assert_eq!(run(&old, &mut 0u64), 2);
        assert_eq!(run(&new, &mut 0u64), 2);
        slot.reset();
        assert_eq!(slot.state(), SlotState::Idle);
        assert_eq!(run(&old, &mut 0u64), 1);
        assert_eq!((slot.address() % 8, slot.body()), (0, slot.address() + 8));
    }
}

#[test]
fn the_main_function_can_be_replaced_by_one_that_takes_tail_calls() {
    // What replaces it keeps no registers, and is entered so; in place of it a program that
    // needs no prologue is entered directly.
    for mode in [SlotMode::Word, SlotMode::Displacement] {
        let jit = in_mode(mode);
        let old = jit.compile(&vouch(parts(vec![mov_imm(Reg::R0, 1), Insn::Exit]))).unwrap();
        let mut insns: Vec<Insn> = (6..=9).map(|n| mov_imm(Reg::new(n).unwrap(), 7)).collect();
        insns.extend([super::helper(12), mov_imm(Reg::R0, 2), Insn::Exit]);
        let new = jit.compile(&vouch(parts(insns))).unwrap();
        assert_eq!(run(&old, &mut 0u64), 1);
        #[expect(unsafe_code, reason = "both are main functions")]
        // SAFETY: [slot-target] both take a context, and both outlive the test's runs.
        let could = unsafe { old.slot(0).unwrap().jump(new.body()) };
        assert!(could);
        assert_eq!(run(&old, &mut 0u64), 2);
        old.slot(0).unwrap().reset();
        assert_eq!(run(&old, &mut 0u64), 1);
    }
}

#[test]
fn a_target_out_of_reach_changes_nothing() {
    let compiled = compile(parts(caller(1)));
    let slot = compiled.slot(1).unwrap();
    #[expect(unsafe_code, reason = "the slot must not change")]
    // SAFETY: [slot-target] nothing is at that address, and nothing goes there.
    let could = unsafe { slot.jump(slot.address() ^ 1 << 46) };
    assert!(!could);
    assert_eq!(slot.state(), SlotState::Idle);
    assert_eq!(run(&compiled, &mut 0u64), 1);
}

#[test]
fn there_are_as_many_slots_as_functions() {
    let compiled = compile(parts(caller(1)));
    assert_eq!(compiled.functions(), 2);
    assert!(compiled.slot(1).is_some() && compiled.slot(2).is_none());
}

#[test]
fn a_slot_changes_while_others_run_through_it() {
    for mode in [SlotMode::Word, SlotMode::Displacement] {
        let jit = in_mode(mode);
        let [old, new] = [1, 2].map(|r0| jit.compile(&vouch(parts(caller(r0)))).unwrap());
        let (stop, seen) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..1000 {
                            let r0 = usize::try_from(run(&old, &mut 0u64)).unwrap();
                            let what = if r0 == 1 || r0 == 2 { r0 } else { 0 };
                            seen[what].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            let end = Instant::now() + duration();
            while Instant::now() < end {
                for _ in 0..100 {
                    assert!(point(&old, &new));
                    old.slot(1).unwrap().reset();
                }
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let [wrong, old, new] = seen.map(AtomicU64::into_inner);
        assert_eq!(wrong, 0, "{old} old, {new} new");
        assert!(old + new > 1000);
    }
}

#[test]
fn memory_of_programs_that_are_gone_holds_new_ones() {
    // One thread compiles programs, each other than the last, and lets go of the ones before; the
    // others run what is there.
    let jit = Jit::new(JitOptions { reserve: 1 << 20, ..JitOptions::default() }).unwrap();
    let (stop, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    let current = std::sync::RwLock::new((0, jit.compile(&vouch(parts(caller(0)))).unwrap()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let program = current.read().unwrap();
                    for _ in 0..100 {
                        assert_eq!(run(&program.1, &mut 0u64), program.0);
                    }
                    runs.fetch_add(100, Ordering::Relaxed);
                    drop(program);
                    std::thread::yield_now();
                }
            });
        }
        let end = Instant::now() + duration();
        let mut places = std::collections::BTreeSet::new();
        for r0 in 1.. {
            let compiled = jit.compile(&vouch(parts(caller(r0)))).unwrap();
            places.insert(compiled.entry());
            *current.write().unwrap() = (u64::try_from(r0).unwrap(), compiled);
            if Instant::now() > end {
                assert!(places.len() < 10, "memory is not used again");
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(runs.into_inner() > 0);
}

#[test]
fn jits_do_not_share_anything() {
    let (one, two) = (in_mode(SlotMode::Word), jit());
    let compiled = one.compile(&vouch(parts(caller(5)))).unwrap();
    drop(one);
    assert_eq!(run(&compiled, &mut 0u64), 5);
    assert_eq!(run(&two.compile(&vouch(parts(caller(6)))).unwrap(), &mut 0u64), 6);
}
