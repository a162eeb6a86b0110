//! Programs from text, with helpers and maps called by their names.

use std::sync::Arc;

use bpf_abi::helper::protos::PROTOS;
use bpf_abi::map::MapSpec;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{InfoBlob, ObjectSpec, ProgramSpec, Reference, ReferenceTo};
use bpf_btf::{Builder, FuncLinkage};
use bpf_isa::asm::{Assembled, Names, assemble_with};
use bpf_isa::{Call, Program};

/// Helpers, by the names that programs call them by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Helpers;

impl Names for Helpers {
    fn call(&self, name: &str) -> Option<Call> {
        let name = name.strip_prefix("bpf_")?;
        let row = PROTOS.iter().find(|row| row.proto.name.trim_start_matches("bpf_") == name)?;
        Some(Call::Helper(i32::try_from(row.proto.id).ok()?))
    }
}

/// A program, its maps named by `map[NAME]`.
///
/// # Panics
///
/// Panics if there are more maps than an immediate can number.
///
/// # Errors
///
/// Returns the line that is no instruction, or the map that is not there.
pub fn program(
    name: &str,
    prog_type: ProgType,
    text: &str,
    maps: &[MapSpec],
) -> Result<ProgramSpec, String> {
    let Assembled { program, relocations, .. } =
        assemble_with(text, &Helpers).map_err(|error| error.to_string())?;
    let mut spec = ProgramSpec::new(name, prog_type, program.to_slots());
    for relocation in relocations {
        let symbol = &relocation.symbol;
        let map = maps.iter().position(|map| map.name == *symbol);
        let map =
            map.ok_or_else(|| format!("line {}: there is no map {symbol}", relocation.line))?;
        let slot = &mut spec.insns[relocation.at.index()];
        slot.imm = i32::try_from(map).expect("not that many maps");
        let to = if slot.src == 1 { ReferenceTo::Map(map) } else { ReferenceTo::MapValue(map) };
        spec.references.push(Reference { at: relocation.at, to });
    }
    Ok(spec)
}

/// An object of these maps and programs, given by name and text.
///
/// # Errors
///
/// Returns the line that is no instruction, or the map that is not there.
pub fn object(
    prog_type: ProgType,
    maps: Vec<MapSpec>,
    programs: &[(&str, &str)],
) -> Result<ObjectSpec, String> {
    let programs = programs
        .iter()
        .map(|(name, text)| program(name, prog_type, text, &maps))
        .collect::<Result<_, _>>()?;
    let (name, license) = ("text".to_owned(), "GPL".to_owned());
    Ok(ObjectSpec { name, license, maps, programs, ..ObjectSpec::default() })
}

/// Gives the object types: each function of each program is an `int (struct xdp_md *)`. Functions
/// without types may not take tail calls.
///
/// # Errors
///
/// Returns an error if a program has an instruction that is none.
pub fn add_types(object: &mut ObjectSpec) -> Result<(), String> {
    const RECORD: u32 = 8;
    let mut types = Builder::new();
    let int = types.int("int", 4, true);
    let ctx = types.structure("xdp_md", 0, &[]);
    let ctx = types.ptr(ctx);
    let proto = types.proto(int, &[("ctx", ctx)]);
    for program in &mut object.programs {
        let insns = Program::from_slots(&program.insns).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        for (n, start) in insns.functions().into_iter().enumerate() {
            let linkage = if n == 0 { FuncLinkage::Global } else { FuncLinkage::Static };
            let name = if n == 0 { program.name.clone() } else { format!("{}_{n}", program.name) };
            let func = types.func(&name, proto, linkage);
            bytes.extend([start.0, func.0].into_iter().flat_map(u32::to_le_bytes));
        }
        program.func_info = InfoBlob { rec_size: RECORD, bytes };
    }
    let types = Arc::new(types.finish().map_err(|error| error.to_string())?);
    for program in &mut object.programs {
        program.btf = Some(Arc::clone(&types));
    }
    object.btf = Some(types);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_abi::map::MapType;

    #[test]
    fn maps_and_helpers_are_found_by_name() {
        let maps =
            [MapSpec::new("a", MapType::Hash, 4, 4, 1), MapSpec::new("b", MapType::Array, 4, 4, 1)];
        let text = "r1 = map[b] ll\ncall bpf_tail_call\nexit";
        let spec = program("p", ProgType::Xdp, text, &maps).unwrap();
        assert_eq!((spec.insns[0].src, spec.insns[0].imm), (1, 1));
        assert_eq!(spec.insns[2].imm, 12);
        let error = program("p", ProgType::Xdp, "r1 = map[c] ll\nexit", &maps).unwrap_err();
        assert_eq!(error, "line 1: there is no map c");
    }
}
