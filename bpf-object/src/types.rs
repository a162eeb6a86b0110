//! What a loader corrects in the types of an object: compilers leave sizes and places of sections
//! to the linker, and hidden functions count as static.

use bpf_btf::{Btf, FuncLinkage, Kind, KindCode, SectionVar, TypeId, VarLinkage};

use crate::elf::{Elf, SymbolKind};

/// The types as they are handed to the kernel.
pub(crate) fn corrected(mut btf: Btf, elf: &Elf<'_>) -> Btf {
    let sections: Vec<TypeId> =
        btf.own_types().filter(|ty| ty.code() == KindCode::Datasec).map(|ty| ty.id).collect();
    for id in sections {
        correct_section(&mut btf, elf, id);
    }
    for symbol in &elf.symbols {
        let is_hidden_function =
            symbol.kind == SymbolKind::Function && symbol.is_hidden && !symbol.is_local;
        if is_hidden_function && let Some(id) = btf.by_name_kind(symbol.name, KindCode::Func) {
            btf.set_func_linkage(id, FuncLinkage::Static);
        }
    }
    btf
}

/// Gives a section its size and its variables their places, and sorts them by place.
fn correct_section(btf: &mut Btf, elf: &Elf<'_>, id: TypeId) {
    let name = btf.name_of(id).to_owned();
    let Some(Kind::Datasec(datasec)) = btf.get(id).map(|ty| ty.kind) else { return };
    // Externs have no section; their places are made up elsewhere.
    let Some(section) = elf.section(&name) else { return };
    let index = elf.section_index(&name);
    let Ok(size) = u32::try_from(section.size) else { return };
    let mut vars: Vec<SectionVar> = Vec::new();
    let mut hidden = Vec::new();
    for var in datasec.vars() {
        let var_name = btf.name_of(var.ty);
        let linkage = match btf.get(var.ty).map(|ty| ty.kind) {
            Some(Kind::Var(var)) => Some(var.linkage),
            _ => None,
        };
        let symbol = elf.symbols.iter().find(|symbol| {
            symbol.section == index && symbol.kind == SymbolKind::Object && symbol.name == var_name
        });
        let Some(symbol) = symbol else {
            vars.push(var);
            continue;
        };
        if symbol.is_hidden && linkage != Some(VarLinkage::Static) {
            hidden.push(var.ty);
        }
        let offset = u32::try_from(symbol.value).unwrap_or(var.offset);
        vars.push(SectionVar { offset, ..var });
    }
    vars.sort_by_key(|var| var.offset);
    let size = if size == 0 { datasec.size } else { size };
    btf.set_datasec(id, size, &vars);
    for var in hidden {
        btf.set_var_linkage(var, VarLinkage::Static);
    }
}
