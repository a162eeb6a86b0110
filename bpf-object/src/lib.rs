//! BPF ELF objects as plain descriptions.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod elf;
mod section;
mod maps;
mod globals;
mod functions;
mod struct_ops;
mod relocate;
mod types;
mod externs;
mod core_relo;
mod debug;
mod document;

pub use document::document;
pub use error::ReadError;
pub use externs::Kconfig;
pub use section::{SectionMeaning, section_meaning};

use std::collections::HashMap;
use std::sync::Arc;

use bpf_abi::map::MapSpec;
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{InfoBlob, ObjectSpec, ProgramSpec};
use bpf_btf::Btf;
use bpf_btf::ext::BtfExt;

use debug::Debug;
use elf::Elf;
use externs::Externs;
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
    read_with(bytes, name, &Options::default())
}

/// Whether an object has CO-RE relocations, so that reading it takes the types of a kernel.
///
/// # Errors
///
/// Returns an error if the object is malformed.
pub fn needs_target(bytes: &[u8]) -> Result<bool, ReadError> {
    let elf = Elf::parse(bytes)?;
    let Some(section) = elf.section(".BTF.ext") else { return Ok(false) };
    let ext = BtfExt::parse(section.data)?;
    Ok(ext.core_relos.iter().any(|section| !section.records.is_empty()))
}

/// Whether an object asks what the kernel's configuration says.
///
/// # Errors
///
/// Returns an error if the object is malformed.
pub fn needs_config(bytes: &[u8]) -> Result<bool, ReadError> {
    let elf = Elf::parse(bytes)?;
    Ok(elf.symbols.iter().any(|symbol| symbol.is_undefined && symbol.name.starts_with("CONFIG_")))
}

/// What of its host an object may ask for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The kernel's configuration.
    pub kconfig: Kconfig,
    /// The kernel's types, by which CO-RE relocations are made. Without them, objects that have any
    /// are refused.
    pub target: Option<Arc<Btf>>,
}

/// Reads an object for a given host.
///
/// The same object and host make the same description.
///
/// # Errors
///
/// Returns an error that names the section, symbol or place if the object is malformed, or asks
/// for what the host cannot give.
pub fn read_with(bytes: &[u8], name: &str, options: &Options) -> Result<ObjectSpec, ReadError> {
    let elf = Elf::parse(bytes)?;
    let mut btf = elf.section(".BTF").map(|section| Btf::parse(section.data)).transpose()?;
    let ext = match elf.section(".BTF.ext") {
        Some(section) if btf.is_some() => BtfExt::parse(section.data)?,
        Some(_) | None => BtfExt::default(),
    };
    let mut externs = Externs::default();
    if let Some(btf) = &mut btf {
        externs = externs::externs(&elf, btf, &options.kconfig)?;
        types::correct(btf, &elf);
    }
    let debug = btf.as_ref().map_or_else(Debug::default, |btf| Debug::new(&ext, btf, &elf));
    let functions = functions::functions(&elf)?;
    let mut code = core_relo::code(&elf);
    if let Some(btf) = &btf {
        let target = options.target.as_deref();
        core_relo::relocate(&elf, &functions, &ext, btf, target, &mut code)?;
    }
    let mut declared = maps::declared_maps(&elf, btf.as_ref())?;
    maps::initial_values(&elf, &mut declared, &functions.programs)?;
    let globals = globals::global_maps(&elf, name, btf.as_ref())?;
    let arena = globals::arena(&elf, &mut declared)?;

    let mut maps: Vec<MapSpec> = Vec::new();
    let mut declared_at = HashMap::new();
    for map in declared {
        declared_at.insert((map.section, map.offset), maps.len());
        maps.push(map.spec);
    }
    let mut globals_of = HashMap::new();
    for map in globals {
        globals_of.insert(map.section, maps.len());
        maps.push(map.spec);
    }
    let kconfig = externs.kconfig.take().map(|spec| {
        maps.push(MapSpec { name: globals::map_name(name, ".kconfig"), ..spec });
        maps.len() - 1
    });
    let object = relocate::Object {
        elf: &elf,
        code,
        functions: &functions,
        callbacks: btf.as_ref().map_or_else(HashMap::new, exception_callbacks),
        text: elf.section_index(functions::TEXT),
        declared: declared_at,
        globals: globals_of,
        relocations: relocations(&elf)?,
        externs,
        kconfig,
        arena,
        debug: &debug,
    };

    let members = struct_ops::members(&elf, btf.as_ref(), &functions.programs)?;
    let license = text(&elf, "license");
    let btf = btf.map(Arc::new);
    let mut programs = Vec::new();
    let mut budget = relocate::MAX_BYTES;
    for function in &functions.programs {
        let linked = relocate::link(&object, *function, &mut budget)?;
        let mut program = describe(&elf, *function);
        if program.prog_type == ProgType::StructOps {
            program.attach_to = members.get(&(function.section, function.start)).cloned();
            // Without a structure it would be for nothing.
            program.autoload &= program.attach_to.is_some();
        }
        program.license.clone_from(&license);
        program.func_info = debug.func_info(&linked.parts);
        program.line_info = debug.line_info(&linked.parts);
        program.insns = linked.insns;
        program.references = linked.references;
        program.btf.clone_from(&btf);
        programs.push(program);
    }
    let kern_version = kern_version(&elf);
    let name = name.to_owned();
    let mut object =
        ObjectSpec { name, license, kern_version, maps, programs, btf, notes: Vec::new() };
    if members.is_empty() {
        drop_refused_types(&mut object);
    }
    Ok(object)
}

/// What the `version` section says; 0 if there is none.
fn kern_version(elf: &Elf<'_>) -> u32 {
    elf.section("version")
        .and_then(|section| section.data.get(..4)?.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// Takes the types out of an object if the kernel would refuse them: loaders go on without them
/// then, unless they are needed for tables of functions.
fn drop_refused_types(object: &mut ObjectSpec) {
    let refused = object.btf.as_ref().and_then(|btf| bpf_btf::check::check(&btf.encode()).err());
    let Some(refusal) = refused else { return };
    object.notes.push(format!("the kernel refuses its types, which are left out: {refusal}"));
    object.btf = None;
    for map in &mut object.maps {
        (map.btf_key_type_id, map.btf_value_type_id) = (0, 0);
    }
    for program in &mut object.programs {
        program.btf = None;
        program.func_info = InfoBlob::default();
        program.line_info = InfoBlob::default();
    }
}

/// Reads the types of an object, as the compiler left them, and nothing else.
///
/// # Errors
///
/// Returns an error if the object is malformed or has no types.
pub fn read_btf(bytes: &[u8]) -> Result<Btf, ReadError> {
    let elf = Elf::parse(bytes)?;
    let section = elf.section(".BTF");
    let section = section.ok_or_else(|| ReadError::section(".BTF", "there is none"))?;
    Ok(Btf::parse(section.data)?)
}

/// What a program's section says of it.
fn describe(elf: &Elf<'_>, function: Function<'_>) -> ProgramSpec {
    let section = elf.sections[function.section].name;
    let meant = section.strip_prefix('?').unwrap_or(section);
    let meaning = section_meaning(meant);
    let mut program = ProgramSpec::new(function.name, ProgType::Unspec, Vec::new());
    meant.clone_into(&mut program.section);
    program.autoload = meant.len() == section.len();
    if let Some(meaning) = meaning {
        program.prog_type = meaning.prog_type;
        program.expected_attach_type = meaning.attach_type;
        program.flags = meaning.flags;
        program.attach_to = meaning.attach_to;
    } else {
        program.expected_attach_type = AttachType::new(0);
        program.flags = ProgFlags::empty();
    }
    program
}

/// The functions that exceptions end in, by the program that a tag is attached to. A program with several gets none:
/// the verifier has something to say about that.
fn exception_callbacks(btf: &Btf) -> HashMap<String, String> {
    let mut found: HashMap<String, Option<String>> = HashMap::new();
    for ty in btf.own_types() {
        let Some(tag) = ty.decl_tag().filter(|tag| tag.component.is_none()) else { continue };
        let Some(name) = ty.name().strip_prefix("exception_callback:") else { continue };
        let program = btf.name_of(tag.target).to_owned();
        found
            .entry(program)
            .and_modify(|callback| *callback = None)
            .or_insert_with(|| Some(name.to_owned()));
    }
    found.into_iter().filter_map(|(program, callback)| Some((program, callback?))).collect()
}

/// The symbols that places of code refer to, by section and slot.
fn relocations(elf: &Elf<'_>) -> Result<HashMap<(usize, usize), usize>, ReadError> {
    let mut found = HashMap::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if section.kind != elf::SectionKind::Code {
            continue;
        }
        for relocation in &section.relocations {
            let slot = usize::try_from(relocation.offset / 8).unwrap_or(usize::MAX);
            if !relocation.offset.is_multiple_of(8) || slot >= section.data.len() / 8 {
                let what = format!("a relocation at offset {}", relocation.offset);
                return Err(ReadError::section(section.name, what));
            }
            found.insert((index, slot), relocation.symbol);
        }
    }
    Ok(found)
}

/// The text in a section, up to its end mark.
fn text(elf: &Elf<'_>, section: &str) -> String {
    let bytes = elf.section(section).map_or(&[][..], |section| section.data);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
