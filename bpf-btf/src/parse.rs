//! Bytes to [`Btf`], with every offset checked.
//!
//! Parsing settles what later reading relies on: each record lies within its section, each name within the string
//! table, each type id within the BTF. What else the kernel demands (no cycles, sizes that agree, proper names) is
//! [`crate::check`]'s business, so that BTF which the kernel refuses can still be looked at.

use std::sync::Arc;

use thiserror::Error;

use crate::Btf;
use crate::raw::{self, Header, KindCode, Record};

/// Why bytes are not BTF.
///
/// Offsets are in bytes from the beginning of the data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The data ends within the header.
    #[error("btf: {size} bytes are too few for a header")]
    HeaderTruncated {
        /// How many bytes there are.
        size: usize,
    },

    /// The first two bytes are something else.
    #[error("btf: magic is {magic:#06x}, not 0xeb9f")]
    NotBtf {
        /// What they are.
        magic: u16,
    },

    /// The data was written for machines of the other byte order.
    #[error("btf: big-endian data is not supported")]
    BigEndian,

    /// The version is not 1.
    #[error("btf: version {version} is not supported")]
    Version {
        /// What it is.
        version: u8,
    },

    /// The header gives itself a size that it cannot have.
    #[error("btf: header of {len} bytes in {size} bytes of data")]
    HeaderLength {
        /// What it says.
        len: u32,
        /// How many bytes of data there are.
        size: usize,
    },

    /// A section reaches beyond the data.
    #[error("btf: the {section} section, {len} bytes at {offset}, reaches beyond {size} bytes")]
    SectionOutside {
        /// `type` or `string`.
        section: &'static str,
        /// Where it begins.
        offset: u64,
        /// How long it claims to be.
        len: u64,
        /// How many bytes of data there are.
        size: usize,
    },

    /// The string table does not begin or does not end with a NUL.
    #[error("btf: the string section must begin and end with a NUL")]
    Strings,

    /// A record ends beyond its section.
    #[error("btf: type {id} at offset {offset} is cut off")]
    RecordTruncated {
        /// The type's number.
        id: u32,
        /// Where the record begins.
        offset: usize,
    },

    /// A record's kind is not assigned.
    #[error("btf: type {id} at offset {offset} has unknown kind {kind}")]
    UnknownKind {
        /// The type's number.
        id: u32,
        /// Where the record begins.
        offset: usize,
        /// The kind's number.
        kind: u32,
    },

    /// A name begins beyond the string table.
    #[error("btf: type {id} at offset {offset} has a name at {name}, beyond the string section")]
    NameOutside {
        /// The type's number.
        id: u32,
        /// Where the record begins.
        offset: usize,
        /// Where the name should be.
        name: u32,
    },

    /// A record refers to a type that does not exist.
    #[error("btf: type {id} at offset {offset} refers to type {target}, which does not exist")]
    TypeOutside {
        /// The type's number.
        id: u32,
        /// Where the record begins.
        offset: usize,
        /// The type it refers to.
        target: u32,
    },

    /// There are more types than ids.
    #[error("btf: more types than ids")]
    TooManyTypes,
}

/// The two sections, found and measured.
pub(crate) struct Sections<'a> {
    pub(crate) types: &'a [u8],
    pub(crate) type_start: usize,
    pub(crate) strings: &'a [u8],
}

/// Finds the sections that the header names.
pub(crate) fn sections(data: &[u8]) -> Result<Sections<'_>, ParseError> {
    let size = data.len();
    let magic = raw::u16_at(data, 0).ok_or(ParseError::HeaderTruncated { size })?;
    if magic == raw::MAGIC.swap_bytes() {
        return Err(ParseError::BigEndian);
    }
    if magic != raw::MAGIC {
        return Err(ParseError::NotBtf { magic });
    }
    let header = Header::read(data).ok_or(ParseError::HeaderTruncated { size })?;
    let version = data[2];
    if version != raw::VERSION {
        return Err(ParseError::Version { version });
    }
    let len = header.len as usize;
    if len < raw::HEADER_SIZE || len > size {
        return Err(ParseError::HeaderLength { len: header.len, size });
    }
    let part = |section, offset: u32, length: u32| {
        let start = u64::from(header.len) + u64::from(offset);
        let outside =
            ParseError::SectionOutside { section, offset: start, len: u64::from(length), size };
        let found = usize::try_from(start)
            .ok()
            .and_then(|start| Some((start, data.get(start..start.checked_add(length as usize)?)?)));
        found.ok_or(outside)
    };
    let (type_start, types) = part("type", header.type_off, header.type_len)?;
    let (_, strings) = part("string", header.str_off, header.str_len)?;
    Ok(Sections { types, type_start, strings })
}

pub(crate) fn parse(data: &[u8], base: Option<Arc<Btf>>) -> Result<Btf, ParseError> {
    let Sections { types, type_start, strings } = sections(data)?;
    let is_split = base.is_some();
    let proper = match (strings.first(), strings.last()) {
        (None, _) | (_, None) => is_split,
        (Some(first), Some(last)) => *last == 0 && (is_split || *first == 0),
    };
    if !proper {
        return Err(ParseError::Strings);
    }
    let first_id = base.as_ref().map_or(1, |base| base.end_id());
    let first_name = base.as_ref().map_or(0, |base| base.end_name());
    let offsets = record_offsets(types, type_start, first_id)?;
    let bounds = Bounds {
        types,
        type_start,
        end_id: u64::from(first_id) + offsets.len() as u64,
        end_name: u64::from(first_name) + strings.len() as u64,
    };
    for (id, at) in (first_id..).zip(&offsets) {
        bounds.check(id, *at as usize)?;
    }
    Ok(Btf::from_parts(base, first_id, first_name, types.into(), offsets.into(), strings.into()))
}

/// Where each record begins within the type section.
fn record_offsets(types: &[u8], type_start: usize, first_id: u32) -> Result<Vec<u32>, ParseError> {
    // A record has at least twelve bytes, so this is bounded by the size of the data; real BTF averages 20 or more.
    let mut offsets = Vec::with_capacity(types.len() / 20);
    let mut at = 0;
    let mut id = first_id;
    while at < types.len() {
        let offset = type_start + at;
        let truncated = ParseError::RecordTruncated { id, offset };
        let record = Record::read(types, at).ok_or_else(|| truncated.clone())?;
        let code = match KindCode::of(record.code()) {
            None | Some(KindCode::Void) => {
                return Err(ParseError::UnknownKind { id, offset, kind: record.code() });
            }
            Some(code) => code,
        };
        let (fixed, each) = code.extra();
        let end = at + raw::RECORD_SIZE + fixed + each * record.vlen();
        if end > types.len() {
            return Err(truncated);
        }
        offsets.push(u32::try_from(at).map_err(|_| ParseError::TooManyTypes)?);
        at = end;
        id = id.checked_add(1).ok_or(ParseError::TooManyTypes)?;
    }
    Ok(offsets)
}

/// What names and type ids may be.
struct Bounds<'a> {
    types: &'a [u8],
    type_start: usize,
    end_id: u64,
    end_name: u64,
}

impl Bounds<'_> {
    /// Checks every name and type id of the record at `at`.
    fn check(&self, id: u32, at: usize) -> Result<(), ParseError> {
        let offset = self.type_start + at;
        let name = |name: u32| {
            if u64::from(name) < self.end_name.max(1) {
                Ok(())
            } else {
                Err(ParseError::NameOutside { id, offset, name })
            }
        };
        let ty = |target: u32| {
            if u64::from(target) < self.end_id {
                Ok(())
            } else {
                Err(ParseError::TypeOutside { id, offset, target })
            }
        };
        let truncated = ParseError::RecordTruncated { id, offset };
        let record = Record::read(self.types, at).ok_or_else(|| truncated.clone())?;
        let code = KindCode::of(record.code()).ok_or_else(|| truncated.clone())?;
        let (fixed, each) = code.extra();
        let list = at + raw::RECORD_SIZE;
        let rest = self.types.get(list..list + fixed + each * record.vlen()).ok_or(truncated)?;
        let word = |at| raw::u32_at(rest, at).unwrap_or_default();
        name(record.name)?;
        match code {
            KindCode::Void | KindCode::Int | KindCode::Float | KindCode::Fwd => Ok(()),
            KindCode::Ptr
            | KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::Func
            | KindCode::Var
            | KindCode::DeclTag
            | KindCode::TypeTag => ty(record.size_or_type),
            KindCode::Array => ty(word(0)).and_then(|()| ty(word(4))),
            KindCode::Struct | KindCode::Union => {
                rest.as_chunks::<12>().0.iter().try_for_each(|member| {
                    let [a, b, c, d, e, f, g, h, ..] = *member;
                    name(u32::from_le_bytes([a, b, c, d]))?;
                    ty(u32::from_le_bytes([e, f, g, h]))
                })
            }
            KindCode::Enum => rest
                .chunks_exact(8)
                .try_for_each(|value| name(raw::u32_at(value, 0).unwrap_or_default())),
            KindCode::Enum64 => rest
                .chunks_exact(12)
                .try_for_each(|value| name(raw::u32_at(value, 0).unwrap_or_default())),
            KindCode::FuncProto => {
                ty(record.size_or_type)?;
                rest.as_chunks::<8>().0.iter().try_for_each(|&[a, b, c, d, e, f, g, h]| {
                    name(u32::from_le_bytes([a, b, c, d]))?;
                    ty(u32::from_le_bytes([e, f, g, h]))
                })
            }
            KindCode::Datasec => rest
                .chunks_exact(12)
                .try_for_each(|var| ty(raw::u32_at(var, 0).unwrap_or_default())),
        }
    }
}
