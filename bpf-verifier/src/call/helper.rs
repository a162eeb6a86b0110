//! Helpers: contracts of `bpf-abi`, held against the registers.

use bpf_abi::attach::{function, lsm};
use bpf_abi::helper::hooks::Lookup;
use bpf_abi::helper::{HelperFlags, HelperProto};
use bpf_abi::map::{MapFlags, MapType};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_isa::{Reg, Size, Width};

use crate::attach::SignatureOf;
use crate::call::{
    CallError, args, callback, clobber, forget_packets, map_compat, objects, release,
};
use crate::call::{returns, strings};
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::memory::stack;
use crate::state::{BtfType, Id, MapNo, PointerKind, SubprogId, Value};
use crate::step::{exit, target};

/// Numbers of helpers that the verifier has to know.
pub(crate) mod id {
    pub(crate) const MAP_LOOKUP: u32 = 1;
    pub(crate) const MAP_UPDATE: u32 = 2;
    pub(crate) const MAP_DELETE: u32 = 3;
    pub(crate) const SMP_PROCESSOR_ID: u32 = 8;
    pub(crate) const TAIL_CALL: u32 = 12;
    pub(crate) const PROBE_READ_STR: u32 = 45;
    pub(crate) const REDIRECT_MAP: u32 = 51;
    pub(crate) const GET_STACK: u32 = 67;
    pub(crate) const GET_LOCAL_STORAGE: u32 = 81;
    pub(crate) const SK_RELEASE: u32 = 86;
    pub(crate) const MAP_PUSH: u32 = 87;
    pub(crate) const MAP_POP: u32 = 88;
    pub(crate) const MAP_PEEK: u32 = 89;
    pub(crate) const SPIN_LOCK: u32 = 93;
    pub(crate) const SK_STORAGE_GET: u32 = 107;
    pub(crate) const SK_STORAGE_DELETE: u32 = 108;
    pub(crate) const PROBE_READ_USER_STR: u32 = 114;
    pub(crate) const PROBE_READ_KERNEL_STR: u32 = 115;
    pub(crate) const GET_TASK_STACK: u32 = 141;
    pub(crate) const D_PATH: u32 = 147;
    pub(crate) const IMA_INODE_HASH: u32 = 161;
    pub(crate) const FOR_EACH_MAP_ELEM: u32 = 164;
    pub(crate) const SNPRINTF: u32 = 165;
    pub(crate) const TIMER_SET_CALLBACK: u32 = 170;
    pub(crate) const GET_FUNC_IP: u32 = 173;
    pub(crate) const FIND_VMA: u32 = 180;
    pub(crate) const LOOP: u32 = 181;
    pub(crate) const IMA_FILE_HASH: u32 = 193;
    pub(crate) const KPTR_XCHG: u32 = 194;
    pub(crate) const MAP_LOOKUP_PERCPU: u32 = 195;
    pub(crate) const DYNPTR_FROM_MEM: u32 = 197;
    pub(crate) const DYNPTR_WRITE: u32 = 202;
    pub(crate) const DYNPTR_DATA: u32 = 203;
    pub(crate) const USER_RINGBUF_DRAIN: u32 = 209;
}

/// What is learnt of a call while its arguments are looked at.
///
/// Linux: `struct bpf_call_arg_meta`.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    /// The helper's contract.
    pub(crate) proto: &'static HelperProto,
    /// The map, and which lookup it came from.
    pub(crate) map: Option<(MapNo, Option<Id>)>,
    /// Whether the memory argument at hand need not be written before.
    pub(crate) raw: bool,
    /// The register and size of stack memory that the helper fills.
    pub(crate) fills: Option<(Reg, i64)>,
    /// The argument that is released.
    pub(crate) release: Option<Reg>,
    /// The reference among the arguments.
    pub(crate) ref_id: Option<Id>,
    /// The size of the memory that the result points to.
    pub(crate) mem_size: u32,
    /// The greatest size that the call's memory may have.
    pub(crate) most: u64,
    /// The function to be called back.
    pub(crate) subprog: Option<SubprogId>,
    /// The key, if it is a known number.
    pub(crate) key: Option<u64>,
    /// The dynptr among the arguments.
    pub(crate) dynptr: Option<objects::Dynptr>,
    /// The type of the variable that the result points to.
    pub(crate) variable: Option<BtfType>,
    /// Whether that is none of the kernel's but an object that the program allocated.
    pub(crate) variable_is_allocated: bool,
    /// The kptr that is exchanged.
    pub(crate) kptr: Option<(bpf_btf::record::PointerField, BtfType)>,
}

/// A call of a helper. Linux: `check_helper_call`.
pub(crate) fn call(cx: &mut StepCx<'_, '_>, number: i32) -> Result<Next, Reason> {
    let proto = find(cx, number)?;
    check_context(cx, proto, number)?;
    let mut meta = Meta {
        proto,
        map: None,
        raw: false,
        fills: None,
        release: None,
        ref_id: None,
        mem_size: 0,
        most: 0,
        subprog: None,
        key: None,
        dynptr: None,
        variable: None,
        variable_is_allocated: false,
        kptr: None,
    };
    for (place, reg) in (0..proto.args.len()).zip(Reg::ARGS) {
        args::check(cx, &mut meta, place, reg)?;
    }
    note_map(cx, &meta)?;
    note_key(cx, &meta)?;
    if let Some((reg, size)) = meta.fills {
        for off in 0..i32::try_from(size).unwrap_or(0) {
            stack::write_unknown(cx, reg, off, Size::B)?;
        }
    }
    release_argument(cx, &meta)?;
    let mut moves_packet = proto.flags.contains(HelperFlags::CHANGES_PKT_DATA);
    particular(cx, &mut meta, &mut moves_packet)?;
    clobber(cx);
    returns::set_result(cx, &meta)?;
    check_map(cx, &meta)?;
    if proto.id == id::GET_FUNC_IP {
        check_traced(cx, proto)?;
    }
    if proto.id == id::TAIL_CALL {
        return tail_call(cx);
    }
    if moves_packet {
        forget_packets(cx);
    }
    Ok(Next::Fallthrough)
}

/// The contract of the helper with this number, for this program.
fn find(cx: &mut StepCx<'_, '_>, number: i32) -> Result<&'static HelperProto, Reason> {
    let spec = cx.env.spec;
    let unknown = || CallError::NoHelper { id: number };
    let id = u32::try_from(number).map_err(|_| unknown())?;
    let proto = match crate::program::lookup(cx.env, id) {
        Lookup::Found(proto) => proto,
        Lookup::Unknown => cx.env.host.extra_helper(spec, id).ok_or_else(unknown)?,
        Lookup::NotHere(name) => {
            cx.env.host.extra_helper(spec, id).ok_or(CallError::NotHere { name, id: number })?
        }
    };
    if proto.flags.contains(HelperFlags::GPL_ONLY) && !crate::program::is_gpl(&spec.license) {
        return Err(CallError::GplOnly.into());
    }
    if !is_allowed_here(cx, proto) {
        return Err(CallError::NotInProbe.into());
    }
    Ok(proto)
}

/// Whether the helper may be called from what the program attaches to.
///
/// Linux: `allowed` of a `struct bpf_func_proto`.
fn is_allowed_here(cx: &StepCx<'_, '_>, proto: &HelperProto) -> bool {
    let Some(signature) = &cx.env.signature else {
        // Those of tracing, which is all about what a program is attached to.
        let traces = matches!(proto.id, id::D_PATH | id::SK_STORAGE_GET | id::SK_STORAGE_DELETE);
        return !traces || cx.env.kind.prog_type != ProgType::Syscall;
    };
    let hook_sleeps = matches!(&signature.of, SignatureOf::Hook(hook) if lsm::may_sleep(hook));
    let kind = cx.env.kind;
    let attach = kind.expected_attach_type;
    let is = |types: &[AttachType]| attach.is_some_and(|attach| types.contains(&attach));
    match proto.id {
        id::D_PATH if kind.prog_type == ProgType::Lsm => hook_sleeps,
        id::D_PATH => {
            let iterates = is(&[AttachType::TraceIter]);
            let traces = matches!(signature.of, SignatureOf::Function);
            iterates || (traces && function::may_name_paths(&signature.name))
        }
        id::IMA_INODE_HASH | id::IMA_FILE_HASH => hook_sleeps,
        id::SK_STORAGE_GET | id::SK_STORAGE_DELETE if kind.prog_type == ProgType::Tracing => {
            let own = signature.name.starts_with("bpf_sk_storage");
            let probes = is(&[AttachType::TraceFentry, AttachType::TraceFexit]);
            cx.env.target.is_none()
                && (is(&[AttachType::TraceIter, AttachType::TraceRawTp]) || (probes && !own))
        }
        _ => true,
    }
}

/// Whether the code at this point may sleep. Linux: `in_sleepable`.
pub(crate) fn may_sleep(cx: &StepCx<'_, '_>) -> bool {
    cx.state.in_sleepable || cx.env.spec.flags.contains(ProgFlags::SLEEPABLE)
}

/// Whether the helper may be called in the sections that the path is in.
fn check_context(
    cx: &mut StepCx<'_, '_>,
    proto: &'static HelperProto,
    id: i32,
) -> Result<(), Reason> {
    let name = proto.name;
    let refs = &cx.state.refs;
    if proto.flags.contains(HelperFlags::MIGHT_SLEEP) {
        if !may_sleep(cx) {
            return Err(CallError::MightSleep.into());
        }
        if refs.rcu_locks > 0 {
            return Err(CallError::SleepsInRcu { name, id }.into());
        }
        if refs.preempt_locks > 0 {
            return Err(CallError::SleepsUnpreemptible { name, id }.into());
        }
        if refs.irq_id.is_some() {
            return Err(CallError::SleepsInIrq { name, id }.into());
        }
    }
    let atomic = refs.rcu_locks > 0 || refs.preempt_locks > 0 || refs.irq_id.is_some();
    if proto.flags.contains(HelperFlags::STORAGE_GET) && (atomic || !may_sleep(cx)) {
        let pc = cx.pc;
        cx.env.note_mut(pc).atomic_storage = true;
    }
    Ok(())
}

/// Notes which map the call is about, for rewriting. Linux: `record_func_map`.
fn note_map(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let noted = matches!(
        meta.proto.id,
        id::TAIL_CALL
            | id::MAP_LOOKUP
            | id::MAP_UPDATE
            | id::MAP_DELETE
            | id::MAP_PUSH
            | id::MAP_POP
            | id::MAP_PEEK
            | id::FOR_EACH_MAP_ELEM
            | id::REDIRECT_MAP
            | id::MAP_LOOKUP_PERCPU
    );
    let Some((map, _)) = meta.map.filter(|_| noted) else { return Ok(()) };
    let facts = cx.env.map(map);
    let read_only = facts.flags.contains(MapFlags::RDONLY_PROG)
        || matches!(facts.map_type, MapType::Devmap | MapType::DevmapHash);
    let writes =
        matches!(meta.proto.id, id::MAP_UPDATE | id::MAP_DELETE | id::MAP_PUSH | id::MAP_POP);
    if read_only && writes {
        return Err(CallError::MapReadOnly.into());
    }
    let pc = cx.pc;
    cx.env.note_mut(pc).call_map.add(Some(map));
    Ok(())
}

/// Notes a tail call's index, if it is a known one. Linux: `record_func_key`.
fn note_key(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let pc = cx.pc;
    if meta.proto.id == id::MAP_LOOKUP {
        cx.env.note_mut(pc).call_key.add(meta.key);
        return Ok(());
    }
    if meta.proto.id != id::TAIL_CALL {
        return Ok(());
    }
    let Some((map, _)) = meta.map else { return Err(CallError::NotProgArray.into()) };
    let facts = cx.env.map(map);
    if facts.map_type != MapType::ProgArray {
        return Err(CallError::NotProgArray.into());
    }
    if cx.env.subprogs.len() > 1 && !cx.env.host.compiles() {
        return Err(CallError::TailCallInterpreted.into());
    }
    let most = u64::from(facts.max_entries);
    let index = match cx.state.reg(Reg::R3) {
        Some(Value::Scalar(number)) => number.set.const_in(Width::W64),
        Some(Value::Pointer(_)) | None => None,
    };
    let index = index.filter(|index| *index < most);
    if index.is_some() {
        cx.mark_precise(Reg::R3)?;
    }
    cx.env.note_mut(pc).call_key.add(index);
    Ok(())
}

/// Gives back what the call releases.
fn release_argument(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let Some(reg) = meta.release else { return Ok(()) };
    let proto = meta.proto;
    let place = usize::from(reg.number() - Reg::R1.number());
    let is_dynptr =
        proto.args.get(place).is_some_and(|arg| arg.kind == bpf_abi::helper::ArgKind::Dynptr);
    let released = if is_dynptr {
        objects::unmark_dynptr(cx, reg)?;
        true
    } else if proto.id == id::KPTR_XCHG && meta.ref_id.is_some() {
        meta.ref_id.is_some_and(|id| objects::hand_over(cx, id))
    } else if let Some(id) = meta.ref_id {
        release(cx, id)
    } else {
        cx.state.reg(reg).is_some_and(Value::is_null)
    };
    if released {
        Ok(())
    } else {
        Err(CallError::NotAcquired { name: proto.name, id: proto.id }.into())
    }
}

/// What some helpers do besides what their contract says.
fn particular(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    moves_packet: &mut bool,
) -> Result<(), Reason> {
    match meta.proto.id {
        id::TAIL_CALL => exit::check_resources(cx, exit::Check::Locks, "tail_call"),
        id::GET_LOCAL_STORAGE => {
            if cx.state.reg(Reg::R2).is_some_and(Value::is_null) {
                Ok(())
            } else {
                Err(CallError::StorageFlags.into())
            }
        }
        id::SNPRINTF => strings::check_snprintf(cx),
        id::DYNPTR_FROM_MEM => {
            let data = cx.state.reg(Reg::R1).copied();
            match data {
                Some(Value::Pointer(pointer))
                    if matches!(pointer.kind, PointerKind::MapValue { .. }) =>
                {
                    Ok(())
                }
                _ => {
                    let ty = crate::memory::type_name(data.as_ref());
                    Err(CallError::DynptrData { ty }.into())
                }
            }
        }
        id::DYNPTR_DATA => {
            meta.ref_id = meta.dynptr.and_then(|dynptr| dynptr.ref_id);
            Ok(())
        }
        id::DYNPTR_WRITE => {
            if meta.dynptr.is_some_and(|dynptr| objects::is_packet_written(dynptr.kind)) {
                *moves_packet = true;
            }
            Ok(())
        }
        id::FOR_EACH_MAP_ELEM
        | id::TIMER_SET_CALLBACK
        | id::FIND_VMA
        | id::LOOP
        | id::USER_RINGBUF_DRAIN => callback::of_helper(cx, meta),
        _ => Ok(()),
    }
}

/// Whether sockets may be put in and taken out here, where none can be locked.
///
/// Linux: `may_update_sockmap`.
fn updates_sockmap(cx: &StepCx<'_, '_>, helper: u32) -> bool {
    use ProgType as P;
    let kind = cx.env.kind;
    match kind.prog_type {
        P::Tracing => kind.expected_attach_type == Some(AttachType::TraceIter),
        P::SockOps => helper == id::MAP_DELETE,
        P::SocketFilter
        | P::SchedCls
        | P::SchedAct
        | P::Xdp
        | P::SkReuseport
        | P::FlowDissector
        | P::SkLookup => true,
        _ => false,
    }
}

/// Whether the helper takes the map it was given.
fn check_map(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let Some((map, _)) = meta.map else { return Ok(()) };
    let map_type = cx.env.map(map).map_type;
    let HelperProto { id: number, name, .. } = *meta.proto;
    let sockets = matches!(map_type, MapType::Sockmap | MapType::Sockhash);
    if sockets && matches!(number, id::MAP_UPDATE | id::MAP_DELETE) {
        if updates_sockmap(cx, number) {
            return Ok(());
        }
        let map_type = map_type.number();
        return Err(CallError::SockmapHere { map_type, name, id: number }.into());
    }
    if map_compat::takes(number, map_type) {
        // The kernel's interpreter cannot leave functions called from others.
        let interpreted = number == id::TAIL_CALL && !cx.env.host.compiles();
        if interpreted && cx.env.subprogs.len() > 1 {
            return Err(CallError::TailCallInterpreted.into());
        }
        return Ok(());
    }
    Err(CallError::MapType { map_type: map_type.number(), name, id: number }.into())
}

/// Whether the program is entered from a function, so that there is an address to be told.
///
/// Linux: `check_get_func_ip`.
fn check_traced(cx: &StepCx<'_, '_>, proto: &HelperProto) -> Result<(), Reason> {
    let HelperProto { id, name, .. } = *proto;
    let kind = cx.env.kind;
    let probes = [AttachType::TraceFentry, AttachType::TraceFexit, AttachType::ModifyReturn];
    match kind.prog_type {
        ProgType::Kprobe => Ok(()),
        ProgType::Tracing if kind.expected_attach_type.is_some_and(|ty| probes.contains(&ty)) => {
            Ok(())
        }
        ProgType::Tracing => Err(CallError::OnlyTraced { name, id }.into()),
        prog_type => {
            let prog_type = prog_type.number();
            Err(CallError::NotTraced { name, id, prog_type }.into())
        }
    }
}

/// A tail call that fails goes on; one that succeeds ends the function with any result.
fn tail_call(cx: &mut StepCx<'_, '_>) -> Result<Next, Reason> {
    cx.env.found.tail_call = true;
    if cx.state.depth().0 == 0 {
        return Ok(Next::Fallthrough);
    }
    cx.env.scratched.reg(Reg::R0);
    let next = target(cx, 0);
    cx.push_branch(next)?;
    forget_packets(cx);
    cx.set_unknown(Reg::R0);
    exit::leave_function(cx).map(Next::Jump)
}
