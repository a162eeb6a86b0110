//! What is known of a program before any path is walked, and of its call graph afterwards.
//!
//! The passes run in the kernel's order, because the first to find fault gives the message.

mod error;
mod flow;
mod kfuncs;
mod calls;
mod fields;
mod debug;
mod subprogs;
mod resolve;
mod cfg;
mod scc;
mod live_regs;
mod fastcall;
mod stack_depth;
mod live_stack;

pub(crate) use calls::{helper, lookup};
pub use error::ProgramError;
pub use fields::check_walking;
pub use flow::{Flow, Successors};
pub use kfuncs::{is_gpl, name as kfunc_name};
pub use live_stack::{LiveStack, SlotsQuery};
pub use stack_depth::check as check_stack_depth;

use crate::env::Env;
use crate::error::Reason;

/// The passes that come before the check of what the program attaches to.
///
/// # Errors
///
/// Returns the first fault found.
pub fn before_attach(env: &mut Env<'_>) -> Result<(), Reason> {
    fields::decode_program(env);
    debug::check_early(env)?;
    subprogs::discover(env)?;
    subprogs::check_jumps(env)?;
    debug::check(env)?;
    resolve::resolve(env)?;
    cfg::check(env)?;
    env.flow = Flow::new(&env.spec.insns, env.subprogs.iter().map(|subprog| subprog.start));
    Ok(())
}

/// The passes between that check and the walk.
pub fn before_walk(env: &mut Env<'_>) {
    scc::compute(env);
    live_regs::compute(env);
    fastcall::mark(env);
    env.live_stack = LiveStack::default();
}

#[cfg(test)]
mod tests;
