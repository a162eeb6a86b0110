//! Families of programs, run in every place that runs programs; what came of it, side by side.

mod account;
mod places;
mod ours;
#[cfg(target_os = "linux")]
mod kernel;
pub mod report;
mod tally;

pub use account::{Account, Contents, Ran};
#[cfg(target_os = "linux")]
pub use kernel::Kernel;
pub use ours::{Accepted, Engines, Refusal};
pub use tally::{Difference, Tally};

use crate::family::Family;

/// A place besides our engines that runs families.
pub type Place<'a> = dyn Fn(&Family) -> Result<Account, String> + 'a;
