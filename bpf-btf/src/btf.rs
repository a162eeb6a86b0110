//! [`Btf`]: types by number, names, a base to build upon, modifiers resolved.

use core::fmt;
use core::hash::BuildHasher as _;
use std::sync::{Arc, OnceLock};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::parse::{self, ParseError};
use crate::raw::{self, KindCode, Record};
use crate::types::{
    Array, Composite, Datasec, DeclTag, Enum, Float, Func, FuncLinkage, FuncProto, Fwd, Int, Kind,
    NameOff, Type, TypeId, TypeTag, Var, VarLinkage,
};

/// How many types are followed from one to the next before giving up.
///
/// Types that were [checked](crate::check) never come near it.
pub(crate) const MAX_CHAIN: usize = 64;

/// A set of types, numbered from 1.
///
/// Split BTF stands on a base: its numbers go on where those of the base end, and so do its name offsets, so that a
/// type of the base has the same number in both.
///
/// Invariant: every record lies within `types`, every name within the strings, every type id is below
/// [`end_id`](Self::end_id). Whether the types make sense is [`check`](crate::check)'s matter: here, a chain of
/// typedefs may be a ring, and what would follow it forever answers `None`.
#[derive(Clone)]
pub struct Btf {
    base: Option<Arc<Self>>,
    first_id: u32,
    first_name: u32,
    types: Box<[u8]>,
    offsets: Box<[u32]>,
    strings: Box<[u8]>,
    by_name: OnceLock<NameIndex>,
    tags: OnceLock<Box<[TagRow]>>,
    alignments: OnceLock<Box<[u8]>>,
}

/// Types by kind and name.
#[derive(Clone, Default)]
struct NameIndex {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    /// Those that have namesakes behind them, in order of their numbers once the index is made.
    ambiguous: Vec<u32>,
}

/// A declaration tag, found by what it is attached to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TagRow {
    target: u32,
    component: Option<u32>,
    tag: u32,
}

impl Btf {
    /// Reads BTF that stands on its own, such as `/sys/kernel/btf/vmlinux` or the `.BTF` section of an object.
    ///
    /// # Errors
    ///
    /// Returns an error that names the place if the data is malformed.
    pub fn parse(data: &[u8]) -> Result<Self, ParseError> {
        parse::parse(data, None)
    }

    /// Reads BTF that continues `base`, such as a kernel module's.
    ///
    /// # Errors
    ///
    /// Returns an error that names the place if the data is malformed.
    pub fn parse_split(data: &[u8], base: Arc<Self>) -> Result<Self, ParseError> {
        parse::parse(data, Some(base))
    }

    pub(crate) fn from_parts(
        base: Option<Arc<Self>>,
        first_id: u32,
        first_name: u32,
        types: Box<[u8]>,
        offsets: Box<[u32]>,
        strings: Box<[u8]>,
    ) -> Self {
        Self {
            base,
            first_id,
            first_name,
            types,
            offsets,
            strings,
            by_name: OnceLock::new(),
            tags: OnceLock::new(),
            alignments: OnceLock::new(),
        }
    }

    /// The BTF it continues.
    pub const fn base(&self) -> Option<&Arc<Self>> {
        self.base.as_ref()
    }

    /// The number of its first own type: 1, or one past the base's last.
    pub const fn first_id(&self) -> u32 {
        self.first_id
    }

    /// One past the number of its last type.
    pub const fn end_id(&self) -> u32 {
        // `offsets.len()` fits: parsing counts in `u32`.
        self.first_id.saturating_add(self.own_len())
    }

    /// One past the last byte of its string table, counted from the base's beginning.
    pub(crate) fn end_name(&self) -> u32 {
        self.first_name.saturating_add(u32::try_from(self.strings.len()).unwrap_or(u32::MAX))
    }

    #[expect(clippy::cast_possible_truncation, reason = "parsing counts types in u32")]
    const fn own_len(&self) -> u32 {
        self.offsets.len() as u32
    }

    /// Every type, the base's first, without `void`.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> + Clone {
        (1..self.end_id()).filter_map(|id| self.get(TypeId(id)))
    }

    /// Its own types, without the base's and without `void`.
    pub fn own_types(&self) -> impl Iterator<Item = Type<'_>> + Clone {
        (self.first_id..self.end_id()).filter_map(|id| self.get(TypeId(id)))
    }

    /// The type with this number, or `None` if there is none. Number 0 is `void`.
    ///
    /// Linux: `btf_type_by_id`.
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        if id.is_void() {
            return Some(Type { id, name_off: NameOff::NONE, kind: Kind::Void, btf: self });
        }
        let mut owner = self;
        while id.0 < owner.first_id {
            owner = owner.base.as_deref()?;
        }
        let at = *owner.offsets.get((id.0 - owner.first_id) as usize)? as usize;
        let record = Record::read(&owner.types, at)?;
        let kind = decode(record, owner.types.get(at + raw::RECORD_SIZE..)?)?;
        Some(Type { id, name_off: NameOff(record.name), kind, btf: self })
    }

    /// The kind of the type with this number, without reading the rest of it.
    pub fn kind_code(&self, id: TypeId) -> Option<KindCode> {
        if id.is_void() {
            return Some(KindCode::Void);
        }
        let mut owner = self;
        while id.0 < owner.first_id {
            owner = owner.base.as_deref()?;
        }
        let at = *owner.offsets.get((id.0 - owner.first_id) as usize)? as usize;
        KindCode::of(Record::read(&owner.types, at)?.code())
    }

    /// The name at this offset, or `""` beyond the string table.
    ///
    /// Bytes that are not UTF-8 end the name.
    ///
    /// Linux: `btf_name_by_offset`.
    pub fn name(&self, off: NameOff) -> &str {
        let bytes = self.name_bytes(off);
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    /// The name at this offset, whatever its bytes, without its NUL.
    pub fn name_bytes(&self, off: NameOff) -> &[u8] {
        let mut owner = self;
        while off.0 < owner.first_name {
            match owner.base.as_deref() {
                Some(base) => owner = base,
                None => return &[],
            }
        }
        let rest = owner.strings.get((off.0 - owner.first_name) as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The name of a type, or `""` if it has none or does not exist.
    pub fn name_of(&self, id: TypeId) -> &str {
        self.get(id).map_or("", |ty| self.name(ty.name_off))
    }

    /// The first type of this kind with this name; the base's come first.
    ///
    /// The index that answers is built by the first question.
    ///
    /// Linux: `btf_find_by_name_kind`.
    pub fn by_name_kind(&self, name: &str, kind: KindCode) -> Option<TypeId> {
        self.base.as_ref().and_then(|base| base.by_name_kind(name, kind)).or_else(|| {
            let index = self.by_name.get_or_init(|| self.index());
            let hash = index.hasher.hash_one((kind, name.as_bytes()));
            let id = index.table.find(hash, |id| self.is_called(*id, name.as_bytes(), kind))?;
            Some(TypeId(*id))
        })
    }

    /// Whether the type that [`by_name_kind`](Self::by_name_kind) found has namesakes of its kind.
    pub fn has_namesakes(&self, id: TypeId) -> bool {
        let Some(ty) = self.get(id) else { return false };
        let is_first = |btf: &Self| {
            btf.by_name.get_or_init(|| btf.index()).ambiguous.binary_search(&id.0).is_ok()
        };
        if id.0 >= self.first_id {
            return is_first(self);
        }
        let Some(base) = &self.base else { return false };
        let own = self.by_name.get_or_init(|| self.index());
        let hash = own.hasher.hash_one((ty.code(), self.name_bytes(ty.name_off)));
        let called = |id: &u32| self.is_called(*id, self.name_bytes(ty.name_off), ty.code());
        base.has_namesakes(id) || own.table.find(hash, called).is_some()
    }

    fn is_called(&self, id: u32, name: &[u8], kind: KindCode) -> bool {
        self.get(TypeId(id))
            .is_some_and(|ty| ty.code() == kind && self.name_bytes(ty.name_off) == name)
    }

    fn index(&self) -> NameIndex {
        let table = HashTable::with_capacity(self.offsets.len());
        let mut index = NameIndex { table, ..NameIndex::default() };
        let key = |id: u32| {
            let ty = self.get(TypeId(id))?;
            (!ty.name_off.is_none()).then(|| (ty.code(), self.name_bytes(ty.name_off)))
        };
        let hasher = &index.hasher;
        for id in self.first_id..self.end_id() {
            let Some((kind, name)) = key(id) else { continue };
            let hash = hasher.hash_one((kind, name));
            match index.table.find(hash, |other| self.is_called(*other, name, kind)) {
                Some(first) => index.ambiguous.push(*first),
                None => {
                    index.table.insert_unique(hash, id, |id| hasher.hash_one(key(*id)));
                }
            }
        }
        index.ambiguous.sort_unstable();
        index
    }

    /// The type behind qualifiers and typedefs.
    ///
    /// `None` if there is no such type, or if it is defined by itself.
    ///
    /// Linux: `btf_type_skip_modifiers`.
    pub fn resolve(&self, id: TypeId) -> Option<Type<'_>> {
        self.skip(id, |ty| ty.is_modifier())
    }

    /// The type behind qualifiers; typedefs are kept.
    pub fn skip_qualifiers(&self, id: TypeId) -> Option<Type<'_>> {
        self.skip(id, |ty| ty.is_qualifier())
    }

    fn skip(&self, id: TypeId, skipped: fn(&Type<'_>) -> bool) -> Option<Type<'_>> {
        let mut ty = self.get(id)?;
        for _ in 0..MAX_CHAIN {
            if !skipped(&ty) {
                return Some(ty);
            }
            ty = self.get(ty.target()?)?;
        }
        None
    }

    /// The type that a pointer points to, qualifiers and typedefs on both sides skipped; `None` if it is no pointer.
    ///
    /// Linux: `btf_type_resolve_ptr`.
    pub fn pointee(&self, id: TypeId) -> Option<Type<'_>> {
        self.resolve(self.resolve(id)?.pointee()?)
    }

    /// The signature of a function: of a [`Func`], of a [`FuncProto`] itself, or of a pointer to one.
    ///
    /// Linux: `btf_type_resolve_func_ptr`.
    pub fn func_proto(&self, id: TypeId) -> Option<FuncProto<'_>> {
        let ty = self.resolve(id)?;
        let behind = ty.pointee().or(ty.func().map(|func| func.proto));
        behind.map_or(Some(ty), |id| self.resolve(id))?.proto()
    }

    /// The words attached to a declaration (`component` is `None`) or to one of its members or parameters.
    ///
    /// Linux: `btf_find_decl_tag_value`, for all of them.
    pub fn decl_tags_of(
        &self,
        id: TypeId,
        component: Option<u32>,
    ) -> impl Iterator<Item = &str> + Clone {
        let rows = self.tags.get_or_init(|| self.tag_rows());
        let key = (id.0, component);
        let start = rows.partition_point(|row| (row.target, row.component) < key);
        rows[start..]
            .iter()
            .take_while(move |row| (row.target, row.component) == key)
            .map(|row| self.name_of(TypeId(row.tag)))
    }

    fn tag_rows(&self) -> Box<[TagRow]> {
        let mut rows: Box<[TagRow]> = self
            .types()
            .filter_map(|ty| {
                let tag = ty.decl_tag()?;
                Some(TagRow { target: tag.target.0, component: tag.component, tag: ty.id.0 })
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    /// The value that an enumeration of this BTF gives to a name.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.types().filter_map(|ty| ty.enumeration()).find_map(|e| {
            let mut values = e.values();
            let value = values.find(|v| self.name_bytes(v.name_off) == name.as_bytes())?;
            Some(value.bits)
        })
    }

    pub(crate) fn alignments(&self) -> &[u8] {
        self.alignments.get_or_init(|| self.compute_alignments())
    }

    /// Where the record of one of its own types begins, if it is of this kind.
    pub(crate) fn own_record(&self, id: TypeId, kind: KindCode) -> Option<usize> {
        let at = *self.offsets.get(id.0.checked_sub(self.first_id)? as usize)? as usize;
        (self.kind_code(id) == Some(kind)).then_some(at)
    }

    /// Adds a record after the last, given as its words.
    pub(crate) fn add_record(&mut self, words: &[u32]) -> TypeId {
        let id = TypeId(self.end_id());
        let mut types = core::mem::take(&mut self.types).into_vec();
        let mut offsets = core::mem::take(&mut self.offsets).into_vec();
        offsets.push(u32::try_from(types.len()).unwrap_or(u32::MAX));
        words.iter().for_each(|word| types.extend_from_slice(&word.to_le_bytes()));
        self.types = types.into();
        self.offsets = offsets.into();
        self.by_name = OnceLock::new();
        self.tags = OnceLock::new();
        self.alignments = OnceLock::new();
        id
    }

    /// Where a name is among its own strings; it is added after the last if it is not there.
    pub(crate) fn find_or_add_name(&mut self, name: &str) -> NameOff {
        let name = name.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default();
        let mut at = 0;
        for string in self.strings.split_inclusive(|byte| *byte == 0) {
            if string.strip_suffix(&[0]) == Some(name) {
                break;
            }
            at += string.len();
        }
        if at == self.strings.len() {
            let mut strings = core::mem::take(&mut self.strings).into_vec();
            strings.extend_from_slice(name);
            strings.push(0);
            self.strings = strings.into();
        }
        NameOff(self.first_name.saturating_add(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    /// Overwrites a word of the type section.
    pub(crate) fn put(&mut self, at: usize, word: u32) {
        if let Some(bytes) = self.types.get_mut(at..at + 4) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The bytes of its own type section.
    pub fn type_bytes(&self) -> &[u8] {
        &self.types
    }

    /// The bytes of its own string section.
    pub fn string_bytes(&self) -> &[u8] {
        &self.strings
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("ids", &(self.first_id..self.end_id()))
            .field("string_bytes", &self.strings.len())
            .finish_non_exhaustive()
    }
}

/// Two are equal if their types and strings are, byte for byte, and their bases.
impl PartialEq for Btf {
    fn eq(&self, other: &Self) -> bool {
        self.types == other.types && self.strings == other.strings && self.base == other.base
    }
}

impl Eq for Btf {}

/// Understands a record; `rest` is what follows its shared part.
fn decode(record: Record, rest: &[u8]) -> Option<Kind<'_>> {
    let code = KindCode::of(record.code())?;
    let (fixed, each) = code.extra();
    let list = rest.get(..fixed + each * record.vlen())?;
    let word = |at| raw::u32_at(list, at);
    let target = TypeId(record.size_or_type);
    let size = record.size_or_type;
    let flag = record.kind_flag();
    Some(match code {
        KindCode::Void => return None,
        KindCode::Int => {
            let [bits, _, offset, encoding] = word(0)?.to_le_bytes();
            Kind::Int(Int {
                size,
                bits,
                offset,
                signed: encoding & 1 != 0,
                char: encoding & 2 != 0,
                bool: encoding & 4 != 0,
            })
        }
        KindCode::Ptr => Kind::Ptr(target),
        KindCode::Array => {
            Kind::Array(Array { element: TypeId(word(0)?), index: TypeId(word(4)?), len: word(8)? })
        }
        KindCode::Struct => Kind::Struct(Composite { size, has_bitfields: flag, list }),
        KindCode::Union => Kind::Union(Composite { size, has_bitfields: flag, list }),
        KindCode::Enum => Kind::Enum(Enum { size, signed: flag, list, wide: false }),
        KindCode::Enum64 => Kind::Enum64(Enum { size, signed: flag, list, wide: true }),
        KindCode::Fwd => Kind::Fwd(if flag { Fwd::Union } else { Fwd::Struct }),
        KindCode::Typedef => Kind::Typedef(target),
        KindCode::Volatile => Kind::Volatile(target),
        KindCode::Const => Kind::Const(target),
        KindCode::Restrict => Kind::Restrict(target),
        KindCode::Func => {
            let linkage = u16::try_from(record.vlen()).ok()?;
            Kind::Func(Func { proto: target, linkage: FuncLinkage::of(linkage) })
        }
        KindCode::FuncProto => Kind::FuncProto(FuncProto { ret: target, list }),
        KindCode::Var => Kind::Var(Var { ty: target, linkage: VarLinkage::of(word(0)?) }),
        KindCode::Datasec => Kind::Datasec(Datasec { size, list }),
        KindCode::Float => Kind::Float(Float { size }),
        KindCode::DeclTag => {
            let component = word(0)?;
            Kind::DeclTag(DeclTag {
                target,
                component: (component != u32::MAX).then_some(component),
                is_attribute: flag,
            })
        }
        KindCode::TypeTag => Kind::TypeTag(TypeTag { ty: target, is_attribute: flag }),
    })
}
