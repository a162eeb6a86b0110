//! Going through a map as programs do: every entry once, whatever is done to entries meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(unsafe_code, reason = "reads what addresses lead to")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_maps::{CpuId, Go, Map, World, create};

const NONE: UpdateFlags = UpdateFlags::empty();
const CPUS: u32 = 2;

fn map(map_type: MapType, entries: u32) -> Arc<dyn Map> {
    create(&MapSpec::new("m", map_type, 4, 8, entries), &World::with_cpus(CPUS)).unwrap()
}

/// The number at an address that a map gave out.
fn number(at: u64) -> u32 {
    let at = std::ptr::with_exposed_provenance::<AtomicU32>(usize::try_from(at).unwrap());
    // SAFETY: [owned-words] the map is there, and keys and values of its are at multiples of four.
    unsafe { &*at }.load(Ordering::Relaxed)
}

fn key(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

/// The value of `n`, as one CPU has it.
fn value(n: u32, cpu: u32) -> [u8; 8] {
    u64::from(n * 10 + cpu).to_le_bytes()
}

#[test]
fn programs_see_the_values_of_their_cpu() {
    let types = [
        MapType::Array,
        MapType::PercpuArray,
        MapType::Hash,
        MapType::PercpuHash,
        MapType::LruHash,
        MapType::LruPercpuHash,
    ];
    for map_type in types {
        let map = map(map_type, 20);
        let is_percpu = map.host_value_size() != 8;
        for n in 0..20 {
            let cpus = if is_percpu { CPUS } else { 1 };
            let values: Vec<u8> = (0..cpus).flat_map(|cpu| value(n, cpu)).collect();
            map.host().update(&key(n), &values, NONE).unwrap();
        }
        for cpu in 0..CPUS {
            let mut seen = BTreeSet::new();
            let count = map.visit(CpuId(cpu), &mut |key, value| {
                let own = if is_percpu { cpu } else { 0 };
                assert_eq!(number(value), number(key) * 10 + own, "{map_type}");
                seen.insert(number(key));
                Go::On
            });
            assert_eq!((count, seen.len()), (Some(20), 20), "{map_type}");
        }
        let mut left = 7;
        let count = map.visit(CpuId(0), &mut |_, _| {
            left -= 1;
            if left == 0 { Go::Stop } else { Go::On }
        });
        assert_eq!(count, Some(7), "{map_type}");
    }
    assert_eq!(
        create(&MapSpec::new("q", MapType::Queue, 0, 8, 4), &World::with_cpus(1))
            .unwrap()
            .visit(CpuId(0), &mut |_, _| Go::On),
        None
    );
}

#[test]
fn an_entry_that_is_removed_while_it_is_seen_is_not_missed_by_the_others() {
    for map_type in [MapType::Hash, MapType::LruHash, MapType::PercpuHash] {
        let map = map(map_type, 50);
        for n in 0..50 {
            map.update(CpuId(0), &key(n), &value(n, 0), NONE).unwrap();
        }
        let mut seen = BTreeSet::new();
        let count = map.visit(CpuId(0), &mut |at, _| {
            let n = number(at);
            assert!(seen.insert(n), "{n} comes twice");
            if !n.is_multiple_of(3) {
                map.delete(&key(n)).unwrap();
            }
            Go::On
        });
        assert_eq!((count, seen.len()), (Some(50), 50));
        assert_eq!(map.host().entries().unwrap().len(), 17);
    }
}

#[test]
fn going_through_a_map_ends_even_if_entries_are_put_back_all_the_time() {
    let map = map(MapType::Hash, 16);
    for n in 0..16 {
        map.update(CpuId(0), &key(n), &value(n, 0), NONE).unwrap();
    }
    let mut seen = BTreeSet::new();
    let count = map.visit(CpuId(0), &mut |at, _| {
        seen.insert(number(at));
        for n in 0..16 {
            map.delete(&key(n)).unwrap();
            map.update(CpuId(0), &key(n), &value(n, 0), NONE).unwrap();
        }
        Go::On
    });
    assert!(count.is_some_and(|count| count < 200), "{count:?}");
    assert!(!seen.is_empty());
}
