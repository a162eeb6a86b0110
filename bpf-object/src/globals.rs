//! `.data`, `.rodata` and `.bss` as maps.

use bpf_abi::limits::OBJ_NAME_LEN;
use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};
use bpf_btf::{Btf, KindCode, VarLinkage};

use crate::elf::{Elf, Section, SectionKind};
use crate::error::ReadError;
use crate::maps::DeclaredMap;

/// What a section of variables is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobalKind {
    Data,
    ReadOnly,
    Zeros,
}

/// A map made of a section.
#[derive(Debug)]
pub(crate) struct GlobalMap {
    /// The section's index.
    pub(crate) section: usize,
    /// The map.
    pub(crate) spec: MapSpec,
}

/// The maps of an object's sections of variables, in the order of the sections.
pub(crate) fn global_maps(
    elf: &Elf<'_>,
    object: &str,
    btf: Option<&Btf>,
) -> Result<Vec<GlobalMap>, ReadError> {
    let mut maps = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        let Some(kind) = kind_of(section) else { continue };
        if section.size == 0 {
            continue;
        }
        maps.push(GlobalMap { section: index, spec: global_map(section, kind, object, btf)? });
    }
    Ok(maps)
}

/// The section of variables that lie in an arena.
const ARENA: &str = ".addr_space.1";

/// The section of variables that lie in an arena, and the map that is the arena, which begins with them.
pub(crate) fn arena(
    elf: &Elf<'_>,
    maps: &mut [DeclaredMap],
) -> Result<Option<(usize, usize)>, ReadError> {
    let Some(index) = elf.section_index(ARENA) else { return Ok(None) };
    let section = &elf.sections[index];
    let map = maps.iter().position(|map| map.spec.map_type == MapType::Arena);
    let map = map.ok_or_else(|| ReadError::section(ARENA, "there is no arena to put it in"))?;
    let value = MapInitValue::Bytes(section.data.to_vec());
    maps[map].spec.init.push(MapInit { key: vec![0; 4], value });
    Ok(Some((index, map)))
}

fn kind_of(section: &Section<'_>) -> Option<GlobalKind> {
    let is = |name: &str| {
        section.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match section.kind {
        SectionKind::Zeros if is(".bss") => Some(GlobalKind::Zeros),
        SectionKind::Data if is(".data") => Some(GlobalKind::Data),
        SectionKind::Data if is(".rodata") => Some(GlobalKind::ReadOnly),
        SectionKind::Zeros | SectionKind::Data | SectionKind::Code | SectionKind::Other => None,
    }
}

fn global_map(
    section: &Section<'_>,
    kind: GlobalKind,
    object: &str,
    btf: Option<&Btf>,
) -> Result<MapSpec, ReadError> {
    let size = u32::try_from(section.size)
        .map_err(|_| ReadError::section(section.name, "more variables than a map can hold"))?;
    let mut spec = MapSpec::new(&map_name(object, section.name), MapType::Array, 4, size, 1);
    if let Some(types) = btf
        && let Some(id) = types.by_name_kind(section.name, KindCode::Datasec)
    {
        spec.btf_value_type_id = id.0;
        if has_visible_variable(types, id) {
            spec.flags |= MapFlags::MMAPABLE;
        }
    }
    if kind == GlobalKind::ReadOnly {
        spec.flags |= MapFlags::RDONLY_PROG;
        spec.frozen = true;
    }
    if kind != GlobalKind::Zeros {
        let value = MapInitValue::Bytes(section.data.to_vec());
        spec.init.push(MapInit { key: vec![0; 4], value });
    }
    Ok(spec)
}

/// Whether a section has a variable that others may see; only then is its map open to `mmap`.
fn has_visible_variable(btf: &Btf, section: bpf_btf::TypeId) -> bool {
    let vars = btf.get(section).and_then(|ty| ty.datasec());
    vars.iter().flat_map(|section| section.vars()).any(|entry| {
        let var = btf.get(entry.ty).and_then(|ty| ty.var());
        var.is_some_and(|var| var.linkage != VarLinkage::Static)
    })
}

/// The name that libbpf gives the map of a section: as much of the object's name as fits before
/// the section's. Sections with two dots in their name keep it alone.
pub(crate) fn map_name(object: &str, section: &str) -> String {
    let most = OBJ_NAME_LEN - 1;
    let name = if section.chars().skip(1).any(|c| c == '.') {
        section.to_owned()
    } else {
        let room = most.saturating_sub(section.len().max(7));
        let prefix: String = object.chars().take(room).collect();
        format!("{prefix}{section}")
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    name.chars().take(most).map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_sections_are_named_as_libbpf_names_them() {
        assert_eq!(map_name("dispatch.bpf", ".rodata"), "dispatch.rodata");
        assert_eq!(map_name("dispatch.bpf", ".bss"), "dispatch.bss");
        assert_eq!(map_name("my-prog", ".data"), "my_prog.data");
        assert_eq!(map_name("x", ".rodata.str1.1"), ".rodata.str1.1");
    }
}
