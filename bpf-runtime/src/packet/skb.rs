//! `struct __sk_buff`, and the moves a program can make with its packet.

use std::cell::{Cell, RefCell};

use bitflags::bitflags;
use bpf_abi::errno::Errno;

use super::Frame;
use crate::helpers::storage::Storages;
use crate::memory::Memory;

/// The room before a packet. Linux: `NET_SKB_PAD`.
pub(crate) const HEADROOM: usize = 64;
/// The longest packet of a test run.
pub(crate) const MAX_LEN: usize = 4096 - 64 - 320;
/// The size of `struct __sk_buff`.
pub(crate) const UAPI_SIZE: usize = 192;
/// The length of an Ethernet header. Linux: `ETH_HLEN`.
pub(crate) const ETH_LEN: usize = 14;
/// The longest packet that helpers make: four pages without a trailer. Linux: `BPF_SKB_MAX_LEN`.
const LONGEST: usize = 4 * 4096 - 320;

/// The type of Ethernet frames with a VLAN tag.
pub(crate) const ETH_P_8021Q: u16 = 0x8100;
/// The type of Ethernet frames with an outer VLAN tag.
pub(crate) const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Offsets in the context.
pub(crate) mod at {
    pub(crate) const LEN: usize = 0;
    pub(crate) const PKT_TYPE: usize = 4;
    pub(crate) const MARK: usize = 8;
    pub(crate) const QUEUE_MAPPING: usize = 12;
    pub(crate) const PROTOCOL: usize = 16;
    pub(crate) const VLAN_PRESENT: usize = 20;
    pub(crate) const VLAN_TCI: usize = 24;
    pub(crate) const VLAN_PROTO: usize = 28;
    pub(crate) const PRIORITY: usize = 32;
    pub(crate) const IFINDEX: usize = 40;
    pub(crate) const TC_INDEX: usize = 44;
    pub(crate) const CB: usize = 48;
    pub(crate) const HASH: usize = 68;
    pub(crate) const FAMILY: usize = 88;
    pub(crate) const REMOTE_IP4: usize = 92;
    pub(crate) const LOCAL_IP4: usize = 96;
    pub(crate) const REMOTE_IP6: usize = 100;
    pub(crate) const LOCAL_IP6: usize = 116;
    pub(crate) const TSTAMP: usize = 152;
    pub(crate) const WIRE_LEN: usize = 160;
    pub(crate) const GSO_SEGS: usize = 164;
    pub(crate) const SK: usize = 168;
    pub(crate) const GSO_SIZE: usize = 176;
    pub(crate) const TSTAMP_TYPE: usize = 180;
    pub(crate) const HWTSTAMP: usize = 184;
    pub(crate) const HOST_DATA: usize = 192;
    pub(crate) const HOST_DATA_END: usize = 200;
    pub(crate) const HOST_DATA_META: usize = 208;
    pub(crate) const SIZE: usize = 216;
}

bitflags! {
    /// Flags of `bpf_skb_adjust_room`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RoomFlags: u64 {
        const FIXED_GSO = 1 << 0;
        const ENCAP_IPV4 = 1 << 1;
        const ENCAP_IPV6 = 1 << 2;
        const ENCAP_GRE = 1 << 3;
        const ENCAP_UDP = 1 << 4;
        const NO_CSUM_RESET = 1 << 5;
        const ENCAP_ETH = 1 << 6;
        const DECAP_IPV4 = 1 << 7;
        const DECAP_IPV6 = 1 << 8;
        /// The length of an inner Ethernet header.
        const L2_LEN = 0xff << 56;
        const DECAP = Self::DECAP_IPV4.bits() | Self::DECAP_IPV6.bits();
        const KNOWN = 0x1ff | Self::L2_LEN.bits();
        const _ = !0;
    }
}

/// Offsets in the socket that a test run's packet belongs to. Linux: `struct bpf_sock`.
mod sock_at {
    pub(super) const FAMILY: usize = 4;
    pub(super) const SRC_IP4: usize = 24;
    pub(super) const SRC_IP6: usize = 28;
    pub(super) const DST_IP4: usize = 52;
    pub(super) const DST_IP6: usize = 56;
    pub(super) const STATE: usize = 72;
    pub(super) const RX_QUEUE_MAPPING: usize = 76;
    pub(super) const SIZE: usize = 80;
}

/// What a tunnel said about a packet, or is to be told. Linux: `struct ip_tunnel_info`.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    /// The key as it was set. Linux: `struct bpf_tunnel_key`.
    pub(crate) key: Vec<u8>,
    /// Whether its addresses are those of IPv6.
    pub(crate) is_ipv6: bool,
    /// The options behind the header.
    pub(crate) options: Vec<u8>,
}

/// A packet in the network stack. Linux: `struct sk_buff`.
#[derive(Debug)]
pub(crate) struct SkBuff {
    pub(crate) context: Memory,
    pub(crate) frame: Frame,
    sock: Memory,
    /// Where the Ethernet header begins, counted from the data.
    mac: Cell<isize>,
    /// Where the network header begins, counted from the data.
    network: Cell<isize>,
    from_l2: bool,
    /// Whether a helper has put another header around the packet.
    encapsulated: Cell<bool>,
    /// Whether the hash in the context is that of the packet.
    pub(crate) hashed: Cell<bool>,
    /// What a tunnel is told about it.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// What maps keep with its socket, and with the runs on it.
    pub(crate) storages: RefCell<Storages>,
}

impl SkBuff {
    /// An empty packet; programs see its Ethernet header if `from_l2`.
    pub(crate) fn new(from_l2: bool) -> Self {
        Self {
            context: Memory::new(at::SIZE),
            frame: Frame::new(4096),
            sock: Memory::new(sock_at::SIZE),
            mac: Cell::new(0),
            network: Cell::new(0),
            from_l2,
            encapsulated: Cell::new(false),
            hashed: Cell::new(false),
            tunnel: RefCell::new(None),
            storages: RefCell::default(),
        }
    }

    /// Makes it a packet that came in on this interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is shorter than the headers it must have.
    pub(crate) fn fill(&self, bytes: &[u8], ifindex: u32) -> Result<(), Errno> {
        let ether_type = ether_type(bytes).ok_or(Errno::EINVAL)?;
        let needed = match ether_type {
            ETH_P_IP => 20,
            ETH_P_IPV6 => 40,
            _ => 0,
        };
        if bytes.len() < ETH_LEN + needed {
            return Err(Errno::EINVAL);
        }
        self.frame.fill(HEADROOM, usize::MAX, bytes);
        self.encapsulated.set(false);
        self.hashed.set(false);
        self.tunnel.replace(None);
        self.storages.borrow_mut().clear();
        let _ = self.context.clear(0, at::SIZE);
        let frame = &self.frame;
        if self.from_l2 {
            self.mac.set(0);
            self.network.set(ETH_LEN.cast_signed());
        } else {
            let data = frame.data() + ETH_LEN;
            frame.place(data, data, frame.end()).ok_or(Errno::EINVAL)?;
            self.mac.set(-ETH_LEN.cast_signed());
            self.network.set(0);
        }
        self.context.set_u32(at::PROTOCOL, u32::from(protocol(bytes).to_be()));
        self.context.set_u32(at::PKT_TYPE, packet_type(bytes));
        self.context.set_u32(at::IFINDEX, ifindex);
        self.name_socket(ether_type, bytes);
        self.sync();
        Ok(())
    }

    /// Gives the packet a socket of its own, closed, with the packet's family and addresses.
    fn name_socket(&self, ether_type: u16, bytes: &[u8]) {
        /// Linux: `TCP_CLOSE`.
        const CLOSED: u32 = 7;
        let (context, sock) = (&self.context, &self.sock);
        let _ = sock.clear(0, sock_at::SIZE);
        let copy = |[in_context, in_socket]: [usize; 2], from: usize, len: usize| {
            let address = bytes.get(from..from + len).unwrap_or_default();
            let _ = context.write(in_context, address);
            let _ = sock.write(in_socket, address);
        };
        let family = match ether_type {
            ETH_P_IP => {
                copy([at::LOCAL_IP4, sock_at::SRC_IP4], ETH_LEN + 12, 4);
                copy([at::REMOTE_IP4, sock_at::DST_IP4], ETH_LEN + 16, 4);
                2
            }
            ETH_P_IPV6 => {
                copy([at::LOCAL_IP6, sock_at::SRC_IP6], ETH_LEN + 8, 16);
                copy([at::REMOTE_IP6, sock_at::DST_IP6], ETH_LEN + 24, 16);
                10
            }
            _ => 0,
        };
        context.set_u32(at::FAMILY, family);
        sock.set_u32(sock_at::FAMILY, family);
        sock.set_u32(sock_at::STATE, CLOSED);
        sock.set_u32(sock_at::RX_QUEUE_MAPPING, u32::MAX);
        context.set_u64(at::SK, sock.address());
    }

    /// Tells the context where the packet is and how long.
    pub(crate) fn sync(&self) {
        let frame = &self.frame;
        self.context.set_u32(at::LEN, u32::try_from(frame.len()).unwrap_or(u32::MAX));
        self.context.set_u64(at::HOST_DATA, frame.address(frame.data()));
        self.context.set_u64(at::HOST_DATA_END, frame.address(frame.end()));
        self.context.set_u64(at::HOST_DATA_META, frame.address(frame.meta()));
    }

    /// Whether this is the address of its socket.
    pub(crate) fn has_socket(&self, address: u64) -> bool {
        address == self.sock.address()
    }

    /// A number that no other socket in the process has.
    pub(crate) fn socket_cookie(&self) -> u64 {
        self.sock.address()
    }

    /// Where the Ethernet header is, counted from the data.
    pub(crate) fn mac_offset(&self) -> isize {
        self.mac.get()
    }

    /// Where the network header is, counted from the data.
    pub(crate) fn network_offset(&self) -> isize {
        self.network.get()
    }

    /// Copies bytes of the packet, counted from the data.
    #[inline]
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) -> Option<()> {
        self.frame.read(at, out)
    }

    /// Copies bytes before or behind the data's beginning, counted from it.
    #[inline]
    pub(crate) fn read_at(&self, at: isize, out: &mut [u8]) -> Option<()> {
        let from = self.frame.data().checked_add_signed(at)?;
        if from.checked_add(out.len())? > self.frame.end() {
            return None;
        }
        self.frame.peek(from, out)
    }

    /// Changes bytes before or behind the data's beginning, counted from it.
    fn write_at(&self, at: isize, bytes: &[u8]) -> Option<()> {
        self.frame.poke(self.frame.data().checked_add_signed(at)?, bytes)
    }

    /// Changes bytes of the packet, counted from the data.
    #[inline]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        self.frame.write(at, bytes)
    }

    /// Makes room for `len` bytes before the data: they become its first ones.
    fn push(&self, len: usize) -> Result<(), Errno> {
        let frame = &self.frame;
        frame.reserve(len, 0);
        let data = frame.data().checked_sub(len).ok_or(Errno::ENOMEM)?;
        frame.place(data, data, frame.end()).ok_or(Errno::ENOMEM)?;
        let by = len.cast_signed();
        self.mac.set(self.mac.get() + by);
        self.network.set(self.network.get() + by);
        Ok(())
    }

    /// Takes `len` bytes off the data's beginning.
    fn pull(&self, len: usize) -> Result<(), Errno> {
        let frame = &self.frame;
        let data = frame.data() + len;
        frame.place(data, data, frame.end()).ok_or(Errno::EINVAL)?;
        let by = len.cast_signed();
        self.mac.set(self.mac.get() - by);
        self.network.set(self.network.get() - by);
        Ok(())
    }

    /// Sets the packet's length. Linux: `bpf_skb_change_tail`.
    pub(crate) fn change_tail(&self, len: u32) -> Result<(), Errno> {
        let frame = &self.frame;
        let len = len as usize;
        let least = usize::try_from(self.network.get()).unwrap_or(0);
        if len > LONGEST || len < least {
            return Err(Errno::EINVAL);
        }
        let old = frame.linear_len();
        if len > old {
            frame.reserve(0, len - old);
            frame.clear(frame.end(), len - old).ok_or(Errno::ENOMEM)?;
        }
        frame.place(frame.meta(), frame.data(), frame.data() + len).ok_or(Errno::ENOMEM)?;
        self.sync();
        Ok(())
    }

    /// Makes room of `len` zero bytes before the data. Linux: `bpf_skb_change_head`.
    pub(crate) fn change_head(&self, len: u32) -> Result<(), Errno> {
        let frame = &self.frame;
        let len = len as usize;
        if frame.len() + len > LONGEST {
            return Err(Errno::EINVAL);
        }
        self.push(len)?;
        frame.clear(frame.data(), len).ok_or(Errno::ENOMEM)?;
        self.mac.set(0);
        self.sync();
        Ok(())
    }

    /// Puts a header of IP before the packet. Linux: `bpf_lwt_push_ip_encap`.
    pub(crate) fn push_ip(&self, header: &[u8]) -> Result<(), Errno> {
        /// Linux: `LWT_BPF_MAX_HEADROOM`.
        const LONGEST_HEADER: usize = 256;
        let first = header.first().copied().unwrap_or(0);
        let (least, protocol) = match first >> 4 {
            4 => (20.max(usize::from(first & 0xf) * 4), ETH_P_IP),
            6 => (40, ETH_P_IPV6),
            _ => return Err(Errno::EINVAL),
        };
        if header.len() < least || header.len() > LONGEST_HEADER {
            return Err(Errno::EINVAL);
        }
        let mut bytes = header.to_vec();
        if protocol == ETH_P_IP && bytes.get(10..12) == Some(&[0, 0]) {
            let sum = header_sum(header.get(..least).unwrap_or(header));
            bytes.splice(10..12, sum.to_be_bytes());
        }
        self.push(bytes.len())?;
        self.frame.poke(self.frame.data(), &bytes).ok_or(Errno::ENOMEM)?;
        self.network.set(0);
        self.set_protocol(protocol);
        self.sync();
        Ok(())
    }

    /// The protocol in the context, in host order.
    fn protocol(&self) -> u16 {
        u16::from_be(u16::try_from(self.context.u32(at::PROTOCOL) & 0xffff).unwrap_or(0))
    }

    fn set_protocol(&self, protocol: u16) {
        self.context.set_u32(at::PROTOCOL, u32::from(protocol.to_be()));
    }

    /// Makes room of `len` zero bytes behind the first `keep` bytes, which move to the front.
    fn open_gap(&self, keep: usize, len: usize) -> Result<(), Errno> {
        let frame = &self.frame;
        let (mac, network) = (self.mac.get(), self.network.get());
        self.push(len)?;
        frame.shift(frame.data() + len, frame.data(), keep).ok_or(Errno::ENOMEM)?;
        frame.clear(frame.data() + keep, len).ok_or(Errno::ENOMEM)?;
        // Headers keep their distance from the beginning.
        self.mac.set(mac);
        self.network.set(network);
        self.sync();
        Ok(())
    }

    /// Removes `len` bytes behind the first `keep` bytes.
    fn close_gap(&self, keep: usize, len: usize) -> Result<(), Errno> {
        let frame = &self.frame;
        if frame.linear_len() < keep + len {
            return Err(Errno::ENOMEM);
        }
        let (mac, network) = (self.mac.get(), self.network.get());
        frame.shift(frame.data(), frame.data() + len, keep).ok_or(Errno::ENOMEM)?;
        self.pull(len)?;
        self.mac.set(mac);
        self.network.set(network);
        self.sync();
        Ok(())
    }

    /// The length of the Ethernet header, tags included.
    fn mac_len(&self) -> usize {
        usize::try_from(self.network.get() - self.mac.get()).unwrap_or(0)
    }

    /// Makes an IPv4 packet one of IPv6, or the reverse: the header's length changes, what is in
    /// it is the program's to say. Linux: `bpf_skb_change_proto`.
    pub(crate) fn change_protocol(&self, protocol: u16) -> Result<(), Errno> {
        const DIFFERENCE: usize = 20;
        match (self.protocol(), protocol) {
            (ETH_P_IP, ETH_P_IPV6) => self.open_gap(self.mac_len(), DIFFERENCE)?,
            (ETH_P_IPV6, ETH_P_IP) => self.close_gap(self.mac_len(), DIFFERENCE)?,
            _ => return Err(Errno::ENOTSUPP),
        }
        self.set_protocol(protocol);
        Ok(())
    }

    /// Makes or takes room behind the Ethernet header, or behind the IP header too.
    /// Linux: `bpf_skb_adjust_room`.
    pub(crate) fn adjust_room(&self, by: i32, mode: u32, flags: RoomFlags) -> Result<(), Errno> {
        let len = by.unsigned_abs() as usize;
        if !(flags - RoomFlags::KNOWN).is_empty() {
            return Err(Errno::EINVAL);
        }
        if len > 0xfff {
            return Err(Errno::EFAULT);
        }
        let base = match self.protocol() {
            ETH_P_IP => 20,
            ETH_P_IPV6 => 40,
            _ => return Err(Errno::ENOTSUPP),
        };
        let keep = match mode {
            0 => self.mac_len() + base,
            1 => self.mac_len(),
            _ => return Err(Errno::ENOTSUPP),
        };
        if by < 0 {
            self.shrink_room(keep, len, base, flags)
        } else {
            self.grow_room(keep, len, flags)
        }
    }

    fn shrink_room(
        &self,
        keep: usize,
        len: usize,
        base: usize,
        flags: RoomFlags,
    ) -> Result<(), Errno> {
        let least = match flags & RoomFlags::DECAP {
            RoomFlags::DECAP_IPV4 => 20,
            RoomFlags::DECAP_IPV6 => 40,
            none if none.is_empty() => base,
            _ => return Err(Errno::EINVAL),
        };
        let network = usize::try_from(self.network.get()).unwrap_or(0);
        let now = self.frame.len().saturating_sub(network);
        if len >= now || now - len < least {
            return Err(Errno::ENOTSUPP);
        }
        let allowed = RoomFlags::FIXED_GSO | RoomFlags::NO_CSUM_RESET | RoomFlags::DECAP;
        if !(flags - allowed).is_empty() {
            return Err(Errno::EINVAL);
        }
        self.close_gap(keep, len)?;
        if flags.contains(RoomFlags::DECAP_IPV4) {
            self.set_protocol(ETH_P_IP);
        } else if flags.contains(RoomFlags::DECAP_IPV6) {
            self.set_protocol(ETH_P_IPV6);
        }
        Ok(())
    }

    fn grow_room(&self, keep: usize, len: usize, flags: RoomFlags) -> Result<(), Errno> {
        if flags.intersects(RoomFlags::DECAP) {
            return Err(Errno::EINVAL);
        }
        if self.frame.len() + len > LONGEST {
            return Err(Errno::ENOTSUPP);
        }
        let inner_mac = usize::try_from((flags & RoomFlags::L2_LEN).bits() >> 56).unwrap_or(0);
        let encapsulates = flags.intersects(RoomFlags::ENCAP_IPV4 | RoomFlags::ENCAP_IPV6);
        if encapsulates {
            let impossible = flags.contains(RoomFlags::ENCAP_IPV4 | RoomFlags::ENCAP_IPV6)
                || flags.contains(RoomFlags::ENCAP_GRE | RoomFlags::ENCAP_UDP)
                || (flags.contains(RoomFlags::ENCAP_ETH) && inner_mac < ETH_LEN);
            if impossible {
                return Err(Errno::EINVAL);
            }
            if self.encapsulated.get() {
                return Err(Errno::EALREADY);
            }
            if inner_mac > len {
                return Err(Errno::EINVAL);
            }
        }
        self.open_gap(keep, len)?;
        self.encapsulated.set(self.encapsulated.get() || encapsulates);
        if flags.contains(RoomFlags::ENCAP_IPV4) {
            self.set_protocol(ETH_P_IP);
        } else if flags.contains(RoomFlags::ENCAP_IPV6) {
            self.set_protocol(ETH_P_IPV6);
        }
        Ok(())
    }

    /// Pushes the tag the context holds, if it holds one, into the packet.
    fn insert_tag(&self) -> Result<(), Errno> {
        if self.context.u32(at::VLAN_PRESENT) == 0 {
            return Ok(());
        }
        let frame = &self.frame;
        let down = usize::try_from(-self.mac.get()).unwrap_or(0);
        self.push(down + 4)?;
        frame.shift(frame.data() + 4, frame.data(), 12).ok_or(Errno::EINVAL)?;
        let tci = self.context.u32(at::VLAN_TCI) & 0xffff;
        let tci = u16::try_from(tci).unwrap_or(0).to_be_bytes();
        let proto = self.context.u32(at::VLAN_PROTO).to_le_bytes();
        let tag = [proto[0], proto[1], tci[0], tci[1]];
        frame.poke(frame.data() + 12, &tag).ok_or(Errno::EINVAL)?;
        self.mac.set(0);
        // What was behind the addresses counts as the network header now: the tag.
        self.network.set(self.network.get() - 4);
        self.context.set_u32(at::PROTOCOL, self.context.u32(at::VLAN_PROTO));
        self.pull(down)
    }

    /// Marks a packet of IP as one that has met congestion, if its sender can bear it, or if it is
    /// marked already; otherwise there is nothing. Linux: `INET_ECN_set_ce`.
    pub(crate) fn mark_congestion(&self) -> Option<()> {
        const CONGESTED: u8 = 3;
        let header = self.network.get();
        match self.protocol() {
            ETH_P_IP => {
                let mut bytes = [0; 20];
                self.read_at(header, &mut bytes)?;
                let before = bytes[1] & CONGESTED;
                if before == 0 {
                    return None;
                }
                bytes[1] |= CONGESTED;
                // The checksum is one's complement: what the header gains it loses.
                let gained = u32::from(CONGESTED - before);
                let sum = u32::from(u16::from_be_bytes([bytes[10], bytes[11]])) + 0xffff - gained;
                if gained != 0 {
                    let folded = sum + u32::from(sum >= 0xffff);
                    let [_, _, high, low] = folded.to_be_bytes();
                    (bytes[10], bytes[11]) = (high, low);
                }
                self.write_at(header, &bytes)
            }
            ETH_P_IPV6 => {
                const FIELD: u8 = CONGESTED << 4;
                let mut bytes = [0; 40];
                self.read_at(header, &mut bytes)?;
                if bytes[1] & FIELD == 0 {
                    return None;
                }
                bytes[1] |= FIELD;
                self.write_at(header, &bytes)
            }
            _ => None,
        }
    }

    /// Adds a VLAN tag; the one before it goes into the packet. Linux: `bpf_skb_vlan_push`.
    pub(crate) fn vlan_push(&self, proto: u16, tci: u16) -> Result<(), Errno> {
        let proto = if proto == ETH_P_8021AD { proto } else { ETH_P_8021Q };
        self.insert_tag()?;
        self.context.set_u32(at::VLAN_PROTO, u32::from(proto.to_be()));
        self.context.set_u32(at::VLAN_TCI, u32::from(tci));
        self.context.set_u32(at::VLAN_PRESENT, 1);
        self.sync();
        Ok(())
    }

    /// Takes a VLAN tag off. Linux: `bpf_skb_vlan_pop`.
    pub(crate) fn vlan_pop(&self) -> Result<(), Errno> {
        if self.context.u32(at::VLAN_PRESENT) != 0 {
            self.clear_tag();
        } else {
            let Some(tag) = self.tag_in_packet() else { return Ok(()) };
            self.take_tag(tag)?;
        }
        if let Some(tag) = self.tag_in_packet() {
            self.take_tag(tag)?;
            self.context.set_u32(at::VLAN_PROTO, u32::from(u16::from_le_bytes([tag[0], tag[1]])));
            self.context.set_u32(at::VLAN_TCI, u32::from(u16::from_be_bytes([tag[2], tag[3]])));
            self.context.set_u32(at::VLAN_PRESENT, 1);
        }
        self.sync();
        Ok(())
    }

    /// Forgets the tag the context holds.
    fn clear_tag(&self) {
        self.context.set_u32(at::VLAN_PROTO, 0);
        self.context.set_u32(at::VLAN_TCI, 0);
        self.context.set_u32(at::VLAN_PRESENT, 0);
    }

    /// The tag behind the packet's addresses, if its protocol says that there is one.
    fn tag_in_packet(&self) -> Option<[u8; 4]> {
        let proto = u16::from_be(u16::try_from(self.context.u32(at::PROTOCOL) & 0xffff).ok()?);
        if proto != ETH_P_8021Q && proto != ETH_P_8021AD {
            return None;
        }
        let mut tag = [0; 4];
        self.read_at(self.mac.get() + 12, &mut tag)?;
        Some(tag)
    }

    /// Removes the tag behind the packet's addresses.
    fn take_tag(&self, _tag: [u8; 4]) -> Result<(), Errno> {
        let frame = &self.frame;
        let mac = frame.data().checked_add_signed(self.mac.get()).ok_or(Errno::EINVAL)?;
        let mut inner = [0; 2];
        frame.peek(mac + 16, &mut inner).ok_or(Errno::EINVAL)?;
        frame.shift(mac, mac + 4, 12).ok_or(Errno::EINVAL)?;
        if self.mac.get() >= 0 {
            self.pull(4)?;
            self.mac.set(0);
        } else {
            self.mac.set(self.mac.get() + 4);
        }
        let header = ETH_LEN.cast_signed() + self.mac.get();
        self.network.set(self.network.get().max(header));
        self.context.set_u32(at::PROTOCOL, u32::from(u16::from_le_bytes(inner)));
        Ok(())
    }

    /// The packet as a test run gives it back: where programs do not see the Ethernet header,
    /// its bytes are zero.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        if self.from_l2 {
            return self.frame.to_vec();
        }
        let mut bytes = vec![0; ETH_LEN];
        bytes.extend(self.frame.to_vec());
        bytes
    }

    /// The packet with its Ethernet header, wherever the data begins.
    pub(crate) fn to_vec_whole(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(len) = usize::try_from(-self.mac.get()) {
            bytes.resize(len, 0);
            let _ = self.read_at(self.mac.get(), &mut bytes);
        }
        bytes.extend(self.frame.to_vec());
        bytes
    }
}

/// The checksum of a header of IPv4 in which it is zero.
fn header_sum(header: &[u8]) -> u16 {
    let words =
        header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The type field of an Ethernet header.
fn ether_type(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(12)?, *bytes.get(13)?]))
}

/// The protocol of a frame; frames with a length instead of a type are LLC.
/// Linux: `eth_type_trans`.
fn protocol(bytes: &[u8]) -> u16 {
    match ether_type(bytes) {
        Some(ether_type) if ether_type >= 0x600 => ether_type,
        Some(_) if bytes.get(14..16) == Some(&[0xff, 0xff]) => 0x0001,
        _ => 0x0004,
    }
}

/// Whom a frame is for, on the loopback device, whose address is all zeros, and its broadcast
/// address too. Linux: `PACKET_HOST`, `PACKET_MULTICAST`, `PACKET_OTHERHOST`.
fn packet_type(bytes: &[u8]) -> u32 {
    match bytes.get(..6) {
        Some([0, 0, 0, 0, 0, 0]) => 0,
        Some([first, ..]) if first & 1 == 1 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 256).unwrap()).collect();
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes
    }

    #[test]
    fn data_begin_where_the_program_type_says() {
        let l2 = SkBuff::new(true);
        l2.fill(&ipv4(64), 1).unwrap();
        assert_eq!(l2.context.u32(at::LEN), 64);
        let l3 = SkBuff::new(false);
        l3.fill(&ipv4(64), 1).unwrap();
        assert_eq!(l3.context.u32(at::LEN), 50);
        assert_eq!(l3.to_vec()[..14], [0; 14]);
        assert_eq!(l3.to_vec_whole(), ipv4(64));
        assert_eq!(l3.context.u32(at::PROTOCOL), 8);
    }

    #[test]
    fn headers_must_be_whole() {
        let skb = SkBuff::new(true);
        assert_eq!(skb.fill(&ipv4(33), 1), Err(Errno::EINVAL));
        assert_eq!(skb.fill(&ipv4(34), 1), Ok(()));
        assert_eq!(skb.fill(&[0; 13], 1), Err(Errno::EINVAL));
        assert_eq!(skb.fill(&[0; 14], 1), Ok(()));
    }

    #[test]
    fn a_second_tag_goes_into_the_packet_and_comes_back() {
        let skb = SkBuff::new(true);
        skb.fill(&ipv4(64), 1).unwrap();
        skb.vlan_push(ETH_P_8021Q, 5).unwrap();
        assert_eq!(skb.to_vec(), ipv4(64));
        skb.vlan_push(ETH_P_8021AD, 6).unwrap();
        assert_eq!(skb.to_vec()[12..18], [0x81, 0, 0, 5, 8, 0]);
        assert_eq!(skb.frame.len(), 68);
        skb.vlan_pop().unwrap();
        assert_eq!(skb.to_vec(), ipv4(64));
        assert_eq!(skb.context.u32(at::VLAN_TCI), 5);
        skb.vlan_pop().unwrap();
        assert_eq!(skb.context.u32(at::VLAN_PRESENT), 0);
        assert_eq!(skb.to_vec(), ipv4(64));
    }

    #[test]
    fn room_before_the_packet_is_zero() {
        let skb = SkBuff::new(true);
        skb.fill(&ipv4(64), 1).unwrap();
        skb.change_head(500).unwrap();
        assert_eq!(skb.to_vec()[..500], [0; 500]);
        assert_eq!(skb.to_vec()[500..], ipv4(64));
        assert_eq!(skb.change_head(100_000), Err(Errno::EINVAL));
    }
}
