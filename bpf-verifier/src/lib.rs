//! The Linux BPF verifier: its verdicts, its words, its counts.

pub mod host;
mod options;
mod error;
mod env;
mod cx;
pub mod scalar;
mod state;
mod walk;
mod log;

pub use error::{Place, Reason, Refusal, Rejection};
pub use options::{Cancel, LogOptions, Options};
