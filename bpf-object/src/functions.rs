//! Functions: which are programs, and which are appended to the programs that call them.

use std::collections::{HashMap, HashSet};

use crate::elf::{Elf, SectionKind, Symbol, SymbolKind};
use crate::error::ReadError;

/// Where functions are that are no programs of their own.
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
    is_local: bool,
}

/// All functions of an object, by section and place.
#[derive(Debug)]
pub(crate) struct Functions<'a> {
    /// Those that are programs.
    pub(crate) programs: Vec<Function<'a>>,
    /// Those that others may call.
    pub(crate) callees: Vec<Function<'a>>,
}

/// Finds the functions of an object.
///
/// What lies in `.text` is called by programs, unless nothing lies elsewhere. Elsewhere, a static function is a
/// program too unless one of its own section calls it.
pub(crate) fn functions<'a>(elf: &Elf<'a>) -> Result<Functions<'a>, ReadError> {
    let mut found = Functions { programs: Vec::new(), callees: Vec::new() };
    let mut symbols: HashMap<usize, Vec<&Symbol<'a>>> = HashMap::new();
    for symbol in &elf.symbols {
        if let Some(section) = symbol.section {
            symbols.entry(section).or_default().push(symbol);
        }
    }
    for (index, section) in elf.sections.iter().enumerate() {
        if section.kind != SectionKind::Code || section.size == 0 {
            continue;
        }
        let within = symbols.get(&index).map_or(&[][..], Vec::as_slice);
        let own = of_section(within, index, section.data.len())?;
        if section.name == TEXT {
            found.callees.extend(own);
            continue;
        }
        let called = if own.iter().any(|function| function.is_local) {
            called_within(section.data)
        } else {
            HashSet::new()
        };
        for function in own {
            if function.is_local && called.contains(&function.start) {
                found.callees.push(function);
            } else {
                found.programs.push(function);
            }
        }
    }
    if found.programs.is_empty() {
        let visible = found.callees.iter().filter(|function| !function.is_local);
        found.programs = visible.copied().collect();
    }
    if found.programs.is_empty() && found.callees.len() == 1 {
        found.programs.clone_from(&found.callees);
    }
    Ok(found)
}

/// The functions of a section, by place.
fn of_section<'a>(
    symbols: &[&Symbol<'a>],
    index: usize,
    bytes: usize,
) -> Result<Vec<Function<'a>>, ReadError> {
    let of_kind = |kind: SymbolKind| symbols.iter().filter(move |symbol| symbol.kind == kind);
    let mut own = Vec::new();
    for symbol in of_kind(SymbolKind::Function) {
        own.push(function(symbol, index, bytes)?);
    }
    if own.is_empty() {
        // Compilers before LLVM 8 gave functions no type and no size.
        let mut symbols: Vec<_> =
            of_kind(SymbolKind::Other).copied().filter(|symbol| !symbol.is_local).collect();
        symbols.sort_by_key(|symbol| symbol.value);
        let ends: Vec<u64> = symbols.iter().skip(1).map(|next| next.value).collect();
        let ends = ends.into_iter().chain([bytes as u64]);
        for (symbol, end) in symbols.iter().zip(ends) {
            let size = end.saturating_sub(symbol.value);
            own.push(function(&Symbol { size, ..**symbol }, index, bytes)?);
        }
    }
    own.sort_by_key(|function| function.start);
    Ok(own)
}

fn function<'a>(
    symbol: &Symbol<'a>,
    section: usize,
    bytes: usize,
) -> Result<Function<'a>, ReadError> {
    let wrong = |what: &str| ReadError::symbol(symbol.name, what);
    let start = usize::try_from(symbol.value).map_err(|_| wrong("it begins nowhere"))?;
    let size = usize::try_from(symbol.size).map_err(|_| wrong("it ends nowhere"))?;
    if size == 0 || !start.is_multiple_of(8) || !size.is_multiple_of(8) {
        return Err(wrong("it is no whole number of instructions"));
    }
    if start.checked_add(size).is_none_or(|end| end > bytes) {
        return Err(wrong("it reaches beyond its section"));
    }
    let is_local = symbol.is_local;
    Ok(Function { name: symbol.name, section, start: start / 8, len: size / 8, is_local })
}

/// Where the calls of a section lead that the assembler has counted out itself.
fn called_within(code: &[u8]) -> HashSet<usize> {
    let calls = code.as_chunks::<8>().0.iter().enumerate();
    calls
        .filter_map(|(at, slot)| {
            let slot = bpf_isa::Slot::from_bytes(*slot);
            let is_call = slot.opcode == 0x85 && slot.src == 1;
            let target = i64::try_from(at).ok()? + i64::from(slot.imm) + 1;
            usize::try_from(target).ok().filter(|_| is_call)
        })
        .collect()
}

impl Functions<'_> {
    /// Whether a slot of a section belongs to a function.
    pub(crate) fn cover(&self, section: usize, slot: usize) -> bool {
        [&self.programs, &self.callees].into_iter().any(|list| {
            let after = list.partition_point(|f| (f.section, f.start) <= (section, slot));
            let before = after.checked_sub(1).and_then(|at| list.get(at));
            before.is_some_and(|f| f.section == section && slot - f.start < f.len)
        })
    }

    /// The callee that begins at a slot of a section.
    pub(crate) fn callee_at(&self, section: usize, start: usize) -> Option<usize> {
        let key = |function: &Function<'_>| (function.section, function.start);
        self.callees.binary_search_by_key(&(section, start), key).ok()
    }
}
