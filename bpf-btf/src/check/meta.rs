//! Each record by itself: is it whole, and do its own fields make sense?

use super::header::Parts;
use super::log::{self, Log};
use super::problem::{Problem, Refusal};
use crate::raw::{self, KindCode, Record};

/// The longest name the kernel takes. Linux: `KSYM_NAME_LEN`.
const MAX_NAME: usize = 512;

/// A record and its place.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) id: u32,
    pub(super) record: Record,
    pub(super) code: KindCode,
    /// What follows the shared part.
    pub(super) rest: &'a [u8],
}

impl Entry<'_> {
    /// The word at this offset behind the shared part.
    pub(super) fn word(&self, at: usize) -> u32 {
        raw::u32_at(self.rest, at).unwrap_or_default()
    }

    /// The three words of a member, a section's variable, or a wide enumerator.
    pub(super) fn triple(&self, index: usize) -> [u32; 3] {
        let at = 12 * index;
        [self.word(at), self.word(at + 4), self.word(at + 8)]
    }
}

/// All records, each whole.
pub(super) struct Records<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    offsets: Vec<u32>,
}

impl<'a> Records<'a> {
    /// One past the last number.
    pub(super) const fn end(&self) -> usize {
        self.offsets.len() + 1
    }

    /// The record with this number; none for `void` and beyond the end.
    pub(super) fn get(&self, id: u32) -> Option<Entry<'a>> {
        let at = *self.offsets.get((id as usize).checked_sub(1)?)? as usize;
        let record = Record::read(self.types, at)?;
        let code = KindCode::of(record.code())?;
        let (fixed, each) = code.extra();
        let start = at + raw::RECORD_SIZE;
        let rest = self.types.get(start..start + fixed + each * record.vlen())?;
        Some(Entry { id, record, code, rest })
    }

    /// A name as the log shows it.
    pub(super) fn log_name(&self, offset: u32) -> String {
        match self.name(offset) {
            _ if offset == 0 => "(anon)".to_owned(),
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => "(invalid-name-offset)".to_owned(),
        }
    }

    pub(super) fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..).filter(|rest| !rest.is_empty())?;
        rest.split(|byte| *byte == 0).next()
    }

    pub(super) fn is_identifier(&self, offset: u32) -> bool {
        let Some([first, others @ ..]) = self.name(offset) else { return false };
        let may_begin = |c: &u8| is_letter(*c) || matches!(c, b'_' | b'.');
        may_begin(first)
            && others.len() < MAX_NAME
            && others.iter().all(|c| c.is_ascii_digit() || may_begin(c))
    }

    fn is_section_name(&self, offset: u32) -> bool {
        self.name(offset).is_some_and(|name| {
            !name.is_empty()
                && name.len() <= MAX_NAME
                && name.iter().all(|c| matches!(c, 0x20..=0x7e | 0xa0..))
        })
    }
}

/// The kernel takes Latin-1 for its alphabet.
const fn is_letter(c: u8) -> bool {
    c.is_ascii_alphabetic() || (c >= 0xc0 && c != 0xd7 && c != 0xf7)
}

/// Checks every record by itself.
pub(super) fn check<'a>(parts: &Parts<'a>, log: &mut Log) -> Result<Records<'a>, Refusal> {
    let mut records = Records {
        types: parts.types,
        strings: parts.strings,
        offsets: Vec::with_capacity(parts.types.len() / 20),
    };
    let mut at = 0;
    let mut id = 0u32;
    while at < parts.types.len() {
        id += 1;
        if id > raw::MAX_TYPE {
            return Err(log.refuse(Problem::TooManyTypes));
        }
        let entry = whole(&records, id, at, log)?;
        by_itself(&records, &entry, log)?;
        at += raw::RECORD_SIZE + entry.rest.len();
        let start = at - raw::RECORD_SIZE - entry.rest.len();
        records.offsets.push(u32::try_from(start).unwrap_or(u32::MAX));
    }
    Ok(records)
}

/// The record at `at`, if it is whole as far as its kind goes.
fn whole<'a>(
    records: &Records<'a>,
    id: u32,
    at: usize,
    log: &mut Log,
) -> Result<Entry<'a>, Refusal> {
    let left = records.types.len() - at;
    let Some(record) = Record::read(records.types, at) else {
        let problem = Problem::CutOff { left, needed: raw::RECORD_SIZE };
        return Err(log.refuse_plain(&format!("[{id}] "), problem));
    };
    if record.info & !raw::INFO_MASK != 0 {
        return Err(log.refuse_plain(&format!("[{id}] "), Problem::Info(record.info)));
    }
    let code = KindCode::of(record.code()).filter(|code| *code != KindCode::Void);
    let Some(code) = code else {
        return Err(log.refuse_plain(&format!("[{id}] "), Problem::Kind(record.code())));
    };
    if records.name(record.name).is_none() {
        return Err(log.refuse_plain(&format!("[{id}] "), Problem::NameOffset(record.name)));
    }
    let (fixed, each) = code.extra();
    // A function keeps its linkage where others count what follows.
    let needed = fixed + each * record.vlen();
    let start = at + raw::RECORD_SIZE;
    let rest = records.types.get(start..start + needed);
    let entry = Entry { id, record, code, rest: rest.unwrap_or_default() };
    if rest.is_none() {
        let left = left - raw::RECORD_SIZE;
        return Err(log.refuse_basic(records, &entry, Problem::CutOff { left, needed }));
    }
    Ok(entry)
}

const NAME: Problem = Problem::Plain("Invalid name");
const TYPE_ID: Problem = Problem::Plain("Invalid type_id");
const VLEN: Problem = Problem::Plain("vlen != 0");
const KIND_FLAG: Problem = Problem::Plain("Invalid btf_info kind_flag");

const fn is_type_id(id: u32) -> bool {
    id <= raw::MAX_TYPE
}

/// What all records of a kind are asked, in an order that is the kind's own.
fn by_itself(records: &Records<'_>, entry: &Entry<'_>, log: &mut Log) -> Result<(), Refusal> {
    let record = entry.record;
    let named = records.is_identifier(record.name);
    let anonymous = record.name == 0;
    let no_vlen = (record.vlen() == 0, VLEN);
    let no_flag = (!record.kind_flag(), KIND_FLAG);
    let target = (is_type_id(record.size_or_type), TYPE_ID);
    let ask = |log: &mut Log, laws: &[(bool, Problem)]| match laws.iter().find(|law| !law.0) {
        None => Ok(()),
        Some((_, problem)) => Err(log.refuse_type(records, entry, problem.clone())),
    };
    match entry.code {
        KindCode::Void => {}
        KindCode::Int => ask(log, &[no_vlen, no_flag]).and_then(|()| int(records, entry, log))?,
        KindCode::Ptr | KindCode::Volatile | KindCode::Const | KindCode::Restrict => {
            ask(log, &[no_vlen, no_flag, target, (anonymous, NAME)])?;
        }
        KindCode::Typedef => {
            ask(log, &[no_vlen, no_flag, target, (!anonymous && named, NAME)])?;
        }
        KindCode::TypeTag => {
            let has_word = records.name(record.name).is_some_and(|name| !name.is_empty());
            ask(log, &[no_vlen, target, (has_word, NAME)])?;
        }
        KindCode::Fwd => {
            let no_type = (record.size_or_type == 0, Problem::Plain("type != 0"));
            ask(log, &[no_vlen, no_type, (!anonymous && named, NAME)])?;
        }
        KindCode::Array => {
            let no_size = (record.size_or_type == 0, Problem::Plain("size != 0"));
            let proper = |id: u32| id != 0 && is_type_id(id);
            let element = (proper(entry.word(0)), Problem::Plain("Invalid elem"));
            let index = (proper(entry.word(4)), Problem::Plain("Invalid index"));
            ask(log, &[(anonymous, NAME), no_vlen, no_flag, no_size, element, index])?;
        }
        KindCode::Struct | KindCode::Union => {
            ask(log, &[(anonymous || named, NAME)])?;
            log.ty(records, entry);
            return members(records, entry, log);
        }
        KindCode::Enum | KindCode::Enum64 => {
            let size = record.size_or_type;
            let proper = size <= 8 && size.is_power_of_two();
            let size = (proper, Problem::Plain("Unexpected size"));
            ask(log, &[size, (anonymous || named, NAME)])?;
            log.ty(records, entry);
            return enumerators(records, entry, log);
        }
        KindCode::Func => {
            let linkage = (record.vlen() <= 1, Problem::Plain("Invalid func linkage"));
            ask(log, &[(!anonymous && named, NAME), linkage, no_flag])?;
        }
        KindCode::FuncProto => ask(log, &[(anonymous, NAME), no_flag])?,
        KindCode::Var => {
            let ty = (record.size_or_type != 0 && target.0, TYPE_ID);
            let linkage = (entry.word(0) <= 1, Problem::Plain("Linkage not supported"));
            ask(log, &[no_vlen, no_flag, (!anonymous && named, NAME), ty, linkage])?;
        }
        KindCode::Datasec => {
            let size = (record.size_or_type != 0, Problem::Plain("size == 0"));
            let name = !anonymous && records.is_section_name(record.name);
            ask(log, &[size, no_flag, (name, NAME)])?;
            log.ty(records, entry);
            return variables(records, entry, log);
        }
        KindCode::Float => {
            let proper = matches!(record.size_or_type, 2 | 4 | 8 | 12 | 16);
            ask(log, &[no_vlen, no_flag, (proper, Problem::Plain("Invalid type_size"))])?;
        }
        KindCode::DeclTag => {
            let has_word = records.name(record.name).is_some_and(|name| !name.is_empty());
            let value = (has_word, Problem::Plain("Invalid value"));
            let component = entry.word(0).cast_signed() >= -1;
            let component = (component, Problem::Plain("Invalid component_idx"));
            ask(log, &[value, no_vlen, component])?;
        }
    }
    log.ty(records, entry);
    Ok(())
}

fn int(records: &Records<'_>, entry: &Entry<'_>, log: &mut Log) -> Result<(), Refusal> {
    let data = entry.word(0);
    if data & 0xf000_0000 != 0 {
        return Err(log.refuse_basic(records, entry, Problem::IntData(data)));
    }
    let [bits, _, offset, encoding] = data.to_le_bytes();
    let all_bits = u32::from(bits) + u32::from(offset);
    let problem = if all_bits > 128 {
        Problem::Plain("nr_bits exceeds 128")
    } else if all_bits.div_ceil(8) > entry.record.size_or_type {
        Problem::Plain("nr_bits exceeds type_size")
    } else if !matches!(encoding & 0xf, 0 | 1 | 2 | 4) {
        Problem::Encoding
    } else {
        return Ok(());
    };
    Err(log.refuse_type(records, entry, problem))
}

fn members(records: &Records<'_>, entry: &Entry<'_>, log: &mut Log) -> Result<(), Refusal> {
    let is_union = entry.code == KindCode::Union;
    let mut last = 0;
    for index in 0..entry.record.vlen() {
        let [name, ty, offset] = entry.triple(index);
        let offset = if entry.record.kind_flag() { offset & 0x00ff_ffff } else { offset };
        let problem = if records.name(name).is_none() {
            Problem::MemberNameOffset(name)
        } else if name != 0 && !records.is_identifier(name) {
            NAME
        } else if ty == 0 || !is_type_id(ty) {
            TYPE_ID
        } else if (is_union && offset != 0) || last > offset {
            Problem::Plain("Invalid member bits_offset")
        } else if offset.div_ceil(8) > entry.record.size_or_type {
            Problem::Plain("Member bits_offset exceeds its struct size")
        } else {
            if log.is_telling() {
                log.line(&log::member_line(records, entry, entry.triple(index)));
            }
            last = offset;
            continue;
        };
        return Err(log.refuse_member(records, entry, entry.triple(index), false, problem));
    }
    Ok(())
}

fn enumerators(records: &Records<'_>, entry: &Entry<'_>, log: &mut Log) -> Result<(), Refusal> {
    let is_wide = entry.code == KindCode::Enum64;
    let size = if is_wide { 12 } else { 8 };
    for index in 0..entry.record.vlen() {
        let name = entry.word(size * index);
        if records.name(name).is_none() {
            return Err(log.refuse_plain("\t", Problem::NameOffset(name)));
        }
        if name == 0 || !records.is_identifier(name) {
            return Err(log.refuse_type(records, entry, NAME));
        }
        if log.is_telling() {
            let low = entry.word(size * index + 4);
            let value = match (is_wide, entry.record.kind_flag()) {
                (false, false) => low.to_string(),
                (false, true) => low.cast_signed().to_string(),
                (true, is_signed) => {
                    let high = entry.word(size * index + 8);
                    let value = u64::from(low) | u64::from(high) << 32;
                    if is_signed { value.cast_signed().to_string() } else { value.to_string() }
                }
            };
            log.line(&format!("\t{} val={value}", records.log_name(name)));
        }
    }
    Ok(())
}

fn variables(records: &Records<'_>, entry: &Entry<'_>, log: &mut Log) -> Result<(), Refusal> {
    let whole = u64::from(entry.record.size_or_type);
    let (mut end, mut sum) = (0u64, 0u64);
    for index in 0..entry.record.vlen() {
        let [ty, offset, size] = entry.triple(index);
        let (offset, size) = (u64::from(offset), u64::from(size));
        let problem = if ty == 0 || !is_type_id(ty) {
            TYPE_ID
        } else if offset < end || offset >= whole {
            Problem::Plain("Invalid offset")
        } else if size == 0 || size > whole {
            Problem::Plain("Invalid size")
        } else if offset + size > whole {
            Problem::Plain("Invalid offset+size")
        } else {
            if log.is_telling() {
                log.line(&log::var_line(entry, index));
            }
            end = offset + size;
            sum += size;
            continue;
        };
        return Err(log.refuse_var(records, entry, index, false, problem));
    }
    if whole < sum {
        let problem = Problem::Plain("Invalid btf_info size");
        return Err(log.refuse_type(records, entry, problem));
    }
    Ok(())
}
