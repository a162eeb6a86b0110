//! Special fields of map values and of allocated objects: locks, timers, kptrs, lists and trees.
//!
//! A program may not write such a field as if it were data; the helpers that know what it is do. The kernel finds
//! them by the name of their type (`struct bpf_spin_lock`) or by a tag on a pointer (`kptr`).

use thiserror::Error;

use crate::Btf;
use crate::btf::MAX_CHAIN;
use crate::layout::POINTER_SIZE;
use crate::types::{Kind, NameOff, Type, TypeId};

/// The most special fields a record may have. Linux: `BTF_FIELDS_MAX`.
pub const MAX_FIELDS: usize = 11;

/// Defines the fields that are known by the name of their type.
///
/// The columns are: the name, the type's name, its size and alignment in bytes, whether a record has at most one,
/// what it is.
macro_rules! named_fields {
    ($( $Name:ident $ty:literal $size:literal $align:literal $unique:literal $doc:literal )+) => {
        /// A sort of field that is known by the name of its type.
        ///
        /// Linux: `enum btf_field_type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NamedField {
            $( #[doc = $doc] $Name, )+
        }

        impl NamedField {
            /// Every one.
            pub const ALL: &'static [Self] = &[$( Self::$Name ),+];

            /// The name of its type.
            pub const fn type_name(self) -> &'static str {
                match self {
                    $( Self::$Name => $ty, )+
                }
            }

            /// Its size in bytes.
            pub const fn size(self) -> u32 {
                match self {
                    $( Self::$Name => $size, )+
                }
            }

            /// Its alignment in bytes.
            pub const fn align(self) -> u32 {
                match self {
                    $( Self::$Name => $align, )+
                }
            }

            /// Whether a record may have only one.
            pub const fn is_unique(self) -> bool {
                match self {
                    $( Self::$Name => $unique, )+
                }
            }
        }
    };
}

named_fields! {
    SpinLock    "bpf_spin_lock"     4  4 true  "A lock."
    ResSpinLock "bpf_res_spin_lock" 4  4 true  "A lock that notices deadlocks."
    Timer       "bpf_timer"         16 8 true  "A timer."
    Workqueue   "bpf_wq"            16 8 true  "A work item."
    TaskWork    "bpf_task_work"     8  8 true  "Work to be done by a task."
    ListHead    "bpf_list_head"     16 8 false "A list."
    ListNode    "bpf_list_node"     24 8 false "Where a list holds on to its elements."
    RbRoot      "bpf_rb_root"       16 8 false "A tree."
    RbNode      "bpf_rb_node"       32 8 false "Where a tree holds on to its elements."
    Refcount    "bpf_refcount"      4  4 true  "A count of owners."
}

/// Who owns what a pointer in a map value points to.
///
/// Linux: `BPF_KPTR_*`, `BPF_UPTR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointerField {
    /// Nobody: it is read with care. Tag `kptr_untrusted`.
    Untrusted,
    /// The map. Tag `kptr`.
    Owned,
    /// The map; the object is per CPU. Tag `percpu_kptr`.
    PerCpu,
    /// A user task. Tag `uptr`.
    User,
}

impl PointerField {
    /// The pointer with this tag.
    pub fn of(tag: &str) -> Option<Self> {
        match tag {
            "kptr_untrusted" => Some(Self::Untrusted),
            "kptr" => Some(Self::Owned),
            "percpu_kptr" => Some(Self::PerCpu),
            "uptr" => Some(Self::User),
            _ => None,
        }
    }
}

/// What a special field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// It is known by the name of its type, and that says it all.
    Named(NamedField),
    /// A list or a tree.
    Graph {
        /// Which of the two: [`NamedField::ListHead`] or [`NamedField::RbRoot`].
        root: NamedField,
        /// The type of its elements.
        contains: TypeId,
        /// Where in an element the node lies, in bytes.
        node_offset: u32,
    },
    /// A pointer to an object of the kernel's or the program's.
    Pointer {
        /// Who owns the object.
        owner: PointerField,
        /// The structure it points to, in this BTF.
        to: TypeId,
    },
}

impl FieldKind {
    /// Its size in bytes.
    pub const fn size(self) -> u32 {
        match self {
            Self::Named(named) | Self::Graph { root: named, .. } => named.size(),
            Self::Pointer { .. } => POINTER_SIZE,
        }
    }
}

/// A special field and where it lies.
///
/// Linux: `struct btf_field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it begins, in bytes.
    pub offset: u32,
    /// What it is.
    pub kind: FieldKind,
}

impl Field {
    /// Its size in bytes.
    pub const fn size(&self) -> u32 {
        self.kind.size()
    }
}

/// The special fields of a type, by offset.
///
/// Invariant: the fields do not overlap and are in order.
///
/// Linux: `struct btf_record`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    fields: Vec<Field>,
}

impl Record {
    /// Every field, by offset.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field that begins just at this offset.
    ///
    /// Linux: `btf_record_find`.
    pub fn at(&self, offset: u32) -> Option<&Field> {
        let index = self.fields.binary_search_by_key(&offset, |field| field.offset).ok()?;
        self.fields.get(index)
    }

    /// The first field that these bytes touch.
    pub fn touched(&self, offset: u32, size: u32) -> Option<&Field> {
        let end = offset.saturating_add(size);
        self.fields.iter().find(|field| field.offset < end && offset < field.offset + field.size())
    }

    /// Where the first field of this sort lies.
    pub fn offset_of(&self, wanted: NamedField) -> Option<u32> {
        self.fields.iter().find_map(|field| match field.kind {
            FieldKind::Named(named) | FieldKind::Graph { root: named, .. } => {
                (named == wanted).then_some(field.offset)
            }
            FieldKind::Pointer { .. } => None,
        })
    }

    /// Whether there is a field of this sort.
    pub fn has(&self, wanted: NamedField) -> bool {
        self.offset_of(wanted).is_some()
    }
}

/// Why the kernel would refuse a type for its special fields.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There are more fields than a record may have.
    #[error("more than {MAX_FIELDS} special fields")]
    TooMany,

    /// There are two of which only one may be.
    #[error("a second {name} at offset {offset}")]
    Duplicate {
        /// The type's name.
        name: &'static str,
        /// Where the second is, in bytes.
        offset: u32,
    },

    /// A member begins within a byte: beside bit fields there are no special fields.
    #[error("a member of {name} begins at bit {bit_offset}, within a byte")]
    BitField {
        /// The structure.
        name: Box<str>,
        /// Where the member begins, in bits.
        bit_offset: u32,
    },

    /// A field lies askew.
    #[error("{name} at offset {offset} is not aligned")]
    Misaligned {
        /// The type's name, or `kptr`.
        name: &'static str,
        /// Where it is, in bytes.
        offset: u32,
    },

    /// Two fields share bytes.
    #[error("two special fields overlap at offset {offset}")]
    Overlap {
        /// Where the later one is, in bytes.
        offset: u32,
    },

    /// A field ends beyond the value.
    #[error("the special field at offset {offset} reaches beyond the value's {size} bytes")]
    Outside {
        /// Where it is, in bytes.
        offset: u32,
        /// The value's size in bytes.
        size: u32,
    },

    /// A tagged pointer points to no structure, or has another tag besides.
    #[error("the kptr at offset {offset} does not point to a structure by one tag alone")]
    Kptr {
        /// Where it is, in bytes.
        offset: u32,
    },

    /// A list or tree does not say what it contains, or says something that is not there.
    #[error("the {name} at offset {offset} has no valid `contains:type:node` tag")]
    Contains {
        /// The type's name.
        name: &'static str,
        /// Where it is, in bytes.
        offset: u32,
    },

    /// There is a list or a tree and no lock to protect it.
    #[error("a list or tree without a lock beside it")]
    Unlocked,

    /// An element can be in a list and in a tree, and nobody counts its owners.
    #[error("a list node and a tree node without a bpf_refcount beside them")]
    Uncounted,
}

impl RecordError {
    /// The number of the error that `BPF_MAP_CREATE` and `BPF_BTF_LOAD` return for it.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::TooMany | Self::Duplicate { .. } => 7,
            Self::Overlap { .. } => 17,
            Self::Outside { .. } => 14,
            Self::BitField { .. }
            | Self::Misaligned { .. }
            | Self::Kptr { .. }
            | Self::Contains { .. }
            | Self::Unlocked
            | Self::Uncounted => 22,
        }
    }
}

impl Btf {
    /// The special fields of a structure or of a section of variables that takes `value_size` bytes.
    ///
    /// # Errors
    ///
    /// Returns an error where the kernel would refuse the type.
    ///
    /// Linux: `btf_parse_fields`.
    pub fn record(&self, id: TypeId, value_size: u32) -> Result<Record, RecordError> {
        self.record_of(id, value_size, |_| true, &mut MAX_STEPS.clone())
    }

    /// The special fields of an object that programs allocate: no timers, no work.
    ///
    /// # Errors
    ///
    /// Returns an error where the kernel would refuse the type.
    ///
    /// Linux: `btf_parse_struct_metas`.
    pub fn object_record(&self, id: TypeId, size: u32) -> Result<Record, RecordError> {
        self.object_record_within(id, size, &mut MAX_STEPS.clone())
    }

    /// The same, with a number of members to look at that several questions share.
    pub(crate) fn object_record_within(
        &self,
        id: TypeId,
        size: u32,
        steps: &mut u32,
    ) -> Result<Record, RecordError> {
        let wanted = |named| match named {
            NamedField::Timer | NamedField::Workqueue | NamedField::TaskWork => false,
            NamedField::SpinLock
            | NamedField::ResSpinLock
            | NamedField::ListHead
            | NamedField::ListNode
            | NamedField::RbRoot
            | NamedField::RbNode
            | NamedField::Refcount => true,
        };
        self.record_of(id, size, wanted, steps)
    }

    fn record_of(
        &self,
        id: TypeId,
        value_size: u32,
        wanted: fn(NamedField) -> bool,
        steps: &mut u32,
    ) -> Result<Record, RecordError> {
        let mut search = Search { btf: self, fields: Vec::new(), steps, wanted };
        if let Some(ty) = self.get(id) {
            search.within(&ty, 0, MAX_CHAIN / 2)?;
        }
        let mut fields = search.fields;
        fields.sort_by_key(|field| field.offset);
        let mut free = 0;
        for field in &fields {
            let end = field.offset.saturating_add(field.size());
            if end > value_size {
                return Err(RecordError::Outside { offset: field.offset, size: value_size });
            }
            if field.offset < free {
                return Err(RecordError::Overlap { offset: field.offset });
            }
            free = end;
        }
        let record = Record { fields };
        let has = |named| record.has(named);
        let is_locked = has(NamedField::SpinLock) || has(NamedField::ResSpinLock);
        if (has(NamedField::ListHead) || has(NamedField::RbRoot)) && !is_locked {
            return Err(RecordError::Unlocked);
        }
        let is_in_two = has(NamedField::ListNode) && has(NamedField::RbNode);
        if is_in_two && !has(NamedField::Refcount) {
            return Err(RecordError::Uncounted);
        }
        Ok(record)
    }
}

/// How many members are looked at. Real types have some hundred, and all those of a kernel some hundred thousand.
pub(crate) const MAX_STEPS: u32 = 1 << 20;

struct Search<'a> {
    btf: &'a Btf,
    fields: Vec<Field>,
    steps: &'a mut u32,
    wanted: fn(NamedField) -> bool,
}

/// One place to look at: a member or a variable.
#[derive(Clone, Copy)]
struct Place {
    ty: TypeId,
    offset: u32,
    /// What declaration tags are attached to.
    declared_by: (TypeId, Option<u32>),
}

impl Search<'_> {
    /// Looks at the members of one structure. What may be there once may be there once in each.
    fn within(&mut self, ty: &Type<'_>, base: u32, depth: usize) -> Result<(), RecordError> {
        let mut seen = Vec::new();
        if let Some(composite) = ty.composite() {
            for (index, member) in (0..).zip(composite.members()) {
                let Some(at) = member.offset() else {
                    let bit_offset = member.bit_offset;
                    return Err(RecordError::BitField { name: ty.name().into(), bit_offset });
                };
                let place = Place {
                    ty: member.ty,
                    offset: base.saturating_add(at),
                    declared_by: (ty.id, Some(index)),
                };
                self.look_at(place, depth, &mut seen)?;
            }
        } else if let Some(section) = ty.datasec() {
            for entry in section.vars() {
                let Some(var) = self.btf.get(entry.ty).and_then(|ty| ty.var()) else { continue };
                let offset = base.saturating_add(entry.offset);
                let declared_by = (entry.ty, None);
                self.look_at(Place { ty: var.ty, offset, declared_by }, depth, &mut seen)?;
            }
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        place: Place,
        depth: usize,
        seen: &mut Vec<NamedField>,
    ) -> Result<(), RecordError> {
        *self.steps = self.steps.checked_sub(1).ok_or(RecordError::TooMany)?;
        let mut place = place;
        let mut count = 1u32;
        for _ in 0..MAX_CHAIN {
            let Some(array) = self.btf.get(place.ty).and_then(|ty| ty.array()) else { break };
            count = count.saturating_mul(array.len);
            place.ty = array.element;
        }
        if count == 0 {
            return Ok(());
        }
        let before = self.fields.len();
        let unique = self.one(place, depth, seen)?;
        let found = self.fields.len() - before;
        if found == 0 || count == 1 {
            return Ok(());
        }
        if let Some(name) = unique {
            return Err(RecordError::Duplicate { name, offset: place.offset });
        }
        let each = self.btf.size_of(place.ty).unwrap_or(0);
        for round in 1..count {
            if self.fields.len() + found > MAX_FIELDS {
                return Err(RecordError::TooMany);
            }
            let further = round.saturating_mul(each);
            for index in before..before + found {
                let Some(first) = self.fields.get(index).copied() else { continue };
                let offset = first.offset.saturating_add(further);
                self.fields.push(Field { offset, ..first });
            }
        }
        Ok(())
    }

    /// Notes what a single element holds; the name of a field that may be there only once, if that is what it is.
    fn one(
        &mut self,
        place: Place,
        depth: usize,
        seen: &mut Vec<NamedField>,
    ) -> Result<Option<&'static str>, RecordError> {
        let Some(ty) = self.btf.get(place.ty) else { return Ok(None) };
        if let Some(named) = named_field(&ty).filter(|named| (self.wanted)(*named)) {
            let (name, offset) = (named.type_name(), place.offset);
            if named.is_unique() && seen.contains(&named) {
                return Err(RecordError::Duplicate { name, offset });
            }
            seen.push(named);
            self.named(named, place)?;
            return Ok(named.is_unique().then_some(name));
        }
        if let Some((owner, to)) = self.tagged_pointer(&ty, place.offset)? {
            if !place.offset.is_multiple_of(POINTER_SIZE) {
                return Err(RecordError::Misaligned { name: "kptr", offset: place.offset });
            }
            self.push(Field { offset: place.offset, kind: FieldKind::Pointer { owner, to } })?;
        } else if let (Kind::Struct(_), Some(depth)) = (ty.kind, depth.checked_sub(1)) {
            self.within(&ty, place.offset, depth)?;
        }
        Ok(None)
    }

    fn named(&mut self, named: NamedField, place: Place) -> Result<(), RecordError> {
        let (name, offset) = (named.type_name(), place.offset);
        if !offset.is_multiple_of(named.align()) {
            return Err(RecordError::Misaligned { name, offset });
        }
        let node = match named {
            NamedField::ListHead => Some(NamedField::ListNode),
            NamedField::RbRoot => Some(NamedField::RbNode),
            NamedField::SpinLock
            | NamedField::ResSpinLock
            | NamedField::Timer
            | NamedField::Workqueue
            | NamedField::TaskWork
            | NamedField::ListNode
            | NamedField::RbNode
            | NamedField::Refcount => None,
        };
        let kind = match node {
            None => FieldKind::Named(named),
            Some(node) => {
                let (contains, node_offset) =
                    self.contains(place, node).ok_or(RecordError::Contains { name, offset })?;
                FieldKind::Graph { root: named, contains, node_offset }
            }
        };
        self.push(Field { offset, kind })
    }

    /// What a `contains:type:node` tag says.
    fn contains(&self, place: Place, node: NamedField) -> Option<(TypeId, u32)> {
        let (declared_by, component) = place.declared_by;
        let mut tags = self
            .btf
            .decl_tags_of(declared_by, component)
            .filter_map(|tag| tag.strip_prefix("contains:"));
        let (ty, field) = tags.next()?.split_once(':')?;
        if tags.next().is_some() {
            return None;
        }
        let element = self.btf.by_name_kind(ty, crate::KindCode::Struct)?;
        let member = self
            .btf
            .get(element)?
            .composite()?
            .members()
            .find(|member| self.btf.name(member.name_off) == field)?;
        let is_node = self.btf.get(member.ty).and_then(|ty| named_field(&ty)) == Some(node);
        let at = member.offset().filter(|at| at.is_multiple_of(node.align()))?;
        is_node.then_some((element, at))
    }

    fn tagged_pointer(
        &self,
        ty: &Type<'_>,
        offset: u32,
    ) -> Result<Option<(PointerField, TypeId)>, RecordError> {
        let ty = if let Kind::Volatile(to) = ty.kind { self.btf.get(to) } else { Some(*ty) };
        let Some(behind) = ty.and_then(|ty| ty.pointee()).and_then(|to| self.btf.get(to)) else {
            return Ok(None);
        };
        let Some(tag) = behind.type_tag().filter(|tag| !tag.is_attribute) else { return Ok(None) };
        let Some(owner) = PointerField::of(behind.name()) else { return Ok(None) };
        let refused = RecordError::Kptr { offset };
        let extra = self.btf.get(tag.ty).is_some_and(|ty| ty.type_tag().is_some());
        let target = self.btf.resolve(tag.ty).filter(|ty| matches!(ty.kind, Kind::Struct(_)));
        match target {
            Some(target) if !extra => Ok(Some((owner, target.id))),
            Some(_) | None => Err(refused),
        }
    }

    fn push(&mut self, field: Field) -> Result<(), RecordError> {
        if self.fields.len() >= MAX_FIELDS {
            return Err(RecordError::TooMany);
        }
        self.fields.push(field);
        Ok(())
    }
}

/// The field whose type this is; a type of the same name and another size is none.
fn named_field(ty: &Type<'_>) -> Option<NamedField> {
    let Kind::Struct(composite) = ty.kind else { return None };
    let name = (ty.name_off != NameOff::NONE).then(|| ty.name())?;
    NamedField::ALL
        .iter()
        .copied()
        .find(|named| named.type_name() == name && named.size() == composite.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    struct Types {
        b: Builder,
        int: TypeId,
        lock: TypeId,
    }

    fn types() -> Types {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let lock = b.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
        Types { b, int, lock }
    }

    fn opaque(b: &mut Builder, named: NamedField) -> TypeId {
        b.structure(named.type_name(), named.size(), &[])
    }

    #[test]
    fn nested_fields_are_found_at_their_offset() {
        let Types { mut b, int, lock } = types();
        let timer = opaque(&mut b, NamedField::Timer);
        let inner = b.structure("inner", 24, &[("n", int, 0), ("t", timer, 64)]);
        let value = b.structure("value", 32, &[("l", lock, 0), ("in", inner, 64)]);
        let record = b.finish().unwrap().record(value, 32).unwrap();
        assert_eq!(record.offset_of(NamedField::SpinLock), Some(0));
        assert_eq!(record.offset_of(NamedField::Timer), Some(16));
        assert!(record.touched(4, 12).is_none());
        assert!(record.touched(4, 13).is_some());
    }

    #[test]
    fn two_locks_are_one_too_many() {
        let Types { mut b, lock, .. } = types();
        let value = b.structure("value", 8, &[("a", lock, 0), ("b", lock, 32)]);
        let error = b.finish().unwrap().record(value, 8).unwrap_err();
        assert_eq!(error, RecordError::Duplicate { name: "bpf_spin_lock", offset: 4 });
        assert_eq!(error.errno(), 7);
    }

    #[test]
    fn kptrs_are_known_by_their_tag_and_arrays_repeat_them() {
        let Types { mut b, int, .. } = types();
        let task = b.structure("task_struct", 4, &[("pid", int, 0)]);
        let tagged = b.type_tag("kptr", task);
        let ptr = b.ptr(tagged);
        let three = b.array(ptr, int, 3);
        let value = b.structure("value", 32, &[("first", int, 0), ("tasks", three, 64)]);
        let record = b.finish().unwrap().record(value, 32).unwrap();
        let kind = FieldKind::Pointer { owner: PointerField::Owned, to: task };
        let expected: Vec<_> = [8, 16, 24].map(|offset| Field { offset, kind }).into();
        assert_eq!(record.fields(), expected);
    }

    #[test]
    fn a_list_says_what_it_contains_and_has_a_lock() {
        let Types { mut b, int, lock } = types();
        let node = opaque(&mut b, NamedField::ListNode);
        let head = opaque(&mut b, NamedField::ListHead);
        let element = b.structure("elem", 32, &[("n", int, 0), ("node", node, 64)]);
        let value = b.structure("value", 24, &[("l", lock, 0), ("head", head, 64)]);
        b.decl_tag("contains:elem:node", value, Some(1));
        let bare = b.structure("bare", 16, &[("head", head, 0)]);
        b.decl_tag("contains:elem:node", bare, Some(0));
        let btf = b.finish().unwrap();
        let record = btf.record(value, 24).unwrap();
        let root = NamedField::ListHead;
        let kind = FieldKind::Graph { root, contains: element, node_offset: 8 };
        assert_eq!(record.at(8), Some(&Field { offset: 8, kind }));
        assert_eq!(btf.record(bare, 16), Err(RecordError::Unlocked));
    }

    #[test]
    fn a_field_beyond_the_value_is_refused() {
        let Types { mut b, lock, .. } = types();
        let value = b.structure("value", 8, &[("l", lock, 32)]);
        let error = b.finish().unwrap().record(value, 4).unwrap_err();
        assert_eq!(error, RecordError::Outside { offset: 4, size: 4 });
    }
}
