//! Maps of maps: programs look a map up in them and then use that one.
//!
//! A slot holds the address of a [`MapHandle`], or 0. A map taken out is kept until every
//! program that runs now has ended. All inner maps look alike, since the verifier has judged
//! programs by one of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapType, UpdateFlags};

use crate::bytes::{Memory, wide};
use crate::cpu::{CpuId, Cpus};
use crate::error::MapError;
use crate::handle::MapHandle;
use crate::host::BatchKinds;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;
use crate::types::hash::Hash;
use crate::world::World;

/// What the host can do with a map of maps that it cannot do with others.
pub trait MapOfMaps: Map {
    /// What the maps inside look like.
    fn inner(&self) -> &MapShape;

    /// Host: puts a map at `key`.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write to the outer map, if the inner one does not
    /// look as described, or as for any update.
    fn set(&self, key: &[u8], map: Arc<MapHandle>, flags: UpdateFlags) -> Result<(), MapError>;

    /// The map at `key`.
    fn get(&self, key: &[u8]) -> Option<Arc<MapHandle>>;
}

impl dyn Map {
    /// The map as a map of maps, if it is one.
    pub fn as_map_of_maps(&self) -> Option<&dyn MapOfMaps> {
        if let Some(map) = self.as_type::<ArrayOfMaps>() {
            return Some(map);
        }
        self.as_type::<HashOfMaps>().map(|map| map as &dyn MapOfMaps)
    }
}

/// Inner maps at numbered places, each kept alive.
#[derive(Debug)]
struct Kept {
    maps: Mutex<Vec<Option<Arc<MapHandle>>>>,
    inner: MapShape,
    cpus: Cpus,
}

impl Kept {
    fn new(inner: MapShape, world: &World) -> Self {
        Self { maps: Mutex::default(), inner, cpus: world.cpus().clone() }
    }

    /// Linux: `bpf_map_meta_equal`, `array_map_meta_equal`.
    fn check(&self, map: &MapHandle) -> Result<(), MapError> {
        let (inner, shape) = (&self.inner, map.map().shape());
        let is_fixed =
            inner.map_type == MapType::Array && !inner.flags.contains(MapFlags::INNER_MAP);
        let differs = if map.map().core().world() != self.cpus.world() {
            "CPUs"
        } else if inner.map_type != shape.map_type {
            "type"
        } else if inner.key_size != shape.key_size {
            "key size"
        } else if inner.value_size != shape.value_size {
            "value size"
        } else if inner.flags != shape.flags {
            "flags"
        } else if inner.spin_lock != shape.spin_lock {
            "spin lock"
        } else if is_fixed && inner.max_entries != shape.max_entries {
            "number of entries"
        } else {
            return Ok(());
        };
        Err(MapError::InnerMismatch(differs))
    }

    /// Exchanges the map at a place, and stores its address where programs find it.
    fn exchange(
        &self,
        place: usize,
        map: Option<Arc<MapHandle>>,
        slot: Option<&AtomicU64>,
    ) -> bool {
        let addr = map.as_ref().map_or(0, MapHandle::addr);
        let old = {
            let mut maps = hold(&self.maps);
            if maps.len() <= place {
                maps.resize(place + 1, None);
            }
            if let Some(slot) = slot {
                slot.store(addr, Ordering::Release);
            }
            maps.get_mut(place).and_then(|kept| std::mem::replace(kept, map))
        };
        let Some(old) = old else { return false };
        self.cpus.defer(move || drop(old));
        true
    }

    fn get(&self, place: usize) -> Option<Arc<MapHandle>> {
        hold(&self.maps).get(place)?.clone()
    }
}

/// The number of an inner map, as the host sees it.
fn copy_id(map: &MapHandle, out: &mut [u8]) {
    out.copy_from_slice(&map.map().core().id().0.to_le_bytes());
}

/// Maps at indices. Linux: `array_of_maps_map_ops`.
#[derive(Debug)]
pub(crate) struct ArrayOfMaps {
    core: MapCore,
    slots: Memory,
    kept: Kept,
}

impl ArrayOfMaps {
    /// Empty slots for maps that look like `inner`.
    pub(crate) fn new(shape: MapShape, inner: MapShape, world: &World) -> Result<Self, MapError> {
        let slots = Memory::new(shape.max_entries.into(), 64)?;
        Ok(Self { core: MapCore::new(shape), slots, kept: Kept::new(inner, world) })
    }
}

impl MapOfMaps for ArrayOfMaps {
    fn inner(&self) -> &MapShape {
        &self.kept.inner
    }

    fn set(&self, key: &[u8], map: Arc<MapHandle>, flags: UpdateFlags) -> Result<(), MapError> {
        (self as &dyn Map).host().check_writable()?;
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        let index = self.shape().index_within(key)? as usize;
        self.kept.check(&map)?;
        self.kept.exchange(index, Some(map), self.slots.get(index));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<Arc<MapHandle>> {
        self.kept.get(self.shape().index_within(key).ok()? as usize)
    }
}

impl Map for ArrayOfMaps {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn lookup_addr(&self, _: CpuId, key: &[u8]) -> u64 {
        let slot = self.shape().index(key).ok().and_then(|index| self.slots.get(index as usize));
        slot.map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    fn write(&self, key: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.shape().index_within(key)?;
        Err(self.shape().cannot("take bytes: a slot is set to a map", Errno::EBADF))
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        let index = self.shape().index_within(key)? as usize;
        let had = self.kept.exchange(index, None, self.slots.get(index));
        if had { Ok(()) } else { Err(MapError::NotFound) }
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        copy_id(&*MapOfMaps::get(self, key).ok_or(MapError::NotFound)?, out);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::LOOKUP | BatchKinds::UPDATE
    }
}

/// Maps at keys. Linux: `htab_of_maps_map_ops`.
///
/// Each entry's value is the number of a place among the kept maps, from 1, and the address.
#[derive(Debug)]
pub(crate) struct HashOfMaps {
    table: Hash,
    kept: Kept,
    /// One writer at a time: an entry and its kept map change together.
    writer: Mutex<Vec<u32>>,
}

/// A value in the table of a [`HashOfMaps`].
#[derive(Clone, Copy)]
struct Entry {
    addr: u64,
    place: u64,
}

impl Entry {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (addr, rest) = bytes.split_first_chunk::<8>()?;
        let place = rest.first_chunk::<8>()?;
        Some(Self { addr: u64::from_le_bytes(*addr), place: u64::from_le_bytes(*place) })
    }
}

impl HashOfMaps {
    /// An empty map for maps that look like `inner`.
    pub(crate) fn new(shape: MapShape, inner: MapShape, world: &World) -> Result<Self, MapError> {
        let table = Hash::with_values_of(shape, 16, world)?;
        Ok(Self { table, kept: Kept::new(inner, world), writer: Mutex::default() })
    }

    fn entry(&self, key: &[u8]) -> Option<Entry> {
        let mut bytes = [0; 16];
        self.table.read_whole(key, &mut bytes)?;
        Entry::of(&bytes)
    }

    fn remove(&self, key: &[u8], free: &mut Vec<u32>) -> Result<(), MapError> {
        let entry = self.entry(key).ok_or(MapError::NotFound)?;
        self.table.delete(key)?;
        self.drop_place(entry, free);
        Ok(())
    }

    fn drop_place(&self, entry: Entry, free: &mut Vec<u32>) {
        self.kept.exchange(wide(entry.place), None, None);
        free.extend(u32::try_from(entry.place));
    }
}

impl MapOfMaps for HashOfMaps {
    fn inner(&self) -> &MapShape {
        &self.kept.inner
    }

    fn set(&self, key: &[u8], map: Arc<MapHandle>, flags: UpdateFlags) -> Result<(), MapError> {
        (self as &dyn Map).host().check_writable()?;
        self.shape().check_update_flags(flags)?;
        self.kept.check(&map)?;
        let mut free = hold(&self.writer);
        let old = self.entry(key);
        let place = free.pop().map_or_else(|| hold(&self.kept.maps).len(), |place| place as usize);
        let entry = Entry { addr: map.addr(), place: place as u64 };
        self.kept.exchange(place, Some(map), None);
        if let Err(error) = self.table.update(CpuId(0), key, &entry.to_bytes(), flags) {
            self.drop_place(entry, &mut free);
            return Err(error);
        }
        if let Some(old) = old {
            self.drop_place(old, &mut free);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<Arc<MapHandle>> {
        let _writer = hold(&self.writer);
        self.kept.get(wide(self.entry(key)?.place))
    }
}

impl Map for HashOfMaps {
    fn core(&self) -> &MapCore {
        self.table.core()
    }

    fn lookup_addr(&self, _: CpuId, key: &[u8]) -> u64 {
        self.entry(key).map_or(0, |entry| entry.addr)
    }

    fn write(&self, _: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.shape().check_update_flags(flags)?;
        Err(self.shape().cannot("take bytes: a slot is set to a map", Errno::EBADF))
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        self.remove(key, &mut hold(&self.writer))
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        copy_id(&*MapOfMaps::get(self, key).ok_or(MapError::NotFound)?, out);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.table.next_key(key, next)
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::all()
    }

    fn read_batch(
        &self,
        cursor: Option<&[u8]>,
        max: usize,
        takes: bool,
    ) -> Result<crate::host::Batch, MapError> {
        let mut free = hold(&self.writer);
        let mut batch = self.table.read_batch(cursor, max, takes)?;
        for (_, value) in &mut batch.entries {
            let entry = Entry::of(value).ok_or(MapError::NotFound)?;
            value.clear();
            value.resize(4, 0);
            if let Some(map) = self.kept.get(wide(entry.place)) {
                copy_id(&map, value);
            }
            if takes {
                self.drop_place(entry, &mut free);
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::id::MapId;
    use bpf_abi::map::MapSpec;

    use super::*;
    use crate::create;

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn inner_spec() -> MapSpec {
        MapSpec::new("inner", MapType::Array, 4, 8, 2)
    }

    fn outer(map_type: MapType) -> (World, Arc<dyn Map>) {
        let world = World::with_cpus(2);
        let mut spec = MapSpec::new("outer", map_type, 4, 4, 2);
        spec.inner = Some(Box::new(inner_spec()));
        let map = create(&spec, &world).unwrap();
        (world, map)
    }

    fn inner(world: &World, id: u32) -> Arc<MapHandle> {
        let map = create(&inner_spec(), world).unwrap();
        map.core().set_id(MapId(id));
        MapHandle::new(map)
    }

    #[test]
    fn programs_find_handles_and_the_host_numbers() {
        for map_type in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
            let (world, map) = outer(map_type);
            let maps = map.as_map_of_maps().unwrap();
            let handle = inner(&world, 77);
            assert_eq!(map.lookup_addr(CpuId(0), &[1, 0, 0, 0]), 0);
            maps.set(&[1, 0, 0, 0], Arc::clone(&handle), NONE).unwrap();
            assert_eq!(map.lookup_addr(CpuId(0), &[1, 0, 0, 0]), handle.addr());
            assert_eq!(map.host().lookup(&[1, 0, 0, 0], NONE).unwrap(), [77, 0, 0, 0]);
            assert_eq!(map.host().lookup_batch(None, 9).unwrap().entries.len(), 1);
            map.host().delete(&[1, 0, 0, 0]).unwrap();
            assert_eq!(map.lookup_addr(CpuId(0), &[1, 0, 0, 0]), 0);
            assert_eq!(map.host().delete(&[1, 0, 0, 0]), Err(MapError::NotFound));
            assert_eq!(Arc::strong_count(&handle), 1);
        }
    }

    #[test]
    fn a_map_taken_out_lives_until_running_programs_have_ended() {
        for map_type in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
            let (world, map) = outer(map_type);
            let maps = map.as_map_of_maps().unwrap();
            let (first, second) = (inner(&world, 1), inner(&world, 2));
            maps.set(&[0; 4], Arc::clone(&first), NONE).unwrap();
            let here = world.cpus().enter();
            maps.set(&[0; 4], Arc::clone(&second), NONE).unwrap();
            assert_eq!(map.lookup_addr(here.cpu(), &[0; 4]), second.addr());
            assert_eq!(Arc::strong_count(&first), 2);
            drop(here);
            assert_eq!(Arc::strong_count(&first), 1);
            drop(map);
            assert_eq!(Arc::strong_count(&second), 1);
        }
    }

    #[test]
    fn inner_maps_must_look_as_described() {
        let (world, map) = outer(MapType::ArrayOfMaps);
        let maps = map.as_map_of_maps().unwrap();
        let refused = |change: fn(&mut MapSpec)| {
            let mut spec = inner_spec();
            change(&mut spec);
            let handle = MapHandle::new(create(&spec, &world).unwrap());
            maps.set(&[0; 4], handle, NONE).unwrap_err()
        };
        assert_eq!(refused(|spec| spec.value_size = 4), MapError::InnerMismatch("value size"));
        let entries = refused(|spec| spec.max_entries = 3);
        assert_eq!(entries, MapError::InnerMismatch("number of entries"));
        let hash = refused(|spec| spec.map_type = MapType::Hash);
        assert_eq!(hash, MapError::InnerMismatch("type"));
    }

    #[test]
    fn a_full_hash_of_maps_lets_go_of_what_it_could_not_take() {
        let (world, map) = outer(MapType::HashOfMaps);
        let maps = map.as_map_of_maps().unwrap();
        for n in 0..2 {
            maps.set(&[n; 4], inner(&world, 1), NONE).unwrap();
        }
        let third = inner(&world, 3);
        let error = maps.set(&[3; 4], Arc::clone(&third), NONE);
        assert_eq!(error, Err(MapError::Full));
        assert_eq!(Arc::strong_count(&third), 1);
    }
}
