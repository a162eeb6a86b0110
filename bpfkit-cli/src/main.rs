//! The command `bpfkit`.
mod pcap;
fn main() {}
