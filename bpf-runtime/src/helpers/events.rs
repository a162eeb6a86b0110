//! Records for the host: ring buffers and perf events.

use bpf_abi::errno::Errno;
use bpf_maps::types::perf_events::PerfEventArray;
use bpf_maps::types::ringbuf::{RingBuf, Wakeup};

use super::args::{AllocSize, Ctx, MapRef, MemIn, Record, RecordOrNull, SizeOrZero, low};
use super::define::helper;
use crate::env::{Env, Place};

helper! {
    /// Writes a sample of `data` to the perf event of a slot of `map`: the lower half of `flags`
    /// is the slot, all ones for this CPU's. Programs with a packet may ask for that many of its
    /// first bytes behind the data in the 20 bits above.
    25 Any => fn perf_event_output(cx, _ctx: Ctx, map: MapRef<'a>, flags: u64, data: MemIn<'a>, _size: SizeOrZero) -> Result<(), Errno> {
        const INDEX: u64 = 0xffff_ffff;
        const PACKET_LEN: u64 = 0xf_ffff << 32;
        let env = cx.env();
        let takes_packet = !matches!(env.place, Place::Bytes(_));
        let allowed = if takes_packet { INDEX | PACKET_LEN } else { INDEX };
        if flags & !allowed != 0 {
            return Err(Errno::EINVAL);
        }
        let mut sample = data.to_vec();
        sample.extend(first_bytes(env, (flags & PACKET_LEN) >> 32)?);
        let index = if flags & INDEX == INDEX { cx.cpu() } else { low(flags) };
        let array: &PerfEventArray = map.map().as_type().ok_or(Errno::EINVAL)?;
        array.output(index, sample).map_err(|error| error.errno())
    }
}

/// The first bytes of the packet.
fn first_bytes(env: &Env, len: u64) -> Result<Vec<u8>, Errno> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::EFAULT)?];
    let read = match &env.place {
        Place::Bytes(_) => None,
        Place::Xdp(buff) => buff.frame.read(0, &mut bytes),
        Place::Skb(skb) => skb.read(0, &mut bytes),
    };
    read.ok_or(Errno::EFAULT)?;
    Ok(bytes)
}

/// The ring buffer that a map is.
fn ring(map: MapRef<'_>) -> Result<&RingBuf, Errno> {
    map.map().as_type().ok_or(Errno::EINVAL)
}

helper! {
    /// Copies `data` into a record of the ring buffer `ringbuf`. `flags` may be 1 (do not wake the
    /// reader) or 2 (wake it in any case).
    130 Any => fn ringbuf_output(_cx, ringbuf: MapRef<'a>, data: MemIn<'a>, _size: SizeOrZero, flags: u64) -> Result<(), Errno> {
        let wakeup = Wakeup::from_bits_retain(flags);
        let ring = ring(ringbuf)?;
        data.with(|data| ring.output(data, wakeup)).map_err(|error| error.errno())
    }
}

helper! {
    /// Reserves a record of `size` bytes in the ring buffer `ringbuf`, or returns null if there is
    /// no room. `flags` must be 0. The program must submit or discard it.
    131 Any => fn ringbuf_reserve(_cx, ringbuf: MapRef<'a>, size: AllocSize, flags: u64) -> RecordOrNull {
        if flags != 0 {
            return RecordOrNull(None);
        }
        RecordOrNull(ring(ringbuf).ok().and_then(|ring| ring.reserve(size.0)))
    }
}

helper! {
    /// Gives a reserved record to the host. `flags` are as for `ringbuf_output`.
    132 Any => fn ringbuf_submit(_cx, data: Record<'a>, flags: u64) -> () {
        // What comes from `ringbuf_reserve` is a record, and nobody else can submit it.
        let _ = data.ring.submit(data.address, Wakeup::from_bits_truncate(flags & 3));
    }
}

helper! {
    /// Gives a reserved record up: the host does not see it. `flags` are as for `ringbuf_output`.
    133 Any => fn ringbuf_discard(_cx, data: Record<'a>, flags: u64) -> () {
        let _ = data.ring.discard(data.address, Wakeup::from_bits_truncate(flags & 3));
    }
}

helper! {
    /// Answers a question about the ring buffer: 0, bytes not read; 1, its size; 2 and 3, where
    /// the reader and the writers are.
    134 Any => fn ringbuf_query(_cx, ringbuf: MapRef<'a>, flags: u64) -> u64 {
        ring(ringbuf).map_or(0, |ring| ring.query(flags))
    }
}
