//! Functions of the program: static ones are walked into.

use bpf_abi::limits::MAX_CALL_FRAMES;
use bpf_isa::{Pc, Reg};

use crate::call::{CallError, clobber, global};
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::state::{Frame, SubprogId};

/// A call of a function of the program. Linux: `check_func_call`.
pub(crate) fn call(cx: &mut StepCx<'_, '_>, off: i32) -> Result<Next, Reason> {
    let to = cx.pc.offset(1 + i64::from(off)).unwrap_or(Pc(u32::MAX));
    let subprog = cx.env.subprog_at(to).ok_or(CallError::NoSubprog { at: to.0 })?;
    cx.env.found.local_calls = true;
    if let Some(next) = global::call(cx, subprog)? {
        return Ok(next);
    }
    enter(cx, subprog)?;
    Ok(Next::Jump(to))
}

/// Makes a frame for a static function and goes into it.
fn enter(cx: &mut StepCx<'_, '_>, subprog: SubprogId) -> Result<(), Reason> {
    check_depth(cx)?;
    let args = arguments(cx.state.cur());
    let callsite = cx.pc;
    clobber(cx);
    let caller = cx.state.depth();
    let callee = cx.state.push_frame(callsite, subprog);
    for (reg, value) in Reg::ARGS.into_iter().zip(args) {
        callee.set(reg, value);
    }
    let callee = cx.state.depth();
    cx.env.scratched.all();
    if cx.env.log.shows_paths() {
        cx.env.log.print(format_args!("caller:\n"));
        cx.print_frame(caller);
        cx.env.log.print(format_args!("callee:\n"));
        cx.print_frame(callee);
    }
    Ok(())
}

/// What a frame's argument registers hold.
pub(crate) fn arguments(frame: &Frame) -> [Option<crate::state::Value>; 5] {
    Reg::ARGS.map(|reg| frame.reg(reg).copied())
}

/// Checks that one more frame may be made. Linux: `setup_func_entry`.
pub(crate) fn check_depth(cx: &StepCx<'_, '_>) -> Result<(), Reason> {
    let frames = cx.state.frames().len();
    if frames >= MAX_CALL_FRAMES {
        return Err(CallError::TooManyFrames { frames: frames + 1 }.into());
    }
    Ok(())
}
