//! What programs attach to in the kernel, as far as its types do not say it.
//!
//! The types tell a function's arguments; these tables tell which functions are hooks, which of
//! them may sleep, which pointers may be null. Names are facts of Linux 6.18.

pub mod tracepoint;
pub mod iter;
pub mod lsm;
pub mod function;
pub mod struct_ops;
