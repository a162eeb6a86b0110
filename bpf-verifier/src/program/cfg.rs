//! What can be reached, and where states are worth comparing.
//!
//! A depth-first search over the whole program, calls included. On the way it marks
//!
//! - *prune points*, where states may be compared and kept: before conditional jumps and calls,
//!   behind them, and where jumps lead;
//! - *jump points*, where the history of a path must tell how it came: wherever more than one
//!   edge arrives;
//! - *forced checkpoints*, where loops that are no jumps close: iterators, callbacks, `may_goto`;
//!
//! and gathers what functions do through those they call.

use bpf_abi::helper::HelperFlags;
use bpf_isa::Pc;
use bpf_isa::opcode::whole;

use crate::env::Env;
use crate::error::Reason;
use crate::program::ProgramError;
use crate::program::calls;
use crate::program::flow::{
    called_helper, called_kfunc, is_func_address, is_local_call, jump_distance,
};
use crate::program::kfuncs;
use crate::program::subprogs::callee_at;
use crate::state::SubprogId;

/// Searches the program and marks it.
///
/// Linux: `check_cfg`.
///
/// # Errors
///
/// Returns an error if an instruction cannot be reached, or the middle of one can.
pub(super) fn check(env: &mut Env<'_>) -> Result<(), Reason> {
    let mut search = Search { reached: vec![false; env.spec.insns.len()], open: Vec::new() };
    search.run(env, Pc(0));
    if let Some(callback) = env.exception_callback {
        let start = env.subprog(callback).start;
        if !search.reached[start.index()] {
            search.run(env, start);
        }
    }
    let mut pcs = (0..).map(Pc).zip(&env.spec.insns);
    while let Some((pc, slot)) = pcs.next() {
        if !search.reached[pc.index()] {
            return Err(ProgramError::Unreachable { pc }.into());
        }
        if slot.opcode == whole::LOAD_IMM64
            && pcs.next().is_some_and(|(second, _)| search.reached[second.index()])
        {
            return Err(ProgramError::IntoImmediate { pc }.into());
        }
    }
    Ok(())
}

struct Search {
    reached: Vec<bool>,
    open: Vec<Open>,
}

/// An instruction whose edges are being followed.
struct Open {
    pc: Pc,
    edges: [Option<Pc>; 2],
    /// The function it calls or takes the address of: what that does, this one's function does.
    callee: Option<SubprogId>,
}

impl Search {
    fn run(&mut self, env: &mut Env<'_>, from: Pc) {
        self.enter(env, from);
        while let Some(open) = self.open.last_mut() {
            let (pc, callee) = (open.pc, open.callee);
            let [first, second] = &mut open.edges;
            let edge = match first.take() {
                Some(edge) => Some(edge),
                None => {
                    if let Some(callee) = callee {
                        merge(env, pc, callee);
                    }
                    second.take()
                }
            };
            match edge {
                Some(to) if !self.reached.get(to.index()).copied().unwrap_or(true) => {
                    self.enter(env, to);
                }
                Some(_) => {}
                None => {
                    self.open.pop();
                }
            }
        }
    }

    fn enter(&mut self, env: &mut Env<'_>, pc: Pc) {
        self.reached[pc.index()] = true;
        let open = visit(env, pc);
        self.open.push(open);
    }
}

/// Marks an instruction, and tells where it leads. Linux: `visit_insn`.
fn visit(env: &mut Env<'_>, pc: Pc) -> Open {
    let slot = env.spec.insns[pc.index()];
    let after = pc.offset(if slot.opcode == whole::LOAD_IMM64 { 2 } else { 1 });
    if slot.opcode == whole::CALL || is_func_address(slot) {
        if slot.opcode == whole::CALL {
            mark_call(env, pc);
        }
        mark_prune_and_jump(env, after);
        if !is_local_call(slot) && !is_func_address(slot) {
            return Open { pc, edges: [after, None], callee: None };
        }
        env.note_mut(pc).prune_point = true;
        let callee = callee_at(env, pc);
        let start = callee.map(|callee| env.subprog(callee).start);
        mark_prune_and_jump(env, start);
        return Open { pc, edges: [after, start], callee };
    }
    let target = jump_distance(slot).and_then(|distance| pc.offset(1 + distance));
    let edges = match slot.opcode {
        whole::EXIT => [None, None],
        whole::JUMP | whole::JUMP_LONG => {
            mark_prune_and_jump(env, target);
            [target, None]
        }
        opcode if target.is_some() => {
            env.note_mut(pc).prune_point = true;
            env.note_mut(pc).force_checkpoint |= opcode == whole::MAY_GOTO && slot.src == 0;
            mark_prune_and_jump(env, target);
            [after, target]
        }
        _ => [after, None],
    };
    Open { pc, edges, callee: None }
}

fn mark_prune_and_jump(env: &mut Env<'_>, pc: Option<Pc>) {
    if let Some(note) = pc.and_then(|pc| env.notes.get_mut(pc.index())) {
        note.prune_point = true;
        note.jump_point = true;
    }
}

/// Marks a call for what its callee does besides computing.
fn mark_call(env: &mut Env<'_>, pc: Pc) {
    let slot = env.spec.insns[pc.index()];
    let mut effects = calls::Effects::default();
    if let Some(id) = called_helper(slot) {
        effects = calls::helper_effects(env, id);
    } else if let Some((id, btf)) = called_kfunc(slot) {
        effects = kfuncs::effects(env, id, btf);
    }
    let note = env.note_mut(pc);
    if effects.flags.contains(HelperFlags::ASYNC_CALLBACK) {
        note.prune_point = true;
    }
    if effects.flags.contains(HelperFlags::SYNC_CALLBACK) {
        note.calls_callback = true;
        note.force_checkpoint = true;
        note.prune_point = true;
        note.jump_point = true;
    }
    if effects.is_iter_next {
        note.is_iter_next = true;
        note.force_checkpoint = true;
        note.prune_point = true;
    }
    if let Some(subprog) = env.subprog_of(pc) {
        let subprog = env.subprog_mut(subprog);
        subprog.changes_packet |= effects.flags.contains(HelperFlags::CHANGES_PKT_DATA);
        subprog.might_sleep |= effects.flags.contains(HelperFlags::MIGHT_SLEEP);
    }
}

/// What a callee does, its caller does. Linux: `merge_callee_effects`.
fn merge(env: &mut Env<'_>, pc: Pc, callee: SubprogId) {
    let callee = env.subprog(callee);
    let (changes_packet, might_sleep) = (callee.changes_packet, callee.might_sleep);
    if let Some(caller) = env.subprog_of(pc) {
        let caller = env.subprog_mut(caller);
        caller.changes_packet |= changes_packet;
        caller.might_sleep |= might_sleep;
    }
}
