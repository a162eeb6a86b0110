//! What the network stack notes about a packet: how far its checksums were looked at, when it is to
//! leave, how it was encrypted, congestion.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemOut, Size};
use super::define::helper;
use crate::packet::skb::at;

helper! {
    /// Adds to the checksum that the hardware took of the whole packet. None did here: `ENOTSUPP`,
    /// as in Linux.
    40 Skb => fn csum_update(_cx, _skb: Ctx, _csum: u32) -> Result<u64, Errno> {
        Err(Errno::ENOTSUPP)
    }
}

helper! {
    /// Asks how many checksums of the packet the hardware has found right (`level` 0), or says that
    /// it is one more (1), one less (2), or that none is (3). None is here, and asking gives
    /// `EACCES`, as in Linux.
    135 Skb => fn csum_level(_cx, _skb: Ctx, level: u64) -> Result<(), Errno> {
        match level {
            0 => Err(Errno::EACCES),
            1..=3 => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

helper! {
    /// Marks the packet as one that has met congestion, if it is one of IP whose sender can bear
    /// it. Returns whether it is marked.
    97 Skb => fn skb_ecn_set_ce(cx, _skb: Ctx) -> Result<u64, Errno> {
        let marked = cx.env().skb().is_some_and(|skb| skb.mark_congestion().is_some());
        Ok(u64::from(marked))
    }
}

helper! {
    /// Writes to `xfrm_state` how the packet was encrypted. No packet here was: `EINVAL`, and zeros,
    /// as in Linux.
    66 Skb => fn skb_get_xfrm_state(_cx, _skb: Ctx, _index: u32, xfrm_state: MemOut<'a>, _size: Size, _flags: u64) -> Result<(), Errno> {
        let mut state = xfrm_state;
        state.fill(&[]);
        Err(Errno::EINVAL)
    }
}

helper! {
    /// Sets when the packet is to leave, and by which clock: 0 is the time of day, 1 counts from
    /// boot, 2 is atomic time.
    192 Skb => fn skb_set_tstamp(cx, _skb: Ctx, tstamp: u64, tstamp_type: u32) -> Result<(), Errno> {
        const IP: [u32; 2] = [0x0008, 0xdd86];
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if !IP.contains(&skb.context.u32(at::PROTOCOL)) {
            return Err(Errno::EOPNOTSUPP);
        }
        let is_possible = match tstamp_type {
            0 => true,
            1 | 2 => tstamp != 0,
            _ => false,
        };
        if !is_possible {
            return Err(Errno::EINVAL);
        }
        skb.context.set_u64(at::TSTAMP, tstamp);
        // The other bytes of the word are no field of the context.
        let _ = skb.context.write(at::TSTAMP_TYPE, &tstamp_type.to_le_bytes()[..1]);
        Ok(())
    }
}
