//! BPF maps: shared memory that programs and the host use at once.
//!
#![doc = include_str!("../README.md")]

mod sync;
mod barrier;
pub mod cpu;
pub mod reclaim;
mod bytes;
mod percpu;
mod special;
mod error;
mod shape;
mod world;
mod map;
pub mod host;
mod handle;
mod slab;
mod mirror;
pub mod types;
#[cfg(all(test, loom))]
mod models;

pub use bytes::SharedBytes;
pub use cpu::{CpuId, Cpus};
pub use error::MapError;
pub use handle::MapHandle;
pub use host::Host;
pub use map::{Go, HostHandle, Map};
pub use shape::{MapCore, MapShape};
pub use special::{Fields, ValueFields};
pub use types::{create, create_with, create_with_fields};
pub use world::World;
