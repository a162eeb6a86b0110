//! Sections and symbols, as plain data.

use std::collections::HashMap;

use object::read::elf::{ElfFile64, FileHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _};
use object::{RelocationFlags, RelocationTarget, SectionFlags, SymbolFlags, elf};

use crate::error::ReadError;

/// An ELF object, taken apart.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    /// Its sections, by index; the first is none.
    pub(crate) sections: Vec<Section<'a>>,
    /// Its symbols, by index; the first is none.
    pub(crate) symbols: Vec<Symbol<'a>>,
    /// The first section of each name.
    by_name: HashMap<&'a str, usize>,
}

/// A section.
#[derive(Debug, Default)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) size: u64,
    /// Its bytes; empty for sections that have none in the file.
    pub(crate) data: &'a [u8],
    pub(crate) kind: SectionKind,
    /// In the order of the file.
    pub(crate) relocations: Vec<Relocation>,
}

/// What a section is, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Instructions.
    Code,
    /// Bytes.
    Data,
    /// Zeros that are not in the file.
    Zeros,
    /// Nothing of interest.
    #[default]
    Other,
}

/// A place to be filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    /// Where, in bytes from the section's beginning.
    pub(crate) offset: u64,
    /// The symbol's index.
    pub(crate) symbol: usize,
}

/// A symbol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: u64,
    pub(crate) size: u64,
    /// The section it lies in.
    pub(crate) section: Option<usize>,
    pub(crate) kind: SymbolKind,
    pub(crate) is_local: bool,
    pub(crate) is_weak: bool,
    /// Whether it is hidden or internal.
    pub(crate) is_hidden: bool,
    pub(crate) is_undefined: bool,
}

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    /// A function.
    Function,
    /// A variable.
    Object,
    /// A section's beginning.
    Section,
    /// Anything else.
    #[default]
    Other,
}

impl<'a> Elf<'a> {
    /// Takes an object apart.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let broken = |error: object::Error| ReadError::Elf(error.to_string());
        let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(broken)?;
        let header = file.elf_header();
        let machine = header.e_machine(LittleEndian);
        // Old compilers left the machine empty.
        if machine != elf::EM_BPF && machine != elf::EM_NONE {
            return Err(ReadError::NotBpf(format!("it is for machine {machine}")));
        }
        if header.e_type(LittleEndian) != elf::ET_REL {
            return Err(ReadError::NotBpf("it is linked already".to_owned()));
        }
        let mut sections = Vec::new();
        for section in file.sections() {
            let index = section.index().0;
            let name = section.name().map_err(broken)?;
            let kind = kind_of(&section);
            let data = if kind == SectionKind::Zeros {
                &[]
            } else {
                section.data().map_err(|error| ReadError::section(name, error.to_string()))?
            };
            let mut relocations = Vec::new();
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                // A relocation of type 0 asks for nothing.
                if relocation.flags() != (RelocationFlags::Elf { r_type: elf::RelocationType(0) }) {
                    relocations.push(Relocation { offset, symbol: symbol.0 });
                }
            }
            let at = at_index(&mut sections, index)?;
            *at = Section { name, size: section.size(), data, kind, relocations };
        }
        let mut symbols = Vec::new();
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or("");
            *at_index(&mut symbols, symbol.index().0)? = Symbol {
                name,
                value: symbol.address(),
                size: symbol.size(),
                section: symbol.section_index().map(|index| index.0),
                kind: kind_of_symbol(symbol.kind()),
                is_local: symbol.is_local(),
                is_weak: symbol.is_weak(),
                is_hidden: is_hidden(symbol.flags()),
                is_undefined: symbol.is_undefined(),
            };
        }
        let mut by_name = HashMap::new();
        for (index, section) in sections.iter().enumerate() {
            by_name.entry(section.name).or_insert(index);
        }
        Ok(Self { sections, symbols, by_name })
    }

    /// The first section with this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.sections.get(self.section_index(name)?)
    }

    /// The index of the first section with this name.
    pub(crate) fn section_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

fn kind_of(section: &object::read::elf::ElfSection64<'_, '_, LittleEndian>) -> SectionKind {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return SectionKind::Other };
    if section.kind() == object::SectionKind::UninitializedData {
        SectionKind::Zeros
    } else if sh_flags.0 & elf::SHF_EXECINSTR.0 != 0 {
        SectionKind::Code
    } else if sh_flags.0 & elf::SHF_ALLOC.0 != 0 {
        SectionKind::Data
    } else {
        SectionKind::Other
    }
}

fn kind_of_symbol(kind: object::SymbolKind) -> SymbolKind {
    if kind == object::SymbolKind::Text {
        SymbolKind::Function
    } else if kind == object::SymbolKind::Data {
        SymbolKind::Object
    } else if kind == object::SymbolKind::Section {
        SymbolKind::Section
    } else {
        SymbolKind::Other
    }
}

fn is_hidden<S, Y>(flags: SymbolFlags<S, Y>) -> bool {
    let SymbolFlags::Elf { st_other, .. } = flags else { return false };
    matches!(elf::SymbolVisibility(st_other.0 & 3), elf::STV_HIDDEN | elf::STV_INTERNAL)
}

/// The entry at `index`, with empty ones made before it. Indices come from the file, where every
/// one has a record, so the list grows no larger than the file.
fn at_index<T: Default>(list: &mut Vec<T>, index: usize) -> Result<&mut T, ReadError> {
    while list.len() <= index {
        list.push(T::default());
    }
    list.get_mut(index).ok_or_else(|| ReadError::Elf("an index out of range".to_owned()))
}
