//! Code that no program calls by a number: loads from the packet that are instructions.

use bpf_abi::helper::LOAD_PACKET_FAILED;

use super::args::Ctx;
use super::define::helper;

helper! {
    /// The bytes of the packet at `offset`, `size` of them, as a number in network order; all
    /// ones if they are not there. Offsets from -0x100000 on are counted from the network header,
    /// those from -0x200000 on from the Ethernet header.
    2147483392 Skb => fn load_packet(cx, _skb: Ctx, offset: u64, size: u64) -> u64 {
        const FROM_NETWORK: i64 = -0x10_0000;
        const FROM_ETHERNET: i64 = -0x20_0000;
        let Some(skb) = cx.env().skb() else { return LOAD_PACKET_FAILED };
        let offset = i64::from(super::args::low(offset).cast_signed());
        let at = if offset >= 0 {
            isize::try_from(offset).ok()
        } else if offset >= FROM_NETWORK {
            isize::try_from(offset - FROM_NETWORK).ok().and_then(|at| at.checked_add(skb.network_offset()))
        } else if offset >= FROM_ETHERNET {
            isize::try_from(offset - FROM_ETHERNET).ok().and_then(|at| at.checked_add(skb.mac_offset()))
        } else {
            None
        };
        let mut bytes = [0; 4];
        let size = usize::try_from(size).unwrap_or(0).min(4);
        let read = at.and_then(|at| skb.read_at(at, bytes.get_mut(4 - size..)?));
        read.map_or(LOAD_PACKET_FAILED, |()| u64::from(u32::from_be_bytes(bytes)))
    }
}
