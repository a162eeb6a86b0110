//! The reference interpreter, for verified programs and for any program.
//!
#![doc = include_str!("../README.md")]

pub mod alu;
pub mod jump;
mod fault;
mod observe;
mod memory;
mod atomic;
mod ops;
mod machine;
mod call;
mod detour;
mod native;
mod plain;

pub use call::{Interp, PrepareError, PrepareErrorKind};
pub use detour::{Callee, Detour, Probe};
pub use fault::{Action, BadAccess, Fault, FaultKind, Wrong};
pub use memory::{Checked, Permission};
pub use native::{CALLED, JUMPED_TO};
pub use observe::{NoWitness, Step, Witness};
pub use plain::{HelperResult, Helpers, Limits, Plain};

#[cfg(test)]
mod tests;
