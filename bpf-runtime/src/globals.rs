//! Global variables: what an object's types name in `.data`, `.bss` and `.rodata`.

use bpf_abi::map::{MapInit, MapInitValue, UpdateFlags};
use bpf_btf::{Btf, TypeId};
use bpf_maps::cpu::CpuId;

use crate::collection::{Object, OpenObject};
use crate::data::encode;
use crate::error::Error;
use crate::objects::map::Map;
use crate::plain::Plain;

/// The key of a section's only value.
const KEY: [u8; 4] = [0; 4];

/// Where a global variable is, or a part of one.
#[derive(Clone, Copy)]
struct Global {
    /// The section's map, by its place among the object's.
    map: usize,
    offset: usize,
    size: usize,
    ty: TypeId,
}

/// The variable of this name, in an object whose maps have values of these types.
fn find(
    object: &str,
    btf: Option<&Btf>,
    values: impl Iterator<Item = TypeId>,
    name: &str,
) -> Result<Global, Error> {
    let mut known = Vec::new();
    for (map, value) in values.enumerate() {
        let Some(btf) = btf else { break };
        let Some(section) = btf.get(value).and_then(|ty| ty.datasec()) else { continue };
        for var in section.vars() {
            if btf.name_of(var.ty) == name {
                let (offset, size) = (var.offset as usize, var.size as usize);
                return Ok(Global { map, offset, size, ty: var.ty });
            }
            // Names with a dot are of variables inside of functions, as the formats of prints.
            known.extend(Some(btf.name_of(var.ty).to_owned()).filter(|name| !name.contains('.')));
        }
    }
    Err(Error::NoSuchGlobal { object: object.to_owned(), name: name.to_owned(), known })
}

impl Global {
    /// That this many bytes are as many as it has.
    fn check(&self, name: &str, len: usize) -> Result<(), Error> {
        if len == self.size {
            return Ok(());
        }
        let reason = format!("it has {} bytes, not {len}", self.size);
        Err(Error::BadGlobal { name: name.to_owned(), reason })
    }

    /// Its place in the bytes of its section.
    fn of<'a>(&self, name: &str, section: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        let end = self.offset.saturating_add(self.size);
        section.get_mut(self.offset..end).ok_or_else(|| Error::BadGlobal {
            name: name.to_owned(),
            reason: "it lies outside of its section".to_owned(),
        })
    }
}

/// A part of a variable, by a path such as `.ports[2]`.
fn part(btf: &Btf, whole: &Global, path: &str) -> Result<Global, String> {
    let var = btf.resolve(whole.ty).and_then(|ty| ty.var());
    let mut part = Global { ty: var.map_or(whole.ty, |var| var.ty), ..*whole };
    let mut rest = path;
    while !rest.is_empty() {
        let so_far = path.strip_suffix(rest).unwrap_or_default();
        let of = |what: &str| match so_far {
            "" => what.to_owned(),
            part => format!("{part}: {what}"),
        };
        let (ty, offset) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            rest = after;
            let member = btf.member_by_name(part.ty, name);
            let member = member.ok_or_else(|| of(&format!("there is no member {name:?}")))?;
            let offset = member.offset().filter(|_| member.bitfield.is_none());
            let offset = offset.ok_or_else(|| of(&format!("member {name:?} is a bit field")))?;
            (member.ty, offset as usize)
        } else {
            let inside = rest.strip_prefix('[').and_then(|after| after.split_once(']'));
            let (number, after) = inside.ok_or_else(|| format!("{rest:?} names no part"))?;
            rest = after;
            let array = btf.resolve(part.ty).and_then(|ty| ty.array());
            let array = array.ok_or_else(|| of("there are no elements"))?;
            let index =
                number.parse::<u32>().map_err(|_| of(&format!("[{number}] is no element")))?;
            if index >= array.len {
                return Err(of(&format!("there is no element [{index}], it has {}", array.len)));
            }
            let size = btf.size_of(array.element).ok_or("its elements have no size")?;
            (array.element, index as usize * size as usize)
        };
        let size = btf.size_of(ty).ok_or("its type has no size")? as usize;
        part = Global { map: part.map, offset: part.offset + offset, size, ty };
    }
    Ok(part)
}

impl OpenObject {
    /// Sets a global variable: one of `.rodata`, `.data` or `.bss`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable, or if it has another size.
    pub fn set_global<T: Plain>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.set_global_bytes(name, &value.to_bytes())
    }

    /// Sets a global variable to these bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable, or if it has another size.
    pub fn set_global_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let global = self.find_global(name)?;
        self.put_global(name, &global, bytes)
    }

    fn put_global(&mut self, name: &str, global: &Global, bytes: &[u8]) -> Result<(), Error> {
        global.check(name, bytes.len())?;
        let map = &mut self.spec.maps[global.map];
        let size = map.value_size as usize;
        let mut first = map.init.drain(..).filter_map(|init| match init.value {
            MapInitValue::Bytes(bytes) => Some(bytes),
            MapInitValue::Program(_) | MapInitValue::Map(_) => None,
        });
        let mut value = first.next().unwrap_or_default();
        drop(first);
        value.resize(size, 0);
        global.of(name, &mut value)?.copy_from_slice(bytes);
        map.init.push(MapInit { key: KEY.to_vec(), value: MapInitValue::Bytes(value) });
        Ok(())
    }

    /// Sets a global variable, or a part of one, as in `conf.ports[2]`, to what this text says by its
    /// type: a number, a truth value, a name of its enumeration, or a text for an array of characters.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable or no such part of it, or if the text is no value
    /// of its type.
    pub fn set_global_text(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (variable, path) = name.split_at(end);
        // Variables inside of functions have a dot in their names.
        let (global, path) = match self.find_global(name) {
            Ok(global) => (global, ""),
            Err(_) => (self.find_global(variable)?, path),
        };
        let bad = |reason| Error::BadGlobal { name: name.to_owned(), reason };
        let part = match &self.spec.btf {
            None => Err("its type is not known".to_owned()),
            Some(btf) => part(btf, &global, path).and_then(|part| {
                let bytes = encode(btf, part.ty, text)?;
                Ok((part, bytes))
            }),
        };
        let (part, bytes) = part.map_err(bad)?;
        self.put_global(name, &part, &bytes)
    }

    fn find_global(&self, name: &str) -> Result<Global, Error> {
        let values = self.spec.maps.iter().map(|map| TypeId(map.btf_value_type_id));
        find(&self.spec.name, self.spec.btf.as_deref(), values, name)
    }
}

impl Object {
    /// What a global variable holds now.
    ///
    /// ```no_run
    /// # fn f(object: &bpf_runtime::Object) -> Result<(), bpf_runtime::Error> {
    /// let dropped: u64 = object.global("dropped")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable, or if it has another size.
    pub fn global<T: Plain>(&self, name: &str) -> Result<T, Error> {
        let (global, map) = self.find_global(name)?;
        global.check(name, T::SIZE)?;
        let mut section = section(map)?;
        Ok(T::load(global.of(name, &mut section)?))
    }

    /// The bytes that a global variable holds now.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable.
    pub fn global_bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (global, map) = self.find_global(name)?;
        let mut section = section(map)?;
        Ok(global.of(name, &mut section)?.to_vec())
    }

    /// Changes a global variable while programs may run, and none beside it. Constants are changed
    /// [before the object is loaded](OpenObject::set_global).
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such variable, if it has another size, or if it is a constant.
    pub fn set_global<T: Plain>(&self, name: &str, value: &T) -> Result<(), Error> {
        let (global, map) = self.find_global(name)?;
        global.check(name, T::SIZE)?;
        let (raw, bytes) = (map.raw(), value.to_bytes());
        raw.host().check_writable().map_err(|error| map.failed(error))?;
        let shape = raw.shape();
        let is_plain = shape.spin_lock.is_none() && shape.fields.is_none();
        let place = raw.lookup(CpuId(0), &KEY).filter(|_| is_plain);
        if place.is_some_and(|place| place.write_at(global.offset, &bytes)) {
            return Ok(());
        }
        // Maps know best how to write around what is not bytes.
        let mut section = section(map)?;
        global.of(name, &mut section)?.copy_from_slice(&bytes);
        map.update(&KEY, &section, UpdateFlags::empty())
    }

    fn find_global(&self, name: &str) -> Result<(Global, &Map), Error> {
        let btf = self.btf().map(AsRef::as_ref);
        let global = find(self.name(), btf, self.value_types(), name)?;
        let (_, map) = self.maps().nth(global.map).expect("there is a type for each map");
        Ok((global, map))
    }
}

/// The bytes of a section.
fn section(map: &Map) -> Result<Vec<u8>, Error> {
    Ok(map.lookup(&KEY)?.unwrap_or_default())
}
