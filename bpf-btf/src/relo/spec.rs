//! `0:1:2`: a path through types, by the numbers of members and elements; and the same path, by names, in other types.

use super::candidates::essential_name;
use super::compat::{fields_compatible, types_compatible, types_match};
use super::{About, ReloError, about};
use crate::Btf;
use crate::ext::{CoreRelo, CoreReloKind};
use crate::types::{Array, TypeId};

/// How long a path may be. Linux: `BPF_CORE_SPEC_MAX_LEN`.
const MAX_LEN: usize = 64;

/// A path, and where it leads.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) kind: CoreReloKind,
    /// The type it begins at.
    pub(super) root: TypeId,
    /// Its steps by name: members without one are passed over.
    pub(super) steps: Vec<Step>,
    /// How many members and elements it passes, named or not.
    len: usize,
    /// Where it leads, in bits.
    pub(super) bits: u64,
}

/// A step: to a member, or to an element of an array (or to the enumerator, for questions about one).
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The structure that has the member; or the type of the element.
    pub(super) ty: TypeId,
    /// Which member or element.
    pub(super) index: usize,
    /// Whether it is a member.
    pub(super) is_named: bool,
}

impl Spec {
    const fn begin(kind: CoreReloKind, root: TypeId) -> Self {
        Self { kind, root, steps: Vec::new(), len: 0, bits: 0 }
    }

    /// The path that an object's question tells.
    ///
    /// Linux: `bpf_core_parse_spec`.
    pub(super) fn parse(btf: &Btf, relo: &CoreRelo, kind: CoreReloKind) -> Result<Self, ReloError> {
        let access = btf.name(relo.access);
        let wrong = || ReloError::Access {
            access: access.to_owned(),
            ty: relo.ty,
            name: btf.name_of(relo.ty).to_owned(),
        };
        let mut spec = Self::begin(kind, relo.ty);
        if about(kind) == About::Type {
            return if access == "0" { Ok(spec) } else { Err(wrong()) };
        }
        let path: Option<Vec<usize>> = access.split(':').map(|index| index.parse().ok()).collect();
        let path = path.filter(|path| path.len() <= MAX_LEN).ok_or_else(wrong)?;
        let (first, rest) = path.split_first().ok_or_else(wrong)?;
        let root = btf.resolve(relo.ty).ok_or_else(wrong)?;
        let first = Step { ty: root.id, index: *first, is_named: false };
        spec.steps.push(first);
        if about(kind) == About::Enumerator {
            let len = root.enumeration().map_or(0, |e| e.len());
            return if rest.is_empty() && first.index < len { Ok(spec) } else { Err(wrong()) };
        }
        spec.move_by_elements(btf, first).ok_or_else(wrong)?;
        let mut id = root.id;
        for index in rest {
            id = spec.step(btf, id, *index).ok_or_else(wrong)?;
        }
        Ok(spec)
    }

    /// Goes to the member or element of `id` with this number, and tells its type.
    fn step(&mut self, btf: &Btf, id: TypeId, index: usize) -> Option<TypeId> {
        let ty = btf.resolve(id)?;
        if let Some(composite) = ty.composite() {
            let member = composite.member(index)?;
            self.bits = self.bits.checked_add(u64::from(member.bit_offset))?;
            if !member.name_off.is_none() {
                self.steps.push(Step { ty: ty.id, index, is_named: true });
            }
            return Some(member.ty);
        }
        let array = ty.array()?;
        if index >= array.len as usize && !self.is_open(btf, array) {
            return None;
        }
        let element = Step { ty: btf.resolve(array.element)?.id, index, is_named: false };
        self.steps.push(element);
        self.move_by_elements(btf, element)?;
        Some(element.ty)
    }

    fn move_by_elements(&mut self, btf: &Btf, step: Step) -> Option<()> {
        let bits = u64::from(btf.size_of(step.ty)?) * 8;
        let index = u64::try_from(step.index).ok()?;
        self.bits = self.bits.checked_add(bits.checked_mul(index)?)?;
        Some(())
    }

    /// Whether an array is the last member of a structure and has no length of its own.
    fn is_open(&self, btf: &Btf, array: Array) -> bool {
        let Some(last) = self.steps.last().filter(|last| last.is_named && array.len == 0) else {
            return false;
        };
        let whole = btf.get(last.ty).and_then(|ty| ty.composite());
        whole.is_some_and(|whole| last.index + 1 == whole.len())
    }

    /// The same path in another type, or `None` if that type has no such path.
    ///
    /// Linux: `bpf_core_spec_match`.
    pub(super) fn find_in(
        &self,
        local: &Btf,
        target: &Btf,
        id: TypeId,
    ) -> Result<Option<Self>, ReloError> {
        let mut found = Self::begin(self.kind, id);
        match about(self.kind) {
            About::Type => {
                let fits = if self.kind == CoreReloKind::TypeMatches {
                    types_match(local, self.root, target, id)
                } else {
                    types_compatible(local, self.root, target, id)
                };
                return Ok(fits?.then_some(found));
            }
            About::Enumerator => {
                let step = self.enumerator_in(local, target, id);
                found.steps.extend(step);
                return Ok(step.map(|_| found));
            }
            About::Field => {}
        }
        let mut id = id;
        for (at, step) in self.steps.iter().enumerate() {
            let next = if step.is_named {
                found.member(local, *step, target, id)?
            } else {
                found.element(*step, at == 0, target, id)?
            };
            match next {
                Some(next) => id = next,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The enumerator of the same name.
    fn enumerator_in(&self, local: &Btf, target: &Btf, id: TypeId) -> Option<Step> {
        let own = self.steps.first()?;
        let e = local.get(own.ty)?.enumeration()?;
        let name = essential_name(local.name(e.values().nth(own.index)?.name_off));
        let ty = target.resolve(id)?;
        let index = ty
            .enumeration()?
            .values()
            .position(|value| essential_name(target.name(value.name_off)) == name)?;
        Some(Step { ty: ty.id, index, is_named: true })
    }

    /// Goes to the same element of an array; the first step is one by whole types.
    fn element(
        &mut self,
        step: Step,
        is_first: bool,
        target: &Btf,
        id: TypeId,
    ) -> Result<Option<TypeId>, ReloError> {
        let mut ty = target.resolve(id).ok_or(ReloError::TooDeep)?;
        if !is_first {
            let Some(array) = ty.array() else { return Ok(None) };
            if step.index >= array.len as usize && !self.is_open(target, array) {
                return Ok(None);
            }
            ty = target.resolve(array.element).ok_or(ReloError::TooDeep)?;
        }
        let step = Step { ty: ty.id, ..step };
        self.steps.push(step);
        self.len += 1;
        self.move_by_elements(target, step).ok_or(ReloError::TooDeep)?;
        Ok(Some(ty.id))
    }

    /// Goes to the member of the same name, which may lie within nameless members.
    ///
    /// Linux: `bpf_core_match_member`.
    fn member(
        &mut self,
        local: &Btf,
        step: Step,
        target: &Btf,
        id: TypeId,
    ) -> Result<Option<TypeId>, ReloError> {
        let own = local.get(step.ty).and_then(|ty| ty.composite());
        let own = own.and_then(|own| own.member(step.index)).ok_or(ReloError::TooDeep)?;
        let mut search = Search { target, name: local.name_bytes(own.name_off), steps: 0 };
        let Some(found) = search.within(id, 0, self.len)? else { return Ok(None) };
        if !fields_compatible(local, own.ty, target, found.ty)? {
            return Ok(None);
        }
        self.bits = self.bits.checked_add(found.bits).ok_or(ReloError::TooDeep)?;
        self.len = found.len;
        self.steps.push(Step { ty: found.whole, index: found.index, is_named: true });
        Ok(Some(found.ty))
    }
}

/// How many members one search looks at.
const MAX_STEPS: u32 = 1 << 18;

/// Looks for a member by name.
struct Search<'a> {
    target: &'a Btf,
    name: &'a [u8],
    steps: u32,
}

/// A member, found.
struct Found {
    whole: TypeId,
    index: usize,
    ty: TypeId,
    bits: u64,
    len: usize,
}

impl Search<'_> {
    fn within(&mut self, id: TypeId, bits: u64, len: usize) -> Result<Option<Found>, ReloError> {
        if len >= MAX_LEN {
            return Err(ReloError::TooDeep);
        }
        let ty = self.target.resolve(id).ok_or(ReloError::TooDeep)?;
        let Some(composite) = ty.composite() else { return Ok(None) };
        for (index, member) in composite.members().enumerate() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ReloError::TooDeep);
            }
            let bits = bits + u64::from(member.bit_offset);
            if member.name_off.is_none() {
                if let Some(found) = self.within(member.ty, bits, len + 1)? {
                    return Ok(Some(found));
                }
            } else if self.target.name_bytes(member.name_off) == self.name {
                let found = Found { whole: ty.id, index, ty: member.ty, bits, len: len + 1 };
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
