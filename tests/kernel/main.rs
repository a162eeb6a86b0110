//! Helpers, test runs and the example, compared with the running kernel.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod helpers;
mod kfuncs;
mod timers;
mod network;
mod example;
mod contexts;
mod prog_arrays;

use std::path::PathBuf;

use bpf_tests::kernel::KernelObject;
use bpfkit::prelude::*;

/// An object, loaded here by both engines and in the kernel.
struct Both {
    kernel: KernelObject,
    ours: Vec<Object>,
}

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Both {
    /// Loads these programs of an object everywhere; all if none is named.
    fn load(path: &str, programs: &[&str]) -> Self {
        let mut ours = Vec::new();
        let mut kernel = None;
        for engine in [EngineChoice::Interp, EngineChoice::Jit] {
            let cpus = u32::try_from(bpf_oracle::kernel::possible_cpus()).unwrap();
            let runtime = Runtime::builder().engine(engine).cpus(cpus).build().unwrap();
            let mut open = runtime.open_file(file(path)).unwrap();
            if !programs.is_empty() {
                open.choose(programs).unwrap();
            }
            if kernel.is_none() {
                kernel = Some(KernelObject::load(open.spec()).unwrap());
            }
            ours.push(open.load().unwrap());
        }
        Self { kernel: kernel.unwrap(), ours }
    }
}

/// The packets of a capture in pcap's older format, little-endian.
fn packets(path: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file(path)).unwrap();
    let mut packets = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let (packet, after) = after.split_at(len);
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}
