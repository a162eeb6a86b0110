//! Which types of the target may be meant: those of the same name, flavours aside, and of the same kind.

use hashbrown::HashMap;

use crate::Btf;
use crate::raw::KindCode;
use crate::types::TypeId;

/// A name without its flavour: what stands before the last `___` that has something on both sides.
///
/// Linux: `bpf_core_essential_name_len`.
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let is_separator = |at: usize| match bytes.get(at..at + 5) {
        Some([before, b'_', b'_', b'_', after]) => *before != b'_' && *after != b'_',
        _ => false,
    };
    let end = (0..bytes.len().saturating_sub(4)).rev().find(|at| is_separator(*at));
    end.and_then(|at| name.get(..=at)).unwrap_or(name)
}

/// The named types of a target, by name without flavour, in the order of their numbers.
pub(super) fn by_name(target: &Btf) -> HashMap<&str, Vec<TypeId>> {
    let mut found: HashMap<&str, Vec<TypeId>> = HashMap::with_capacity(target.end_id() as usize);
    for ty in target.types().filter(|ty| !ty.name_off.is_none() && can_be_meant(ty.code())) {
        found.entry(essential_name(target.name(ty.name_off))).or_default().push(ty.id);
    }
    found
}

/// Questions are about types with names of C.
const fn can_be_meant(code: KindCode) -> bool {
    matches!(
        code,
        KindCode::Int
            | KindCode::Struct
            | KindCode::Union
            | KindCode::Enum
            | KindCode::Enum64
            | KindCode::Fwd
            | KindCode::Typedef
            | KindCode::Float
            | KindCode::Func
            | KindCode::Var
    )
}

/// The types of the target that may be meant by one of the object's.
pub(super) fn find(
    local: &Btf,
    id: TypeId,
    target: &Btf,
    by_name: &HashMap<&str, Vec<TypeId>>,
) -> Vec<TypeId> {
    let name = essential_name(local.name_of(id));
    let Some(kind) = local.kind_code(id) else { return Vec::new() };
    let of_name = by_name.get(name).map_or(&[][..], Vec::as_slice);
    let fits = |id: &TypeId| target.kind_code(*id).is_some_and(|other| same_kind(kind, other));
    of_name.iter().copied().filter(fits).collect()
}

/// Whether two kinds are the same for CO-RE; enumerations of either width are.
///
/// Linux: `btf_kind_core_compat`.
pub(super) fn same_kind(a: KindCode, b: KindCode) -> bool {
    let is_enum = |kind| matches!(kind, KindCode::Enum | KindCode::Enum64);
    a == b || (is_enum(a) && is_enum(b))
}
