//! Memory that goes round: its bytes lie twice in a row, so that whatever begins in it also
//! lies in one piece.
//!
//! ```text
//!   +------+----------------+----------------+
//!   | head | the bytes      | the same bytes |
//!   +------+----------------+----------------+
//! ```

use std::sync::atomic::AtomicU64;

use crate::bytes::WORD;
use crate::error::MapError;

/// The size of the head, in bytes, and what the size of the rest is a multiple of.
pub(crate) const PAGE: usize = 4096;

/// A head and bytes that go round, zero at first.
#[derive(Debug)]
pub(crate) struct Mirror {
    base: std::ptr::NonNull<AtomicU64>,
    size: usize,
}

// SAFETY: [owned-words] the mapping is owned by this value and reached as atomics.
#[expect(unsafe_code, reason = "a pointer to memory of its own")]
unsafe impl Send for Mirror {}
// SAFETY: [owned-words] as above.
#[expect(unsafe_code, reason = "a pointer to memory of its own")]
unsafe impl Sync for Mirror {}

impl Mirror {
    /// A head and so many bytes, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// Returns an error if there is not that much memory.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "maps memory twice")]
    pub(crate) fn new(size: usize) -> Result<Self, MapError> {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
        use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

        let no_memory = || MapError::NoMemory { bytes: size as u64 };
        let once = PAGE.checked_add(size).ok_or_else(no_memory)?;
        let twice = once.checked_add(size).ok_or_else(no_memory)?;
        let file = memfd_create("bpf-ring", MemfdFlags::CLOEXEC).map_err(|_| no_memory())?;
        ftruncate(&file, once as u64).map_err(|_| no_memory())?;
        let none = std::ptr::null_mut();
        // SAFETY: [owned-words] a new mapping at an address of the system's choice.
        let reserved = unsafe {
            mmap_anonymous(none, twice, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
        };
        let base = reserved.map_err(|_| no_memory())?;
        let words = std::ptr::NonNull::new(base.cast::<AtomicU64>()).ok_or_else(no_memory)?;
        // From here on, dropping it unmaps.
        let mirror = Self { base: words, size };
        let (access, fixed) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: [owned-words] replaces the beginning of the mapping made above.
        let first = unsafe { mmap(base, once, access, fixed, &file, 0) };
        first.map_err(|_| no_memory())?;
        let second = base.wrapping_byte_add(once);
        // SAFETY: [owned-words] replaces the rest of the mapping made above.
        let again = unsafe { mmap(second, size, access, fixed, &file, PAGE as u64) };
        again.map_err(|_| no_memory())?;
        Ok(mirror)
    }

    /// Memory cannot be mapped twice here.
    ///
    /// # Errors
    ///
    /// Always returns an error.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new(size: usize) -> Result<Self, MapError> {
        Err(MapError::NoMemory { bytes: size as u64 })
    }

    /// The address of the head.
    pub(crate) fn addr(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// The head and the bytes, twice.
    #[expect(unsafe_code, reason = "a slice of memory of its own")]
    fn all(&self) -> &[AtomicU64] {
        // SAFETY: [owned-words] so much was mapped, and is until the end of this value.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), (PAGE + 2 * self.size) / WORD) }
    }

    /// The first word of the head.
    pub(crate) fn head(&self) -> &AtomicU64 {
        &self.all()[0]
    }

    /// The words of the bytes, twice.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.all()[PAGE / WORD..]
    }
}

impl Drop for Mirror {
    #[expect(unsafe_code, reason = "unmaps memory of its own")]
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        // SAFETY: [owned-words] mapped in `new`, so long.
        let unmapped =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), PAGE + 2 * self.size) };
        #[cfg(target_os = "linux")]
        debug_assert!(unmapped.is_ok(), "a mapping of our own");
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", not(miri)))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_written_lies_twice() {
        let mirror = Mirror::new(2 * PAGE).unwrap();
        let words = mirror.words();
        assert_eq!(words.len(), 4 * PAGE / WORD);
        words[3].store(7, Ordering::Relaxed);
        words[3 * PAGE / WORD].store(9, Ordering::Relaxed);
        assert_eq!(words[3 + 2 * PAGE / WORD].load(Ordering::Relaxed), 7);
        assert_eq!(words[PAGE / WORD].load(Ordering::Relaxed), 9);
        assert_eq!(mirror.head().load(Ordering::Relaxed), 0);
    }
}
