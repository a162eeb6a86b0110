//! Packets, and the contexts in which programs find them.

mod frame;
pub(crate) mod skb;
pub(crate) mod xdp;

pub(crate) use frame::Frame;

use bpf_abi::prog::ProgType;

/// Which context programs of a type are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ContextKind {
    /// `struct xdp_md`.
    Xdp,
    /// `struct __sk_buff`, its data beginning with the Ethernet header.
    SkbFromL2,
    /// `struct __sk_buff`, its data beginning behind the Ethernet header.
    SkbFromL3,
    /// An array of 64-bit arguments.
    RawTracepoint,
    /// Bytes of the caller, which come back.
    Syscall,
    /// A context that only its own hook can make.
    Hook,
}

impl ContextKind {
    /// The context of programs of this type.
    pub(crate) const fn of(prog_type: ProgType) -> Self {
        match prog_type {
            ProgType::Xdp => Self::Xdp,
            ProgType::SchedCls | ProgType::SchedAct => Self::SkbFromL2,
            ProgType::SocketFilter
            | ProgType::CgroupSkb
            | ProgType::LwtIn
            | ProgType::LwtOut
            | ProgType::LwtXmit
            | ProgType::LwtSeg6local
            | ProgType::SkSkb => Self::SkbFromL3,
            ProgType::RawTracepoint | ProgType::RawTracepointWritable => Self::RawTracepoint,
            ProgType::Syscall => Self::Syscall,
            ProgType::Unspec
            | ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::CgroupSock
            | ProgType::SockOps
            | ProgType::CgroupDevice
            | ProgType::SkMsg
            | ProgType::CgroupSockAddr
            | ProgType::LircMode2
            | ProgType::SkReuseport
            | ProgType::FlowDissector
            | ProgType::CgroupSysctl
            | ProgType::CgroupSockopt
            | ProgType::Tracing
            | ProgType::StructOps
            | ProgType::Ext
            | ProgType::Lsm
            | ProgType::SkLookup
            | ProgType::Netfilter => Self::Hook,
        }
    }
}

/// Where a program sends a packet, by one of the redirecting helpers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// To an interface, by its number.
    Interface {
        /// The interface.
        ifindex: u32,
        /// The flags the helper was given.
        flags: u64,
    },
    /// Through an entry of a map.
    Map {
        /// The map.
        map: bpf_abi::id::MapId,
        /// The entry's key.
        key: u64,
        /// The flags the helper was given.
        flags: u64,
    },
}
