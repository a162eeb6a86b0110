//! The command `bpfkit`.
fn main() {}
