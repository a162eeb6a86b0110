//! Registers that this or a later instruction may read.
//!
//! Backward over each function until nothing changes:
//! `before = reads ∪ (after − writes)`, where `after` is the union of `before` over all
//! successors. Sets only grow, so it comes to an end; what is not in the result is not read on
//! any path, so two states that differ there only are the same. The frame pointer is no part of
//! this: it is always live.

use bpf_isa::{Insn, Pc, RegSet};

use crate::env::Env;
use crate::program::{calls, fields};

/// Finds the live registers before each instruction, and shows them in the log.
///
/// Linux: `compute_live_registers`.
pub(super) fn compute(env: &mut Env<'_>) {
    let effects = effects(env);
    let mut before = vec![RegSet::EMPTY; effects.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for &pc in env.flow.postorder() {
            let after = env
                .flow
                .successors(pc)
                .iter()
                .fold(RegSet::EMPTY, |after, next| after.union(before[next.index()]));
            let (reads, writes) = effects[pc.index()];
            let live = after.minus(writes).union(reads);
            changed |= live != before[pc.index()];
            before[pc.index()] = live;
        }
    }
    for (note, live) in env.notes.iter_mut().zip(before) {
        note.live_regs = live.bits();
    }
    if env.log.shows_everything() {
        show(env);
    }
}

/// What each instruction reads and writes.
fn effects(env: &Env<'_>) -> Vec<(RegSet, RegSet)> {
    let slots = &env.spec.insns;
    let insns = (0..).map(Pc).zip(env.program.insns()).zip(slots);
    insns
        .map(|((pc, insn), slot)| {
            let arity = calls::summary(env, *slot).map_or(5, |summary| summary.arity);
            let meant = matches!(insn, Insn::SecondSlot).then(|| fields::meant(slots, pc));
            meant.flatten().unwrap_or(*insn).live_effect(arity)
        })
        .collect()
}

/// The table in the log: the loop, the place, the live registers, the instruction.
fn show(env: &mut Env<'_>) {
    env.log.print(format_args!("Live regs before insn:\n"));
    let mut pc = Pc(0);
    while pc.index() < env.spec.insns.len() {
        let note = env.note(pc);
        let (scc, live) = (note.scc, RegSet::from_bits(note.live_regs));
        if scc == 0 {
            env.log.print(format_args!("    "));
        } else {
            env.log.print(format_args!("{scc:3} "));
        }
        env.log.print(format_args!("{:3}: ", pc.0));
        for digit in 0..10 {
            if live.bits() & 1 << digit == 0 {
                env.log.print(format_args!("."));
            } else {
                env.log.print(format_args!("{digit}"));
            }
        }
        env.log.print(format_args!(" "));
        env.print_insn(pc);
        pc = env.insn_after(pc);
    }
}
