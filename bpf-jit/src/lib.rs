#![doc = include_str!("../README.md")]

mod error;
mod fault;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod jit;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod layout;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod choice;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod origin;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod inline;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod lower;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod combine;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod abi;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod input;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod symbol;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unplaced;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod key;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod cache;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod code;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod slot;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod thunk;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod finish;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod saves;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod loops;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tally;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod listing;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod checked;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod absent;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use crate::{
    abi::NATIVE,
    cache::{CacheStats, CodeCache},
    checked::CheckedProgram,
    jit::{Compiled, Jit, JitOptions, SlotMode},
    slot::{EntrySlot, SlotState},
    thunk::{Callee, Probe, Probed, Thunk},
};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub use crate::absent::{
    CacheStats, Callee, CheckedProgram, CodeCache, Compiled, EntrySlot, Jit, JitOptions, NATIVE,
    Probe, Probed, SlotMode, SlotState, Thunk,
};

pub use crate::error::{CacheError, CompileError};
pub use crate::fault::{Fault, FaultKind};

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;
