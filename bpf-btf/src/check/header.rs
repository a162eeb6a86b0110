//! The header and the two sections that it names.

use super::log::Log;
use super::problem::{Problem, Refusal};
use crate::raw::{self, Header};

/// The largest BTF the kernel takes, in bytes. Linux: `BTF_MAX_SIZE`.
const MAX_SIZE: usize = 16 << 20;

/// The sections, found.
pub(super) struct Parts<'a> {
    pub(super) types: &'a [u8],
    pub(super) strings: &'a [u8],
}

pub(super) fn check<'a>(data: &'a [u8], log: &mut Log) -> Result<Parts<'a>, Refusal> {
    if data.len() > MAX_SIZE {
        return Err(log.refuse(Problem::TooLarge));
    }
    let header_len = raw::u32_at(data, 4).ok_or_else(|| log.refuse(Problem::NoHeaderLength))?;
    let known = raw::HEADER_SIZE;
    let header_len = header_len as usize;
    let Some(header_bytes) = data.get(..header_len) else {
        return Err(log.refuse(Problem::NoHeader));
    };
    let tail = header_bytes.get(known..).unwrap_or_default();
    if tail.iter().any(|byte| *byte != 0) {
        return Err(log.refuse(Problem::UnsupportedHeader));
    }
    // A short header is taken as if zeros followed.
    let mut whole = [0; raw::HEADER_SIZE];
    let given = header_len.min(known);
    whole[..given].copy_from_slice(&header_bytes[..given]);
    let Some(header) = Header::read(&whole) else {
        return Err(log.refuse(Problem::NoHeader));
    };
    let [m0, m1, version, flags, ..] = whole;
    let magic = u16::from_le_bytes([m0, m1]);
    tell(&header, magic, version, flags, data.len(), log);
    if magic != raw::MAGIC {
        return Err(log.refuse(Problem::Magic));
    }
    if version != raw::VERSION {
        return Err(log.refuse(Problem::Version));
    }
    if flags != 0 {
        return Err(log.refuse(Problem::Flags));
    }
    let rest = &data[header_len..];
    if rest.is_empty() {
        return Err(log.refuse(Problem::NoData));
    }
    sections(&header, rest, log)
}

fn tell(header: &Header, magic: u16, version: u8, flags: u8, size: usize, log: &mut Log) {
    if !log.is_telling() {
        return;
    }
    log.line(&format!("magic: {magic:#x}"));
    log.line(&format!("version: {version}"));
    log.line(&format!("flags: {flags:#x}"));
    log.line(&format!("hdr_len: {}", header.len));
    log.line(&format!("type_off: {}", header.type_off));
    log.line(&format!("type_len: {}", header.type_len));
    log.line(&format!("str_off: {}", header.str_off));
    log.line(&format!("str_len: {}", header.str_len));
    log.line(&format!("btf_total_size: {size}"));
}

/// Finds the sections in what follows the header: they must cover it, one after the other.
fn sections<'a>(header: &Header, rest: &'a [u8], log: &mut Log) -> Result<Parts<'a>, Refusal> {
    let mut sections = [
        (header.type_off as usize, header.type_len as usize),
        (header.str_off as usize, header.str_len as usize),
    ];
    // The kernel orders them by the sign of 32-bit differences; it shows in what it says of absurd ones.
    let by_offset = header.type_off.wrapping_sub(header.str_off).cast_signed();
    let by_len = header.type_len.wrapping_sub(header.str_len).cast_signed();
    if by_offset > 0 || (by_offset == 0 && by_len > 0) {
        sections.swap(0, 1);
    }
    let mut expected = 0;
    for (offset, len) in sections {
        if offset > rest.len() {
            return Err(log.refuse(Problem::SectionOffset));
        }
        if expected < offset {
            return Err(log.refuse(Problem::UnsupportedSection));
        }
        if expected > offset {
            return Err(log.refuse(Problem::SectionOverlap));
        }
        if rest.len() - expected < len {
            return Err(log.refuse(Problem::SectionLength));
        }
        expected += len;
    }
    if expected != rest.len() {
        return Err(log.refuse(Problem::UnsupportedSection));
    }
    let part = |offset: u32, len: u32| {
        let start = offset as usize;
        rest.get(start..start + len as usize).unwrap_or_default()
    };
    let strings = part(header.str_off, header.str_len);
    let types = part(header.type_off, header.type_len);
    if header.str_off as usize + strings.len() != rest.len() {
        return Err(log.refuse(Problem::StringsNotLast));
    }
    let is_proper = strings.first() == Some(&0)
        && strings.last() == Some(&0)
        && strings.len() - 1 <= raw::MAX_NAME_OFFSET as usize;
    if !is_proper {
        return Err(log.refuse(Problem::Strings));
    }
    if !header.type_off.is_multiple_of(4) {
        return Err(log.refuse(Problem::TypesUnaligned));
    }
    if types.is_empty() {
        return Err(log.refuse(Problem::NoTypes));
    }
    Ok(Parts { types, strings })
}
