//! Sockets, as programs hold them.
//!
//! The only sockets here are those that packets in the network stack belong to, one each: so what a
//! register holds is the address of such a one, or null. Helpers find it in their run.

use bpf_abi::helper::{ArgKind, ArgProto, RetKind, RetProto, TypeFlags};

use super::{Arg, Registers, Ret, arg, ret};

/// Defines the ways in which helpers take sockets.
macro_rules! sockets {
    ($( $(#[$meta:meta])* $Type:ident $kind:ident $flags:expr; )+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $Type(pub(crate) u64);

        impl<'a> Arg<'a> for $Type {
            const PROTO: ArgProto = arg(ArgKind::$kind, $flags);

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                Self(registers.take())
            }
        }
    )+ };
}

sockets! {
    /// What all sockets have.
    Common SockCommon TypeFlags::empty();
    /// Any socket.
    AnySock BtfIdSockCommon TypeFlags::empty();
}

/// A socket that was looked up, given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Released;

impl<'a> Arg<'a> for Released {
    const PROTO: ArgProto = arg(ArgKind::BtfIdSockCommon, TypeFlags::RELEASE);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        registers.take();
        Self
    }
}

/// Defines results that are sockets or null.
macro_rules! sockets_or_null {
    ($( $(#[$meta:meta])* $Type:ident $kind:ident $(@ $btf:literal)?; )+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $Type(pub(crate) Option<u64>);

        impl Ret for $Type {
            const PROTO: RetProto = RetProto {
                btf: name!($($btf)?),
                ..ret(RetKind::$kind, TypeFlags::MAYBE_NULL)
            };

            fn into_register(self) -> u64 {
                self.0.unwrap_or(0)
            }
        }
    )+ };
}

/// An optional name.
macro_rules! name {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

sockets_or_null! {
    /// A full socket.
    FullSock Socket;
    /// What all sockets have.
    CommonSock SockCommon;
    /// What a TCP socket has.
    TcpFields TcpSock;
    /// Linux: `struct tcp6_sock`.
    Tcp6Sock BtfId @ "tcp6_sock";
    /// Linux: `struct tcp_sock`.
    TcpSock BtfId @ "tcp_sock";
    /// Linux: `struct tcp_timewait_sock`.
    TimewaitSock BtfId @ "tcp_timewait_sock";
    /// Linux: `struct tcp_request_sock`.
    RequestSock BtfId @ "tcp_request_sock";
    /// Linux: `struct udp6_sock`.
    Udp6Sock BtfId @ "udp6_sock";
    /// Linux: `struct unix_sock`.
    UnixSock BtfId @ "unix_sock";
    /// Linux: `struct mptcp_sock`.
    MptcpSock BtfId @ "mptcp_sock";
}
