//! The maps of a family.

use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};

use super::types::Values;
use crate::random::Random;

/// One value of 128 bytes that programs address: what they leave behind.
pub(super) const OUT: usize = 0;
/// One value of sixteen words: how often each program began, and how often its tail calls fell through.
pub(super) const COUNTS: usize = 1;
/// Eight values of 32 bytes.
pub(super) const ARRAY: usize = 2;
/// Up to eight values of 24 bytes, by keys of four.
pub(super) const HASH: usize = 3;
/// Values of 16 bytes, by keys of eight.
pub(super) const LRU: usize = 4;
/// Four values of 24 bytes a CPU.
pub(super) const PERCPU: usize = 5;
/// One value of 32 bytes that nobody changes.
pub(super) const CONSTANT: usize = 6;
/// Programs to jump to.
pub(super) const PROGRAMS: usize = 7;
/// A ring buffer.
pub(super) const RING: usize = 8;
/// Eight values of eight bytes.
pub(super) const QUEUE: usize = 9;
/// Four values of sixteen bytes.
pub(super) const STACK: usize = 10;
/// Values of four bytes.
pub(super) const BLOOM: usize = 11;
/// Four slots for maps of four values of 16 bytes.
pub(super) const OUTER: usize = 12;
/// Those maps.
pub(super) const INNER: [usize; 2] = [13, 14];
/// Values of eight bytes a CPU, by keys of four.
pub(super) const PERCPU_HASH: usize = 15;

/// Four values of 24 bytes, sixteen of them and then a lock.
pub(super) const LOCKED: usize = 16;
/// One value that owns objects.
pub(super) const OWNER: usize = 17;

/// The maps, in the order of their places, with contents.
pub(super) fn specs(random: &mut Random, values: &Values) -> Vec<MapSpec> {
    use MapType as T;
    let mut specs = vec![
        MapSpec::new("out", T::Array, 4, 128, 1),
        MapSpec::new("counts", T::Array, 4, 128, 1),
        MapSpec::new("array", T::Array, 4, 32, 8),
        MapSpec::new("hash", T::Hash, 4, 24, 8),
        MapSpec::new("lru", T::LruHash, 8, 16, 64),
        MapSpec::new("percpu", T::PercpuArray, 4, 24, 4),
        MapSpec::new("constant", T::Array, 4, 32, 1),
        MapSpec::new("programs", T::ProgArray, 4, 4, 6),
        MapSpec::new("ring", T::Ringbuf, 0, 0, 4096),
        MapSpec::new("queue", T::Queue, 0, 8, 8),
        MapSpec::new("stack", T::Stack, 0, 16, 4),
        MapSpec::new("bloom", T::BloomFilter, 0, 4, 32),
        MapSpec::new("outer", T::ArrayOfMaps, 4, 4, 4),
        MapSpec::new("inner0", T::Array, 4, 16, 4),
        MapSpec::new("inner1", T::Array, 4, 16, 4),
        MapSpec::new("percpu_hash", T::PercpuHash, 4, 8, 8),
        MapSpec::new("locked", T::Array, 4, 24, 4),
        MapSpec::new("owner", T::Array, 4, 48, 1),
    ];
    for (map, value) in [(LOCKED, values.locked), (OWNER, values.owner)] {
        specs[map].btf_key_type_id = values.number.0;
        specs[map].btf_value_type_id = value.0;
    }
    specs[CONSTANT].flags = MapFlags::RDONLY_PROG;
    specs[CONSTANT].frozen = true;
    // Every bloom filter gives the same answers.
    specs[BLOOM].flags = MapFlags::ZERO_SEED;
    specs[OUTER].inner = Some(Box::new(MapSpec::new("inner", T::Array, 4, 16, 4)));
    for map in [OUT, CONSTANT, ARRAY, INNER[0], INNER[1]] {
        for key in 0..specs[map].max_entries {
            if key == 0 || random.chance(50) {
                let value = bytes(random, specs[map].value_size);
                specs[map].init.push(entry(&key.to_le_bytes(), value));
            }
        }
    }
    for key in 0_u32..8 {
        if random.chance(50) {
            let value = bytes(random, specs[HASH].value_size);
            specs[HASH].init.push(entry(&key.to_le_bytes(), value));
        }
        if random.chance(40) {
            let value = bytes(random, specs[LRU].value_size);
            specs[LRU].init.push(entry(&u64::from(key).to_le_bytes(), value));
        }
    }
    for map in [QUEUE, STACK] {
        for _ in 0..random.below(4) {
            let value = bytes(random, specs[map].value_size);
            specs[map].init.push(entry(&[], value));
        }
    }
    for (slot, inner) in [(0_u32, INNER[0]), (1, INNER[1]), (3, INNER[0])] {
        let value = MapInitValue::Map(inner);
        specs[OUTER].init.push(MapInit { key: slot.to_le_bytes().to_vec(), value });
    }
    specs
}

/// Lists show as addresses in the kernel: takes them out of a value of this map.
pub(crate) fn forget_addresses(map: &str, value: &mut [u8]) {
    if map == "owner" {
        value[8..24].fill(0);
    }
}

fn entry(key: &[u8], value: Vec<u8>) -> MapInit {
    MapInit { key: key.to_vec(), value: MapInitValue::Bytes(value) }
}

/// So many bytes, words of which are often small.
pub(super) fn bytes(random: &mut Random, count: u32) -> Vec<u8> {
    let words = (0..count.div_ceil(8)).map(|_| match random.below(4) {
        0 => random.next() & 0xff,
        1 => random.next() & 0xffff_ffff,
        _ => random.next(),
    });
    let mut bytes: Vec<u8> =
        words.collect::<Vec<_>>().into_iter().flat_map(u64::to_le_bytes).collect();
    bytes.truncate(count as usize);
    bytes
}
