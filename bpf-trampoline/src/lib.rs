//! Programs on functions of other programs: extensions, probes, and their exclusion.
//!
#![doc = include_str!("../README.md")]

mod error;
mod chain;
mod occupancy;
mod gate;
mod switch;
mod target;
mod jit_slot;
mod interp_slot;

pub use chain::{Chain, MAX_PROBES, ProbeKind};
pub use error::{AttachError, Refusal, ThunkError};
pub use gate::{Extension, Membership, ProgramGate};
pub use interp_slot::{InterpProbes, InterpSlot};
pub use jit_slot::{JitProbes, JitSlot};
pub use occupancy::Occupancy;
pub use switch::{Code, GracePeriods, SlotWriter};
pub use target::{Attachment, Probe, Target, ThunkBuilder};
