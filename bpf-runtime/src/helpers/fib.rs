//! Routes, and how long packets may be.

use bpf_abi::errno::Errno;

use super::args::number::LengthInOut;
use super::args::{Ctx, MemWrite, Size};
use super::define::helper;
use crate::env::Place;
use crate::packet::{skb, xdp};

helper! {
    /// Looks up a route for the packet that `params` describes. This runtime has neither
    /// interfaces nor routes: where Linux would look up the interface, it is not found
    /// (`ENODEV`).
    69 Packet => fn fib_lookup(_cx, _ctx: Ctx, params: MemWrite<'a>, _plen: Size, flags: u32) -> Result<u64, Errno> {
        /// Linux: `struct bpf_fib_lookup`.
        const PARAMS_SIZE: usize = 64;
        const KNOWN_FLAGS: u32 = 0x3f;
        if params.len() < PARAMS_SIZE || flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        Err(Errno::ENODEV)
    }
}

/// The header that comes before what an interface's limit counts.
const HARD_HEADER: i64 = 14;

/// How long packets of an interface may be: the interfaces are those of test runs, the loopback
/// device and one of Ethernet.
fn limit(ifindex: u32) -> Option<u32> {
    match ifindex {
        1 => Some(65536),
        2 => Some(1500),
        _ => None,
    }
}

helper! {
    /// Says whether the packet, made longer by `len_diff`, could leave by the interface `ifindex` (0:
    /// its own): 0, or 1 if it is too long. `mtu_len` is set to the limit; if it is not 0 it says how
    /// long the packet is without its Ethernet header. `flags` may be 1 (segments, in the network
    /// stack) where neither is given.
    163 Packet => fn check_mtu(cx, _ctx: Ctx, ifindex: u32, mtu_len: LengthInOut<'a>, len_diff: i32, flags: u64) -> Result<u64, Errno> {
        const SEGMENTS: u64 = 1;
        const TOO_LONG: u64 = 1;
        let env = cx.env();
        let mut mtu_len = mtu_len;
        let given = mtu_len.get();
        let allowed = if env.skb().is_some() { SEGMENTS } else { 0 };
        if flags & !allowed != 0 || (flags & SEGMENTS != 0 && (len_diff != 0 || given != 0)) {
            return Err(Errno::EINVAL);
        }
        let own = match &env.place {
            Place::Skb(buff) => Some((buff.context.u32(skb::at::IFINDEX), buff.frame.len())),
            Place::Xdp(buff) => Some((buff.context.u32(xdp::at::INGRESS_IFINDEX), buff.frame.linear_len())),
            Place::Bytes(_) => None,
        };
        let (own, len) = own.ok_or(Errno::EINVAL)?;
        let limit = limit(if ifindex == 0 { own } else { ifindex }).ok_or(Errno::ENODEV)?;
        let len = if given == 0 { i64::try_from(len).unwrap_or(i64::MAX) } else { i64::from(given) + HARD_HEADER };
        mtu_len.set(limit);
        let fits = len.saturating_add(i64::from(len_diff)) <= i64::from(limit) + HARD_HEADER;
        Ok(if fits { 0 } else { TOO_LONG })
    }
}
