//! Size and alignment of a type, and what lies at an offset within it.

use thiserror::Error;

use crate::Btf;
use crate::btf::MAX_CHAIN;
use crate::raw::KindCode;
use crate::types::{Composite, Kind, Member, NameOff, Type, TypeId};

/// The size of a pointer, in bytes: BPF is a 64-bit machine.
pub const POINTER_SIZE: u32 = 8;

/// How many members one question looks at before giving up, so that hostile BTF (a structure of two structures, each of
/// two structures, and so on) cannot make it endless.
const MAX_STEPS: u32 = 1 << 18;

/// What the table of alignments says of types that have none.
const NO_ALIGNMENT: u8 = u8::MAX;

impl Btf {
    /// The size of a type in bytes, or `None` if it has none: `void`, functions, forward declarations.
    ///
    /// Linux: `btf_type_id_size`, `btf_resolve_size`.
    pub fn size_of(&self, id: TypeId) -> Option<u32> {
        let mut len = 1u32;
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let ty = self.resolve(id)?;
            if let Some(array) = ty.array() {
                len = len.checked_mul(array.len)?;
                id = array.element;
            } else if let Some(var) = ty.var() {
                id = var.ty;
            } else {
                return own_size(&ty)?.checked_mul(len);
            }
        }
        None
    }

    /// The alignment of a type in bytes, as C gives it: structures have that of their strictest member, less if the
    /// BTF shows them packed.
    pub fn align_of(&self, id: TypeId) -> Option<u32> {
        let own = self.resolve(id)?.id;
        match *self.alignments().get(own.0 as usize)? {
            NO_ALIGNMENT => None,
            align => Some(u32::from(align)),
        }
    }

    /// The alignment of each type, by number; each is found out once.
    pub(crate) fn compute_alignments(&self) -> Box<[u8]> {
        let mut table = vec![0; self.end_id() as usize].into_boxed_slice();
        for id in 0..self.end_id() {
            self.align_into(&mut table, TypeId(id), MAX_CHAIN / 2);
        }
        table
    }

    /// Finds out the alignment of a type unless the table has it; what is nested too deeply has none.
    fn align_into(&self, table: &mut [u8], id: TypeId, depth: usize) -> Option<u32> {
        let ty = self.resolve(id)?;
        let at = ty.id.0 as usize;
        match *table.get(at)? {
            0 => {}
            NO_ALIGNMENT => return None,
            known => return Some(u32::from(known)),
        }
        let depth = depth.checked_sub(1)?;
        // What is met again before this is known is part of itself.
        table[at] = NO_ALIGNMENT;
        let align = match ty.kind {
            Kind::Int(int) => int.size.clamp(1, POINTER_SIZE),
            Kind::Enum(e) | Kind::Enum64(e) => e.size.clamp(1, POINTER_SIZE),
            Kind::Float(float) => float.size.clamp(1, 16),
            Kind::Ptr(_) => POINTER_SIZE,
            Kind::Array(array) => self.align_into(table, array.element, depth)?,
            Kind::Struct(composite) | Kind::Union(composite) => {
                let mut align = 1;
                let mut is_packed = false;
                for member in composite.members() {
                    let own = self.align_into(table, member.ty, depth)?;
                    is_packed |= is_misplaced(self, &member, own);
                    align = align.max(own);
                }
                if is_packed || !composite.size.is_multiple_of(align) { 1 } else { align }
            }
            Kind::Var(var) => self.align_into(table, var.ty, depth)?,
            Kind::Void
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => return None,
        };
        table[at] = u8::try_from(align).unwrap_or(NO_ALIGNMENT);
        Some(align)
    }
}

impl Btf {
    /// Whether C needs `packed` to lay a structure out as this one is: a member, or the end, lies where its type alone
    /// would not.
    pub fn is_packed(&self, id: TypeId) -> bool {
        let Some(composite) = self.resolve(id).and_then(|ty| ty.composite()) else { return false };
        let mut align = 1;
        for member in composite.members() {
            let own = self.align_of(member.ty).unwrap_or(1);
            if is_misplaced(self, &member, own) {
                return true;
            }
            align = align.max(own);
        }
        !composite.size.is_multiple_of(align)
    }
}

/// Whether a member lies where a type of this alignment would not.
fn is_misplaced(btf: &Btf, member: &Member, align: u32) -> bool {
    match member.bitfield {
        None => !member.bit_offset.is_multiple_of(align * 8),
        // A bit field lies within one unit of its type.
        Some(bits) => {
            let unit = btf.size_of(member.ty).unwrap_or(0).saturating_mul(8).max(1);
            member.bit_offset % unit + bits.get() > unit
        }
    }
}

/// How many bits a member takes.
pub(crate) fn bits_of(btf: &Btf, member: &Member) -> u32 {
    match member.bitfield {
        Some(bits) => bits.get(),
        None => btf.size_of(member.ty).unwrap_or(0).saturating_mul(8),
    }
}

/// Where C would place a member, in bits, if the one before it ends at bit `at`.
pub(crate) fn c_offset(btf: &Btf, at: u32, member: &Member, is_packed: bool) -> Option<u32> {
    match member.bitfield {
        None => {
            let align = if is_packed { 1 } else { btf.align_of(member.ty).unwrap_or(1) };
            at.checked_next_multiple_of(align * 8)
        }
        Some(_) if is_packed => Some(at),
        Some(bits) => {
            let unit = btf.size_of(member.ty)?.checked_mul(8).filter(|unit| *unit > 0)?;
            let fits = at % unit + bits.get() <= unit;
            if fits { Some(at) } else { at.checked_next_multiple_of(unit) }
        }
    }
}

/// The size that a type's own record gives it.
fn own_size(ty: &Type<'_>) -> Option<u32> {
    match ty.kind {
        Kind::Int(int) => Some(int.size),
        Kind::Ptr(_) => Some(POINTER_SIZE),
        Kind::Struct(c) | Kind::Union(c) => Some(c.size),
        Kind::Enum(e) | Kind::Enum64(e) => Some(e.size),
        Kind::Float(float) => Some(float.size),
        Kind::Datasec(section) => Some(section.size),
        Kind::Void
        | Kind::Array(_)
        | Kind::Fwd(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::Var(_)
        | Kind::DeclTag(_)
        | Kind::TypeTag(_) => None,
    }
}

/// What lies at an offset within a structure.
///
/// Linux: `enum bpf_struct_walk_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub what: Target,
    /// Whether the way there led through a union of several members, so that nothing vouches for what a pointer
    /// found there points to.
    pub through_union: bool,
}

/// What a walk through a structure arrived at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An integer, enumeration or bit field, or bytes of one.
    Scalar,
    /// A structure or union that begins just there: to see what lies at its beginning, walk on into it.
    Composite(TypeId),
    /// A pointer, the whole of it.
    Pointer {
        /// The member that holds it.
        field: NameOff,
        /// What it points to, qualifiers and all; [`Btf::resolve`] tells the type, [`Btf::type_tags`] the words.
        to: TypeId,
    },
}

/// Why an access to a structure is none to a member of it.
///
/// The text is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WalkError {
    /// It reaches beyond the structure.
    #[error("access beyond struct {name} at off {offset} size {size}")]
    BeyondStruct {
        /// The structure.
        name: Box<str>,
        /// Where the access begins, in bytes.
        offset: u32,
        /// Its size in bytes.
        size: u32,
    },

    /// It begins within a member and reaches beyond it.
    #[error(
        "access beyond the end of member {member} (mend:{end}) in struct {name} with off {offset} size {size}"
    )]
    BeyondMember {
        /// The member.
        member: Box<str>,
        /// Where the member ends, in bytes.
        end: u32,
        /// The structure.
        name: Box<str>,
        /// Where the access begins, in bytes.
        offset: u32,
        /// Its size in bytes.
        size: u32,
    },

    /// It touches a part of a pointer.
    #[error(
        "cannot access ptr member {member} with moff {member_offset} in struct {name} with off {offset} size {size}"
    )]
    PartOfPointer {
        /// The member.
        member: Box<str>,
        /// Where the member begins, in bytes.
        member_offset: u32,
        /// The structure.
        name: Box<str>,
        /// Where the access begins, in bytes.
        offset: u32,
        /// Its size in bytes.
        size: u32,
    },

    /// There is padding.
    #[error("struct {name} doesn't have field at offset {offset}")]
    NoField {
        /// The structure.
        name: Box<str>,
        /// Where the access begins, in bytes.
        offset: u32,
    },

    /// A member has no size.
    #[error("field {member} doesn't have size")]
    Unsized {
        /// The member.
        member: Box<str>,
    },

    /// What is walked is no structure.
    #[error("Type '{name}' is not a struct")]
    NotComposite {
        /// The type.
        name: Box<str>,
    },
}

/// A name in a message.
fn shown(name: &str) -> Box<str> {
    if name.is_empty() { "(anon)".into() } else { name.into() }
}

/// A member's elements: arrays of arrays are one long array.
struct Elements {
    /// The size of all of them in bytes.
    total: u32,
    /// The size of one in bytes.
    each: u32,
    /// The type of one, qualifiers and typedefs skipped.
    ty: TypeId,
}

impl Btf {
    /// What an access of `size` bytes at `offset` within the structure `id` touches.
    ///
    /// Nested structures are entered until the access begins at the beginning of one, or falls upon a member that is
    /// none. A last member that is an array of no declared length goes on for ever.
    ///
    /// # Errors
    ///
    /// Returns an error if the access touches no member, a part of a pointer, or more than one member.
    ///
    /// Linux: `btf_struct_walk`.
    pub fn walk(&self, id: TypeId, offset: u32, size: u32) -> Result<Found, WalkError> {
        self.walk_on(id, offset, size, false)
    }

    /// The same for a walk that goes on into what an earlier one arrived at, perhaps through a union.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn walk_on(
        &self,
        id: TypeId,
        offset: u32,
        size: u32,
        through_union: bool,
    ) -> Result<Found, WalkError> {
        let mut id = id;
        let mut offset = offset;
        let mut through_union = through_union;
        for _ in 0..MAX_CHAIN {
            let not_composite = || WalkError::NotComposite { name: shown(self.name_of(id)) };
            let ty = self.get(id).ok_or_else(not_composite)?;
            let composite = ty.composite().ok_or_else(not_composite)?;
            if ty.code() == KindCode::Union && composite.len() != 1 {
                through_union = true;
            }
            match self.step(&ty, offset, size, through_union)? {
                Step::Arrived(what) => return Ok(Found { what, through_union }),
                Step::Into { inner, at } => (id, offset) = (inner, at),
            }
        }
        Err(WalkError::NoField { name: shown(self.name_of(id)), offset })
    }

    fn step(
        &self,
        ty: &Type<'_>,
        offset: u32,
        size: u32,
        through_union: bool,
    ) -> Result<Step, WalkError> {
        let name = || shown(ty.name());
        let end = offset.saturating_add(size);
        let whole = ty.composite().map_or(0, |c| c.size);
        if end > whole {
            return self.beyond(ty, offset).ok_or_else(|| WalkError::BeyondStruct {
                name: name(),
                offset,
                size,
            });
        }
        for member in ty.composite().iter().flat_map(Composite::members) {
            let start = member.bit_offset / 8;
            if end <= start {
                break;
            }
            if let Some(bits) = member.bitfield {
                let last = member.bit_offset.saturating_add(bits.get()).div_ceil(8);
                if offset <= start && last <= end {
                    return Ok(Step::Arrived(Target::Scalar));
                }
                continue;
            }
            if offset < start {
                break;
            }
            let member_name = || shown(self.name(member.name_off));
            let elements = self
                .elements(member.ty)
                .ok_or_else(|| WalkError::Unsized { member: member_name() })?;
            let member_end = start.saturating_add(elements.total);
            if offset >= member_end {
                continue;
            }
            let index = (offset - start).checked_div(elements.each).unwrap_or(0);
            let start = start + index * elements.each;
            let Some(inner) = self.get(elements.ty) else { break };
            if inner.is_composite() {
                return Ok(if offset == start {
                    Step::Arrived(Target::Composite(inner.id))
                } else {
                    Step::Into { inner: inner.id, at: offset - start }
                });
            }
            if let Some(to) = inner.pointee() {
                if size != POINTER_SIZE || offset != start {
                    return Err(WalkError::PartOfPointer {
                        member: member_name(),
                        member_offset: start,
                        name: name(),
                        offset,
                        size,
                    });
                }
                return Ok(Step::Arrived(Target::Pointer { field: member.name_off, to }));
            }
            if end > member_end && !through_union {
                return Err(WalkError::BeyondMember {
                    member: member_name(),
                    end: member_end,
                    name: name(),
                    offset,
                    size,
                });
            }
            return Ok(Step::Arrived(Target::Scalar));
        }
        Err(WalkError::NoField { name: name(), offset })
    }

    /// What lies beyond the declared end: the elements of a last array without length, or nothing.
    fn beyond(&self, ty: &Type<'_>, offset: u32) -> Option<Step> {
        let last = ty.composite()?.members().last()?;
        let array = self.resolve(last.ty)?.array().filter(|array| array.len == 0)?;
        let past = offset.checked_sub(last.bit_offset / 8)?;
        let element = self.resolve(array.element)?;
        if element.int().is_some() {
            return Some(Step::Arrived(Target::Scalar));
        }
        let at = past.checked_rem(element.composite()?.size)?;
        Some(Step::Into { inner: element.id, at })
    }

    fn elements(&self, id: TypeId) -> Option<Elements> {
        let total = self.size_of(id)?;
        let mut ty = self.resolve(id)?;
        for _ in 0..MAX_CHAIN {
            match ty.array() {
                Some(array) => ty = self.resolve(array.element)?,
                None => return Some(Elements { total, each: self.size_of(ty.id)?, ty: ty.id }),
            }
        }
        None
    }

    /// The words attached to a type by tags directly in front of it, outermost first.
    ///
    /// Whole attributes are left out: they are no words of BPF's.
    pub fn type_tags(&self, id: TypeId) -> impl Iterator<Item = &str> + Clone {
        let mut next = self.get(id);
        core::iter::from_fn(move || {
            let ty = next?;
            let tag = ty.type_tag()?;
            next = self.get(tag.ty);
            Some((ty.name(), tag.is_attribute))
        })
        .take(MAX_CHAIN)
        .filter(|(_, is_attribute)| !is_attribute)
        .map(|(name, _)| name)
    }

    /// The path of member names that leads to the bit at `bit_offset`, such as `a.b[2].c`, and the type found there.
    ///
    /// Of several members of a union the first is taken. `None` if there is padding, or nothing at all.
    pub fn path_at(&self, id: TypeId, bit_offset: u32) -> Option<(String, TypeId)> {
        let mut path = String::new();
        let mut id = id;
        let mut at = bit_offset;
        for _ in 0..MAX_CHAIN {
            let ty = self.resolve(id)?;
            if let Some(array) = ty.array() {
                let bits = self.size_of(array.element)?.checked_mul(8)?;
                let index = at.checked_div(bits)?;
                if index >= array.len {
                    return None;
                }
                path.push_str(&format!("[{index}]"));
                (id, at) = (array.element, at % bits);
            } else if let Some(composite) = ty.composite() {
                let member = composite.members().find(|m| self.covers(m, at))?;
                let name = self.name(member.name_off);
                if !path.is_empty() && !name.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                (id, at) = (member.ty, at - member.bit_offset);
                if member.bitfield.is_some() {
                    return Some((path, id));
                }
            } else {
                return Some((path, id));
            }
        }
        None
    }

    /// Whether the bit at `at` belongs to a member.
    fn covers(&self, member: &Member, at: u32) -> bool {
        let bits = bits_of(self, member);
        at.checked_sub(member.bit_offset).is_some_and(|past| past < bits)
    }

    /// The member of a structure or union with this name, those of anonymous members included, and where it begins,
    /// in bits from the beginning of the whole.
    pub fn member_by_name(&self, id: TypeId, name: &str) -> Option<Member> {
        self.named_member(id, name, MAX_CHAIN / 2, &mut MAX_STEPS.clone())
    }

    fn named_member(
        &self,
        id: TypeId,
        name: &str,
        depth: usize,
        steps: &mut u32,
    ) -> Option<Member> {
        let depth = depth.checked_sub(1)?;
        for member in self.resolve(id)?.composite()?.members() {
            *steps = steps.checked_sub(1)?;
            if member.name_off.is_none() {
                if let Some(inner) = self.named_member(member.ty, name, depth, steps) {
                    let bit_offset = member.bit_offset.checked_add(inner.bit_offset)?;
                    return Some(Member { bit_offset, ..inner });
                }
            } else if self.name_bytes(member.name_off) == name.as_bytes() {
                return Some(member);
            }
        }
        None
    }
}

/// One round of a walk.
enum Step {
    Arrived(Target),
    Into { inner: TypeId, at: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    /// `struct outer { int a; struct inner { char c[4]; struct outer *next; } in; int low:3, high:29; };`
    fn sample() -> (Btf, TypeId, TypeId) {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let char = b.int("char", 1, true);
        let array = b.array(char, int, 4);
        let outer = TypeId(b.next_id().0 + 2);
        let ptr = b.ptr(outer);
        let inner = b.structure("inner", 16, &[("c", array, 0), ("next", ptr, 64)]);
        b.bit_structure(
            "outer",
            32,
            &[("a", int, 0, 0), ("in", inner, 64, 0), ("low", int, 192, 3), ("high", int, 195, 29)],
        );
        (b.finish().unwrap(), outer, inner)
    }

    #[test]
    fn a_walk_stops_at_the_beginning_of_a_nested_structure() {
        let (btf, outer, inner) = sample();
        let what = |off, size| btf.walk(outer, off, size).map(|found| found.what);
        assert_eq!(what(8, 4), Ok(Target::Composite(inner)));
        assert_eq!(what(0, 4), Ok(Target::Scalar));
        assert_eq!(what(9, 1), Ok(Target::Scalar));
        assert!(matches!(what(16, 8), Ok(Target::Pointer { to, .. }) if to == outer));
        assert_eq!(what(24, 4), Ok(Target::Scalar));
    }

    #[test]
    fn a_structure_at_the_beginning_is_entered_too() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let inner = b.structure("inner", 8, &[("a", int, 0), ("b", int, 32)]);
        let outer = b.structure("outer", 8, &[("in", inner, 0)]);
        let btf = b.finish().unwrap();
        assert_eq!(btf.walk(outer, 4, 4).map(|found| found.what), Ok(Target::Scalar));
    }

    #[test]
    fn what_is_no_member_is_refused_in_the_kernels_words() {
        let (btf, outer, _) = sample();
        let text = |off, size| btf.walk(outer, off, size).unwrap_err().to_string();
        assert_eq!(text(28, 8), "access beyond struct outer at off 28 size 8");
        assert_eq!(text(4, 4), "struct outer doesn't have field at offset 4");
        assert_eq!(
            text(16, 4),
            "cannot access ptr member next with moff 8 in struct inner with off 8 size 4"
        );
        assert_eq!(
            text(0, 8),
            "access beyond the end of member a (mend:4) in struct outer with off 0 size 8"
        );
    }

    #[test]
    fn an_array_without_length_goes_on_for_ever() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let open = b.array(int, int, 0);
        let id = b.structure("s", 4, &[("n", int, 0), ("data", open, 32)]);
        let btf = b.finish().unwrap();
        assert_eq!(btf.walk(id, 4000, 4).map(|found| found.what), Ok(Target::Scalar));
    }

    #[test]
    fn paths_name_members_and_elements() {
        let (btf, outer, _) = sample();
        let path = |bit| btf.path_at(outer, bit).map(|(path, _)| path);
        assert_eq!(path(80).as_deref(), Some("in.c[2]"));
        assert_eq!(path(196).as_deref(), Some("high"));
        assert_eq!(path(40), None);
    }

    #[test]
    fn sizes_multiply_and_never_wrap() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let row = b.array(int, int, 5);
        let table = b.array(row, int, 3);
        let huge = b.array(table, int, u32::MAX);
        let btf = b.finish().unwrap();
        assert_eq!(btf.size_of(table), Some(60));
        assert_eq!(btf.size_of(huge), None);
        assert_eq!(btf.align_of(table), Some(4));
    }

    #[test]
    fn rings_have_no_size() {
        let mut b = Builder::new();
        let first = b.typedef("a", TypeId(2));
        b.typedef("b", first);
        let loop_of_arrays = b.array(TypeId(3), TypeId(3), 1);
        let btf = b.finish().unwrap();
        assert!(btf.resolve(first).is_none());
        assert_eq!(btf.size_of(loop_of_arrays), None);
        assert_eq!(btf.align_of(loop_of_arrays), None);
    }
}
