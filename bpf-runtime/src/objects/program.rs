//! Programs, as the host holds them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use bpf_abi::errno::Errno;
use bpf_abi::exec::{
    Engine, EntryHolder, ProbeGuard, ProgArrayOwner, ProgCounters, ProgEntry, Runnable,
};
use bpf_abi::id::{MapId, ProgId};
use bpf_abi::image::Image;
use bpf_abi::limits::OBJ_NAME_LEN;
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::ProgramSpec;
use bpf_btf::Btf;
use bpf_isa::Slot;
use bpf_trampoline::{Membership, ProgramGate, Refusal, Target};
use bpf_verifier::Stats;
use bpf_verifier::attach::traced_proto;
use bpf_verifier::host::ProgramFacts;
use sha2::{Digest, Sha256};

use crate::attach::function::LoadedFor;
use crate::background::Prepared;
use crate::engine::Code;
use crate::error::Error;
use crate::host::target_of;
use crate::objects::map::MapObject;
use crate::own::TypeObject;
use crate::packet::ContextKind;
use crate::runtime::{Runtime, Shared};

/// A program of a runtime: verified, and ready to run.
///
/// A cheap handle: clones are the same program. It stays loaded as long as a handle, a program
/// array or a link holds it.
#[derive(Clone)]
pub struct Program {
    pub(crate) object: Arc<ProgramObject>,
    pub(crate) runtime: Runtime,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

/// What the runtime keeps of a program.
pub(crate) struct ProgramObject {
    pub(crate) id: ProgId,
    /// The context its runs begin with.
    pub(crate) kind: ContextKind,
    pub(crate) spec: ProgramSpec,
    pub(crate) object: String,
    pub(crate) tag: Tag,
    pub(crate) image: Arc<Image>,
    pub(crate) log: String,
    pub(crate) verified: Stats,
    pub(crate) maps: Vec<Arc<MapObject>>,
    pub(crate) loaded: SystemTime,
    pub(crate) runs: Counter,
    pub(crate) run_time: Counter,
    pub(crate) counters: Option<Arc<ProgCounters>>,
    /// What programs are told that attach to it.
    pub(crate) facts: Arc<ProgramFacts>,
    /// Whether it was verified more strictly than Linux does where that is wrong.
    pub(crate) strict_holes: bool,
    owner: ProgArrayOwner,
    /// What it was loaded for, until its first link.
    pub(crate) loaded_for: Mutex<Option<LoadedFor>>,
    /// The entries of its functions that somebody attached to.
    pub(crate) targets: Mutex<BTreeMap<usize, Arc<Target>>>,
    /// Keeps it from running inside of itself, if it was a probe.
    guard: OnceLock<Arc<ProbeGuard>>,
    /// Whether it is in program arrays, or functions of it are replaced.
    pub(crate) gate: Arc<ProgramGate>,
    /// One for each slot of a program array that it is in.
    memberships: Mutex<Vec<Membership>>,
    /// Which of the host's own types it is of.
    pub(crate) own: Option<Arc<TypeObject>>,
    code: Option<Prepared>,
    pub(crate) cpus: bpf_maps::Cpus,
}

impl fmt::Debug for ProgramObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("id", &self.id)
            .field("name", &self.spec.name)
            .finish_non_exhaustive()
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is known of a program. Linux: `struct bpf_prog_info`.
#[derive(Clone, Debug)]
pub struct ProgramInfo {
    /// Its number.
    pub id: ProgId,
    /// Its name, as far as Linux keeps it: 15 bytes.
    pub name: String,
    /// Its type.
    pub prog_type: ProgType,
    /// The attach type expected at load.
    pub expected_attach_type: Option<AttachType>,
    /// Its fingerprint: equal instructions have equal tags, whatever maps they refer to.
    pub tag: Tag,
    /// The type that it was loaded to attach to, by its id; 0 for none.
    pub attach_btf_id: u32,
    /// Which engine runs it.
    pub engine: Engine,
    /// How many instructions the verified program has, rewritten.
    pub xlated_insns: usize,
    /// How many bytes of machine code it has; 0 if it is interpreted.
    pub jited_bytes: usize,
    /// How many instructions the verifier walked.
    pub verified_insns: u32,
    /// The maps it uses.
    pub map_ids: Vec<MapId>,
    /// When it was loaded.
    pub loaded: SystemTime,
    /// How often the host ran it.
    pub run_count: u64,
    /// How long these runs took, in nanoseconds.
    pub run_time_ns: u64,
    /// How often it was to run as a probe on a CPU where it was running, and did not.
    pub recursion_misses: u64,
}

/// What a program has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often it ran, entered by the host or by a tail call.
    pub runs: u64,
    /// How many tail calls it took.
    pub tail_calls: u64,
    /// How many of its tail calls fell through.
    pub fallen_through: u64,
}

/// A program's fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 8]);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Tag {
    /// The fingerprint of these instructions: the first eight bytes of their SHA-256, with the
    /// numbers of maps taken as zero.
    ///
    /// Linux: `bpf_prog_calc_tag`.
    pub fn of(insns: &[Slot]) -> Self {
        const LOAD_IMM64: u8 = 0x18;
        let mut hash = Sha256::new();
        let mut is_rest_of_map = false;
        for slot in insns {
            let mut slot = *slot;
            let names_map = slot.opcode == LOAD_IMM64 && matches!(slot.src, 1 | 2);
            if names_map || is_rest_of_map {
                slot.imm = 0;
            }
            is_rest_of_map = names_map;
            hash.update(slot.to_bytes());
        }
        let digest = hash.finalize();
        let mut tag = [0; 8];
        tag.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(tag)
    }
}

/// What a program is made of once it is loaded.
pub(crate) struct Parts {
    pub(crate) spec: ProgramSpec,
    pub(crate) object: String,
    pub(crate) image: Arc<Image>,
    pub(crate) log: String,
    pub(crate) verified: Stats,
    pub(crate) maps: Vec<Arc<MapObject>>,
    pub(crate) code: Prepared,
    pub(crate) counters: Option<Arc<ProgCounters>>,
    pub(crate) facts: ProgramFacts,
    /// What it was loaded for.
    pub(crate) loaded_for: Option<LoadedFor>,
    pub(crate) strict_holes: bool,
    pub(crate) owner: ProgArrayOwner,
}

impl ProgramObject {
    pub(crate) fn new(id: ProgId, parts: Parts, shared: &Shared) -> Self {
        let Parts {
            spec,
            object,
            image,
            log,
            verified,
            maps,
            code,
            counters,
            facts,
            loaded_for,
            strict_holes,
            owner,
        } = parts;
        Self {
            id,
            own: shared.own_types.of(&spec),
            kind: ContextKind::of(spec.prog_type),
            tag: Tag::of(&spec.insns),
            spec,
            object,
            image,
            log,
            verified,
            maps,
            loaded: SystemTime::now(),
            runs: Counter::default(),
            run_time: Counter::default(),
            counters,
            facts: Arc::new(ProgramFacts { id: id.0, ..facts }),
            strict_holes,
            owner,
            loaded_for: Mutex::new(loaded_for),
            targets: Mutex::default(),
            guard: OnceLock::new(),
            gate: ProgramGate::new(),
            memberships: Mutex::default(),
            code: Some(code),
            cpus: shared.cpus.clone(),
        }
    }

    fn memberships(&self) -> MutexGuard<'_, Vec<Membership>> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline(always)]
    fn prepared(&self) -> &Prepared {
        self.code.as_ref().expect("code is taken out when the program is dropped, and not before")
    }

    /// What keeps it from running inside of itself as a probe.
    pub(crate) fn guard(&self) -> Arc<ProbeGuard> {
        Arc::clone(self.guard.get_or_init(|| ProbeGuard::new(self.cpus.count())))
    }

    /// What the engine made of it; compiles it if that is to be done.
    pub(crate) fn code(&self) -> &Code {
        self.prepared().finally()
    }

    /// What a run that begins now is to run.
    #[inline(always)]
    pub(crate) fn running(&self) -> &Code {
        self.prepared().now()
    }
}

impl Drop for ProgramObject {
    fn drop(&mut self) {
        // A run that got here by a tail call may still be in this code, or look at these maps:
        // [code-outlives-calls].
        let code = self.code.take();
        let maps = std::mem::take(&mut self.maps);
        let image = Arc::clone(&self.image);
        let targets = std::mem::take(&mut self.targets);
        self.cpus.defer(move || drop((code, maps, image, targets)));
    }
}

impl Runnable for ProgramObject {
    fn id(&self) -> ProgId {
        self.id
    }

    fn entry(&self) -> ProgEntry {
        self.prepared().entry()
    }

    fn owner(&self) -> ProgArrayOwner {
        self.owner.clone()
    }

    fn image(&self) -> &Arc<Image> {
        &self.image
    }

    fn is_extension(&self) -> bool {
        self.spec.prog_type == ProgType::Ext
    }

    fn enter_prog_array(&self, array: &Arc<dyn EntryHolder>) -> Result<(), Errno> {
        // On other CPUs its values would have no room for all that run it.
        if self.is_extension() || array.world() != self.cpus.world() {
            return Err(Errno::EINVAL);
        }
        let membership = self.gate.enter_prog_array().map_err(Refusal::errno)?;
        self.prepared().enter(array).map_err(|_| Errno::ENOMEM)?;
        self.memberships().push(membership);
        Ok(())
    }

    fn leave_prog_array(&self) {
        let membership = self.memberships().pop();
        drop(membership);
    }
}

/// What program arrays compare of a program.
pub(crate) fn owner_of(
    spec: &ProgramSpec,
    programs: &[Program],
    compiled: bool,
    own: Option<&TypeObject>,
    kernel: Option<&Arc<Btf>>,
) -> ProgArrayOwner {
    let target = target_of(spec, programs);
    let traced = match target {
        Some(target) => target.object.facts.btf.as_ref(),
        None => kernel,
    };
    let target = target.filter(|_| spec.prog_type == ProgType::Ext);
    ProgArrayOwner {
        prog_type: target.map_or(spec.prog_type, Program::prog_type),
        expected_attach_type: attach_type(spec),
        engine: if compiled { Engine::Jit } else { Engine::Interp },
        xdp_has_frags: spec.flags.contains(ProgFlags::XDP_HAS_FRAGS),
        // Types of the host's own share one number, and differ in this.
        attach_func: own.map_or_else(|| traced_type(spec, traced), |own| own.number),
    }
}

/// The type of the function that a tracing program looks at: equal numbers are the same type of the
/// same types, not only an equal one. Linux: `attach_func_proto`.
fn traced_type(spec: &ProgramSpec, btf: Option<&Arc<Btf>>) -> u64 {
    if !matches!(spec.prog_type, ProgType::Tracing | ProgType::Lsm) {
        return 0;
    }
    let Some((btf, proto)) = btf.and_then(|btf| Some((btf, traced_proto(spec, btf)?))) else {
        return 0;
    };
    let address = Arc::as_ptr(btf).addr() as u64;
    address.rotate_left(32) ^ u64::from(proto.0)
}

/// The attach type that counts: some types take none for one, and zero is none.
///
/// Linux: `bpf_prog_load_fixup_attach_type`.
fn attach_type(spec: &ProgramSpec) -> Option<AttachType> {
    match (spec.prog_type, spec.expected_attach_type.filter(|attach| attach.number() != 0)) {
        (ProgType::CgroupSock, None) => Some(AttachType::CgroupInetSockCreate),
        (ProgType::SkReuseport, None) => Some(AttachType::SkReuseportSelect),
        (_, attach) => attach,
    }
}

impl Program {
    pub(crate) const fn new(object: Arc<ProgramObject>, runtime: Runtime) -> Self {
        Self { object, runtime }
    }

    /// That it is of the runtime with these CPUs.
    pub(crate) fn check_runtime(&self, world: u64) -> Result<(), Error> {
        if self.object.cpus.world() == world {
            return Ok(());
        }
        Err(Error::OtherRuntime { what: "program", name: self.name().to_owned() })
    }

    /// Its number.
    pub fn id(&self) -> ProgId {
        self.object.id
    }

    /// Its name: the function's.
    pub fn name(&self) -> &str {
        &self.object.spec.name
    }

    /// Its type.
    pub fn prog_type(&self) -> ProgType {
        self.object.spec.prog_type
    }

    /// The description it was loaded from.
    pub fn spec(&self) -> &ProgramSpec {
        &self.object.spec
    }

    /// The verified program, rewritten: what engines run.
    pub fn image(&self) -> &Arc<Image> {
        &self.object.image
    }

    /// What the verifier wrote while it accepted the program; how much is the choice of
    /// [`OpenObject::verifier`](crate::OpenObject::verifier).
    pub fn log(&self) -> &str {
        &self.object.log
    }

    /// What the verifier counted.
    pub fn verifier_stats(&self) -> &Stats {
        &self.object.verified
    }

    /// Compiles it now if that is still to be done; returns which engine runs it from now on.
    pub fn settle(&self) -> Engine {
        self.object.code().engine()
    }

    /// Its machine code beside the instructions it was made of; `None` if it is interpreted.
    pub fn listing(&self) -> Option<String> {
        match self.object.code() {
            Code::Jit(compiled) => Some(compiled.listing(&self.object.image)),
            Code::Interp(_) => None,
        }
    }

    /// What is known of it.
    pub fn info(&self) -> ProgramInfo {
        let object = &self.object;
        let name = &object.spec.name;
        let end = (0..OBJ_NAME_LEN).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        ProgramInfo {
            id: object.id,
            name: name.get(..end.min(name.len())).unwrap_or_default().to_owned(),
            prog_type: object.spec.prog_type,
            expected_attach_type: object.spec.expected_attach_type,
            tag: object.tag,
            attach_btf_id: object.spec.attach_btf_id,
            engine: object.running().engine(),
            xlated_insns: object.image.program.len(),
            jited_bytes: object.running().jited_len(),
            verified_insns: object.verified.insns_processed,
            map_ids: object.maps.iter().map(|map| map.id).collect(),
            loaded: object.loaded,
            run_count: object.runs.get(),
            run_time_ns: object.run_time.get(),
            recursion_misses: object.guard.get().map_or(0, |guard| guard.misses()),
        }
    }

    /// How often it ran and what came of its tail calls, if the runtime was built to
    /// [count](crate::Builder::count).
    pub fn counters(&self) -> Option<Counters> {
        let counters = self.object.counters.as_ref()?;
        Some(Counters {
            runs: counters.runs.load(Ordering::Relaxed),
            tail_calls: counters.tail_calls.load(Ordering::Relaxed),
            fallen_through: counters.fallen_through.load(Ordering::Relaxed),
        })
    }

    /// The object it comes from; empty for none.
    pub fn object_name(&self) -> &str {
        &self.object.object
    }

    /// The program as program arrays hold it.
    pub fn as_runnable(&self) -> Arc<dyn Runnable> {
        Arc::<ProgramObject>::clone(&self.object)
    }
}

/// Whether a program array's program is one of ours.
pub(crate) fn of_runnable(runnable: Arc<dyn Runnable>) -> Option<Arc<ProgramObject>> {
    let any: Arc<dyn Any + Send + Sync> = runnable;
    any.downcast().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_does_not_depend_on_which_map_is_used() {
        let insns = |map: i32, imm: i32| {
            [
                Slot { opcode: 0x18, dst: 1, src: 1, off: 0, imm: map },
                Slot::default(),
                Slot { opcode: 0xb7, dst: 0, src: 0, off: 0, imm },
                Slot { opcode: 0x95, ..Slot::default() },
            ]
        };
        assert_eq!(Tag::of(&insns(3, 0)), Tag::of(&insns(4, 0)));
        assert_ne!(Tag::of(&insns(3, 0)), Tag::of(&insns(3, 1)));
        assert_eq!(Tag([0, 1, 2, 3, 4, 5, 6, 255]).to_string(), "00010203040506ff");
    }
}
