//! Memory that many threads write at once, and the only way to it that is no data race.
//!
//! A map's memory is an array of 64-bit atomic words. Programs write into it in place while
//! the host copies out of it, so there is never a `&[u8]` of it: [`SharedBytes`] copies by
//! relaxed atomic words. A copy taken during a write may be a mix of old and new words, as it
//! may be in the kernel; it is never undefined.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::MapError;

/// The size of a word, in bytes.
pub(crate) const WORD: usize = 8;

/// The lower half of a word.
#[inline]
pub(crate) const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// An address, or a size that was allocated, which both are as wide here.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "asserted below")]
pub(crate) const fn wide(number: u64) -> usize {
    number as usize
}

const _: () = assert!(usize::BITS == 64, "BPF addresses are 64 bits wide");

/// How many words hold this many bytes.
pub(crate) const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

/// Words at addresses that stay, zero at first.
///
/// Pages that are never touched cost nothing on systems that give out memory lazily.
pub(crate) struct Memory {
    words: NonNull<AtomicU64>,
    len: usize,
    layout: Layout,
}

// SAFETY: [owned-words] the words are owned by this value and are atomic.
#[expect(unsafe_code, reason = "a pointer to memory of its own")]
unsafe impl Send for Memory {}
// SAFETY: [owned-words] as above.
#[expect(unsafe_code, reason = "a pointer to memory of its own")]
unsafe impl Sync for Memory {}

impl Memory {
    /// So many zeroed words, the first at a multiple of `align` bytes.
    ///
    /// Invariant: `align` is a power of two.
    ///
    /// # Errors
    ///
    /// Returns an error if there is not that much memory.
    #[expect(unsafe_code, reason = "asks the allocator for zeroed memory of any alignment")]
    pub(crate) fn new(words: u64, align: usize) -> Result<Self, MapError> {
        let no_memory = || MapError::NoMemory { bytes: words.saturating_mul(WORD as u64) };
        let len = usize::try_from(words).map_err(|_| no_memory())?;
        let size = len.max(1).checked_mul(WORD).ok_or_else(no_memory)?;
        let layout = Layout::from_size_align(size, align.max(WORD)).map_err(|_| no_memory())?;
        // SAFETY: [owned-words] the size is at least one word.
        let start = unsafe { alloc_zeroed(layout) };
        let words = NonNull::new(start.cast::<AtomicU64>()).ok_or_else(no_memory)?;
        Ok(Self { words, len, layout })
    }

    /// The address of the first word. Programs use it: it stays as long as the memory.
    pub(crate) fn addr(&self) -> u64 {
        self.words.as_ptr().expose_provenance() as u64
    }
}

impl Deref for Memory {
    type Target = [AtomicU64];

    #[inline]
    #[expect(unsafe_code, reason = "a slice of memory of its own")]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: [owned-words] `len` words were allocated, zeroed and are freed in `drop`;
        // everyone else reaches them as atomics or, in program code, by machine instructions.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl Drop for Memory {
    #[expect(unsafe_code, reason = "gives memory back to the allocator")]
    fn drop(&mut self) {
        // SAFETY: [owned-words] allocated in `new` with this layout.
        unsafe { dealloc(self.words.as_ptr().cast::<u8>(), self.layout) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} words)", self.len)
    }
}

/// Bytes that programs and the host share: a map's value in place.
///
/// The address stays as long as the map; whoever reads may see another's write at any time.
#[derive(Clone, Copy)]
pub struct SharedBytes<'a> {
    words: &'a [AtomicU64],
    len: usize,
}

impl<'a> SharedBytes<'a> {
    /// The first `len` bytes of these words.
    ///
    /// Invariant: there are exactly as many words as the bytes need.
    pub(crate) fn new(words: &'a [AtomicU64], len: usize) -> Self {
        debug_assert_eq!(words.len(), words_for(len), "a value has its words, and no others");
        Self { words, len }
    }

    /// How many bytes there are.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The address of the first byte, a multiple of 8: what programs hold in a register.
    #[inline]
    pub fn addr(self) -> u64 {
        self.words.as_ptr().expose_provenance() as u64
    }

    /// Copies them out, as many as there are and `out` holds.
    pub fn copy_to(self, out: &mut [u8]) {
        let len = self.len.min(out.len());
        let Some(out) = out.get_mut(..len) else { return };
        let (chunks, rest) = out.as_chunks_mut::<WORD>();
        let last = self.words.get(chunks.len());
        for (chunk, word) in chunks.iter_mut().zip(self.words) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        if let Some(word) = last.filter(|_| !rest.is_empty()) {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            rest.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
    }

    /// Copies those from `at` on, if there are as many as `out` holds.
    pub fn read_at(self, at: usize, out: &mut [u8]) -> Option<()> {
        if at.checked_add(out.len())? > self.len {
            return None;
        }
        let (mut word, mut skip) = (at / WORD, at % WORD);
        let mut rest = out;
        while !rest.is_empty() {
            let bytes = self.words.get(word)?.load(Ordering::Relaxed).to_le_bytes();
            let (now, later) = rest.split_at_mut(rest.len().min(WORD - skip));
            now.copy_from_slice(bytes.get(skip..skip + now.len())?);
            rest = later;
            (word, skip) = (word + 1, 0);
        }
        Some(())
    }

    /// A copy of them.
    pub fn to_vec(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.copy_to(&mut bytes);
        bytes
    }

    /// Overwrites them with `bytes`, as many as there are and `bytes` holds. What is behind
    /// the last byte in its word becomes zero: it belongs to nobody.
    pub(crate) fn copy_from(self, bytes: &[u8]) {
        let len = self.len.min(bytes.len());
        let bytes = bytes.get(..len).unwrap_or_default();
        let (chunks, rest) = bytes.as_chunks::<WORD>();
        for (chunk, word) in chunks.iter().zip(self.words) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        if let Some(word) = self.words.get(chunks.len()).filter(|_| !rest.is_empty()) {
            word.store(word_of(rest), Ordering::Relaxed);
        }
    }

    /// As [`copy_from`](Self::copy_from), but leaves some bits of the words alone: for each word
    /// `apart` says which.
    pub(crate) fn copy_from_but(self, bytes: &[u8], apart: impl Fn(usize) -> u64) {
        for (at, (chunk, word)) in bytes.chunks(WORD).zip(self.words).enumerate() {
            let new = word_of(chunk);
            match apart(at) {
                0 => word.store(new, Ordering::Relaxed),
                u64::MAX => {}
                bits => {
                    let update = |old| Some((old & bits) | (new & !bits));
                    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
                }
            }
        }
    }

    /// Overwrites as many of them as there are in `bytes`, from `offset` on, and leaves the others as
    /// they are, whoever writes those meanwhile; whether they all are there.
    #[must_use]
    pub fn write_at(self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut at = offset;
        let mut rest = bytes;
        while let (Some(word), false) = (self.words.get(at / WORD), rest.is_empty()) {
            let (chunk, after) = rest.split_at(rest.len().min(WORD - at % WORD));
            let shift = 8 * (at % WORD);
            let new = word_of(chunk) << shift;
            if chunk.len() == WORD {
                word.store(new, Ordering::Relaxed);
            } else {
                let bits = ((1 << (8 * chunk.len())) - 1) << shift;
                let update = |old| Some((old & !bits) | new);
                let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
            }
            (at, rest) = (at + chunk.len(), after);
        }
        true
    }

    /// The words they lie in.
    pub(crate) const fn words(self) -> &'a [AtomicU64] {
        self.words
    }

    /// Overwrites them with zeros.
    pub(crate) fn clear(self) {
        for word in self.words {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Whether they are these bytes, if nobody writes meanwhile.
    #[inline]
    pub fn equals(self, bytes: &[u8]) -> bool {
        bytes.len() == self.len
            && bytes
                .chunks(WORD)
                .zip(self.words)
                .all(|(chunk, word)| word.load(Ordering::Relaxed) == word_of(chunk))
    }
}

impl fmt::Debug for SharedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}

/// Bytes as words, as they lie in memory; the last one is filled with zeros.
#[inline]
pub(crate) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(WORD).map(word_of)
}

/// Up to eight bytes as a word, as they lie in memory.
#[inline]
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    if let Ok(bytes) = <[u8; WORD]>::try_from(bytes) {
        return u64::from_le_bytes(bytes);
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return u64::from(u32::from_le_bytes(bytes));
    }
    let mut word = [0; WORD];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_in_comes_out_at_every_length() {
        let memory = Memory::new(4, 64).unwrap();
        for len in 0..=32 {
            let value = SharedBytes::new(&memory[..words_for(len)], len);
            let bytes: Vec<u8> = (1..=32).take(len).collect();
            value.copy_from(&bytes);
            assert_eq!(value.to_vec(), bytes);
            assert!(value.equals(&bytes));
            value.clear();
            assert_eq!(value.to_vec(), vec![0; len]);
        }
    }

    #[test]
    fn what_is_written_somewhere_leaves_the_rest_alone() {
        let memory = Memory::new(3, 64).unwrap();
        let value = SharedBytes::new(&memory[..3], 21);
        for offset in 0..=22 {
            for len in 0..=22 {
                value.copy_from(&[0xaa; 21]);
                let bytes: Vec<u8> = (1..=22).take(len).collect();
                let mut expected = vec![0xaa; 21];
                let fits = offset + len <= 21;
                if fits {
                    expected[offset..offset + len].copy_from_slice(&bytes);
                }
                assert_eq!(value.write_at(offset, &bytes), fits);
                assert_eq!(value.to_vec(), expected, "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn any_part_can_be_read() {
        let memory = Memory::new(4, 64).unwrap();
        let value = SharedBytes::new(&memory, 29);
        let bytes: Vec<u8> = (1..=29).collect();
        value.copy_from(&bytes);
        for at in 0..=29 {
            for len in 0..=29 - at {
                let mut out = vec![0; len];
                assert_eq!(value.read_at(at, &mut out), Some(()));
                assert_eq!(out, bytes[at..at + len]);
            }
            assert_eq!(value.read_at(at, &mut vec![0; 30 - at]), None);
        }
        assert_eq!(value.read_at(usize::MAX, &mut [0]), None);
    }

    #[test]
    fn memory_is_aligned_and_zero() {
        for align in [8, 64, 128, 4096] {
            let memory = Memory::new(3, align).unwrap();
            assert_eq!(memory.addr() % align as u64, 0);
            assert!(memory.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        }
    }

    #[test]
    fn too_much_memory_is_an_error() {
        let error = Memory::new(u64::MAX / 16, 8).unwrap_err();
        assert!(matches!(error, MapError::NoMemory { .. }), "{error}");
    }
}
