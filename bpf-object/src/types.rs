//! What a loader corrects in the types of an object: compilers leave sizes and places of sections to the linker, and
//! hidden functions and variables count as static.

use bpf_btf::{Btf, FuncLinkage, KindCode, SectionVar, TypeId, VarLinkage};

use std::collections::HashMap;

use crate::elf::{Elf, Symbol, SymbolKind};
use crate::functions::TEXT;

/// Corrects the types of everything but externs.
pub(crate) fn correct(btf: &mut Btf, elf: &Elf<'_>) {
    let variables: HashMap<&str, &Symbol<'_>> = elf
        .symbols
        .iter()
        .rev()
        .filter(|symbol| symbol.kind == SymbolKind::Object && !symbol.is_local)
        .map(|symbol| (symbol.name, symbol))
        .collect();
    let sections: Vec<TypeId> =
        btf.own_types().filter(|ty| ty.code() == KindCode::Datasec).map(|ty| ty.id).collect();
    for id in sections {
        // Those of externs have no section in the file; their places are made up elsewhere.
        if !matches!(btf.name_of(id), ".ksyms" | ".kconfig") {
            correct_section(btf, elf, &variables, id);
        }
    }
    hide_functions(btf, elf);
}

/// Gives a section its size and its variables their places, unless a linker did, and sorts them by place.
fn correct_section(
    btf: &mut Btf,
    elf: &Elf<'_>,
    variables: &HashMap<&str, &Symbol<'_>>,
    id: TypeId,
) {
    let Some(datasec) = btf.get(id).and_then(|ty| ty.datasec()) else { return };
    let mut size = datasec.size;
    let is_linked = size != 0;
    if !is_linked {
        let section = elf.section(btf.name_of(id));
        size = section.and_then(|section| u32::try_from(section.size).ok()).unwrap_or(0);
    }
    let mut vars: Vec<SectionVar> = datasec.vars().collect();
    let mut hidden = Vec::new();
    for entry in &mut vars {
        let linkage = btf.get(entry.ty).and_then(|ty| ty.var()).map(|var| var.linkage);
        // Static variables have their places from the compiler, externs have none.
        let is_visible = !matches!(linkage, Some(VarLinkage::Static | VarLinkage::Extern) | None);
        let symbol = variables.get(btf.name_of(entry.ty)).filter(|_| is_visible);
        let Some(symbol) = symbol else { continue };
        if !is_linked {
            entry.offset = u32::try_from(symbol.value).unwrap_or(entry.offset);
        }
        if symbol.is_hidden {
            hidden.push(entry.ty);
        }
    }
    vars.sort_by_key(|var| var.offset);
    btf.set_datasec(id, size, &vars);
    for var in hidden {
        btf.set_var_linkage(var, VarLinkage::Static);
    }
}

/// Makes hidden functions static: they are then verified where they are called.
fn hide_functions(btf: &mut Btf, elf: &Elf<'_>) {
    let text = elf.section_index(TEXT);
    let mut hidden = elf
        .symbols
        .iter()
        .filter(|symbol| {
            symbol.kind == SymbolKind::Function
                && symbol.is_hidden
                && !symbol.is_local
                && symbol.section.is_some()
                && symbol.section == text
        })
        .peekable();
    if hidden.peek().is_none() {
        return;
    }
    let mut visible = HashMap::new();
    for ty in btf.own_types() {
        if ty.func().is_some_and(|func| func.linkage == FuncLinkage::Global) {
            visible.entry(ty.name().to_owned()).or_insert(ty.id);
        }
    }
    for symbol in hidden {
        if let Some(id) = visible.get(symbol.name) {
            btf.set_func_linkage(*id, FuncLinkage::Static);
        }
    }
}
