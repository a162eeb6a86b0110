//! Lookups in hash maps of all types, which compiled code begins itself: what they find is what is there,
//! whatever size the key has and wherever it lies, and while others change the map.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::ProgType;
use bpf_fuzz::random::Random;
use bpf_runtime::{EngineChoice, Object, Program, Runtime};
use bpf_tests::text;

/// How many entries a map holds: so few that most buckets have several.
const ENTRIES: u32 = 8;

/// What comes back for a key that is not there.
const NONE: u32 = 4_000_000;

/// Where a program has the key, and how it asks whether it was found.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In its frame, written byte by byte; asks at once.
    Bytes,
    /// In its frame, written as it is read from the packet, in words; asks a copy.
    Words,
    /// In the packet.
    Packet,
}

/// Where in the frame the key is.
const KEY: u32 = 80;

/// How many bytes the packets have.
const PACKET: usize = 96;

/// The types of maps that have keys of any size.
const TYPES: [MapType; 4] =
    [MapType::Hash, MapType::LruHash, MapType::PercpuHash, MapType::LruPercpuHash];

/// How many CPUs there are.
const CPUS: u32 = 3;

/// What is added to a value for each CPU.
const APART: u32 = 1_000_000;

/// A runtime of each engine.
fn runtimes() -> Vec<Runtime> {
    let build = |engine, optimize| {
        let builder = Runtime::builder().engine(engine).optimize(optimize);
        builder.cpus(CPUS).build().ok()
    };
    let engines =
        [(EngineChoice::Jit, true), (EngineChoice::Jit, false), (EngineChoice::Interp, true)];
    engines.into_iter().filter_map(|(engine, optimize)| build(engine, optimize)).collect()
}

/// A program that looks up the key of `size` bytes that the packet begins with.
fn lookup(size: u32, way: Way) -> String {
    let mut text = String::from(
        "r6 = *(u32 *)(r1 +0)
         r7 = *(u32 *)(r1 +4)
         r2 = r6
         r2 += 80
         if r2 > r7 goto none\n",
    );
    let in_words = matches!(way, Way::Words) && size.is_multiple_of(4);
    let (piece, ty) = if in_words { (4, "u32") } else { (1, "u8") };
    for at in (0..size).step_by(piece) {
        let from_frame = KEY - at;
        writeln!(text, "r3 = *({ty} *)(r6 +{at})\n*({ty} *)(r10 -{from_frame}) = r3").unwrap();
    }
    text.push_str(&match way {
        Way::Bytes | Way::Words => format!("r2 = r10\nr2 += -{KEY}\n"),
        Way::Packet => "r2 = r6\n".to_owned(),
    });
    text.push_str("r1 = map[table] ll\ncall bpf_map_lookup_elem\n");
    text.push_str(match way {
        Way::Bytes | Way::Packet => "if r0 == 0 goto none\n",
        Way::Words => "r8 = r0\nr7 = 1\nif r8 == 0 goto none\nr0 = r8\n",
    });
    write!(text, "r0 = *(u32 *)(r0 +0)\nexit\nnone: r0 = {NONE}\nexit").unwrap();
    text
}

/// A table of keys of this size, and programs that look at it.
fn object(runtime: &Runtime, map_type: MapType, size: u32, entries: u32) -> Object {
    let maps = vec![MapSpec::new("table", map_type, size, 12, entries)];
    let ways = [Way::Bytes, Way::Words, Way::Packet];
    let programs: Vec<_> =
        ways.iter().map(|way| (format!("{way:?}"), lookup(size, *way))).collect();
    let programs: Vec<_> =
        programs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    runtime.open(text::object(ProgType::Xdp, maps, &programs).unwrap()).load().unwrap()
}

/// A value as the host sets it: of each CPU, if each has its own.
fn value(map_type: MapType, n: u32) -> Vec<u8> {
    let one = |n: u32| [n.to_le_bytes(), [0; 4], [7; 4]].concat();
    if has_one_for_each_cpu(map_type) {
        return (0..CPUS).flat_map(|cpu| [one(n + cpu * APART), vec![0; 4]].concat()).collect();
    }
    one(n)
}

fn has_one_for_each_cpu(map_type: MapType) -> bool {
    matches!(map_type, MapType::PercpuHash | MapType::LruPercpuHash)
}

/// What a program on this CPU finds in the value that the host sees.
fn seen(map_type: MapType, value: &[u8], cpu: u32) -> u32 {
    let at = if has_one_for_each_cpu(map_type) { cpu as usize * 16 } else { 0 };
    u32::from_le_bytes(*value[at..].first_chunk().unwrap())
}

/// Runs the program on a packet that begins with this key; also says on which CPU.
fn found(program: &Program, key: &[u8]) -> (u32, u32) {
    let mut bytes = [0xa5; PACKET];
    bytes[..key.len()].copy_from_slice(key);
    let runner = program.runner();
    (runner.run(&mut program.packet(&bytes).unwrap()).unwrap(), runner.cpu())
}

#[test]
fn keys_of_all_sizes_are_found_as_long_as_they_are_there() {
    for (runtime, map_type) in runtimes().iter().flat_map(|runtime| TYPES.map(|ty| (runtime, ty))) {
        for size in (1..=17).chain([24, 31, 32, 40, 63, 64, 65]) {
            let object = object(runtime, map_type, size, ENTRIES);
            // Another CPU than the first is found for the programs.
            let held = object.programs()[0].runner();
            thread::scope(|scope| {
                scope.spawn(|| finds_what_is_there(&object, map_type, size));
            });
            drop(held);
        }
    }
}

/// Changes the map at random, and looks for what is there and what is not.
fn finds_what_is_there(object: &Object, map_type: MapType, size: u32) {
    let makes_room = matches!(map_type, MapType::LruHash | MapType::LruPercpuHash);
    let table = object.map("table").unwrap();
    let mut random = Random::new(u64::from(size));
    let mut model = BTreeMap::new();
    for step in 0..60_u32 {
        // Few keys, that differ in their first byte, their last, or both.
        let mut key = vec![0x5a; size as usize];
        key[0] = u8::try_from(random.below(5)).unwrap();
        *key.last_mut().unwrap() ^= u8::try_from(random.below(4)).unwrap();
        if random.chance(60) {
            let fits = makes_room || model.len() < ENTRIES as usize || model.contains_key(&key);
            let value = value(map_type, step);
            let updated = table.update(&key, &value, UpdateFlags::empty());
            assert_eq!(updated.is_ok(), fits);
            if fits {
                model.insert(key.clone(), value);
            }
        } else {
            assert_eq!(table.delete(&key).is_ok(), model.remove(&key).is_some());
        }
        if makes_room {
            // Which entries went the map alone knows.
            let there: BTreeMap<_, _> = table.entries().unwrap().into_iter().collect();
            assert!(there.iter().all(|(key, value)| model.get(key) == Some(value)));
            assert!(there.len() <= ENTRIES as usize);
            model = there;
        }
        for (key, expected) in
            model.iter().map(|(key, value)| (key, Some(value))).chain([(&key, model.get(&key))])
        {
            for program in object.programs() {
                let (result, cpu) = found(program, key);
                let expected = expected.map_or(NONE, |value| seen(map_type, value, cpu));
                assert_eq!(
                    result,
                    expected,
                    "{map_type} {size} {} {key:?} on {cpu}",
                    program.name()
                );
            }
        }
    }
}

#[test]
fn what_programs_look_up_stays_and_the_rest_makes_room() {
    for (runtime, map_type) in runtimes().iter().flat_map(|runtime| TYPES.map(|ty| (runtime, ty))) {
        if !matches!(map_type, MapType::LruHash | MapType::LruPercpuHash) {
            continue;
        }
        let object = object(runtime, map_type, 4, 16);
        let table = object.map("table").unwrap();
        for n in 0..2000_u32 {
            table.update(&n.to_le_bytes(), &value(map_type, n), UpdateFlags::empty()).unwrap();
            if n >= 3 {
                let (result, cpu) = found(&object.programs()[0], &3_u32.to_le_bytes());
                assert_eq!(result, seen(map_type, &value(map_type, 3), cpu), "{map_type} {n}");
            }
        }
        assert_eq!(found(&object.programs()[0], &4_u32.to_le_bytes()).0, NONE);
    }
}

#[test]
fn a_key_that_stays_is_found_while_others_come_and_go() {
    for map_type in TYPES {
        stays_while_others_come_and_go(map_type);
    }
}

fn stays_while_others_come_and_go(map_type: MapType) {
    let builder = Runtime::builder().engine(EngineChoice::Jit);
    let Ok(runtime) = builder.cpus(CPUS).build() else { return };
    // Twenty others, so that nobody has to make room for them.
    let makes_room = matches!(map_type, MapType::LruHash | MapType::LruPercpuHash);
    let object = object(&runtime, map_type, 16, if makes_room { 64 } else { ENTRIES });
    let table = object.map("table").unwrap();
    let key = |n: u32| [n.to_le_bytes(), [0; 4], [9; 4], n.to_le_bytes()].concat();
    let put = |n: u32| {
        let n = n % 20;
        table.update(&key(n), &value(map_type, n), UpdateFlags::empty())
    };
    for n in 0..2 {
        put(n).unwrap();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (table, over, put) = (&table, &over, &put);
        scope.spawn(move || {
            for step in 0..30_000_u32 {
                let _ = put(2 + step * 7 % 18);
                let _ = table.delete(&key(2 + step * 3 % 18));
                // The old element is used for another key, but where each CPU has its value.
                put(step % 2).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        for program in object.programs() {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for n in 0..2 {
                        let (result, _) = found(program, &key(n));
                        assert_ne!(result, NONE, "{map_type}: key {n} is gone");
                    }
                    let (result, _) = found(program, &key(30));
                    assert_eq!(result, NONE, "{map_type}: nobody put it there");
                }
            });
        }
    });
}
