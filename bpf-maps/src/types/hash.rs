//! Hash maps: entries at keys, one value each, or one each a CPU.
//!
//! Lookups take no lock: they walk a bucket from its head, and begin again if they notice that
//! they have strayed into another bucket (see [`slab`](crate::slab)), or if they find nothing and
//! the bucket has changed meanwhile: an element used again may stand behind the one looked for.
//! Whoever changes a bucket holds its lock. A lock is shared by several buckets, and has an element of its own, so that
//! an update can put a whole new element in the place of an old one even when the map is full;
//! the old one is then the lock's.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use bpf_abi::map::{HashLayout, MapFlags, MapLayout, MapType, UpdateFlags};

use crate::bytes::{Memory, SharedBytes, WORD, low, word_of, words_of};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::host::{Batch, BatchKinds};
use crate::map::{Go, Map};
use crate::percpu::PercpuValues;
use crate::shape::{MapCore, MapShape};
use crate::slab::{ElemId, Link, Slab};
use crate::sync::hold;
use crate::types::lru::Clock;
use crate::world::World;

/// Entries at keys. Linux: `htab_map_ops`, `htab_percpu_map_ops`,
/// `htab_lru_map_ops`, `htab_lru_percpu_map_ops`.
#[derive(Debug)]
pub(crate) struct Hash {
    core: MapCore,
    table: Table,
    /// The values, if there is one a CPU: then elements have none.
    percpu: Option<PercpuValues>,
    /// What makes room in a full map, if something does.
    clock: Option<Clock>,
}

/// The buckets and their elements.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) slab: Slab,
    /// Of each bucket, how often it was relinked (32) | its first link (32).
    heads: Memory,
    /// The number of buckets less one: they are a power of two.
    mask: u32,
    stripes: Box<[Stripe]>,
    seed: u64,
    factor: u64,
}

/// A lock of some buckets, and the element that stands in when one of theirs is replaced.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Stripe(pub(crate) Mutex<ElemId>);

/// How often a lookup begins again before it takes the lock.
const PATIENCE: u32 = 32;

/// The low half of a head: its link.
const LOW: u64 = 0xffff_ffff;

/// The first link that a bucket's head tells.
#[inline]
fn first_of(head: u64, bucket: u32) -> Link {
    match low(head) {
        0 => Link::end_of(bucket),
        link => Link(link),
    }
}

/// Where an element is in its bucket: what links to it, and what it links to.
#[derive(Clone, Copy, Debug)]
struct Place {
    elem: ElemId,
    before: Option<ElemId>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(shape: &MapShape, world: &World, value_len: usize) -> Result<Self, MapError> {
        let buckets = u64::from(shape.max_entries).next_power_of_two();
        let locks = (u64::from(world.cpus().count()) * 4).next_power_of_two().min(buckets);
        // Both are powers of two that a `u32` less one can hold.
        let mask = low(buckets - 1);
        let locks = low(locks);
        let slab = Slab::new(shape.max_entries, locks, shape.key_len(), value_len)?;
        let stripes = (0..locks).map(|nth| Stripe(Mutex::new(slab.apart(nth)))).collect();
        let zero_seed = shape.flags.contains(MapFlags::ZERO_SEED);
        let seed = if zero_seed { 0 } else { world.seed() };
        // A word that is the seed, or the factor, takes the other out of the product. Words of
        // keys are often zero: neither is, but for one seed of all.
        let factor = (seed.rotate_left(32) ^ ODD) | 1;
        let seed = seed ^ OTHER;
        Ok(Self { slab, heads: Memory::new(buckets, 64)?, mask, stripes, seed, factor })
    }

    pub(crate) fn buckets(&self) -> u32 {
        self.mask + 1
    }

    /// Mixes a key into 32 bits, two words at a time: see [`HashLayout`].
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u32 {
        let mut state = self.seed;
        for pair in key.chunks(2 * WORD) {
            let (first, second) = pair.split_at(pair.len().min(WORD));
            state = fold(state ^ word_of(first), self.factor ^ word_of(second));
        }
        low(state ^ state >> 32)
    }

    /// How it lies, if its elements have the values and nobody marks their use.
    fn layout(&self) -> HashLayout {
        HashLayout {
            buckets: self.heads.addr(),
            mask: self.mask,
            elements: self.slab.addr(),
            stride: self.slab.stride(),
            seed: self.seed,
            factor: self.factor,
            used: None,
            percpu: None,
        }
    }

    #[inline]
    fn head(&self, bucket: u32) -> &AtomicU64 {
        &self.heads[bucket as usize]
    }

    #[inline]
    pub(crate) fn first(&self, bucket: u32) -> Link {
        first_of(self.head(bucket).load(Ordering::Acquire), bucket)
    }

    /// The lock of a bucket.
    pub(crate) fn stripe(&self, bucket: u32) -> &Stripe {
        &self.stripes[bucket as usize & (self.stripes.len() - 1)]
    }

    pub(crate) fn bucket_of(&self, hash: u32) -> u32 {
        hash & self.mask
    }

    /// The element with this key, found without a lock.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<ElemId> {
        let hash = self.hash(key);
        let bucket = self.bucket_of(hash);
        for _ in 0..PATIENCE {
            if let Some(found) = self.walk(bucket, hash, key) {
                return found;
            }
        }
        let _guard = hold(&self.stripe(bucket).0);
        Some(self.place(bucket, hash, key)?.elem)
    }

    /// Looks through a bucket without a lock. Nothing: the bucket changed, so nobody can tell.
    #[inline]
    #[expect(clippy::option_option, reason = "the outer says whether the inner is known")]
    fn walk(&self, bucket: u32, hash: u32, key: &[u8]) -> Option<Option<ElemId>> {
        let head = self.head(bucket);
        let begun = head.load(Ordering::Acquire);
        let mut link = first_of(begun, bucket);
        while let Some(elem) = link.elem() {
            if self.slab.has_key(elem, hash, key)? {
                return Some(Some(elem));
            }
            link = self.slab.next(elem);
        }
        // Whoever was led astray has seen what was written after an element had left this bucket
        // and its head had said so.
        fence(Ordering::Acquire);
        let is_same = head.load(Ordering::Relaxed) & !LOW == begun & !LOW;
        (is_same && link == Link::end_of(bucket)).then_some(None)
    }

    /// The element with this key. The bucket is locked.
    fn place(&self, bucket: u32, hash: u32, key: &[u8]) -> Option<Place> {
        let mut before = None;
        let mut link = self.first(bucket);
        while let Some(elem) = link.elem() {
            if self.slab.has_key(elem, hash, key) == Some(true) {
                return Some(Place { elem, before });
            }
            before = Some(elem);
            link = self.slab.next(elem);
        }
        None
    }

    /// Where an element is. The bucket is locked.
    pub(crate) fn place_of(&self, bucket: u32, wanted: ElemId) -> Option<Option<ElemId>> {
        let mut before = None;
        let mut link = self.first(bucket);
        while let Some(elem) = link.elem() {
            if elem == wanted {
                return Some(before);
            }
            before = Some(elem);
            link = self.slab.next(elem);
        }
        None
    }

    /// Sets what follows `before`, or is first. The bucket is locked.
    ///
    /// An element that this takes out of the bucket is not to be written before.
    pub(crate) fn relink(&self, bucket: u32, before: Option<ElemId>, link: Link) {
        let head = self.head(bucket);
        let was = head.load(Ordering::Relaxed);
        let first = match before {
            Some(before) => {
                self.slab.set_next(before, link);
                was & LOW
            }
            None => u64::from(link.0),
        };
        head.store((was & !LOW).wrapping_add(1 << 32) | first, Ordering::Release);
    }

    /// Puts an element first. The bucket is locked.
    fn insert(&self, bucket: u32, elem: ElemId) {
        self.slab.set_next(elem, self.first(bucket));
        self.relink(bucket, None, Link::to(elem));
    }

    /// The elements of a bucket, which is locked, or may change meanwhile.
    fn elems(&self, bucket: u32) -> impl Iterator<Item = ElemId> {
        let mut link = self.first(bucket);
        std::iter::from_fn(move || {
            let elem = link.elem()?;
            link = self.slab.next(elem);
            Some(elem)
        })
    }

    /// The key after `key` in the order of the buckets.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        let found = key.and_then(|key| self.find(key).map(|elem| (self.hash(key), elem)));
        let mut bucket = 0;
        if let Some((hash, elem)) = found {
            bucket = self.bucket_of(hash);
            let link = self.slab.next(elem);
            if let Some(after) = link.elem() {
                self.slab.key(after).copy_to(next);
                return Ok(());
            }
            bucket += 1;
        }
        let rest = (bucket..self.buckets()).find_map(|bucket| self.first(bucket).elem());
        let elem = rest.ok_or(MapError::NotFound)?;
        self.slab.key(elem).copy_to(next);
        Ok(())
    }
}

impl Hash {
    /// An empty map.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let has_percpu = matches!(shape.map_type, MapType::PercpuHash | MapType::LruPercpuHash);
        let makes_room = matches!(shape.map_type, MapType::LruHash | MapType::LruPercpuHash);
        let value_len = if has_percpu { 0 } else { shape.value_len() };
        let mut map = Self::with_values_of(shape, value_len, world)?;
        if has_percpu {
            let cpus = world.cpus().count();
            map.percpu = Some(PercpuValues::new(map.shape(), map.table.slab.count(), cpus)?);
        }
        if makes_room {
            map.clock = Some(Clock::new(map.table.slab.count()));
        }
        Ok(map)
    }

    /// An empty map whose elements have values of another length than the host sees.
    pub(crate) fn with_values_of(
        shape: MapShape,
        value_len: usize,
        world: &World,
    ) -> Result<Self, MapError> {
        let table = Table::new(&shape, world, value_len)?;
        Ok(Self { core: MapCore::new(shape), table, percpu: None, clock: None })
    }

    /// Updates an entry, or makes one; `fill` writes a value into an element, which is an
    /// entry's already or new.
    fn put(
        &self,
        key: &[u8],
        flags: UpdateFlags,
        fill: impl Fn(ElemId, Occasion) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        self.shape().check_update_flags(flags)?;
        let table = &self.table;
        let hash = table.hash(key);
        let bucket = table.bucket_of(hash);
        let stripe = table.stripe(bucket);
        let mut spare = hold(&stripe.0);
        let old = table.place(bucket, hash, key);
        match old {
            Some(_) if flags.contains(UpdateFlags::NOEXIST) => return Err(MapError::Exists),
            None if flags.contains(UpdateFlags::EXIST) => return Err(MapError::NotFound),
            // Under a lock in the value, or a CPU's own: in place.
            Some(old) if self.percpu.is_some() || flags.contains(UpdateFlags::LOCK) => {
                self.mark(old.elem);
                return fill(old.elem, Occasion::Old);
            }
            Some(old) => {
                let new = *spare;
                table.slab.write(new, hash, key, || fill(new, Occasion::New))?;
                table.slab.set_next(new, table.slab.next(old.elem));
                table.relink(bucket, old.before, Link::to(new));
                *spare = old.elem;
                self.let_go(old.elem);
                self.mark(new);
            }
            None => {
                let evict = || {
                    let evicted = self.clock.as_ref()?.evict(table, stripe);
                    evicted.inspect(|elem| self.let_go(*elem))
                };
                let new = table.slab.take().or_else(evict).ok_or(MapError::Full)?;
                let filled = table.slab.write(new, hash, key, || fill(new, Occasion::New));
                if let Err(error) = filled {
                    table.slab.free(new);
                    return Err(error);
                }
                table.insert(bucket, new);
            }
        }
        Ok(())
    }

    /// Gives back what an entry's value holds, which is an entry's no more.
    fn let_go(&self, elem: ElemId) {
        self.shape().release(self.table.slab.value(elem));
    }

    /// Says that an entry was used.
    #[inline]
    fn mark(&self, elem: ElemId) {
        if let Some(clock) = &self.clock {
            clock.mark(elem);
        }
    }

    /// Copies the value at `key` out, and makes sure that it is not another key's by now.
    pub(crate) fn read_whole(&self, key: &[u8], out: &mut [u8]) -> Option<()> {
        let hash = self.table.hash(key);
        loop {
            let elem = self.table.find(key)?;
            let slab = &self.table.slab;
            let version = slab.version(elem);
            if slab.has_key(elem, hash, key) != Some(true) {
                continue;
            }
            slab.value(elem).copy_to(out);
            fence(Ordering::Acquire);
            if slab.version(elem) == version {
                return Some(());
            }
        }
    }

    /// Removes the entry at `key`, after `last` has looked at it.
    fn remove(&self, key: &[u8], last: impl FnOnce(ElemId)) -> Result<(), MapError> {
        let table = &self.table;
        let hash = table.hash(key);
        let bucket = table.bucket_of(hash);
        let _guard = hold(&table.stripe(bucket).0);
        let place = table.place(bucket, hash, key).ok_or(MapError::NotFound)?;
        last(place.elem);
        table.relink(bucket, place.before, table.slab.next(place.elem));
        if let Some(clock) = &self.clock {
            clock.unmark(place.elem);
        }
        self.let_go(place.elem);
        table.slab.free(place.elem);
        Ok(())
    }

    fn copy_out(&self, elem: ElemId, out: &mut [u8], flags: UpdateFlags) {
        match &self.percpu {
            Some(values) => values.read(elem.0, out),
            None => self.shape().load(self.table.slab.value(elem), out, flags),
        }
    }

    fn store(&self, elem: ElemId, value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.shape().store(self.table.slab.value(elem), value, flags)
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        if self.shape().fields.is_some() {
            (0..self.table.slab.count()).for_each(|nth| self.let_go(ElemId(nth)));
        }
    }
}

/// Whether a value is written into an entry that there is, or for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Old,
    New,
}

impl Map for Hash {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn layout(&self) -> MapLayout {
        if self.shape().key_size > HashLayout::LONGEST_KEY {
            return MapLayout::Opaque;
        }
        MapLayout::Hash(HashLayout {
            used: self.clock.as_ref().map(Clock::addr),
            percpu: self.percpu.as_ref().map(PercpuValues::layout),
            ..self.table.layout()
        })
    }

    fn lookup(&self, cpu: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        let elem = self.table.find(key)?;
        self.mark(elem);
        match &self.percpu {
            Some(values) => values.value(cpu, elem.0),
            None => Some(self.table.slab.value(elem)),
        }
    }

    fn update(
        &self,
        cpu: CpuId,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        self.put(key, flags, |elem, occasion| match (&self.percpu, occasion) {
            (None, Occasion::Old | Occasion::New) => self.store(elem, value, flags),
            (Some(values), Occasion::New) => {
                values.write_one(cpu, elem.0, value);
                Ok(())
            }
            (Some(values), Occasion::Old) => {
                let place = values.value(cpu, elem.0).ok_or(MapError::NotFound)?;
                place.copy_from(value);
                Ok(())
            }
        })
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.remove(key, |_| {})
    }

    fn visit(&self, cpu: CpuId, each: &mut dyn FnMut(u64, u64) -> Go) -> Option<u64> {
        let table = &self.table;
        // Who changes the map at each step could lead us round and round.
        let most = u64::from(table.slab.count()) * 2;
        let mut count = 0;
        for bucket in 0..table.buckets() {
            let mut link = table.first(bucket);
            while let Some(elem) = link.elem().filter(|_| count < most) {
                // Its entry may be gone when we are back.
                link = table.slab.next(elem);
                let value = match &self.percpu {
                    Some(values) => values.value(cpu, elem.0)?,
                    None => table.slab.value(elem),
                };
                count += 1;
                if each(table.slab.key(elem).addr(), value.addr()) == Go::Stop {
                    return Some(count);
                }
            }
        }
        Some(count)
    }

    fn host_value_size(&self) -> usize {
        self.percpu.as_ref().map_or(self.shape().value_len(), PercpuValues::host_value_size)
    }

    fn read(&self, key: &[u8], out: &mut [u8], flags: UpdateFlags) -> Result<(), MapError> {
        let elem = self.table.find(key).ok_or(MapError::NotFound)?;
        self.copy_out(elem, out, flags);
        Ok(())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.put(key, flags, |elem, _| match &self.percpu {
            None => self.store(elem, value, flags),
            Some(values) => {
                values.write(elem.0, value);
                Ok(())
            }
        })
    }

    fn take(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        self.remove(key, |elem| self.copy_out(elem, out, UpdateFlags::empty()))
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.table.next_key(key, next)
    }

    fn entry_at(&self, address: u64) -> Option<(Vec<u8>, u64)> {
        self.table.slab.entry_at(address)
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::all()
    }

    fn read_batch(
        &self,
        cursor: Option<&[u8]>,
        max: usize,
        takes: bool,
    ) -> Result<Batch, MapError> {
        let table = &self.table;
        let start = cursor.map_or(0, |cursor| word_of(cursor.get(..4).unwrap_or(cursor)));
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        let mut batch = Batch::default();
        let value_size =
            self.percpu.as_ref().map_or(table.slab.value_len(), PercpuValues::host_value_size);
        for bucket in start..table.buckets() {
            let _guard = hold(&table.stripe(bucket).0);
            let elems: Vec<ElemId> = table.elems(bucket).collect();
            if batch.entries.len() + elems.len() > max {
                if batch.entries.is_empty() {
                    return Err(MapError::NoSpace);
                }
                batch.next = Some(bucket.to_le_bytes().to_vec());
                return Ok(batch);
            }
            for elem in elems {
                let mut value = vec![0; value_size];
                self.copy_out(elem, &mut value, UpdateFlags::empty());
                batch.entries.push((table.slab.key(elem).to_vec(), value));
                if takes {
                    table.relink(bucket, None, table.slab.next(elem));
                    self.let_go(elem);
                    table.slab.free(elem);
                }
            }
        }
        Ok(batch)
    }
}

/// Numbers without a pattern.
const ODD: u64 = 0xd6e8_feb8_6659_fd93;
const OTHER: u64 = 0xa076_1d64_78bd_642f;

/// Multiplies to double width and folds the result.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    a.wrapping_mul(b) ^ (product >> 64) as u64
}

/// Mixes bytes into 64 bits. Different seeds make hashes that have nothing to do with each other.
#[inline]
pub(crate) fn hash_wide(seed: u64, key: &[u8]) -> u64 {
    let mut state = seed ^ (key.len() as u64).wrapping_mul(ODD);
    for word in words_of(key) {
        state = fold(state ^ word ^ OTHER, ODD).wrapping_add(seed);
    }
    fold(state, 0xe703_7ed1_a0b4_28db)
}

/// Mixes bytes into 32 bits: see [`hash_wide`].
#[inline]
pub(crate) fn hash(seed: u64, key: &[u8]) -> u32 {
    let state = hash_wide(seed, key);
    low(state ^ state >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::thread;

    use bpf_abi::map::MapSpec;

    use super::*;
    use crate::create;

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Arc<dyn Map> {
        let spec = MapSpec::new("h", map_type, key_size, value_size, max_entries);
        create(&spec, &World::with_cpus(2)).unwrap()
    }

    fn key(n: u32) -> [u8; 4] {
        n.to_le_bytes()
    }

    #[test]
    fn it_holds_what_a_plain_map_would() {
        let hash = map(MapType::Hash, 4, 4, 50);
        let mut plain = BTreeMap::new();
        let mut random = 1_u32;
        for step in 0..if cfg!(miri) { 300 } else { 20_000_u32 } {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (random >> 16) % 80;
            if random >> 30 == 0 {
                assert_eq!(hash.delete(&key(n)).is_ok(), plain.remove(&n).is_some());
            } else {
                let fits = plain.len() < 50 || plain.contains_key(&n);
                let result = hash.update(CpuId(0), &key(n), &key(step), NONE);
                assert_eq!(result, if fits { Ok(()) } else { Err(MapError::Full) });
                if fits {
                    plain.insert(n, step);
                }
            }
            let seen = hash.lookup(CpuId(0), &key(n)).map(SharedBytes::to_vec);
            assert_eq!(seen, plain.get(&n).map(|step| key(*step).to_vec()));
        }
        let entries: BTreeMap<_, _> = hash.host().entries().unwrap().into_iter().collect();
        let plain: BTreeMap<_, _> =
            plain.iter().map(|(n, step)| (key(*n).to_vec(), key(*step).to_vec())).collect();
        assert_eq!(entries, plain);
    }

    #[test]
    fn a_full_map_can_still_be_updated_but_not_grown() {
        for map_type in [MapType::Hash, MapType::PercpuHash] {
            let hash = map(map_type, 4, 8, 3);
            for n in 0..3 {
                hash.update(CpuId(0), &key(n), &[1; 8], NONE).unwrap();
            }
            for n in (0..3).cycle().take(20) {
                hash.update(CpuId(1), &key(n), &[2; 8], NONE).unwrap();
            }
            let error = hash.update(CpuId(0), &key(3), &[1; 8], NONE);
            assert_eq!(error, Err(MapError::Full));
            hash.delete(&key(1)).unwrap();
            hash.update(CpuId(0), &key(3), &[1; 8], NONE).unwrap();
        }
    }

    #[test]
    fn a_deleted_value_is_used_again_at_once() {
        let hash = map(MapType::Hash, 4, 8, 10);
        hash.update(CpuId(0), &key(1), &[1; 8], NONE).unwrap();
        let held = hash.lookup(CpuId(0), &key(1)).unwrap();
        hash.delete(&key(1)).unwrap();
        hash.update(CpuId(0), &key(2), &[2; 8], NONE).unwrap();
        assert_eq!(held.to_vec(), [2; 8]);
    }

    #[test]
    fn flags_say_whether_a_key_must_be_new_or_old() {
        let hash = map(MapType::Hash, 4, 8, 10);
        let update = |flags| hash.update(CpuId(0), &key(1), &[1; 8], flags);
        assert_eq!(update(UpdateFlags::EXIST), Err(MapError::NotFound));
        assert_eq!(update(UpdateFlags::NOEXIST), Ok(()));
        assert_eq!(update(UpdateFlags::NOEXIST), Err(MapError::Exists));
        assert_eq!(update(UpdateFlags::EXIST), Ok(()));
        let both = UpdateFlags::EXIST | UpdateFlags::NOEXIST;
        assert_eq!(update(both), Err(MapError::OperationFlags(both)));
    }

    #[test]
    fn a_new_percpu_entry_is_zero_on_other_cpus_even_if_used_before() {
        let hash = map(MapType::PercpuHash, 4, 4, 1);
        let all = [[7; 8], [7; 8]].concat();
        hash.host().update(&key(1), &all, NONE).unwrap();
        assert_eq!(hash.lookup(CpuId(1), &key(1)).unwrap().to_vec(), [7; 4]);
        hash.delete(&key(1)).unwrap();
        hash.update(CpuId(1), &key(2), &[9; 4], NONE).unwrap();
        let seen = hash.host().lookup(&key(2), NONE).unwrap();
        assert_eq!(seen, [[0; 8], [9, 9, 9, 9, 0, 0, 0, 0]].concat());
        hash.update(CpuId(0), &key(2), &[1; 4], NONE).unwrap();
        assert_eq!(hash.lookup(CpuId(1), &key(2)).unwrap().to_vec(), [9; 4]);
    }

    #[test]
    fn batches_cover_every_entry_once() {
        let hash = map(MapType::Hash, 4, 4, 100);
        for n in 0..100 {
            hash.host().update(&key(n), &key(n), NONE).unwrap();
        }
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let batch = hash.host().lookup_batch(cursor.as_deref(), 9).unwrap();
            assert!(batch.entries.len() <= 9);
            seen.extend(batch.entries);
            cursor = batch.next;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort();
        let mut wanted: Vec<_> = (0..100).map(|n| (key(n).to_vec(), key(n).to_vec())).collect();
        wanted.sort();
        assert_eq!(seen, wanted);
        let taken = hash.host().lookup_and_delete_batch(None, 1000).unwrap();
        assert_eq!(taken.entries.len(), 100);
        assert_eq!(hash.host().entries().unwrap(), []);
        assert_eq!(hash.host().lookup_batch(None, 1), Ok(Batch::default()));
    }

    #[test]
    fn a_lookup_never_misses_a_key_that_stays_nor_finds_a_wrong_value() {
        let hash = map(MapType::Hash, 16, 16, 8);
        let wide = |n: u32| [key(n), key(n), key(n), key(n)].concat();
        // Keys 0 and 1 stay, and are replaced all the time; others come and go.
        for n in 0..2 {
            hash.update(CpuId(0), &wide(n), &wide(n), NONE).unwrap();
        }
        let each = if cfg!(miri) { 60 } else { 30_000_u32 };
        thread::scope(|scope| {
            for writer in 0..2_u32 {
                let hash = &hash;
                scope.spawn(move || {
                    for step in 0..each {
                        let n = 2 + (step * 7 + writer) % 20;
                        let _ = hash.update(CpuId(0), &wide(n), &wide(n), NONE);
                        let _ = hash.delete(&wide(2 + (step * 3 + writer) % 20));
                        hash.update(CpuId(0), &wide(writer), &wide(writer), NONE).unwrap();
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for step in 0..each {
                        let stays = wide(step % 2);
                        assert!(
                            hash.lookup(CpuId(0), &stays).is_some(),
                            "key {} is gone",
                            step % 2
                        );
                        let mut next = [0; 16];
                        let _ = hash.next_key(Some(&stays), &mut next);
                    }
                });
            }
        });
        assert!(hash.host().entries().unwrap().len() <= 8);
    }

    #[test]
    fn equal_seeds_order_keys_alike_and_hashes_spread() {
        let order = || {
            let hash = map(MapType::Hash, 4, 4, 64);
            for n in 0..64 {
                hash.update(CpuId(0), &key(n), &key(n), NONE).unwrap();
            }
            hash.host().entries().unwrap()
        };
        assert_eq!(order(), order());
        let mut buckets = [0_u32; 256];
        for n in 0..256 * 16_u32 {
            buckets[hash(1, &n.to_le_bytes()) as usize % 256] += 1;
        }
        // Sixteen each on average; a fair throw of this size stays well within these bounds.
        assert!(buckets.iter().all(|count| (2..40).contains(count)), "{buckets:?}");
    }

    #[test]
    fn keys_with_patterns_spread_over_the_buckets() {
        type Pattern = fn(u32) -> Vec<u8>;
        let patterns: [Pattern; 8] = [
            |n| key(n).to_vec(),
            |n| key(n << 8).to_vec(),
            |n| key(n << 20).to_vec(),
            |n| n.swap_bytes().to_le_bytes().to_vec(),
            |n| (u64::from(n) << 32).to_le_bytes().to_vec(),
            |n| (u64::from(n) * 64).to_le_bytes().to_vec(),
            |n| [[0; 8], (u64::from(n) << 16).to_le_bytes()].concat(),
            |n| [key(0x0a00_0001), key(0x0a00_0000 + n), key(443), key(n << 16)].concat(),
        ];
        for seed in 0..8_u64 {
            let world = World::with_cpus(2).with_seed(seed.wrapping_mul(0x9e37_79b9_97f4_a7c1));
            for (nth, pattern) in patterns.iter().enumerate() {
                let size = u32::try_from(pattern(0).len()).unwrap();
                let spec = MapSpec::new("h", MapType::Hash, size, 8, 256);
                let table = Table::new(&MapShape::of(&spec), &world, 8).unwrap();
                let mut buckets = [0_u32; 256];
                for n in 0..256 * 16 {
                    buckets[table.bucket_of(table.hash(&pattern(n))) as usize] += 1;
                }
                assert!(buckets.iter().all(|count| *count < 64), "{seed} {nth} {buckets:?}");
                let empty = buckets.iter().filter(|count| **count == 0).count();
                assert!(empty < 32, "{seed} {nth} {buckets:?}");
            }
        }
    }
}
