//! The words and contracts that the parts of a BPF system share.
#![doc = include_str!("../README.md")]

mod numbered;
pub mod errno;
pub mod id;
pub mod limits;
pub mod prog;
pub mod map;
pub mod helper;
pub mod kfunc;
pub mod ctx;
pub mod attach;
pub mod spec;
pub mod image;
pub mod exec;

pub use errno::Errno;
