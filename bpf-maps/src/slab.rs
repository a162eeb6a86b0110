//! Elements of hash maps: numbered, at addresses that stay, taken from a free list without a
//! lock.
//!
//! ```text
//!   word 0   version (32) | hash (32)
//!   word 1   free link (32) | next in bucket (32)
//!   word 2…  the key, then the value, each padded to words
//! ```
//!
//! A deleted element is used again at once. Who walks a bucket without a lock may therefore
//! stand on an element that now has another key and is in another bucket. Two things tell:
//! the *version*, odd while the key is written and different afterwards, brackets the reading
//! of a key (a sequence lock); and the *end* of a bucket says of which bucket it is.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::bytes::{Memory, SharedBytes, WORD, low, words_for, words_of};
use crate::error::MapError;

/// The number of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ElemId(pub(crate) u32);

/// What follows in a bucket: an element, or the end of some bucket.
///
/// Zero is the end that says nothing, in which everything begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) u32);

impl Link {
    const END: u32 = 1 << 31;

    pub(crate) const fn to(elem: ElemId) -> Self {
        Self(elem.0 + 1)
    }

    pub(crate) const fn end_of(bucket: u32) -> Self {
        Self(Self::END | bucket)
    }

    /// The element, if it is not an end.
    #[inline]
    pub(crate) const fn elem(self) -> Option<ElemId> {
        if self.0 == 0 || self.0 & Self::END != 0 { None } else { Some(ElemId(self.0 - 1)) }
    }
}

/// How many elements a slab can have. Linux has the same limit for entries.
pub(crate) const MOST: u64 = (1 << 31) - 2;

/// Elements, and which of them are free.
#[derive(Debug)]
pub(crate) struct Slab {
    words: Memory,
    /// How many words an element has.
    width: usize,
    key_len: usize,
    /// How many words a key has.
    key_words: usize,
    value_len: usize,
    /// How many elements the free list is for; behind them are those kept apart.
    capacity: u32,
    /// Those from here on have never been used. Touching none keeps their memory unused.
    fresh: AtomicU64,
    /// The first free one that has been used: a count against mistaken identity (32) | link.
    free: AtomicU64,
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// The low half of a word.
const LOW: u64 = 0xffff_ffff;

impl Slab {
    /// So many elements on the free list and so many kept apart from it.
    pub(crate) fn new(
        capacity: u32,
        apart: u32,
        key_len: usize,
        value_len: usize,
    ) -> Result<Self, MapError> {
        let width = 2 + words_for(key_len) + words_for(value_len);
        let elems = u64::from(capacity) + u64::from(apart);
        let bytes = elems.saturating_mul((width * WORD) as u64);
        if elems > MOST {
            return Err(MapError::NoMemory { bytes });
        }
        let words = Memory::new(bytes / WORD as u64, 64)?;
        let (fresh, free) = (AtomicU64::new(0), AtomicU64::new(0));
        let key_words = words_for(key_len);
        Ok(Self { words, width, key_len, key_words, value_len, capacity, fresh, free })
    }

    /// The elements kept apart.
    pub(crate) fn apart(&self, nth: u32) -> ElemId {
        ElemId(self.capacity + nth)
    }

    /// The address of the first.
    pub(crate) fn addr(&self) -> u64 {
        self.words.addr()
    }

    /// The distance of two, in bytes.
    pub(crate) fn stride(&self) -> u32 {
        // Lengths are limited, and so is what they add up to.
        low((self.width * WORD) as u64)
    }

    /// The length of a value, in bytes.
    pub(crate) const fn value_len(&self) -> usize {
        self.value_len
    }

    /// The key of the element that an address lies in, and where its value is.
    pub(crate) fn entry_at(&self, address: u64) -> Option<(Vec<u8>, u64)> {
        let at = address.checked_sub(self.addr())?;
        let nth = u32::try_from(at.checked_div(u64::from(self.stride()))?).ok()?;
        let elem = (nth < self.count()).then_some(ElemId(nth))?;
        Some((self.key(elem).to_vec(), self.value(elem).addr()))
    }

    /// How many elements there are in all.
    pub(crate) fn count(&self) -> u32 {
        // There are at most `MOST`.
        low((self.words.len() / self.width) as u64)
    }

    fn elem(&self, id: ElemId) -> &[AtomicU64] {
        let start = id.0 as usize * self.width;
        &self.words[start..start + self.width]
    }

    /// Its hash as it was when its key was last written, if it is not being written.
    pub(crate) fn hash(&self, id: ElemId) -> u32 {
        (self.elem(id)[0].load(Ordering::Relaxed) & LOW) as u32
    }

    /// What follows it in its bucket.
    #[inline]
    pub(crate) fn next(&self, id: ElemId) -> Link {
        Link((self.elem(id)[1].load(Ordering::Acquire) & LOW) as u32)
    }

    /// Says what follows it. Only whoever has it, or holds the lock of its bucket, may.
    pub(crate) fn set_next(&self, id: ElemId, next: Link) {
        let word = &self.elem(id)[1];
        let rest = word.load(Ordering::Relaxed) & !LOW;
        word.store(rest | u64::from(next.0), Ordering::Release);
    }

    /// Whether it has this key. `None`: it was being written, so nobody can tell.
    #[inline]
    pub(crate) fn has_key(&self, id: ElemId, hash: u32, key: &[u8]) -> Option<bool> {
        let elem = self.elem(id);
        let version = elem[0].load(Ordering::Acquire);
        if version & LOW != u64::from(hash) {
            return Some(false);
        }
        let is_equal = elem[2..2 + self.key_words].iter().map(load).eq(words_of(key));
        fence(Ordering::Acquire);
        let is_whole = version >> 32 & 1 == 0 && elem[0].load(Ordering::Relaxed) == version;
        is_whole.then_some(is_equal)
    }

    /// Its key, in place.
    pub(crate) fn key(&self, id: ElemId) -> SharedBytes<'_> {
        let words = &self.elem(id)[2..2 + self.key_words];
        SharedBytes::new(words, self.key_len)
    }

    /// Its value, in place.
    #[inline]
    pub(crate) fn value(&self, id: ElemId) -> SharedBytes<'_> {
        let words = &self.elem(id)[2 + self.key_words..];
        SharedBytes::new(words, self.value_len)
    }

    /// Gives it a key, and a value by `fill`. Only whoever has it may; it is in no bucket.
    pub(crate) fn write<T>(
        &self,
        id: ElemId,
        hash: u32,
        key: &[u8],
        fill: impl FnOnce() -> T,
    ) -> T {
        let word = &self.elem(id)[0];
        let version = word.load(Ordering::Relaxed) >> 32;
        let at = |version: u64| (version & LOW) << 32 | u64::from(hash);
        // Whoever sees this sees that it has left its bucket.
        word.store(at(version + 1), Ordering::Release);
        fence(Ordering::Release);
        self.key(id).copy_from(key);
        let filled = fill();
        word.store(at(version + 2), Ordering::Release);
        filled
    }

    /// The version of its key and value. Odd: they are being written.
    pub(crate) fn version(&self, id: ElemId) -> u64 {
        self.elem(id)[0].load(Ordering::Acquire) >> 32
    }

    /// Takes a free element: the one freed last, or one never used.
    pub(crate) fn take(&self) -> Option<ElemId> {
        let mut free = self.free.load(Ordering::Acquire);
        while let Some(id) = Link((free & LOW) as u32).elem() {
            // If another takes it meanwhile, this is not its link any more; then the count in
            // `free` has changed as well.
            let next = self.elem(id)[1].load(Ordering::Relaxed) >> 32;
            let rest = (free & !LOW).wrapping_add(1 << 32) | next;
            match self.free.compare_exchange_weak(free, rest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(id),
                Err(now) => free = now,
            }
        }
        self.take_fresh()
    }

    fn take_fresh(&self) -> Option<ElemId> {
        let capacity = u64::from(self.capacity);
        let next = |fresh| (fresh < capacity).then_some(fresh + 1);
        let fresh = self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(ElemId((fresh & LOW) as u32))
    }

    /// Frees an element that is in no bucket. Those who stand on it can still go on.
    pub(crate) fn free(&self, id: ElemId) {
        let word = &self.elem(id)[1];
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let link = word.load(Ordering::Relaxed) & LOW;
            word.store((free & LOW) << 32 | link, Ordering::Relaxed);
            let with = (free & !LOW).wrapping_add(1 << 32) | u64::from(Link::to(id).0);
            match self.free.compare_exchange_weak(free, with, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_elements_are_given_out_once() {
        let slab = Slab::new(3, 1, 4, 8).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| slab.take()).collect();
        assert_eq!(taken, [ElemId(0), ElemId(1), ElemId(2)]);
        assert_eq!(slab.apart(0), ElemId(3));
    }

    #[test]
    fn the_element_freed_last_is_used_first() {
        let slab = Slab::new(3, 0, 4, 8).unwrap();
        let [a, b] = [slab.take().unwrap(), slab.take().unwrap()];
        slab.free(a);
        slab.free(b);
        assert_eq!([slab.take(), slab.take(), slab.take()], [Some(b), Some(a), Some(ElemId(2))]);
        assert_eq!(slab.take(), None);
    }

    #[test]
    fn a_key_is_found_until_it_is_written_anew() {
        let slab = Slab::new(1, 0, 5, 3).unwrap();
        let id = slab.take().unwrap();
        slab.write(id, 7, b"abcde", || ());
        assert_eq!(slab.has_key(id, 7, b"abcde"), Some(true));
        assert_eq!(slab.has_key(id, 7, b"abcdf"), Some(false));
        assert_eq!(slab.has_key(id, 8, b"abcde"), Some(false));
        slab.write(id, 8, b"12345", || ());
        assert_eq!(slab.has_key(id, 7, b"abcde"), Some(false));
        assert_eq!(slab.key(id).to_vec(), b"12345");
    }

    #[test]
    fn no_element_is_given_to_two_threads() {
        let slab = Slab::new(4, 0, 4, 8).unwrap();
        let each = if cfg!(miri) { 50 } else { 20_000 };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..each {
                        let Some(id) = slab.take() else { continue };
                        let word = &slab.value(id).words()[0];
                        assert_eq!(word.swap(1, Ordering::Relaxed), 0, "{id:?} is taken");
                        word.store(0, Ordering::Relaxed);
                        slab.free(id);
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(|| slab.take()).count(), 4);
    }
}
