//! Do `func_info` and `line_info` agree with the code?

use std::ops::RangeInclusive;

use bpf_abi::spec::InfoBlob;
use bpf_btf::{Btf, FuncLinkage, Kind, NameOff, TypeId};
use bpf_isa::Pc;

use crate::env::{Env, FuncRecord, LineInfo};
use crate::error::Reason;
use crate::program::ProgramError;

/// The size of a record of `func_info`, as the kernel knows it. Linux: `struct bpf_func_info`.
const FUNC_SIZE: usize = 8;
/// The size of a record of `line_info`, as the kernel knows it. Linux: `struct bpf_line_info`.
const LINE_SIZE: usize = 16;
/// The greatest size of a record. Linux: `MAX_FUNCINFO_REC_SIZE`.
const MAX_SIZE: u32 = 252;

/// Whether the size of records is possible: at least what is known, in whole words.
const fn is_size(size: u32, known: usize) -> bool {
    size as usize >= known && size <= MAX_SIZE && size.is_multiple_of(4)
}

/// How many records there are.
fn count(info: &InfoBlob) -> usize {
    let size = usize::try_from(info.rec_size).unwrap_or(usize::MAX);
    info.bytes.len().checked_div(size).unwrap_or(usize::from(!info.bytes.is_empty()))
}

/// The records: the known words of each, and whether anything follows them that is not zero.
fn records<const WORDS: usize>(info: &InfoBlob) -> impl Iterator<Item = ([u32; WORDS], bool)> {
    info.bytes.chunks_exact(info.rec_size.max(1) as usize).map(|record| {
        let (words, _) = record.as_chunks::<4>();
        let mut known = [0; WORDS];
        for (known, word) in known.iter_mut().zip(words) {
            *known = u32::from_le_bytes(*word);
        }
        (known, record.iter().skip(4 * WORDS).any(|byte| *byte != 0))
    })
}

/// Checks the records of `func_info` by themselves, before the functions are known.
///
/// Linux: `check_btf_info_early`.
///
/// # Errors
///
/// Returns an error if a record is not about a function, or out of order.
pub(super) fn check_early(env: &mut Env<'_>) -> Result<(), Reason> {
    let spec = env.spec;
    if count(&spec.func_info) == 0 && count(&spec.line_info) == 0 {
        return Ok(());
    }
    let Some(btf) = spec.btf.as_deref() else { return Err(ProgramError::NoBtf.into()) };
    if count(&spec.func_info) == 0 {
        return Ok(());
    }
    let size = spec.func_info.rec_size;
    if !is_size(size, FUNC_SIZE) {
        return Err(ProgramError::FuncInfoSize { size }.into());
    }
    let mut previous = 0;
    for (index, ([off, id], has_tail)) in records(&spec.func_info).enumerate() {
        if has_tail {
            return Err(ProgramError::FuncInfoTail.into());
        }
        if index == 0 && off != 0 {
            return Err(ProgramError::FuncInfoFirst { off }.into());
        }
        if index != 0 && off <= previous {
            return Err(ProgramError::FuncInfoOrder { off, previous }.into());
        }
        if !matches!(btf.get(TypeId(id)).map(|ty| ty.kind), Some(Kind::Func(_))) {
            return Err(ProgramError::FuncInfoType { id: id.cast_signed() }.into());
        }
        previous = off;
        env.debug.funcs.push(FuncRecord { pc: Pc(off), type_id: TypeId(id) });
    }
    Ok(())
}

/// Checks the records against the functions, and keeps what they say.
///
/// Linux: `check_btf_info`.
///
/// # Errors
///
/// Returns an error if they do not agree.
pub(super) fn check(env: &mut Env<'_>) -> Result<(), Reason> {
    if env.debug.funcs.is_empty() {
        check_untyped(env)?;
    } else {
        check_funcs(env)?;
    }
    check_lines(env)?;
    Ok(())
}

/// Linux: `check_abnormal_return`.
fn check_untyped(env: &Env<'_>) -> Result<(), ProgramError> {
    for subprog in env.subprogs.iter().skip(1) {
        if subprog.has_ld_abs {
            return Err(ProgramError::PacketLoadWithoutBtf);
        }
        if subprog.has_tail_call {
            return Err(ProgramError::TailCallWithoutBtf);
        }
    }
    Ok(())
}

/// Linux: `check_btf_func`.
fn check_funcs(env: &mut Env<'_>) -> Result<(), ProgramError> {
    let Some(btf) = env.spec.btf.as_deref() else { return Ok(()) };
    if env.debug.funcs.len() != env.subprogs.len() {
        return Err(ProgramError::FuncInfoCount);
    }
    for (index, record) in env.debug.funcs.iter().enumerate() {
        let subprog = &mut env.subprogs[index];
        if subprog.start != record.pc {
            return Err(ProgramError::FuncInfoLayout);
        }
        subprog.name = btf.name_of(record.type_id).to_owned();
        subprog.btf_id = Some(record.type_id);
        subprog.is_global = linkage(btf, record.type_id) == Some(FuncLinkage::Global);
        if index != 0 && !returns_number(btf, record.type_id) {
            if subprog.has_ld_abs {
                return Err(ProgramError::PacketLoadReturn);
            }
            if subprog.has_tail_call {
                return Err(ProgramError::TailCallReturn);
            }
        }
    }
    Ok(())
}

fn linkage(btf: &Btf, id: TypeId) -> Option<FuncLinkage> {
    let Kind::Func(func) = btf.get(id)?.kind else { return None };
    Some(func.linkage)
}

/// Whether a function returns an integer of up to eight bytes or an enumeration.
fn returns_number(btf: &Btf, id: TypeId) -> bool {
    let Some(ret) = btf.func_proto(id).and_then(|proto| btf.resolve(proto.ret)) else {
        return false;
    };
    let is_enum = matches!(ret.kind, Kind::Enum(_) | Kind::Enum64(_));
    let is_int = matches!(ret.kind, Kind::Int(_));
    is_enum || is_int && btf.size_of(ret.id).is_some_and(|size| size <= 8)
}

/// Linux: `check_btf_line`.
fn check_lines(env: &mut Env<'_>) -> Result<(), ProgramError> {
    let spec = env.spec;
    if count(&spec.line_info) == 0 {
        return Ok(());
    }
    if !is_size(spec.line_info.rec_size, LINE_SIZE) {
        return Err(ProgramError::LineInfoSize);
    }
    let Some(btf) = spec.btf.as_deref() else { return Err(ProgramError::NoBtf) };
    let len = spec.insns.len();
    let mut starts = env.subprogs.iter().map(|subprog| subprog.start.0).enumerate().peekable();
    let mut previous = 0;
    for (index, (record, has_tail)) in records(&spec.line_info).enumerate() {
        let [off, file_off, text_off, position] = record;
        if has_tail {
            return Err(ProgramError::LineInfoTail);
        }
        let slot = spec.insns.get(off as usize).filter(|_| index == 0 || off > previous);
        let Some(slot) = slot else {
            return Err(ProgramError::LineInfoOrder { index, off, previous, len });
        };
        if slot.opcode == 0 {
            return Err(ProgramError::LineInfoCode { index });
        }
        if !names(btf).contains(&file_off) || !names(btf).contains(&text_off) {
            return Err(ProgramError::LineInfoName { index });
        }
        if let Some(&(subprog, start)) = starts.peek() {
            if off == start {
                starts.next();
            } else if start < off {
                return Err(ProgramError::LineInfoMissing { subprog });
            }
        }
        previous = off;
        env.debug.lines.push(LineInfo {
            pc: Pc(off),
            file: btf.name(NameOff(file_off)).to_owned(),
            text: btf.name(NameOff(text_off)).to_owned(),
            line: position >> 10,
            column: position & 0x3ff,
        });
    }
    let first_missing = starts.peek().map(|(subprog, _)| *subprog);
    match first_missing {
        Some(subprog) => {
            Err(ProgramError::LineInfoShort { missing: env.subprogs.len() - subprog, subprog })
        }
        None => Ok(()),
    }
}

/// The offsets that are in the string table.
fn names(btf: &Btf) -> RangeInclusive<u32> {
    let len = u32::try_from(btf.string_bytes().len()).unwrap_or(u32::MAX);
    0..=len.saturating_sub(1)
}
