//! From an accepted program to an [`Image`](bpf_abi::image::Image).
//!
//! In two steps, since a program is accepted or not whoever wants to run it:
//!
//! 1. [`finish`] does what still counts for the verdict and the statistics: spills that turned
//!    out to be superfluous go, the depth of the stack is checked, rewriting takes its share of it.
//! 2. [`image`] rewrites: instructions that no path reached go, and with them branches that never
//!    go one way; context fields become the host's; maps and helpers are bound; what the walk
//!    learnt is noted.
//!
//! Every instruction stands for itself afterwards: nothing is expanded. What a rewrite needs to
//! know of a path is in the notes that the walk left, and those hold for all paths.

mod code;
mod dead;
mod context;
mod bind;
mod arity;
mod divisors;
mod notes;
mod stack;
mod xlated;
mod image;

pub use bind::BindError;
pub use image::image;
pub use stack::finish;
pub use xlated::slots as xlated_slots;

#[cfg(test)]
mod tests;
