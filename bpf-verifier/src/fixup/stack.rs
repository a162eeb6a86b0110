//! What still counts for the verdict: superfluous spills, and the depth of the stack.

use bpf_isa::{Call, Imm64, Insn, Pc};

use crate::call::CallError;
use crate::env::{Agreed, Env};
use crate::error::Reason;
use crate::program;

/// How much stack a loop helper takes that is made part of the program, in bytes: it keeps its
/// counter, its limit and its argument in registers that the function may need.
const LOOP_EXTRA: u32 = 24;
/// How much stack the counter and the clock of `may_goto` take, in bytes.
const MAY_GOTO_EXTRA: u32 = 16;
/// The helper that calls a function again and again.
const LOOP: i32 = 181;

/// Does what comes between the walk and the rewriting.
///
/// Afterwards the statistics show functions as they run: those that some path reached, with what
/// rewriting adds to their stack.
///
/// # Errors
///
/// Returns an error if functions that call each other use too much stack.
pub fn finish(env: &mut Env<'_>) -> Result<(), Reason> {
    find_spills(env);
    program::check_stack_depth(env)?;
    for index in 0..env.subprogs.len() {
        let extra = extra(env, index);
        let removed = !env.note(env.subprogs[index].start).seen;
        let subprog = &mut env.subprogs[index];
        subprog.stack_extra = extra;
        subprog.removed = removed;
    }
    check_kfuncs(env)?;
    check_addresses(env)?;
    if env.host.compiles() { Ok(()) } else { check_interpretable(env) }
}

/// Checks that addresses of functions lead somewhere: functions that no path entered are removed,
/// and then what stands behind them is there instead, if anything is. A function that is left
/// alone is not looked at.
///
/// Linux: `jit_subprogs`.
fn check_addresses(env: &Env<'_>) -> Result<(), Reason> {
    // A function that catches exceptions is added to those of the program, if it has none of its own.
    let added = usize::from(env.found.exception && env.exception_callback.is_none());
    if env.subprogs.iter().filter(|subprog| !subprog.removed).count() + added < 2 {
        return Ok(());
    }
    for (pc, (insn, note)) in (0..).map(Pc).zip(env.program.insns().iter().zip(&env.notes)) {
        let Insn::LoadImm64 { imm: Imm64::Func { off }, .. } = *insn else { continue };
        let to = pc.offset(i64::from(off) + 1);
        let is_there =
            |to: Pc| env.subprogs.iter().any(|subprog| !subprog.removed && subprog.start >= to);
        if note.seen && !to.is_some_and(is_there) {
            // Nothing is left behind the address, so that it is that of the rewritten program's end.
            return Err(CallError::NoFunction { at: super::xlated::slots(env) }.into());
        }
    }
    Ok(())
}

/// Checks that no path calls a kernel function that is not there.
///
/// Linux: the beginning of `fixup_kfunc_call`.
fn check_kfuncs(env: &Env<'_>) -> Result<(), Reason> {
    for (insn, note) in env.program.insns().iter().zip(&env.notes) {
        if let Insn::Call(Call::Kfunc { btf_id: 0, .. }) = insn
            && note.seen
        {
            return Err(CallError::NoKfunc.into());
        }
    }
    Ok(())
}

/// Checks that the kernel's interpreter can run what is left of the program.
///
/// Linux: `fixup_call_args`.
fn check_interpretable(env: &Env<'_>) -> Result<(), Reason> {
    let seen = || env.program.insns().iter().zip(&env.notes).filter(|(_, note)| note.seen);
    if seen().any(|(insn, _)| matches!(insn, Insn::Call(Call::Kfunc { .. }))) {
        return Err(CallError::KfuncInterpreted.into());
    }
    let several = env.subprogs.iter().filter(|subprog| !subprog.removed).count() > 1;
    if several && env.subprogs.first().is_some_and(|main| main.tail_call_reachable) {
        return Err(CallError::TailCallInterpreted.into());
    }
    if seen().any(|(insn, _)| matches!(insn, Insn::LoadImm64 { imm: Imm64::Func { .. }, .. })) {
        return Err(CallError::CallbackInterpreted.into());
    }
    Ok(())
}

/// Finds spills and fills around calls that leave those registers alone.
///
/// Linux: `remove_fastcall_spills_fills`.
fn find_spills(env: &mut Env<'_>) {
    for index in 0..env.subprogs.len() {
        let (start, end) = (env.subprogs[index].start, env.subprogs[index].end);
        let mut modified = false;
        for pc in (start.0..end.0).map(Pc) {
            let pairs = env.note(pc).fastcall_spills;
            for distance in 1..=i64::from(pairs) {
                for at in [-distance, distance].into_iter().filter_map(|by| pc.offset(by)) {
                    env.note_mut(at).superfluous = true;
                }
            }
            modified |= pairs > 0;
        }
        let subprog = &mut env.subprogs[index];
        if modified && !subprog.keep_fastcall_stack {
            subprog.stack_depth = subprog.fastcall_stack_off.unsigned_abs();
        }
    }
}

/// How much stack the kernel's rewriting adds to a function: engines here need none of it, but
/// the statistics tell.
fn extra(env: &Env<'_>, index: usize) -> u32 {
    let subprog = &env.subprogs[index];
    let pcs = || (subprog.start.0..subprog.end.0).map(Pc).filter(|pc| env.note(*pc).seen);
    let inlines_loop = pcs().any(|pc| {
        matches!(env.note(pc).loop_callback, Agreed::One(_)) && calls_loop_helper(env, pc)
    });
    let may_goto = pcs().any(|pc| matches!(env.insn(pc), Some(Insn::MayGoto { .. })));
    let rounding = subprog.stack_depth.next_multiple_of(8) - subprog.stack_depth;
    let for_loop = if inlines_loop { LOOP_EXTRA + rounding } else { 0 };
    for_loop + if may_goto { MAY_GOTO_EXTRA } else { 0 }
}

fn calls_loop_helper(env: &Env<'_>, pc: Pc) -> bool {
    matches!(env.insn(pc), Some(Insn::Call(Call::Helper(LOOP))))
}
