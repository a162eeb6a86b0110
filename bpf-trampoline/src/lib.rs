//! Programs on functions of other programs: extensions, probes, and their exclusion.
//!
#![doc = include_str!("../README.md")]

mod error;
mod chain;
mod occupancy;
mod gate;
mod switch;
mod target;
#[cfg(not(loom))]
mod jit_slot;
#[cfg(not(loom))]
mod interp_slot;
mod sync;

pub use chain::{Chain, MAX_PROBES, ProbeKind};
pub use error::{AttachError, Refusal, ThunkError};
pub use gate::{Extension, Membership, ProgramGate};
#[cfg(not(loom))]
pub use interp_slot::{InterpProbes, InterpSlot};
#[cfg(not(loom))]
pub use jit_slot::{JitProbes, JitSlot};
pub use occupancy::Occupancy;
pub use switch::{Code, GracePeriods, SlotWriter};
pub use target::{Attachment, Probe, Target, ThunkBuilder};

#[cfg(all(test, loom))]
mod models;
