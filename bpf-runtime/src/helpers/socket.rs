//! Sockets: here there are none but those that packets in the network stack belong to.
//!
//! Such a socket is what Linux makes for a test run: closed, without protocol and ports, with the
//! addresses of the packet.

use bpf_abi::errno::Errno;

use super::args::sock::{
    AnySock, Common, CommonSock, FullSock, MptcpSock, Released, RequestSock, Tcp6Sock, TcpFields,
    TcpSock, TimewaitSock, Udp6Sock, UnixSock,
};
use super::args::{Ctx, CtxOrNull, KeyAt, MapRef, MemIn, Size, SizeOrZero};
use super::cgroup::{ROOT, ancestor};
use super::define::helper;
use crate::packet::skb::SkBuff;

/// The number of the only network there is: that of the first one in Linux.
const NETWORK: u64 = 3;

helper! {
    /// Looks for the TCP socket that `tuple` names. There is none: null, as in Linux.
    84 Packet => fn sk_lookup_tcp(_cx, _ctx: Ctx, _tuple: MemIn<'a>, _tuple_size: SizeOrZero, _netns: u64, _flags: u64) -> FullSock {
        FullSock(None)
    }
}

helper! {
    /// Looks for the UDP socket that `tuple` names. There is none: null, as in Linux.
    85 Packet => fn sk_lookup_udp(_cx, _ctx: Ctx, _tuple: MemIn<'a>, _tuple_size: SizeOrZero, _netns: u64, _flags: u64) -> FullSock {
        FullSock(None)
    }
}

helper! {
    /// Looks for the TCP socket that `tuple` names, in any state. There is none: null, as in Linux.
    99 Packet => fn skc_lookup_tcp(_cx, _ctx: Ctx, _tuple: MemIn<'a>, _tuple_size: SizeOrZero, _netns: u64, _flags: u64) -> CommonSock {
        CommonSock(None)
    }
}

helper! {
    /// Gives a socket back that was looked up.
    86 Any => fn sk_release(_cx, _sock: Released) -> Result<(), Errno> {
        Ok(())
    }
}

helper! {
    /// Returns the socket as a full one: every socket here is.
    95 Skb => fn sk_fullsock(_cx, sk: Common) -> FullSock {
        FullSock(Some(sk.0))
    }
}

helper! {
    /// Returns the socket as one of TCP, or null: no socket here is.
    96 Skb => fn tcp_sock(_cx, _sk: Common) -> TcpFields {
        TcpFields(None)
    }
}

helper! {
    /// Returns the socket that listens for it, or null: none does.
    98 Skb => fn get_listener_sock(_cx, _sk: Common) -> FullSock {
        FullSock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct tcp6_sock`, or null: no socket here is one.
    136 Any => fn skc_to_tcp6_sock(_cx, _sk: AnySock) -> Tcp6Sock {
        Tcp6Sock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct tcp_sock`, or null: no socket here is one.
    137 Any => fn skc_to_tcp_sock(_cx, _sk: AnySock) -> TcpSock {
        TcpSock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct tcp_timewait_sock`, or null: no socket here is one.
    138 Any => fn skc_to_tcp_timewait_sock(_cx, _sk: AnySock) -> TimewaitSock {
        TimewaitSock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct tcp_request_sock`, or null: no socket here is one.
    139 Any => fn skc_to_tcp_request_sock(_cx, _sk: AnySock) -> RequestSock {
        RequestSock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct udp6_sock`, or null: no socket here is one.
    140 Any => fn skc_to_udp6_sock(_cx, _sk: AnySock) -> Udp6Sock {
        Udp6Sock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct unix_sock`, or null: no socket here is one.
    178 Any => fn skc_to_unix_sock(_cx, _sk: AnySock) -> UnixSock {
        UnixSock(None)
    }
}

helper! {
    /// Returns the socket as Linux' `struct mptcp_sock`, or null: no socket here is one.
    196 Any => fn skc_to_mptcp_sock(_cx, _sk: Common) -> MptcpSock {
        MptcpSock(None)
    }
}

helper! {
    /// Returns the number of the socket's control group: the root's.
    128 Skb => fn sk_cgroup_id(_cx, _sk: AnySock) -> u64 {
        ROOT
    }
}

helper! {
    /// Returns the number of the control group at this level above the socket's, 0 if there is
    /// none.
    129 Skb => fn sk_ancestor_cgroup_id(_cx, _sk: AnySock, ancestor_level: u32) -> u64 {
        ancestor(ancestor_level)
    }
}

helper! {
    /// Returns a number that stands for the packet's socket as long as it lives; 0 if there is none.
    46 Any => fn get_socket_cookie(cx, _ctx: Ctx) -> u64 {
        cx.env().skb().map_or(0, SkBuff::socket_cookie)
    }
}

helper! {
    /// Returns the user that owns the packet's socket: root does.
    47 Skb => fn get_socket_uid(_cx, _skb: Ctx) -> u32 {
        0
    }
}

helper! {
    /// Returns a number that stands for the network: there is one, the same for all sockets.
    122 Any => fn get_netns_cookie(_cx, _ctx: CtxOrNull) -> u64 {
        NETWORK
    }
}

helper! {
    /// Makes the packet one for the socket `sk`. Linux does so where packets come in, not in test
    /// runs: `EOPNOTSUPP`. `flags` must be 0.
    124 Skb => fn sk_assign(_cx, _skb: Ctx, _sk: AnySock, flags: u64) -> Result<(), Errno> {
        Err(if flags == 0 { Errno::EOPNOTSUPP } else { Errno::EINVAL })
    }
}

helper! {
    /// Gives the packet to the socket at `key` of `map`. There is none: `ENOENT`.
    82 Any => fn sk_select_reuseport(_cx, _reuse: Ctx, _map: MapRef<'a>, _key: KeyAt<'a>, flags: u64) -> Result<(), Errno> {
        Err(if flags == 0 { Errno::ENOENT } else { Errno::EINVAL })
    }
}

helper! {
    /// Says whether a TCP segment answers a SYN cookie of the listening socket `sk`. No socket here
    /// listens: `EINVAL`, as in Linux.
    100 Packet => fn tcp_check_syncookie(_cx, _sk: AnySock, _iph: MemIn<'a>, _iph_len: Size, _th: MemIn<'a>, _th_len: Size) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

helper! {
    /// Makes a SYN cookie for the listening socket `sk`. No socket here listens: `EINVAL`, as in
    /// Linux.
    110 Packet => fn tcp_gen_syncookie(_cx, _sk: AnySock, _iph: MemIn<'a>, _iph_len: Size, _th: MemIn<'a>, _th_len: Size) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
}
