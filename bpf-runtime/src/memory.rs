//! Memory that a running program reaches by address: contexts and packets.
//!
//! One owner at a time holds a [`Memory`]; programs and helpers touch it only while that owner
//! waits for them. So there are no references into it, only copies out of it and into it.
#![expect(unsafe_code, reason = "owns memory that programs address")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Zeroed bytes at a stable address, a multiple of 64.
///
/// Every access is checked: what lies outside reads as nothing and is not written.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: [owned-memory] a `Memory` owns its bytes as a `Box<[u8]>` does.
unsafe impl Send for Memory {}

impl Memory {
    /// `size` zero bytes.
    pub(crate) fn new(size: usize) -> Self {
        let size = size.max(8);
        let layout =
            Layout::from_size_align(size, 64).expect("sizes of packets and contexts are small");
        // SAFETY: [owned-memory] the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }

    /// How many bytes there are.
    pub(crate) const fn len(&self) -> usize {
        self.layout.size()
    }

    /// Where they are, for programs.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// Copies the bytes at `at` to `out`, or says that they are not there.
    #[inline]
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) -> Option<()> {
        self.check(at, out.len())?;
        // SAFETY: [owned-memory] `at..at + len` lies within the allocation, as just checked.
        let from = unsafe { self.start.as_ptr().add(at) };
        // SAFETY: [owned-memory] no reference into the memory exists, so `out` is elsewhere,
        // and no program runs on it while its owner is here.
        unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
        Some(())
    }

    /// Copies `bytes` to `at`, or says that there is no room there.
    #[inline]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        self.check(at, bytes.len())?;
        // SAFETY: [owned-memory] `at..at + len` lies within the allocation, as just checked.
        let to = unsafe { self.start.as_ptr().add(at) };
        // SAFETY: [owned-memory] no reference into the memory exists, so `bytes` is elsewhere,
        // and no program runs on it while its owner is here.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Some(())
    }

    /// Moves `len` bytes within the memory; the two places may overlap.
    pub(crate) fn shift(&self, from: usize, to: usize, len: usize) -> Option<()> {
        self.check(from, len)?;
        self.check(to, len)?;
        // SAFETY: [owned-memory] within the allocation, as just checked.
        let source = unsafe { self.start.as_ptr().add(from) };
        // SAFETY: [owned-memory] within the allocation, as just checked.
        let target = unsafe { self.start.as_ptr().add(to) };
        // SAFETY: [owned-memory] both ranges are within the allocation; overlap is allowed.
        unsafe { std::ptr::copy(source, target, len) };
        Some(())
    }

    /// Writes zeros.
    pub(crate) fn clear(&self, at: usize, len: usize) -> Option<()> {
        self.check(at, len)?;
        // SAFETY: [owned-memory] within the allocation, as just checked.
        let to = unsafe { self.start.as_ptr().add(at) };
        // SAFETY: [owned-memory] within the allocation, as just checked.
        unsafe { std::ptr::write_bytes(to, 0, len) };
        Some(())
    }

    /// A copy of the bytes at `at`; empty if they are not there.
    pub(crate) fn copy(&self, at: usize, len: usize) -> Vec<u8> {
        if self.check(at, len).is_none() {
            return Vec::new();
        }
        let mut out = vec![0; len];
        let _ = self.read(at, &mut out);
        out
    }

    /// The little-endian number at `at`.
    #[inline]
    pub(crate) fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        let _ = self.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// The little-endian number at `at`.
    #[cfg(test)]
    pub(crate) fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Sets the number at `at`.
    #[inline]
    pub(crate) fn set_u32(&self, at: usize, value: u32) {
        let _ = self.write(at, &value.to_le_bytes());
    }

    /// Sets the number at `at`.
    #[inline]
    pub(crate) fn set_u64(&self, at: usize, value: u64) {
        let _ = self.write(at, &value.to_le_bytes());
    }

    /// Whether `len` bytes lie at `at`.
    #[inline]
    fn check(&self, at: usize, len: usize) -> Option<()> {
        let end = at.checked_add(len)?;
        (end <= self.len()).then_some(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: [owned-memory] allocated in `new` with this layout, and not since freed.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_neither_read_nor_written() {
        let memory = Memory::new(16);
        assert_eq!(memory.write(8, &[1; 8]), Some(()));
        assert_eq!(memory.write(9, &[1; 8]), None);
        assert_eq!(memory.write(usize::MAX, &[1]), None);
        assert_eq!(memory.read(16, &mut [0]), None);
        assert_eq!(memory.shift(0, 9, 8), None);
        assert_eq!(memory.copy(8, 8), [1; 8]);
        assert_eq!(memory.copy(8, 9), [0u8; 0]);
    }

    #[test]
    fn overlapping_moves_keep_the_bytes() {
        let memory = Memory::new(16);
        memory.write(0, &[1, 2, 3, 4]).unwrap();
        memory.shift(0, 2, 4).unwrap();
        assert_eq!(memory.copy(0, 6), [1, 2, 1, 2, 3, 4]);
    }
}
