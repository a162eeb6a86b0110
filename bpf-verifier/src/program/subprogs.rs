//! Where functions begin, and that control leaves them only by calls and exits.

use bpf_abi::limits::MAX_SUBPROGS;
use bpf_btf::{FuncLinkage, KindCode};
use bpf_isa::opcode::{Mode, whole};
use bpf_isa::{Class, Pc};

use crate::env::{Env, Subprog};
use crate::error::Reason;
use crate::program::ProgramError;
use crate::program::flow::{called_helper, called_kfunc, callee_of, jump_distance};
use crate::program::kfuncs;
use crate::state::SubprogId;

/// The helper that leaves the program for another.
pub(super) const TAIL_CALL: i32 = 12;

/// Finds the functions: the main one, and all that are called or have their address taken.
/// Kernel functions that are called are checked on the way.
///
/// Linux: `add_subprog_and_kfunc`.
///
/// # Errors
///
/// Returns an error if a callee is not in the program, or there are too many.
pub(super) fn discover(env: &mut Env<'_>) -> Result<(), Reason> {
    let len = env.spec.insns.len();
    let mut kfuncs = kfuncs::Called::default();
    add(env, 0, len)?;
    for (pc, slot) in (0..).map(Pc).zip(&env.spec.insns) {
        env.looking_at = Some(pc);
        if let Some(callee) = callee_of(*slot, pc) {
            add(env, callee, len)?;
        } else if let Some((id, btf)) = called_kfunc(*slot) {
            kfuncs.add(env, id, btf)?;
        }
    }
    env.looking_at = None;
    if let Some(callback) = exception_callback(env)? {
        add(env, i64::from(callback.0), len)?;
        if let Some(id) = env.subprog_at(callback) {
            let subprog = env.subprog_mut(id);
            subprog.is_callback = true;
            subprog.is_async_callback = true;
            subprog.is_exception_callback = true;
            env.exception_callback = Some(id);
        }
    }
    let ends: Vec<Pc> = env.subprogs.iter().map(|subprog| subprog.start).skip(1).collect();
    let end = Pc(u32::try_from(len).unwrap_or(u32::MAX));
    for (subprog, end) in env.subprogs.iter_mut().zip(ends.into_iter().chain([end])) {
        subprog.end = end;
    }
    if env.log.shows_everything() {
        for index in 0..env.subprogs.len() {
            let start = env.subprogs[index].start;
            env.log.print(format_args!("func#{index} @{start}\n"));
        }
    }
    Ok(())
}

fn add(env: &mut Env<'_>, start: i64, len: usize) -> Result<(), ProgramError> {
    let start = u32::try_from(start).map_err(|_| ProgramError::CalleeOutside)?;
    if start as usize >= len {
        return Err(ProgramError::CalleeOutside);
    }
    let start = Pc(start);
    if let Err(place) = env.subprogs.binary_search_by_key(&start, |subprog| subprog.start) {
        if env.subprogs.len() >= MAX_SUBPROGS {
            return Err(ProgramError::TooManySubprogs);
        }
        env.subprogs.insert(place, Subprog { start, ..Subprog::default() });
    }
    Ok(())
}

/// Where the function begins that the main program names as the one to be called when an
/// exception is thrown.
///
/// Linux: `bpf_find_exception_callback_insn_off`.
///
/// # Errors
///
/// Returns an error if it names more than one, or none that is there.
fn exception_callback(env: &Env<'_>) -> Result<Option<Pc>, ProgramError> {
    let records = &env.debug.funcs;
    let (Some(btf), Some(main)) = (env.spec.btf.as_deref(), records.first()) else {
        return Ok(None);
    };
    let mut tags = btf
        .decl_tags_of(main.type_id, None)
        .filter_map(|tag| tag.strip_prefix("exception_callback:"));
    let Some(name) = tags.next() else { return Ok(None) };
    if tags.next().is_some() {
        return Err(ProgramError::ExceptionCallbacks);
    }
    let name = name.to_owned();
    let Some(id) = btf.by_name_kind(&name, KindCode::Func) else {
        return Err(ProgramError::NoExceptionCallback { name });
    };
    let linkage = btf.get(id).and_then(|ty| ty.func()).map(|func| func.linkage);
    if linkage != Some(FuncLinkage::Global) {
        return Err(ProgramError::ExceptionCallbackLinkage { name });
    }
    match records.iter().rfind(|record| record.type_id == id) {
        Some(record) if record.pc == Pc(0) => Err(ProgramError::ExceptionCallbackFirst),
        Some(record) => Ok(Some(record.pc)),
        None => Err(ProgramError::ExceptionCallbackUnknown),
    }
}

/// Checks that no jump leaves its function and no function runs into the next, and notes which
/// functions tail-call.
///
/// Linux: `check_subprogs`.
///
/// # Errors
///
/// Returns an error if control can leave a function otherwise than by calls and exits.
pub(super) fn check_jumps(env: &mut Env<'_>) -> Result<(), Reason> {
    for index in 0..env.subprogs.len() {
        let Subprog { start, end, .. } = env.subprogs[index];
        for pc in (start.0..end.0).map(Pc) {
            env.looking_at = Some(pc);
            let slot = env.spec.insns[pc.index()];
            let subprog = &mut env.subprogs[index];
            if called_helper(slot) == Some(TAIL_CALL) {
                subprog.has_tail_call = true;
                subprog.tail_call_reachable = true;
            }
            if Class::of(slot.opcode) == Some(Class::Ld)
                && matches!(Mode::of(slot.opcode), Some(Mode::Abs | Mode::Ind))
            {
                subprog.has_ld_abs = true;
            }
            if let Some(distance) = jump_distance(slot) {
                let to = i64::from(pc.0) + 1 + distance;
                if !(i64::from(start.0)..i64::from(end.0)).contains(&to) {
                    // The kernel counts in 32 bits.
                    let [low, ..] = [to.to_le_bytes()];
                    let to = i32::from_le_bytes([low[0], low[1], low[2], low[3]]);
                    return Err(ProgramError::JumpOutOfRange { from: pc, to }.into());
                }
            }
            let is_last = pc.offset(1) == Some(end);
            if is_last && !matches!(slot.opcode, whole::EXIT | whole::JUMP | whole::JUMP_LONG) {
                return Err(ProgramError::FallsOff.into());
            }
        }
    }
    env.looking_at = None;
    Ok(())
}

/// The function that the call, or the address of a function, at `pc` names.
pub(super) fn callee_at(env: &Env<'_>, pc: Pc) -> Option<SubprogId> {
    let callee = callee_of(*env.spec.insns.get(pc.index())?, pc)?;
    env.subprog_at(Pc(u32::try_from(callee).ok()?))
}
