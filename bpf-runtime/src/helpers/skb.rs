//! Packets in the network stack.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemIn, MemOut, Size};
use super::define::helper;
use crate::packet::skb::{ETH_LEN, RoomFlags, SkBuff, at};

helper! {
    /// Copies `len` bytes from `from` to `offset` of the packet. `flags` may be 1 (keep the
    /// checksum that the hardware took) and 2 (forget the hash).
    9 Skb => fn skb_store_bytes(cx, _skb: Ctx, offset: u32, from: MemIn<'a>, _len: Size, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        from.with(|bytes| store(skb, offset as usize, bytes, flags))
    }
}

/// Copies bytes into a packet. Linux: `__bpf_skb_store_bytes`.
pub(super) fn store(skb: &SkBuff, at: usize, bytes: &[u8], flags: u64) -> Result<(), Errno> {
    const RECOMPUTE_CSUM: u64 = 1;
    const INVALIDATE_HASH: u64 = 2;
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Err(Errno::EINVAL);
    }
    skb.write(at, bytes).ok_or(Errno::EFAULT)?;
    if flags & INVALIDATE_HASH != 0 {
        forget_hash(skb);
    }
    Ok(())
}

helper! {
    /// Copies `len` bytes at `offset` of the packet to `to`; zeros if they are not there.
    26 Skb => fn skb_load_bytes(cx, _skb: Ctx, offset: u32, to: MemOut<'a>, _len: Size) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        load(to, |out| skb.read(offset as usize, out))
    }
}

helper! {
    /// Copies `len` bytes at `offset` of the Ethernet header (`start_header` 0) or the network
    /// header (1) to `to`; zeros if they are not there.
    68 Skb => fn skb_load_bytes_relative(cx, _skb: Ctx, offset: u32, to: MemOut<'a>, _len: Size, start_header: u32) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        let start = match start_header {
            0 => Some(skb.mac_offset()),
            1 => Some(skb.network_offset()),
            _ => None,
        };
        let from = start.filter(|_| offset <= 0xffff).and_then(|start| start.checked_add_unsigned(offset as usize));
        load(to, |out| skb.read_at(from?, out))
    }
}

/// Copies bytes, or zeros if they are not there.
fn load(to: MemOut<'_>, read: impl FnOnce(&mut [u8]) -> Option<()>) -> Result<(), Errno> {
    let mut to = to;
    to.make(|bytes| {
        let found = read(bytes).ok_or(Errno::EFAULT);
        if found.is_err() {
            bytes.fill(0);
        }
        found
    })
}

helper! {
    /// Makes the first `len` bytes of the packet directly readable and writable: here they always
    /// are.
    39 Skb => fn skb_pull_data(cx, _skb: Ctx, len: u32) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if len as usize > skb.frame.len() { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

helper! {
    /// Sets the packet's length to `len`, cutting it or appending zeros. `flags` must be 0.
    38 Skb => fn skb_change_tail(cx, _skb: Ctx, len: u32, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        skb.change_tail(len)
    }
}

helper! {
    /// Makes room of `len` zero bytes before the packet, which becomes its Ethernet header.
    /// `flags` must be 0.
    43 Skb => fn skb_change_head(cx, _skb: Ctx, len: u32, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        skb.change_head(len)
    }
}

helper! {
    /// Puts a header of IP (`type` 2) before the packet, which has no Ethernet header. Headers of
    /// segment routing (0, 1) need routes, of which there are none: `EINVAL`.
    73 Skb => fn lwt_push_encap(cx, _skb: Ctx, r#type: u32, hdr: MemIn<'a>, _len: Size) -> Result<(), Errno> {
        const IP: u32 = 2;
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if r#type == IP { hdr.with(|hdr| skb.push_ip(hdr)) } else { Err(Errno::EINVAL) }
    }
}

helper! {
    /// Changes whom the packet is for, between 0 (this host), 1 (all), 2 (a group) and 3 (others).
    32 Skb => fn skb_change_type(cx, _skb: Ctx, r#type: u32) -> Result<(), Errno> {
        const LAST: u32 = 3;
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if skb.context.u32(at::PKT_TYPE) > LAST || r#type > LAST {
            return Err(Errno::EINVAL);
        }
        skb.context.set_u32(at::PKT_TYPE, r#type);
        Ok(())
    }
}

helper! {
    /// Adds a VLAN tag of protocol `vlan_proto` with `vlan_tci`; a tag before it goes into the
    /// packet.
    18 Skb => fn skb_vlan_push(cx, _skb: Ctx, vlan_proto: u32, vlan_tci: u32) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        let bytes = vlan_proto.to_le_bytes();
        let tci = vlan_tci.to_le_bytes();
        skb.vlan_push(u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([tci[0], tci[1]]))
    }
}

helper! {
    /// Takes the outer VLAN tag off, if there is one.
    19 Skb => fn skb_vlan_pop(cx, _skb: Ctx) -> Result<(), Errno> {
        cx.env().skb().ok_or(Errno::EINVAL)?.vlan_pop()
    }
}

helper! {
    /// Makes an IPv4 packet one of IPv6, or the reverse, as `proto` says: room is made or taken,
    /// and the program fills the header. `flags` must be 0.
    31 Skb => fn skb_change_proto(cx, _skb: Ctx, proto: u32, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let bytes = proto.to_le_bytes();
        skb.change_protocol(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

helper! {
    /// Makes room of `len_diff` bytes, or takes it if negative, behind the Ethernet header
    /// (`mode` 1) or behind the IP header (0). `flags` tell what the program will put there.
    50 Skb => fn skb_adjust_room(cx, _skb: Ctx, len_diff: i32, mode: u32, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        skb.adjust_room(len_diff, mode, RoomFlags::from_bits_retain(flags))
    }
}

helper! {
    /// Returns the packet's hash, computed from its addresses and ports if it has none. The
    /// numbers are not those of Linux, which depend on a secret.
    34 Skb => fn get_hash_recalc(cx, _skb: Ctx) -> u32 {
        let Some(skb) = cx.env().skb() else { return 0 };
        if !skb.hashed.get() {
            skb.context.set_u32(at::HASH, flow_hash(skb));
            skb.hashed.set(true);
        }
        skb.context.u32(at::HASH)
    }
}

helper! {
    /// Forgets the packet's hash.
    41 Skb => fn set_hash_invalid(cx, _skb: Ctx) -> Result<(), Errno> {
        forget_hash(cx.env().skb().ok_or(Errno::EINVAL)?);
        Ok(())
    }
}

helper! {
    /// Sets the packet's hash.
    48 Skb => fn set_hash(cx, _skb: Ctx, hash: u32) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        skb.context.set_u32(at::HASH, hash);
        skb.hashed.set(true);
        Ok(())
    }
}

fn forget_hash(skb: &SkBuff) {
    skb.context.set_u32(at::HASH, 0);
    skb.hashed.set(false);
}

/// A hash of the packet's protocol, addresses and ports: FNV-1a, folded; never 0.
fn flow_hash(skb: &SkBuff) -> u32 {
    let whole = skb.to_vec_whole();
    let header = whole.get(ETH_LEN..).unwrap_or_default();
    let (addresses, transport) = match header.first().map(|byte| byte >> 4) {
        Some(4) => (12..20, usize::from(header[0] & 0xf) * 4),
        Some(6) => (8..40, 40),
        _ => (0..header.len().min(16), header.len()),
    };
    let parts = [
        header.get(addresses).unwrap_or_default(),
        header.get(transport..transport + 4).unwrap_or_default(),
    ];
    let bytes = parts.iter().flat_map(|part| part.iter());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    super::args::low(hash ^ (hash >> 32)).max(1)
}
