//! A cache of compiled code: what was compiled once is put in place again.
//!
//! Code is kept before it has a place, with room for all addresses, so one entry serves every load
//! of a program: with other maps, in other runtimes and, from a directory, in other processes. It is
//! found by a SHA-256 of all that it was made of: the verified program and what verification learnt,
//! how it is compiled, the code generator, and what the processor can.
//!
//! Nothing fails because of a cache. What is not there, or is not what it should be, is compiled.

pub(crate) mod entry;
mod memory;
mod disk;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::disk::Disk;
use crate::cache::memory::Memory;
use crate::error::CacheError;
use crate::key::Key;
use crate::unplaced::Unplaced;

/// Compiled code that is kept for programs that are loaded again.
///
/// A cheap handle: clones are the same cache, which any number of compilers and threads may share.
///
/// ```
/// use bpf_jit::{CodeCache, Jit, JitOptions};
///
/// # if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) { return Ok(()) }
/// let cache = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
/// let options = || JitOptions { cache: Some(cache.clone()), ..JitOptions::default() };
/// let (one, other) = (Jit::new(options())?, Jit::new(options())?);
/// // What `one` compiles, `other` takes from the cache.
/// # Ok::<(), bpf_jit::CompileError>(())
/// ```
#[derive(Clone)]
pub struct CodeCache {
    shared: Arc<Shared>,
}

struct Shared {
    memory: Mutex<Memory>,
    disk: Option<Disk>,
    hits: AtomicU64,
    misses: AtomicU64,
    stored: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How often code was asked for and there.
    pub hits: u64,
    /// How often it was asked for and had to be compiled.
    pub misses: u64,
    /// How many entries were put in.
    pub stored: u64,
    /// How many entries were there and not what they should be: cut off, changed, of another form.
    /// They count as misses too, and are replaced.
    pub refused: u64,
    /// How many entries could not be written to the directory.
    pub failed: u64,
    /// How many entries are in memory.
    pub entries: usize,
    /// How much memory they take, in bytes.
    pub bytes: usize,
}

impl fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeCache")
            .field("disk", &self.shared.disk)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl CodeCache {
    /// How much memory a cache takes where nobody says how much it may, in bytes: room for the code
    /// of a thousand programs of a usual size.
    pub const DEFAULT_MEMORY: usize = 16 << 20;

    /// How much a directory holds where nobody says how much it may, in bytes.
    pub const DEFAULT_DISK: u64 = 256 << 20;

    /// A cache that takes at most `max_bytes` of memory. What was not used for longest goes first.
    pub fn in_memory(max_bytes: usize) -> Self {
        Self::new(max_bytes, None)
    }

    /// A cache in a directory, which is made if it is not there, with a cache in memory before it.
    ///
    /// What lies in the directory is run as code of this process. So nobody else may be able to
    /// write to it: it must belong to the user that this process runs as, and neither its group nor
    /// others may have the right to write. An entry is used only if its checksum is right and all of
    /// it makes sense; but a checksum does not say who wrote an entry, so whoever can write to the
    /// directory can do what this process can. Processes may share a directory.
    ///
    /// Code is found again by the same build of this crate on processors with the same features. At
    /// most [`DEFAULT_DISK`](Self::DEFAULT_DISK) bytes are kept; what was not used for longest goes
    /// first.
    ///
    /// # Errors
    ///
    /// Returns an error if there can be no such directory, or if others may write to it.
    pub fn on_disk(dir: impl AsRef<Path>) -> Result<Self, CacheError> {
        Self::on_disk_within(dir, Self::DEFAULT_DISK)
    }

    /// The same, with at most so many bytes in the directory.
    ///
    /// # Errors
    ///
    /// As [`on_disk`](Self::on_disk).
    pub fn on_disk_within(dir: impl AsRef<Path>, max_bytes: u64) -> Result<Self, CacheError> {
        let disk = Disk::open(dir.as_ref(), max_bytes)?;
        Ok(Self::new(Self::DEFAULT_MEMORY, Some(disk)))
    }

    fn new(max_bytes: usize, disk: Option<Disk>) -> Self {
        let shared = Shared {
            memory: Mutex::new(Memory::new(max_bytes)),
            disk,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The directory it keeps code in, if it does.
    pub fn directory(&self) -> Option<&Path> {
        self.shared.disk.as_ref().map(Disk::path)
    }

    /// What it has done so far.
    pub fn stats(&self) -> CacheStats {
        let shared = &*self.shared;
        let (entries, bytes) = self.memory(|memory| (memory.len(), memory.bytes()));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: count(&shared.hits),
            misses: count(&shared.misses),
            stored: count(&shared.stored),
            refused: count(&shared.refused),
            failed: count(&shared.failed),
            entries,
            bytes,
        }
    }

    /// The code that is kept by this key. Whether it is of use the caller tells: see
    /// [`hit`](Self::hit), [`refuse`](Self::refuse) and [`miss`](Self::miss).
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Unplaced>> {
        if let Some(code) = self.memory(|memory| memory.get(key)) {
            return Some(code);
        }
        let entry = self.shared.disk.as_ref()?.read(key)?;
        match entry::read(key, &entry) {
            Ok(code) => {
                let code = Arc::new(code);
                self.memory(|memory| memory.put(*key, Arc::clone(&code)));
                Some(code)
            }
            Err(_) => {
                self.refuse(key);
                None
            }
        }
    }

    /// Keeps code by its key.
    pub(crate) fn put(&self, key: &Key, code: &Arc<Unplaced>) {
        let mut is_kept = self.memory(|memory| memory.put(*key, Arc::clone(code)));
        if let Some(disk) = &self.shared.disk {
            let is_written = entry::write(key, code).is_some_and(|entry| disk.write(key, &entry));
            count(if is_written { None } else { Some(&self.shared.failed) });
            is_kept |= is_written;
        }
        count(is_kept.then_some(&self.shared.stored));
    }

    /// What was found was of use.
    pub(crate) fn hit(&self) {
        count(Some(&self.shared.hits));
    }

    /// Nothing of use was found.
    pub(crate) fn miss(&self) {
        count(Some(&self.shared.misses));
    }

    /// What was found is not what it should be, and is forgotten.
    pub(crate) fn refuse(&self, key: &Key) {
        count(Some(&self.shared.refused));
        self.memory(|memory| memory.forget(key));
        if let Some(disk) = &self.shared.disk {
            disk.forget(key);
        }
    }

    fn memory<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
        act(&mut self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn count(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
