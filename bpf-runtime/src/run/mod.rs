//! Running programs by hand: one packet at a time, or as a test run.

mod context;
mod packet;
mod test_run;

pub use packet::{Packet, Runner};
pub use test_run::{TestRun, TestRunOutput};
