//! The wire format of BTF: header, kind codes and the sizes of records, as tables.
//!
//! ```text
//!   header | types: one record after another, numbered from 1 | strings, each ended by a NUL
//!
//!   record:  name_off:u32  info:u32  size_or_type:u32  then what the kind asks for
//!   info:    kind_flag:1  unused:2  kind:5  unused:8  vlen:16          (high bits first)
//! ```

/// The first two bytes of BTF and of `.BTF.ext`, little-endian.
pub(crate) const MAGIC: u16 = 0xeb9f;

/// The only version there is.
pub(crate) const VERSION: u8 = 1;

/// The size of the header that every consumer knows, in bytes.
pub(crate) const HEADER_SIZE: usize = 24;

/// The size of the part that all records share, in bytes.
pub(crate) const RECORD_SIZE: usize = 12;

/// The highest type id the kernel takes. Linux: `BTF_MAX_TYPE`.
pub(crate) const MAX_TYPE: u32 = 0x000f_ffff;

/// The highest string offset the kernel takes. Linux: `BTF_MAX_NAME_OFFSET`.
pub(crate) const MAX_NAME_OFFSET: u32 = 0x00ff_ffff;

/// The most members, parameters or values a type may have. Linux: `BTF_MAX_VLEN`.
pub(crate) const MAX_VLEN: usize = 0xffff;

/// The bits of `info` that mean something.
pub(crate) const INFO_MASK: u32 = 0x9f00_ffff;

/// Defines the kinds from their table.
///
/// The columns are: the code, the name, what `bpftool` calls it in raw dumps, the size in bytes of what follows
/// the shared record (fixed part, then part per `vlen`), what it is.
macro_rules! kinds {
    ($( $code:literal $Name:ident $raw:literal $fixed:literal $each:literal $doc:literal )+) => {
        /// Which kind of type a record describes, without its details.
        ///
        /// Linux: `BTF_KIND_*`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum KindCode {
            $( #[doc = $doc] $Name = $code, )+
        }

        impl KindCode {
            /// Every kind, in encoding order.
            pub const ALL: &'static [Self] = &[$( Self::$Name ),+];

            /// The kind with this number.
            pub const fn of(code: u32) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$Name), )+
                    _ => None,
                }
            }

            /// The kernel's name for it, as raw dumps and its log print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$Name => $raw, )+
                }
            }

            /// The bytes that follow the shared record: a fixed part, and a part for each of `vlen`.
            pub(crate) const fn extra(self) -> (usize, usize) {
                match self {
                    $( Self::$Name => ($fixed, $each), )+
                }
            }
        }
    };
}

kinds! {
    0  Void      "UNKN"       0  0  "No type: id 0, and nothing else."
    1  Int       "INT"        4  0  "An integer."
    2  Ptr       "PTR"        0  0  "A pointer."
    3  Array     "ARRAY"      12 0  "An array."
    4  Struct    "STRUCT"     0  12 "A structure."
    5  Union     "UNION"      0  12 "A union."
    6  Enum      "ENUM"       0  8  "An enumeration of up to 32 bits."
    7  Fwd       "FWD"        0  0  "A structure or union declared and not defined."
    8  Typedef   "TYPEDEF"    0  0  "A name for another type."
    9  Volatile  "VOLATILE"   0  0  "A volatile type."
    10 Const     "CONST"      0  0  "A constant type."
    11 Restrict  "RESTRICT"   0  0  "A restrict-qualified type."
    12 Func      "FUNC"       0  0  "A function."
    13 FuncProto "FUNC_PROTO" 0  8  "A function's signature."
    14 Var       "VAR"        4  0  "A variable."
    15 Datasec   "DATASEC"    0  12 "A section and its variables."
    16 Float     "FLOAT"      0  0  "A floating-point number."
    17 DeclTag   "DECL_TAG"   4  0  "A word attached to a declaration."
    18 TypeTag   "TYPE_TAG"   0  0  "A word attached to a type."
    19 Enum64    "ENUM64"     0  12 "An enumeration of up to 64 bits."
}

/// Reads the word at `at`, or `None` beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// Reads the half-word at `at`, or `None` beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(word.try_into().ok()?))
}

/// The part that all records share, split but not understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Where its name begins in the string table.
    pub(crate) name: u32,
    /// Kind, vlen and kind flag.
    pub(crate) info: u32,
    /// A size in bytes, or the type it refers to.
    pub(crate) size_or_type: u32,
}

impl Record {
    /// Reads the record at `at`.
    pub(crate) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let words: &[u8; RECORD_SIZE] =
            bytes.get(at..at.checked_add(RECORD_SIZE)?)?.try_into().ok()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *words;
        Some(Self {
            name: u32::from_le_bytes([a, b, c, d]),
            info: u32::from_le_bytes([e, f, g, h]),
            size_or_type: u32::from_le_bytes([i, j, k, l]),
        })
    }

    /// The kind's number, assigned or not.
    pub(crate) const fn code(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    /// How many members, parameters, values or variables follow.
    pub(crate) const fn vlen(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// The flag whose meaning depends on the kind.
    pub(crate) const fn kind_flag(self) -> bool {
        self.info >> 31 == 1
    }
}

/// Where the two parts of BTF lie, as its header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Its own size in bytes.
    pub(crate) len: u32,
    /// Where types begin, from the end of the header.
    pub(crate) type_off: u32,
    /// How many bytes of types there are.
    pub(crate) type_len: u32,
    /// Where strings begin, from the end of the header.
    pub(crate) str_off: u32,
    /// How many bytes of strings there are.
    pub(crate) str_len: u32,
}

impl Header {
    /// Reads the fields; what they say is for others to judge.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            len: u32_at(bytes, 4)?,
            type_off: u32_at(bytes, 8)?,
            type_len: u32_at(bytes, 12)?,
            str_off: u32_at(bytes, 16)?,
            str_len: u32_at(bytes, 20)?,
        })
    }
}
