//! The host's side of a map: what `bpf(2)` checks before a map is asked, in its order.

use std::fmt;

use bitflags::bitflags;
use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapType, UpdateFlags};

use crate::error::MapError;
use crate::map::Map;

/// A map as the host sees it.
///
/// ```
/// use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
/// use bpf_maps::{World, create};
///
/// let spec = MapSpec::new("flows", MapType::Hash, 4, 8, 100);
/// let flows = create(&spec, &World::default())?;
/// flows.host().update(&[1, 0, 0, 0], &[7; 8], UpdateFlags::NOEXIST)?;
/// assert_eq!(flows.host().lookup(&[1, 0, 0, 0], UpdateFlags::empty())?, [7; 8]);
/// # Ok::<(), bpf_maps::MapError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Host<'a> {
    map: &'a dyn Map,
}

bitflags! {
    /// Operations on many entries.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BatchKinds: u8 {
        /// Linux: `BPF_MAP_LOOKUP_BATCH`.
        const LOOKUP = 1 << 0;
        /// Linux: `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
        const TAKE = 1 << 1;
        /// Linux: `BPF_MAP_UPDATE_BATCH`.
        const UPDATE = 1 << 2;
        /// Linux: `BPF_MAP_DELETE_BATCH`.
        const DELETE = 1 << 3;
    }
}

/// A key and its value, copied.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries that were copied out at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Keys and values.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` if that was all, where `bpf(2)` says `ENOENT`.
    pub next: Option<Vec<u8>>,
}

/// An operation on many entries that stopped early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {done} of the batch")]
pub struct BatchError {
    /// How many entries were done before.
    pub done: usize,
    /// Why the next one was not.
    #[source]
    pub error: MapError,
}

impl<'a> Host<'a> {
    pub(crate) const fn new(map: &'a dyn Map) -> Self {
        Self { map }
    }

    /// The value at `key`, copied; in maps that have one a CPU, the values of all.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if the host may not or cannot read it.
    pub fn lookup(self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let mut value = vec![0; self.map.host_value_size()];
        self.lookup_into(key, &mut value, flags)?;
        Ok(value)
    }

    /// As [`lookup`](Self::lookup), without allocating. A bloom filter is asked for the value
    /// in `value`.
    ///
    /// # Errors
    ///
    /// As [`lookup`](Self::lookup).
    pub fn lookup_into(
        self,
        key: &[u8],
        value: &mut [u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        if !(flags - UpdateFlags::LOCK).is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.check_readable()?;
        self.check_lock(flags)?;
        self.check_key(key)?;
        self.check_value(value)?;
        self.map.read(key, value, flags)
    }

    /// Sets the value at `key`; in maps that have one a CPU, the values of all.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write, if the flags do not allow it, or if the map
    /// is full.
    pub fn update(self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.check_writable()?;
        self.check_lock(flags)?;
        self.check_key(key)?;
        self.check_value(value)?;
        self.map.write(key, value, flags)
    }

    /// Removes the entry at `key`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if the host may not or cannot remove it.
    pub fn delete(self, key: &[u8]) -> Result<(), MapError> {
        self.check_writable()?;
        self.check_key(key)?;
        self.map.erase(key)
    }

    /// Copies the value at `key` out and removes the entry, at once.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if the host may not or cannot remove it.
    pub fn lookup_and_delete(self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        if !(flags - UpdateFlags::LOCK).is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.check_readable()?;
        self.check_writable()?;
        let has_no_keys = matches!(self.map.shape().map_type, MapType::Queue | MapType::Stack);
        if has_no_keys && !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.check_lock(flags)?;
        self.check_key(key)?;
        let mut value = vec![0; self.map.host_value_size()];
        self.map.take(key, &mut value)?;
        Ok(value)
    }

    /// The key after `key`, or the first.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no key after it, or if the host may not read the map.
    pub fn next_key(self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        self.check_readable()?;
        if let Some(key) = key {
            self.check_key(key)?;
            if key.is_empty() {
                return Err(MapError::KeyLength { length: 0, expected: 0 });
            }
        }
        let mut next = vec![0; self.map.shape().key_len()];
        self.map.next_key(key, &mut next)?;
        Ok(next)
    }

    /// Every entry: keys and values, in the order of the map. What comes or goes meanwhile
    /// may or may not be among them.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map, or if it has no keys.
    pub fn entries(self) -> Result<Vec<Entry>, MapError> {
        let mut entries = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        // A map that changes all the time could be walked in circles.
        let most = 2 * u64::from(self.map.shape().max_entries);
        for _ in 0..most {
            let next = match self.next_key(key.as_deref()) {
                Ok(next) => next,
                Err(MapError::NotFound) => break,
                Err(error) => return Err(error),
            };
            match self.lookup(&next, UpdateFlags::empty()) {
                Ok(value) => entries.push((next.clone(), value)),
                Err(MapError::NotFound) => {}
                Err(error) => return Err(error),
            }
            key = Some(next);
        }
        Ok(entries)
    }

    /// Lets the host not change the map any more. Programs still may.
    ///
    /// # Errors
    ///
    /// Returns an error if the host could not change it before.
    pub fn freeze(self) -> Result<(), MapError> {
        self.check_writable()?;
        self.map.core().freeze();
        Ok(())
    }

    /// Copies up to `max` entries out, from `cursor` on.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map, if this type has no batches, or if
    /// `max` entries are less than must be copied at once.
    pub fn lookup_batch(self, cursor: Option<&[u8]>, max: usize) -> Result<Batch, MapError> {
        self.check_readable()?;
        self.check_batch(BatchKinds::LOOKUP, "look up batches")?;
        self.map.read_batch(cursor, max, false)
    }

    /// As [`lookup_batch`](Self::lookup_batch), and removes the entries.
    ///
    /// # Errors
    ///
    /// As [`lookup_batch`](Self::lookup_batch), or if the host may not write to the map.
    pub fn lookup_and_delete_batch(
        self,
        cursor: Option<&[u8]>,
        max: usize,
    ) -> Result<Batch, MapError> {
        self.check_readable()?;
        self.check_writable()?;
        self.check_batch(BatchKinds::TAKE, "look up and delete batches")?;
        self.map.read_batch(cursor, max, true)
    }

    /// Sets many values.
    ///
    /// # Errors
    ///
    /// Returns an error at the first that cannot be set; those before it are.
    pub fn update_batch(
        self,
        entries: &[(&[u8], &[u8])],
        flags: UpdateFlags,
    ) -> Result<(), BatchError> {
        let at_once = |error| BatchError { done: 0, error };
        self.check_writable().map_err(at_once)?;
        self.check_batch(BatchKinds::UPDATE, "update batches").map_err(at_once)?;
        if !(flags - UpdateFlags::LOCK).is_empty() {
            return Err(at_once(MapError::OperationFlags(flags)));
        }
        for (done, (key, value)) in entries.iter().enumerate() {
            self.update(key, value, flags).map_err(|error| BatchError { done, error })?;
        }
        Ok(())
    }

    /// Removes many entries.
    ///
    /// # Errors
    ///
    /// Returns an error at the first that cannot be removed; those before it are.
    pub fn delete_batch(self, keys: &[&[u8]]) -> Result<(), BatchError> {
        let at_once = |error| BatchError { done: 0, error };
        self.check_writable().map_err(at_once)?;
        self.check_batch(BatchKinds::DELETE, "delete batches").map_err(at_once)?;
        for (done, key) in keys.iter().enumerate() {
            self.delete(key).map_err(|error| BatchError { done, error })?;
        }
        Ok(())
    }

    fn check_readable(self) -> Result<(), MapError> {
        if self.map.shape().flags.contains(MapFlags::WRONLY) {
            return Err(MapError::HostMayNotRead);
        }
        Ok(())
    }

    /// That the host may change the map.
    ///
    /// # Errors
    ///
    /// Returns an error if it may not, or may not any more.
    pub fn check_writable(self) -> Result<(), MapError> {
        if self.map.shape().flags.contains(MapFlags::RDONLY) {
            return Err(MapError::HostMayNotWrite);
        }
        if self.map.core().is_frozen() {
            return Err(MapError::Frozen);
        }
        Ok(())
    }

    fn check_lock(self, flags: UpdateFlags) -> Result<(), MapError> {
        if flags.contains(UpdateFlags::LOCK) && self.map.shape().spin_lock.is_none() {
            return Err(MapError::OperationFlags(flags));
        }
        Ok(())
    }

    fn check_key(self, key: &[u8]) -> Result<(), MapError> {
        let (length, expected) = (key.len(), self.map.shape().key_len());
        if length == expected { Ok(()) } else { Err(MapError::KeyLength { length, expected }) }
    }

    fn check_value(self, value: &[u8]) -> Result<(), MapError> {
        let (length, expected) = (value.len(), self.map.host_value_size());
        if length == expected { Ok(()) } else { Err(MapError::ValueLength { length, expected }) }
    }

    fn check_batch(self, kind: BatchKinds, operation: &'static str) -> Result<(), MapError> {
        if self.map.batch_kinds().contains(kind) {
            return Ok(());
        }
        Err(self.map.shape().cannot(operation, Errno::ENOTSUPP))
    }
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.map).finish()
    }
}

/// Copies many entries out, key by key: for maps that have nothing quicker.
pub(crate) fn read_batch_by_key<M: Map + ?Sized>(
    map: &M,
    cursor: Option<&[u8]>,
    max: usize,
) -> Result<Batch, MapError> {
    let mut batch = Batch { entries: Vec::new(), next: cursor.map(<[u8]>::to_vec) };
    while batch.entries.len() < max {
        let mut key = vec![0; map.shape().key_len()];
        match map.next_key(batch.next.as_deref(), &mut key) {
            Ok(()) => {}
            Err(MapError::NotFound) => {
                batch.next = None;
                break;
            }
            Err(error) => return Err(error),
        }
        let mut value = vec![0; map.host_value_size()];
        match map.read(&key, &mut value, UpdateFlags::empty()) {
            Ok(()) => batch.entries.push((key.clone(), value)),
            Err(MapError::NotFound) => {}
            Err(error) => return Err(error),
        }
        batch.next = Some(key);
    }
    Ok(batch)
}
