//! The example on its capture: every verdict, every byte, every map.

use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::{Both, packets};

#[test]
fn the_example_says_what_the_kernel_says_of_every_packet() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let both = Both::load("examples/dispatch.bpf.o", &[]);
    assert!(both.kernel.refused.is_empty(), "{:?}", both.kernel.refused);
    let theirs = both.kernel.program("dispatch").unwrap();
    let packets = packets("examples/mixed.pcap");
    assert!(packets.len() >= 2000);
    for object in &both.ours {
        assert_eq!(object.program("dispatch").unwrap().info().tag.0, theirs.info().unwrap().tag);
    }
    let ours: Vec<Program> =
        both.ours.iter().map(|object| object.program("dispatch").unwrap()).collect();
    for (number, packet) in packets.iter().enumerate() {
        let run = linux::TestRun {
            data: Some(packet),
            repeat: 1,
            room: packet.len() + 4096,
            ..linux::TestRun::default()
        };
        let expected = theirs.test_run(&run).unwrap();
        for program in &ours {
            let out = program.test_run(&TestRun::packet(packet)).unwrap();
            assert_eq!(out.return_value, expected.retval, "packet {number}");
            assert_eq!(out.data, expected.data, "packet {number}");
        }
    }
    for object in &both.ours {
        for (name, map) in object.maps() {
            if map.map_type() == MapType::ProgArray {
                continue;
            }
            let sort = |entries: Vec<(Vec<u8>, Vec<u8>)>| {
                let total = |(key, value): (Vec<u8>, Vec<u8>)| (key, sum(map, &value));
                let mut entries: Vec<_> = entries.into_iter().map(total).collect();
                entries.sort();
                entries
            };
            let ours = sort(map.entries().unwrap());
            let entries = both.kernel.map(name).unwrap().entries().unwrap();
            let theirs = sort(entries);
            if name != "scratch" {
                assert_eq!(ours, theirs, "map {name}");
            }
        }
    }
}

/// Values of all CPUs, added up, since the kernel moves threads between them.
fn sum(map: &Map, value: &[u8]) -> Vec<u8> {
    if map.map_type() != MapType::PercpuArray {
        return value.to_vec();
    }
    let size = map.info().value_size as usize;
    let mut sums = vec![0_u64; size / 8];
    for chunk in value.chunks(size.next_multiple_of(8)) {
        for (sum, word) in sums.iter_mut().zip(chunk.chunks_exact(8)) {
            *sum += u64::from_le_bytes(word.try_into().unwrap());
        }
    }
    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}
