//! An object: opened, changed, loaded whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapFlags, MapInitValue, MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::{AttachTo, ObjectSpec, ProgramSpec};
use bpf_btf::record::NamedField;
use bpf_btf::{Btf, TypeId};
use bpf_maps::{Fields, MapError, World, create_with_fields};
use bpf_verifier::{LogOptions, Options};

use crate::error::{Error, LoadError, Place};
use crate::load::Surroundings;
use crate::objects::map::{Map, MapObject};
use crate::objects::program::Program;
use crate::owned::OwnedByValues;
use crate::runtime::Runtime;

/// An object that is not loaded yet: nothing is made, nothing verified. What it says can still
/// be changed.
#[derive(Clone, Debug)]
pub struct OpenObject {
    runtime: Runtime,
    pub(crate) spec: ObjectSpec,
    options: Options,
    /// Maps that are used instead of those that the object describes, by name.
    reused: BTreeMap<String, Map>,
    /// Programs that its programs attach to.
    targets: Vec<Program>,
}

/// A program of an object that is not loaded yet.
///
/// ```no_run
/// # use bpf_runtime::{Error, OpenObject, Program};
/// # fn f(object: OpenObject, xdp: &Program) -> Result<(), Error> {
/// let filter = object.program("filter")?.extend(xdp, "prog0")?.load()?;
/// let link = filter.attach()?; // dropping the link detaches
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OpenProgram {
    open: OpenObject,
    name: String,
}

impl OpenProgram {
    /// Makes it an extension that replaces a function of a running program. A program of another
    /// type becomes one: as libxdp does it with filters that are XDP programs.
    ///
    /// # Errors
    ///
    /// Returns an error if the program has no such function. Whether it fits is looked at when it is
    /// loaded.
    pub fn extend(mut self, target: &Program, function: &str) -> Result<Self, Error> {
        let spec = self.open.aim(&self.name, target, function)?;
        spec.prog_type = ProgType::Ext;
        spec.expected_attach_type = AttachType::new(0);
        Ok(self)
    }

    /// Has the probe (`fentry/…`, `fexit/…`) look at a function of a running program.
    ///
    /// # Errors
    ///
    /// Returns an error if the program has no such function, or if this is no tracing program.
    /// Whether it fits is looked at when it is loaded.
    pub fn trace(mut self, target: &Program, function: &str) -> Result<Self, Error> {
        let spec = self.open.aim(&self.name, target, function)?;
        if spec.prog_type != ProgType::Tracing {
            return Err(Error::Attach {
                program: self.name,
                reason: format!("its type is {}, not tracing", spec.prog_type),
                errno: Errno::EINVAL,
            });
        }
        Ok(self)
    }

    /// The object it is in, to be changed: its global variables, its maps.
    pub const fn object(&mut self) -> &mut OpenObject {
        &mut self.open
    }

    /// Verifies the program and makes its maps.
    ///
    /// # Errors
    ///
    /// As for [`OpenObject::load`].
    pub fn load(self) -> Result<Program, Error> {
        let object = self.open.load()?;
        object.program(&self.name)
    }
}

/// A loaded object: its programs are verified and ready, its maps are made and filled.
///
/// A cheap handle: clones are the same object.
#[derive(Clone, Debug)]
pub struct Object {
    runtime: Runtime,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    programs: Vec<Program>,
    maps: Vec<(String, Map)>,
    /// The types of the maps' values as the object says them, in the same order.
    values: Vec<TypeId>,
    btf: Option<Arc<Btf>>,
}

/// No log of programs that are accepted.
const SILENT: LogOptions = LogOptions { level: 0, size: None };

impl Runtime {
    /// Opens an object.
    pub fn open(&self, spec: ObjectSpec) -> OpenObject {
        OpenObject {
            runtime: self.clone(),
            spec,
            options: Options { log: SILENT, ..Options::default() },
            reused: BTreeMap::new(),
            targets: Vec::new(),
        }
    }

    /// Makes a map of its own, empty.
    ///
    /// # Errors
    ///
    /// Returns an error if Linux would not make it either, or if there is no such type here.
    pub fn create_map(&self, spec: &MapSpec) -> Result<Map, Error> {
        let failed = |error| Error::Map { name: spec.name.clone(), error };
        self.make_map(spec, None).map_err(failed)
    }

    /// Makes a map, empty, its values typed by `btf`.
    pub(crate) fn make_map(&self, spec: &MapSpec, btf: Option<&Arc<Btf>>) -> Result<Map, MapError> {
        let world = World::new(self.shared.cpus.clone());
        let record = btf
            .filter(|_| spec.btf_value_type_id != 0)
            .and_then(|btf| btf.record(TypeId(spec.btf_value_type_id), spec.value_size).ok());
        let spin_lock = record.as_ref().and_then(|record| record.offset_of(NamedField::SpinLock));
        let keeps = matches!(spec.map_type, MapType::Array | MapType::Hash | MapType::LruHash);
        let fields = record.filter(|_| keeps).and_then(|record| {
            let fields = OwnedByValues::of(&record, spec.value_size, &self.shared)?;
            Some(Fields::new(Arc::new(fields)))
        });
        let map = create_with_fields(spec, spin_lock, fields, &world)?;
        let object = self.shared.registry.add_map(|id| MapObject::new(id, map, spec, btf));
        Ok(Map::new(object))
    }

    /// The program with this number, if one is loaded.
    pub fn program(&self, id: bpf_abi::id::ProgId) -> Option<Program> {
        Some(Program::new(self.shared.registry.program(id)?, self.clone()))
    }

    /// Every loaded program, in the order of their numbers.
    pub fn programs(&self) -> Vec<Program> {
        let objects = self.shared.registry.programs();
        objects.into_iter().map(|object| Program::new(object, self.clone())).collect()
    }

    /// The map with this number, if there is one.
    pub fn map(&self, id: bpf_abi::id::MapId) -> Option<Map> {
        Some(Map::new(self.shared.registry.map(id)?))
    }

    /// Every map, in the order of their numbers.
    pub fn maps(&self) -> Vec<Map> {
        self.shared.registry.maps().into_iter().map(Map::new).collect()
    }
}

impl OpenObject {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it says, whole.
    pub const fn spec(&self) -> &ObjectSpec {
        &self.spec
    }

    /// What it says, to be changed at will.
    pub const fn spec_mut(&mut self) -> &mut ObjectSpec {
        &mut self.spec
    }

    /// How its programs are to be verified, and how much the log is to say.
    ///
    /// The log's level is 0, as loaders leave it: programs that are accepted have no log, one that
    /// is refused is verified again at level 1, so that the error has it.
    pub const fn verifier(&mut self) -> &mut Options {
        &mut self.options
    }

    /// What it says of a program, to be changed: its type, what it attaches to, whether it is
    /// loaded at all.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such program.
    pub fn program_mut(&mut self, name: &str) -> Result<&mut ProgramSpec, Error> {
        let known = || self.spec.programs.iter().map(|program| program.name.clone()).collect();
        let Some(at) = self.spec.programs.iter().position(|program| program.name == name) else {
            return Err(Error::NoSuchProgram {
                object: self.spec.name.clone(),
                name: name.to_owned(),
                known: known(),
            });
        };
        Ok(&mut self.spec.programs[at])
    }

    /// What it says of a map, to be changed: how many entries it holds, its flags, what it
    /// begins with.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such map.
    pub fn map_mut(&mut self, name: &str) -> Result<&mut MapSpec, Error> {
        let known = || self.spec.maps.iter().map(|map| map.name.clone()).collect();
        let Some(at) = self.find_map(name) else {
            return Err(Error::NoSuchMap {
                object: self.spec.name.clone(),
                name: name.to_owned(),
                known: known(),
            });
        };
        Ok(&mut self.spec.maps[at])
    }

    fn find_map(&self, name: &str) -> Option<usize> {
        let exact = self.spec.maps.iter().position(|map| map.name == name);
        exact.or_else(|| self.spec.maps.iter().position(|map| is_section(&map.name, name)))
    }

    /// Loads only these programs; those that the object would not load by itself too.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them is not there.
    pub fn choose(&mut self, names: &[&str]) -> Result<(), Error> {
        for name in names {
            self.program_mut(name)?;
        }
        for program in &mut self.spec.programs {
            program.autoload = names.contains(&program.name.as_str());
        }
        Ok(())
    }

    /// Uses this map where the object describes one of this name.
    ///
    /// # Errors
    ///
    /// Returns an error if the object has no such map, or if the other is of another runtime.
    pub fn reuse_map(&mut self, name: &str, map: &Map) -> Result<(), Error> {
        let name = self.map_mut(name)?.name.clone();
        map.check_runtime(self.runtime.shared.cpus.world())?;
        self.reused.insert(name, map.clone());
        Ok(())
    }

    /// Has its extensions and tracing programs attach to a type of a program's types, by its id;
    /// without a program to nothing. What cannot be is refused when they are loaded.
    pub fn attach_target(&mut self, program: Option<&Program>, btf_id: u32) {
        let place = program.map(|program| {
            self.targets.push(program.clone());
            i32::try_from(self.targets.len() - 1).unwrap_or(i32::MAX)
        });
        let attaches = |spec: &&mut ProgramSpec| {
            matches!(spec.prog_type, ProgType::Ext | ProgType::Tracing) && spec.autoload
        };
        for spec in self.spec.programs.iter_mut().filter(attaches) {
            spec.attach_prog = place;
            spec.attach_btf_id = btf_id;
        }
    }

    /// One of its programs, to be loaded alone.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such program.
    pub fn program(mut self, name: &str) -> Result<OpenProgram, Error> {
        self.choose(&[name])?;
        Ok(OpenProgram { open: self, name: name.to_owned() })
    }

    /// Has a program attach to a function of another, which must be one of this runtime.
    fn aim(
        &mut self,
        name: &str,
        target: &Program,
        function: &str,
    ) -> Result<&mut ProgramSpec, Error> {
        let id = target.object.facts.function_id(function).ok_or_else(|| Error::Attach {
            program: name.to_owned(),
            reason: format!(
                "program {:?} has no function {function:?} that its types name",
                target.name()
            ),
            errno: Errno::ENOENT,
        })?;
        target.check_runtime(self.runtime.shared.cpus.world())?;
        let place = i32::try_from(self.targets.len()).unwrap_or(i32::MAX);
        self.targets.push(target.clone());
        let spec = self.program_mut(name)?;
        spec.attach_prog = Some(place);
        spec.attach_btf_id = id.0;
        Ok(spec)
    }

    /// Makes its maps, fills them, verifies its programs.
    ///
    /// # Errors
    ///
    /// Returns the first thing that went wrong. What was made until then is gone.
    pub fn load(self) -> Result<Object, LoadError> {
        let Self { runtime, spec, options, reused, targets } = self;
        let object = &spec.name;
        for target in &targets {
            target.check_runtime(runtime.shared.cpus.world()).map_err(|error| {
                let place = Box::new(Place { object: object.clone(), ..Place::default() });
                LoadError::BadProgram { place, reason: error.to_string() }
            })?;
        }
        let mut maps: Vec<Map> = Vec::new();
        let mut fresh: Vec<bool> = Vec::new();
        for map in &spec.maps {
            let made = match reused.get(&map.name) {
                Some(reused) => reused.clone(),
                None => runtime.make_map(map, spec.btf.as_ref()).map_err(|error| {
                    LoadError::Map { object: object.clone(), name: map.name.clone(), error }
                })?,
            };
            fresh.push(!reused.contains_key(&map.name));
            maps.push(made);
        }
        let filling = Filling { object, maps: &maps };
        for (at, map) in spec.maps.iter().enumerate().filter(|(at, _)| fresh[*at]) {
            filling.fill(at, map)?;
        }

        let objects: Vec<Arc<MapObject>> = maps.iter().map(|map| Arc::clone(&map.object)).collect();
        let programs = targets.as_slice();
        let around = Surroundings { object, maps: &objects, programs, options: &options };
        let mut programs = Vec::new();
        for program in spec.programs.iter().filter(|program| program.autoload) {
            programs.push(runtime.load_program(program, &around)?);
        }
        for (at, map) in spec.maps.iter().enumerate().filter(|(at, _)| fresh[*at]) {
            filling.fill_programs(at, map, &programs)?;
        }
        let named = spec.maps.iter().map(|map| map.name.clone()).zip(maps).collect();
        let values = spec.maps.iter().map(|map| TypeId(map.btf_value_type_id)).collect();
        let inner = Inner { name: spec.name, programs, maps: named, values, btf: spec.btf };
        Ok(Object { runtime, inner: Arc::new(inner) })
    }
}

/// Whether `asked` means the section's map of this name: libbpf puts the object's name before
/// `.rodata`.
pub(crate) fn is_section(name: &str, asked: &str) -> bool {
    asked.starts_with('.') && name.strip_suffix(asked).is_some_and(|prefix| !prefix.contains('.'))
}

/// Putting into maps what they begin with.
struct Filling<'a> {
    object: &'a str,
    maps: &'a [Map],
}

impl Filling<'_> {
    /// Puts in bytes and maps, and freezes the map if it asks for that.
    fn fill(&self, at: usize, spec: &MapSpec) -> Result<(), LoadError> {
        let map = &self.maps[at];
        for init in &spec.init {
            match &init.value {
                MapInitValue::Bytes(bytes) => {
                    let filled = map.raw().host().update(&init.key, bytes, UpdateFlags::empty());
                    filled.map_err(|error| self.failed(spec, error))?;
                }
                MapInitValue::Map(inner) => {
                    let inner = self.maps.get(*inner);
                    let inner =
                        inner.ok_or_else(|| self.missing(spec, "a map of no number".to_owned()))?;
                    self.put_map(map, spec, &init.key, inner)?;
                }
                MapInitValue::Program(_) => {}
            }
        }
        let is_constant =
            spec.frozen || (spec.flags.contains(MapFlags::RDONLY_PROG) && is_rodata(spec));
        if is_constant {
            map.raw().host().freeze().map_err(|error| self.failed(spec, error))?;
        }
        Ok(())
    }

    /// Puts a map into a map of maps.
    fn put_map(&self, map: &Map, spec: &MapSpec, key: &[u8], inner: &Map) -> Result<(), LoadError> {
        let outer = map.raw().as_map_of_maps();
        let outer = outer
            .ok_or_else(|| self.missing(spec, format!("a slot for map {:?}", inner.name())))?;
        let set = outer.set(key, Arc::clone(&inner.object.handle), UpdateFlags::empty());
        set.map_err(|error| self.failed(spec, error))
    }

    /// Puts in programs, which were loaded meanwhile.
    fn fill_programs(
        &self,
        at: usize,
        spec: &MapSpec,
        programs: &[Program],
    ) -> Result<(), LoadError> {
        for init in &spec.init {
            let MapInitValue::Program(name) = &init.value else { continue };
            let program = programs.iter().find(|program| program.name() == name);
            let program = program.ok_or_else(|| self.missing(spec, format!("program {name:?}")))?;
            let index = <[u8; 4]>::try_from(init.key.as_slice()).map(u32::from_le_bytes);
            let array = self.maps[at].raw().as_prog_array();
            let (Ok(index), Some(array)) = (index, array) else {
                return Err(self.missing(spec, format!("a slot for program {name:?}")));
            };
            let set = array.set(index, program.as_runnable(), UpdateFlags::empty());
            set.map_err(|error| self.failed(spec, error))?;
        }
        Ok(())
    }

    fn failed(&self, spec: &MapSpec, error: MapError) -> LoadError {
        LoadError::Map { object: self.object.to_owned(), name: spec.name.clone(), error }
    }

    fn missing(&self, spec: &MapSpec, what: String) -> LoadError {
        LoadError::MissingInit { object: self.object.to_owned(), name: spec.name.clone(), what }
    }
}

/// Whether a map is a section of constants.
fn is_rodata(spec: &MapSpec) -> bool {
    spec.map_type == MapType::Array && spec.max_entries == 1 && spec.name.contains(".rodata")
}

impl Object {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The runtime it is loaded in.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The program of this name.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if it was not loaded.
    pub fn program(&self, name: &str) -> Result<Program, Error> {
        let found = self.inner.programs.iter().find(|program| program.name() == name);
        found.cloned().ok_or_else(|| Error::NoSuchProgram {
            object: self.inner.name.clone(),
            name: name.to_owned(),
            known: self.inner.programs.iter().map(|program| program.name().to_owned()).collect(),
        })
    }

    /// Its programs, in the order of the object.
    pub fn programs(&self) -> &[Program] {
        &self.inner.programs
    }

    /// The map of this name; `.rodata` and other sections are found without the object's name.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none.
    pub fn map(&self, name: &str) -> Result<Map, Error> {
        let exact = self.inner.maps.iter().find(|(own, _)| own == name);
        let found = exact.or_else(|| self.inner.maps.iter().find(|(own, _)| is_section(own, name)));
        found.map(|(_, map)| map.clone()).ok_or_else(|| Error::NoSuchMap {
            object: self.inner.name.clone(),
            name: name.to_owned(),
            known: self.inner.maps.iter().map(|(own, _)| own.clone()).collect(),
        })
    }

    /// Its maps, by their names in the object, in its order.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.inner.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// The types of its maps' values among its types, in the order of [`maps`](Self::maps).
    pub(crate) fn value_types(&self) -> impl Iterator<Item = TypeId> {
        self.inner.values.iter().copied()
    }

    /// Its types.
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.inner.btf.as_ref()
    }
}

/// Changes to what a program is for.
pub trait ProgramSpecExt {
    /// Makes it a program of another type.
    fn set_type(&mut self, prog_type: ProgType) -> &mut Self;

    /// Names what it attaches to.
    fn set_attach_target(&mut self, target: AttachTo) -> &mut Self;

    /// Says whether it is loaded with its object.
    fn set_autoload(&mut self, autoload: bool) -> &mut Self;
}

impl ProgramSpecExt for ProgramSpec {
    fn set_type(&mut self, prog_type: ProgType) -> &mut Self {
        self.prog_type = prog_type;
        self
    }

    fn set_attach_target(&mut self, target: AttachTo) -> &mut Self {
        self.attach_to = Some(target);
        self
    }

    fn set_autoload(&mut self, autoload: bool) -> &mut Self {
        self.autoload = autoload;
        self
    }
}
