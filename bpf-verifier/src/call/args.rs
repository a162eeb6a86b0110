//! A value against what a contract asks for.

use bpf_abi::helper::{ArgKind, ArgProto, HelperFlags, TypeFlags};
use bpf_abi::map::{MapFlags, MapType};
use bpf_isa::{Reg, Size};

use crate::call::helper::{Meta, id};
use crate::call::{CallError, fields, locks, objects, sizes, strings};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::bounds::{FixedOffset, check_offset};
use crate::memory::btf::{self, Match};
use crate::memory::packet::{self, Purpose};
use crate::memory::stack::Way;
use crate::memory::{pointer_name, type_name};
use crate::scalar::Scalar;
use crate::state::{ByteKind, Pointer, PointerKind, PtrFlags, SlotNo, Value};

/// Checks an argument of a helper. Linux: `check_func_arg`.
pub(crate) fn check(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    place: usize,
    reg: Reg,
) -> Result<(), Reason> {
    let Some(&proto) = meta.proto.args.get(place) else { return Ok(()) };
    let value = cx.read(reg)?;
    if proto.kind == ArgKind::Anything {
        return Ok(());
    }
    let pkt_access = meta.proto.flags.contains(HelperFlags::PKT_ACCESS);
    if let Value::Pointer(pointer) = value
        && pointer.is_packet()
        && !pointer.maybe_null()
        && !packet::may_touch(cx, Purpose::Helper { pkt_access })
    {
        return Err(CallError::PacketForbidden.into());
    }
    let proto = resolve_map_value(cx, meta, proto)?;
    if !(value.is_null() && proto.flags.contains(TypeFlags::MAYBE_NULL)) {
        check_type(cx, Some(meta), reg, &value, &proto)?;
        check_arg_offset(reg, &value, &proto)?;
    }
    check_reference(cx, meta, reg, &value, &proto)?;
    particular(cx, meta, place, reg, &proto)
}

/// Sockets are the values of socket maps. Linux: `resolve_map_arg_type`.
fn resolve_map_value(
    cx: &StepCx<'_, '_>,
    meta: &Meta,
    proto: ArgProto,
) -> Result<ArgProto, Reason> {
    let Some((map, _)) = meta.map.filter(|_| proto.kind == ArgKind::MapValue) else {
        return Ok(proto);
    };
    match cx.env.map(map).map_type {
        MapType::Sockmap | MapType::Sockhash if proto.flags.is_empty() => {
            Ok(ArgProto { kind: ArgKind::BtfIdSockCommon, ..proto })
        }
        MapType::Sockmap | MapType::Sockhash => Err(CallError::SockmapArgument.into()),
        MapType::BloomFilter if meta.proto.id == id::MAP_PEEK => {
            Ok(ArgProto { flags: TypeFlags::empty(), ..proto })
        }
        _ => Ok(proto),
    }
}

/// Checks that a value is of a type that an argument may be.
///
/// Linux: `check_reg_type`.
pub(crate) fn check_type(
    cx: &mut StepCx<'_, '_>,
    meta: Option<&Meta>,
    reg: Reg,
    value: &Value,
    proto: &ArgProto,
) -> Result<(), Reason> {
    let xchg = meta.is_some_and(|meta| meta.proto.id == id::KPTR_XCHG);
    let fits = match value {
        Value::Scalar(_) => takes_numbers(proto.kind),
        Value::Pointer(pointer) => {
            let mut flags = pointer.flags;
            if proto.flags.contains(TypeFlags::RDONLY) {
                flags.remove(PtrFlags::RDONLY);
            }
            if proto.flags.contains(TypeFlags::MAYBE_NULL) {
                flags.remove(PtrFlags::MAYBE_NULL);
            }
            if xchg && reg == Reg::R2 && flags.contains(PtrFlags::ALLOC) {
                flags.remove(PtrFlags::ALLOC | PtrFlags::PERCPU);
            }
            takes(proto.kind, &pointer.kind, flags)
        }
    };
    if !fits {
        let ty = type_name(Some(value));
        return Err(CallError::WrongType { reg, ty, expected: expected(proto.kind) }.into());
    }
    match value {
        Value::Pointer(pointer) if matches!(pointer.kind, PointerKind::Btf { .. }) => {
            check_object(cx, meta, reg, pointer, proto)
        }
        Value::Pointer(_) | Value::Scalar(_) => Ok(()),
    }
}

const fn takes_numbers(kind: ArgKind) -> bool {
    matches!(
        kind,
        ArgKind::Scalar
            | ArgKind::ConstSize
            | ArgKind::ConstSizeOrZero
            | ArgKind::ConstAllocSizeOrZero
    )
}

/// Linux: `compatible_reg_types`.
fn takes(kind: ArgKind, pointer: &PointerKind, flags: PtrFlags) -> bool {
    use PointerKind as P;
    let plain = flags.is_empty();
    let is = |wanted: PtrFlags| flags == wanted;
    match kind {
        ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem => match pointer {
            P::Stack { .. }
            | P::Packet { .. }
            | P::PacketMeta { .. }
            | P::MapKey { .. }
            | P::MapValue { .. }
            | P::Buf => plain,
            P::Mem { .. } => plain || is(PtrFlags::RINGBUF),
            P::Btf { .. } => is(PtrFlags::TRUSTED),
            _ => false,
        },
        ArgKind::ConstMapPtr => plain && matches!(pointer, P::MapPtr { .. }),
        ArgKind::Ctx => plain && matches!(pointer, P::Ctx),
        ArgKind::SockCommon => {
            plain
                && matches!(
                    pointer,
                    P::SockCommon | P::Socket { .. } | P::TcpSock | P::XdpSock { .. }
                )
        }
        ArgKind::BtfIdSockCommon => match pointer {
            P::SockCommon | P::Socket { .. } | P::TcpSock | P::XdpSock { .. } => plain,
            P::Btf { .. } => plain || is(PtrFlags::TRUSTED),
            _ => false,
        },
        ArgKind::Socket => plain && matches!(pointer, P::Socket { .. }),
        ArgKind::BtfId => {
            matches!(pointer, P::Btf { .. })
                && (plain || is(PtrFlags::TRUSTED) || is(PtrFlags::RCU))
        }
        ArgKind::SpinLock | ArgKind::KptrXchgDest => match pointer {
            P::MapValue { .. } => plain,
            P::Btf { .. } => is(PtrFlags::ALLOC),
            _ => false,
        },
        ArgKind::PercpuBtfId => {
            matches!(pointer, P::Btf { .. })
                && flags.contains(PtrFlags::PERCPU)
                && (flags - PtrFlags::RCU == PtrFlags::PERCPU
                    || flags - PtrFlags::TRUSTED == PtrFlags::PERCPU)
        }
        ArgKind::RingbufMem => matches!(pointer, P::Mem { .. }) && is(PtrFlags::RINGBUF),
        ArgKind::Func => plain && matches!(pointer, P::Func { .. }),
        ArgKind::Stack => plain && matches!(pointer, P::Stack { .. }),
        ArgKind::ConstStr | ArgKind::Timer => plain && matches!(pointer, P::MapValue { .. }),
        ArgKind::Dynptr => plain && matches!(pointer, P::Stack { .. } | P::Dynptr { .. }),
        ArgKind::Anything => true,
        ArgKind::Scalar
        | ArgKind::ConstSize
        | ArgKind::ConstSizeOrZero
        | ArgKind::ConstAllocSizeOrZero => false,
    }
}

const fn expected(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem => {
            "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"
        }
        ArgKind::ConstMapPtr => "map_ptr",
        ArgKind::Ctx => "ctx",
        ArgKind::SockCommon => "sock_common, sock, tcp_sock, xdp_sock",
        ArgKind::BtfIdSockCommon => "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
        ArgKind::Socket => "sock",
        ArgKind::BtfId => "ptr_, trusted_ptr_, rcu_ptr_",
        ArgKind::SpinLock | ArgKind::KptrXchgDest => "map_value, ptr_",
        ArgKind::PercpuBtfId => "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
        ArgKind::RingbufMem => "ringbuf_mem",
        ArgKind::Func => "func",
        ArgKind::Stack => "fp",
        ArgKind::ConstStr | ArgKind::Timer => "map_value",
        ArgKind::Dynptr => "fp, dynptr_ptr",
        ArgKind::Anything
        | ArgKind::Scalar
        | ArgKind::ConstSize
        | ArgKind::ConstSizeOrZero
        | ArgKind::ConstAllocSizeOrZero => "scalar",
    }
}

/// Checks that a kernel object is of the type that is asked for.
fn check_object(
    cx: &mut StepCx<'_, '_>,
    meta: Option<&Meta>,
    reg: Reg,
    pointer: &Pointer,
    proto: &ArgProto,
) -> Result<(), Reason> {
    let PointerKind::Btf { ty } = pointer.kind else { return Ok(()) };
    if matches!(proto.kind, ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem) {
        if proto.flags.contains(TypeFlags::RDONLY) {
            return Ok(());
        }
        let name = meta.map_or("", |meta| meta.proto.name);
        let ty = pointer_name(pointer);
        return Err(CallError::MayWriteObject { name, reg, ty }.into());
    }
    if pointer.flags.contains(PtrFlags::PERCPU) {
        return Ok(());
    }
    let xchg = meta.is_some_and(|meta| meta.proto.id == id::KPTR_XCHG);
    if pointer.flags.contains(PtrFlags::ALLOC) {
        if xchg && reg == Reg::R2 {
            return check_kptr(cx, meta, reg, pointer);
        }
        return Ok(());
    }
    let release = proto.flags.contains(TypeFlags::RELEASE);
    if pointer.maybe_null() && (!proto.flags.contains(TypeFlags::MAYBE_NULL) || release) {
        return Err(CallError::PossiblyNull { reg: reg.number() }.into());
    }
    if xchg {
        return check_kptr(cx, meta, reg, pointer);
    }
    let wanted = match (proto.btf, proto.kind) {
        (Some(name), _) => name,
        (None, ArgKind::BtfIdSockCommon) => "sock_common",
        (None, _) => return Ok(()),
    };
    let sk_release = meta.is_some_and(|meta| meta.proto.id == id::SK_RELEASE);
    let how = if release && !sk_release { Match::Exact } else { Match::Embedded };
    let Some(expected) = btf::find_struct(cx.env, wanted) else {
        return Err(CallError::NoObjectType { name: wanted.to_owned() }.into());
    };
    if !btf::matches(cx, ty, pointer.off, expected, how) {
        let name = btf::name_of(cx.env, ty);
        let expected = wanted.to_owned();
        return Err(CallError::OtherObject { reg, name, expected }.into());
    }
    Ok(())
}

fn check_kptr(
    cx: &mut StepCx<'_, '_>,
    meta: Option<&Meta>,
    reg: Reg,
    pointer: &Pointer,
) -> Result<(), Reason> {
    let Some((owner, ty)) = meta.and_then(|meta| meta.kptr) else { return Ok(()) };
    fields::match_kptr(cx, owner, ty, &Value::Pointer(*pointer), reg)
}

/// Checks how far a pointer argument was moved.
///
/// Linux: `check_func_arg_reg_off`.
pub(crate) fn check_arg_offset(reg: Reg, value: &Value, proto: &ArgProto) -> Result<(), Reason> {
    let Value::Pointer(pointer) = value else { return Ok(()) };
    if proto.flags.contains(TypeFlags::RELEASE) {
        let on_stack = matches!(pointer.kind, PointerKind::Stack { .. });
        if proto.kind == ArgKind::Dynptr && on_stack {
            return Ok(());
        }
        if pointer.off != 0 {
            return Err(CallError::MovedRelease { reg }.into());
        }
        return Ok(check_offset(pointer, reg, FixedOffset::Forbidden)?);
    }
    check_pointer_offset(reg, pointer)
}

/// The same, for an argument that is not released.
pub(crate) fn check_pointer_offset(reg: Reg, pointer: &Pointer) -> Result<(), Reason> {
    let flags = pointer.flags;
    let free = match pointer.kind {
        PointerKind::Stack { .. }
        | PointerKind::Packet { .. }
        | PointerKind::PacketMeta { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::MapValue { .. }
        | PointerKind::Arena => flags.is_empty(),
        PointerKind::Mem { .. } => {
            flags.is_empty() || flags == PtrFlags::RDONLY || flags == PtrFlags::RINGBUF
        }
        PointerKind::Buf => flags.is_empty() || flags == PtrFlags::RDONLY,
        _ => false,
    };
    if free {
        return Ok(());
    }
    let object = matches!(pointer.kind, PointerKind::Btf { .. });
    let kept = PtrFlags::ALLOC | PtrFlags::TRUSTED | PtrFlags::RCU | PtrFlags::NON_OWN_REF;
    let fixed = if object && (flags - kept).is_empty() {
        FixedOffset::Allowed
    } else {
        FixedOffset::Forbidden
    };
    Ok(check_offset(pointer, reg, fixed)?)
}

/// What the argument refers to, and whether it is given back.
fn check_reference(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    reg: Reg,
    value: &Value,
    proto: &ArgProto,
) -> Result<(), Reason> {
    let ref_id = match value {
        Value::Pointer(pointer) => pointer.ref_id,
        Value::Scalar(_) => None,
    };
    if proto.flags.contains(TypeFlags::RELEASE) {
        if proto.kind == ArgKind::Dynptr {
            objects::check_owned(cx, reg, value)?;
        } else if ref_id.is_none() && !value.is_null() {
            return Err(CallError::NotReferenced { reg }.into());
        }
        meta.release = Some(reg);
    }
    if let Some(second) = ref_id
        && proto.kind != ArgKind::KptrXchgDest
    {
        if let Some(first) = meta.ref_id {
            let (second, first) = (second.number(), first.number());
            return Err(CallError::TwoReferences { reg, second, first }.into());
        }
        meta.ref_id = Some(second);
    }
    Ok(())
}

/// Whether the memory argument is written.
pub(crate) const fn way(flags: TypeFlags) -> Way {
    if flags.contains(TypeFlags::WRITE) { Way::Write } else { Way::Read }
}

/// What the kind of an argument asks for besides its type.
fn particular(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    place: usize,
    reg: Reg,
    proto: &ArgProto,
) -> Result<(), Reason> {
    let Some(&value) = cx.state.reg(reg) else { return Ok(()) };
    match proto.kind {
        ArgKind::ConstMapPtr => take_map(meta, &value),
        ArgKind::MapKey => map_key(cx, meta, reg, &value),
        ArgKind::MapValue => {
            if proto.flags.contains(TypeFlags::MAYBE_NULL) && value.is_null() {
                return Ok(());
            }
            let Some((map, _)) = meta.map else { return Ok(()) };
            let size = i64::from(cx.env.map(map).value_size);
            meta.raw = proto.flags.contains(TypeFlags::UNINIT);
            let raw = meta.raw;
            let memory =
                sizes::Memory { reg, size, way: way(proto.flags), zero_allowed: false, raw };
            note_fill(meta, reg, size, sizes::check_memory(cx, memory)?);
            Ok(())
        }
        ArgKind::Mem => {
            meta.raw = proto.flags.contains(TypeFlags::UNINIT);
            if !proto.flags.contains(TypeFlags::FIXED_SIZE) {
                return Ok(());
            }
            let (size, raw) = (i64::from(proto.size), meta.raw);
            let memory =
                sizes::Memory { reg, size, way: way(proto.flags), zero_allowed: false, raw };
            note_fill(meta, reg, size, sizes::check_memory(cx, memory)?);
            if proto.flags.contains(TypeFlags::ALIGNED)
                && let (Value::Pointer(pointer), Some(size)) = (value, Size::of_bytes(proto.size))
            {
                crate::memory::bounds::check_argument_alignment(cx, &pointer, size)?;
            }
            Ok(())
        }
        ArgKind::ConstSize | ArgKind::ConstSizeOrZero => {
            let memory = place.checked_sub(1).and_then(|place| meta.proto.args.get(place));
            let flags = memory.map_or(TypeFlags::empty(), |memory| memory.flags);
            let zero = proto.kind == ArgKind::ConstSizeOrZero;
            sizes::check_size(cx, meta, reg, way(flags), zero)
        }
        ArgKind::ConstAllocSizeOrZero => {
            let Some(size) = value.as_constant() else {
                return Err(CallError::SizeUnknown { reg }.into());
            };
            meta.mem_size = u32::try_from(size & 0xffff_ffff).unwrap_or(0);
            cx.mark_precise(reg)
        }
        ArgKind::PercpuBtfId => {
            if let Value::Pointer(Pointer { kind: PointerKind::Btf { ty }, flags, .. }) = value {
                meta.variable = Some(ty);
                meta.variable_is_allocated = flags.contains(PtrFlags::RCU);
            }
            Ok(())
        }
        ArgKind::SpinLock => locks::spin(cx, meta, reg),
        ArgKind::Func => {
            if let Value::Pointer(Pointer { kind: PointerKind::Func { subprog }, .. }) = value {
                meta.subprog = Some(subprog);
            }
            Ok(())
        }
        ArgKind::ConstStr => strings::check_constant(cx, reg),
        ArgKind::Timer => locks::timer(cx, meta, reg),
        ArgKind::KptrXchgDest => objects::take_kptr(cx, meta, reg),
        ArgKind::Dynptr => objects::dynptr_argument(cx, meta, reg, proto),
        ArgKind::Anything
        | ArgKind::Scalar
        | ArgKind::Ctx
        | ArgKind::SockCommon
        | ArgKind::Socket
        | ArgKind::BtfId
        | ArgKind::BtfIdSockCommon
        | ArgKind::RingbufMem
        | ArgKind::Stack => Ok(()),
    }
}

/// Memory of the stack that the helper fills is written once all arguments are looked at.
pub(crate) fn note_fill(meta: &mut Meta, reg: Reg, size: i64, fill: bool) {
    if fill {
        meta.fills = Some((reg, size));
    }
}

/// The map that the arguments after it are measured by.
fn take_map(meta: &mut Meta, value: &Value) -> Result<(), Reason> {
    let Value::Pointer(Pointer { kind: PointerKind::MapPtr { map, uid }, .. }) = *value else {
        return Ok(());
    };
    if let Some((timer_map, timer_uid)) = meta.map
        && (timer_map != map || timer_uid != uid)
    {
        let number = |id: Option<crate::state::Id>| id.map_or(0, crate::state::Id::number);
        return Err(CallError::OtherMap { timer: number(timer_uid), map: number(uid) }.into());
    }
    meta.map = Some((map, uid));
    Ok(())
}

/// A key, and its number if that is known: a lookup of an array's element cannot fail then.
///
/// Linux: `can_elide_value_nullness`.
fn map_key(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    reg: Reg,
    value: &Value,
) -> Result<(), Reason> {
    let Some((map, _)) = meta.map else { return Ok(()) };
    let (size, never_misses) = {
        let facts = cx.env.map(map);
        let is_array = matches!(facts.map_type, MapType::Array | MapType::PercpuArray);
        // Another inner map in its place may have fewer elements.
        (facts.key_size, is_array && !facts.flags.contains(MapFlags::INNER_MAP))
    };
    let memory = sizes::Memory {
        reg,
        size: i64::from(size),
        way: Way::Read,
        zero_allowed: false,
        raw: false,
    };
    sizes::check_memory(cx, memory)?;
    if never_misses && let Value::Pointer(pointer) = value {
        meta.key = constant_key(cx, pointer, size)?;
    }
    Ok(())
}

/// The number on the stack that a key is, if it is known. Linux: `get_constant_map_key`.
fn constant_key(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    size: u32,
) -> Result<Option<u64>, Reason> {
    let (Some(frame), Some(off)) = (pointer.stack_frame(), pointer.constant_off()) else {
        return Ok(None);
    };
    let Some(place) = i32::try_from(off).ok().and_then(SlotNo::at) else { return Ok(None) };
    let Some(slot) = cx.state.frame(frame).stack.get(place).copied() else { return Ok(None) };
    let byte = usize::try_from((-off - 1).rem_euclid(8)).unwrap_or(0);
    let run = |wanted: ByteKind| {
        slot.kinds[..=byte].iter().rev().take_while(|kind| **kind == wanted).count()
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if run(ByteKind::Zero) >= size {
        return Ok(Some(0));
    }
    let Some(number) = slot.spilled_scalar() else { return Ok(None) };
    if run(ByteKind::Spill) != size {
        return Ok(None);
    }
    let key = number.set.const_value();
    if key.is_some() {
        cx.mark_slot_precise(frame, place)?;
    }
    Ok(key)
}

/// The number a register holds, or that of its pointer's variable part.
pub(crate) const fn set_of(value: &Value) -> &Scalar {
    crate::memory::variable_part(value)
}
