//! Packet data, and the metadata before it.

use bpf_abi::prog::ProgType;
use bpf_isa::Reg;

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{Access, MemoryError, bounds, loaded_unknown, size_of};
use crate::state::{Pointer, PointerKind};

/// An instruction's access to a packet.
pub(crate) fn access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    if access.what.writes() && !may_touch(cx, Purpose::Write) {
        return Err(MemoryError::PacketReadOnly.into());
    }
    check(cx, pointer, access.base, off, size_of(access), false)?;
    loaded_unknown(cx, access);
    Ok(())
}

/// Whether bytes are known to be in the packet.
///
/// Only the fixed offset is judged against the range: the range was learnt of a pointer with
/// the same variable offset.
///
/// Linux: `check_packet_access`.
pub(crate) fn check(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    zero_allowed: bool,
) -> Result<(), Reason> {
    if pointer.delta.smin() < 0 {
        return Err(MemoryError::NegativeMin { reg }.into());
    }
    let range = match pointer.kind {
        PointerKind::Packet { range } | PointerKind::PacketMeta { range } => range.0,
        _ => 0,
    };
    if range < 0 {
        return Err(MemoryError::PacketEndReached { reg }.into());
    }
    let room = bounds::room(cx, pointer);
    if let Err(miss) = bounds::check_fixed(pointer, reg, off, size, room, zero_allowed) {
        return Err(MemoryError::PacketOutside { miss: Box::new(miss), reg }.into());
    }
    let end = off.wrapping_add(pointer.delta.umax().cast_signed()).wrapping_add(size - 1);
    let end = u32::try_from(end).unwrap_or(u32::MAX);
    let found = &mut cx.env.found;
    found.max_pkt_offset = found.max_pkt_offset.max(end);
    Ok(())
}

/// Why a packet would be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An instruction writes it.
    Write,
    /// A helper is handed a pointer into it, and may read and write through it.
    Helper {
        /// Whether the helper copes with packets.
        pkt_access: bool,
    },
}

/// Whether programs of this type may touch packets for this purpose.
///
/// Linux: `may_access_direct_pkt_data`.
pub(crate) fn may_touch(cx: &mut StepCx<'_, '_>, purpose: Purpose) -> bool {
    let write = purpose == Purpose::Write;
    match cx.env.kind.prog_type {
        ProgType::LwtIn
        | ProgType::LwtOut
        | ProgType::LwtSeg6local
        | ProgType::SkReuseport
        | ProgType::FlowDissector
        | ProgType::CgroupSkb
            if write =>
        {
            false
        }
        ProgType::LwtIn
        | ProgType::LwtOut
        | ProgType::LwtSeg6local
        | ProgType::SkReuseport
        | ProgType::FlowDissector
        | ProgType::CgroupSkb
        | ProgType::SchedCls
        | ProgType::SchedAct
        | ProgType::Xdp
        | ProgType::LwtXmit
        | ProgType::SkSkb
        | ProgType::SkMsg => match purpose {
            Purpose::Helper { pkt_access } => pkt_access,
            Purpose::Write => {
                cx.env.found.direct_write = true;
                true
            }
        },
        ProgType::CgroupSockopt => {
            if write {
                cx.env.found.direct_write = true;
            }
            true
        }
        ProgType::Unspec
        | ProgType::SocketFilter
        | ProgType::Kprobe
        | ProgType::Tracepoint
        | ProgType::PerfEvent
        | ProgType::CgroupSock
        | ProgType::SockOps
        | ProgType::CgroupDevice
        | ProgType::RawTracepoint
        | ProgType::CgroupSockAddr
        | ProgType::LircMode2
        | ProgType::CgroupSysctl
        | ProgType::RawTracepointWritable
        | ProgType::Tracing
        | ProgType::StructOps
        | ProgType::Ext
        | ProgType::Lsm
        | ProgType::SkLookup
        | ProgType::Syscall
        | ProgType::Netfilter => false,
    }
}
