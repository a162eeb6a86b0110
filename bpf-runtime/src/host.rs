//! What the verifier is told of the world, answered from what is loaded.

use std::sync::{Arc, OnceLock};

use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, Inline};
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_btf::Btf;
use bpf_verifier::host::{Host, MapFacts, OwnType, ProgramFacts};

use crate::helpers;
use crate::objects::map::MapObject;
use crate::objects::program::{Program, owner_of};
use crate::own::TypeObject;
use crate::runtime::Shared;

/// The number of `bpf_get_prandom_u32`.
const GET_PRANDOM_U32: u32 = 7;
/// The number of `bpf_kptr_xchg`.
const KPTR_XCHG: u32 = 194;

/// The world, as one program about to be loaded finds it.
#[derive(Debug)]
pub(crate) struct LoadHost<'a> {
    shared: &'a Shared,
    prog_type: ProgType,
    compiles: bool,
    programs: &'a [Program],
    maps: &'a [Arc<MapObject>],
    own: Option<Arc<TypeObject>>,
    facts: Vec<Arc<MapFacts>>,
    /// The number that the program's code is given for it, if it is.
    pub(crate) number: OnceLock<u64>,
}

impl<'a> LoadHost<'a> {
    /// The world of a program that names these maps and programs by their places.
    pub(crate) fn new(
        shared: &'a Shared,
        spec: &ProgramSpec,
        maps: &'a [Arc<MapObject>],
        programs: &'a [Program],
        compiles: bool,
    ) -> Self {
        let facts = maps.iter().map(|map| Arc::new(map.facts())).collect();
        let target = target_of(spec, programs).filter(|_| spec.prog_type == ProgType::Ext);
        let prog_type = target.map_or(spec.prog_type, Program::prog_type);
        let own =
            target.map_or_else(|| shared.own_types.of(spec), |target| target.object.own.clone());
        Self { shared, prog_type, compiles, programs, maps, own, facts, number: OnceLock::new() }
    }

    /// The kernel's types, for programs that need them anyway.
    fn kernel_of(&self, program: &ProgramSpec) -> Option<&Arc<Btf>> {
        let needs = matches!(program.prog_type, ProgType::Tracing | ProgType::Lsm);
        if needs { self.shared.kernel_types() } else { None }
    }

    /// Whether each map of the program that can own objects knows how to let them go.
    fn owns_objects(&self) -> bool {
        self.maps.iter().all(|map| map.owns_objects())
    }

    /// The map that facts of ours are about.
    fn object(&self, facts: &MapFacts) -> Option<&Arc<MapObject>> {
        self.maps.iter().find(|map| map.id.0 == facts.id)
    }
}

/// The program that a program about to be loaded attaches to.
pub(crate) fn target_of<'a>(spec: &ProgramSpec, programs: &'a [Program]) -> Option<&'a Program> {
    programs.get(usize::try_from(spec.attach_prog?).ok()?)
}

impl Host for LoadHost<'_> {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.facts.get(index).cloned().ok_or(Errno::EBADF)
    }

    fn program(&self, fd: i32) -> Result<Arc<ProgramFacts>, Errno> {
        let program = usize::try_from(fd).ok().and_then(|fd| self.programs.get(fd));
        program.map(|program| Arc::clone(&program.object.facts)).ok_or(Errno::EBADF)
    }

    fn compiles(&self) -> bool {
        self.compiles
    }

    fn constant(&self, map: &MapFacts, off: u32, size: u32) -> Option<u64> {
        self.object(map)?.constant(off, size)
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        self.object(map).expect("the verifier binds maps that this host gave it").bound()
    }

    fn own_type(&self, _: &ProgramSpec) -> Option<OwnType> {
        let own = self.own.as_ref()?;
        Some(OwnType { context: own.context, returns: own.returns.clone() })
    }

    fn extra_helper(&self, _: &ProgramSpec, id: u32) -> Option<&'static HelperProto> {
        self.own.as_ref()?.helper(id)
    }

    fn helper_code(&self, proto: &'static HelperProto) -> Option<HelperFn> {
        if let Some(code) = self.own.as_ref().and_then(|own| own.code(proto)) {
            return Some(code);
        }
        if proto.id == KPTR_XCHG && !self.owns_objects() {
            return None;
        }
        let helper = helpers::find(proto.id)?;
        helper.works_for(self.prog_type).then_some(helper.entry)
    }

    fn helper_inline(&self, proto: &'static HelperProto) -> Option<Inline> {
        let is_own = self.own.as_ref().is_some_and(|own| own.code(proto).is_some());
        let is_random = proto.id == GET_PRANDOM_U32 && !is_own;
        is_random.then(|| Inline::Random(self.shared.random.layout()))
    }

    fn kfunc_code(&self, name: &str) -> Option<(&'static HelperProto, HelperFn)> {
        if helpers::kfunc::handles_objects(name) && !self.owns_objects() {
            return None;
        }
        helpers::kfunc::find(name, self.prog_type)
    }

    fn program_number(&self) -> u64 {
        *self.number.get_or_init(|| self.shared.timers.number_program())
    }

    fn object_types(&self, btf: &Arc<Btf>) -> u64 {
        self.shared.objects.place_of(btf)
    }

    fn cpus(&self) -> u32 {
        self.shared.cpus.count()
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        self.shared.kernel_types()
    }

    fn check_map_owner(&self, map: &MapFacts, program: &ProgramSpec) -> Result<(), Errno> {
        let Some(array) = self.object(map).and_then(|object| object.map().as_prog_array()) else {
            return Ok(());
        };
        let owner = owner_of(
            program,
            self.programs,
            self.compiles,
            self.own.as_deref(),
            self.kernel_of(program),
        );
        array.bind(&owner).map_err(|error| error.errno())
    }
}
