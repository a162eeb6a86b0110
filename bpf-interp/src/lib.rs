//! bpf-interp
