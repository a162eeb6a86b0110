//! The Linux BPF verifier: its verdicts, its words, its counts.

pub mod host;
pub mod described;
mod options;
mod refusals;
pub mod error;
pub mod env;
pub mod attach;
pub mod cx;
pub mod program;
pub mod scalar;
pub mod state;
pub mod walk;
pub mod step;
pub mod memory;
pub mod call;
pub mod log;
pub mod fixup;

pub use error::{Place, Reason, Refusal, Rejection};
pub use options::{Cancel, LogOptions, Options};

#[cfg(test)]
mod testing;
