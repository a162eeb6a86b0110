//! What can go wrong between instructions.

use bpf_abi::errno::Errno;
use bpf_isa::{Pc, Reg};
use thiserror::Error;

use crate::error::Refusal;
use crate::told::told;

/// Why a walk was given up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A register was read before anything was written to it.
    #[error("{reg} !read_ok")]
    Unreadable {
        /// The register.
        reg: Reg,
    },

    /// The frame pointer was written to.
    #[error("frame pointer is read only")]
    FramePointerWritten,

    /// A path left the program.
    #[error("invalid insn idx {pc} insn_cnt {len}")]
    OutOfProgram {
        /// Where it went.
        pc: Pc,
        /// How many slots the program has.
        len: usize,
    },

    /// More instructions were walked than a program may have walked.
    #[error("BPF program is too large. Processed {processed} insn")]
    TooManyInsns {
        /// How many.
        processed: u32,
    },

    /// More branches are waiting than may wait.
    #[error("The sequence of {jumps} jumps is too complex.")]
    TooManyBranches {
        /// How many wait.
        jumps: usize,
    },

    /// More branches are waiting than may wait, the last the next round of a loop.
    #[error("The sequence of {jumps} jumps is too complex.")]
    TooManyRounds {
        /// How many wait.
        jumps: usize,
    },

    /// More branches are waiting than may wait, the last a function called at another time.
    #[error("The sequence of {jumps} jumps is too complex for async cb.")]
    TooManyAsync {
        /// How many wait.
        jumps: usize,
    },

    /// A loop came back to a state that it had been in.
    #[error("infinite loop detected at insn {pc}\ncur state:{cur}\nold state:{old}")]
    InfiniteLoop {
        /// Where.
        pc: Pc,
        /// The state it came back with.
        cur: String,
        /// The state it had been in.
        old: String,
    },

    /// More functions called each other than may.
    #[error("the call stack of {frames} frames is too deep")]
    TooManyFrames {
        /// How many.
        frames: usize,
    },

    /// The verifier itself is wrong.
    #[error("verifier bug: {what}")]
    Bug {
        /// About what.
        what: &'static str,
    },
    /// The same, about a component of loops.
    #[error("verifier bug: {what}: no visit info for call chain {chain}")]
    NoVisit {
        /// About what.
        what: &'static str,
        /// The calls that led to it, and its number.
        chain: String,
    },

    /// What is known at different points takes more memory than the caller allows.
    #[error("states take more than {most} bytes")]
    TooMuchMemory {
        /// How much it allows.
        most: usize,
    },

    /// The caller of the verifier set its flag.
    #[error("verification was cancelled")]
    Cancelled,
}

impl Refusal for WalkError {
    fn errno(&self) -> Errno {
        match self {
            Self::Unreadable { .. } | Self::FramePointerWritten => Errno::EACCES,
            Self::TooManyRounds { .. } => Errno::ENOMEM,
            Self::OutOfProgram { .. }
            | Self::TooManyBranches { .. }
            | Self::TooManyAsync { .. }
            | Self::Bug { .. }
            | Self::NoVisit { .. } => Errno::EFAULT,
            Self::TooManyInsns { .. } | Self::TooManyFrames { .. } => Errno::E2BIG,
            Self::InfiniteLoop { .. } => Errno::EINVAL,
            Self::TooMuchMemory { .. } => Errno::ENOMEM,
            Self::Cancelled => Errno::EAGAIN,
        }
    }

    told! {
        Unreadable { reg },
        FramePointerWritten,
        OutOfProgram { pc, len },
        TooManyInsns { processed },
        TooManyBranches { jumps },
        TooManyRounds { jumps },
        TooManyAsync { jumps },
        InfiniteLoop { pc, cur, old },
        TooManyFrames { frames },
        Bug { what },
        NoVisit { what, chain },
        TooMuchMemory { most },
        Cancelled,
    }
}
