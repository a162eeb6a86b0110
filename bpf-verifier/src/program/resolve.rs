//! Wide immediates that name something: maps, kernel variables, functions.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::limits::MAX_USED_MAPS;
use bpf_abi::map::MapType;
use bpf_abi::prog::{ProgFlags, ProgType};
use bpf_btf::record::{NamedField, Record};
use bpf_btf::{Btf, Kind, KindCode, Type, TypeId};
use bpf_isa::opcode::whole;
use bpf_isa::{Imm64, Insn, Pc};

use crate::env::{Env, Loaded, MemoryType};
use crate::error::Reason;
use crate::host::MapFacts;
use crate::program::ProgramError;
use crate::program::fields::check_up_front;
use crate::program::subprogs::callee_at;
use crate::state::{BtfType, MapNo, PointerKind, PtrFlags};

/// Checks every opcode, and finds what wide immediates name.
///
/// Linux: `resolve_pseudo_ldimm64`.
///
/// # Errors
///
/// Returns an error if a slot is no instruction, or what it names is not there or not for this
/// program.
pub(super) fn resolve(env: &mut Env<'_>) -> Result<(), Reason> {
    let mut pc = Pc(0);
    while let Some(slot) = env.spec.insns.get(pc.index()) {
        env.looking_at = Some(pc);
        check_up_front(&env.spec.insns, pc)?;
        if slot.opcode != whole::LOAD_IMM64 {
            pc = Pc(pc.0 + 1);
            continue;
        }
        if let Some(Insn::LoadImm64 { imm, .. }) = env.insn(pc) {
            let load = match imm {
                Imm64::Value(_) => None,
                Imm64::MapFd(fd) => Some(Loaded::Map(use_map(env, fd)?)),
                Imm64::MapValue { fd, off } => {
                    let map = use_map(env, fd)?;
                    check_direct_value(env.map(map), off)?;
                    Some(Loaded::MapValue { map, off })
                }
                Imm64::MapIdx(_) | Imm64::MapIdxValue { .. } => {
                    return Err(ProgramError::NoFdArray.into());
                }
                Imm64::BtfId { id, btf_fd } => Some(Loaded::Variable(variable(env, id, btf_fd)?)),
                Imm64::Func { .. } => callee_at(env, pc).map(Loaded::Func),
            };
            env.note_mut(pc).load = load;
        }
        pc = Pc(pc.0 + 2);
    }
    env.looking_at = None;
    Ok(())
}

/// Takes a map into the program. Linux: `add_used_map`.
fn use_map(env: &mut Env<'_>, fd: i32) -> Result<MapNo, ProgramError> {
    let map = env.host.map(fd).map_err(|errno| ProgramError::NoMap { fd, errno })?;
    let is_known = env.maps().iter().any(|known| known.id == map.id);
    if !is_known {
        if env.maps().len() >= MAX_USED_MAPS {
            return Err(ProgramError::TooManyMaps { limit: MAX_USED_MAPS });
        }
        check_compatible(env, &map)?;
    }
    env.use_map(map).ok_or(ProgramError::TooManyMaps { limit: MAX_USED_MAPS })
}

/// Whether a program of this type may use the map. Linux: `check_map_prog_compatibility`.
fn check_compatible(env: &Env<'_>, map: &MapFacts) -> Result<(), ProgramError> {
    let prog_type = env.spec.prog_type;
    let is_tracing = matches!(
        prog_type,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::RawTracepointWritable
    );
    let tracing = |what| ProgramError::MapField { who: "tracing", what };
    let fields = fields_of(map);
    let holds = |wanted: &[NamedField]| wanted.iter().any(|field| fields.has(*field));
    if is_tracing && holds(&[NamedField::ListHead, NamedField::RbRoot]) {
        return Err(tracing("bpf_{list_head,rb_root}"));
    }
    if holds(&[NamedField::SpinLock, NamedField::ResSpinLock]) {
        if prog_type == ProgType::SocketFilter {
            let what = "bpf_spin_lock";
            return Err(ProgramError::MapField { who: "socket filter", what });
        }
        if is_tracing {
            return Err(tracing("bpf_spin_lock"));
        }
    }
    if is_tracing && holds(&[NamedField::Timer]) {
        return Err(tracing("bpf_timer"));
    }
    if is_tracing && holds(&[NamedField::Workqueue]) {
        return Err(tracing("bpf_wq"));
    }
    if map.map_type == MapType::StructOps {
        return Err(ProgramError::StructOpsMap);
    }
    if env.spec.flags.contains(ProgFlags::SLEEPABLE) && !may_be_used_sleeping(map.map_type) {
        return Err(ProgramError::SleepableMap);
    }
    let is_second = |map_type| {
        map.map_type == map_type && env.maps().iter().any(|used| used.map_type == map_type)
    };
    if is_second(MapType::CgroupStorage) || is_second(MapType::PercpuCgroupStorage) {
        return Err(ProgramError::SecondCgroupStorage);
    }
    if is_second(MapType::Arena) {
        return Err(ProgramError::SecondArena);
    }
    if map.map_type == MapType::Arena && !env.host.compiles() {
        return Err(ProgramError::ArenaInterpreted);
    }
    if map.map_type == MapType::Arena && map.map_extra == 0 {
        return Err(ProgramError::ArenaWithoutAddress);
    }
    Ok(())
}

const fn may_be_used_sleeping(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::Hash
            | MapType::LruHash
            | MapType::Array
            | MapType::PercpuHash
            | MapType::PercpuArray
            | MapType::LruPercpuHash
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
            | MapType::Ringbuf
            | MapType::UserRingbuf
            | MapType::InodeStorage
            | MapType::SkStorage
            | MapType::TaskStorage
            | MapType::CgrpStorage
            | MapType::Queue
            | MapType::Stack
            | MapType::Arena
    )
}

/// The special fields of the map's values. Linux: `map->record`.
fn fields_of(map: &MapFacts) -> Record {
    let record = map.btf.as_deref().map(|btf| btf.record(map.btf_value_type_id, map.value_size));
    record.and_then(Result::ok).unwrap_or_default()
}

/// Offsets from here on are refused. Linux: `BPF_MAX_VAR_OFF`.
const MAX_VARIABLE: u32 = 1 << 29;

/// Whether the byte at `off` of the map's value has an address that is known at load.
///
/// Linux: `map_direct_value_addr`.
fn check_direct_value(map: &MapFacts, off: u32) -> Result<(), ProgramError> {
    let value_size = map.value_size;
    if off >= MAX_VARIABLE {
        return Err(ProgramError::DirectValueFar { off });
    }
    let outside = |errno| Err(ProgramError::DirectValueOutside { value_size, off, errno });
    if map.map_type == MapType::Arena {
        // Pages of the arena.
        let is_outside = u64::from(off) > u64::from(map.max_entries) * 4096;
        return if is_outside { outside(Errno::ERANGE) } else { Ok(()) };
    }
    if map.map_type != MapType::Array {
        return Err(ProgramError::NoDirectValue);
    }
    if map.max_entries != 1 {
        return outside(Errno::ENOTSUPP);
    }
    if off >= value_size { outside(Errno::EINVAL) } else { Ok(()) }
}

/// A kernel variable or function, as the pointer to it. Linux: `check_pseudo_btf_id`.
fn variable(env: &mut Env<'_>, id: i32, btf_fd: i32) -> Result<MemoryType, ProgramError> {
    if btf_fd != 0 {
        return Err(ProgramError::NoModuleBtf);
    }
    let Some(btf) = env.host.kernel_btf().map(Arc::clone) else {
        return Err(ProgramError::NoKernelBtf);
    };
    let number = u32::try_from(id).map_err(|_| ProgramError::VariableId { id })?;
    let Some(ty) = btf.get(TypeId(number)) else { return Err(ProgramError::VariableId { id }) };
    if let Kind::Func(_) = ty.kind {
        return Ok(memory(0));
    }
    let Kind::Var(var) = ty.kind else { return Err(ProgramError::VariableKind { id }) };
    let of = var.ty;
    let object = |env: &mut Env<'_>| {
        let ty = BtfType { btf: env.use_btf(&btf), id: of };
        MemoryType { kind: PointerKind::Btf { ty }, flags: PtrFlags::empty() }
    };
    if is_percpu(&btf, ty.id) {
        return Ok(MemoryType { flags: PtrFlags::PERCPU, ..object(env) });
    }
    let resolved = btf.resolve(of);
    if resolved.is_some_and(|ty| ty.is_composite()) {
        return Ok(object(env));
    }
    match btf.size_of(of) {
        Some(size) => Ok(memory(size)),
        None => {
            let name = resolved.map_or(String::new(), |ty: Type<'_>| ty.name().to_owned());
            Err(ProgramError::VariableSize { name })
        }
    }
}

const fn memory(size: u32) -> MemoryType {
    MemoryType { kind: PointerKind::Mem { size, dynptr: None }, flags: PtrFlags::RDONLY }
}

/// Whether every CPU has a variable of its own of this.
fn is_percpu(btf: &Btf, id: TypeId) -> bool {
    let section = btf.by_name_kind(".data..percpu", KindCode::Datasec).and_then(|id| btf.get(id));
    let Some(Kind::Datasec(section)) = section.map(|section| section.kind) else { return false };
    section.vars().any(|var| var.ty == id)
}
