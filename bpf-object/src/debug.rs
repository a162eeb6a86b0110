//! Debug records of programs, gathered from those of sections.

use std::collections::HashMap;

use bpf_abi::spec::InfoBlob;
use bpf_btf::Btf;
use bpf_btf::ext::{BtfExt, FuncInfo, LineInfo, Record, SectionInfo, encode_array};

use crate::elf::Elf;
use crate::relocate::Part;

/// The records of an object, by section, counted in slots.
#[derive(Debug, Default)]
pub(crate) struct Debug {
    functions: HashMap<usize, Vec<FuncInfo>>,
    lines: HashMap<usize, Vec<LineInfo>>,
}

/// A record that says where it belongs.
trait Placed: Record + Copy {
    fn place(&self) -> u32;
    fn at(self, place: u32) -> Self;
}

impl Placed for FuncInfo {
    fn place(&self) -> u32 {
        self.insn_off
    }

    fn at(self, insn_off: u32) -> Self {
        Self { insn_off, ..self }
    }
}

impl Placed for LineInfo {
    fn place(&self) -> u32 {
        self.insn_off
    }

    fn at(self, insn_off: u32) -> Self {
        Self { insn_off, ..self }
    }
}

impl Debug {
    /// Sorts the records of an object by section and place.
    pub(crate) fn new(ext: &BtfExt, btf: &Btf, elf: &Elf<'_>) -> Self {
        Self {
            functions: by_section(&ext.func_info, btf, elf),
            lines: by_section(&ext.line_info, btf, elf),
        }
    }

    /// Which function begins where in a program made of these parts.
    pub(crate) fn func_info(&self, parts: &[Part]) -> InfoBlob {
        gather(&self.functions, parts)
    }

    /// Which line an instruction of such a program comes from.
    pub(crate) fn line_info(&self, parts: &[Part]) -> InfoBlob {
        gather(&self.lines, parts)
    }

    /// How many bytes of records a part brings along.
    pub(crate) fn weight(&self, part: Part) -> usize {
        size_of_val(within(&self.functions, part)) + size_of_val(within(&self.lines, part))
    }
}

fn by_section<T: Placed>(
    sections: &[SectionInfo<T>],
    btf: &Btf,
    elf: &Elf<'_>,
) -> HashMap<usize, Vec<T>> {
    let mut found: HashMap<usize, Vec<T>> = HashMap::new();
    for section in sections {
        if let Some(index) = elf.section_index(btf.name(section.section)) {
            let records = section.records.iter().map(|record| record.at(record.place() / 8));
            found.entry(index).or_default().extend(records);
        }
    }
    found.values_mut().for_each(|records| records.sort_by_key(Placed::place));
    found
}

/// The records that lie in a part.
fn within<T: Placed>(records: &HashMap<usize, Vec<T>>, part: Part) -> &[T] {
    let own = records.get(&part.section).map_or(&[][..], Vec::as_slice);
    let before = |end: usize| own.partition_point(|record| (record.place() as usize) < end);
    &own[before(part.from)..before(part.from + part.len)]
}

/// The records that lie in the parts, moved to where the parts are. If the first part, which is the program's own
/// function, has none, there are none: so does libbpf, and so the kernel wants it.
fn gather<T: Placed>(records: &HashMap<usize, Vec<T>>, parts: &[Part]) -> InfoBlob {
    let mut gathered = Vec::new();
    for part in parts {
        let own = within(records, *part);
        if gathered.is_empty() && own.is_empty() {
            break;
        }
        for record in own {
            let place = part.to + (record.place() as usize - part.from);
            gathered.push(record.at(u32::try_from(place).unwrap_or(u32::MAX)));
        }
    }
    InfoBlob { rec_size: T::SIZE, bytes: encode_array(&gathered) }
}
