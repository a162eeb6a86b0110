//! The Linux BPF verifier: its verdicts, its words, its counts.

pub mod host;
pub mod described;
mod options;
pub mod error;
pub mod env;
pub mod attach;
pub mod cx;
pub mod program;
pub mod scalar;
pub mod state;
pub mod walk;
pub mod log;
pub mod fixup;

pub use error::{Place, Reason, Refusal, Rejection};
pub use options::{Cancel, LogOptions, Options};
