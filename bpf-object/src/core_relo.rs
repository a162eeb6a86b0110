//! CO-RE: questions about the target's types, answered before programs are put together.

use std::collections::HashMap;

use bpf_btf::Btf;
use bpf_btf::ext::{BtfExt, CoreRelo, CoreReloKind};
use bpf_btf::relo::{Relocator, relocate_local};
use bpf_isa::Slot;

use crate::elf::{Elf, SectionKind};
use crate::error::ReadError;
use crate::functions::Functions;

/// The instructions of an object, by section.
pub(crate) type Code = HashMap<usize, Vec<Slot>>;

/// The instructions as they are in the file.
pub(crate) fn code(elf: &Elf<'_>) -> Code {
    let sections = elf.sections.iter().enumerate();
    sections
        .filter(|(_, section)| section.kind == SectionKind::Code)
        .map(|(index, section)| {
            let slots = section.data.as_chunks::<8>().0;
            (index, slots.iter().map(|bytes| Slot::from_bytes(*bytes)).collect())
        })
        .collect()
}

/// Answers all questions of an object and writes the answers into its instructions.
pub(crate) fn relocate(
    elf: &Elf<'_>,
    functions: &Functions<'_>,
    ext: &BtfExt,
    local: &Btf,
    target: Option<&Btf>,
    code: &mut Code,
) -> Result<(), ReadError> {
    if ext.core_relos.iter().all(|section| section.records.is_empty()) {
        return Ok(());
    }
    let mut relocator = target.map(Relocator::new);
    for section in &ext.core_relos {
        let name = local.name(section.section);
        let Some(index) = elf.section_index(name) else { continue };
        let Some(slots) = code.get_mut(&index) else { continue };
        for relo in &section.records {
            let at = relo.insn_off as usize / 8;
            // The linker leaves code behind that belongs to no function any more.
            if !functions.cover(index, at) {
                continue;
            }
            let wrong = |what: String| ReadError::Relocation {
                section: name.to_owned(),
                insn: at,
                what: format!("{}: {what}", describe(local, relo)),
            };
            let insns = slots.get_mut(at..).unwrap_or_default();
            let answered = match &mut relocator {
                Some(relocator) => relocator.relocate(local, relo, insns).map(|()| true),
                None => relocate_local(relo, insns),
            };
            if !answered.map_err(|error| wrong(error.to_string()))? {
                return Err(wrong("it needs the types of a target kernel".to_owned()));
            }
        }
    }
    Ok(())
}

/// `CO-RE relocation <byte_off> of [7] task_struct, 0:3`
fn describe(local: &Btf, relo: &CoreRelo) -> String {
    let kind = CoreReloKind::of(relo.kind).map_or("unknown", CoreReloKind::name);
    let (name, access) = (local.name_of(relo.ty), local.name(relo.access));
    format!("CO-RE relocation <{kind}> of [{}] {name}, {access}", relo.ty)
}
