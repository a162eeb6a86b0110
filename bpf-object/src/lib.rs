//! bpf-object
