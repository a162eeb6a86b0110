//! Lookups in hash maps, which compiled code begins itself: what they find is what is there,
//! whatever size the key has and wherever it lies, and while others change the map.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::ProgType;
use bpf_fuzz::random::Random;
use bpf_runtime::{EngineChoice, Object, Runtime};
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

/// A program that looks up the key of `size` bytes that the packet begins with.
fn lookup(size: u32, way: Way) -> String {
    let mut text = String::from(
        "r6 = *(u32 *)(r1 +0)
         r7 = *(u32 *)(r1 +4)
         r2 = r6
         r2 += 32
         if r2 > r7 goto none\n",
    );
    let in_words = matches!(way, Way::Words) && size.is_multiple_of(4);
    let (piece, ty) = if in_words { (4, "u32") } else { (1, "u8") };
    for at in (0..size).step_by(piece) {
        let from_frame = 40 - at;
        writeln!(text, "r3 = *({ty} *)(r6 +{at})\n*({ty} *)(r10 -{from_frame}) = r3").unwrap();
    }
    text.push_str(match way {
        Way::Bytes | Way::Words => "r2 = r10\nr2 += -40\n",
        Way::Packet => "r2 = r6\n",
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
fn object(runtime: &Runtime, size: u32, entries: u32) -> Object {
    let maps = vec![MapSpec::new("table", MapType::Hash, size, 12, entries)];
    let ways = [Way::Bytes, Way::Words, Way::Packet];
    let programs: Vec<_> =
        ways.iter().map(|way| (format!("{way:?}"), lookup(size, *way))).collect();
    let programs: Vec<_> =
        programs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    runtime.open(text::object(ProgType::Xdp, maps, &programs).unwrap()).load().unwrap()
}

fn value(n: u32) -> Vec<u8> {
    [n.to_le_bytes(), [0; 4], [7; 4]].concat()
}

#[test]
fn keys_of_all_sizes_are_found_as_long_as_they_are_there() {
    for engine in [EngineChoice::Jit, EngineChoice::Interp] {
        let Ok(runtime) = Runtime::builder().engine(engine).build() else { continue };
        for size in (1..=17).chain([24]) {
            let object = object(&runtime, size, ENTRIES);
            let table = object.map("table").unwrap();
            let mut random = Random::new(u64::from(size));
            let mut model = BTreeMap::new();
            for step in 0..400_u32 {
                // Few keys, that differ in their first byte, their last, or both.
                let mut key = vec![0x5a; size as usize];
                key[0] = u8::try_from(random.below(5)).unwrap();
                *key.last_mut().unwrap() ^= u8::try_from(random.below(4)).unwrap();
                if random.chance(60) {
                    let fits = model.len() < ENTRIES as usize || model.contains_key(&key);
                    let updated = table.update(&key, &value(step), UpdateFlags::empty());
                    assert_eq!(updated.is_ok(), fits);
                    if fits {
                        model.insert(key.clone(), step);
                    }
                } else {
                    assert_eq!(table.delete(&key).is_ok(), model.remove(&key).is_some());
                }
                let mut bytes = [0xa5; 64];
                for (key, expected) in
                    model.iter().map(|(key, n)| (key, *n)).chain([(&key, NONE)]).take(20)
                {
                    let expected = model.get(key).copied().unwrap_or(expected);
                    bytes[..key.len()].copy_from_slice(key);
                    for program in object.programs() {
                        let mut packet = program.packet(&bytes).unwrap();
                        let found = program.run(&mut packet).unwrap();
                        assert_eq!(found, expected, "{size} {} {key:?}", program.name());
                    }
                }
            }
        }
    }
}

#[test]
fn a_key_that_stays_is_found_while_others_come_and_go() {
    let Ok(runtime) = Runtime::builder().engine(EngineChoice::Jit).cpus(4).build() else { return };
    let object = object(&runtime, 16, ENTRIES);
    let table = object.map("table").unwrap();
    let key = |n: u32| [n.to_le_bytes(), [0; 4], [9; 4], n.to_le_bytes()].concat();
    for n in 0..2 {
        table.update(&key(n), &value(n), UpdateFlags::empty()).unwrap();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (table, over) = (&table, &over);
        scope.spawn(move || {
            for step in 0..200_000_u32 {
                let _ = table.update(&key(2 + step * 7 % 20), &value(9), UpdateFlags::empty());
                let _ = table.delete(&key(2 + step * 3 % 20));
                // The old element is used for another key.
                table.update(&key(step % 2), &value(step % 2), UpdateFlags::empty()).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        for program in object.programs() {
            scope.spawn(move || {
                let mut bytes = [0; 64];
                while !over.load(Ordering::Relaxed) {
                    for n in 0..2 {
                        bytes[..16].copy_from_slice(&key(n));
                        let mut packet = program.packet(&bytes).unwrap();
                        assert_ne!(program.run(&mut packet).unwrap(), NONE, "key {n} is gone");
                    }
                    bytes[..16].copy_from_slice(&key(30));
                    let mut packet = program.packet(&bytes).unwrap();
                    assert_eq!(program.run(&mut packet).unwrap(), NONE, "nobody put it there");
                }
            });
        }
    });
}
