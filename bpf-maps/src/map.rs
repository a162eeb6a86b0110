//! What a map is to everything above this crate.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use bpf_abi::Errno;
use bpf_abi::map::{MapLayout, UpdateFlags};

use crate::bytes::SharedBytes;
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::host::{Batch, BatchKinds, Host};
use crate::shape::{MapCore, MapShape};
use crate::types::prog_array::ProgArray;

/// Whether to go on to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Yes.
    On,
    /// No.
    Stop,
}

/// A map, as everything above this crate sees it.
///
/// There are two sides to it. *Programs* look values up in place and change them there; they
/// run on a CPU, so in maps that have a value a CPU they reach that one. The *host* copies,
/// and in such maps sees the values of all CPUs, one after the other, each padded to a
/// multiple of 8 bytes. The host's methods here do the work only; [`Host`] adds what `bpf(2)`
/// checks before: lengths, flags that no map knows, frozen and one-way maps.
///
/// Keys and values are bytes, always as many as the [`shape`](Self::shape) says: callers check
/// lengths once, at the edge. An implementation answers other lengths with an error.
///
/// All methods take `&self`. Programs on many threads and the host call them at once, so an
/// implementation synchronizes itself; a caller never holds a lock across calls.
pub trait Map: Any + Debug + Send + Sync {
    /// What all maps have.
    fn core(&self) -> &MapCore;

    /// Its dimensions.
    fn shape(&self) -> &MapShape {
        self.core().shape()
    }

    /// Where its values lie, for code that looks them up without a call.
    fn layout(&self) -> MapLayout {
        MapLayout::Opaque
    }

    /// The address of its only value, if programs may address it directly.
    fn value_addr(&self) -> Option<u64> {
        None
    }

    /// The value at `key`, shared with whoever else holds it.
    ///
    /// It stays where it is as long as the map. When its entry is deleted it may be used for
    /// another at once, as in the kernel.
    fn lookup(&self, cpu: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        let _ = (cpu, key);
        None
    }

    /// What a program that looks `key` up gets in a register: the address of the value, or of
    /// the [`MapHandle`](crate::MapHandle) in a map of maps, or 0.
    fn lookup_addr(&self, cpu: CpuId, key: &[u8]) -> u64 {
        self.lookup(cpu, key).map_or(0, SharedBytes::addr)
    }

    /// Sets the value at `key`.
    ///
    /// # Errors
    ///
    /// Returns an error if the flags do not allow it, if the map is full, or if its values
    /// cannot be set so.
    fn update(
        &self,
        cpu: CpuId,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        let _ = (cpu, key, value, flags);
        Err(self.shape().cannot("be updated", Errno::EOPNOTSUPP))
    }

    /// Removes the entry at `key`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if entries of this map cannot be removed.
    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let _ = key;
        Err(self.shape().cannot("delete entries", Errno::EOPNOTSUPP))
    }

    /// Adds a value to a map without keys.
    ///
    /// # Errors
    ///
    /// Returns an error if the map is full, or has keys.
    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        let _ = (value, flags);
        Err(self.shape().cannot("push", Errno::EOPNOTSUPP))
    }

    /// Copies out the value that is next in a map without keys, and removes it.
    ///
    /// # Errors
    ///
    /// Returns an error if the map is empty, or has keys.
    fn pop(&self, out: &mut [u8]) -> Result<(), MapError> {
        let _ = out;
        Err(self.shape().cannot("pop", Errno::EOPNOTSUPP))
    }

    /// Copies out the value that is next in a map without keys. In a bloom filter `out` holds
    /// the value that is asked for.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such value, or if the map has keys.
    fn peek(&self, out: &mut [u8]) -> Result<(), MapError> {
        let _ = out;
        Err(self.shape().cannot("peek", Errno::EOPNOTSUPP))
    }

    /// Hands the addresses of key and value of each entry to `each`, one after the other, and returns
    /// how many; `None` if programs cannot go through maps of this type.
    ///
    /// Entries may come and go meanwhile. One that is replaced or removed may be handed out or not,
    /// and what its addresses lead to may be another entry's by then, as in the kernel.
    fn visit(&self, cpu: CpuId, each: &mut dyn FnMut(u64, u64) -> Go) -> Option<u64> {
        let _ = (cpu, each);
        None
    }

    /// The size of a value on the host's side, in bytes.
    fn host_value_size(&self) -> usize {
        self.shape().value_len()
    }

    /// Host: copies the value at `key` out.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if the host cannot look at the values.
    fn read(&self, key: &[u8], out: &mut [u8], flags: UpdateFlags) -> Result<(), MapError>;

    /// Host: sets the value at `key`.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.update(CpuId(0), key, value, flags)
    }

    /// Host: removes the entry at `key`.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        self.delete(key)
    }

    /// Host: copies the value at `key` out and removes it.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if entries of this map cannot be removed.
    fn take(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        let _ = (key, out);
        Err(self.shape().cannot("look up and delete", Errno::ENOTSUPP))
    }

    /// Host: the key after `key` in the order of the map, or the first.
    ///
    /// If there is no such key, in a map where keys come and go, it begins again.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no key after it, or if the map has no keys.
    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError>;

    /// Host: which operations on many entries there are.
    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::empty()
    }

    /// Host: copies many entries out, from `cursor` on, and removes them if `takes`.
    ///
    /// # Errors
    ///
    /// Returns an error if not one entry could be copied for want of room.
    fn read_batch(
        &self,
        cursor: Option<&[u8]>,
        max: usize,
        takes: bool,
    ) -> Result<Batch, MapError> {
        let _ = takes;
        crate::host::read_batch_by_key(self, cursor, max)
    }

    /// The entry that an address of a value lies in, its key and the address of its value, in maps
    /// whose values stay where they are; nothing if there is no value of this map.
    fn entry_at(&self, address: u64) -> Option<(Vec<u8>, u64)> {
        let _ = address;
        None
    }

    /// Called when the host drops its last handle, though programs may still hold the map.
    ///
    /// Linux: `map_release_uref`.
    fn host_gone(&self) {
        self.shape().host_gone(self.core().id());
    }
}

impl dyn Map {
    /// The map as the host sees it, with all that `bpf(2)` checks.
    pub fn host(&self) -> Host<'_> {
        Host::new(self)
    }

    /// The map as one of this very type, if it is one.
    pub fn as_type<M: Map>(&self) -> Option<&M> {
        (self as &dyn Any).downcast_ref()
    }

    /// The map as a program array, if it is one.
    pub fn as_prog_array(&self) -> Option<&ProgArray> {
        self.as_type()
    }
}

/// A map as the host holds it. When the last clone is dropped, program arrays are emptied.
#[derive(Debug)]
pub struct HostHandle {
    map: Arc<dyn Map>,
}

impl HostHandle {
    /// One more handle of the host.
    pub fn new(map: Arc<dyn Map>) -> Self {
        map.core().take_host();
        Self { map }
    }

    /// The map.
    pub const fn map(&self) -> &Arc<dyn Map> {
        &self.map
    }
}

impl Clone for HostHandle {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.map))
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        if self.map.core().drop_host() {
            self.map.host_gone();
        }
    }
}
