//! bpf-jit
