//! `.BTF.ext`: which function and which source line an instruction belongs to, and what CO-RE is to patch.
//!
//! The same records travel twice. In an object they are grouped by ELF section and count instructions in bytes; to
//! the kernel they go as plain arrays, one program each, and count instructions in slots of eight bytes.
//!
//! ```text
//!   object:  header | func_info | line_info | core_relo         each: rec_size, then per section:
//!                                                               name_off, count, count records
//!   kernel:  count records of rec_size bytes
//! ```

use thiserror::Error;

use crate::raw;
use crate::types::{NameOff, TypeId};

/// The size of a [`FuncInfo`] as the kernel takes it, in bytes.
pub const FUNC_INFO_SIZE: u32 = 8;

/// The size of a [`LineInfo`] as the kernel takes it, in bytes.
pub const LINE_INFO_SIZE: u32 = 16;

/// The size of a [`CoreRelo`] as the kernel takes it, in bytes.
pub const CORE_RELO_SIZE: u32 = 16;

/// The largest record the kernel takes, in bytes. Linux: `MAX_FUNCINFO_REC_SIZE`.
const MAX_RECORD: u32 = 252;

/// Why debug records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtError {
    /// The header is cut off, or is none.
    #[error(".BTF.ext: no header at its beginning")]
    Header,

    /// A part reaches beyond the data.
    #[error(".BTF.ext: {part} at offset {offset} reaches beyond {size} bytes")]
    Outside {
        /// `func_info`, `line_info` or `core_relo`.
        part: &'static str,
        /// Where it should end or go on, in bytes.
        offset: usize,
        /// How many bytes of data there are.
        size: usize,
    },

    /// The records have a size that they cannot have.
    #[error("{part}: record size {size} is not a multiple of 4 from {least} to 252")]
    RecordSize {
        /// `func_info`, `line_info` or `core_relo`.
        part: &'static str,
        /// What is claimed, in bytes.
        size: u32,
        /// What it must be at least, in bytes.
        least: u32,
    },

    /// An array is not a whole number of records.
    #[error("{part}: {len} bytes are no whole number of records of {size}")]
    Ragged {
        /// `func_info` or `line_info`.
        part: &'static str,
        /// The array's length in bytes.
        len: usize,
        /// The size of a record in bytes.
        size: u32,
    },

    /// A record has more bytes than we know, and they say something.
    #[error("{part}: record {index} has a tail that is not zero")]
    NonzeroTail {
        /// `func_info` or `line_info`.
        part: &'static str,
        /// The record's place in the array.
        index: usize,
    },
}

/// A record of debug information: a fixed number of words, read and written as a whole.
pub trait Record: Sized {
    /// What arrays of it are called.
    const PART: &'static str;

    /// How many bytes are known of it.
    const SIZE: u32;

    /// Reads it.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Appends it to `out`.
    fn write(&self, out: &mut Vec<u8>);
}

/// Here a function begins.
///
/// Linux: `struct bpf_func_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Where: in bytes within an object's section, in slots within a program.
    pub insn_off: u32,
    /// The function.
    pub ty: TypeId,
}

impl Record for FuncInfo {
    const PART: &'static str = "func_info";
    const SIZE: u32 = FUNC_INFO_SIZE;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self { insn_off: raw::u32_at(bytes, 0)?, ty: TypeId(raw::u32_at(bytes, 4)?) })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, &[self.insn_off, self.ty.0]);
    }
}

/// Here a source line begins.
///
/// Linux: `struct bpf_line_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// Where: in bytes within an object's section, in slots within a program.
    pub insn_off: u32,
    /// The file's name.
    pub file: NameOff,
    /// The line's text.
    pub text: NameOff,
    /// The line's number, shifted left by ten, and the column.
    pub line_col: u32,
}

impl LineInfo {
    /// The line's number, from 1.
    pub const fn line(&self) -> u32 {
        self.line_col >> 10
    }

    /// The column, from 1; 0 if it is not known.
    pub const fn column(&self) -> u32 {
        self.line_col & 0x3ff
    }
}

impl Record for LineInfo {
    const PART: &'static str = "line_info";
    const SIZE: u32 = LINE_INFO_SIZE;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            insn_off: raw::u32_at(bytes, 0)?,
            file: NameOff(raw::u32_at(bytes, 4)?),
            text: NameOff(raw::u32_at(bytes, 8)?),
            line_col: raw::u32_at(bytes, 12)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, &[self.insn_off, self.file.0, self.text.0, self.line_col]);
    }
}

/// This instruction depends on the layout of a type in the kernel it will run on.
///
/// Linux: `struct bpf_core_relo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRelo {
    /// Where: in bytes within an object's section, in slots within a program.
    pub insn_off: u32,
    /// The type that the question is about.
    pub ty: TypeId,
    /// The path through that type, such as `0:1:2`.
    pub access: NameOff,
    /// The number of the question; [`CoreReloKind::of`] names it.
    pub kind: u32,
}

impl Record for CoreRelo {
    const PART: &'static str = "core_relo";
    const SIZE: u32 = CORE_RELO_SIZE;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            insn_off: raw::u32_at(bytes, 0)?,
            ty: TypeId(raw::u32_at(bytes, 4)?),
            access: NameOff(raw::u32_at(bytes, 8)?),
            kind: raw::u32_at(bytes, 12)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, &[self.insn_off, self.ty.0, self.access.0, self.kind]);
    }
}

/// Defines the questions from their table.
///
/// The columns are: the number, the name, what libbpf's log calls it, what is asked.
macro_rules! relo_kinds {
    ($( $code:literal $Name:ident $word:literal $doc:literal )+) => {
        /// What a CO-RE relocation asks of the target's types.
        ///
        /// Linux: `enum bpf_core_relo_kind`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum CoreReloKind {
            $( #[doc = $doc] $Name = $code, )+
        }

        impl CoreReloKind {
            /// Every question, in encoding order.
            pub const ALL: &'static [Self] = &[$( Self::$Name ),+];

            /// The question with this number.
            pub const fn of(code: u32) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$Name), )+
                    _ => None,
                }
            }

            /// What libbpf's log calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$Name => $word, )+
                }
            }
        }
    };
}

relo_kinds! {
    0  FieldByteOffset "byte_off"      "Where does the field begin, in bytes?"
    1  FieldByteSize   "byte_sz"       "How large is the field, in bytes?"
    2  FieldExists     "field_exists"  "Is there such a field?"
    3  FieldSigned     "signed"        "Is the field signed?"
    4  FieldLshift     "lshift_u64"    "How far left must a bit field be shifted?"
    5  FieldRshift     "rshift_u64"    "How far right must it be shifted then?"
    6  TypeIdLocal     "local_type_id" "Which number has the type in the object's BTF?"
    7  TypeIdTarget    "target_type_id" "Which number has the type in the target's BTF?"
    8  TypeExists      "type_exists"   "Is there such a type?"
    9  TypeSize        "type_size"     "How large is the type, in bytes?"
    10 EnumvalExists   "enumval_exists" "Is there such an enumerator?"
    11 EnumvalValue    "enumval_value" "Which value has the enumerator?"
    12 TypeMatches     "type_matches"  "Is there a type of just this shape?"
}

/// The records of one ELF section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo<T> {
    /// The section's name.
    pub section: NameOff,
    /// Its records, in the order of the data.
    pub records: Vec<T>,
}

/// The contents of `.BTF.ext`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtfExt {
    /// Functions, by section.
    pub func_info: Vec<SectionInfo<FuncInfo>>,
    /// Source lines, by section.
    pub line_info: Vec<SectionInfo<LineInfo>>,
    /// CO-RE relocations, by section.
    pub core_relos: Vec<SectionInfo<CoreRelo>>,
}

impl BtfExt {
    /// Reads the contents of an object's `.BTF.ext` section.
    ///
    /// # Errors
    ///
    /// Returns an error that names the part and the place if the data is malformed.
    pub fn parse(data: &[u8]) -> Result<Self, ExtError> {
        let magic = raw::u16_at(data, 0).ok_or(ExtError::Header)?;
        let version = *data.get(2).ok_or(ExtError::Header)?;
        let header_len = raw::u32_at(data, 4).ok_or(ExtError::Header)? as usize;
        if magic != raw::MAGIC || version != raw::VERSION || header_len < 24 {
            return Err(ExtError::Header);
        }
        let header = data.get(..header_len).ok_or(ExtError::Header)?;
        Ok(Self {
            func_info: sections(data, header, 8)?,
            line_info: sections(data, header, 16)?,
            // Headers older than CO-RE end before this pair of words.
            core_relos: sections(data, header, 24)?,
        })
    }
}

/// Reads the part whose offset and length stand at `at` in the header.
fn sections<T: Record>(
    data: &[u8],
    header: &[u8],
    at: usize,
) -> Result<Vec<SectionInfo<T>>, ExtError> {
    let (Some(offset), Some(len)) = (raw::u32_at(header, at), raw::u32_at(header, at + 4)) else {
        return Ok(Vec::new());
    };
    if len == 0 {
        return Ok(Vec::new());
    }
    let start = header.len().saturating_add(offset as usize);
    let end = start.saturating_add(len as usize);
    let outside = |offset| ExtError::Outside { part: T::PART, offset, size: data.len() };
    let part = data.get(..end).ok_or_else(|| outside(end))?;
    let record_size = raw::u32_at(part, start).ok_or_else(|| outside(start))?;
    check_record_size::<T>(record_size)?;
    let record_size = record_size as usize;
    let mut sections = Vec::new();
    let mut at = start + 4;
    while at < end {
        let section = NameOff(raw::u32_at(part, at).ok_or_else(|| outside(at))?);
        let count = raw::u32_at(part, at + 4).ok_or_else(|| outside(at))? as usize;
        let first = at + 8;
        let after = count.checked_mul(record_size).and_then(|len| len.checked_add(first));
        let after = after.ok_or_else(|| outside(first))?;
        let bytes = part.get(first..after).ok_or_else(|| outside(after))?;
        let records = bytes.chunks_exact(record_size).filter_map(T::read).collect();
        sections.push(SectionInfo { section, records });
        at = after;
    }
    Ok(sections)
}

fn check_record_size<T: Record>(size: u32) -> Result<(), ExtError> {
    if (T::SIZE..=MAX_RECORD).contains(&size) && size.is_multiple_of(4) {
        Ok(())
    } else {
        Err(ExtError::RecordSize { part: T::PART, size, least: T::SIZE })
    }
}

/// Reads an array as the kernel takes it with a program.
///
/// # Errors
///
/// Returns an error if the size of a record cannot be, if the array is not whole, or if records have a tail that we
/// do not know and that is not zero.
pub fn parse_array<T: Record>(bytes: &[u8], record_size: u32) -> Result<Vec<T>, ExtError> {
    check_record_size::<T>(record_size)?;
    let size = record_size as usize;
    if !bytes.len().is_multiple_of(size) {
        return Err(ExtError::Ragged { part: T::PART, len: bytes.len(), size: record_size });
    }
    let record = |(index, bytes): (usize, &[u8])| {
        let (known, tail) = bytes.split_at(T::SIZE as usize);
        let tail_is_zero = tail.iter().all(|byte| *byte == 0);
        T::read(known)
            .filter(|_| tail_is_zero)
            .ok_or(ExtError::NonzeroTail { part: T::PART, index })
    };
    bytes.chunks_exact(size).enumerate().map(record).collect()
}

/// Writes an array as the kernel takes it; the size of a record is [`Record::SIZE`].
pub fn encode_array<T: Record>(records: &[T]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * T::SIZE as usize);
    records.iter().for_each(|record| record.write(&mut out));
    out
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Two sections of functions, one of lines, no relocations, in a header of 32 bytes.
    fn sample() -> Vec<u8> {
        let funcs = words(&[8, 1, 2, 0, 5, 16, 6, 9, 1, 0, 7]);
        let lines = words(&[16, 1, 1, 8, 20, 30, (17 << 10) | 3]);
        let (f, l) = (u32::try_from(funcs.len()).unwrap(), u32::try_from(lines.len()).unwrap());
        let header = words(&[0x0001_eb9f, 32, 0, f, f, l, f + l, 0]);
        [header, funcs, lines].concat()
    }

    #[test]
    fn sections_keep_their_records_apart() {
        let ext = BtfExt::parse(&sample()).unwrap();
        assert_eq!(ext.func_info.len(), 2);
        assert_eq!(ext.func_info[0].section, NameOff(1));
        assert_eq!(ext.func_info[0].records[1], FuncInfo { insn_off: 16, ty: TypeId(6) });
        assert_eq!(ext.func_info[1].records, [FuncInfo { insn_off: 0, ty: TypeId(7) }]);
        assert_eq!(
            (ext.line_info[0].records[0].line(), ext.line_info[0].records[0].column()),
            (17, 3)
        );
        assert!(ext.core_relos.is_empty());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = sample();
        for len in 0..whole.len() {
            assert!(BtfExt::parse(&whole[..len]).is_err(), "{len} bytes were enough");
        }
    }

    #[test]
    fn arrays_survive_the_round_trip() {
        let lines = [
            LineInfo { insn_off: 0, file: NameOff(1), text: NameOff(9), line_col: 1025 },
            LineInfo { insn_off: 7, file: NameOff(1), text: NameOff(0), line_col: 4096 },
        ];
        assert_eq!(parse_array::<LineInfo>(&encode_array(&lines), LINE_INFO_SIZE).unwrap(), lines);
    }

    #[test]
    fn a_longer_record_may_carry_zeros_only() {
        let zeros = words(&[0, 3, 0, 4, 5, 0]);
        assert_eq!(parse_array::<FuncInfo>(&zeros, 12).unwrap().len(), 2);
        let tail = words(&[0, 3, 0, 4, 5, 1]);
        let error = parse_array::<FuncInfo>(&tail, 12).unwrap_err();
        assert_eq!(error, ExtError::NonzeroTail { part: "func_info", index: 1 });
    }

    #[test]
    fn a_record_size_that_cannot_be_is_refused() {
        for size in [0, 4, 10, 256] {
            let error = parse_array::<FuncInfo>(&[], size).unwrap_err();
            assert_eq!(error, ExtError::RecordSize { part: "func_info", size, least: 8 });
        }
    }
}
