//! Entering a program, and lookups.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;

use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_maps::{CpuId, MapHandle, World, create};
use criterion::{Criterion, criterion_group, criterion_main};

fn enter(c: &mut Criterion) {
    let world = World::with_cpus(2);
    c.bench_function("enter_leave", |b| b.iter(|| black_box(world.cpus().enter().cpu())));
    let _outer = world.cpus().enter();
    c.bench_function("enter_leave_nested", |b| b.iter(|| black_box(world.cpus().enter().cpu())));
}

#[expect(unsafe_code, reason = "looks keys up as helpers do")]
fn lookup(c: &mut Criterion) {
    let world = World::with_cpus(2);
    for map_type in [MapType::Array, MapType::Hash, MapType::PercpuHash, MapType::LruHash] {
        let map = create(&MapSpec::new("m", map_type, 4, 8, 1024), &world).unwrap();
        let here = world.cpus().enter();
        for key in 0..1000_u32 {
            map.update(here.cpu(), &key.to_le_bytes(), &[1; 8], UpdateFlags::empty()).unwrap();
        }
        let handle = MapHandle::new(map);
        let mut key = 0_u32;
        c.bench_function(&format!("lookup_{map_type}"), |b| {
            b.iter(|| {
                key = (key + 7) % 1000;
                let addr = (&raw const key).expose_provenance() as u64;
                // SAFETY: [sized-by-map] the key has four bytes.
                black_box(unsafe { handle.lookup_raw(here.cpu(), addr) })
            });
        });
    }
}

fn update(c: &mut Criterion) {
    let world = World::with_cpus(2);
    let map = create(&MapSpec::new("m", MapType::Hash, 4, 8, 1024), &world).unwrap();
    let mut key = 0_u32;
    c.bench_function("update_hash", |b| {
        b.iter(|| {
            key = (key + 7) % 1000;
            map.update(CpuId(0), &key.to_le_bytes(), &[1; 8], UpdateFlags::empty())
        });
    });
    c.bench_function("insert_delete_hash", |b| {
        b.iter(|| {
            map.update(CpuId(0), &[255; 4], &[1; 8], UpdateFlags::empty()).unwrap();
            map.delete(&[255; 4])
        });
    });
}

criterion_group!(benches, enter, lookup, update);
criterion_main!(benches);
