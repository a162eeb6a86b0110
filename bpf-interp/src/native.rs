//! Where interpreted and compiled code meet: a tail call may lead from either to the other.
//!
//! ```text
//!   compiled code   --jumps-->  a stub  --calls-->  `jumped_to`  runs the program; returns what it
//!                               |  ^----------------             returned, or where it is to go on
//!                               `--jumps on, or returns
//!   the interpreter --returns its stack, then calls--> `RunCx::native`
//! ```
//!
//! So a chain of tail calls takes no more stack the more often it changes engines. Only a tail call
//! from a function, whose caller waits in the interpreter, is a call of compiled code there.

use bpf_abi::exec::{CallbackFn, InterpFn, NativeArgs, Onward, ProgEntry, RunCx};

use crate::atomic::pointer;
use crate::call::{Interp, call_back, run_until_left};
use crate::fault::FaultKind;
use crate::machine::End;
use crate::observe::NoWitness;

/// How compiled code goes on, by a tail call, in a program that the interpreter runs.
///
/// What stands at the program's entry does not concern tail calls.
pub const JUMPED_TO: InterpFn = jumped_to;

/// How compiled code calls a program that the interpreter runs: in the place of a function, or as a
/// probe.
pub const CALLED: InterpFn = called;

/// Goes on in the compiled code that a tail call leads to.
///
/// # Safety
///
/// `[prog-entry]`: the address was found in a slot of a program array by the run whose `cx` this is,
/// and which waits or has ended: `[run-context]`.
#[expect(unsafe_code, reason = "enters compiled code by its address")]
pub(crate) unsafe fn go_on(cx: *mut RunCx, entry: u64, ctx: u64) -> Result<u64, FaultKind> {
    // SAFETY: [prog-entry] by the caller; the body of a main function takes the context and the run.
    unsafe { enter(cx, entry - ProgEntry::BEHIND_CALLED, &[ctx]) }
}

/// Enters compiled code with these arguments, in a run that counts its tail calls on.
///
/// # Safety
///
/// `[prog-entry]`, `[entry-detour]`: at the address lies code that can be called with so many
/// arguments, kept for the run whose `cx` this is, and which waits or has ended: `[run-context]`.
#[expect(unsafe_code, reason = "enters compiled code by its address")]
pub(crate) unsafe fn enter(cx: *mut RunCx, entry: u64, args: &[u64]) -> Result<u64, FaultKind> {
    // SAFETY: [run-context] `cx` is the run's; nobody else uses it here.
    let Some(native) = (unsafe { (*cx).native }) else { return Err(FaultKind::Unsupported) };
    let run = cx.expose_provenance() as u64;
    let mut words: NativeArgs = [0; 6];
    for (word, arg) in words.iter_mut().zip(args.iter().chain([&run])) {
        *word = *arg;
    }
    // SAFETY: [prog-entry], [entry-detour] by the caller.
    Ok(unsafe { native(cx, &raw const words, entry) })
}

/// Runs a program until it ends or leaves for compiled code.
///
/// # Safety
///
/// `[prog-entry]`: `program` is what [`Interp::entry`] gave, and is kept as long as a slot led here;
/// `[run-context]`: the arguments are what it expects, and `cx` is that of the run.
#[expect(unsafe_code, reason = "called by compiled code")]
unsafe extern "C" fn jumped_to(program: u64, args: *const [u64; 5], cx: *mut RunCx) -> Onward {
    // SAFETY: [prog-entry] by the caller.
    let program = unsafe { &*pointer::<Interp>(program) };
    // SAFETY: [run-context] by the caller.
    let start = program.enter(unsafe { *args });
    // SAFETY: [run-context] by the caller.
    let kept = unsafe { call_back_by(cx, Some(call_back)) };
    // SAFETY: [run-context] by the caller.
    let end = unsafe { run_until_left(&start, cx, &mut NoWitness) };
    // SAFETY: [run-context] by the caller.
    unsafe { call_back_by(cx, kept) };
    match end {
        Ok(End::Returned(value)) => Onward { value, next: 0 },
        Ok(End::Left { entry, ctx }) => Onward { value: ctx, next: entry },
        // Verified programs do not come to this.
        Err(_) => Onward { value: 0, next: 0 },
    }
}

/// Runs a program to its end.
///
/// # Safety
///
/// As for [`jumped_to`].
#[expect(unsafe_code, reason = "called by compiled code")]
unsafe extern "C" fn called(program: u64, args: *const [u64; 5], cx: *mut RunCx) -> Onward {
    // SAFETY: [prog-entry] by the caller.
    let program = unsafe { &*pointer::<Interp>(program) };
    // SAFETY: [run-context] by the caller.
    let args = unsafe { *args };
    // SAFETY: [run-context] by the caller.
    let kept = unsafe { call_back_by(cx, Some(call_back)) };
    // SAFETY: [run-context] by the caller.
    let result = unsafe { program.call_function(cx, 0, args) };
    // SAFETY: [run-context] by the caller.
    unsafe { call_back_by(cx, kept) };
    Onward { value: result.unwrap_or(0), next: 0 }
}

/// Has helpers call functions in another way; what it was before.
///
/// # Safety
///
/// `[run-context]`: `cx` is that of a run that waits.
#[expect(unsafe_code, reason = "changes the run")]
unsafe fn call_back_by(cx: *mut RunCx, how: Option<CallbackFn>) -> Option<CallbackFn> {
    // SAFETY: [run-context] by the caller.
    unsafe { std::mem::replace(&mut (*cx).callback, how) }
}
