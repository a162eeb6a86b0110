//! The example on its capture, without asking anybody: both engines agree on every packet and every
//! map, every packet is counted, and every program has its part. (`tests/kernel` asks the kernel.)

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;

use bpf_runtime::{EngineChoice, Object, Runtime, TestRun};
use bpf_tests::corpus;
use bpf_tests::places::Contents;

/// How many packets the capture has.
const PACKETS: u64 = 2796;

/// What one engine makes of the capture.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdicts: Vec<u32>,
    packets: Vec<Vec<u8>>,
    maps: BTreeMap<String, Contents>,
    /// Runs, tail calls taken, tail calls fallen through.
    programs: BTreeMap<String, (u64, u64, u64)>,
}

fn outcome(engine: EngineChoice) -> Outcome {
    let bytes = std::fs::read(corpus::file("examples/dispatch.bpf.o")).unwrap();
    let spec = bpf_object::read(&bytes, "dispatch").unwrap();
    let names: Vec<String> = spec.programs.iter().map(|program| program.name.clone()).collect();
    let runtime = Runtime::builder().engine(engine).cpus(1).count(true).build().unwrap();
    let object: Object = runtime.open(spec).load().unwrap();
    let dispatch = object.program("dispatch").unwrap();
    let (mut verdicts, mut packets) = (Vec::new(), Vec::new());
    for packet in corpus::capture() {
        let out = dispatch.test_run(&TestRun::packet(&packet)).unwrap();
        verdicts.push(out.return_value);
        packets.push(out.data);
    }
    let maps = ["counters", "flows", "scratch", ".bss", ".rodata"].map(|name| {
        let mut entries = object.map(name).unwrap().entries().unwrap();
        entries.sort();
        (name.to_owned(), entries)
    });
    let programs = names.into_iter().map(|name| {
        let counters = object.program(&name).unwrap().counters().unwrap();
        (name, (counters.runs, counters.tail_calls, counters.fallen_through))
    });
    Outcome { verdicts, packets, maps: maps.into(), programs: programs.collect() }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn both_engines_agree_on_every_packet_and_every_packet_is_counted() {
    let one = outcome(EngineChoice::Interp);
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let other = outcome(EngineChoice::Jit);
        for (n, verdict) in one.verdicts.iter().enumerate() {
            assert_eq!(*verdict, other.verdicts[n], "packet {n}");
            assert_eq!(one.packets[n], other.packets[n], "packet {n}");
        }
        assert_eq!(one.maps, other.maps);
        assert_eq!(one.programs, other.programs);
    }

    let capture = corpus::capture();
    let bytes: usize = capture.iter().map(Vec::len).sum();
    assert_eq!(one.verdicts.len() as u64, PACKETS);
    // `.bss` holds the total of packets and that of bytes; the buckets add up to the same.
    let bss = &one.maps[".bss"][0].1;
    assert_eq!([word(bss, 0), word(bss, 8)], [PACKETS, bytes as u64]);
    let buckets = &one.maps["counters"];
    let sum = |at| buckets.iter().map(|(_, value)| word(value, at)).sum::<u64>();
    assert_eq!([sum(0), sum(8)], [PACKETS, bytes as u64]);
    // ICMP is dropped, and web traffic is marked.
    let dropped = one.verdicts.iter().filter(|verdict| **verdict == 1).count();
    let marked = capture.iter().zip(&one.packets).filter(|(before, after)| before != after).count();
    assert!(dropped > 10 && marked > 100, "{dropped} dropped, {marked} marked");
}

#[test]
fn every_program_has_its_part_in_it() {
    let programs = outcome(EngineChoice::Interp).programs;
    assert_eq!(programs.len(), 7);
    assert!(programs.values().all(|(runs, ..)| *runs > 0), "{programs:?}");
    let (runs, taken, fallen) = programs["dispatch"];
    assert_eq!(runs, PACKETS);
    assert!(taken > 0 && fallen > 0 && taken + fallen < runs, "{programs:?}");
    let parsers = ["parse_tcp", "parse_udp", "parse_icmp", "parse_icmp6"];
    assert_eq!(taken, parsers.iter().map(|name| programs[*name].0).sum::<u64>());
    let (tcp, udp) = (programs["parse_tcp"].1, programs["parse_udp"].1);
    assert_eq!(tcp + udp, programs["http"].0 + programs["dns"].0);
}
