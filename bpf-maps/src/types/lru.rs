//! Which entry makes room: the clock of LRU hash maps.
//!
//! An entry that a program looked up since the hand last passed has a second chance. Linux
//! keeps lists, some of them a CPU's own, and evicts in batches; which entry goes is up to the
//! map in both, and is roughly the one used least recently.

use std::sync::TryLockError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::slab::ElemId;
use crate::types::hash::{Stripe, Table};

/// Marks of use, one bit an element, and a hand that goes round over them.
#[derive(Debug)]
pub(crate) struct Clock {
    used: Box<[AtomicU64]>,
    elems: u32,
    hand: AtomicU32,
}

impl Clock {
    /// A clock over so many elements, none of them used.
    pub(crate) fn new(elems: u32) -> Self {
        let used = (0..elems.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { used, elems, hand: AtomicU32::new(0) }
    }

    /// The address of the marks: element `i` has bit `i % 64` of word `i / 64`.
    pub(crate) fn addr(&self) -> u64 {
        self.used.as_ptr().expose_provenance() as u64
    }

    fn bit(&self, elem: ElemId) -> Option<(&AtomicU64, u64)> {
        Some((self.used.get(elem.0 as usize / 64)?, 1 << (elem.0 % 64)))
    }

    /// Says that an element was used.
    #[inline]
    pub(crate) fn mark(&self, elem: ElemId) {
        let Some((word, bit)) = self.bit(elem) else { return };
        // Entries used often are marked already, and their mark is only read.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Takes the mark off; whether there was one.
    pub(crate) fn unmark(&self, elem: ElemId) -> bool {
        let Some((word, bit)) = self.bit(elem) else { return false };
        word.load(Ordering::Relaxed) & bit != 0
            && word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    /// Takes an entry out of the table that was not used of late: its element is the caller's.
    /// The caller holds the lock `mine`.
    ///
    /// Entries whose lock another thread holds are passed by, so `None` is possible though the
    /// table is full; then all of the many others were in use.
    pub(crate) fn evict(&self, table: &Table, mine: &Stripe) -> Option<ElemId> {
        let rounds = u64::from(self.elems) * 4;
        (0..rounds).find_map(|_| {
            let elem = ElemId(self.hand.fetch_add(1, Ordering::Relaxed) % self.elems);
            if self.unmark(elem) {
                return None;
            }
            let bucket = table.bucket_of(table.slab.hash(elem));
            let stripe = table.stripe(bucket);
            let _guard = if std::ptr::eq(stripe, mine) {
                None
            } else {
                match stripe.0.try_lock() {
                    Ok(guard) => Some(guard),
                    Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                    Err(TryLockError::WouldBlock) => return None,
                }
            };
            // It may have been freed or used for another key before the lock was held.
            let before = table.place_of(bucket, elem)?;
            table.relink(bucket, before, table.slab.next(elem));
            Some(elem)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use bpf_abi::map::{MapSpec, MapType, UpdateFlags};

    use crate::cpu::CpuId;
    use crate::map::Map;
    use crate::{World, create};

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn map(map_type: MapType, max_entries: u32) -> Arc<dyn Map> {
        let spec = MapSpec::new("l", map_type, 4, 8, max_entries);
        create(&spec, &World::with_cpus(2)).unwrap()
    }

    fn key(n: u32) -> [u8; 4] {
        n.to_le_bytes()
    }

    #[test]
    fn entries_looked_up_stay_and_others_make_room() {
        for map_type in [MapType::LruHash, MapType::LruPercpuHash] {
            let lru = map(map_type, 16);
            for n in 0..1000 {
                lru.update(CpuId(0), &key(n), &[1; 8], NONE).unwrap();
                lru.lookup(CpuId(0), &key(3));
            }
            assert!(lru.lookup(CpuId(0), &key(3)).is_some(), "{map_type}");
            assert!(lru.lookup(CpuId(0), &key(999)).is_some());
            assert!(lru.lookup(CpuId(0), &key(4)).is_none());
            assert_eq!(lru.host().entries().unwrap().len(), 16);
        }
    }

    #[test]
    fn even_if_all_are_in_use_one_makes_room() {
        let lru = map(MapType::LruHash, 4);
        for n in 0..100 {
            lru.update(CpuId(0), &key(n), &[1; 8], NONE).unwrap();
            for m in 0..=n {
                lru.lookup(CpuId(0), &key(m));
            }
        }
        assert_eq!(lru.host().entries().unwrap().len(), 4);
    }

    #[test]
    fn the_hosts_looking_is_no_use() {
        let lru = map(MapType::LruHash, 2);
        for n in 0..3 {
            lru.host().update(&key(n), &[1; 8], NONE).unwrap();
            let _ = lru.host().lookup(&key(0), NONE);
        }
        assert!(lru.host().lookup(&key(0), NONE).is_err());
        assert!(lru.host().lookup(&key(2), NONE).is_ok());
    }

    #[test]
    fn many_threads_never_lose_an_element() {
        let lru = map(MapType::LruHash, 32);
        let each = if cfg!(miri) { 50 } else { 20_000_u32 };
        thread::scope(|scope| {
            for thread in 0..3_u32 {
                let lru = &lru;
                scope.spawn(move || {
                    for n in 0..each {
                        let key = key(n * 3 + thread);
                        let _ = lru.update(CpuId(0), &key, &[1; 8], NONE);
                        if n % 5 == 0 {
                            let _ = lru.delete(&key);
                        }
                    }
                });
            }
        });
        for n in 0..64 {
            lru.update(CpuId(0), &key(u32::MAX - n), &[1; 8], NONE).unwrap();
        }
        assert_eq!(lru.host().entries().unwrap().len(), 32);
    }
}
