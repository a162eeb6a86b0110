//! Types to bytes: a builder that numbers types as they are added.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::Btf;
use crate::parse::ParseError;
use crate::raw::{self, KindCode};
use crate::types::{FuncLinkage, Fwd, Int, Kind, NameOff, TypeId, VarLinkage};

impl Btf {
    /// Its own types and strings as bytes, with a header: what [`parse`](Self::parse) reads.
    pub fn encode(&self) -> Vec<u8> {
        assemble(self.type_bytes(), self.string_bytes())
    }
}

/// Makes BTF, one type at a time.
///
/// Types get their numbers in the order in which they are added, so a type may refer to one that is not there yet;
/// [`finish`](Self::finish) refuses references to nothing. Equal names share one string.
#[derive(Clone, Debug)]
pub struct Builder {
    base: Option<Arc<Btf>>,
    next: u32,
    first_name: u32,
    types: Vec<u8>,
    strings: Vec<u8>,
    names: HashMap<Box<[u8]>, NameOff>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            base: None,
            next: 1,
            first_name: 0,
            types: Vec::new(),
            strings: vec![0],
            names: HashMap::new(),
        }
    }

    /// Nothing yet, to continue `base`.
    pub fn split(base: Arc<Btf>) -> Self {
        Self {
            next: base.end_id(),
            first_name: base.end_name(),
            base: Some(base),
            types: Vec::new(),
            strings: Vec::new(),
            names: HashMap::new(),
        }
    }

    /// The number that the next type gets.
    pub const fn next_id(&self) -> TypeId {
        TypeId(self.next)
    }

    /// Where a name is in the string table, adding it if need be. Bytes from a NUL on are dropped.
    pub fn name(&mut self, name: &str) -> NameOff {
        let name = name.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default();
        if name.is_empty() {
            return NameOff::NONE;
        }
        if let Some(off) = self.names.get(name) {
            return *off;
        }
        let at = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        let off = NameOff(self.first_name.saturating_add(at));
        self.strings.extend_from_slice(name);
        self.strings.push(0);
        self.names.insert(name.into(), off);
        off
    }

    /// An integer of whole bytes.
    pub fn int(&mut self, name: &str, size: u32, signed: bool) -> TypeId {
        let bits = u8::try_from(size.saturating_mul(8)).unwrap_or(u8::MAX);
        self.any_int(name, Int { size, bits, offset: 0, signed, char: false, bool: false })
    }

    /// An integer of any sort.
    pub fn any_int(&mut self, name: &str, int: Int) -> TypeId {
        let encoding = u8::from(int.signed) | u8::from(int.char) << 1 | u8::from(int.bool) << 2;
        let word = u32::from_le_bytes([int.bits, 0, int.offset, encoding]);
        let id = self.record(name, KindCode::Int, 0, false, int.size);
        self.words(&[word]);
        id
    }

    /// A pointer.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.record("", KindCode::Ptr, 0, false, to.0)
    }

    /// An array.
    pub fn array(&mut self, element: TypeId, index: TypeId, len: u32) -> TypeId {
        let id = self.record("", KindCode::Array, 0, false, 0);
        self.words(&[element.0, index.0, len]);
        id
    }

    /// A structure of members, each with its name, type and offset in bits.
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        self.composite(KindCode::Struct, name, size, false, members)
    }

    /// A union of members, each with its name and type.
    pub fn union(&mut self, name: &str, size: u32, members: &[(&str, TypeId)]) -> TypeId {
        let members: Vec<_> = members.iter().map(|(name, ty)| (*name, *ty, 0)).collect();
        self.composite(KindCode::Union, name, size, false, &members)
    }

    /// A structure with bit fields: each member has its name, type, offset in bits and number of bits, 0 if it is
    /// no bit field.
    pub fn bit_structure(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32, u8)],
    ) -> TypeId {
        let members: Vec<_> = members
            .iter()
            .map(|(name, ty, at, bits)| (*name, *ty, (at & 0x00ff_ffff) | u32::from(*bits) << 24))
            .collect();
        self.composite(KindCode::Struct, name, size, true, &members)
    }

    fn composite(
        &mut self,
        kind: KindCode,
        name: &str,
        size: u32,
        flag: bool,
        members: &[(&str, TypeId, u32)],
    ) -> TypeId {
        let id = self.record(name, kind, members.len(), flag, size);
        for (name, ty, at) in members.iter().take(raw::MAX_VLEN) {
            let name = self.name(name);
            self.words(&[name.0, ty.0, *at]);
        }
        id
    }

    /// An enumeration of 32 bits or less.
    pub fn enumeration(
        &mut self,
        name: &str,
        size: u32,
        signed: bool,
        values: &[(&str, i32)],
    ) -> TypeId {
        let id = self.record(name, KindCode::Enum, values.len(), signed, size);
        for (name, value) in values.iter().take(raw::MAX_VLEN) {
            let name = self.name(name);
            self.words(&[name.0, value.cast_unsigned()]);
        }
        id
    }

    /// An enumeration of 64 bits.
    pub fn enumeration64(&mut self, name: &str, signed: bool, values: &[(&str, u64)]) -> TypeId {
        let id = self.record(name, KindCode::Enum64, values.len(), signed, 8);
        for (name, value) in values.iter().take(raw::MAX_VLEN) {
            let name = self.name(name);
            self.words(&[name.0]);
            self.types.extend_from_slice(&value.to_le_bytes());
        }
        id
    }

    /// A structure or union declared and not defined.
    pub fn fwd(&mut self, name: &str, what: Fwd) -> TypeId {
        self.record(name, KindCode::Fwd, 0, what == Fwd::Union, 0)
    }

    /// A name for a type.
    pub fn typedef(&mut self, name: &str, ty: TypeId) -> TypeId {
        self.record(name, KindCode::Typedef, 0, false, ty.0)
    }

    /// A constant type.
    pub fn constant(&mut self, ty: TypeId) -> TypeId {
        self.record("", KindCode::Const, 0, false, ty.0)
    }

    /// A volatile type.
    pub fn volatile(&mut self, ty: TypeId) -> TypeId {
        self.record("", KindCode::Volatile, 0, false, ty.0)
    }

    /// A restrict-qualified type.
    pub fn restrict(&mut self, ty: TypeId) -> TypeId {
        self.record("", KindCode::Restrict, 0, false, ty.0)
    }

    /// A word attached to a type.
    pub fn type_tag(&mut self, tag: &str, ty: TypeId) -> TypeId {
        self.record(tag, KindCode::TypeTag, 0, false, ty.0)
    }

    /// A word attached to a declaration, or to one of its members or parameters.
    pub fn decl_tag(&mut self, tag: &str, target: TypeId, component: Option<u32>) -> TypeId {
        let id = self.record(tag, KindCode::DeclTag, 0, false, target.0);
        self.words(&[component.unwrap_or(u32::MAX)]);
        id
    }

    /// A signature: what it returns, and each parameter's name and type.
    pub fn proto(&mut self, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let id = self.record("", KindCode::FuncProto, params.len(), false, ret.0);
        for (name, ty) in params.iter().take(raw::MAX_VLEN) {
            let name = self.name(name);
            self.words(&[name.0, ty.0]);
        }
        id
    }

    /// A function.
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: FuncLinkage) -> TypeId {
        self.record(name, KindCode::Func, usize::from(linkage.code()), false, proto.0)
    }

    /// A variable.
    pub fn var(&mut self, name: &str, ty: TypeId, linkage: VarLinkage) -> TypeId {
        let id = self.record(name, KindCode::Var, 0, false, ty.0);
        self.words(&[linkage.code()]);
        id
    }

    /// A section of variables, each with its offset and size in bytes.
    pub fn datasec(&mut self, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
        let id = self.record(name, KindCode::Datasec, vars.len(), false, size);
        for (ty, at, size) in vars.iter().take(raw::MAX_VLEN) {
            self.words(&[ty.0, *at, *size]);
        }
        id
    }

    /// A floating-point number.
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.record(name, KindCode::Float, 0, false, size)
    }

    /// A copy of `kind`, whose names are those of `from`, with type ids and names passed through functions.
    ///
    /// `name` is the type's own name in this builder.
    pub fn copy(
        &mut self,
        from: &Btf,
        id: TypeId,
        mut map: impl FnMut(TypeId) -> TypeId,
    ) -> Option<TypeId> {
        let ty = from.get(id)?;
        let name = ty.name();
        Some(match ty.kind {
            Kind::Void => TypeId::VOID,
            Kind::Int(int) => self.any_int(name, int),
            Kind::Ptr(to) => self.ptr(map(to)),
            Kind::Array(a) => self.array(map(a.element), map(a.index), a.len),
            Kind::Struct(c) | Kind::Union(c) => {
                let id = self.record(name, ty.code(), c.len(), c.has_bitfields, c.size);
                for m in c.members() {
                    let bits = m.bitfield.map_or(0, |bits| bits.get() << 24);
                    let name = self.name(from.name(m.name_off));
                    self.words(&[name.0, map(m.ty).0, m.bit_offset | bits]);
                }
                id
            }
            Kind::Enum(e) | Kind::Enum64(e) => {
                let id = self.record(name, ty.code(), e.len(), e.signed, e.size);
                for value in e.values() {
                    let name = self.name(from.name(value.name_off));
                    self.words(&[name.0]);
                    let bytes = value.bits.to_le_bytes();
                    self.types.extend_from_slice(&bytes[..if e.wide { 8 } else { 4 }]);
                }
                id
            }
            Kind::Fwd(fwd) => self.fwd(name, fwd),
            Kind::Typedef(to) => self.typedef(name, map(to)),
            Kind::Volatile(to) => self.volatile(map(to)),
            Kind::Const(to) => self.constant(map(to)),
            Kind::Restrict(to) => self.restrict(map(to)),
            Kind::Func(func) => self.func(name, map(func.proto), func.linkage),
            Kind::FuncProto(proto) => {
                let id =
                    self.record(name, KindCode::FuncProto, proto.len(), false, map(proto.ret).0);
                for param in proto.params() {
                    let name = self.name(from.name(param.name_off));
                    self.words(&[name.0, map(param.ty).0]);
                }
                id
            }
            Kind::Var(var) => self.var(name, map(var.ty), var.linkage),
            Kind::Datasec(section) => {
                let vars: Vec<_> = section.vars().map(|v| (map(v.ty), v.offset, v.size)).collect();
                self.datasec(name, section.size, &vars)
            }
            Kind::Float(float) => self.float(name, float.size),
            Kind::DeclTag(tag) => {
                let target = map(tag.target);
                let id = self.record(name, KindCode::DeclTag, 0, tag.is_attribute, target.0);
                self.words(&[tag.component.unwrap_or(u32::MAX)]);
                id
            }
            Kind::TypeTag(tag) => {
                self.record(name, KindCode::TypeTag, 0, tag.is_attribute, map(tag.ty).0)
            }
        })
    }

    /// The bytes: header, types, strings.
    pub fn encode(&self) -> Vec<u8> {
        assemble(&self.types, &self.strings)
    }

    /// What was built.
    ///
    /// # Errors
    ///
    /// Returns an error if a type refers to one that was never added.
    pub fn finish(self) -> Result<Btf, ParseError> {
        let bytes = self.encode();
        match self.base {
            None => Btf::parse(&bytes),
            Some(base) => Btf::parse_split(&bytes, base),
        }
    }

    /// Adds the part that all records share.
    fn record(
        &mut self,
        name: &str,
        kind: KindCode,
        vlen: usize,
        flag: bool,
        size_or_type: u32,
    ) -> TypeId {
        let name = self.name(name);
        // Lists longer than a record can count are cut, here and where they are written.
        let vlen = u32::try_from(vlen.min(raw::MAX_VLEN)).unwrap_or_default();
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | vlen;
        self.words(&[name.0, info, size_or_type]);
        let id = TypeId(self.next);
        self.next = self.next.saturating_add(1);
        id
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.types.extend_from_slice(&word.to_le_bytes()));
    }
}

/// Header, types, strings.
fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(raw::HEADER_SIZE + types.len() + strings.len());
    out.extend_from_slice(&raw::MAGIC.to_le_bytes());
    out.extend_from_slice(&[raw::VERSION, 0]);
    for word in [24, 0, len(types), len(types), len(strings)] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    out.extend_from_slice(types);
    out.extend_from_slice(strings);
    out
}
