//! From path to path.
//!
//! One path is walked at a time, instruction by instruction, changing one [`State`]. A
//! conditional jump puts one side aside ([`StepCx::push_branch`]); when a path ends, the branch
//! put aside last is taken up. At certain instructions the state is compared with those that
//! came there before; if one of them was at least as general, the path ends there.
//!
//! What the rules see of this room are the methods on [`StepCx`] in `services`.

mod error;
mod history;
mod services;

use bpf_isa::Pc;

use crate::log::LogMark;
use crate::state::State;

pub use error::WalkError;
pub use history::{StackOperands, StackTouch, Step};

/// The current path's record, and the branches that wait.
#[derive(Debug, Default)]
pub struct Paths {
    /// How the current path came here since its last kept state.
    track: Track,
    /// Whether the current instruction is in the record already.
    recorded: bool,
    /// The instruction walked before the current one.
    prev_pc: Pc,
    /// Branches still to be walked; the last first.
    pending: Vec<Pending>,
}

/// How a path came here since its last kept state.
#[derive(Clone, Debug, Default)]
struct Track {
    /// The steps that are not simply to the next instruction, and those that touch the stack.
    steps: Vec<Step>,
}

/// A branch still to be walked.
///
/// Linux: `struct bpf_verifier_stack_elem`.
#[derive(Debug)]
struct Pending {
    state: State,
    track: Track,
    pc: Pc,
    prev_pc: Pc,
    mark: LogMark,
}
