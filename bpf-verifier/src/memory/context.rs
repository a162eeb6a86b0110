//! Contexts: the tables of `bpf-abi`, applied.

use bpf_abi::ctx::{ContextKind, Yields};
use bpf_abi::prog::ProgType;
use bpf_isa::{Extension, Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::bounds::{FixedOffset, check_offset};
use crate::memory::stack::Way;
use crate::memory::{Access, MemoryError, What, arguments, btf, loaded_unknown};
use crate::state::{PacketRange, Pointer, PointerKind, PtrFlags, Value};

/// An access to the context.
///
/// Linux: `check_ctx_access`.
pub(crate) fn access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    check_offset(pointer, access.base, FixedOffset::Forbidden)?;
    let kind = cx.env.context();
    let refused = || MemoryError::Context { off, size: access.size.bytes() };
    match kind {
        Some(ContextKind::Table(table)) => {
            let at = u32::try_from(off).map_err(|_| refused())?;
            let size = access.size.bytes();
            let signed = matches!(access.what, What::Load(_, Extension::Signed));
            let field = if access.what.writes() {
                table.writable(at, size)
            } else {
                table.readable(at, size).filter(|field| field.sign_extends || !signed)
            }
            .ok_or_else(refused)?;
            let end = at + size;
            let found = &mut cx.env.found;
            found.max_ctx_offset = found.max_ctx_offset.max(end);
            let pc = cx.pc;
            if field.size > size {
                cx.env.note_mut(pc).ctx_field_size = field.size;
            }
            if let What::Load(into, _) = access.what {
                let value = yielded(cx, field.yields(at, size))?;
                cx.state.set(into, Some(value));
            }
            Ok(())
        }
        Some(ContextKind::Bytes { from, to, write }) => {
            let (from, to) = (i64::from(from), i64::from(to));
            let size = i64::from(access.size.bytes());
            let hidden = from < 0 && off < 8 && off + size > 0;
            let fits = off >= from && off + size <= to && !hidden;
            if !fits || off % size != 0 || (access.what.writes() && !write) {
                return Err(refused().into());
            }
            let end = u32::try_from(off + size).unwrap_or(0);
            let found = &mut cx.env.found;
            found.max_ctx_offset = found.max_ctx_offset.max(end);
            loaded_unknown(cx, access);
            Ok(())
        }
        Some(ContextKind::Arguments) => arguments::access(cx, access, off),
        None => Err(refused().into()),
    }
}

/// What a field of the context yields.
fn yielded(cx: &mut StepCx<'_, '_>, yields: Yields) -> Result<Value, Reason> {
    let kind = match yields {
        Yields::Scalar => return Ok(Value::UNKNOWN),
        Yields::Packet => PointerKind::Packet { range: PacketRange::NONE },
        Yields::PacketMeta => PointerKind::PacketMeta { range: PacketRange::NONE },
        Yields::PacketEnd => PointerKind::PacketEnd,
        Yields::SockCommonOrNull => return Ok(or_null(cx, PointerKind::SockCommon)),
        Yields::SocketOrNull => return Ok(or_null(cx, PointerKind::Socket { map: None })),
        Yields::Socket => PointerKind::Socket { map: None },
        Yields::FlowKeys => PointerKind::FlowKeys,
        Yields::TpBuffer => PointerKind::TpBuffer,
        Yields::NfHookState => return btf::trusted(cx, "nf_hook_state"),
        Yields::SkBuff => return btf::trusted(cx, "sk_buff"),
    };
    Ok(Value::Pointer(Pointer::to(kind)))
}

fn or_null(cx: &mut StepCx<'_, '_>, kind: PointerKind) -> Value {
    let mut pointer = Pointer::to(kind).with(PtrFlags::MAYBE_NULL);
    pointer.id = Some(cx.fresh_id());
    Value::Pointer(pointer)
}

/// Whether the context is as it is, so that callees may read and write it as far as the program
/// itself may.
///
/// Linux: program types without `convert_ctx_access`.
pub(crate) const fn is_bytes(cx: &StepCx<'_, '_>) -> bool {
    matches!(
        cx.env.kind.prog_type,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::RawTracepoint
            | ProgType::RawTracepointWritable
            | ProgType::Tracing
            | ProgType::Lsm
            | ProgType::StructOps
            | ProgType::CgroupDevice
            | ProgType::Netfilter
            | ProgType::Syscall
    )
}

/// Memory of the context that is handed to a callee: as much as its last byte allows.
pub(crate) fn check_argument(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    size: i64,
    way: Way,
    zero_allowed: bool,
) -> Result<(), Reason> {
    let Ok(last) = i32::try_from(size - 1) else { return Ok(()) };
    if size == 0 {
        let (off, size) = (i64::from(pointer.off), 0);
        return if zero_allowed { Ok(()) } else { Err(MemoryError::Context { off, size }.into()) };
    }
    let what = if way == Way::Write { What::Write } else { What::Read };
    crate::memory::access(cx, Access { base: reg, off: last, size: Size::B, what, aligned: false })
}
