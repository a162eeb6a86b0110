//! The example object, end to end: from ELF to verdicts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use bpfkit::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn load(engine: EngineChoice) -> Object {
    let runtime = Runtime::builder().engine(engine).cpus(2).seed(1).count(true).build().unwrap();
    let open = runtime.open_file(root().join("examples/dispatch.bpf.o")).unwrap();
    open.load().unwrap()
}

/// The packets of the example's capture.
fn packets() -> Vec<Vec<u8>> {
    let bytes = std::fs::read(root().join("examples/mixed.pcap")).unwrap();
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

/// What a program counted of a kind of packets.
fn counted(object: &Object, bucket: u32) -> (u64, u64) {
    let counters = object.map("counters").unwrap().percpu_array::<Counter>().unwrap();
    let values = counters.get(bucket).unwrap();
    (values.iter().map(|one| one.packets).sum(), values.iter().map(|one| one.bytes).sum())
}

bpfkit::plain! {
    struct Counter {
        packets: u64,
        bytes: u64,
    }
}

#[test]
fn both_engines_agree_on_every_packet_and_count_alike() {
    let objects = [EngineChoice::Interp, EngineChoice::Jit].map(load);
    let [interp, jit] = objects.each_ref().map(|object| object.program("dispatch").unwrap());
    let packets = packets();
    let (mut left, mut right) =
        (interp.packet(&packets[0]).unwrap(), jit.packet(&packets[0]).unwrap());
    for (number, bytes) in packets.iter().enumerate() {
        left.set(bytes).unwrap();
        right.set(bytes).unwrap();
        let verdict = interp.run(&mut left).unwrap();
        assert_eq!(jit.run(&mut right).unwrap(), verdict, "packet {number}");
        assert_eq!(left.to_vec(), right.to_vec(), "packet {number}");
        assert_eq!(left.tail_calls(), right.tail_calls(), "packet {number}");
    }
    let [interp, jit] = objects.each_ref();
    for (left, right) in interp.programs().iter().zip(jit.programs()) {
        assert_eq!(left.counters(), right.counters(), "{}", left.name());
    }
    for ((name, left), (_, right)) in interp.maps().zip(jit.maps()) {
        let sort = |map: &Map| {
            let mut entries = map.entries().unwrap();
            entries.sort();
            entries
        };
        if left.map_type() != MapType::ProgArray {
            assert_eq!(sort(left), sort(right), "map {name}");
        }
    }
    let all = interp.program("dispatch").unwrap().counters().unwrap();
    assert_eq!(all.runs, packets.len() as u64);
    assert!(all.tail_calls > 1000 && all.fallen_through > 0);
}

#[test]
fn a_slot_that_is_emptied_falls_through_at_once() {
    const TCP: u32 = 1;
    let object = load(EngineChoice::Auto);
    let entry = object.program("dispatch").unwrap();
    let is_tcp = |bytes: &&Vec<u8>| bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&6);
    let packets = packets();
    let tcp = packets.iter().find(is_tcp).unwrap();
    let mut packet = entry.packet(tcp).unwrap();
    entry.run(&mut packet).unwrap();
    assert!(packet.tail_calls() >= 1);
    let before = counted(&object, TCP);

    let slots = object.map("protocols").unwrap().prog_array().unwrap();
    let parser = slots.get(object.runtime(), 6).unwrap();
    assert_eq!(parser.name(), "parse_tcp");
    slots.delete(6).unwrap();
    packet.set(tcp).unwrap();
    entry.run(&mut packet).unwrap();
    assert_eq!(packet.tail_calls(), 0);
    assert_eq!(counted(&object, TCP), before);

    slots.set(6, &parser).unwrap();
    packet.set(tcp).unwrap();
    entry.run(&mut packet).unwrap();
    assert!(packet.tail_calls() >= 1);
}

#[test]
fn the_last_handle_of_a_program_array_empties_it() {
    let object = load(EngineChoice::Auto);
    let entry = object.program("dispatch").unwrap();
    let runtime = object.runtime().clone();
    let id = object.map("protocols").unwrap().id();
    assert!(object.map("protocols").unwrap().prog_array().unwrap().get(&runtime, 6).is_some());
    drop(object);
    let again = runtime.map(id).unwrap();
    assert!(again.prog_array().unwrap().get(&runtime, 6).is_none());
    drop((entry, again));
    assert!(runtime.map(id).is_none());
    assert!(runtime.programs().is_empty());
}

#[test]
fn constants_are_set_by_type_before_an_object_is_loaded() {
    let runtime = Runtime::new().unwrap();
    let mut open = runtime.open_file(root().join("examples/dispatch.bpf.o")).unwrap();
    assert!(open.set_global("no_such_variable", &1_u8).is_err());
    assert!(open.set_global("drop_protocol", &1_u64).is_err());
    open.set_global_text("drop_protocol", "17").unwrap();
    let object = open.load().unwrap();
    let entry = object.program("dispatch").unwrap();
    let is_udp =
        |bytes: &&Vec<u8>| bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&17);
    let packets = packets();
    let udp = packets.iter().find(is_udp).unwrap();
    assert_eq!(entry.test_run(&TestRun::packet(udp)).unwrap().return_value, XDP_DROP);
}

#[test]
fn maps_show_their_entries_by_the_names_of_their_types() {
    let object = load(EngineChoice::Auto);
    let entry = object.program("dispatch").unwrap();
    for packet in packets().iter().take(100) {
        entry.test_run(&TestRun::packet(packet)).unwrap();
    }
    let flows = object.map("flows").unwrap().dump().unwrap();
    assert!(!flows.is_empty());
    for flow in &flows {
        assert!(flow.key.member("source_port").and_then(Data::number).is_some());
        assert!(flow.values[0].member("packets").and_then(Data::number).unwrap() > 0);
    }
    let counters = object.map("counters").unwrap().dump().unwrap();
    assert_eq!(counters[0].values.len(), 2);
    assert!(counters[0].values[0].to_json().starts_with("{\"packets\":"));
}

#[test]
fn a_batch_is_judged_as_its_packets_are_one_by_one() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let (one, many) = (load(engine), load(engine));
        let (one, many) = (one.program("dispatch").unwrap(), many.program("dispatch").unwrap());
        let single = |bytes: &Vec<u8>| one.run(&mut one.packet(bytes).unwrap()).unwrap();
        let expected: Vec<u32> = packets().iter().map(single).collect();
        let mut batch: Vec<Packet> =
            packets().iter().map(|bytes| many.packet(bytes).unwrap()).collect();
        let mut verdicts = Vec::new();
        many.run_batch(&mut batch, &mut verdicts).unwrap();
        assert_eq!(verdicts, expected);
        assert!(verdicts.contains(&XDP_DROP) && verdicts.contains(&XDP_PASS));
    }
}
