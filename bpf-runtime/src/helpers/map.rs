//! Maps.

use bpf_abi::errno::Errno;
use bpf_abi::map::UpdateFlags;
use bpf_maps::CpuId;

use super::args::{Key, KeyAt, MapRef, Value, ValueOrNull, ValueOut};
use super::define::helper;

helper! {
    /// Looks up the value at `key` in `map`, or returns null if there is none.
    ///
    /// The value is shared, not copied: what the program writes to it, others see.
    1 Any => fn map_lookup_elem(cx, map: MapRef<'a>, key: KeyAt<'a>) -> ValueOrNull {
        ValueOrNull(Some(map.lookup(cx.cpu(), key)))
    }
}

helper! {
    /// Sets the value at `key` in `map`.
    ///
    /// `flags` is 0 (`BPF_ANY`), 1 (`BPF_NOEXIST`: only a new key) or 2 (`BPF_EXIST`: only an old
    /// one), with 4 (`BPF_F_LOCK`) under the value's lock.
    2 Any => fn map_update_elem(cx, map: MapRef<'a>, key: Key<'a>, value: Value<'a>, flags: u64) -> Result<(), Errno> {
        let (flags, cpu) = (UpdateFlags::from_bits_retain(flags), CpuId(cx.cpu()));
        let update = |key: &[u8]| value.0.with(|value| map.map().update(cpu, key, value, flags));
        key.0.with(update).map_err(|error| error.errno())
    }
}

helper! {
    /// Removes the entry at `key` from `map`.
    3 Any => fn map_delete_elem(_cx, map: MapRef<'a>, key: Key<'a>) -> Result<(), Errno> {
        key.0.with(|key| map.map().delete(key)).map_err(|error| error.errno())
    }
}

helper! {
    /// Adds `value` to a `map` without keys. `flags` is 0, or 2 (`BPF_EXIST`) to drop the oldest
    /// value of a full queue or stack.
    87 Any => fn map_push_elem(_cx, map: MapRef<'a>, value: Value<'a>, flags: u64) -> Result<(), Errno> {
        let flags = UpdateFlags::from_bits_retain(flags);
        value.0.with(|value| map.map().push(value, flags)).map_err(|error| error.errno())
    }
}

helper! {
    /// Writes the next value of a `map` without keys to `value`, and removes it.
    88 Any => fn map_pop_elem(_cx, map: MapRef<'a>, value: ValueOut<'a>) -> Result<(), Errno> {
        let ValueOut(mut out) = value;
        out.make(|value| map.map().pop(value)).map_err(|error| error.errno())
    }
}

helper! {
    /// Writes the next value of a `map` without keys to `value`. In a bloom filter, says whether
    /// `value` may be in it.
    89 Any => fn map_peek_elem(_cx, map: MapRef<'a>, value: ValueOut<'a>) -> Result<(), Errno> {
        let ValueOut(mut out) = value;
        out.change(|value| map.map().peek(value)).map_err(|error| error.errno())
    }
}

helper! {
    /// Looks up the value that the CPU `cpu` has at `key` in `map`, or returns null if there is
    /// none, or no such CPU.
    195 Any => fn map_lookup_percpu_elem(cx, map: MapRef<'a>, key: KeyAt<'a>, cpu: u32) -> ValueOrNull {
        let exists = cpu < cx.env().shared.cpus.count();
        ValueOrNull(exists.then(|| map.lookup(cpu, key)))
    }
}
