//! Raw documents and reports; and the running kernel, asked about them.
#![doc = include_str!("../README.md")]

pub mod document;
pub mod hex;
pub mod report;
pub mod facts;
#[cfg(target_os = "linux")]
pub mod judge;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(target_os = "linux")]
mod sys;
