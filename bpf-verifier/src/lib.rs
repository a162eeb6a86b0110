//! bpf-verifier
