//! bpf-maps
