//! Routes, and how long packets may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bpf_abi::errno::Errno;

use super::args::number::LengthInOut;
use super::args::{Ctx, Cx, MemWrite, Size};
use super::define::helper;
use crate::env::Place;
use crate::network::{Route, RouteAnswer, RouteQuestion};
use crate::packet::{skb, xdp};

/// What a program asks with, and is answered in. Linux: `struct bpf_fib_lookup`.
struct Params([u8; Self::SIZE]);

impl Params {
    const SIZE: usize = 64;
    const FAMILY: usize = 0;
    const PROTOCOL: usize = 1;
    const PORTS: usize = 2;
    /// How long the packet is; in the answer, how long it may be.
    const LENGTH: usize = 6;
    const IFINDEX: usize = 8;
    /// What flow it is of; in the answer, how good the route is.
    const FLOW: usize = 12;
    const SOURCE: usize = 16;
    const DESTINATION: usize = 32;
    /// The table to look in; in the answer, tags.
    const TABLE: usize = 48;
    /// The mark; in the answer, the link's address of this host.
    const MARK: usize = 52;
    const NEIGHBOUR: usize = 58;

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn length(&self) -> u16 {
        u16::from_le_bytes(self.bytes(Self::LENGTH))
    }

    /// The address at a place, if the family is one that has routes.
    fn address(&self, at: usize) -> Option<IpAddr> {
        match self.0.first().copied()? {
            INET => Some(Ipv4Addr::from(self.bytes::<4>(at)).into()),
            INET6 => Some(Ipv6Addr::from(self.bytes::<16>(at)).into()),
            _ => None,
        }
    }

    fn put_address(&mut self, at: usize, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(at, &address.octets()),
            IpAddr::V6(address) => self.put(at, &address.octets()),
        }
    }

    fn put_limit(&mut self, limit: u32) {
        self.put(Self::LENGTH, &u16::try_from(limit).unwrap_or(u16::MAX).to_le_bytes());
    }

    /// What is asked; nothing if the family has no routes.
    fn question(&self, flags: u32) -> Option<RouteQuestion> {
        let port = |at| u16::from_be_bytes(self.bytes(at));
        let direct = flags & DIRECT != 0;
        Some(RouteQuestion {
            ifindex: self.number(Self::IFINDEX),
            source: self.address(Self::SOURCE)?,
            destination: self.address(Self::DESTINATION)?,
            protocol: self.0.get(Self::PROTOCOL).copied()?,
            ports: (port(Self::PORTS), port(Self::PORTS + 2)),
            flow: self.number(Self::FLOW),
            mark: (flags & MARK != 0).then(|| self.number(Self::MARK)),
            table: (direct && flags & TABLE != 0).then(|| self.number(Self::TABLE)),
            direct,
            output: flags & OUTPUT != 0,
        })
    }

    /// Writes how the packet is sent on. `limit` is the interface's.
    fn answer(&mut self, route: &Route, limit: u32, flags: u32) -> Result<u64, Errno> {
        let limit = route.mtu.unwrap_or(limit);
        let length = self.length();
        if u32::from(length) > limit {
            self.put_limit(limit);
            return Ok(TOO_LONG);
        }
        self.put(Self::FLOW, &route.metric.to_le_bytes());
        self.put(Self::IFINDEX, &route.ifindex.to_le_bytes());
        if let Some(source) = route.source.filter(|_| flags & SOURCE != 0) {
            self.put_address(Self::SOURCE, source);
        }
        if let Some(gateway) = route.gateway {
            let family = if gateway.is_ipv4() { INET } else { INET6 };
            self.put(Self::FAMILY, &[family]);
            self.put_address(Self::DESTINATION, gateway);
        }
        if flags & NO_NEIGHBOUR == 0 {
            let Some((own, neighbour)) = route.neighbour else { return Ok(UNKNOWN_NEIGHBOUR) };
            self.put(Self::MARK, &own);
            self.put(Self::NEIGHBOUR, &neighbour);
        }
        self.put(Self::TABLE, &[0; 4]);
        if length != 0 {
            self.put_limit(limit);
        }
        Ok(0)
    }
}

const INET: u8 = 2;
const INET6: u8 = 10;

/// The rules are passed over.
const DIRECT: u32 = 1 << 0;
/// The packet is on its way out.
const OUTPUT: u32 = 1 << 1;
/// The link's addresses are not wanted.
const NO_NEIGHBOUR: u32 = 1 << 2;
/// The table to look in is given.
const TABLE: u32 = 1 << 3;
/// The address that it should come from is wanted.
const SOURCE: u32 = 1 << 4;
/// The packet's mark is given.
const MARK: u32 = 1 << 5;

/// Linux: `BPF_FIB_LKUP_RET_NO_NEIGH`.
const UNKNOWN_NEIGHBOUR: u64 = 7;
/// Linux: `BPF_FIB_LKUP_RET_FRAG_NEEDED`.
const TOO_LONG: u64 = 8;

helper! {
    /// Asks the host where the packet goes that `params` describes, and writes the answer there.
    /// Returns 0 if it is sent on, a number above that says why not, or an error if there is no such
    /// interface (`ENODEV`) or the family has no routes (`EAFNOSUPPORT`). `flags` are those of Linux.
    69 Packet => fn fib_lookup(cx, _ctx: Ctx, params: MemWrite<'a>, _plen: Size, flags: u32) -> Result<u64, Errno> {
        let mut memory = params.0;
        let copy = memory.copy();
        let known = DIRECT | OUTPUT | NO_NEIGHBOUR | TABLE | SOURCE | MARK;
        let bytes = copy.first_chunk().filter(|_| flags & !known == 0);
        let mut params = Params(*bytes.ok_or(Errno::EINVAL)?);
        let result = look_up(cx, &mut params, flags);
        if result.is_ok() {
            memory.write(&params.0);
        }
        result
    }
}

fn look_up(cx: Cx<'_>, params: &mut Params, flags: u32) -> Result<u64, Errno> {
    let network = &cx.env().shared.network.0;
    let question = params.question(flags).ok_or(Errno::EAFNOSUPPORT)?;
    network.mtu(question.ifindex).ok_or(Errno::ENODEV)?;
    let route = match network.route(&question) {
        RouteAnswer::Found(route) => route,
        RouteAnswer::Blackhole => return Ok(1),
        RouteAnswer::Unreachable => return Ok(2),
        RouteAnswer::Prohibited => return Ok(3),
        RouteAnswer::NotForwarded => return Ok(4),
        RouteAnswer::ForwardingDisabled => return Ok(5),
        RouteAnswer::Wrapped => return Ok(6),
        RouteAnswer::NoSource => return Ok(9),
    };
    let limit = network.mtu(route.ifindex).ok_or(Errno::ENODEV)?;
    let is_measured = params.length() != 0;
    let result = params.answer(&route, limit, flags)?;
    let Some(skb) = cx.env().skb().filter(|_| result == 0 && !is_measured) else {
        return Ok(result);
    };
    // A packet in the network stack is measured itself.
    params.put_limit(limit);
    let fits =
        i64::try_from(skb.frame.len()).is_ok_and(|len| len <= i64::from(limit) + HARD_HEADER);
    Ok(if fits { 0 } else { TOO_LONG })
}

/// The header that comes before what an interface's limit counts.
const HARD_HEADER: i64 = 14;

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
        let network = &env.shared.network.0;
        let limit = network.mtu(if ifindex == 0 { own } else { ifindex }).ok_or(Errno::ENODEV)?;
        let len = if given == 0 { i64::try_from(len).unwrap_or(i64::MAX) } else { i64::from(given) + HARD_HEADER };
        mtu_len.set(limit);
        let fits = len.saturating_add(i64::from(len_diff)) <= i64::from(limit) + HARD_HEADER;
        Ok(if fits { 0 } else { TOO_LONG })
    }
}
