//! `struct xdp_md`, and the moves a program can make with its packet.

use bpf_abi::errno::Errno;

use super::Frame;
use crate::memory::Memory;

/// The bytes before a packet. Linux: `XDP_PACKET_HEADROOM`.
pub(crate) const HEADROOM: usize = 256;
/// The part of the headroom that belongs to the driver. Linux: `struct xdp_frame`.
pub(crate) const DRIVER_ROOM: usize = 40;
/// Where the linear part must end: a page without its trailer. Linux: `struct skb_shared_info`.
pub(crate) const HARD_END: usize = 4096 - 320;
/// The size of `struct xdp_md`.
pub(crate) const UAPI_SIZE: usize = 24;
/// The longest packet of a test run.
pub(crate) const MAX_LEN: usize = 73152;

/// The shortest packet: an Ethernet header. Linux: `ETH_HLEN`.
const SHORTEST: usize = 14;
/// How long metadata may be. Linux: `meta_len` of `struct skb_shared_info` is a byte.
const LONGEST_META: usize = 252;

/// Offsets in the context.
pub(crate) mod at {
    pub(crate) const DATA: usize = 0;
    pub(crate) const DATA_END: usize = 4;
    pub(crate) const DATA_META: usize = 8;
    pub(crate) const INGRESS_IFINDEX: usize = 12;
    pub(crate) const RX_QUEUE_INDEX: usize = 16;
    pub(crate) const EGRESS_IFINDEX: usize = 20;
    pub(crate) const HOST_DATA: usize = 24;
    pub(crate) const HOST_DATA_END: usize = 32;
    pub(crate) const HOST_DATA_META: usize = 40;
    pub(crate) const SIZE: usize = 48;
}

/// A packet at a driver's hook. Linux: `struct xdp_buff`.
#[derive(Debug)]
pub(crate) struct XdpBuff {
    pub(crate) context: Memory,
    pub(crate) frame: Frame,
}

impl XdpBuff {
    /// An empty packet.
    pub(crate) fn new() -> Self {
        Self { context: Memory::new(at::SIZE), frame: Frame::new(HARD_END) }
    }

    /// Makes it a packet that came in on this interface and queue.
    pub(crate) fn fill(&self, bytes: &[u8], ifindex: u32, queue: u32) {
        self.frame.fill(HEADROOM, HARD_END, bytes);
        self.context.set_u32(at::INGRESS_IFINDEX, ifindex);
        self.context.set_u32(at::RX_QUEUE_INDEX, queue);
        self.context.set_u32(at::EGRESS_IFINDEX, 0);
        self.sync();
    }

    /// Makes it a packet of a test run: the first `meta` of the bytes are metadata and lie in the
    /// headroom, those from `end` on are in fragments whatever the room.
    pub(crate) fn fill_cut(&self, bytes: &[u8], meta: usize, end: usize, ifindex: u32) {
        let room = HEADROOM - meta.min(HEADROOM);
        self.frame.fill(room, HARD_END.min(room + end), bytes);
        let data = HEADROOM.min(self.frame.end());
        let _ = self.frame.place(room, data, self.frame.end());
        self.context.set_u32(at::INGRESS_IFINDEX, ifindex);
        self.sync();
    }

    /// Tells the context where the packet is.
    #[inline]
    pub(crate) fn sync(&self) {
        self.context.set_u64(at::HOST_DATA, self.frame.address(self.frame.data()));
        self.context.set_u64(at::HOST_DATA_END, self.frame.address(self.frame.end()));
        self.context.set_u64(at::HOST_DATA_META, self.frame.address(self.frame.meta()));
    }

    /// Moves the packet's beginning. Linux: `bpf_xdp_adjust_head`.
    pub(crate) fn adjust_head(&self, by: i32) -> Result<(), Errno> {
        let frame = &self.frame;
        let meta_len = frame.data() - frame.meta();
        let data = moved(frame.data(), by).ok_or(Errno::EINVAL)?;
        if data < DRIVER_ROOM + meta_len || data + SHORTEST > frame.end() {
            return Err(Errno::EINVAL);
        }
        let meta = data - meta_len;
        if meta_len > 0 {
            frame.shift(frame.meta(), meta, meta_len).ok_or(Errno::EINVAL)?;
        }
        frame.place(meta, data, frame.end()).ok_or(Errno::EINVAL)?;
        self.sync();
        Ok(())
    }

    /// Moves the metadata's beginning. Linux: `bpf_xdp_adjust_meta`.
    pub(crate) fn adjust_meta(&self, by: i32) -> Result<(), Errno> {
        let frame = &self.frame;
        let meta = moved(frame.meta(), by).ok_or(Errno::EINVAL)?;
        if meta < DRIVER_ROOM || meta > frame.data() {
            return Err(Errno::EINVAL);
        }
        let len = frame.data() - meta;
        if !len.is_multiple_of(4) || len > LONGEST_META {
            return Err(Errno::EACCES);
        }
        frame.place(meta, frame.data(), frame.end()).ok_or(Errno::EINVAL)?;
        self.sync();
        Ok(())
    }

    /// Moves the packet's end. Linux: `bpf_xdp_adjust_tail`.
    pub(crate) fn adjust_tail(&self, by: i32) -> Result<(), Errno> {
        let frame = &self.frame;
        if frame.fragment_len() > 0 {
            return self.adjust_fragments(by);
        }
        let end = moved(frame.end(), by).ok_or(Errno::EINVAL)?;
        if end > HARD_END || end < frame.data() + SHORTEST {
            return Err(Errno::EINVAL);
        }
        if end > frame.end() {
            frame.clear(frame.end(), end - frame.end()).ok_or(Errno::EINVAL)?;
        }
        frame.place(frame.meta(), frame.data(), end).ok_or(Errno::EINVAL)?;
        self.sync();
        Ok(())
    }

    /// Moves the end of a packet with fragments.
    fn adjust_fragments(&self, by: i32) -> Result<(), Errno> {
        let frame = &self.frame;
        if by >= 0 {
            let by = usize::try_from(by).map_err(|_| Errno::EINVAL)?;
            return frame.grow_fragments(by).ok_or(Errno::EINVAL);
        }
        let by = by.unsigned_abs() as usize;
        if frame.len() < by + SHORTEST {
            return Err(Errno::EINVAL);
        }
        let cut = frame.shrink_fragments(by);
        let end = frame.end() - (by - cut);
        frame.place(frame.meta(), frame.data(), end).ok_or(Errno::EINVAL)?;
        self.sync();
        Ok(())
    }

    /// The packet with its metadata, as a test run gives it back.
    pub(crate) fn to_vec_with_meta(&self) -> Vec<u8> {
        let meta_len = self.frame.data() - self.frame.meta();
        let mut bytes = vec![0; meta_len];
        let _ = self.frame.peek(self.frame.meta(), &mut bytes);
        bytes.extend(self.frame.to_vec());
        bytes
    }
}

/// `at`, moved; `None` before the beginning.
fn moved(at: usize, by: i32) -> Option<usize> {
    at.checked_add_signed(isize::try_from(by).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buff(len: usize) -> XdpBuff {
        let buff = XdpBuff::new();
        buff.fill(&vec![7; len], 1, 0);
        buff
    }

    /// Which moves a fresh 64-byte packet accepts: the first and the last.
    fn accepted(adjust: impl Fn(&XdpBuff, i32) -> Result<(), Errno>) -> (i32, i32) {
        let moves: Vec<i32> = (-5000..5000).filter(|by| adjust(&buff(64), *by).is_ok()).collect();
        (moves[0], moves[moves.len() - 1])
    }

    #[test]
    fn a_packet_moves_as_far_as_in_linux() {
        assert_eq!(accepted(XdpBuff::adjust_head), (-216, 50));
        assert_eq!(accepted(XdpBuff::adjust_tail), (-50, 3456));
        assert_eq!(accepted(XdpBuff::adjust_meta), (-216, 0));
    }

    #[test]
    fn metadata_travels_with_the_packet() {
        let buff = buff(64);
        buff.adjust_meta(-8).unwrap();
        buff.frame.poke(buff.frame.meta(), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        buff.adjust_head(-10).unwrap();
        assert_eq!(buff.to_vec_with_meta()[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(buff.to_vec_with_meta().len(), 8 + 74);
        assert_eq!(buff.context.u64(at::HOST_DATA) - buff.context.u64(at::HOST_DATA_META), 8);
    }

    #[test]
    fn long_packets_go_on_in_fragments() {
        let buff = buff(9000);
        assert_eq!(buff.frame.linear_len(), 3520);
        buff.adjust_tail(-6000).unwrap();
        assert_eq!((buff.frame.len(), buff.frame.fragment_len()), (3000, 0));
    }
}
