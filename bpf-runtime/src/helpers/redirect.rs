//! Sending packets elsewhere.

use bpf_abi::errno::Errno;
use bpf_abi::map::MapType;
use bpf_maps::CpuId;

use super::args::{Ctx, MapRef, MemInOrNull, SizeOrZero};
use super::define::helper;
use crate::packet::Redirect;

/// What an XDP program returns for a packet that is to go elsewhere. Linux: `XDP_REDIRECT`.
const XDP_REDIRECT: u64 = 4;
/// Linux: `XDP_ABORTED`.
const XDP_ABORTED: u64 = 0;
/// What a classifier returns for a packet that is to go elsewhere. Linux: `TC_ACT_REDIRECT`.
const TC_REDIRECT: u64 = 7;
/// Linux: `TC_ACT_SHOT`.
const TC_SHOT: u64 = 2;
/// In the flags of a redirect: in, not out. Linux: `BPF_F_INGRESS`.
const INGRESS: u64 = 1;

helper! {
    /// Sends the packet to the interface `ifindex`; the result is what the program is to return.
    /// For classifiers `flags` may be 1, to let it come in there.
    23 Packet => fn redirect(cx, ifindex: u32, flags: u64) -> u64 {
        let env = cx.env();
        let (allowed, refused, verdict) =
            if env.xdp().is_some() { (0, XDP_ABORTED, XDP_REDIRECT) } else { (INGRESS, TC_SHOT, TC_REDIRECT) };
        if flags & !allowed != 0 {
            return refused;
        }
        env.redirect.set(Some(Redirect::Interface { ifindex, flags }));
        verdict
    }
}

/// In the flags of a redirect: by the neighbour's address, to be found out.
/// Linux: `BPF_F_NEIGH`.
const NEIGHBOUR: u64 = 1 << 1;
/// In the flags of a redirect: into the network of the interface's other end.
/// Linux: `BPF_F_PEER`.
const PEER: u64 = 1 << 2;
/// In the flags of a redirect: the next hop is known. Linux: `BPF_F_NEXTHOP`.
const NEXT_HOP: u64 = 1 << 3;

helper! {
    /// Sends the packet out of the interface `ifindex`, with the link-layer address of its next hop,
    /// which `params` may name; the result is what the program is to return. `flags` must be 0.
    152 Skb => fn redirect_neigh(cx, ifindex: u32, params: MemInOrNull<'a>, _plen: SizeOrZero, flags: u64) -> u64 {
        /// Linux: `struct bpf_redir_neigh`.
        const PARAMS_SIZE: usize = 20;
        let len = params.0.len();
        if flags != 0 || (len != 0 && len < PARAMS_SIZE) {
            return TC_SHOT;
        }
        let flags = if len == 0 { NEIGHBOUR } else { NEIGHBOUR | NEXT_HOP };
        cx.env().redirect.set(Some(Redirect::Interface { ifindex, flags }));
        TC_REDIRECT
    }
}

helper! {
    /// Lets the packet come in at the other end of the interface `ifindex`, a pair of ends in two
    /// networks; the result is what the program is to return. `flags` must be 0.
    155 Skb => fn redirect_peer(cx, ifindex: u32, flags: u64) -> u64 {
        if flags != 0 {
            return TC_SHOT;
        }
        cx.env().redirect.set(Some(Redirect::Interface { ifindex, flags: PEER }));
        TC_REDIRECT
    }
}

helper! {
    /// Sends the packet through the entry `key` of `map`; the result is what the program is to
    /// return. If there is no such entry, it is the lower two bits of `flags`. With 8 in `flags`
    /// the packet goes to every entry of a device map, with 16 not back to where it came from.
    51 Xdp => fn redirect_map(cx, map: MapRef<'a>, key: u64, flags: u64) -> u64 {
        const MISSED: u64 = 3;
        const BROADCAST: u64 = 8;
        const EXCLUDE_INGRESS: u64 = 16;
        let env = cx.env();
        let is_broadcast = flags & BROADCAST != 0;
        let of_devices =
            matches!(map.map().shape().map_type, MapType::Devmap | MapType::DevmapHash);
        let allowed = if of_devices { MISSED | BROADCAST | EXCLUDE_INGRESS } else { MISSED };
        if flags & !allowed != 0 {
            return XDP_ABORTED;
        }
        let index = super::args::low(key).to_le_bytes();
        let found = is_broadcast || map.map().lookup(CpuId(cx.cpu()), &index).is_some();
        if !found {
            return flags & MISSED;
        }
        env.redirect.set(Some(Redirect::Map { map: map.map().core().id(), key, flags }));
        XDP_REDIRECT
    }
}

helper! {
    /// Sends a copy of the packet to the interface `ifindex`. Here there are no interfaces, so
    /// none is found: `EINVAL`, as in Linux.
    13 Skb => fn clone_redirect(_cx, _skb: Ctx, _ifindex: u32, _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
