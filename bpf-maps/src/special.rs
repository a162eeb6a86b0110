//! What in a value is not data: its spin lock, and fields that belong to programs.
//!
//! A value's lock is a 32-bit word in it, 0 when free. Copies of values leave it alone, and
//! are made under it where `BPF_F_LOCK` asks for that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::id::MapId;
use bpf_abi::map::UpdateFlags;

use crate::bytes::{SharedBytes, WORD};
use crate::error::MapError;
use crate::shape::MapShape;

/// The size of a `struct bpf_spin_lock`, in bytes.
pub(crate) const SPIN_LOCK_SIZE: u32 = 4;

/// What of a value belongs to programs and is not data: lists, trees, pointers to objects.
///
/// Whoever copies values leaves it alone; when a value goes, what it holds is released.
pub trait ValueFields: fmt::Debug + Send + Sync {
    /// The bits of a value's words that are not data, word by word.
    fn bits(&self) -> &[u64];

    /// Gives back what a value holds; then it holds nothing.
    fn release(&self, value: SharedBytes<'_>);

    /// Stops what runs by itself on behalf of a map, since the host holds it no more.
    ///
    /// Linux: `map_release_uref`.
    fn host_gone(&self, map: MapId) {
        let _ = map;
    }
}

/// The fields that a map's values have.
#[derive(Clone, Debug)]
pub struct Fields(Arc<dyn ValueFields>);

impl Fields {
    /// These.
    pub fn new(fields: Arc<dyn ValueFields>) -> Self {
        Self(fields)
    }

    fn bits(&self, word: usize) -> u64 {
        self.0.bits().get(word).copied().unwrap_or(0)
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.0.bits() == other.0.bits()
    }
}

impl Eq for Fields {}

/// A value's spin lock: half of one of its words.
struct ValueLock<'a> {
    word: &'a AtomicU64,
    /// The bit that says that it is taken.
    taken: u64,
    /// All bits of the lock.
    bits: u64,
}

impl<'a> ValueLock<'a> {
    fn of(shape: &MapShape, value: SharedBytes<'a>) -> Option<Self> {
        let offset = shape.spin_lock? as usize;
        let word = value.words().get(offset / WORD)?;
        let shift = 8 * (offset % WORD);
        Some(Self { word, taken: 1 << shift, bits: 0xffff_ffff << shift })
    }

    fn acquire(&self) {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            let free = seen & self.bits == 0;
            let taken = seen | self.taken;
            if free
                && self
                    .word
                    .compare_exchange_weak(seen, taken, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn release(&self) {
        self.word.fetch_and(!self.bits, Ordering::Release);
    }
}

impl MapShape {
    /// Sets a value, all but its lock; under the lock if the flags say so.
    pub(crate) fn store(
        &self,
        place: SharedBytes<'_>,
        bytes: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        if bytes.len() != place.len() {
            return Err(MapError::ValueLength { length: bytes.len(), expected: place.len() });
        }
        let lock = ValueLock::of(self, place);
        if lock.is_none() && self.fields.is_none() {
            place.copy_from(bytes);
            return Ok(());
        }
        let locked = lock.as_ref().filter(|_| flags.contains(UpdateFlags::LOCK));
        if let Some(lock) = locked {
            lock.acquire();
        }
        place.copy_from_but(bytes, |word| self.apart(word));
        if let Some(lock) = locked {
            lock.release();
        }
        Ok(())
    }

    /// The bits of a value's word that are not data.
    fn apart(&self, word: usize) -> u64 {
        let lock = self.spin_lock.map(|offset| offset as usize).filter(|at| at / WORD == word);
        let lock = lock.map_or(0, |at| 0xffff_ffff << (8 * (at % WORD)));
        lock | self.fields.as_ref().map_or(0, |fields| fields.bits(word))
    }

    /// Gives back what a value holds that goes.
    pub(crate) fn release(&self, value: SharedBytes<'_>) {
        if let Some(fields) = &self.fields {
            fields.0.release(value);
        }
    }

    /// Stops what runs by itself on behalf of this map.
    pub(crate) fn host_gone(&self, map: MapId) {
        if let Some(fields) = &self.fields {
            fields.0.host_gone(map);
        }
    }

    /// Copies a value out, its lock and what is not data as zeros; under the lock if the flags say so.
    pub(crate) fn load(&self, place: SharedBytes<'_>, out: &mut [u8], flags: UpdateFlags) {
        let lock = ValueLock::of(self, place).filter(|_| flags.contains(UpdateFlags::LOCK));
        if let Some(lock) = &lock {
            lock.acquire();
        }
        place.copy_to(out);
        if let Some(lock) = &lock {
            lock.release();
        }
        if let Some(offset) = self.spin_lock {
            let lock = offset as usize..(offset + SPIN_LOCK_SIZE) as usize;
            if let Some(lock) = out.get_mut(lock) {
                lock.fill(0);
            }
        }
        if let Some(fields) = &self.fields {
            for (word, chunk) in out.chunks_mut(WORD).enumerate() {
                for (byte, apart) in chunk.iter_mut().zip(fields.bits(word).to_le_bytes()) {
                    *byte &= !apart;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use bpf_abi::map::{MapSpec, MapType};

    use crate::map::Map;
    use crate::types::create_with;
    use crate::{MapError, World};

    use super::*;

    const NONE: UpdateFlags = UpdateFlags::empty();
    const LOCK: UpdateFlags = UpdateFlags::LOCK;

    /// A map of values of 20 bytes with a lock at byte 4.
    fn map(map_type: MapType) -> Arc<dyn Map> {
        let spec = MapSpec::new("m", map_type, 4, 20, 4);
        create_with(&spec, Some(4), &World::with_cpus(2)).unwrap()
    }

    #[test]
    fn flags_are_answered_as_by_linux() {
        for map_type in [MapType::Array, MapType::Hash] {
            let map = map(map_type);
            let update = |flags| map.host().update(&[0; 4], &[1; 20], flags);
            assert_eq!(update(LOCK), Ok(()));
            assert_eq!(update(LOCK), Ok(()));
            assert_eq!(update(LOCK | UpdateFlags::NOEXIST), Err(MapError::Exists));
            assert!(map.host().lookup(&[0; 4], LOCK).is_ok());
            assert!(map.host().lookup(&[0; 4], NONE).is_ok());
        }
    }

    #[test]
    fn the_lock_is_neither_written_nor_shown() {
        for map_type in [MapType::Array, MapType::Hash] {
            let map = map(map_type);
            map.host().update(&[0; 4], &[0xff; 20], NONE).unwrap();
            let value = map.lookup(crate::CpuId(0), &[0; 4]).unwrap();
            assert_eq!(value.to_vec(), [[0xff; 4].as_slice(), &[0; 4], &[0xff; 12]].concat());
            // Held by a program: others' copies leave it so.
            value.words()[0].fetch_or(1 << 32, Ordering::Relaxed);
            if map_type == MapType::Array {
                map.host().update(&[0; 4], &[7; 20], NONE).unwrap();
                assert_eq!(value.to_vec()[4..8], [1, 0, 0, 0]);
            }
            assert_eq!(map.host().lookup(&[0; 4], NONE).unwrap()[4..8], [0; 4]);
        }
    }

    #[test]
    fn copies_under_the_lock_are_whole() {
        for map_type in [MapType::Array, MapType::Hash] {
            let map = map(map_type);
            map.host().update(&[0; 4], &[0; 20], NONE).unwrap();
            let each = if cfg!(miri) { 20 } else { 3000_u32 };
            thread::scope(|scope| {
                for writer in 1..3_u8 {
                    let map = &map;
                    scope.spawn(move || {
                        for _ in 0..each {
                            map.host().update(&[0; 4], &[writer; 20], LOCK).unwrap();
                        }
                    });
                }
                for _ in 0..each {
                    let value = map.host().lookup(&[0; 4], LOCK).unwrap();
                    let data = [&value[..4], &value[8..]].concat();
                    assert!(data.iter().all(|byte| *byte == data[0]), "{data:?}");
                }
            });
        }
    }

    #[test]
    fn a_lock_lies_in_a_value_of_an_array_or_a_hash_map() {
        let refused = |map_type, offset| {
            let spec = MapSpec::new("m", map_type, 4, 20, 4);
            create_with(&spec, Some(offset), &World::with_cpus(1)).unwrap_err()
        };
        for (map_type, offset) in
            [(MapType::Array, 2), (MapType::Array, 20), (MapType::Hash, 18), (MapType::LruHash, 0)]
        {
            assert_eq!(refused(map_type, offset), MapError::SpinLock { offset });
        }
        assert!(matches!(refused(MapType::Array, u32::MAX - 3), MapError::SpinLock { .. }));
    }
}
