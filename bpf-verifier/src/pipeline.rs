//! The order of the passes, told in one function.

use bpf_abi::spec::ProgramSpec;
use bpf_isa::Pc;

use crate::env::Env;
use crate::error::{Place, Reason, Rejection};
use crate::host::{Host, ProgramFacts};
use crate::memory::MemoryError;
use crate::options::Options;
use crate::program::ProgramError;
use crate::state::SubprogId;
use crate::told::Told;
use crate::walk::{Paths, Refused};
use crate::{Checked, Stats, Verdict, attach, call, fixup, program, step};

/// Judges a program, and makes an image of it if it is accepted.
pub(crate) fn verify(spec: &ProgramSpec, host: &dyn Host, options: &Options) -> Verdict {
    let mut env = Env::new(spec, host, options);
    let checked = check_env(&mut env);
    hand_over_trace(&mut env);
    let result = checked.and_then(|()| {
        fixup::image(&env).map_err(|error| Fault { at: None, reason: error.into() })
    });
    Verdict {
        facts: result.is_ok().then(|| ProgramFacts::of(&env)),
        stats: stats(&env, result.is_ok()),
        result: result.map_err(|fault| rejection(&env, fault)),
        log: env.log.text().to_owned(),
        log_size: env.log.needed(),
        log_truncated: env.log.is_truncated(),
    }
}

/// Judges a program.
pub(crate) fn check(spec: &ProgramSpec, host: &dyn Host, options: &Options) -> Checked {
    let mut env = Env::new(spec, host, options);
    let result = check_env(&mut env);
    hand_over_trace(&mut env);
    Checked {
        facts: result.is_ok().then(|| ProgramFacts::of(&env)),
        stats: stats(&env, result.is_ok()),
        result: result.map_err(|fault| rejection(&env, fault)),
        log: env.log.text().to_owned(),
        log_size: env.log.needed(),
        log_truncated: env.log.is_truncated(),
    }
}

/// What was recorded goes to who asked for it.
fn hand_over_trace(env: &mut Env<'_>) {
    if let (Some(tracer), Some(recorder)) = (env.tracer.take(), &env.options.trace) {
        recorder.put(tracer.into_trace());
    }
}

/// A refusal, and where.
struct Fault {
    at: Option<Pc>,
    reason: Reason,
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self { at: None, reason }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self { at: Some(refused.at), reason: refused.reason }
    }
}

/// The passes in their order, and the end of the log.
///
/// Linux: `bpf_check`.
fn check_env(env: &mut Env<'_>) -> Result<(), Fault> {
    attach::check_load(env).map_err(Reason::from)?;
    let result = judge(env);
    if let Err(fault) = &result {
        print_reason(env, &fault.reason);
        // After a wrong access of the context the log shows its line, unless it has.
        if let (Reason::Memory(error), Some(at)) = (&fault.reason, fault.at)
            && matches!(**error, MemoryError::Context { .. })
        {
            env.print_source(at);
        }
    }
    env.print_stats();
    result?;
    check_owners(env).map_err(Fault::from)
}

/// Checks that the program's arrays of programs may be used by it, or will be from now on.
///
/// Linux: `bpf_check_tail_call`, which comes when a program is accepted, without a word.
fn check_owners(env: &Env<'_>) -> Result<(), Reason> {
    for map in env.used_maps() {
        env.host.check_map_owner(map, env.spec).map_err(ProgramError::MapOwner)?;
    }
    Ok(())
}

fn judge(env: &mut Env<'_>) -> Result<(), Fault> {
    program::before_attach(env)?;
    attach::check(env)?;
    program::before_walk(env);

    let mut paths = Paths::new(env.program.len());
    walk(env, &mut paths, SubprogId::MAIN)?;
    walk_globals(env, &mut paths)?;

    fixup::finish(env)?;
    env.found.default_exception_callback = env.found.exception && env.exception_callback.is_none();
    Ok(())
}

/// Walks a function from its first instruction, with what its type promises of its arguments.
///
/// Linux: `do_check_common`.
fn walk(env: &mut Env<'_>, paths: &mut Paths, subprog: SubprogId) -> Result<(), Fault> {
    env.debug.shown = None;
    env.scratched.all();
    let start = env.subprog(subprog).start;
    let state = call::global::entry(env, subprog)?;
    paths.walk(env, start, state, step::insn)?;
    if !env.log.shows_everything() {
        env.log.rewind(crate::log::LogMark::default());
    }
    Ok(())
}

/// Walks every global function that was found to be called, each once.
///
/// Linux: `do_check_subprogs`.
fn walk_globals(env: &mut Env<'_>, paths: &mut Paths) -> Result<(), Fault> {
    if env.debug.funcs.is_empty() {
        return Ok(());
    }
    if let Some(callback) = env.exception_callback {
        env.subprog_mut(callback).called = true;
    }
    let mut any = true;
    while any {
        any = false;
        for number in 1..u32::try_from(env.subprogs.len()).unwrap_or(u32::MAX) {
            let id = SubprogId(number);
            let subprog = env.subprog(id);
            if !subprog.is_global || !subprog.called || subprog.verified {
                continue;
            }
            walk(env, paths, id)?;
            if env.log.shows_paths() {
                let name = env.subprog(id).name.clone();
                env.log.print(format_args!(
                    "Func#{number} ('{name}') is safe for any args that match its prototype\n"
                ));
            }
            env.subprog_mut(id).verified = true;
            any = true;
        }
    }
    Ok(())
}

fn print_reason(env: &mut Env<'_>, reason: &Reason) {
    let text = reason.to_string();
    if text.is_empty() {
        return;
    }
    let end = if reason.refusal().ends_line() { "\n" } else { "" };
    env.log.print(format_args!("{text}{end}"));
}

fn stats(env: &Env<'_>, accepted: bool) -> Stats {
    let counts = env.counts;
    Stats {
        insns_processed: counts.insns,
        max_states_per_insn: counts.max_states_per_insn,
        total_states: counts.total_states,
        peak_states: counts.peak_states,
        peak_state_bytes: counts.peak_state_bytes,
        xlated_insns: if accepted { fixup::xlated_slots(env) } else { 0 },
        stack_depths: env.subprogs.iter().map(|subprog| subprog.stack_depth).collect(),
    }
}

fn rejection(env: &Env<'_>, fault: Fault) -> Rejection {
    let Fault { at, reason } = fault;
    let named = || {
        reason.fields().into_iter().find_map(|(_, told)| match told {
            Told::Insn(pc) => Some(pc),
            Told::Number(_) | Told::Text(_) => None,
        })
    };
    let at = at.or_else(named).or(env.looking_at).filter(|at| at.index() < env.spec.insns.len());
    let line = at.and_then(|at| env.line_of(at)).map(|line| &env.debug.lines[line]);
    Rejection {
        at,
        function: at
            .and_then(|at| env.subprog_of(at))
            .map(|subprog| env.subprog(subprog).name.clone())
            .unwrap_or_default(),
        line: line.map(|line| Place {
            file: line.file.clone(),
            line: line.line,
            text: line.text.trim_start().to_owned(),
        }),
        reason,
    }
}
