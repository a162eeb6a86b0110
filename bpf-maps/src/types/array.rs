//! Arrays: values at indices, all there from the beginning; one each, or one each a CPU.

use std::sync::atomic::{AtomicU32, Ordering};

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapLayout, UpdateFlags};

use crate::bytes::{Memory, SharedBytes, WORD};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::host::BatchKinds;
use crate::map::{Go, Map};
use crate::percpu::PercpuValues;
use crate::shape::{MapCore, MapShape};
use crate::world::World;

/// One value an index. Linux: `array_map_ops`.
#[derive(Debug)]
pub(crate) struct Array {
    core: MapCore,
    values: Memory,
    /// How many words a value has.
    width: usize,
}

impl Array {
    /// An array of zeros.
    pub(crate) fn new(shape: MapShape) -> Result<Self, MapError> {
        let width = shape.stride() as usize / WORD;
        let words = u64::from(shape.max_entries).saturating_mul(width as u64);
        let align = if shape.flags.contains(MapFlags::MMAPABLE) { 4096 } else { 64 };
        Ok(Self { values: Memory::new(words, align)?, width, core: MapCore::new(shape) })
    }

    fn value(&self, index: u32) -> Option<SharedBytes<'_>> {
        let start = index as usize * self.width;
        let words = self.values.get(start..start + self.width)?;
        Some(SharedBytes::new(words, self.shape().value_len()))
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        let shape = self.shape();
        if shape.fields.is_some() {
            (0..shape.max_entries)
                .filter_map(|index| self.value(index))
                .for_each(|value| shape.release(value));
        }
    }
}

impl Map for Array {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn layout(&self) -> MapLayout {
        let shape = self.shape();
        MapLayout::Array {
            values: self.values.addr(),
            stride: shape.stride(),
            max_entries: shape.max_entries,
        }
    }

    fn value_addr(&self) -> Option<u64> {
        (self.shape().max_entries == 1).then(|| self.values.addr())
    }

    fn lookup(&self, _: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        self.value(self.shape().index(key).ok()?)
    }

    fn visit(&self, _: CpuId, each: &mut dyn FnMut(u64, u64) -> Go) -> Option<u64> {
        Some(visit(self.shape(), each, |index| self.value(index)))
    }

    fn update(
        &self,
        cpu: CpuId,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        check_update(self.shape(), key, flags)?;
        let place = self.lookup(cpu, key).ok_or(MapError::NotFound)?;
        self.shape().store(place, value, flags)?;
        self.shape().release(place);
        Ok(())
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("delete entries", Errno::EINVAL))
    }

    fn read(&self, key: &[u8], out: &mut [u8], flags: UpdateFlags) -> Result<(), MapError> {
        let value = self.lookup(CpuId(0), key).ok_or(MapError::NotFound)?;
        self.shape().load(value, out, flags);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::LOOKUP | BatchKinds::UPDATE
    }

    fn entry_at(&self, address: u64) -> Option<(Vec<u8>, u64)> {
        let at = address.checked_sub(self.values.addr())?;
        let index = at.checked_div(u64::from(self.shape().stride()))?;
        let index = u32::try_from(index).ok().filter(|index| *index < self.shape().max_entries)?;
        let value = self.value(index)?;
        Some((index.to_le_bytes().to_vec(), value.addr()))
    }
}

/// One value an index and CPU. Linux: `percpu_array_map_ops`.
#[derive(Debug)]
pub(crate) struct PercpuArray {
    core: MapCore,
    values: PercpuValues,
}

impl PercpuArray {
    /// An array of zeros.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let values = PercpuValues::new(&shape, shape.max_entries, world.cpus().count())?;
        Ok(Self { values, core: MapCore::new(shape) })
    }
}

impl Map for PercpuArray {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn layout(&self) -> MapLayout {
        let shape = self.shape();
        MapLayout::PercpuArray {
            values: self.values.addr(),
            stride: shape.stride(),
            cpu_stride: self.values.cpu_stride(),
            max_entries: shape.max_entries,
            cpus: self.values.cpus(),
        }
    }

    fn lookup(&self, cpu: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        let index = self.shape().index_within(key).ok()?;
        self.values.value(cpu, index)
    }

    fn visit(&self, cpu: CpuId, each: &mut dyn FnMut(u64, u64) -> Go) -> Option<u64> {
        Some(visit(self.shape(), each, |index| self.values.value(cpu, index)))
    }

    fn update(
        &self,
        cpu: CpuId,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        check_update(self.shape(), key, flags)?;
        let place = self.lookup(cpu, key).ok_or(MapError::NotFound)?;
        self.shape().store(place, value, flags)
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("delete entries", Errno::EINVAL))
    }

    fn host_value_size(&self) -> usize {
        self.values.host_value_size()
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        let index = self.shape().index_within(key).map_err(|_| MapError::NotFound)?;
        self.values.read(index, out);
        Ok(())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        check_update(self.shape(), key, flags)?;
        self.values.write(self.shape().index_within(key)?, value);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::LOOKUP | BatchKinds::UPDATE
    }
}

/// Hands out the address of each index, which programs only read, and that of its value.
fn visit<'a>(
    shape: &MapShape,
    each: &mut dyn FnMut(u64, u64) -> Go,
    value: impl Fn(u32) -> Option<SharedBytes<'a>>,
) -> u64 {
    let key = AtomicU32::new(0);
    let at = std::ptr::from_ref(&key).expose_provenance() as u64;
    for index in 0..shape.max_entries {
        key.store(index, Ordering::Relaxed);
        if value(index).is_none_or(|value| each(at, value.addr()) == Go::Stop) {
            return u64::from(index) + 1;
        }
    }
    u64::from(shape.max_entries)
}

/// Whether an array may be updated so: all its entries are there already.
fn check_update(shape: &MapShape, key: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
    // The lock is looked for last.
    shape.check_update_flags(flags - UpdateFlags::LOCK)?;
    shape.index_within(key)?;
    if flags.contains(UpdateFlags::NOEXIST) {
        return Err(MapError::Exists);
    }
    shape.check_update_flags(flags)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::create;

    fn key(index: u32) -> [u8; 4] {
        index.to_le_bytes()
    }

    fn array(map_type: MapType, value_size: u32, max_entries: u32) -> (World, Arc<dyn Map>) {
        let world = World::with_cpus(3);
        let spec = MapSpec::new("a", map_type, 4, value_size, max_entries);
        let map = create(&spec, &world).unwrap();
        (world, map)
    }

    #[test]
    fn values_lie_where_the_layout_says() {
        let (_, map) = array(MapType::Array, 12, 5);
        let MapLayout::Array { values, stride, max_entries } = map.layout() else { panic!() };
        assert_eq!((stride, max_entries), (16, 5));
        for index in 0..5 {
            let value = map.lookup(CpuId(0), &key(index)).unwrap();
            assert_eq!(value.addr(), values + u64::from(stride * index));
        }
        assert!(map.lookup(CpuId(0), &key(5)).is_none());
        assert!(map.lookup(CpuId(0), &key(u32::MAX)).is_none());
    }

    #[test]
    fn values_of_a_cpu_lie_where_the_layout_says_and_share_no_cache_line() {
        let (_, map) = array(MapType::PercpuArray, 4, 3);
        let MapLayout::PercpuArray { values, stride, cpu_stride, max_entries, cpus: 3 } =
            map.layout()
        else {
            panic!()
        };
        assert_eq!((stride, cpu_stride % 128, values % 128, max_entries), (8, 0, 0, 3));
        for (cpu, index) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
            let value = map.lookup(CpuId(cpu), &key(index)).unwrap();
            let offset = u64::from(cpu) * cpu_stride + u64::from(index * stride);
            assert_eq!(value.addr(), values + offset);
        }
        assert!(map.lookup(CpuId(3), &key(0)).is_none());
        assert!(map.lookup(CpuId(0), &key(3)).is_none());
    }

    #[test]
    fn a_program_changes_its_own_cpus_value_and_the_host_sees_all() {
        let (_, map) = array(MapType::PercpuArray, 4, 1);
        map.update(CpuId(1), &key(0), &[1, 2, 3, 4], UpdateFlags::empty()).unwrap();
        let seen = map.host().lookup(&key(0), UpdateFlags::empty()).unwrap();
        assert_eq!(seen, [[0; 8], [1, 2, 3, 4, 0, 0, 0, 0], [0; 8]].concat());
        let all: Vec<u8> = (0..24).collect();
        map.host().update(&key(0), &all, UpdateFlags::empty()).unwrap();
        assert_eq!(map.lookup(CpuId(2), &key(0)).unwrap().to_vec(), [16, 17, 18, 19]);
    }

    #[test]
    fn only_a_single_value_has_an_address() {
        let (_, one) = array(MapType::Array, 100, 1);
        assert_eq!(one.value_addr(), one.lookup(CpuId(0), &key(0)).map(SharedBytes::addr));
        let (_, two) = array(MapType::Array, 100, 2);
        assert_eq!(two.value_addr(), None);
    }

    #[test]
    fn frozen_values_still_change_under_programs() {
        let (_, map) = array(MapType::Array, 8, 1);
        map.host().freeze().unwrap();
        let error = map.host().update(&key(0), &[1; 8], UpdateFlags::empty()).unwrap_err();
        assert_eq!(error, MapError::Frozen);
        map.update(CpuId(0), &key(0), &[1; 8], UpdateFlags::empty()).unwrap();
        assert_eq!(map.host().lookup(&key(0), UpdateFlags::empty()).unwrap(), [1; 8]);
    }

    #[test]
    fn keys_and_values_of_other_lengths_are_refused() {
        let (_, map) = array(MapType::Array, 8, 1);
        let error = map.host().update(&key(0), &[1; 7], UpdateFlags::empty()).unwrap_err();
        assert_eq!(error, MapError::ValueLength { length: 7, expected: 8 });
        let error = map.host().lookup(&[0; 3], UpdateFlags::empty()).unwrap_err();
        assert_eq!(error, MapError::KeyLength { length: 3, expected: 4 });
        assert!(map.lookup(CpuId(0), &[0; 5]).is_none());
    }
}
