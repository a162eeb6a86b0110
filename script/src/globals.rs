//! Global variables of loaded objects.

use bpfkit::Map;
use bpfkit::abi::Errno;
use bpfkit::abi::map::UpdateFlags;
use bpfkit::btf::{Btf, Kind, TypeId};
use serde_json::{Value, json};

use crate::parse::ProgramRef;
use crate::world::World;

/// Where a variable lies.
struct Place<'a> {
    map: &'a Map,
    offset: usize,
    size: usize,
    ty: TypeId,
}

impl World {
    /// A variable's value: a number, or the numbers of an array.
    pub(crate) fn read_global(&self, name: &ProgramRef) -> Result<(&'static str, Value), Errno> {
        let btf = self.types.get(&name.object).ok_or(Errno::EBADF)?;
        let place = self.place(btf, name)?;
        let value = place.map.lookup(&[0; 4]).map_err(|error| error.errno())?;
        let value = value.ok_or(Errno::ENOENT)?;
        let bytes = value.get(place.offset..place.offset + place.size).ok_or(Errno::EINVAL)?;
        let element = element(btf, place.ty);
        if element.is_array {
            let numbers = bytes.chunks(element.size).map(|chunk| number(chunk, element.signed));
            Ok(("values", Value::Array(numbers.collect())))
        } else {
            Ok(("value", number(bytes, element.signed)))
        }
    }

    /// Sets a variable.
    pub(crate) fn write_global(&self, name: &ProgramRef, value: u64) -> Result<(), Errno> {
        let btf = self.types.get(&name.object).ok_or(Errno::EBADF)?;
        let place = self.place(btf, name)?;
        let bytes = place.map.lookup(&[0; 4]).map_err(|error| error.errno())?;
        let mut bytes = bytes.ok_or(Errno::ENOENT)?;
        let room = bytes.get_mut(place.offset..place.offset + place.size);
        let room = room.ok_or(Errno::EINVAL)?;
        room.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
        let set = place.map.update(&[0; 4], &bytes, UpdateFlags::empty());
        set.map_err(|error| error.errno())
    }

    fn place(&self, btf: &Btf, name: &ProgramRef) -> Result<Place<'_>, Errno> {
        for ty in btf.types() {
            let Some(section) = ty.datasec() else { continue };
            let Some(var) = section.vars().find(|var| btf.name_of(var.ty) == name.program) else {
                continue;
            };
            let section = ty.name().to_owned();
            let map = self.map(&ProgramRef { object: name.object.clone(), program: section })?;
            let ty = btf.get(var.ty).and_then(|ty| ty.kind.target()).unwrap_or(TypeId(0));
            return Ok(Place { map, offset: var.offset as usize, size: var.size as usize, ty });
        }
        Err(Errno::ENOENT)
    }
}

struct Element {
    is_array: bool,
    size: usize,
    signed: bool,
}

/// What a variable is made of; eight bytes each if it is neither a number nor an array of them.
fn element(btf: &Btf, ty: TypeId) -> Element {
    let unknown = Element { is_array: true, size: 8, signed: false };
    let Some(ty) = btf.resolve(ty) else { return unknown };
    match ty.kind {
        Kind::Int(int) => Element { is_array: false, size: int.size as usize, signed: int.signed },
        Kind::Enum(e) | Kind::Enum64(e) => {
            Element { is_array: false, size: e.size as usize, signed: e.signed }
        }
        Kind::Ptr(_) => Element { is_array: false, size: 8, signed: false },
        Kind::Array(array) => {
            let inner = element(btf, array.element);
            if inner.size == 0 { unknown } else { Element { is_array: true, ..inner } }
        }
        Kind::Void
        | Kind::Struct(_)
        | Kind::Union(_)
        | Kind::Fwd(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::Var(_)
        | Kind::Datasec(_)
        | Kind::Float(_)
        | Kind::DeclTag(_)
        | Kind::TypeTag(_) => unknown,
    }
}

/// Up to eight bytes as a number.
pub(crate) fn number(bytes: &[u8], signed: bool) -> Value {
    let mut raw = [0; 8];
    raw.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let value = u64::from_le_bytes(raw);
    let unused = 64 - 8 * u32::try_from(bytes.len().min(8)).unwrap_or(8);
    if signed && unused < 64 {
        return json!((value << unused).cast_signed() >> unused);
    }
    json!(value)
}
