//! Special fields of map values and objects: where they are, and who may touch them.

use std::sync::Arc;

use bpf_btf::record::{Field, FieldKind, NamedField, PointerField, Record};
use bpf_isa::{Operand, Reg};

use crate::cx::StepCx;
use crate::env::Env;
use crate::error::Reason;
use crate::memory::btf::{self, Match};
use crate::memory::map_value::stores_zero;
use crate::memory::{Access, MemoryError, What, pointer_name};
use crate::state::{BtfType, MapNo, Pointer, PointerKind, PtrFlags, Value};

/// How the kernel names a sort of field.
pub(crate) const fn name_of(kind: &FieldKind) -> &'static str {
    match kind {
        FieldKind::Named(named) | FieldKind::Graph { root: named, .. } => named.type_name(),
        FieldKind::Pointer { owner, .. } => pointer_name_of(*owner),
    }
}

/// How the kernel names a pointer in a map value.
const fn pointer_name_of(owner: PointerField) -> &'static str {
    match owner {
        PointerField::User => "uptr",
        PointerField::PerCpu => "percpu_kptr",
        PointerField::Untrusted | PointerField::Owned => "kptr",
    }
}

/// The special fields of a map's values.
pub(crate) fn record_of_map(env: &Env<'_>, map: MapNo) -> Option<Arc<Record>> {
    env.record(map).filter(|record| !record.is_empty())
}

/// Whether a map's values hold a lock.
pub(crate) fn map_has_lock(env: &Env<'_>, map: MapNo) -> bool {
    record_of_map(env, map).is_some_and(|record| has_lock(&record))
}

fn has_lock(record: &Record) -> bool {
    record.has(NamedField::SpinLock) || record.has(NamedField::ResSpinLock)
}

/// Whether lists or trees may hold such objects.
fn has_node(record: &Record) -> bool {
    record.has(NamedField::ListNode) || record.has(NamedField::RbNode)
}

/// Whether maps of this kind must be told apart: their timers know the map they are in.
pub(crate) fn needs_map_identity(env: &Env<'_>, map: MapNo) -> bool {
    record_of_map(env, map).is_some_and(|record| {
        [NamedField::Timer, NamedField::Workqueue, NamedField::TaskWork]
            .into_iter()
            .any(|field| record.has(field))
    })
}

/// The special fields of what a pointer points to. Linux: `reg_btf_record`.
pub(crate) fn record_of(env: &Env<'_>, pointer: &Pointer) -> Option<Arc<Record>> {
    match pointer.kind {
        PointerKind::MapValue { map, .. } => record_of_map(env, map),
        PointerKind::Btf { ty } if pointer.flags.contains(PtrFlags::ALLOC) => {
            let btf = env.btf(ty.btf)?;
            let size = btf.size_of(ty.id)?;
            btf.object_record(ty.id, size).ok().map(Arc::new)
        }
        _ => None,
    }
}

/// Whether locks of this object are told apart by its pointer's identity.
///
/// Linux: `reg_may_point_to_spin_lock`.
pub(crate) fn may_hold_lock(env: &Env<'_>, pointer: &Pointer) -> bool {
    record_of(env, pointer).is_some_and(|record| has_lock(&record))
}

/// The kptr at an offset in a map's values.
pub(crate) fn kptr_at(env: &Env<'_>, map: MapNo, at: i64) -> Option<Field> {
    let record = record_of_map(env, map)?;
    let field = record.at(u32::try_from(at).ok()?)?;
    matches!(field.kind, FieldKind::Pointer { .. }).then_some(*field)
}

/// The name with which messages about a kptr begin.
pub(crate) const fn kptr_name(field: &Field) -> &'static str {
    name_of(&field.kind)
}

/// An instruction's access to a kptr.
///
/// Linux: `check_map_kptr_access`.
pub(crate) fn kptr_access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    field: &Field,
    at: i64,
) -> Result<(), Reason> {
    let FieldKind::Pointer { owner, to } = field.kind else { return Ok(()) };
    let Some(map) = pointer.map() else { return Ok(()) };
    if access.aligned {
        // Only atomic operations ask for this.
        return Err(MemoryError::KptrMode.into());
    }
    match access.what {
        What::Load(into, bpf_isa::Extension::Unsigned) => {
            let value = loaded(cx, map, owner, to)?;
            cx.state.set(into, Some(value));
            Ok(())
        }
        What::Load(..) | What::Read | What::Write => Err(MemoryError::KptrMode.into()),
        What::Store(_) if owner != PointerField::Untrusted => Err(match owner {
            PointerField::User => MemoryError::UptrStore,
            _ => MemoryError::KptrStore,
        }
        .into()),
        What::Store(Operand::Reg(src)) => {
            let Some(&value) = cx.state.reg(src) else { return Ok(()) };
            if value.is_null() {
                return Ok(());
            }
            let ty = type_in_kernel(cx, map, to)?;
            match_kptr(cx, owner, ty, &value, src)
        }
        What::Store(Operand::Imm(_)) => {
            if stores_zero(access.what) {
                return Ok(());
            }
            Err(MemoryError::KptrImmediate { off: at }.into())
        }
    }
}

/// What a load of a kptr yields.
fn loaded(
    cx: &mut StepCx<'_, '_>,
    map: MapNo,
    owner: PointerField,
    to: bpf_btf::TypeId,
) -> Result<Value, Reason> {
    if owner == PointerField::User {
        let facts = cx.env.map(map);
        let size = facts.btf.as_ref().and_then(|btf| btf.size_of(to)).unwrap_or(0);
        let mut pointer = Pointer::to(PointerKind::Mem { size, dynptr: None });
        pointer.flags = PtrFlags::MAYBE_NULL;
        pointer.id = Some(cx.fresh_id());
        return Ok(Value::Pointer(pointer));
    }
    let ty = type_in_kernel(cx, map, to)?;
    let mut flags = PtrFlags::MAYBE_NULL;
    let in_rcu = btf::in_rcu_section(cx);
    let safe = owner != PointerField::Untrusted && in_rcu && btf::is_rcu_safe_kptr(cx, ty);
    if safe {
        flags |= PtrFlags::RCU;
        if owner == PointerField::PerCpu {
            flags |= PtrFlags::PERCPU;
        } else if ty.btf != btf::kernel(cx.env) {
            flags |= PtrFlags::ALLOC;
            // Lists and trees own their elements; so may others.
            let object = Pointer::to(PointerKind::Btf { ty }).with(PtrFlags::ALLOC);
            let record = record_of(cx.env, &object);
            if record.is_some_and(|record| has_node(&record)) {
                flags |= PtrFlags::NON_OWN_REF;
            }
        }
    } else {
        flags |= PtrFlags::UNTRUSTED;
    }
    let mut pointer = Pointer::to(PointerKind::Btf { ty }).with(flags);
    pointer.id = Some(cx.fresh_id());
    Ok(Value::Pointer(pointer))
}

/// The type that a kptr's type is in the kernel, or in the program if the kernel has none.
pub(crate) fn type_in_kernel(
    cx: &mut StepCx<'_, '_>,
    map: MapNo,
    to: bpf_btf::TypeId,
) -> Result<BtfType, Reason> {
    let facts = Arc::clone(cx.env.map(map));
    let Some(own) = &facts.btf else { return Err(MemoryError::NoKernelTypes.into()) };
    let btf = cx.env.use_btf(own);
    type_in_kernel_of(cx, btf, to)
}

/// The same for a field of an object of the program's own.
pub(crate) fn type_in_kernel_of(
    cx: &mut StepCx<'_, '_>,
    btf: crate::state::BtfNo,
    to: bpf_btf::TypeId,
) -> Result<BtfType, Reason> {
    let own = BtfType { btf, id: to };
    let name = btf::name_of(cx.env, own);
    Ok(btf::find_struct(cx.env, &name).unwrap_or(own))
}

/// Whether a pointer may be stored as a kptr of this type.
///
/// Linux: `map_kptr_match_type`.
pub(crate) fn match_kptr(
    cx: &mut StepCx<'_, '_>,
    owner: PointerField,
    ty: BtfType,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    let expected = btf::name_of(cx.env, ty);
    let (held, flags) = match value {
        Value::Pointer(Pointer { kind: PointerKind::Btf { ty }, flags, .. }) => (*ty, *flags),
        Value::Pointer(_) | Value::Scalar(_) => {
            let name = crate::memory::type_name(Some(value));
            return Err(kptr_mismatch(reg, &name, "", &expected, owner));
        }
    };
    let Value::Pointer(pointer) = value else { return Ok(()) };
    let name = btf::name_of(cx.env, held);
    let mismatch = |name: &str| {
        let ty = pointer_name(pointer);
        kptr_mismatch(reg, &ty, name, &expected, owner)
    };
    let mut allowed = PtrFlags::MAYBE_NULL | PtrFlags::TRUSTED | PtrFlags::RCU;
    if owner == PointerField::Untrusted {
        allowed |= PtrFlags::UNTRUSTED;
    } else {
        allowed |= PtrFlags::ALLOC | PtrFlags::PERCPU;
    }
    if !(flags - allowed).is_empty() {
        return Err(mismatch(&name));
    }
    crate::memory::bounds::check_offset(pointer, reg, crate::memory::bounds::FixedOffset::Allowed)?;
    let how = if owner == PointerField::Untrusted { Match::Embedded } else { Match::Exact };
    if !btf::matches(cx, held, pointer.off, ty, how) {
        return Err(mismatch(&name));
    }
    Ok(())
}

fn kptr_mismatch(reg: Reg, ty: &str, name: &str, expected: &str, owner: PointerField) -> Reason {
    let (ty, name, expected) = (ty.to_owned(), name.to_owned(), expected.to_owned());
    if owner == PointerField::Untrusted {
        crate::call::CallError::KptrTypeUntrusted { reg, ty, name, expected }.into()
    } else {
        crate::call::CallError::KptrType { reg, ty, name, expected }.into()
    }
}
