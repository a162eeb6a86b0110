//! Pointers, and what they can point to.

use bitflags::bitflags;
use bpf_btf::TypeId;

use crate::scalar::Scalar;
use crate::state::ids::Id;

/// The number of a call frame, the main program's being 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNo(pub u8);

impl FrameNo {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A function of the program, by its place in the order of their first instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubprogId(pub u32);

impl SubprogId {
    /// The function the program begins with.
    pub const MAIN: Self = Self(0);

    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A map, by its place in [`Env::maps`](crate::env::Env::maps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapNo(pub u32);

impl MapNo {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A BTF object, by its place in the host's list: 0 is the kernel's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BtfNo(pub u32);

/// A type of a BTF object.
///
/// Linux: `reg->btf`, `reg->btf_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BtfType {
    /// The object.
    pub btf: BtfNo,
    /// The type's id in it.
    pub id: TypeId,
}

bitflags! {
    /// What is promised or forbidden about what a pointer points to.
    ///
    /// A type in the kernel is a kind and these flags; both must agree for two to be the same.
    ///
    /// Linux: `enum bpf_type_flag`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PtrFlags: u16 {
        /// It may be null. Linux: `PTR_MAYBE_NULL`.
        const MAYBE_NULL = 1 << 0;
        /// It may only be read. Linux: `MEM_RDONLY`.
        const RDONLY = 1 << 1;
        /// It is a ring buffer's record. Linux: `MEM_RINGBUF`.
        const RINGBUF = 1 << 2;
        /// It is in user space. Linux: `MEM_USER`.
        const USER = 1 << 3;
        /// It is a per-CPU variable's base. Linux: `MEM_PERCPU`.
        const PERCPU = 1 << 4;
        /// It may be stale: reading it may fault. Linux: `PTR_UNTRUSTED`.
        const UNTRUSTED = 1 << 5;
        /// It is alive and not moved. Linux: `PTR_TRUSTED`.
        const TRUSTED = 1 << 6;
        /// It is alive while the RCU read lock is held. Linux: `MEM_RCU`.
        const RCU = 1 << 7;
        /// The program allocated it. Linux: `MEM_ALLOC`.
        const ALLOC = 1 << 8;
        /// Somebody else owns it: a list or a tree. Linux: `NON_OWN_REF`.
        const NON_OWN_REF = 1 << 9;
    }
}

/// A pointer.
///
/// It points `off + delta` bytes into its object: a fixed part, and a part that is only known
/// as a set of numbers.
///
/// Linux: `struct bpf_reg_state` whose type is not `SCALAR_VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// What it points to.
    pub kind: PointerKind,
    /// What is promised or forbidden about that.
    pub flags: PtrFlags,
    /// The fixed part of its offset, in bytes. Linux: `reg->off`.
    pub off: i32,
    /// The variable part of its offset, in bytes. Linux: `reg->var_off` and the ranges.
    pub delta: Scalar,
    /// Tells it from others of its type: copies that become non-null together, packet pointers
    /// with the same variable part. Linux: `reg->id`.
    pub id: Option<Id>,
    /// The reference that it depends on, or is. Linux: `reg->ref_obj_id`.
    pub ref_id: Option<Id>,
}

/// What a pointer points to.
///
/// Linux: the base types of `enum bpf_reg_type`, and the part of `struct bpf_reg_state` that is
/// a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerKind {
    /// The program's context. Linux: `PTR_TO_CTX`.
    Ctx,
    /// A map itself. Linux: `CONST_PTR_TO_MAP`.
    MapPtr {
        /// The map, or the blueprint of a map in a map.
        map: MapNo,
        /// Which lookup it came from, if it is a map in a map. Linux: `map_uid`.
        uid: Option<Id>,
    },
    /// A map's value. Linux: `PTR_TO_MAP_VALUE`.
    MapValue {
        /// The map, or the blueprint of a map in a map.
        map: MapNo,
        /// Which lookup the map came from, if it is a map in a map.
        uid: Option<Id>,
    },
    /// A map's key. Linux: `PTR_TO_MAP_KEY`.
    MapKey {
        /// The map.
        map: MapNo,
        /// Which lookup the map came from, if it is a map in a map.
        uid: Option<Id>,
    },
    /// The upper end of a frame's stack. Linux: `PTR_TO_STACK`.
    Stack {
        /// Whose.
        frame: FrameNo,
    },
    /// Packet data. Linux: `PTR_TO_PACKET`.
    Packet {
        /// How many bytes from here are known to be in the packet.
        range: PacketRange,
    },
    /// Data before the packet. Linux: `PTR_TO_PACKET_META`.
    PacketMeta {
        /// How many bytes from here are known to be there.
        range: PacketRange,
    },
    /// The end of the packet. Linux: `PTR_TO_PACKET_END`.
    PacketEnd,
    /// Flow keys of a flow dissector. Linux: `PTR_TO_FLOW_KEYS`.
    FlowKeys,
    /// A `struct bpf_sock` of a full socket. Linux: `PTR_TO_SOCKET`.
    Socket {
        /// The map that it was looked up in, if it was in one: sockets of different maps are not
        /// alike, nor is one of them like any other. Linux: what is left in `map_ptr`.
        map: Option<MapNo>,
    },
    /// The common part of a `struct bpf_sock`. Linux: `PTR_TO_SOCK_COMMON`.
    SockCommon,
    /// A `struct bpf_tcp_sock`. Linux: `PTR_TO_TCP_SOCK`.
    TcpSock,
    /// A `struct bpf_xdp_sock`. Linux: `PTR_TO_XDP_SOCK`.
    XdpSock {
        /// The map that it was looked up in.
        map: MapNo,
    },
    /// A writable raw tracepoint's buffer. Linux: `PTR_TO_TP_BUFFER`.
    TpBuffer,
    /// A kernel object, or one of the program's, of a BTF type. Linux: `PTR_TO_BTF_ID`.
    Btf {
        /// The type.
        ty: BtfType,
    },
    /// Memory of known size. Linux: `PTR_TO_MEM`.
    Mem {
        /// The size in bytes.
        size: u32,
        /// The dynptr it is a slice of.
        dynptr: Option<Id>,
    },
    /// A buffer whose size is checked when the program is attached. Linux: `PTR_TO_BUF`.
    Buf,
    /// An arena. Linux: `PTR_TO_ARENA`.
    Arena,
    /// A function of the program. Linux: `PTR_TO_FUNC`.
    Func {
        /// Which.
        subprog: SubprogId,
    },
    /// A dynptr that the kernel holds. Linux: `CONST_PTR_TO_DYNPTR`.
    Dynptr {
        /// What it refers to.
        kind: DynptrKind,
    },
}

/// How far from a packet pointer the packet is known to reach.
///
/// Linux: `reg->range`, with `AT_PKT_END` and `BEYOND_PKT_END`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketRange(pub i32);

impl PacketRange {
    /// Nothing is known.
    pub const NONE: Self = Self(0);
    /// The pointer is known to be at the packet's end.
    pub const AT_END: Self = Self(-1);
    /// The pointer is known to be beyond the packet's end.
    pub const BEYOND_END: Self = Self(-2);
}

/// What a dynptr refers to.
///
/// Linux: `enum bpf_dynptr_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DynptrKind {
    /// Memory of the program. Linux: `BPF_DYNPTR_TYPE_LOCAL`.
    Local,
    /// A ring buffer's record.
    Ringbuf,
    /// A packet behind a `__sk_buff`.
    Skb,
    /// A packet behind an `xdp_md`.
    Xdp,
    /// The metadata of a `__sk_buff`.
    SkbMeta,
    /// A file.
    File,
}

impl DynptrKind {
    /// How the log names it.
    ///
    /// Linux: `dynptr_type_str`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ringbuf => "ringbuf",
            Self::Skb => "skb",
            Self::Xdp => "xdp",
            Self::SkbMeta => "skb_meta",
            Self::File => "file",
        }
    }

    /// Whether it must be released.
    ///
    /// Linux: `dynptr_type_refcounted`.
    pub const fn is_refcounted(self) -> bool {
        match self {
            Self::Ringbuf | Self::File => true,
            Self::Local | Self::Skb | Self::Xdp | Self::SkbMeta => false,
        }
    }
}

impl Pointer {
    /// A pointer to the beginning of something.
    pub const fn to(kind: PointerKind) -> Self {
        Self {
            kind,
            flags: PtrFlags::empty(),
            off: 0,
            delta: Scalar::constant(0),
            id: None,
            ref_id: None,
        }
    }

    /// The same with these flags.
    pub const fn with(mut self, flags: PtrFlags) -> Self {
        self.flags = flags;
        self
    }

    /// Whether it may be null.
    ///
    /// Linux: `type_may_be_null`.
    pub const fn maybe_null(&self) -> bool {
        self.flags.contains(PtrFlags::MAYBE_NULL)
    }

    /// Whether it points into the packet or before it, but not at its end.
    ///
    /// Linux: `type_is_pkt_pointer`.
    pub const fn is_packet(&self) -> bool {
        matches!(self.kind, PointerKind::Packet { .. } | PointerKind::PacketMeta { .. })
    }

    /// Whether it points into the packet, before it, or at its end.
    ///
    /// Linux: `reg_is_pkt_pointer_any`.
    pub const fn is_any_packet(&self) -> bool {
        self.is_packet() || matches!(self.kind, PointerKind::PacketEnd)
    }

    /// The frame whose stack it points into.
    pub const fn stack_frame(&self) -> Option<FrameNo> {
        if let PointerKind::Stack { frame } = self.kind { Some(frame) } else { None }
    }

    /// The map that it is, or that it points into the value or key of.
    ///
    /// Linux: `reg->map_ptr`.
    pub const fn map(&self) -> Option<MapNo> {
        if let PointerKind::MapPtr { map, .. }
        | PointerKind::MapValue { map, .. }
        | PointerKind::MapKey { map, .. } = self.kind
        {
            Some(map)
        } else {
            None
        }
    }

    /// Its offset, if it is known to be one number: the fixed and the variable part together.
    pub const fn constant_off(&self) -> Option<i64> {
        match self.delta.const_value() {
            #[expect(clippy::cast_possible_wrap, reason = "a variable part is signed")]
            Some(delta) => Some((delta as i64).wrapping_add(self.off as i64)),
            None => None,
        }
    }
}
