//! The model: what a type is once its record is understood.
//!
//! Everything here is a view into the bytes of a [`Btf`]: copying a [`Type`] copies a few words, and lists such as
//! the members of a structure are decoded as they are walked.

use core::fmt;
use core::num::NonZeroU32;

use crate::Btf;
use crate::raw::KindCode;

/// The number of a type within its BTF; 0 is `void`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// No type, or C's `void`.
    pub const VOID: Self = Self(0);

    /// Whether this is `void`.
    pub const fn is_void(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a name begins in the string table; 0 is no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameOff(pub u32);

impl NameOff {
    /// No name.
    pub const NONE: Self = Self(0);

    /// Whether there is no name.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A type: its number, its name and what it is.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    /// Its number.
    pub id: TypeId,
    /// Where its name is.
    pub name_off: NameOff,
    /// What it is.
    pub kind: Kind<'a>,
    pub(crate) btf: &'a Btf,
}

impl<'a> Type<'a> {
    /// Its name, or `""` if it has none.
    ///
    /// Bytes that are not UTF-8 end the name; [`Btf::name_bytes`] has them all.
    pub fn name(&self) -> &'a str {
        self.btf.name(self.name_off)
    }

    /// Its kind, without the details.
    pub const fn code(&self) -> KindCode {
        self.kind.code()
    }

    /// The type that a pointer, modifier, typedef, function, variable or tag refers to.
    pub const fn target(&self) -> Option<TypeId> {
        self.kind.target()
    }

    /// Whether it is `const`, `volatile`, `restrict` or a type tag.
    ///
    /// Linux: `btf_type_is_modifier`, less typedefs.
    pub const fn is_qualifier(&self) -> bool {
        matches!(
            self.code(),
            KindCode::Const | KindCode::Volatile | KindCode::Restrict | KindCode::TypeTag
        )
    }

    /// Whether it is a qualifier or a typedef.
    ///
    /// Linux: `btf_type_is_modifier`.
    pub const fn is_modifier(&self) -> bool {
        self.is_qualifier() || matches!(self.code(), KindCode::Typedef)
    }

    /// Whether it is a structure or a union.
    ///
    /// Linux: `btf_type_is_struct`.
    pub const fn is_composite(&self) -> bool {
        matches!(self.code(), KindCode::Struct | KindCode::Union)
    }
}

impl fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Type")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What a type is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// No type.
    Void,
    /// An integer.
    Int(Int),
    /// A pointer to a type.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A structure.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enumeration of up to 32 bits.
    Enum(Enum<'a>),
    /// An enumeration of up to 64 bits.
    Enum64(Enum<'a>),
    /// A structure or union declared and not defined.
    Fwd(Fwd),
    /// A name for a type.
    Typedef(TypeId),
    /// A volatile type.
    Volatile(TypeId),
    /// A constant type.
    Const(TypeId),
    /// A restrict-qualified type.
    Restrict(TypeId),
    /// A function.
    Func(Func),
    /// A function's signature.
    FuncProto(FuncProto<'a>),
    /// A variable.
    Var(Var),
    /// A section and its variables.
    Datasec(Datasec<'a>),
    /// A floating-point number.
    Float(Float),
    /// A word attached to a declaration; the word is the type's name.
    DeclTag(DeclTag),
    /// A word attached to a type; the word is the type's name.
    TypeTag(TypeTag),
}

impl Kind<'_> {
    /// The kind, without the details.
    pub const fn code(&self) -> KindCode {
        match self {
            Self::Void => KindCode::Void,
            Self::Int(_) => KindCode::Int,
            Self::Ptr(_) => KindCode::Ptr,
            Self::Array(_) => KindCode::Array,
            Self::Struct(_) => KindCode::Struct,
            Self::Union(_) => KindCode::Union,
            Self::Enum(_) => KindCode::Enum,
            Self::Enum64(_) => KindCode::Enum64,
            Self::Fwd(_) => KindCode::Fwd,
            Self::Typedef(_) => KindCode::Typedef,
            Self::Volatile(_) => KindCode::Volatile,
            Self::Const(_) => KindCode::Const,
            Self::Restrict(_) => KindCode::Restrict,
            Self::Func(_) => KindCode::Func,
            Self::FuncProto(_) => KindCode::FuncProto,
            Self::Var(_) => KindCode::Var,
            Self::Datasec(_) => KindCode::Datasec,
            Self::Float(_) => KindCode::Float,
            Self::DeclTag(_) => KindCode::DeclTag,
            Self::TypeTag(_) => KindCode::TypeTag,
        }
    }

    /// The one type that it refers to, for kinds that refer to just one.
    pub const fn target(&self) -> Option<TypeId> {
        match self {
            Self::Ptr(id)
            | Self::Typedef(id)
            | Self::Volatile(id)
            | Self::Const(id)
            | Self::Restrict(id) => Some(*id),
            Self::Func(f) => Some(f.proto),
            Self::Var(v) => Some(v.ty),
            Self::DeclTag(t) => Some(t.target),
            Self::TypeTag(t) => Some(t.ty),
            Self::Void
            | Self::Int(_)
            | Self::Array(_)
            | Self::Struct(_)
            | Self::Union(_)
            | Self::Enum(_)
            | Self::Enum64(_)
            | Self::Fwd(_)
            | Self::FuncProto(_)
            | Self::Datasec(_)
            | Self::Float(_) => None,
        }
    }
}

/// Defines the questions "is it such a kind, and what are its details".
///
/// The columns are: the method, the variants, the details, what is asked.
macro_rules! details {
    ($( $name:ident $( $Variant:ident )|+ $Details:ty, $doc:literal; )+) => {
        impl<'a> Kind<'a> {
            $(
                #[doc = $doc]
                pub const fn $name(&self) -> Option<$Details> {
                    if let $( Self::$Variant(details) )|+ = self { Some(*details) } else { None }
                }
            )+
        }

        impl<'a> Type<'a> {
            $(
                #[doc = $doc]
                pub const fn $name(&self) -> Option<$Details> {
                    self.kind.$name()
                }
            )+
        }
    };
}

details! {
    int Int Int, "The integer it is.";
    pointee Ptr TypeId, "What it points to, if it is a pointer.";
    array Array Array, "The array it is.";
    composite Struct | Union Composite<'a>, "The structure or union it is.";
    enumeration Enum | Enum64 Enum<'a>, "The enumeration it is, of either kind.";
    func Func Func, "The function it is.";
    proto FuncProto FuncProto<'a>, "The signature it is.";
    var Var Var, "The variable it is.";
    datasec Datasec Datasec<'a>, "The section it is.";
    decl_tag DeclTag DeclTag, "The word attached to a declaration that it is.";
    type_tag TypeTag TypeTag, "The word attached to a type that it is.";
}

/// An integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Its size in bytes.
    pub size: u32,
    /// How many of its bits count.
    pub bits: u8,
    /// Where these bits begin, counted from the lowest.
    pub offset: u8,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is meant as a character.
    pub char: bool,
    /// Whether it is C's `bool`.
    pub bool: bool,
}

/// An array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of its elements.
    pub element: TypeId,
    /// The type of its index.
    pub index: TypeId,
    /// How many elements it has.
    pub len: u32,
}

/// A structure or a union.
#[derive(Clone, Copy)]
pub struct Composite<'a> {
    /// Its size in bytes.
    pub size: u32,
    /// The kind flag: whether members say themselves how many bits they have.
    pub has_bitfields: bool,
    pub(crate) list: &'a [u8],
}

impl<'a> Composite<'a> {
    /// Its members, in order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = Member> + Clone + use<'a> {
        let has_bitfields = self.has_bitfields;
        self.list.as_chunks::<12>().0.iter().map(move |m| Member::read(m, has_bitfields))
    }

    /// The member at this place in the list.
    pub fn member(&self, index: usize) -> Option<Member> {
        self.list.as_chunks::<12>().0.get(index).map(|m| Member::read(m, self.has_bitfields))
    }

    /// How many members it has.
    pub const fn len(&self) -> usize {
        self.list.len() / 12
    }

    /// Whether it has no members.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Debug for Composite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composite")
            .field("size", &self.size)
            .field("members", &self.members().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, none if it is an anonymous structure or union.
    pub name_off: NameOff,
    /// Its type.
    pub ty: TypeId,
    /// Where it begins, counted in bits.
    pub bit_offset: u32,
    /// How many bits it has, if it is declared as a bit field.
    pub bitfield: Option<NonZeroU32>,
}

impl Member {
    /// Where it begins, in bytes, if it begins at a byte.
    pub const fn offset(&self) -> Option<u32> {
        if self.bit_offset.is_multiple_of(8) { Some(self.bit_offset / 8) } else { None }
    }

    fn read(record: &[u8; 12], has_bitfields: bool) -> Self {
        let [name, ty, offset] = words(record);
        let (bit_offset, bits) =
            if has_bitfields { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
        Self {
            name_off: NameOff(name),
            ty: TypeId(ty),
            bit_offset,
            bitfield: NonZeroU32::new(bits),
        }
    }
}

/// An enumeration.
#[derive(Clone, Copy)]
pub struct Enum<'a> {
    /// Its size in bytes.
    pub size: u32,
    /// Whether its values are signed.
    pub signed: bool,
    pub(crate) list: &'a [u8],
    pub(crate) wide: bool,
}

impl<'a> Enum<'a> {
    /// Its values, in order.
    pub fn values(&self) -> impl Iterator<Item = Enumerator> + Clone + use<'a> {
        let (wide, signed) = (self.wide, self.signed);
        self.list.chunks_exact(if wide { 12 } else { 8 }).map(move |record| {
            let word = |at| crate::raw::u32_at(record, at).unwrap_or_default();
            let low = word(4);
            let bits = if wide {
                u64::from(low) | u64::from(word(8)) << 32
            } else if signed {
                i64::from(low.cast_signed()).cast_unsigned()
            } else {
                u64::from(low)
            };
            Enumerator { name_off: NameOff(word(0)), bits }
        })
    }

    /// How many values it has.
    pub const fn len(&self) -> usize {
        self.list.len() / if self.wide { 12 } else { 8 }
    }

    /// Whether it has no values.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Debug for Enum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enum")
            .field("size", &self.size)
            .field("signed", &self.signed)
            .field("values", &self.values().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator {
    /// Its name.
    pub name_off: NameOff,
    /// The value; sign-extended if the enumeration is signed.
    pub bits: u64,
}

/// What a forward declaration promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fwd {
    /// A structure.
    Struct,
    /// A union.
    Union,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Func {
    /// Its signature.
    pub proto: TypeId,
    /// Who can see it.
    pub linkage: FuncLinkage,
}

/// Who can see a function.
///
/// Linux: `enum btf_func_linkage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuncLinkage {
    /// Its file.
    Static,
    /// Everyone.
    Global,
    /// It is defined elsewhere.
    Extern,
    /// A number that nobody has assigned.
    Unknown(u16),
}

impl FuncLinkage {
    /// The linkage with this number.
    pub const fn of(code: u16) -> Self {
        match code {
            0 => Self::Static,
            1 => Self::Global,
            2 => Self::Extern,
            other => Self::Unknown(other),
        }
    }

    /// Its number.
    pub const fn code(self) -> u16 {
        match self {
            Self::Static => 0,
            Self::Global => 1,
            Self::Extern => 2,
            Self::Unknown(other) => other,
        }
    }
}

/// A function's signature.
#[derive(Clone, Copy)]
pub struct FuncProto<'a> {
    /// What it returns.
    pub ret: TypeId,
    pub(crate) list: &'a [u8],
}

impl<'a> FuncProto<'a> {
    /// Its parameters; a last one without name and type stands for `...`.
    pub fn params(&self) -> impl ExactSizeIterator<Item = Param> + Clone + use<'a> {
        self.list.as_chunks::<8>().0.iter().map(|&[a, b, c, d, e, f, g, h]| Param {
            name_off: NameOff(u32::from_le_bytes([a, b, c, d])),
            ty: TypeId(u32::from_le_bytes([e, f, g, h])),
        })
    }

    /// The parameter at this place.
    pub fn param(&self, index: usize) -> Option<Param> {
        self.params().nth(index)
    }

    /// How many parameters it has, `...` counted as one.
    pub const fn len(&self) -> usize {
        self.list.len() / 8
    }

    /// Whether it has no parameters.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the last parameter is `...`.
    pub fn is_variadic(&self) -> bool {
        self.params().last().is_some_and(|p| p.is_ellipsis())
    }
}

impl fmt::Debug for FuncProto<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuncProto")
            .field("ret", &self.ret)
            .field("params", &self.params().collect::<Vec<_>>())
            .finish()
    }
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name_off: NameOff,
    /// Its type.
    pub ty: TypeId,
}

impl Param {
    /// Whether it stands for `...`.
    pub const fn is_ellipsis(&self) -> bool {
        self.name_off.is_none() && self.ty.is_void()
    }
}

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    /// Its type.
    pub ty: TypeId,
    /// Who can see it.
    pub linkage: VarLinkage,
}

/// Who can see a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarLinkage {
    /// Its file.
    Static,
    /// Everyone.
    Global,
    /// It is defined elsewhere.
    Extern,
    /// A number that nobody has assigned.
    Unknown(u32),
}

impl VarLinkage {
    /// The linkage with this number.
    pub const fn of(code: u32) -> Self {
        match code {
            0 => Self::Static,
            1 => Self::Global,
            2 => Self::Extern,
            other => Self::Unknown(other),
        }
    }

    /// Its number.
    pub const fn code(self) -> u32 {
        match self {
            Self::Static => 0,
            Self::Global => 1,
            Self::Extern => 2,
            Self::Unknown(other) => other,
        }
    }
}

/// A section and its variables.
#[derive(Clone, Copy)]
pub struct Datasec<'a> {
    /// Its size in bytes.
    pub size: u32,
    pub(crate) list: &'a [u8],
}

impl<'a> Datasec<'a> {
    /// Its variables, in order.
    pub fn vars(&self) -> impl ExactSizeIterator<Item = SectionVar> + Clone + use<'a> {
        self.list.as_chunks::<12>().0.iter().map(|record| {
            let [ty, offset, size] = words(record);
            SectionVar { ty: TypeId(ty), offset, size }
        })
    }

    /// How many variables it has.
    pub const fn len(&self) -> usize {
        self.list.len() / 12
    }

    /// Whether it has no variables.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Debug for Datasec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datasec")
            .field("size", &self.size)
            .field("vars", &self.vars().collect::<Vec<_>>())
            .finish()
    }
}

/// Where a variable lies in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVar {
    /// The variable (or, in `.ksyms`, the function).
    pub ty: TypeId,
    /// Where it begins, in bytes.
    pub offset: u32,
    /// Its size in bytes.
    pub size: u32,
}

/// A floating-point number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Float {
    /// Its size in bytes.
    pub size: u32,
}

/// A word attached to a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclTag {
    /// The type, function, variable or typedef it is attached to.
    pub target: TypeId,
    /// Which member or parameter of it, or `None` if it is attached to the whole.
    pub component: Option<u32>,
    /// Whether it is a whole attribute (`__attribute__((word))`) and not `btf_decl_tag`.
    pub is_attribute: bool,
}

/// A word attached to a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    /// The type it is attached to.
    pub ty: TypeId,
    /// Whether it is a whole attribute (`__attribute__((word))`) and not `btf_type_tag`.
    pub is_attribute: bool,
}

fn words(record: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *record;
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([i, j, k, l]),
    ]
}
