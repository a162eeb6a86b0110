//! When two types are the same for our purpose. There are three purposes, and so three answers.

use super::ReloError;
use super::candidates::{essential_name, same_kind};
use crate::Btf;
use crate::btf::MAX_CHAIN;
use crate::types::{Composite, Enum, FuncProto, Fwd, Kind, Type, TypeId};

/// How deep signatures may be nested in signatures, or structures in structures.
const MAX_LEVEL: usize = 32;

/// How many types one comparison looks at.
const MAX_STEPS: u32 = 1 << 18;

/// Whether a field of one type can be read as one of the other: roughly the same kind.
///
/// Sizes and signs of integers are let pass, for that is what is asked about; enumerations must have the same name.
///
/// # Errors
///
/// Returns an error if a type is defined by itself.
///
/// Linux: `bpf_core_fields_are_compat`.
pub fn fields_compatible(
    local: &Btf,
    local_id: TypeId,
    target: &Btf,
    target_id: TypeId,
) -> Result<bool, ReloError> {
    let mut ids = (local_id, target_id);
    for _ in 0..MAX_CHAIN {
        let (a, b) = resolve(local, ids.0, target, ids.1)?;
        if a.is_composite() && b.is_composite() {
            return Ok(true);
        }
        if !same_kind(a.code(), b.code()) {
            return Ok(false);
        }
        let are_same = match (a.kind, b.kind) {
            (Kind::Array(a), Kind::Array(b)) => {
                ids = (a.element, b.element);
                continue;
            }
            (Kind::Ptr(_) | Kind::Float(_), _) => true,
            (Kind::Int(a), Kind::Int(b)) => a.offset == 0 && b.offset == 0,
            (Kind::Fwd(_) | Kind::Enum(_) | Kind::Enum64(_), _) => {
                let names = (essential_name(a.name()), essential_name(b.name()));
                names.0.is_empty() || names.1.is_empty() || names.0 == names.1
            }
            _ => false,
        };
        return Ok(are_same);
    }
    Err(ReloError::TooDeep)
}

fn resolve<'a, 'b>(
    local: &'a Btf,
    local_id: TypeId,
    target: &'b Btf,
    target_id: TypeId,
) -> Result<(Type<'a>, Type<'b>), ReloError> {
    local.resolve(local_id).zip(target.resolve(target_id)).ok_or(ReloError::TooDeep)
}

/// Whether one type stands for the other when asked "is there such a type?": the same kind all the way down, names
/// and sizes aside.
///
/// # Errors
///
/// Returns an error if types are nested too deeply.
///
/// Linux: `bpf_core_types_are_compat`.
pub fn types_compatible(
    local: &Btf,
    local_id: TypeId,
    target: &Btf,
    target_id: TypeId,
) -> Result<bool, ReloError> {
    Compare { local, target, steps: 0 }.compatible(local_id, target_id, MAX_LEVEL)
}

/// Whether the target's type has all that the object's has: the same members by name, of matching types.
///
/// # Errors
///
/// Returns an error if types are nested too deeply.
///
/// Linux: `bpf_core_types_match`.
pub fn types_match(
    local: &Btf,
    local_id: TypeId,
    target: &Btf,
    target_id: TypeId,
) -> Result<bool, ReloError> {
    let mut compare = Compare { local, target, steps: 0 };
    compare.matching(local_id, target_id, Behind::Nothing, MAX_LEVEL)
}

/// Whether a comparison has come through a pointer: structures are then compared by name alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Pointer,
}

struct Compare<'a> {
    local: &'a Btf,
    target: &'a Btf,
    steps: u32,
}

impl<'a> Compare<'a> {
    fn spend(&mut self) -> Result<(), ReloError> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(ReloError::TooDeep) } else { Ok(()) }
    }

    fn compatible(&mut self, a: TypeId, b: TypeId, level: usize) -> Result<bool, ReloError> {
        let kinds = self.local.kind_code(a).zip(self.target.kind_code(b));
        if !kinds.is_some_and(|(a, b)| same_kind(a, b)) {
            return Ok(false);
        }
        let mut ids = (a, b);
        for _ in 0..MAX_LEVEL {
            self.spend()?;
            let (a, b) = resolve(self.local, ids.0, self.target, ids.1)?;
            if !same_kind(a.code(), b.code()) {
                return Ok(false);
            }
            match (a.kind, b.kind) {
                (Kind::Ptr(a), Kind::Ptr(b)) => ids = (a, b),
                (Kind::Array(a), Kind::Array(b)) => ids = (a.element, b.element),
                (Kind::FuncProto(a), Kind::FuncProto(b)) => {
                    if a.len() != b.len() {
                        return Ok(false);
                    }
                    let level = level.checked_sub(1).ok_or(ReloError::TooDeep)?;
                    for (a, b) in a.params().zip(b.params()) {
                        let (a, b) = resolve(self.local, a.ty, self.target, b.ty)?;
                        if !self.compatible(a.id, b.id, level)? {
                            return Ok(false);
                        }
                    }
                    ids = (a.ret, b.ret);
                }
                (Kind::Int(a), Kind::Int(b)) => return Ok(a.offset == 0 && b.offset == 0),
                (
                    Kind::Void
                    | Kind::Struct(_)
                    | Kind::Union(_)
                    | Kind::Enum(_)
                    | Kind::Enum64(_)
                    | Kind::Fwd(_),
                    _,
                ) => return Ok(true),
                _ => return Ok(false),
            }
        }
        Err(ReloError::TooDeep)
    }

    fn matching(
        &mut self,
        a: TypeId,
        b: TypeId,
        behind: Behind,
        level: usize,
    ) -> Result<bool, ReloError> {
        let level = level.checked_sub(1).ok_or(ReloError::TooDeep)?;
        let mut ids = (a, b);
        let mut behind = behind;
        for _ in 0..MAX_LEVEL {
            self.spend()?;
            let (a, b) = resolve(self.local, ids.0, self.target, ids.1)?;
            if essential_name(a.name()) != essential_name(b.name()) {
                return Ok(false);
            }
            match (a.kind, b.kind) {
                (Kind::Ptr(a), Kind::Ptr(b)) => {
                    behind = Behind::Pointer;
                    ids = (a, b);
                }
                (Kind::Array(a), Kind::Array(b)) if a.len == b.len => {
                    ids = (a.element, b.element);
                }
                (Kind::FuncProto(a), Kind::FuncProto(b)) => {
                    if !self.params_match(a, b, behind, level)? {
                        return Ok(false);
                    }
                    ids = (a.ret, b.ret);
                }
                (Kind::Void, Kind::Void) => return Ok(true),
                (Kind::Int(a), Kind::Int(b)) => {
                    return Ok(a.size == b.size && a.signed == b.signed);
                }
                (Kind::Enum(a) | Kind::Enum64(a), Kind::Enum(b) | Kind::Enum64(b)) => {
                    return Ok(a.size == b.size && self.has_enumerators(a, b));
                }
                (Kind::Struct(x), Kind::Struct(y)) | (Kind::Union(x), Kind::Union(y)) => {
                    let is_done = behind == Behind::Pointer;
                    return if is_done { Ok(true) } else { self.has_members(x, y, level) };
                }
                (Kind::Fwd(a), Kind::Fwd(b)) => return Ok(a == b),
                (Kind::Fwd(Fwd::Struct), Kind::Struct(_))
                | (Kind::Fwd(Fwd::Union), Kind::Union(_))
                | (Kind::Struct(_), Kind::Fwd(Fwd::Struct))
                | (Kind::Union(_), Kind::Fwd(Fwd::Union)) => {
                    return Ok(behind == Behind::Pointer);
                }
                _ => return Ok(false),
            }
        }
        Err(ReloError::TooDeep)
    }

    fn params_match(
        &mut self,
        a: FuncProto<'a>,
        b: FuncProto<'a>,
        behind: Behind,
        level: usize,
    ) -> Result<bool, ReloError> {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.params().zip(b.params()) {
            if !self.matching(a.ty, b.ty, behind, level)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_members(
        &mut self,
        a: Composite<'a>,
        b: Composite<'a>,
        level: usize,
    ) -> Result<bool, ReloError> {
        if a.len() > b.len() {
            return Ok(false);
        }
        for wanted in a.members() {
            let name = essential_name(self.local.name(wanted.name_off));
            let mut is_there = false;
            for member in b.members() {
                self.spend()?;
                if essential_name(self.target.name(member.name_off)) == name
                    && self.matching(wanted.ty, member.ty, Behind::Nothing, level)?
                {
                    is_there = true;
                    break;
                }
            }
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_enumerators(&self, a: Enum<'_>, b: Enum<'_>) -> bool {
        let names = |btf: &'a Btf, e: Enum<'_>| -> hashbrown::HashSet<&'a str> {
            e.values().map(|value| essential_name(btf.name(value.name_off))).collect()
        };
        a.len() <= b.len() && names(self.local, a).is_subset(&names(self.target, b))
    }
}
