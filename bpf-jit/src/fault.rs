//! What an unverified program did wrong.

use bpf_isa::Pc;
use thiserror::Error;

/// Why a checked program was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("insn {pc}: {kind}")]
pub struct Fault {
    /// The instruction it was stopped at.
    pub pc: Pc,
    /// What it did.
    pub kind: FaultKind,
}

/// What a checked program was stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// It touched memory that is neither the one it was given nor its stack.
    #[error("access outside of memory and stack")]
    BadAccess,
    /// Its calls went deeper than eight frames.
    #[error("calls too deep")]
    CallsTooDeep,
    /// It went round in loops for longer than it may.
    #[error("out of budget")]
    OutOfBudget,
}
