//! bpf-trampoline
