//! `.struct_ops`: kernel structures whose functions are programs of the object.

use std::collections::HashMap;

use bpf_abi::spec::AttachTo;
use bpf_btf::{Btf, KindCode, TypeId};

use crate::elf::{Elf, Section};
use crate::error::ReadError;
use crate::functions::Function;

/// The sections that hold such structures.
const SECTIONS: [&str; 4] =
    [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];

/// Which function of which structure each program stands for, by the program's section and first
/// slot.
///
/// Structures are named without what follows three underscores, as CO-RE has it.
pub(crate) fn members(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    programs: &[Function<'_>],
) -> Result<HashMap<(usize, usize), AttachTo>, ReadError> {
    let mut found = HashMap::new();
    for section in elf.sections.iter().filter(|section| SECTIONS.contains(&section.name)) {
        let wrong = |what: &str| ReadError::section(section.name, what);
        let btf = btf.ok_or_else(|| wrong("the object has no types"))?;
        let types = variables(btf, section).ok_or_else(|| wrong("it is not among the types"))?;
        for relocation in &section.relocations {
            let symbol = elf.symbols.get(relocation.symbol).copied().unwrap_or_default();
            let program = programs.iter().find(|program| {
                Some(program.section) == symbol.section && program.start as u64 * 8 == symbol.value
            });
            let Some(program) = program else { continue };
            let Some((structure, member)) = member_at(btf, &types, relocation.offset) else {
                let what = format!("a program at offset {}, in no member", relocation.offset);
                return Err(wrong(&what));
            };
            let to = AttachTo::StructOps { name: structure, member };
            let place = (program.section, program.start);
            if found.insert(place, to.clone()).is_some_and(|before| before != to) {
                let what = "it stands for members that are not the same";
                return Err(ReadError::symbol(program.name, what));
            }
        }
    }
    Ok(found)
}

/// A variable: where it begins and ends, and its type.
struct Variable {
    start: u64,
    end: u64,
    ty: TypeId,
}

fn variables(btf: &Btf, section: &Section<'_>) -> Option<Vec<Variable>> {
    let datasec = btf.by_name_kind(section.name, KindCode::Datasec)?;
    let vars = btf.get(datasec)?.datasec()?.vars();
    let found = vars.filter_map(|entry| {
        let start = u64::from(entry.offset);
        let ty = btf.get(entry.ty)?.var()?.ty;
        Some(Variable { start, end: start + u64::from(entry.size), ty })
    });
    Some(found.collect())
}

/// The structure and the member that lie at an offset of the section.
fn member_at(btf: &Btf, variables: &[Variable], offset: u64) -> Option<(String, String)> {
    let variable = variables.iter().find(|var| (var.start..var.end).contains(&offset))?;
    let ty = btf.resolve(variable.ty)?;
    let bits = u32::try_from(offset - variable.start).ok()?.checked_mul(8)?;
    let member = ty.composite()?.members().find(|member| member.bit_offset == bits)?;
    let structure = ty.name().split("___").next().unwrap_or_default();
    Some((structure.to_owned(), btf.name(member.name_off).to_owned()))
}
