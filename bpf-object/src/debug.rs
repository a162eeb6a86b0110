//! Debug records of programs, gathered from those of sections.

use std::collections::HashMap;

use bpf_abi::spec::InfoBlob;
use bpf_btf::Btf;
use bpf_btf::ext::{
    BtfExt, FUNC_INFO_SIZE, FuncInfo, LINE_INFO_SIZE, LineInfo, SectionInfo, encode_array,
};

use crate::elf::Elf;
use crate::relocate::Part;

/// The records of an object, by section, counted in slots.
#[derive(Debug, Default)]
pub(crate) struct Debug {
    functions: HashMap<usize, Vec<FuncInfo>>,
    lines: HashMap<usize, Vec<LineInfo>>,
}

impl Debug {
    /// Sorts the records of an object by section.
    pub(crate) fn new(ext: &BtfExt, btf: &Btf, elf: &Elf<'_>) -> Self {
        Self {
            functions: by_section(&ext.func_info, btf, elf, |record| FuncInfo {
                insn_off: record.insn_off / 8,
                ..*record
            }),
            lines: by_section(&ext.line_info, btf, elf, |record| LineInfo {
                insn_off: record.insn_off / 8,
                ..*record
            }),
        }
    }

    /// Which function begins where in a program made of these parts. Empty if the program's own
    /// first function has no record: then libbpf hands none to the kernel.
    pub(crate) fn func_info(&self, parts: &[Part]) -> InfoBlob {
        let records = gather(
            &self.functions,
            parts,
            |record| record.insn_off,
            |record, off| FuncInfo { insn_off: off, ..record },
        );
        let bytes = if records.first().is_some_and(|first| first.insn_off == 0) {
            encode_array(&records)
        } else {
            Vec::new()
        };
        InfoBlob { rec_size: FUNC_INFO_SIZE, bytes }
    }

    /// Which line an instruction of such a program comes from.
    pub(crate) fn line_info(&self, parts: &[Part]) -> InfoBlob {
        let records = gather(
            &self.lines,
            parts,
            |record| record.insn_off,
            |record, off| LineInfo { insn_off: off, ..record },
        );
        let bytes = if records.first().is_some_and(|first| first.insn_off == 0) {
            encode_array(&records)
        } else {
            Vec::new()
        };
        InfoBlob { rec_size: LINE_INFO_SIZE, bytes }
    }
}

fn by_section<T>(
    sections: &[SectionInfo<T>],
    btf: &Btf,
    elf: &Elf<'_>,
    in_slots: impl Fn(&T) -> T,
) -> HashMap<usize, Vec<T>> {
    let mut found: HashMap<usize, Vec<T>> = HashMap::new();
    for section in sections {
        if let Some(index) = elf.section_index(btf.name(section.section)) {
            found.entry(index).or_default().extend(section.records.iter().map(&in_slots));
        }
    }
    found
}

/// The records that lie in the parts, moved to where the parts are.
fn gather<T: Copy>(
    records: &HashMap<usize, Vec<T>>,
    parts: &[Part],
    place: impl Fn(&T) -> u32,
    moved: impl Fn(T, u32) -> T,
) -> Vec<T> {
    let mut gathered = Vec::new();
    for part in parts {
        let of_section = records.get(&part.section).map_or(&[][..], Vec::as_slice);
        for record in of_section {
            let inside = (place(record) as usize).checked_sub(part.from);
            let Some(inside) = inside.filter(|inside| *inside < part.len) else { continue };
            if let Ok(off) = u32::try_from(part.to + inside) {
                gathered.push(moved(*record, off));
            }
        }
    }
    gathered
}
