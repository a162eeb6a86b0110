//! `.maps`: maps declared by structures whose members say what a map is like.
//!
//! A number is spelt as the length of an array: `__uint(type, 1)` is `int (*type)[1]`. A type is
//! spelt by a pointer to it: `__type(key, u32)` is `u32 *key`. Initial values are relocations
//! into the member `values`.

use std::collections::HashMap;

use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType, Pinning};
use bpf_btf::{Btf, Composite, Kind, KindCode, Member, Type, TypeId};

use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::error::ReadError;
use crate::functions::Function;

/// A map and the place of its declaration.
#[derive(Debug)]
pub(crate) struct DeclaredMap {
    /// The section's index.
    pub(crate) section: usize,
    /// Where its declaration begins in the section, in bytes.
    pub(crate) offset: u64,
    /// How long its declaration is, in bytes.
    size: u64,
    /// Where the initial values begin in the declaration, in bytes, if it has any.
    values: Option<u64>,
    pub(crate) spec: MapSpec,
}

/// The maps that an object declares, in the order of their places.
pub(crate) fn declared_maps(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
) -> Result<Vec<DeclaredMap>, ReadError> {
    let mut maps = Vec::new();
    if let Some(index) = elf.section_index(".maps") {
        let btf = btf.ok_or_else(|| ReadError::section(".maps", "its maps need .BTF"))?;
        maps.extend(btf_maps(index, btf)?);
    }
    if let Some(index) = elf.section_index("maps") {
        maps.extend(legacy_maps(elf, index)?);
    }
    Ok(maps)
}

fn btf_maps(section: usize, btf: &Btf) -> Result<Vec<DeclaredMap>, ReadError> {
    let wrong = |what: &str| ReadError::section(".maps", what);
    let datasec =
        btf.by_name_kind(".maps", KindCode::Datasec).and_then(|id| btf.get(id)?.datasec());
    let datasec = datasec.ok_or_else(|| wrong("no section of this name among the types"))?;
    let mut vars: Vec<_> = datasec.vars().collect();
    vars.sort_by_key(|var| var.offset);
    let mut maps = Vec::new();
    for entry in vars {
        let var = btf.get(entry.ty).ok_or_else(|| wrong("a variable without a type"))?;
        let Kind::Var(of) = var.kind else { return Err(wrong("an entry that is no variable")) };
        let name = var.name();
        let Some(Kind::Struct(definition)) = btf.resolve(of.ty).map(|ty| ty.kind) else {
            return Err(ReadError::map(name, "its declaration is no structure"));
        };
        let mut reader = Reader { btf, name, spec: empty(name), values: None };
        reader.read(definition, Depth::Outer)?;
        maps.push(DeclaredMap {
            section,
            offset: u64::from(entry.offset),
            size: u64::from(entry.size),
            values: reader.values,
            spec: reader.spec,
        });
    }
    Ok(maps)
}

fn empty(name: &str) -> MapSpec {
    MapSpec::new(name, MapType::Unspec, 0, 0, 0)
}

/// Whether a declaration is a map's own or that of the maps inside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outer,
    Inner,
}

/// Reads one declaration.
struct Reader<'a> {
    btf: &'a Btf,
    name: &'a str,
    spec: MapSpec,
    values: Option<u64>,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: impl Into<String>) -> ReadError {
        ReadError::map(self.name, what)
    }

    fn read(&mut self, definition: Composite<'a>, depth: Depth) -> Result<(), ReadError> {
        for member in definition.members() {
            let field = self.btf.name(member.name_off);
            match field {
                "type" => {
                    let number = self.number(member, field)?;
                    self.spec.map_type = MapType::new(number)
                        .ok_or_else(|| self.wrong(format!("no map type has number {number}")))?;
                }
                "max_entries" => self.spec.max_entries = self.number(member, field)?,
                "map_flags" => {
                    self.spec.flags = MapFlags::from_bits_retain(self.number(member, field)?);
                }
                "numa_node" => self.spec.numa_node = self.number(member, field)?,
                "map_extra" => self.spec.map_extra = self.long_number(member, field)?,
                "key_size" => {
                    let size = self.number(member, field)?;
                    self.spec.key_size = self.agreed(self.spec.key_size, size, "key")?;
                }
                "value_size" => {
                    let size = self.number(member, field)?;
                    self.spec.value_size = self.agreed(self.spec.value_size, size, "value")?;
                }
                "key" => {
                    let (id, size) = self.sized_type(member, field)?;
                    self.spec.key_size = self.agreed(self.spec.key_size, size, "key")?;
                    self.spec.btf_key_type_id = id.0;
                }
                "value" => {
                    let (id, size) = self.sized_type(member, field)?;
                    self.spec.value_size = self.agreed(self.spec.value_size, size, "value")?;
                    self.spec.btf_value_type_id = id.0;
                }
                "pinning" => {
                    self.spec.pinning = match self.number(member, field)? {
                        0 => Pinning::None,
                        1 => Pinning::ByName,
                        other => return Err(self.wrong(format!("pinning {other} is unknown"))),
                    };
                }
                "values" if depth == Depth::Outer => self.values(member)?,
                "values" => return Err(self.wrong("a map inside a map cannot hold maps")),
                // libbpf does not let a declaration say more than it understands.
                other => return Err(self.wrong(format!("unknown member {other:?}"))),
            }
        }
        if self.spec.map_type == MapType::Unspec {
            return Err(self.wrong("it has no type"));
        }
        if matches!(self.spec.map_type, MapType::Ringbuf | MapType::UserRingbuf) {
            self.spec.max_entries = ring_size(self.spec.max_entries);
        }
        // The kernel wants a value's type with a key's, or none at all.
        if takes_no_types(self.spec.map_type) || self.spec.btf_value_type_id == 0 {
            self.spec.btf_key_type_id = 0;
            self.spec.btf_value_type_id = 0;
        }
        Ok(())
    }

    /// `int (*NAME)[N]`: N.
    fn number(&self, member: Member, field: &str) -> Result<u32, ReadError> {
        let array = self.pointee(member, field)?.array();
        array
            .map(|array| array.len)
            .ok_or_else(|| self.wrong(format!("{field} is not spelt as a number")))
    }

    /// The same, or `enum { ___… = N } NAME`: N, which may be large.
    fn long_number(&self, member: Member, field: &str) -> Result<u64, ReadError> {
        match self.btf.resolve(member.ty).and_then(|ty| ty.enumeration()) {
            None => self.number(member, field).map(u64::from),
            Some(e) if e.len() == 1 => Ok(e.values().next().map_or(0, |value| value.bits)),
            Some(_) => Err(self.wrong(format!("{field} is spelt as several numbers"))),
        }
    }

    /// `TYPE *NAME`: TYPE and its size.
    fn sized_type(&self, member: Member, field: &str) -> Result<(TypeId, u32), ReadError> {
        let Some(Kind::Ptr(to)) = self.btf.resolve(member.ty).map(|ty| ty.kind) else {
            return Err(self.wrong(format!("{field} is not spelt as a pointer to its type")));
        };
        let size =
            self.btf.size_of(to).ok_or_else(|| self.wrong(format!("{field} has no size")))?;
        Ok((to, size))
    }

    fn pointee(&self, member: Member, field: &str) -> Result<Type<'a>, ReadError> {
        self.btf
            .resolve(member.ty)
            .filter(|ty| matches!(ty.kind, Kind::Ptr(_)))
            .and_then(|ty| ty.target())
            .and_then(|to| self.btf.resolve(to))
            .ok_or_else(|| self.wrong(format!("{field} is not spelt as a pointer")))
    }

    fn agreed(&self, known: u32, size: u32, what: &str) -> Result<u32, ReadError> {
        if known != 0 && known != size {
            return Err(self.wrong(format!("{what} has size {known} and size {size}")));
        }
        Ok(size)
    }

    /// `values`: an array of pointers to functions (programs), or to the declaration of the maps
    /// inside.
    fn values(&mut self, member: Member) -> Result<(), ReadError> {
        let array = self.btf.resolve(member.ty).and_then(|ty| ty.array());
        let array = array.ok_or_else(|| self.wrong("values is no array"))?;
        let pointee = self.btf.pointee(array.element);
        let pointee = pointee.ok_or_else(|| self.wrong("values is no array of pointers"))?;
        let holds_maps = matches!(self.spec.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
        if !holds_maps && self.spec.map_type != MapType::ProgArray {
            return Err(self.wrong("only maps of maps and program arrays have values"));
        }
        self.spec.value_size = self.agreed(self.spec.value_size, 4, "value")?;
        if holds_maps {
            let Kind::Struct(definition) = pointee.kind else {
                return Err(self.wrong("values does not point to a map's declaration"));
            };
            let name = format!("{}.inner", self.name);
            let mut inner =
                Reader { btf: self.btf, name: self.name, spec: empty(&name), values: None };
            inner.read(definition, Depth::Inner)?;
            self.spec.inner = Some(Box::new(inner.spec));
        } else if pointee.proto().is_none() {
            return Err(self.wrong("values does not point to functions"));
        }
        self.values = Some(u64::from(member.bit_offset / 8));
        Ok(())
    }
}

/// The size of a ring buffer: the kernel wants a power of two of whole pages, so what lies between is rounded up.
fn ring_size(size: u32) -> u32 {
    const PAGE: u32 = 4096;
    if size == 0 {
        return 0;
    }
    let pages = size.div_ceil(PAGE).checked_next_power_of_two();
    pages.and_then(|pages| pages.checked_mul(PAGE)).unwrap_or(size)
}

/// The types of map whose keys and values libbpf does not describe to the kernel.
fn takes_no_types(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::PerfEventArray
            | MapType::CgroupArray
            | MapType::StackTrace
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
            | MapType::Devmap
            | MapType::DevmapHash
            | MapType::Cpumap
            | MapType::Xskmap
            | MapType::Sockmap
            | MapType::Sockhash
    )
}

/// The old way: a `struct bpf_map_def`, or a longer relative of it, for each symbol.
fn legacy_maps(elf: &Elf<'_>, index: usize) -> Result<Vec<DeclaredMap>, ReadError> {
    let section = &elf.sections[index];
    let mut symbols: Vec<_> = elf
        .symbols
        .iter()
        .filter(|symbol| symbol.section == Some(index) && symbol.kind != SymbolKind::Section)
        .filter(|symbol| !symbol.name.is_empty())
        .collect();
    symbols.sort_by_key(|symbol| symbol.value);
    let count = symbols.len() as u64;
    if count == 0 || !section.size.is_multiple_of(count) {
        return Err(ReadError::section("maps", "its size is no multiple of its symbols' number"));
    }
    let size = section.size / count;
    let mut maps = Vec::new();
    for symbol in symbols {
        // Declarations grew over the years: what one does not say yet is 0.
        let number = |n: u64| {
            let at = symbol.value.saturating_add(4 * n);
            if 4 * n < size { word(section, at).unwrap_or(0) } else { 0 }
        };
        let [ty, key, value, entries, flags] = [0, 1, 2, 3, 4].map(number);
        let map_type = MapType::new(ty)
            .ok_or_else(|| ReadError::map(symbol.name, format!("no map type has number {ty}")))?;
        let mut spec = MapSpec::new(symbol.name, map_type, key, value, entries);
        spec.flags = MapFlags::from_bits_retain(flags);
        maps.push(DeclaredMap { section: index, offset: symbol.value, size, values: None, spec });
    }
    Ok(maps)
}

fn word(section: &Section<'_>, at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    let bytes = section.data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Fills the initial values of program arrays and maps of maps.
pub(crate) fn initial_values(
    elf: &Elf<'_>,
    maps: &mut [DeclaredMap],
    programs: &[Function<'_>],
) -> Result<(), ReadError> {
    let Some(index) = elf.section_index(".maps") else { return Ok(()) };
    let mut relocations = elf.sections[index].relocations.clone();
    relocations.sort_by_key(|relocation| relocation.offset);
    let mut places: Vec<(u64, usize)> = Vec::new();
    places.extend(
        (0..)
            .zip(maps.iter())
            .filter(|(_, map)| map.section == index)
            .map(|(n, map)| (map.offset, n)),
    );
    places.sort_unstable();
    let programs: HashMap<(usize, u64), &str> = programs
        .iter()
        .map(|program| ((program.section, program.start as u64 * 8), program.name))
        .collect();
    let targets = Targets { maps: places.iter().copied().collect(), programs, section: index };
    for relocation in relocations {
        let before = places.partition_point(|(offset, _)| *offset <= relocation.offset);
        let holder = before.checked_sub(1).map(|at| places[at].1);
        let holder =
            holder.filter(|holder| relocation.offset - maps[*holder].offset < maps[*holder].size);
        let Some(holder) = holder else {
            let what = format!("a value at offset {}, in no map", relocation.offset);
            return Err(ReadError::section(".maps", what));
        };
        let map = &mut maps[holder];
        let symbol = elf.symbols.get(relocation.symbol).copied().unwrap_or_default();
        let inside = (relocation.offset - map.offset).checked_sub(map.values.unwrap_or(u64::MAX));
        let Some(slot) = inside.and_then(|inside| u32::try_from(inside / 8).ok()) else {
            return Err(ReadError::map(&map.spec.name, "a value outside of values"));
        };
        let value = targets.value(map.spec.map_type, symbol).ok_or_else(|| {
            let what = format!("slot {slot} holds {:?}, which it cannot hold", symbol.name);
            ReadError::map(&map.spec.name, what)
        })?;
        map.spec.init.push(MapInit { key: slot.to_le_bytes().to_vec(), value });
    }
    Ok(())
}

/// What slots of maps can hold, by place.
struct Targets<'a> {
    maps: HashMap<u64, usize>,
    programs: HashMap<(usize, u64), &'a str>,
    /// The section of the maps.
    section: usize,
}

impl Targets<'_> {
    /// What a slot of a map holds at first: a program, if the map is for programs, or a map.
    fn value(&self, holder: MapType, symbol: Symbol<'_>) -> Option<MapInitValue> {
        let section = symbol.section?;
        if holder == MapType::ProgArray {
            let name = self.programs.get(&(section, symbol.value))?;
            return Some(MapInitValue::Program((*name).to_owned()));
        }
        let map = self.maps.get(&symbol.value).filter(|_| section == self.section)?;
        Some(MapInitValue::Map(*map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_buffers_have_a_power_of_two_of_pages() {
        assert_eq!(ring_size(0), 0);
        assert_eq!(ring_size(1), 4096);
        assert_eq!(ring_size(4096), 4096);
        assert_eq!(ring_size(3 * 4096), 4 * 4096);
        assert_eq!(ring_size(u32::MAX), u32::MAX);
    }
}
