//! Dynptrs: memory whose bounds are looked at when the program runs.

use bpf_abi::errno::Errno;
use bpf_maps::types::ringbuf::{RingBuf, Wakeup};

use super::args::dynptr::{AnyDynptr, LocalDynptrOut, RecordDynptr, RecordDynptrOut};
use super::args::{AllocSize, MapRef, MemIn, MemOrNull, MemOut, SizeOrZero, low, with_room};
use super::define::helper;

helper! {
    /// Makes `ptr` a dynptr of the memory at `data`. `flags` must be 0.
    197 Any => fn dynptr_from_mem(_cx, data: MemOut<'a>, _size: SizeOrZero, flags: u64, ptr: LocalDynptrOut<'a>) -> Result<(), Errno> {
        let made = if flags == 0 { ptr.set(&data) } else { Err(Errno::EINVAL) };
        made.inspect_err(|_| ptr.set_null())
    }
}

helper! {
    /// Reserves a record of `size` bytes in the ring buffer `ringbuf` and makes `ptr` a dynptr of
    /// it. The program must submit or discard it, even if there was no room. `flags` must be 0.
    198 Any => fn ringbuf_reserve_dynptr(_cx, ringbuf: MapRef<'a>, size: u64, flags: u64, ptr: RecordDynptrOut<'a>) -> Result<(), Errno> {
        let ring: Option<&RingBuf> = ringbuf.map().as_type().filter(|_| flags == 0);
        let made = ring.ok_or(Errno::EINVAL).and_then(|ring| ptr.reserve(ring, size));
        made.inspect_err(|_| ptr.set_null())
    }
}

helper! {
    /// Gives a reserved record to the host. `flags` are as for `ringbuf_output`.
    199 Any => fn ringbuf_submit_dynptr(_cx, ptr: RecordDynptr<'a>, flags: u64) -> () {
        if let Some(record) = ptr.take() {
            let _ = record.ring.submit(record.address, Wakeup::from_bits_truncate(flags & 3));
        }
    }
}

helper! {
    /// Gives a reserved record up: the host does not see it. `flags` are as for `ringbuf_output`.
    200 Any => fn ringbuf_discard_dynptr(_cx, ptr: RecordDynptr<'a>, flags: u64) -> () {
        if let Some(record) = ptr.take() {
            let _ = record.ring.discard(record.address, Wakeup::from_bits_truncate(flags & 3));
        }
    }
}

helper! {
    /// Copies `len` bytes from `offset` of a dynptr on to `dst`. `flags` must be 0.
    201 Any => fn dynptr_read(cx, dst: MemOut<'a>, _len: SizeOrZero, src: AnyDynptr<'a>, offset: u32, flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let mut dst = dst;
        with_room(dst.len(), |bytes| {
            src.get().read_to(cx, offset, bytes)?;
            dst.write(bytes);
            Ok(())
        })
    }
}

helper! {
    /// Copies the bytes at `src` to `offset` of a dynptr. `flags` are those of `skb_store_bytes`
    /// if it is of a packet in the network stack, and must be 0 otherwise.
    202 Any => fn dynptr_write(cx, dst: AnyDynptr<'a>, offset: u32, src: MemIn<'a>, _len: SizeOrZero, flags: u64) -> Result<(), Errno> {
        src.with(|bytes| dst.get().write(cx, offset, bytes, flags))
    }
}

helper! {
    /// Returns where `len` bytes from `offset` of a dynptr on are, or null if there are not so
    /// many, if they may not be written to, or if it is of a packet.
    203 Any => fn dynptr_data(_cx, ptr: AnyDynptr<'a>, offset: u32, len: AllocSize) -> MemOrNull {
        let view = ptr.get();
        MemOrNull(view.memory(offset, low(len.0)).filter(|_| !view.is_rdonly()))
    }
}
