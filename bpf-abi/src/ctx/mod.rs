//! The grammar of a context table: which bytes a program may touch, and what they yield.
//!
//! A host keeps a context as the structure that programs know, followed by one word of eight
//! bytes for each pointer that the structure has only four bytes for. What the tables say was
//! read off a running kernel.

/// Defines a context from its table.
///
/// The columns are: name, offset, size, how it may be read (`unsigned`: not by sign-extending
/// loads), how it may be written, what it yields, where the host keeps it if elsewhere.
macro_rules! context {
    (
        $(#[$meta:meta])*
        pub static $NAME:ident = $name:literal, $size:literal bytes, $host:literal in the host;
        $(
            $field:literal $off:literal $len:literal read $read:ident $(, $unsigned:ident)?
            write $write:ident yields $yields:ident $(at $at:literal)?;
        )+
    ) => {
        $(#[$meta])*
        pub static $NAME: Context = Context {
            name: $name,
            size: $size,
            host_size: $host,
            fields: &[ $(
                Field {
                    name: $field,
                    off: $off,
                    size: $len,
                    read: &$read,
                    sign_extends: sign_extends!($($unsigned)?),
                    write: &$write,
                    yields: Yields::$yields,
                    host: place!($($at)?),
                },
            )+ ],
        };
    };
}

/// Whether sign-extending loads are allowed.
macro_rules! sign_extends {
    () => {
        true
    };
    (unsigned) => {
        false
    };
}

/// Where the host keeps a field.
macro_rules! place {
    () => {
        None
    };
    ($at:literal) => {
        Some($at)
    };
}

pub mod pattern;
pub mod skb;
pub mod xdp;
pub mod sock;
pub mod tracing;
pub mod cgroup;
pub mod xlated;

use crate::prog::{AttachType, ProgType};
use pattern::Pattern;

/// A context: the structure that R1 points to when a program begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The structure's name.
    pub name: &'static str,
    /// Its size, in bytes.
    pub size: u32,
    /// The size of the host's structure, in bytes.
    pub host_size: u32,
    /// The fields that may be touched, in the order of their offsets.
    pub fields: &'static [Field],
}

/// A field of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its offset, in bytes.
    pub off: u32,
    /// Its size, in bytes.
    pub size: u32,
    /// How it may be read.
    pub read: &'static Pattern,
    /// Whether it may be read by sign-extending loads.
    pub sign_extends: bool,
    /// How it may be written.
    pub write: &'static Pattern,
    /// What reading it whole yields; parts of it are numbers.
    pub yields: Yields,
    /// Where the host keeps its eight bytes; `None` if where the program sees it.
    pub host: Option<u32>,
}

/// What a field of a context yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Yields {
    /// A number.
    Scalar,
    /// The packet's beginning.
    Packet,
    /// The beginning of the metadata before the packet.
    PacketMeta,
    /// The packet's end.
    PacketEnd,
    /// The socket's common part, or null.
    SockCommonOrNull,
    /// A full socket.
    Socket,
    /// A full socket, or null.
    SocketOrNull,
    /// The flow dissector's keys.
    FlowKeys,
    /// The buffer of a writable tracepoint.
    TpBuffer,
    /// The kernel's `struct nf_hook_state`, trusted.
    NfHookState,
    /// The kernel's `struct sk_buff`, trusted.
    SkBuff,
}

/// What programs of a type find at R1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// A structure with a table.
    Table(&'static Context),
    /// Bytes without fields: accesses need only be aligned and lie in `from..to`, and not
    /// touch the eight bytes from 0 on if `from` is negative.
    Bytes {
        /// The first byte.
        from: i32,
        /// The end.
        to: i32,
        /// Whether they may be written.
        write: bool,
    },
    /// The arguments of a function that BTF describes, eight bytes each.
    Arguments,
}

impl Context {
    /// The field that an access of `size` bytes at `off` may read, or `None` if none may be.
    pub fn readable(&self, off: u32, size: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.covers(off, size, field.read))
    }

    /// The field that an access of `size` bytes at `off` may write, or `None` if none may be.
    pub fn writable(&self, off: u32, size: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.covers(off, size, field.write))
    }
}

impl Field {
    /// Whether `pattern` allows `size` bytes at `off` of the context, as part of this field.
    fn covers(&self, off: u32, size: u32, pattern: &Pattern) -> bool {
        off.checked_sub(self.off).is_some_and(|at| at < self.size && pattern.allows(at, size))
    }

    /// What reading `size` bytes at `off` of the context yields.
    pub fn yields(&self, off: u32, size: u32) -> Yields {
        if off == self.off && size == self.size { self.yields } else { Yields::Scalar }
    }
}

/// What programs of this type and attach type find at R1; `None` for a type that gets no
/// context of its own: extensions have their target's.
pub fn context_of(prog_type: ProgType, attach: Option<AttachType>) -> Option<ContextKind> {
    use ProgType as P;
    let table = match prog_type {
        P::Unspec | P::Ext | P::LircMode2 => return None,
        P::Tracing | P::StructOps | P::Lsm => return Some(ContextKind::Arguments),
        P::Tracepoint => {
            return Some(ContextKind::Bytes { from: i32::MIN, to: 8192, write: false });
        }
        P::Syscall => return Some(ContextKind::Bytes { from: 0, to: 0xffff, write: true }),
        P::SocketFilter => &skb::SOCKET_FILTER,
        P::SchedCls | P::SchedAct => &skb::SCHED,
        P::CgroupSkb => &skb::CGROUP_SKB,
        P::LwtIn | P::LwtOut | P::LwtXmit | P::LwtSeg6local => &skb::LWT,
        P::SkSkb => &skb::SK_SKB,
        P::FlowDissector => &skb::FLOW_DISSECTOR,
        P::Xdp if attach == Some(AttachType::XdpDevmap) => &xdp::XDP_DEVMAP,
        P::Xdp => &xdp::XDP,
        P::Kprobe => &tracing::KPROBE,
        P::PerfEvent => &tracing::PERF_EVENT,
        P::RawTracepoint => &tracing::RAW_TRACEPOINT,
        P::RawTracepointWritable => &tracing::RAW_TRACEPOINT_WRITABLE,
        P::CgroupSock => match attach {
            Some(AttachType::CgroupInet4PostBind) => &sock::CGROUP_SOCK_POST_BIND4,
            Some(AttachType::CgroupInet6PostBind) => &sock::CGROUP_SOCK_POST_BIND6,
            _ => &sock::CGROUP_SOCK,
        },
        P::SockOps => &sock::SOCK_OPS,
        P::SkMsg => &sock::SK_MSG,
        P::SkReuseport => &sock::SK_REUSEPORT,
        P::SkLookup => &sock::SK_LOOKUP,
        P::Netfilter => &sock::NETFILTER,
        P::CgroupSockAddr => sock_addr(attach?)?,
        P::CgroupDevice => &cgroup::CGROUP_DEVICE,
        P::CgroupSysctl => &cgroup::CGROUP_SYSCTL,
        P::CgroupSockopt if attach == Some(AttachType::CgroupSetsockopt) => {
            &cgroup::CGROUP_SOCKOPT_SETSOCKOPT
        }
        P::CgroupSockopt => &cgroup::CGROUP_SOCKOPT_GETSOCKOPT,
    };
    Some(ContextKind::Table(table))
}

/// The five faces of `bpf_sock_addr`.
fn sock_addr(attach: AttachType) -> Option<&'static Context> {
    use AttachType as A;
    let is = |types: &[AttachType]| types.contains(&attach);
    if is(&[
        A::CgroupInet4Bind,
        A::CgroupInet4Connect,
        A::CgroupUdp4Recvmsg,
        A::CgroupInet4Getpeername,
        A::CgroupInet4Getsockname,
    ]) {
        Some(&sock::CGROUP_SOCK_ADDR_INET4_BIND)
    } else if is(&[
        A::CgroupInet6Bind,
        A::CgroupInet6Connect,
        A::CgroupUdp6Recvmsg,
        A::CgroupInet6Getpeername,
        A::CgroupInet6Getsockname,
    ]) {
        Some(&sock::CGROUP_SOCK_ADDR_INET6_BIND)
    } else if is(&[A::CgroupUdp4Sendmsg]) {
        Some(&sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG)
    } else if is(&[A::CgroupUdp6Sendmsg]) {
        Some(&sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG)
    } else if is(&[
        A::CgroupUnixConnect,
        A::CgroupUnixSendmsg,
        A::CgroupUnixRecvmsg,
        A::CgroupUnixGetpeername,
        A::CgroupUnixGetsockname,
    ]) {
        Some(&sock::CGROUP_SOCK_ADDR_UNIX_CONNECT)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xdp_program_reads_its_packet_whole_and_not_in_parts() {
        let data = xdp::XDP.readable(0, 4).expect("data is readable");
        assert_eq!((data.yields(0, 4), data.host), (Yields::Packet, Some(24)));
        assert!(xdp::XDP.readable(0, 2).is_none());
        assert!(xdp::XDP.writable(0, 4).is_none());
        assert!(xdp::XDP.readable(20, 4).is_none());
        assert!(xdp::XDP_DEVMAP.readable(20, 4).is_some());
    }

    #[test]
    fn a_classifier_writes_its_mark_and_any_part_of_cb() {
        assert!(skb::SCHED.writable(8, 4).is_some_and(|field| field.name == "mark"));
        assert!(skb::SCHED.writable(8, 1).is_none());
        assert!(skb::SCHED.writable(48 + 19, 1).is_some_and(|field| field.name == "cb"));
        assert!(skb::SCHED.writable(48 + 20, 1).is_none());
    }

    #[test]
    fn host_words_lie_behind_the_structure_and_apart() {
        for context in [&skb::SCHED, &skb::SK_SKB, &skb::FLOW_DISSECTOR, &xdp::XDP] {
            let mut places: Vec<_> = context.fields.iter().filter_map(|field| field.host).collect();
            places.dedup();
            assert!(places.iter().all(|at| *at >= context.size && at + 8 <= context.host_size));
            assert_eq!(
                places.len(),
                3 - usize::from(context.name == "__sk_buff" && places.len() == 2)
            );
        }
    }
}
