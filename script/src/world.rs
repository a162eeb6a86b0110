//! What a script has loaded, attached and remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfkit::abi::Errno;
use bpfkit::abi::id::{MapId, ProgId};
use bpfkit::btf::{Btf, KindCode, TypeId};
use bpfkit::{Hook, Link, Map, Program, Runtime};

use crate::parse::{Case, FunctionRef, ProgramRef, TargetRef};

/// A runtime, and what the names of a script stand for in it.
#[derive(Debug)]
pub struct World {
    pub(crate) runtime: Runtime,
    pub(crate) programs: BTreeMap<ProgramRef, Program>,
    pub(crate) maps: BTreeMap<ProgramRef, Map>,
    pub(crate) types: BTreeMap<String, Arc<Btf>>,
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) saved_map: Option<MapId>,
    pub(crate) saved_program: Option<ProgId>,
    pub(crate) interface: Option<Hook>,
}

impl World {
    /// An empty one.
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            programs: BTreeMap::new(),
            maps: BTreeMap::new(),
            types: BTreeMap::new(),
            links: BTreeMap::new(),
            saved_map: None,
            saved_program: None,
            interface: None,
        }
    }

    pub(crate) fn program(&self, name: &ProgramRef) -> Result<&Program, Errno> {
        self.programs.get(name).ok_or(Errno::EBADF)
    }

    /// The map of this name; `.bss` and other sections are found without the object's name.
    pub(crate) fn map(&self, name: &ProgramRef) -> Result<&Map, Errno> {
        if let Some(map) = self.maps.get(name) {
            return Ok(map);
        }
        // A map that has a name of its own is written without an object.
        let (object, wanted) = match name.object.as_str() {
            "" => (name.program.as_str(), ""),
            object => (object, name.program.as_str()),
        };
        let section = self.maps.iter().find(|(key, _)| {
            key.object == object && wanted.starts_with('.') && key.program.ends_with(wanted)
        });
        section.map(|(_, map)| map).ok_or(Errno::EBADF)
    }

    /// Closes all that an object opened.
    pub(crate) fn forget(&mut self, object: &str) {
        self.programs.retain(|name, _| name.object != object);
        self.maps.retain(|name, _| name.object != object);
        self.types.remove(object);
    }

    /// The program and the number of the function that a target means; `None` if the script names
    /// what is not there.
    pub(crate) fn target(&self, target: &TargetRef) -> Option<(Option<Program>, u32)> {
        let program = match &target.program {
            Some(name) => Some(self.programs.get(name)?.clone()),
            None => None,
        };
        let btf = program.as_ref().and_then(|program| program.spec().btf.clone());
        let id = match &target.function {
            FunctionRef::Id(id) => *id,
            FunctionRef::Name(name) => btf?.by_name_kind(name, KindCode::Func)?.0,
            FunctionRef::AnyKind(name) => any_kind(&*btf?, name)?.0,
        };
        Some((program, id))
    }
}

/// The first type of this name.
fn any_kind(btf: &Btf, name: &str) -> Option<TypeId> {
    btf.types().find(|ty| ty.name() == name).map(|ty| ty.id)
}

impl Case {
    /// The name of the object that `load` opens: the only one may be called as one likes.
    pub(crate) fn object_of<'a>(&'a self, name: &'a str) -> &'a str {
        match self.objects.as_slice() {
            [] => "",
            _ => name,
        }
    }
}
