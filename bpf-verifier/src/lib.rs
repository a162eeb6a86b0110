#![doc = include_str!("../README.md")]
//!
//! # A map of the house
//!
//! ```text
//!   pipeline ── program   known before any path is walked
//!      │        walk      from path to path: branches, kept states, precision, loops
//!      │         └ step   what each instruction does
//!      │            ├ memory   may these bytes be touched?
//!      │            └ call     contracts at call sites
//!      │        fixup     from accepted program to Image
//!      └─ env, cx         what they share
//!         state, scalar   what is known at one point of one path
//!         log             the record, in the kernel's words
//! ```

pub mod host;
mod facts;
pub mod described;
mod options;
mod refusals;
mod told;
pub mod error;
pub mod env;
pub mod trace;
mod pipeline;
pub mod attach;
pub mod cx;
pub mod program;
pub mod scalar;
pub mod state;
pub mod walk;
pub mod step;
pub mod memory;
pub mod call;
pub mod fixup;
pub mod log;

use bpf_abi::image::Image;
use bpf_abi::spec::ProgramSpec;

pub use error::{Place, Reason, Refusal, Rejection};
pub use options::{Cancel, LogOptions, Options};
pub use told::Told;

use host::{Host, ProgramFacts};

/// Judges a program: whether it can do no harm in this world, and what it becomes.
///
/// The same program in the same world gets the same verdict, log and statistics every time.
pub fn verify(spec: &ProgramSpec, host: &dyn Host, options: &Options) -> Verdict {
    pipeline::verify(spec, host, options)
}

/// Judges a program without making anything of it: the host need not have the code of helpers.
pub fn check(spec: &ProgramSpec, host: &dyn Host, options: &Options) -> Checked {
    pipeline::check(spec, host, options)
}

/// What came of judging a program.
#[derive(Debug)]
pub struct Verdict {
    /// The program, ready to run, or why it is refused.
    pub result: Result<Image, Rejection>,
    /// The log, as the kernel writes it.
    pub log: String,
    /// The size in bytes that would have held the whole log, the final zero included.
    pub log_size: usize,
    /// Whether the log did not fit the size that was asked for.
    pub log_truncated: bool,
    /// What was counted.
    pub stats: Stats,
    /// If it was accepted: the program, as others see it that are to attach to it.
    pub facts: Option<ProgramFacts>,
}

/// What came of judging a program that nobody wants to run.
#[derive(Debug)]
pub struct Checked {
    /// Whether it is accepted, or why it is refused.
    pub result: Result<(), Rejection>,
    /// The log, as the kernel writes it.
    pub log: String,
    /// The size in bytes that would have held the whole log, the final zero included.
    pub log_size: usize,
    /// Whether the log did not fit the size that was asked for.
    pub log_truncated: bool,
    /// What was counted.
    pub stats: Stats,
    /// If it was accepted: the program, as others see it that are to attach to it.
    pub facts: Option<ProgramFacts>,
}

/// What was counted while a program was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions walked.
    pub insns_processed: u32,
    /// The most states kept at one instruction.
    pub max_states_per_insn: u32,
    /// States kept, ever.
    pub total_states: u32,
    /// The most states alive at one time.
    pub peak_states: u32,
    /// The most bytes that states kept and branches put aside took at one time.
    pub peak_state_bytes: usize,
    /// How many slots the program has after the kernel's rewriting; 0 if it was refused.
    /// Linux: `xlated_prog_len`.
    pub xlated_insns: u32,
    /// How much stack each function uses, in bytes.
    pub stack_depths: Vec<u32>,
}

#[cfg(test)]
mod testing;
