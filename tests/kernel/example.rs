//! The example on its capture: every verdict, every byte, every map.

use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{Both, packets};

#[test]
fn the_example_says_what_the_kernel_says_of_every_packet() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    // The kernel's runs then leave their traces in one CPU's values, like ours.
    let mut here = CpuSet::new();
    here.set(0);
    sched_setaffinity(None, &here).unwrap();
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
            let (ours, theirs) = (map.entries().unwrap(), both.kernel.map(name).unwrap());
            let theirs = theirs.entries().unwrap();
            if map.map_type() == MapType::ProgArray {
                let ours = slots(ours, |id| {
                    Some(object.programs().iter().find(|p| p.id().0 == id)?.name())
                });
                let theirs = slots(theirs, |id| both.kernel.program_name(id));
                assert!(!ours.is_empty());
                assert_eq!(ours, theirs, "map {name}");
                continue;
            }
            let sort = |entries: Vec<(Vec<u8>, Vec<u8>)>| {
                let total = |(key, value): (Vec<u8>, Vec<u8>)| (key, sum(map, &value));
                let mut entries: Vec<_> = entries.into_iter().map(total).collect();
                entries.sort();
                entries
            };
            assert_eq!(sort(ours), sort(theirs), "map {name}");
        }
    }
}

/// Which slots of a program array hold which programs.
fn slots<'a>(
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    name: impl Fn(u32) -> Option<&'a str>,
) -> Vec<(Vec<u8>, String)> {
    let number = |value: &[u8]| u32::from_le_bytes(value.try_into().unwrap());
    let named = |value: &[u8]| name(number(value)).expect("a program of the object").to_owned();
    entries.into_iter().map(|(key, value)| (key, named(&value))).collect()
}

/// Values of all CPUs, added up: only one was run on.
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
