//! bpf-btf
