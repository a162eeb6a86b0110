//! Map values, their special fields, and read-only constants.

use bpf_abi::map::{MapFlags, MapType};
use bpf_btf::record::FieldKind;
use bpf_isa::{Extension, Operand, Reg};

use crate::call::fields;
use crate::cx::StepCx;
use crate::error::Reason;
use crate::host::MapFacts;
use crate::memory::{Access, MemoryError, What, bounds, loaded_unknown, size_of};
use crate::scalar::Scalar;
use crate::state::{MapNo, Number, Pointer, Value};

/// Who touches a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// An instruction. Linux: `ACCESS_DIRECT`.
    Insn,
    /// A helper on its behalf. Linux: `ACCESS_HELPER`.
    Helper,
}

/// An instruction's access to a value.
pub(crate) fn access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let Some(map) = pointer.map() else { return Ok(()) };
    let size = size_of(access);
    check_permission(cx.env.map(map), off, size, access.what.writes())?;
    check(cx, pointer, access.base, off, size, false, By::Insn)?;
    let at = pointer.delta.const_value().map(|delta| off.wrapping_add(delta.cast_signed()));
    if let Some(at) = at
        && let Some(field) = fields::kptr_at(cx.env, map, at)
    {
        return fields::kptr_access(cx, pointer, access, &field, at);
    }
    if let (What::Load(into, ext), Some(at)) = (access.what, at)
        && let Some(constant) = constant(cx, map, at, access)
    {
        let number = Number::of(extended(constant, access, ext));
        cx.state.set(into, Some(Value::Scalar(number)));
        return Ok(());
    }
    loaded_unknown(cx, access);
    Ok(())
}

/// A constant that was read, with its sign if the load extends it.
fn extended(constant: u64, access: &Access, ext: Extension) -> Scalar {
    let set = Scalar::constant(constant);
    match ext {
        Extension::Unsigned => set,
        Extension::Signed => set.sign_extended(bpf_isa::Width::W64, access.size),
    }
}

/// The bytes at `at`, if no one can change them any more.
///
/// Linux: `bpf_map_is_rdonly`, `bpf_map_direct_read`.
fn constant(cx: &StepCx<'_, '_>, map: MapNo, at: i64, access: &Access) -> Option<u64> {
    let facts = cx.env.map(map);
    let at = u32::try_from(at).ok()?;
    cx.env.host.constant(facts, at, access.size.bytes())
}

/// Whether programs may read or write this map's values.
///
/// Linux: `check_map_access_type`.
pub(crate) fn check_permission(
    map: &MapFacts,
    off: i64,
    size: i64,
    write: bool,
) -> Result<(), MemoryError> {
    let value_size = map.value_size;
    // Programs get what a device map holds in place.
    let devices = matches!(map.map_type, MapType::Devmap | MapType::DevmapHash);
    if write && (devices || map.flags.contains(MapFlags::RDONLY_PROG)) {
        return Err(MemoryError::MapWriteForbidden { value_size, off, size });
    }
    if !write && map.flags.contains(MapFlags::WRONLY_PROG) {
        return Err(MemoryError::MapReadForbidden { value_size, off, size });
    }
    Ok(())
}

/// Whether bytes lie in the value and outside of its special fields.
///
/// Linux: `check_map_access`.
pub(crate) fn check(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    zero_allowed: bool,
    by: By,
) -> Result<(), Reason> {
    let Some(map) = pointer.map() else { return Ok(()) };
    let room = bounds::room(cx, pointer);
    bounds::check_region(pointer, reg, off, size, room, zero_allowed)?;
    let Some(record) = fields::record_of_map(cx.env, map) else { return Ok(()) };
    let delta = &pointer.delta;
    let (from, to) =
        (delta.smin() + off, delta.umax().cast_signed().wrapping_add(off).wrapping_add(size));
    for field in record.fields() {
        let at = i64::from(field.offset);
        if from >= at + i64::from(field.size()) || at >= to {
            continue;
        }
        let FieldKind::Pointer { .. } = field.kind else {
            return Err(MemoryError::SpecialField { field: fields::name_of(&field.kind) }.into());
        };
        let what = fields::kptr_name(field);
        if by == By::Helper {
            return Err(MemoryError::KptrByHelper { what }.into());
        }
        let Some(delta) = delta.const_value() else {
            return Err(MemoryError::KptrVariable { what }.into());
        };
        let touched = off.wrapping_add(delta.cast_signed());
        if touched != at {
            let expected = field.offset;
            return Err(MemoryError::KptrMisaligned { what, expected, off: touched }.into());
        }
        if size != 8 {
            return Err(MemoryError::KptrSize { what }.into());
        }
    }
    Ok(())
}

/// Whether a store writes the number zero.
pub(crate) const fn stores_zero(what: What) -> bool {
    matches!(what, What::Store(Operand::Imm(0)))
}
