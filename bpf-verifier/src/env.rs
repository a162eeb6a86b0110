//! What all passes share: the program, what is noted of each instruction, counters.

use std::cell::OnceCell;
use std::sync::Arc;

use bpf_abi::ctx::ContextKind;
use bpf_abi::image::MemoryClass;
use bpf_abi::limits::MAX_USED_MAPS;
use bpf_abi::spec::ProgramSpec;
use bpf_btf::record::Record;
use bpf_btf::{Btf, TypeId};
use bpf_isa::{Insn, Pc, Program, Reg};

use crate::attach::Signature;
use crate::host::{Host, MapFacts, OwnType, ProgKind, ProgramFacts};
use crate::log::Log;
use crate::options::Options;
use crate::program::{Flow, LiveStack};
use crate::state::{BtfNo, Id, IdSource, MapNo, PointerKind, PtrFlags, SlotNo, SubprogId};
use crate::trace::Tracer;

/// What all passes share.
///
/// Linux: `struct bpf_verifier_env`.
#[derive(Debug)]
pub struct Env<'e> {
    /// The program as it was handed in.
    pub spec: &'e ProgramSpec,
    /// The world.
    pub host: &'e dyn Host,
    /// What the caller chose.
    pub options: &'e Options,
    /// The kernel function whose arguments are the context, once that is found fit.
    pub signature: Option<Arc<Signature>>,
    /// What kind of program it is verified as. Linux: `resolve_prog_type`.
    pub kind: ProgKind,
    /// The program that it attaches to, once that is found fit. Linux: `dst_prog`.
    pub target: Option<Arc<ProgramFacts>>,
    /// The host's own program type that the program is of, if it is of one.
    pub own_type: Option<OwnType>,
    /// The instructions, decoded.
    pub program: Program,
    /// What is noted of each instruction, one entry a slot. Linux: `insn_aux_data`.
    pub notes: Vec<InsnNote>,
    /// The functions, in the order of their first instructions. Linux: `subprog_info`.
    pub subprogs: Vec<Subprog>,
    /// The function that is called when an exception is thrown.
    /// Linux: `exception_callback_subprog`.
    pub exception_callback: Option<SubprogId>,
    /// Where control may go within functions. Linux: `cfg`.
    pub flow: Flow,
    /// What is known of the stack's liveness. Linux: `liveness`.
    pub live_stack: LiveStack,
    /// Where functions and lines come from in the source, as the log shows it.
    pub debug: DebugInfo,
    /// The maps the program uses; behind them, blueprints of maps in maps that it reaches.
    maps: Vec<Arc<MapFacts>>,
    /// How many of them the program names.
    named_maps: usize,
    /// Maps of maps, each with the blueprint of the maps in it.
    inner_maps: Vec<(MapNo, MapNo)>,
    /// The special fields of their values, as far as they were asked for.
    records: Vec<OnceCell<Option<Arc<Record>>>>,
    /// The BTF objects that types of this program are in.
    btfs: Vec<Arc<Btf>>,
    /// Gives out identities.
    pub ids: IdSource,
    /// The log.
    pub log: Log,
    /// What the next line of the log has to show.
    pub scratched: Scratched,
    /// What is counted.
    pub counts: Counts,
    /// The instruction that a pass before the walk looks at.
    pub looking_at: Option<Pc>,
    /// What the walk, looking at all paths, found the program to do.
    pub found: Found,
    /// Records the walk, if somebody wants that.
    pub(crate) tracer: Option<Box<Tracer>>,
}

/// What is counted while walking.
///
/// Linux: the fields of `struct bpf_verifier_env` that `print_verification_stats` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions walked. Linux: `insn_processed`.
    pub insns: u32,
    /// States kept, ever.
    pub total_states: u32,
    /// The most states alive at one time.
    pub peak_states: u32,
    /// The most bytes that states took at one time.
    pub peak_state_bytes: usize,
    /// States in being now. Linux: `cur_states`, which `peak_states` is taken from.
    pub live_states: u32,
    /// The most states kept at one instruction.
    pub max_states_per_insn: u32,
}

/// What the program was found to do on some path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// It looks at the current time or state in a way that only some engines inline.
    pub tail_call: bool,
    /// It calls functions of its own.
    pub local_calls: bool,
    /// It writes to the packet directly. Linux: `seen_direct_write`.
    pub direct_write: bool,
    /// It may throw an exception. Linux: `seen_exception`.
    pub exception: bool,
    /// A function is added to it that ends it when an exception was thrown, since it has none of
    /// its own. Linux: `hidden_subprog_cnt`.
    pub default_exception_callback: bool,
    /// The greatest offset it accesses in its context. Linux: `max_ctx_offset`.
    pub max_ctx_offset: u32,
    /// The greatest offset it accesses in packets. Linux: `max_pkt_offset`.
    pub max_pkt_offset: u32,
    /// The greatest offset it accesses in a tracepoint's buffer. Linux: `max_tp_access`.
    pub max_tp_access: u32,
}

/// What is noted of one instruction.
///
/// Linux: `struct bpf_insn_aux_data`.
#[derive(Clone, Debug, Default)]
pub struct InsnNote {
    /// What a 64-bit immediate resolved to.
    pub load: Option<Loaded>,
    /// Whether states are compared and may be kept here.
    pub prune_point: bool,
    /// Whether a state is kept here each time.
    pub force_checkpoint: bool,
    /// Whether the history of a path must show that it came through here.
    pub jump_point: bool,
    /// Whether it calls a helper that calls back.
    pub calls_callback: bool,
    /// Whether it advances an open-coded iterator.
    pub is_iter_next: bool,
    /// The loop it is in; 0 is none. Linux: `scc`.
    pub scc: u32,
    /// The registers that this or a later instruction may read, a bit each.
    /// Linux: `live_regs_before`.
    pub live_regs: u16,
    /// Whether it is a spill or fill around a call that clobbers less than others.
    pub fastcall_pattern: bool,
    /// How many spills and fills are around this call.
    pub fastcall_spills: u8,
    /// Whether it is such a spill or fill and does nothing else.
    pub superfluous: bool,
    /// Whether a path reached it.
    pub seen: bool,
    /// What a load or store was found to touch, on the first path that reached it.
    /// Linux: `ptr_type`.
    pub memory: Option<MemoryType>,
    /// Whether on some path that may be memory that has gone: a kernel object that nothing holds.
    pub may_fault: bool,
    /// What class of memory all paths agree that it touches.
    pub touched: Agreed<MemoryClass>,
    /// The size of the context field that a narrower load is part of.
    pub ctx_field_size: u32,
    /// What was found about the map argument of a call. Linux: `map_ptr_state`.
    pub call_map: Agreed<MapNo>,
    /// What was found about the constant key or index of a call. Linux: `map_key_state`.
    pub call_key: Agreed<u64>,
    /// Which function a loop helper calls back, if it can be inlined.
    /// Linux: `loop_inline_state`.
    pub loop_callback: Agreed<SubprogId>,
    /// Anything else that a rule has to tell to the rewriting passes.
    pub kfunc_meta: Option<KfuncMeta>,
    /// Whether a helper's memory must be allocated without sleeping.
    /// Linux: `storage_get_func_atomic`.
    pub atomic_storage: bool,
    /// Whether the instruction takes part in the walk with other code than it was written
    /// with: nothing can be concluded for its call's callee. Linux: `non_stack_access`.
    pub non_sleepable: bool,
}

/// What a kernel function's rewriting needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KfuncMeta {
    /// The size of the object to be allocated. Linux: `obj_new_size`.
    pub object_size: u64,
    /// Where a node lies in its object. Linux: `insert_off`.
    pub node_off: u32,
    /// Which type's special fields matter. Linux: `kptr_struct_meta`.
    pub struct_id: Option<TypeId>,
}

/// What a 64-bit immediate resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A map.
    Map(MapNo),
    /// A byte of a map's only value.
    MapValue {
        /// The map.
        map: MapNo,
        /// The byte.
        off: u32,
    },
    /// A variable of the kernel. Linux: `btf_var`.
    Variable(MemoryType),
    /// A function of the program.
    Func(SubprogId),
}

/// The type of memory that an instruction touches, whatever the object.
///
/// Linux: `enum bpf_reg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryType {
    /// A pointer of the kind found first.
    pub kind: PointerKind,
    /// Its flags.
    pub flags: PtrFlags,
}

/// What all paths through an instruction agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agreed<T> {
    /// No path has reached it.
    #[default]
    Unseen,
    /// All paths so far: this.
    One(T),
    /// Paths differ, or one does not know. Linux: `poison`.
    Several,
}

impl<T: Copy + PartialEq> Agreed<T> {
    /// Takes in what one more path says; `None` if it does not know.
    pub fn add(&mut self, said: Option<T>) {
        *self = match (*self, said) {
            (Self::Unseen, Some(value)) => Self::One(value),
            (Self::One(old), Some(value)) if old == value => Self::One(value),
            (Self::Unseen | Self::One(_) | Self::Several, _) => Self::Several,
        };
    }

    /// What all agree on.
    pub const fn one(&self) -> Option<T> {
        match self {
            Self::One(value) => Some(*value),
            Self::Unseen | Self::Several => None,
        }
    }
}

/// A function of the program.
///
/// Linux: `struct bpf_subprog_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subprog {
    /// Its first instruction.
    pub start: Pc,
    /// The instruction after its last.
    pub end: Pc,
    /// Its name; empty if none is known.
    pub name: String,
    /// Its id in the program's BTF, if it has one.
    pub btf_id: Option<TypeId>,
    /// Whether it is global: verified by its type alone.
    pub is_global: bool,
    /// Whether its BTF type does not describe its code. Linux: `func_info_aux[].unreliable`.
    pub unreliable: bool,
    /// Whether a global function was reached, so that it has to be verified.
    /// Linux: `func_info_aux[].called`.
    pub called: bool,
    /// Whether it was verified. Linux: `func_info_aux[].verified`.
    pub verified: bool,
    /// How much stack it was found to use, in bytes. Linux: `stack_depth`.
    pub stack_depth: u32,
    /// Stack that rewriting adds. Linux: `stack_extra`.
    pub stack_extra: u32,
    /// Whether no path reached it, so that it is not part of what runs.
    pub removed: bool,
    /// The lowest offset that fastcall spills use. Linux: `fastcall_stack_off`.
    pub fastcall_stack_off: i32,
    /// Whether fastcall spills must stay. Linux: `keep_fastcall_stack`.
    pub keep_fastcall_stack: bool,
    /// Whether it tail-calls.
    pub has_tail_call: bool,
    /// Whether it, or a function below or above it, tail-calls. Linux: `tail_call_reachable`.
    pub tail_call_reachable: bool,
    /// Whether it has `LD_ABS` or `LD_IND`.
    pub has_ld_abs: bool,
    /// Whether it is called back.
    pub is_callback: bool,
    /// Whether it is called back at another time.
    pub is_async_callback: bool,
    /// Whether it is called when an exception was thrown.
    pub is_exception_callback: bool,
    /// Whether it, or a function it calls, may move the packet. Linux: `changes_pkt_data`.
    pub changes_packet: bool,
    /// Whether it, or a function it calls, may sleep. Linux: `might_sleep`.
    pub might_sleep: bool,
    /// Whether it has a stack of its own. Linux: `priv_stack_mode`.
    pub private_stack: bool,
}

/// Where code comes from in the source.
#[derive(Clone, Debug, Default)]
pub struct DebugInfo {
    /// The functions, as `func_info` has them. Linux: `func_info`.
    pub funcs: Vec<FuncRecord>,
    /// The lines, in the order of their first instructions. Linux: `linfo`.
    pub lines: Vec<LineInfo>,
    /// The line the log showed last. Linux: `prev_linfo`.
    pub shown: Option<usize>,
}

/// A function, as `func_info` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncRecord {
    /// Its first instruction.
    pub pc: Pc,
    /// Its type: a function of the program's BTF.
    pub type_id: TypeId,
}

/// A line of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineInfo {
    /// Its first instruction.
    pub pc: Pc,
    /// The file, with its path.
    pub file: String,
    /// The line, with its indentation.
    pub text: String,
    /// The line's number.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// The registers and slots that the instruction being walked touched, for the log.
///
/// Linux: `scratched_regs`, `scratched_stack_slots`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratched {
    /// A bit for each register.
    pub regs: u16,
    /// A bit for each slot.
    pub slots: u64,
}

impl Scratched {
    /// The instruction touched a register. Linux: `mark_reg_scratched`.
    pub const fn reg(&mut self, reg: Reg) {
        self.regs |= 1 << reg.number();
    }

    /// The instruction touched a slot. Linux: `mark_stack_slot_scratched`.
    pub const fn slot(&mut self, slot: SlotNo) {
        if slot.0 < 64 {
            self.slots |= 1 << slot.0;
        }
    }

    /// Everything is to be shown. Linux: `mark_verifier_state_scratched`.
    pub const fn all(&mut self) {
        self.regs = u16::MAX;
        self.slots = u64::MAX;
    }

    /// Nothing was touched. Linux: `mark_verifier_state_clean`.
    pub const fn clear(&mut self) {
        self.regs = 0;
        self.slots = 0;
    }

    /// Whether nothing was touched.
    pub const fn is_clear(&self) -> bool {
        self.regs == 0 && self.slots == 0
    }
}

impl<'e> Env<'e> {
    /// An environment for this program, before any pass.
    pub fn new(spec: &'e ProgramSpec, host: &'e dyn Host, options: &'e Options) -> Self {
        let own_type = host.own_type(spec);
        Self {
            spec,
            host,
            options,
            signature: None,
            kind: ProgKind {
                prog_type: spec.prog_type,
                expected_attach_type: spec.expected_attach_type,
                own_context: own_type.as_ref().map(|own| own.context),
            },
            target: None,
            own_type,
            program: Program::default(),
            notes: Vec::new(),
            subprogs: Vec::new(),
            exception_callback: None,
            flow: Flow::default(),
            live_stack: LiveStack::default(),
            debug: DebugInfo::default(),
            maps: Vec::new(),
            named_maps: 0,
            inner_maps: Vec::new(),
            records: Vec::new(),
            btfs: Vec::new(),
            ids: IdSource::default(),
            log: Log::new(options.log),
            scratched: Scratched::default(),
            counts: Counts::default(),
            looking_at: None,
            found: Found::default(),
            tracer: options.trace.as_ref().map(|_| Box::default()),
        }
    }

    /// What R1 points to when the program begins.
    pub fn context(&self) -> Option<ContextKind> {
        self.kind.context()
    }

    /// The instruction at `pc`.
    pub fn insn(&self, pc: Pc) -> Option<Insn> {
        self.program.get(pc)
    }

    /// What is noted of the instruction at `pc`.
    ///
    /// # Panics
    ///
    /// If the program does not reach that far.
    pub fn note(&self, pc: Pc) -> &InsnNote {
        &self.notes[pc.index()]
    }

    /// What is noted of the instruction at `pc`, to be changed.
    ///
    /// # Panics
    ///
    /// If the program does not reach that far.
    pub fn note_mut(&mut self, pc: Pc) -> &mut InsnNote {
        &mut self.notes[pc.index()]
    }

    /// A function.
    ///
    /// # Panics
    ///
    /// If there is no such function.
    pub fn subprog(&self, id: SubprogId) -> &Subprog {
        &self.subprogs[id.index()]
    }

    /// A function, to be changed.
    ///
    /// # Panics
    ///
    /// If there is no such function.
    pub fn subprog_mut(&mut self, id: SubprogId) -> &mut Subprog {
        &mut self.subprogs[id.index()]
    }

    /// The function that begins at `pc`. Linux: `find_subprog`.
    pub fn subprog_at(&self, pc: Pc) -> Option<SubprogId> {
        let place = self.subprogs.binary_search_by_key(&pc, |subprog| subprog.start).ok()?;
        u32::try_from(place).ok().map(SubprogId)
    }

    /// The function that the instruction at `pc` is in. Linux: `bpf_find_containing_subprog`.
    pub fn subprog_of(&self, pc: Pc) -> Option<SubprogId> {
        let place = self.subprogs.partition_point(|subprog| subprog.start <= pc);
        u32::try_from(place.checked_sub(1)?).ok().map(SubprogId)
    }

    /// A map.
    ///
    /// # Panics
    ///
    /// If there is no such map; values only name maps that were added.
    pub fn map(&self, map: MapNo) -> &Arc<MapFacts> {
        &self.maps[map.index()]
    }

    /// The special fields of a map's values, if their type is known.
    ///
    /// Linux: `map->record`.
    pub fn record(&self, map: MapNo) -> Option<Arc<Record>> {
        let record = self.records.get(map.index())?.get_or_init(|| {
            let facts = self.map(map);
            let btf = facts.btf.as_ref()?;
            btf.record(facts.btf_value_type_id, facts.value_size).ok().map(Arc::new)
        });
        record.clone()
    }

    /// The maps the program names.
    pub fn used_maps(&self) -> impl Iterator<Item = &Arc<MapFacts>> {
        self.maps.iter().take(self.named_maps)
    }

    /// The maps the program uses and blueprints it reaches, in the order they were met.
    pub fn maps(&self) -> &[Arc<MapFacts>] {
        &self.maps
    }

    /// Adds a map that the program uses, or finds it among those that it uses already;
    /// `None` if it uses too many.
    pub fn use_map(&mut self, facts: Arc<MapFacts>) -> Option<MapNo> {
        if let Some(place) = self.maps.iter().position(|map| map.id == facts.id) {
            return u32::try_from(place).ok().map(MapNo);
        }
        if self.maps.len() >= MAX_USED_MAPS {
            return None;
        }
        self.maps.push(facts);
        self.named_maps = self.maps.len();
        self.records.push(OnceCell::new());
        u32::try_from(self.maps.len() - 1).ok().map(MapNo)
    }

    /// The blueprint of the maps in a map of maps.
    ///
    /// Linux: `inner_map_meta`.
    pub fn inner_map(&mut self, map: MapNo) -> Option<MapNo> {
        if let Some((_, inner)) = self.inner_maps.iter().find(|(outer, _)| *outer == map) {
            return Some(*inner);
        }
        // It has no name.
        let inner = MapFacts { name: String::new(), ..self.map(map).inner.as_deref()?.clone() };
        let place = MapNo(u32::try_from(self.maps.len()).ok()?);
        self.maps.push(Arc::new(inner));
        self.records.push(OnceCell::new());
        self.inner_maps.push((map, place));
        Some(place)
    }

    /// A BTF object.
    pub fn btf(&self, btf: BtfNo) -> Option<&Arc<Btf>> {
        self.btfs.get(usize::try_from(btf.0).ok()?)
    }

    /// Adds a BTF object, or finds it among those that are there.
    pub fn use_btf(&mut self, btf: &Arc<Btf>) -> BtfNo {
        let place = match self.btfs.iter().position(|known| Arc::ptr_eq(known, btf)) {
            Some(place) => place,
            None => {
                self.btfs.push(Arc::clone(btf));
                self.btfs.len() - 1
            }
        };
        BtfNo(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// An identity that nothing has had before.
    pub fn fresh_id(&mut self) -> Id {
        self.ids.fresh()
    }

    /// Notes that a function uses its stack down to `off` (negative, in bytes).
    ///
    /// Linux: `update_stack_depth` and `grow_stack_state`.
    pub fn note_stack_depth(&mut self, subprog: SubprogId, off: i32) {
        let depth = off.unsigned_abs().next_multiple_of(8);
        let subprog = self.subprog_mut(subprog);
        subprog.stack_depth = subprog.stack_depth.max(depth);
    }
}
