//! Random programs of all kinds, and what the running kernel and our verifier say of them.
//!
//! A program is made from a seed and nothing else: [`generate::program`]. It lives in a [`World`] of
//! maps and types that are made once. Most programs are nearly right, since a verifier says most
//! about those; some are then spoilt by [`mutate::spoil`].

pub mod random;
pub mod op;
pub mod hook;
pub mod world;
pub mod sample;
pub mod generate;
pub mod mutate;
pub mod family;
pub mod agree;
#[cfg(target_os = "linux")]
pub mod judge;

pub use random::Random;
pub use sample::Sample;
pub use world::World;
