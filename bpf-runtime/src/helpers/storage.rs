//! Values that are kept with an object: with a packet's socket, with the control group of a run.

use bpf_abi::errno::Errno;
use bpf_abi::id::MapId;

use super::args::number::InitialValue;
use super::args::sock::AnySock;
use super::args::{MapRef, ValueAt, ValueOrNull};
use super::define::helper;
use crate::memory::Memory;
use crate::packet::skb::SkBuff;

/// What is kept with the socket of a packet, and with the run.
///
/// A value that was deleted stays where it is until the packet is another one: programs may still
/// hold it.
#[derive(Debug, Default)]
pub(crate) struct Storages {
    values: Vec<(MapId, Memory)>,
    deleted: Vec<Memory>,
}

impl Storages {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.deleted.clear();
    }

    /// The address of the value of a storage, if there is one.
    fn find(&self, map: MapId) -> Option<u64> {
        let found = self.values.iter().find(|(other, _)| *other == map);
        found.map(|(_, value)| value.address())
    }

    /// Makes a value: these bytes, and zeros behind them. Returns its address.
    fn add(&mut self, map: MapId, size: u32, bytes: &[u8]) -> u64 {
        let value = Memory::new((size as usize).max(1));
        let _ = value.write(0, bytes);
        let address = value.address();
        self.values.push((map, value));
        address
    }

    fn delete(&mut self, map: MapId) -> Option<()> {
        let place = self.values.iter().position(|(other, _)| *other == map)?;
        self.deleted.push(self.values.swap_remove(place).1);
        Some(())
    }
}

/// A storage's map: its number, the size of its values, where their spin lock is.
fn shape_of(map: MapRef<'_>) -> (MapId, u32, Option<u32>) {
    let map = map.map();
    (map.core().id(), map.shape().value_size, map.shape().spin_lock)
}

helper! {
    /// Returns the value that `map` keeps with the socket `sk`, or null if there is none. With `flags`
    /// 1 there is one from then on: a copy of `value`, or zeros if that is null.
    107 Skb => fn sk_storage_get(cx, map: MapRef<'a>, sk: AnySock, value: InitialValue, flags: u64) -> ValueOrNull {
        const CREATE: u64 = 1;
        let Some(skb) = cx.env().skb().filter(|skb| skb.has_socket(sk.0)) else {
            return ValueOrNull(None);
        };
        if flags & !CREATE != 0 {
            return ValueOrNull(None);
        }
        let (id, size, lock) = shape_of(map);
        let mut storages = skb.storages.borrow_mut();
        let found = storages.find(id);
        if found.is_some() || flags == 0 {
            return ValueOrNull(found);
        }
        let mut bytes = value.0;
        // A new value's lock is free, whatever the bytes say.
        let lock = lock.map(|at| at as usize).and_then(|at| bytes.get_mut(at..at + 4));
        lock.unwrap_or_default().fill(0);
        ValueOrNull(Some(storages.add(id, size, &bytes)))
    }
}

helper! {
    /// Deletes the value that `map` keeps with the socket `sk`.
    108 Skb => fn sk_storage_delete(cx, map: MapRef<'a>, sk: AnySock) -> Result<(), Errno> {
        let skb: Option<&SkBuff> = cx.env().skb().filter(|skb| skb.has_socket(sk.0));
        let deleted = skb.and_then(|skb| skb.storages.borrow_mut().delete(shape_of(map).0));
        deleted.ok_or(Errno::ENOENT)
    }
}

helper! {
    /// Returns the value that `map` keeps for the program and its control group: zeros when a packet
    /// is new, the same for all runs on it. `flags` mean nothing.
    81 Skb => fn get_local_storage(cx, map: MapRef<'a>, _flags: u64) -> ValueAt {
        let (id, size, _) = shape_of(map);
        let Some(skb) = cx.env().skb() else { return ValueAt(0) };
        let mut storages = skb.storages.borrow_mut();
        let found = storages.find(id);
        ValueAt(found.unwrap_or_else(|| storages.add(id, size, &[])))
    }
}
