//! The order of the passes, told in one function.

use std::fmt;

use bpf_abi::errno::Errno;
use bpf_abi::image::Image;
use bpf_abi::limits::MAX_INSNS;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_isa::Pc;

use crate::env::Env;
use crate::error::{Place, Reason, Refusal, Rejection};
use crate::host::Host;
use crate::options::Options;
use crate::state::SubprogId;
use crate::walk::{Paths, Refused};
use crate::{Stats, Verdict, call, fixup, program, step};

/// Why a program is refused before it is looked at: the kernel says nothing of it in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// It has no instructions, or too many.
    Length,
}

impl fmt::Display for LoadError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => Ok(()),
        }
    }
}

impl Refusal for LoadError {
    fn errno(&self) -> Errno {
        match self {
            Self::Length => Errno::E2BIG,
        }
    }
}

/// Judges a program.
///
/// Linux: `bpf_check`.
pub(crate) fn verify(spec: &ProgramSpec, host: &dyn Host, options: &Options) -> Verdict {
    let mut env = Env::new(spec, host, options);
    if spec.insns.is_empty() || spec.insns.len() > MAX_INSNS {
        let reason = LoadError::Length.into();
        let refused = Fault { at: None, reason };
        return verdict(&env, Err(refused));
    }
    let result = judge(&mut env);
    if let Err(fault) = &result {
        print_reason(&mut env, &fault.reason);
    }
    env.print_stats();
    verdict(&env, result)
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

fn judge(env: &mut Env<'_>) -> Result<Image, Fault> {
    program::before_attach(env)?;
    call::attach::check(env)?;
    program::before_walk(env);

    let mut paths = Paths::new(env.program.len());
    walk(env, &mut paths, SubprogId::MAIN)?;
    walk_globals(env, &mut paths)?;

    fixup::before_depth(env);
    program::check_stack_depth(env)?;
    Ok(fixup::image(env)?)
}

/// Walks a function from its first instruction, with what its type promises of its arguments.
///
/// Linux: `do_check_common`.
fn walk(env: &mut Env<'_>, paths: &mut Paths, subprog: SubprogId) -> Result<(), Fault> {
    env.debug.shown = None;
    env.scratched.all();
    let start = env.subprog(subprog).start;
    if subprog != SubprogId::MAIN || env.spec.prog_type == ProgType::Ext {
        let Subprogram { name, number } = Subprogram::of(env, subprog);
        if env.log.shows_paths() {
            env.log.print(format_args!("Validating {name}() func#{number}...\n"));
        }
    }
    let state = call::global::entry_state(env, subprog)?;
    paths.walk(env, start, state, step::insn)?;
    if !env.log.shows_everything() {
        env.log.rewind(crate::log::LogMark::default());
    }
    Ok(())
}

/// A function, as the log names it.
struct Subprogram {
    name: String,
    number: u32,
}

impl Subprogram {
    fn of(env: &Env<'_>, subprog: SubprogId) -> Self {
        Self { name: env.subprog(subprog).name.clone(), number: subprog.0 }
    }
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

fn verdict(env: &Env<'_>, result: Result<Image, Fault>) -> Verdict {
    let counts = env.counts;
    Verdict {
        result: result.map_err(|fault| rejection(env, fault)),
        log: env.log.text().to_owned(),
        log_size: env.log.needed(),
        log_truncated: env.log.is_truncated(),
        stats: Stats {
            insns: counts.insns,
            max_states_per_insn: counts.max_states_per_insn,
            total_states: counts.total_states,
            peak_states: counts.peak_states,
            stack_depths: env.subprogs.iter().map(|subprog| subprog.stack_depth).collect(),
        },
    }
}

fn rejection(env: &Env<'_>, fault: Fault) -> Rejection {
    let Fault { at, reason } = fault;
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
