//! What an unverified program did that it may not do.

use bpf_isa::Pc;
use thiserror::Error;

/// A program stopped: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("insn {pc}: {kind}")]
pub struct Fault {
    /// The instruction.
    pub pc: Pc,
    /// Why.
    pub kind: FaultKind,
}

/// Why a program stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// It touched memory that it may not touch.
    #[error("{0}")]
    Access(#[from] BadAccess),
    /// A function called functions too deep.
    #[error("more than {0} functions called each other")]
    CallDepth(usize),
    /// Its functions need more stack than there is.
    #[error("the stack is used up")]
    StackOverflow,
    /// It ran past its last instruction.
    #[error("ran past the end of the program")]
    End,
    /// It jumped into a wide immediate.
    #[error("jumped into the middle of a 64-bit immediate")]
    SecondSlot,
    /// It jumped or called out of the program.
    #[error("jumps out of the program")]
    Outside,
    /// The instruction needs something that there is not.
    #[error("the instruction needs what this program does not have")]
    Unsupported,
    /// It called a helper that there is not.
    #[error("no helper has number {0}")]
    UnknownHelper(i32),
    /// A helper refused.
    #[error("helper {id}: {reason}")]
    Helper {
        /// The helper's number.
        id: i32,
        /// What it said.
        reason: Box<str>,
    },
    /// It ran as many instructions as it may.
    #[error("the budget of {0} instructions is used up")]
    Budget(u64),
}

/// An access to memory that a program may not touch so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{action} of {size} bytes at {address:#x}: {wrong}")]
pub struct BadAccess {
    /// What was attempted.
    pub action: Action,
    /// Where.
    pub address: u64,
    /// How many bytes.
    pub size: u32,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is done to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Action {
    /// It is read.
    #[error("load")]
    Load,
    /// It is written.
    #[error("store")]
    Store,
    /// It is read and written at once.
    #[error("atomic operation")]
    Atomic,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// The bytes are not all in one region.
    #[error("outside of the program's memory")]
    Outside,
    /// The region is not to be written.
    #[error("the memory is read only")]
    ReadOnly,
    /// An atomic operation needs an address that is a multiple of its size.
    #[error("misaligned")]
    Misaligned,
}
