//! bpf-abi
