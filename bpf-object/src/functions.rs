//! Functions: which are programs, and which are appended to the programs that call them.

use crate::elf::{Elf, SectionKind, Symbol, SymbolKind};
use crate::error::ReadError;

/// Where helpers of programs are: functions that are no programs of their own.
pub(crate) const TEXT: &str = ".text";

/// A function of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The section it lies in.
    pub(crate) section: usize,
    /// Its first instruction, counted in slots from the section's beginning.
    pub(crate) start: usize,
    /// How many slots it has.
    pub(crate) len: usize,
}

/// All functions of an object, in the order of the sections, then of the symbols.
#[derive(Debug)]
pub(crate) struct Functions<'a> {
    /// Those that are programs.
    pub(crate) programs: Vec<Function<'a>>,
    /// Those that are called by others.
    pub(crate) callees: Vec<Function<'a>>,
}

/// Finds the functions of an object.
pub(crate) fn functions<'a>(elf: &Elf<'a>) -> Result<Functions<'a>, ReadError> {
    let mut found = Functions { programs: Vec::new(), callees: Vec::new() };
    for (index, section) in elf.sections.iter().enumerate() {
        if section.kind != SectionKind::Code || section.size == 0 {
            continue;
        }
        let symbols = elf
            .symbols
            .iter()
            .filter(|symbol| symbol.section == Some(index) && symbol.kind == SymbolKind::Function);
        for symbol in symbols {
            let function = function(symbol, index, section.data.len())?;
            if section.name == TEXT {
                found.callees.push(function);
            } else if symbol.is_local {
                let what = "a static function outside of .text is neither program nor callee";
                return Err(ReadError::symbol(symbol.name, what));
            } else {
                found.programs.push(function);
            }
        }
    }
    // A lone function is a program wherever it lies.
    if found.programs.is_empty() && found.callees.len() == 1 {
        found.programs.append(&mut found.callees);
    }
    Ok(found)
}

fn function<'a>(
    symbol: &Symbol<'a>,
    section: usize,
    bytes: usize,
) -> Result<Function<'a>, ReadError> {
    let wrong = |what: &str| ReadError::symbol(symbol.name, what);
    let start = usize::try_from(symbol.value).map_err(|_| wrong("it begins nowhere"))?;
    let size = usize::try_from(symbol.size).map_err(|_| wrong("it ends nowhere"))?;
    if size == 0 || start % 8 != 0 || size % 8 != 0 {
        return Err(wrong("it is no whole number of instructions"));
    }
    if start.checked_add(size).is_none_or(|end| end > bytes) {
        return Err(wrong("it reaches beyond its section"));
    }
    Ok(Function { name: symbol.name, section, start: start / 8, len: size / 8 })
}

impl Functions<'_> {
    /// The callee that begins at a slot of a section.
    pub(crate) fn callee_at(&self, section: usize, start: usize) -> Option<usize> {
        self.callees
            .iter()
            .position(|function| function.section == section && function.start == start)
    }
}
