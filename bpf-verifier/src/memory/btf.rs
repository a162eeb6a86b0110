//! Kernel objects, walked by type.

use std::sync::Arc;

use bpf_abi::map::MapType;
use bpf_btf::{KindCode, Target, WalkError};
use bpf_isa::Reg;

use crate::cx::StepCx;
use crate::env::Env;
use crate::error::Reason;
use crate::memory::{Access, MemoryError, What, loaded_unknown};
use crate::state::{BtfNo, BtfType, Pointer, PointerKind, PtrFlags, Value};
use crate::step::null;

/// How strictly types are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// They must be one type.
    Exact,
    /// The wanted one may also lie at the beginning of the other.
    Embedded,
}

/// The kernel's own BTF object.
pub(crate) fn kernel(env: &mut Env<'_>) -> BtfNo {
    match env.host.kernel_btf() {
        Some(btf) => {
            let btf = Arc::clone(btf);
            env.use_btf(&btf)
        }
        None => BtfNo(u32::MAX),
    }
}

/// The kernel's structure of this name.
pub(crate) fn find_struct(env: &mut Env<'_>, name: &str) -> Option<BtfType> {
    let btf = Arc::clone(env.host.kernel_btf()?);
    let id = btf.by_name_kind(name, KindCode::Struct)?;
    let btf = env.use_btf(&btf);
    Some(BtfType { btf, id })
}

/// The name of a type.
pub(crate) fn name_of(env: &Env<'_>, ty: BtfType) -> String {
    env.btf(ty.btf).map_or_else(String::new, |btf| btf.name_of(ty.id).to_owned())
}

/// Whether a type is a structure or union.
pub(crate) fn is_struct(env: &Env<'_>, ty: BtfType) -> bool {
    let code = env.btf(ty.btf).and_then(|btf| btf.resolve(ty.id)).map(|ty| ty.code());
    matches!(code, Some(KindCode::Struct | KindCode::Union))
}

/// Whether what lies `off` bytes into an object of one type is an object of another.
///
/// Linux: `btf_struct_ids_match`.
pub(crate) fn matches(env: &Env<'_>, held: BtfType, off: i32, wanted: BtfType, how: Match) -> bool {
    if off == 0 && held == wanted {
        return true;
    }
    if how == Match::Exact || held.btf != wanted.btf {
        return false;
    }
    let (Some(btf), Ok(mut off)) = (env.btf(held.btf), u32::try_from(off)) else { return false };
    let mut id = held.id;
    for _ in 0..16 {
        match btf.walk(id, off, 1) {
            Ok(bpf_btf::Found { what: Target::Composite(inner), .. }) => {
                if inner == wanted.id {
                    return true;
                }
                (id, off) = (inner, 0);
            }
            Ok(_) | Err(_) => return false,
        }
    }
    false
}

/// A trusted pointer to a kernel structure.
pub(crate) fn trusted(cx: &mut StepCx<'_, '_>, name: &str) -> Result<Value, Reason> {
    let ty = find_struct(cx.env, name).ok_or(MemoryError::NoKernelTypes)?;
    let pointer = Pointer::to(PointerKind::Btf { ty }).with(PtrFlags::TRUSTED);
    Ok(Value::Pointer(pointer))
}

/// Whether objects protected by RCU stay alive at this point.
///
/// Linux: `in_rcu_cs`.
pub(crate) fn in_rcu_section(cx: &StepCx<'_, '_>) -> bool {
    let refs = &cx.state.refs;
    refs.rcu_locks > 0
        || refs.active_locks > 0
        || refs.preempt_locks > 0
        || refs.irq_id.is_some()
        || !crate::call::helper::may_sleep(cx)
}

/// Kernel structures that are freed only after a grace period.
///
/// Linux: `rcu_protected_types`.
const RCU_PROTECTED: &[&str] =
    &["prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"];

/// Whether a kptr of this type may be used without being owned, in an RCU section.
///
/// Linux: `rcu_safe_kptr`.
pub(crate) fn is_rcu_safe_kptr(cx: &mut StepCx<'_, '_>, ty: BtfType) -> bool {
    ty.btf != kernel(cx.env) || RCU_PROTECTED.contains(&name_of(cx.env, ty).as_str())
}

/// An access to a kernel object. Linux: `check_ptr_to_btf_access`.
pub(crate) fn access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let size = access.size.bytes();
    let found = check_access(cx, pointer, access.base, off, size, access.what.writes())?;
    let What::Load(into, _) = access.what else { return Ok(()) };
    let value = match found {
        Some((ty, flags)) => {
            let mut loaded = Pointer::to(PointerKind::Btf { ty }).with(flags);
            if loaded.maybe_null() {
                loaded.id = Some(cx.fresh_id());
            }
            Value::Pointer(loaded)
        }
        None => Value::UNKNOWN,
    };
    cx.state.set(into, Some(value));
    Ok(())
}

/// The type and trust of the pointer that is touched, if one is.
fn check_access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: u32,
    write: bool,
) -> Result<Option<(BtfType, PtrFlags)>, Reason> {
    let PointerKind::Btf { ty } = pointer.kind else { return Ok(None) };
    let name = name_of(cx.env, ty);
    if off < 0 {
        return Err(MemoryError::BtfNegative { reg, name, off }.into());
    }
    if !pointer.delta.is(0) {
        let var = pointer.delta.bits;
        return Err(MemoryError::BtfVariable { reg, name, off, var }.into());
    }
    if pointer.flags.contains(PtrFlags::USER) {
        return Err(MemoryError::BtfUser { reg, name, off }.into());
    }
    if pointer.flags.contains(PtrFlags::PERCPU) {
        return Err(MemoryError::BtfPercpu { reg, name, off }.into());
    }
    let own =
        pointer.flags.contains(PtrFlags::ALLOC) && !pointer.flags.contains(PtrFlags::UNTRUSTED);
    if write && !own {
        return Err(MemoryError::BtfReadOnly.into());
    }
    if own && let Some(record) = crate::call::fields::record_of(cx.env, pointer) {
        let at = u32::try_from(off).unwrap_or(u32::MAX);
        if let Some(field) = record.touched(at, size) {
            let what = crate::call::fields::name_of(&field.kind);
            let text = format!("direct access to {what} is disallowed");
            return Err(MemoryError::BtfField { text }.into());
        }
    }
    let Some(btf) = cx.env.btf(ty.btf).cloned() else { return Ok(None) };
    let at = u32::try_from(off).unwrap_or(u32::MAX);
    let (mut id, mut at) = (ty.id, at);
    loop {
        let found = btf.walk(id, at, size).map_err(|error| walk_error(&error))?;
        match found.what {
            Target::Scalar => return Ok(None),
            Target::Composite(inner) => (id, at) = (inner, 0),
            Target::Pointer { field, to } => {
                if own {
                    return Ok(None);
                }
                let Some(target) = btf.resolve(to) else { return Ok(None) };
                if !matches!(target.code(), KindCode::Struct | KindCode::Union) {
                    return Ok(None);
                }
                let field = btf.name(field).to_owned();
                let parent = btf.name_of(id).to_owned();
                let mut flags = PtrFlags::empty();
                for tag in btf.type_tags(to) {
                    match tag {
                        "user" => flags |= PtrFlags::USER,
                        "percpu" => flags |= PtrFlags::PERCPU,
                        "rcu" => flags |= PtrFlags::RCU,
                        _ => {}
                    }
                }
                if found.through_union {
                    flags |= PtrFlags::UNTRUSTED;
                }
                let flags = trust(cx, pointer, &parent, &field, flags);
                let to = BtfType { btf: ty.btf, id: target.id };
                return Ok(Some((to, flags)));
            }
        }
    }
}

fn walk_error(error: &WalkError) -> MemoryError {
    let text = error.to_string();
    match error {
        WalkError::BeyondStruct { .. }
        | WalkError::BeyondMember { .. }
        | WalkError::PartOfPointer { .. } => MemoryError::BtfWalk { text },
        _ => MemoryError::BtfNoField { text },
    }
}

/// Fields whose pointers are as safe as the object they are in.
///
/// The columns: the structure, the field, what its pointer is.
const SAFE: &[(&str, &str, Safe)] = &[
    ("task_struct", "cpus_ptr", Safe::Rcu),
    ("task_struct", "cgroups", Safe::Rcu),
    ("task_struct", "real_parent", Safe::Rcu),
    ("task_struct", "group_leader", Safe::Rcu),
    ("cgroup", "kn", Safe::Rcu),
    ("css_set", "dfl_cgrp", Safe::Rcu),
    ("cgroup_subsys_state", "cgroup", Safe::Rcu),
    ("mm_struct", "exe_file", Safe::RcuOrNull),
    ("sk_buff", "sk", Safe::RcuOrNull),
    ("request_sock", "sk", Safe::RcuOrNull),
    ("bpf_iter_meta", "seq", Safe::Trusted),
    ("bpf_iter__task", "meta", Safe::Trusted),
    ("bpf_iter__task", "task", Safe::Trusted),
    ("linux_binprm", "file", Safe::Trusted),
    ("bpf_iter_task", "task", Safe::Trusted),
    ("file", "f_inode", Safe::Trusted),
    ("socket", "sk", Safe::TrustedOrNull),
    ("dentry", "d_inode", Safe::TrustedOrNull),
    ("vm_area_struct", "vm_mm", Safe::TrustedOrNull),
    ("vm_area_struct", "vm_file", Safe::TrustedOrNull),
];

/// What the pointer in a field is, if its object is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safe {
    Rcu,
    RcuOrNull,
    Trusted,
    TrustedOrNull,
}

/// How far a pointer is to be trusted that was found by walking another.
fn trust(
    cx: &StepCx<'_, '_>,
    parent: &Pointer,
    structure: &str,
    field: &str,
    mut flags: PtrFlags,
) -> PtrFlags {
    let trusted_flags = PtrFlags::TRUSTED | PtrFlags::RCU | PtrFlags::UNTRUSTED;
    if parent.flags.contains(PtrFlags::UNTRUSTED) {
        return PtrFlags::UNTRUSTED;
    }
    if !null::is_trusted(parent) && !parent.flags.contains(PtrFlags::RCU) {
        return flags - (PtrFlags::TRUSTED | PtrFlags::RCU);
    }
    let safe = SAFE.iter().find(|row| row.0 == structure && row.1 == field).map(|row| row.2);
    match safe {
        Some(Safe::Trusted) => return flags | PtrFlags::TRUSTED,
        Some(Safe::TrustedOrNull) => return flags | PtrFlags::TRUSTED | PtrFlags::MAYBE_NULL,
        Some(Safe::Rcu | Safe::RcuOrNull) | None => {}
    }
    if !in_rcu_section(cx) || parent.maybe_null() {
        return PtrFlags::UNTRUSTED;
    }
    match safe {
        Some(Safe::Rcu) => flags | PtrFlags::RCU,
        Some(Safe::RcuOrNull) => {
            flags |= PtrFlags::RCU | PtrFlags::MAYBE_NULL;
            flags - PtrFlags::UNTRUSTED
        }
        _ if flags.contains(PtrFlags::RCU) => flags | PtrFlags::MAYBE_NULL,
        _ if flags.intersects(PtrFlags::PERCPU | PtrFlags::USER) => flags,
        _ => flags - trusted_flags,
    }
}

/// Memory in a kernel object that is handed to a callee.
pub(crate) fn check_argument(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
) -> Result<(), Reason> {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    check_access(cx, pointer, reg, off, size, false).map(|_| ())
}

/// The kernel's structure of a map of this type. Linux: `map_btf_id`.
const fn structure_of(map_type: MapType) -> &'static str {
    match map_type {
        MapType::Array
        | MapType::PercpuArray
        | MapType::ProgArray
        | MapType::PerfEventArray
        | MapType::CgroupArray
        | MapType::ArrayOfMaps => "bpf_array",
        MapType::Hash
        | MapType::PercpuHash
        | MapType::LruHash
        | MapType::LruPercpuHash
        | MapType::HashOfMaps => "bpf_htab",
        MapType::LpmTrie => "lpm_trie",
        MapType::Ringbuf | MapType::UserRingbuf => "bpf_ringbuf_map",
        MapType::StackTrace => "bpf_stack_map",
        MapType::Queue | MapType::Stack => "bpf_queue_stack",
        MapType::BloomFilter => "bpf_bloom_filter",
        MapType::SkStorage
        | MapType::InodeStorage
        | MapType::TaskStorage
        | MapType::CgrpStorage => "bpf_local_storage_map",
        MapType::Devmap | MapType::DevmapHash => "bpf_dtab",
        MapType::Cpumap => "bpf_cpu_map",
        MapType::Xskmap => "xsk_map",
        MapType::Sockmap => "bpf_stab",
        MapType::Sockhash => "bpf_shtab",
        MapType::ReuseportSockarray => "reuseport_array",
        MapType::CgroupStorage | MapType::PercpuCgroupStorage => "bpf_cgroup_storage_map",
        MapType::StructOps => "bpf_struct_ops_map",
        MapType::Arena => "bpf_arena",
        MapType::Unspec => "bpf_map",
    }
}

/// An access to the kernel's structure of a map. Linux: `check_ptr_to_map_access`.
pub(crate) fn map_access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let reg = access.base;
    let Some(map) = pointer.map() else { return Ok(()) };
    let name = structure_of(cx.env.map(map).map_type);
    if off < 0 {
        return Err(MemoryError::MapPtrNegative { reg, name: name.to_owned(), off }.into());
    }
    if access.what.writes() {
        return Err(MemoryError::MapPtrWritten { name: name.to_owned() }.into());
    }
    let Some(ty) = find_struct(cx.env, name) else {
        return Err(MemoryError::NoKernelTypes.into());
    };
    let mut object = Pointer::to(PointerKind::Btf { ty });
    object.off = pointer.off;
    let found = check_access(cx, &object, reg, off, access.size.bytes(), false)?;
    let What::Load(into, _) = access.what else { return Ok(()) };
    match found {
        Some((ty, flags)) => {
            let loaded = Pointer::to(PointerKind::Btf { ty }).with(flags);
            cx.state.set(into, Some(Value::Pointer(loaded)));
        }
        None => loaded_unknown(cx, access),
    }
    Ok(())
}
