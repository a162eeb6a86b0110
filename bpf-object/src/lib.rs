//! BPF ELF objects as plain descriptions.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod elf;
mod section;
mod maps;
mod globals;
mod functions;
mod relocate;
mod types;
mod debug;

pub use error::ReadError;
pub use section::{SectionMeaning, section_meaning};

use std::sync::Arc;

use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_btf::ext::BtfExt;
use bpf_btf::{Btf, Kind, KindCode};

use debug::Debug;
use elf::Elf;
use functions::Function;

/// Reads an object: what libbpf's `bpf_object__open_mem` does, and the linking of functions that
/// libbpf does at load. `name` is the object's, by convention its file's without the last ending.
///
/// Nothing is asked of a host, and equal bytes make equal descriptions. A program in a section
/// whose name says nothing has type [`ProgType::Unspec`].
///
/// # Errors
///
/// Returns an error that names the section, symbol or place if the object is malformed, or asks
/// for what no kernel can give.
pub fn read(bytes: &[u8], name: &str) -> Result<ObjectSpec, ReadError> {
    let elf = Elf::parse(bytes)?;
    let btf = match elf.section(".BTF") {
        Some(section) => Some(types::corrected(Btf::parse(section.data)?, &elf)),
        None => None,
    };
    let ext = match elf.section(".BTF.ext") {
        Some(section) if btf.is_some() => BtfExt::parse(section.data)?,
        _ => BtfExt::default(),
    };
    refuse_core_relocations(&ext, btf.as_ref())?;
    let debug = btf.as_ref().map_or_else(Debug::default, |btf| Debug::new(&ext, btf, &elf));

    let mut declared = maps::declared_maps(&elf, btf.as_ref())?;
    maps::initial_values(&elf, &mut declared)?;
    let globals = globals::global_maps(&elf, name, btf.as_ref())?;
    let functions = functions::functions(&elf)?;
    let object = relocate::Object {
        elf: &elf,
        functions: &functions,
        declared: declared
            .iter()
            .enumerate()
            .map(|(index, map)| ((map.section, map.offset), index))
            .collect(),
        globals: globals
            .iter()
            .enumerate()
            .map(|(index, map)| (map.section, declared.len() + index))
            .collect(),
        relocations: relocations(&elf)?,
        kconfig: btf.as_ref().map_or_else(Vec::new, kconfig_names),
    };

    let license = text(&elf, "license");
    let btf = btf.map(Arc::new);
    let mut programs = Vec::new();
    for function in &functions.programs {
        let linked = relocate::link(&object, *function)?;
        let mut program = describe(&elf, *function);
        program.license.clone_from(&license);
        program.func_info = debug.func_info(&linked.parts);
        program.line_info = debug.line_info(&linked.parts);
        program.insns = linked.insns;
        program.references = linked.references;
        program.btf.clone_from(&btf);
        programs.push(program);
    }
    let maps = declared
        .into_iter()
        .map(|map| map.spec)
        .chain(globals.into_iter().map(|map| map.spec))
        .collect();
    let kern_version = elf
        .section("version")
        .and_then(|section| section.data.get(..4)?.try_into().ok())
        .map_or(0, u32::from_le_bytes);
    Ok(ObjectSpec { name: name.to_owned(), license, kern_version, maps, programs, btf })
}

/// What a program's section says of it.
fn describe(elf: &Elf<'_>, function: Function<'_>) -> ProgramSpec {
    let section = elf.sections[function.section].name;
    let meant = section.strip_prefix('?').unwrap_or(section);
    let meaning = section_meaning(meant);
    let mut program = ProgramSpec::new(function.name, ProgType::Unspec, Vec::new());
    section.clone_into(&mut program.section);
    program.autoload = meant.len() == section.len();
    if let Some(meaning) = meaning {
        program.prog_type = meaning.prog_type;
        program.expected_attach_type = Some(meaning.attach_type);
        program.flags = meaning.flags;
        program.attach_to = meaning.attach_to;
    } else {
        program.expected_attach_type = AttachType::new(0);
        program.flags = ProgFlags::empty();
    }
    program
}

/// The symbols that places of code refer to, by section and slot.
fn relocations(
    elf: &Elf<'_>,
) -> Result<std::collections::HashMap<(usize, usize), usize>, ReadError> {
    let mut found = std::collections::HashMap::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if section.kind != elf::SectionKind::Code {
            continue;
        }
        for relocation in &section.relocations {
            let slot = usize::try_from(relocation.offset / 8).unwrap_or(usize::MAX);
            if relocation.offset % 8 != 0 || slot >= section.data.len() / 8 {
                let what = format!("a relocation at offset {}", relocation.offset);
                return Err(ReadError::section(section.name, what));
            }
            found.insert((index, slot), relocation.symbol);
        }
    }
    Ok(found)
}

fn refuse_core_relocations(ext: &BtfExt, btf: Option<&Btf>) -> Result<(), ReadError> {
    let Some((section, record)) =
        ext.core_relos.iter().find_map(|section| Some((section.section, section.records.first()?)))
    else {
        return Ok(());
    };
    Err(ReadError::Relocation {
        section: btf.map_or("", |btf| btf.name(section)).to_owned(),
        insn: record.insn_off as usize / 8,
        what: "a CO-RE relocation, which is not supported yet".to_owned(),
    })
}

/// The names of the variables that stand for the kernel's configuration.
fn kconfig_names(btf: &Btf) -> Vec<String> {
    let datasec = btf.by_name_kind(".kconfig", KindCode::Datasec).and_then(|id| btf.get(id));
    let Some(Kind::Datasec(datasec)) = datasec.map(|ty| ty.kind) else { return Vec::new() };
    datasec.vars().map(|var| btf.name_of(var.ty).to_owned()).collect()
}

/// The text in a section, up to its end mark.
fn text(elf: &Elf<'_>, section: &str) -> String {
    let bytes = elf.section(section).map_or(&[][..], |section| section.data);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
