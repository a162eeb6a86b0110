//! Memory for code: written through one mapping, executed through another.
//!
//! ```text
//!                 writable alias          executable view
//!                 +---------------+       +---------------+
//!   memfd  ====>  | rw            | ====> | rx            |   near the host's own code
//!                 +---------------+       +---------------+
//! ```
//!
//! No page is ever writable and executable at the same address, and no protection changes. The
//! executable view lies in the same 4 GiB window as the host's code, if there is room: calls and
//! returns that stay in a window are predicted faster, and helpers are called with a 32-bit
//! displacement.
//!
//! Memory is given back when a [`Chunk`] is dropped and then used again. Before code in used
//! memory runs, every processor that runs this process is made to forget what it has fetched.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{MembarrierCommand, membarrier};

use crate::error::CompileError;

/// Chunks begin at multiples of this many bytes.
const ALIGN: usize = crate::finish::LINE;

/// The least memory that is worth reserving, in bytes.
const LEAST_RESERVE: usize = 64 << 10;

/// What unused memory is filled with: `int3`.
const UNUSED: u8 = 0xcc;

/// How far a 32-bit displacement reaches.
const REACH: usize = 0x7fff_0000;

/// The distance of the places that are tried for the executable view.
const PLACES: usize = 32 << 20;

/// The memory that one JIT puts its code in.
#[derive(Debug)]
pub(crate) struct Arena {
    rw: NonNull<u8>,
    rx: NonNull<u8>,
    size: usize,
    /// Whether processors can be made to forget what they have fetched.
    can_sync: bool,
    room: Mutex<Room>,
}

#[expect(unsafe_code, reason = "owns two mappings, which any thread may use")]
// SAFETY: [code-memory] the two mappings belong to the arena alone until it is dropped; what is
// written through them is written by the owner of a chunk, or by atomic stores.
unsafe impl Send for Arena {}
#[expect(unsafe_code, reason = "owns two mappings, which any thread may use")]
// SAFETY: [code-memory] as above.
unsafe impl Sync for Arena {}

/// Which parts of an arena are free: a map from where to how much, without neighbours.
#[derive(Debug)]
struct Room {
    free: BTreeMap<usize, usize>,
    /// Everything below has held code.
    used: usize,
}

impl Arena {
    /// Reserves at most `reserve` bytes.
    pub(crate) fn new(reserve: usize) -> Result<Self, CompileError> {
        let near = Self::new as *const () as usize;
        let mut size = reserve.clamp(LEAST_RESERVE, 1 << 30).next_power_of_two();
        loop {
            match Self::with_size(size, near) {
                Err(_) if size > LEAST_RESERVE => size /= 2,
                other => return other,
            }
        }
    }

    fn with_size(size: usize, near: usize) -> Result<Self, CompileError> {
        let failed = |what| {
            move |cause: rustix::io::Errno| CompileError::NoCodeMemory { what, cause: cause.into() }
        };
        let flags = MemfdFlags::CLOEXEC;
        let fd = memfd_create(c"bpf-jit", flags | MemfdFlags::EXEC)
            .or_else(|_| memfd_create(c"bpf-jit", flags))
            .map_err(failed("memfd_create"))?;
        ftruncate(&fd, size as u64).map_err(failed("ftruncate"))?;
        let map = |hint: usize, protection, flags| {
            let hint = std::ptr::without_provenance_mut::<c_void>(hint);
            #[expect(unsafe_code, reason = "maps memory")]
            // SAFETY: [code-memory] a new mapping: it takes the place of no other.
            unsafe {
                mmap(hint, size, protection, MapFlags::SHARED | flags, &fd, 0)
            }
        };
        let rw = map(0, ProtFlags::READ | ProtFlags::WRITE, MapFlags::empty())
            .map_err(failed("mmap"))?;
        let execute = ProtFlags::READ | ProtFlags::EXEC;
        let rx = places(near, size)
            .find_map(|place| map(place.get(), execute, MapFlags::FIXED_NOREPLACE).ok())
            .map_or_else(|| map(0, execute, MapFlags::empty()), Ok);
        let (Some(rw), Ok(rx)) = (NonNull::new(rw.cast()), rx) else {
            #[expect(unsafe_code, reason = "unmaps memory")]
            // SAFETY: [code-memory] mapped above, and nobody else knows of it.
            let _ = unsafe { munmap(rw, size) };
            return Err(failed("mmap")(rx.err().unwrap_or(rustix::io::Errno::NOMEM)));
        };
        let rx = NonNull::new(rx.cast()).ok_or(failed("mmap")(rustix::io::Errno::NOMEM))?;
        let can_sync = membarrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore).is_ok();
        let room = Mutex::new(Room { free: BTreeMap::from([(0, size)]), used: 0 });
        Ok(Self { rw, rx, size, can_sync, room })
    }

    /// Whether code in this arena can call `address` with a 32-bit displacement.
    pub(crate) fn reaches(&self, address: u64) -> bool {
        let first = self.rx.addr().get() as u64;
        let last = first + self.size as u64;
        address.abs_diff(first).max(address.abs_diff(last)) < REACH as u64
    }

    /// Whether code in this arena is in the 4 GiB window of `address`.
    #[cfg(test)]
    fn is_in_window_of(&self, address: usize) -> bool {
        self.rx.addr().get() >> 32 == address >> 32
    }

    /// Takes memory for `bytes` of code.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Chunk, CompileError> {
        let full = CompileError::OutOfCodeMemory { bytes };
        let Some(len) = bytes.max(1).checked_next_multiple_of(ALIGN) else { return Err(full) };
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((&at, &free)) = room.free.iter().find(|(_, free)| **free >= len) else {
            return Err(full);
        };
        room.free.remove(&at);
        if free > len {
            room.free.insert(at + len, free - len);
        }
        let was_used = at < room.used;
        room.used = room.used.max(at + len);
        Ok(Chunk { arena: Arc::clone(self), at, len, was_used })
    }

    /// Takes back what lies at `at`.
    fn release(&self, at: usize, len: usize) {
        if !self.can_sync {
            // Code that a processor may have fetched cannot be replaced: the memory stays unused.
            return;
        }
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut len) = (at, len);
        if let Some((&before, &free)) = room.free.range(..at).next_back()
            && before + free == at
        {
            room.free.remove(&before);
            (at, len) = (before, len + free);
        }
        if let Some(free) = room.free.remove(&(at + len)) {
            len += free;
        }
        room.free.insert(at, len);
    }

    /// Makes every processor that runs this process forget what code it has fetched.
    pub(crate) fn sync(&self) {
        if self.can_sync {
            // Registered above, so it cannot fail; and if it did, there is no other way.
            let _ = membarrier(MembarrierCommand::PrivateExpeditedSyncCore);
        }
    }

    /// How many bytes are free, and in how many pieces.
    pub(crate) fn free(&self) -> (usize, usize) {
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        (room.free.values().sum(), room.free.len())
    }
}

/// Where the executable view is tried to be put: below the host's code, nearest first, then
/// above it, always in its window and in reach.
fn places(near: usize, size: usize) -> impl Iterator<Item = NonZeroUsize> {
    let near = near & !0x1f_ffff;
    let steps = 1..REACH / PLACES;
    let below = steps.clone().map(move |step| near.checked_sub(size + step * PLACES));
    let above = steps.map(move |step| near.checked_add(step * PLACES));
    below
        .chain(above)
        .flatten()
        .filter(move |place| {
            let end = place + size;
            place >> 32 == near >> 32 && (end - 1) >> 32 == near >> 32 && {
                place.abs_diff(near).max(end.abs_diff(near)) < REACH
            }
        })
        .filter_map(NonZeroUsize::new)
}

impl Drop for Arena {
    fn drop(&mut self) {
        for mapping in [self.rw, self.rx] {
            #[expect(unsafe_code, reason = "unmaps memory")]
            // SAFETY: [code-memory] chunks keep the arena alive, so nothing uses the mapping.
            let _ = unsafe { munmap(mapping.as_ptr().cast(), self.size) };
        }
    }
}

/// A part of an arena, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    arena: Arc<Arena>,
    at: usize,
    len: usize,
    was_used: bool,
}

impl Chunk {
    /// The address of its first byte, as it is executed.
    pub(crate) fn address(&self) -> u64 {
        (self.arena.rx.addr().get() + self.at) as u64
    }

    /// Its length in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The arena it is a part of.
    pub(crate) const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Where the byte `at` is written, with room for `bytes`.
    fn alias(&self, at: usize, bytes: usize) -> NonNull<u8> {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.len), "outside of the chunk");
        #[expect(unsafe_code, reason = "inside of the mapping")]
        // SAFETY: [code-memory] it is inside of the chunk, and the chunk inside of the mapping.
        unsafe {
            self.arena.rw.add(self.at + at)
        }
    }

    /// Writes `code` to its beginning and fills the rest, before anybody runs it.
    pub(crate) fn fill(&mut self, code: &[u8]) {
        let to = self.alias(0, code.len().max(self.len));
        #[expect(unsafe_code, reason = "writes to the chunk")]
        // SAFETY: [code-memory] `&mut self`: nobody else writes here, and nobody runs it yet.
        unsafe {
            to.copy_from_nonoverlapping(NonNull::from(code).cast(), code.len());
        }
        #[expect(unsafe_code, reason = "writes to the chunk")]
        // SAFETY: [code-memory] as above.
        unsafe {
            self.alias(code.len(), self.len - code.len())
                .write_bytes(UNUSED, self.len - code.len());
        }
        if self.was_used {
            self.arena.sync();
        }
    }

    /// The bytes, as they are now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let words = (0..self.len / 8).map(|i| self.word(i * 8).load(Ordering::Relaxed));
        words.flat_map(u64::to_ne_bytes).collect()
    }

    /// Eight bytes at a multiple of eight.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8), "not aligned");
        let word = self.alias(at, 8).cast();
        #[expect(unsafe_code, reason = "shared with the processor's instruction fetch")]
        // SAFETY: [code-memory] aligned, mapped as long as `self` lives, and once code runs it is
        // only changed by atomic stores.
        unsafe {
            AtomicU64::from_ptr(word.as_ptr())
        }
    }

    /// Four bytes at a multiple of four.
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4), "not aligned");
        let word = self.alias(at, 4).cast();
        #[expect(unsafe_code, reason = "shared with the processor's instruction fetch")]
        // SAFETY: [code-memory] as for `word`.
        unsafe {
            AtomicU32::from_ptr(word.as_ptr())
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let to = self.alias(0, self.len);
        #[expect(unsafe_code, reason = "writes to the chunk")]
        // SAFETY: [code-outlives-calls] whoever drops it says that nothing runs it any more.
        unsafe {
            to.write_bytes(UNUSED, self.len);
        }
        self.arena.release(self.at, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_lies_in_the_window_of_the_hosts() {
        let arena = Arena::new(64 << 20).unwrap();
        let text = Arena::new as *const () as usize;
        assert!(arena.is_in_window_of(text));
        assert!(arena.reaches(text as u64));
        assert!(!arena.reaches(text as u64 ^ 1 << 46));
    }

    #[test]
    fn what_is_given_back_is_one_piece_again() {
        let arena = Arc::new(Arena::new(1 << 20).unwrap());
        assert_eq!(arena.free(), (1 << 20, 1));
        let mut chunks: Vec<Chunk> = (1..10).map(|i| arena.allocate(i * 40).unwrap()).collect();
        // Not in the order in which they were taken.
        for i in [3, 0, 5, 1, 0, 1, 2, 0, 0] {
            chunks.remove(i);
        }
        assert_eq!(arena.free(), (1 << 20, 1));
    }

    #[test]
    fn a_full_arena_says_so() {
        let arena = Arc::new(Arena::new(1 << 20).unwrap());
        let whole = arena.allocate(1 << 20).unwrap();
        let error = arena.allocate(1).unwrap_err();
        assert_eq!(error.to_string(), "no room for 1 bytes of code");
        assert!(arena.allocate(usize::MAX).is_err());
        drop(whole);
        assert!(arena.allocate(1).is_ok());
    }

    #[test]
    fn freed_code_is_no_code() {
        let arena = Arc::new(Arena::new(1 << 20).unwrap());
        let mut chunk = arena.allocate(64).unwrap();
        chunk.fill(&[0x90; 33]);
        assert_eq!(chunk.bytes()[..34], [[0x90; 33].as_slice(), &[UNUSED]].concat());
        let at = chunk.address();
        drop(chunk);
        let chunk = arena.allocate(64).unwrap();
        assert_eq!(chunk.address(), at);
        assert!(chunk.bytes().iter().all(|byte| *byte == UNUSED));
    }
}
