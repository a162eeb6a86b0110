//! Types as text: one line a type, JSON, or C.
//!
//! The three are what `bpftool btf dump` prints with `format raw`, `--json` and `format c`.

mod raw;
mod c;
mod declare;

pub use c::{CStyle, DumpError, c};
pub use raw::{json, raw};
