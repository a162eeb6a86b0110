//! What R0 is known to hold after a helper.

use bpf_abi::helper::{HelperFlags, RetKind, TypeFlags};
use bpf_abi::map::MapType;
use bpf_isa::Reg;

use crate::call::helper::{Meta, id};
use crate::call::{CallError, fields};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::btf;
use crate::scalar::Scalar;
use crate::state::{Number, Pointer, PointerKind, PtrFlags, Value};

/// The greatest error number that a pointer or a result can be. Linux: `MAX_ERRNO`.
const MAX_ERRNO: i64 = 4095;

/// Sets R0. Linux: the second half of `check_helper_call`.
pub(crate) fn set_result(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let proto = meta.proto;
    let flags = pointer_flags(proto.ret.flags);
    let kind = match proto.ret.kind {
        RetKind::Integer => {
            cx.state.set(Reg::R0, Some(refined(cx, meta)));
            return Ok(());
        }
        RetKind::Void => return Ok(()),
        RetKind::MapValue => match meta.map {
            Some((map, uid)) => PointerKind::MapValue { map, uid },
            None => return Ok(()),
        },
        RetKind::Socket => PointerKind::Socket { map: None },
        RetKind::SockCommon => PointerKind::SockCommon,
        RetKind::TcpSock => PointerKind::TcpSock,
        RetKind::Mem => {
            let dynptr = meta.dynptr.and_then(|dynptr| dynptr.id);
            PointerKind::Mem { size: meta.mem_size, dynptr }
        }
        RetKind::MemOrBtfId => return variable(cx, meta, flags),
        RetKind::BtfId => return object(cx, meta, flags),
    };
    let mut pointer = Pointer::to(kind).with(flags);
    if never_misses(cx, meta) {
        pointer.flags.remove(PtrFlags::MAYBE_NULL);
    }
    if let PointerKind::MapValue { map, .. } = kind
        && !pointer.maybe_null()
        && fields::map_has_lock(cx.env, map)
    {
        pointer.id = Some(cx.fresh_id());
    }
    finish(cx, meta, pointer);
    Ok(())
}

/// An identity, if it may be null, and the reference that it is or depends on.
fn finish(cx: &mut StepCx<'_, '_>, meta: &Meta, mut pointer: Pointer) {
    let proto = meta.proto;
    if pointer.maybe_null() {
        pointer.id = Some(cx.fresh_id());
    }
    if proto.flags.contains(HelperFlags::PTR_CAST) || proto.id == id::DYNPTR_DATA {
        pointer.ref_id = meta.ref_id;
    } else if acquires(cx, meta) {
        let id = cx.acquire();
        pointer.id = Some(id);
        pointer.ref_id = Some(id);
    }
    cx.state.set(Reg::R0, Some(Value::Pointer(pointer)));
}

/// Linux: `is_acquire_function`.
fn acquires(cx: &StepCx<'_, '_>, meta: &Meta) -> bool {
    if !meta.proto.flags.contains(HelperFlags::ACQUIRES_REF) {
        return false;
    }
    if meta.proto.id != id::MAP_LOOKUP {
        return true;
    }
    let map_type = meta.map.map(|(map, _)| cx.env.map(map).map_type);
    matches!(map_type, Some(MapType::Sockmap | MapType::Sockhash))
}

/// Whether a lookup is of an array's element that is there.
fn never_misses(cx: &StepCx<'_, '_>, meta: &Meta) -> bool {
    let Some((map, _)) = meta.map.filter(|_| meta.proto.id == id::MAP_LOOKUP) else {
        return false;
    };
    let max_entries = cx.env.map(map).max_entries;
    meta.key.is_some_and(|key| key < u64::from(max_entries))
}

/// The flags of a pointer with these of a contract.
pub(crate) fn pointer_flags(flags: TypeFlags) -> PtrFlags {
    let mut pointer = PtrFlags::empty();
    for (flag, same) in [
        (TypeFlags::MAYBE_NULL, PtrFlags::MAYBE_NULL),
        (TypeFlags::RDONLY, PtrFlags::RDONLY),
        (TypeFlags::RINGBUF, PtrFlags::RINGBUF),
        (TypeFlags::TRUSTED, PtrFlags::TRUSTED),
    ] {
        if flags.contains(flag) {
            pointer |= same;
        }
    }
    pointer
}

/// What is known of a number that a helper returns.
///
/// Linux: `do_refine_retval_range`.
fn refined(cx: &StepCx<'_, '_>, meta: &Meta) -> Value {
    let mut set = Scalar::UNKNOWN;
    match meta.proto.id {
        id::GET_STACK
        | id::GET_TASK_STACK
        | id::PROBE_READ_STR
        | id::PROBE_READ_KERNEL_STR
        | id::PROBE_READ_USER_STR => {
            let most = meta.most.cast_signed();
            set.whole.smin = -MAX_ERRNO;
            set.whole.smax = most;
            set.low.smin = i32::try_from(-MAX_ERRNO).unwrap_or(i32::MIN);
            set.low.smax = i32::try_from(most).unwrap_or(i32::MAX);
            set.sync();
        }
        id::SMP_PROCESSOR_ID => {
            let last = cx.env.host.cpus().saturating_sub(1);
            set.whole.umax = u64::from(last);
            set.low.umax = last;
            set.whole.smax = i64::from(last);
            set.low.smax = i32::try_from(last).unwrap_or(i32::MAX);
            set.whole.umin = 0;
            set.low.umin = 0;
            set.whole.smin = 0;
            set.low.smin = 0;
            set.sync();
        }
        _ => {}
    }
    Value::Scalar(Number::of(set))
}

/// A per-CPU variable: an object, or memory if it is no structure.
fn variable(cx: &mut StepCx<'_, '_>, meta: &Meta, flags: PtrFlags) -> Result<(), Reason> {
    let Some(ty) = meta.variable else { return Ok(()) };
    let pointer = if btf::is_struct(cx.env, ty) {
        // Linux does not say that there may be no such CPU: whoever has the code gives an object in
        // any case.
        let flags = if meta.variable_is_allocated {
            PtrFlags::ALLOC | PtrFlags::RCU
        } else {
            flags - PtrFlags::RDONLY
        };
        Pointer::to(PointerKind::Btf { ty }).with(flags)
    } else {
        let size = cx.env.btf(ty.btf).and_then(|btf| btf.size_of(ty.id));
        let Some(size) = size else {
            let name = btf::name_of(cx.env, ty);
            return Err(CallError::UnresolvedSize { name }.into());
        };
        Pointer::to(PointerKind::Mem { size, dynptr: None }).with(flags)
    };
    finish(cx, meta, pointer);
    Ok(())
}

/// A kernel object.
fn object(cx: &mut StepCx<'_, '_>, meta: &Meta, mut flags: PtrFlags) -> Result<(), Reason> {
    let ty = match (meta.kptr, meta.proto.ret.btf) {
        (Some((owner, ty)), _) => {
            if ty.btf != btf::kernel(cx.env) {
                flags |= PtrFlags::ALLOC;
                if owner == bpf_btf::record::PointerField::PerCpu {
                    flags |= PtrFlags::PERCPU;
                }
            }
            ty
        }
        (None, Some(name)) => btf::find_struct(cx.env, name)
            .ok_or_else(|| CallError::NoObjectType { name: name.to_owned() })?,
        (None, None) => return Ok(()),
    };
    let pointer = Pointer::to(PointerKind::Btf { ty }).with(flags);
    finish(cx, meta, pointer);
    Ok(())
}
