//! Entering a program: the one place where this crate starts an engine.
#![expect(unsafe_code, reason = "keeps what engines ask for when a program is entered")]

use std::ptr;

use bpf_abi::exec::RunCx;
use bpf_interp::{Fault, Interp, Step};
use bpf_maps::cpu::OnCpu;

use crate::engine::Code;
use crate::env::Env;
use crate::timers::Later;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// R0.
    pub(crate) r0: u64,
    /// How many tail calls it took.
    pub(crate) tail_calls: u32,
}

/// Runs a program on a CPU.
///
/// Invariant: `env` holds the context of the program's type. Callers have compared
/// [`ContextKind`](crate::packet::ContextKind)s.
///
/// # Errors
///
/// Returns an error if the program does what no verified program can do.
///
/// # Panics
///
/// Panics if code of the host did that the program called.
#[inline(always)]
pub(crate) fn run(code: &Code, env: &mut Env, on: &OnCpu<'_>) -> Result<Outcome, Box<Fault>> {
    let mut cx = RunCx::new(on.cpu().0);
    let ctx = env.context();
    // From here until the program has ended nobody uses the mutable reference; helpers read
    // through this address: `[run-env]`.
    cx.env = ptr::from_mut(env).cast();
    cx.native = bpf_jit::NATIVE;
    let r0 = match code {
        // SAFETY: [run-context] the context is that of the program's type, `env` is what this
        // crate's helpers ask for, and the CPU is this thread's as long as `on` is borrowed.
        Code::Jit(compiled) => unsafe { compiled.run(&mut cx, ctx) },
        // SAFETY: [run-context] as above.
        Code::Interp(prepared) => unsafe { interpret(prepared, &mut cx, ctx) }?,
    };
    env.panic.go_on();
    Ok(Outcome { r0, tail_calls: cx.tail_calls })
}

/// Runs an interpreted program and counts its instructions; nothing if it is compiled.
///
/// Invariant: as of [`run`].
///
/// # Errors
///
/// As of [`run`].
pub(crate) fn count(code: &Code, env: &mut Env, on: &OnCpu<'_>) -> Result<Option<u64>, Box<Fault>> {
    let Code::Interp(prepared) = code else { return Ok(None) };
    let mut cx = RunCx::new(on.cpu().0);
    let ctx = env.context();
    cx.env = ptr::from_mut(env).cast();
    let mut count = 0;
    let mut witness = |_: Step<'_>| count += 1;
    // SAFETY: [run-context] as in `run`.
    unsafe { prepared.run_watched(&mut cx, ctx, &mut witness) }.map_err(boxed)?;
    env.panic.go_on();
    Ok(Some(count))
}

/// Calls a function that a program left to a timer or a work item, on a CPU of this thread.
///
/// Invariant: the arguments are the map that the timer is in, and where a key and a value of it are;
/// they stay until this returns.
pub(crate) fn later(function: &Later, env: &mut Env, cpu: u32, args: [u64; 3]) {
    let mut cx = RunCx::new(cpu);
    cx.env = ptr::from_mut(env).cast();
    cx.native = bpf_jit::NATIVE;
    cx.callback = Some(function.how);
    let [map, key, value] = args;
    // SAFETY: [later-function] `function` keeps its program, whose function takes such a map, key and
    // value and no context; `cx` is this run's own, and nobody else is running the program in it.
    unsafe { (function.how)(&raw mut cx, function.function, map, key, value, 0, 0) };
}

/// Runs an interpreted program; apart, so that entering compiled code is small wherever it is.
///
/// # Safety
///
/// As of [`Interp::run`]: `[run-context]`.
#[inline(never)]
unsafe fn interpret(prepared: &Interp, cx: &mut RunCx, ctx: u64) -> Result<u64, Box<Fault>> {
    // SAFETY: [run-context] by the caller.
    unsafe { prepared.run(cx, ctx) }.map_err(boxed)
}

/// Moves what never happens out of the way of what always does.
#[cold]
fn boxed(fault: Fault) -> Box<Fault> {
    Box::new(fault)
}
