//! bpf-runtime
