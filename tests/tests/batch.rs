//! Batches of packets: a program is entered once for all of them, and each packet is a run of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::atomic::{AtomicBool, Ordering};

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInit, MapInitValue, MapSpec, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ObjectSpec;
use bpf_runtime::{Error, Packet, Program, Redirect, Runtime};
use bpf_tests::places::engines;
use bpf_tests::text;

/// By the packet's first byte: 0 says how long the packet is; 1 makes it longer by eight bytes in front,
/// and marks them; 2 sends it to interface 7; 3 tail-calls for ever; others answer the byte.
const TEXT: &str = "
    r6 = r1
    r2 = *(u32 *)(r1 +4)
    r3 = *(u32 *)(r1 +0)
    r4 = r3
    r4 += 1
    r0 = 0
    if r4 > r2 goto out
    r5 = *(u8 *)(r3 +0)
    if r5 == 1 goto longer
    if r5 == 2 goto elsewhere
    if r5 == 3 goto again
    r0 = r5
    if r5 != 0 goto out
    r0 = r2
    r0 -= r3
    out: exit
    longer:
    r2 = -8
    call bpf_xdp_adjust_head
    r2 = *(u32 *)(r6 +4)
    r3 = *(u32 *)(r6 +0)
    r4 = r3
    r4 += 8
    r0 = 1
    if r4 > r2 goto out
    r4 = 0x5a
    *(u8 *)(r3 +7) = r4
    exit
    elsewhere:
    r1 = 7
    r2 = 0
    call bpf_redirect
    exit
    again:
    r1 = r6
    r2 = map[jumps] ll
    r3 = 0
    call bpf_tail_call
    r0 = 33
    exit";

fn object() -> ObjectSpec {
    let mut jumps = MapSpec::new("jumps", MapType::ProgArray, 4, 4, 1);
    let value = MapInitValue::Program("p".to_owned());
    jumps.init.push(MapInit { key: vec![0; 4], value });
    text::object(ProgType::Xdp, vec![jumps], &[("p", TEXT)]).unwrap()
}

/// The program, and one for packets of another kind.
fn programs(runtime: &Runtime) -> (bpf_runtime::Object, Program, Program) {
    let object = runtime.open(object()).load().unwrap();
    let other = text::object(ProgType::SchedCls, vec![], &[("tc", "r0 = 0\nexit")]).unwrap();
    let other = runtime.open(other).load().unwrap().program("tc").unwrap();
    let program = object.program("p").unwrap();
    (object, program, other)
}

/// Packets that begin so, each of another length.
fn packets(program: &Program, first: &[u8]) -> Vec<Packet> {
    let packet = |(n, byte): (usize, &u8)| {
        let mut bytes = vec![0; 64 + 10 * n];
        bytes[0] = *byte;
        program.packet(&bytes).unwrap()
    };
    first.iter().enumerate().map(packet).collect()
}

/// What is left of a packet after a run.
fn left(packet: &Packet) -> (Vec<u8>, Option<Redirect>, u32) {
    (packet.to_vec(), packet.redirect(), packet.tail_calls())
}

#[test]
fn a_batch_does_what_its_packets_do_one_by_one() {
    let first = [0, 1, 2, 3, 200, 0, 2, 1, 0, 3];
    for (engine, runtime) in engines() {
        let (_object, program, _) = programs(&runtime);
        let mut single = packets(&program, &first);
        let expected: Vec<u32> =
            single.iter_mut().map(|packet| program.run(packet).unwrap()).collect();
        assert_eq!(expected, [64, 1, 4, 33, 200, 114, 4, 1, 144, 33], "{engine}");

        let (mut batch, mut verdicts) = (packets(&program, &first), vec![77]);
        program.run_batch(&mut batch, &mut verdicts).unwrap();
        assert_eq!((verdicts[0], &verdicts[1..]), (77, expected.as_slice()), "{engine}");
        for (n, (one, other)) in single.iter().zip(&batch).enumerate() {
            assert_eq!(left(one), left(other), "{engine}: packet {n}");
        }
        let tail_calls: Vec<u32> = batch.iter().map(Packet::tail_calls).collect();
        assert_eq!(tail_calls, [0, 0, 0, 33, 0, 0, 0, 0, 0, 33], "{engine}");
        let interface = Some(Redirect::Interface { ifindex: 7, flags: 0 });
        let redirected: Vec<bool> =
            batch.iter().map(|packet| packet.redirect() == interface).collect();
        assert_eq!(redirected.iter().filter(|is| **is).count(), 2, "{engine}");
        assert_eq!((batch[1].len(), batch[1].to_vec()[7]), (64 + 10 + 8, 0x5a), "{engine}");

        // A packet may be in the next batch as it is.
        verdicts.clear();
        program.run_batch(&mut batch[4..6], &mut verdicts).unwrap();
        assert_eq!(verdicts, [200, 114], "{engine}");
    }
}

#[test]
fn an_empty_batch_is_nothing() {
    for (engine, runtime) in engines() {
        let (_object, program, _) = programs(&runtime);
        let mut verdicts = vec![5];
        program.run_batch(&mut [], &mut verdicts).unwrap();
        assert_eq!(verdicts, [5], "{engine}");
        // The CPU is free again: there is none that a later batch would wait for.
        program.run_batch(&mut packets(&program, &[9]), &mut verdicts).unwrap();
        assert_eq!(verdicts, [5, 9], "{engine}");
    }
}

#[test]
fn a_batch_stops_at_a_packet_of_another_kind() {
    for (engine, runtime) in engines() {
        let (_object, program, other) = programs(&runtime);
        let mut batch = packets(&program, &[0, 1, 1]);
        batch.insert(2, other.packet(&[0; 64]).unwrap());
        let mut verdicts = Vec::new();
        let error = program.run_batch(&mut batch, &mut verdicts).unwrap_err();
        assert!(matches!(error, Error::InBatch { at: 2, .. }), "{engine}: {error:?}");
        let said = "packets[2]: program \"p\" is of type xdp, and the packet is not for those";
        assert_eq!((error.to_string().as_str(), error.errno()), (said, Errno::EINVAL), "{engine}");
        assert_eq!(verdicts, [64, 1], "{engine}: those before it have run");
        assert_eq!(batch[1].len(), 82, "{engine}");
        assert_eq!(batch[3].len(), 84, "{engine}: that behind it has not");
        // What is left of the batch can be run when the packet is taken out.
        batch.remove(2);
        program.run_batch(&mut batch[2..], &mut verdicts).unwrap();
        assert_eq!((verdicts.as_slice(), batch[2].len()), (&[64, 1, 1][..], 92), "{engine}");
    }
}

#[test]
fn a_chain_changes_while_a_batch_runs_through_it() {
    // The first program counts in the packet's first byte how often it ran, and goes on to whatever is
    // in the slot: one of two programs, or none.
    const FIRST: &str = "
        r2 = *(u32 *)(r1 +4)
        r3 = *(u32 *)(r1 +0)
        r4 = r3
        r4 += 1
        if r4 > r2 goto out
        r5 = *(u8 *)(r3 +0)
        r5 += 1
        *(u8 *)(r3 +0) = r5
        r2 = map[jumps] ll
        r3 = 0
        call bpf_tail_call
        out: r0 = 3
        exit";
    // The others answer how long the packet is, and which of them they are.
    let other = |which: u32| {
        format!(
            "r0 = *(u32 *)(r1 +4)
             r3 = *(u32 *)(r1 +0)
             r0 -= r3
             r0 += {which}
             exit"
        )
    };
    let jumps = MapSpec::new("jumps", MapType::ProgArray, 4, 4, 1);
    let (one, two) = (other(1000), other(2000));
    let programs = [("first", FIRST), ("one", one.as_str()), ("two", two.as_str())];
    let spec = text::object(ProgType::Xdp, vec![jumps], &programs).unwrap();
    for (engine, runtime) in engines() {
        // In the background: the second half of the programs is compiled while batches run.
        let hold = runtime.hold_compiler();
        let object = runtime.open(spec.clone()).load().unwrap();
        let array = object.map("jumps").unwrap().prog_array().unwrap();
        let [first, one, two] = ["first", "one", "two"].map(|name| object.program(name).unwrap());
        let over = AtomicBool::new(false);
        let mut seen = [0_u64; 3];
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                let mut changes = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    array.set(0, &one).unwrap();
                    array.set(0, &two).unwrap();
                    array.delete(0).unwrap();
                    changes += 3;
                }
                changes
            });
            let mut batch = packets(&first, &[0; 40]);
            let mut verdicts = Vec::new();
            let mut rounds = 0_u64;
            while rounds < 200 || (seen.contains(&0) && rounds < 200_000) {
                if rounds == 100 {
                    first.settle();
                    two.settle();
                }
                verdicts.clear();
                first.run_batch(&mut batch, &mut verdicts).unwrap();
                rounds += 1;
                assert_eq!(verdicts.len(), batch.len(), "{engine}");
                for (n, (verdict, packet)) in verdicts.iter().zip(&batch).enumerate() {
                    let len = 64 + 10 * u32::try_from(n).unwrap();
                    let places = [3, 1000 + len, 2000 + len];
                    let place = places.iter().position(|place| place == verdict);
                    let place = place.unwrap_or_else(|| panic!("{engine}: {verdict} of {n}"));
                    seen[place] += 1;
                    assert_eq!(packet.tail_calls(), u32::from(place > 0), "{engine}");
                    assert_eq!(packet.to_vec()[0], rounds.to_le_bytes()[0], "{engine}");
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(changes.join().unwrap() > 0);
        });
        assert!(seen.iter().all(|count| *count > 0), "{engine}: {seen:?}");
        drop(hold);
    }
}

#[test]
fn a_batch_is_on_one_cpu_beside_other_batches() {
    // More threads than CPUs: each batch has a CPU of its own for as long as it takes.
    for (engine, runtime) in engines() {
        let (_object, program, _) = programs(&runtime);
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    let mut batch = packets(&program, &[0, 3, 200]);
                    let mut verdicts = Vec::new();
                    for _ in 0..200 {
                        verdicts.clear();
                        program.run_batch(&mut batch, &mut verdicts).unwrap();
                        assert_eq!(verdicts, [64, 33, 200], "{engine}");
                    }
                });
            }
        });
    }
}
