//! The Linux BPF verifier: its verdicts, its words, its counts.

pub mod host;
