//! Kernel objects, walked by type.

use std::sync::Arc;

use bpf_abi::map::MapType;
use bpf_btf::{Btf, KindCode, Target, TypeId, WalkError};
use bpf_isa::Reg;

use crate::cx::StepCx;
use crate::env::Env;
use crate::error::Reason;
use crate::memory::{Access, MemoryError, What, arguments};
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
pub(crate) fn matches(
    cx: &mut StepCx<'_, '_>,
    held: BtfType,
    off: i32,
    wanted: BtfType,
    how: Match,
) -> bool {
    if off == 0 && held == wanted {
        return true;
    }
    if how == Match::Exact || held.btf != wanted.btf {
        return false;
    }
    let (Some(btf), Ok(mut off)) = (cx.env.btf(held.btf).cloned(), u32::try_from(off)) else {
        return false;
    };
    let mut id = held.id;
    for _ in 0..16 {
        match btf.walk(id, off, 1) {
            Ok(bpf_btf::Found { what: Target::Composite(inner), .. }) => {
                if inner == wanted.id {
                    return true;
                }
                (id, off) = (inner, 0);
            }
            Ok(_) => return false,
            Err(error) => {
                cx.tell(&walk_error(&error));
                return false;
            }
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
    if let What::Load(into, _) = access.what {
        let value = loaded(cx, found);
        cx.state.set(into, Some(value));
    }
    Ok(())
}

/// What lies where a kernel object is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    /// A number, or bytes of one.
    Number,
    /// A pointer to bytes that nothing is known about.
    Bytes,
    /// A pointer to an object, and how far it is to be trusted.
    Object(BtfType, PtrFlags),
}

/// What reading it yields. Linux: `mark_btf_ld_reg`.
fn loaded(cx: &mut StepCx<'_, '_>, touched: Touched) -> Value {
    let mut pointer = match touched {
        Touched::Number => return Value::UNKNOWN,
        Touched::Bytes => Pointer::to(PointerKind::Mem { size: 0, dynptr: None })
            .with(PtrFlags::RDONLY | PtrFlags::UNTRUSTED),
        Touched::Object(ty, flags) => Pointer::to(PointerKind::Btf { ty }).with(flags),
    };
    if pointer.maybe_null() {
        pointer.id = Some(cx.fresh_id());
    }
    Value::Pointer(pointer)
}

/// What is touched there, if it may be.
fn check_access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: u32,
    write: bool,
) -> Result<Touched, Reason> {
    let PointerKind::Btf { ty } = pointer.kind else { return Ok(Touched::Number) };
    let name = name_of(cx.env, ty);
    if !crate::program::is_gpl(&cx.env.spec.license) && ty.btf == kernel(cx.env) {
        return Err(MemoryError::BtfNotGpl { name }.into());
    }
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
        arguments::check_write(cx, ty, off, size)?;
        return Ok(Touched::Number);
    }
    if own && let Some(record) = crate::call::fields::record_of(cx.env, pointer) {
        let at = u32::try_from(off).unwrap_or(u32::MAX);
        if let Some(field) = record.touched(at, size) {
            let what = crate::call::fields::name_of(&field.kind);
            let text = format!("direct access to {what} is disallowed");
            return Err(MemoryError::BtfField { text }.into());
        }
    }
    let Some(btf) = cx.env.btf(ty.btf).cloned() else { return Ok(Touched::Number) };
    let at = u32::try_from(off).unwrap_or(u32::MAX);
    let (mut id, mut at, mut through_union) = (ty.id, at, false);
    loop {
        let found = btf.walk_on(id, at, size, through_union).map_err(|error| walk_error(&error))?;
        through_union = found.through_union;
        let (field, to) = match found.what {
            Target::Scalar => return Ok(Touched::Number),
            Target::Composite(inner) => {
                (id, at) = (inner, 0);
                continue;
            }
            Target::Pointer { field, to } => (field, to),
        };
        let target = btf.resolve(to).filter(|target| target.is_composite());
        let Some(target) = target else { return Ok(Touched::Bytes) };
        if own {
            return Ok(Touched::Number);
        }
        let safe = safety(&btf, ty.id, btf.name(field), target.id);
        let mut flags = PtrFlags::empty();
        for tag in btf.type_tags(to) {
            match tag {
                "user" => flags |= PtrFlags::USER,
                "percpu" => flags |= PtrFlags::PERCPU,
                "rcu" => flags |= PtrFlags::RCU,
                _ => {}
            }
        }
        if through_union {
            flags |= PtrFlags::UNTRUSTED;
        }
        let flags = trust(cx, pointer, safe, flags);
        return Ok(Touched::Object(BtfType { btf: ty.btf, id: target.id }, flags));
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

/// What the pointer in a field is, if its object is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safe {
    Rcu,
    RcuOrNull,
    Trusted,
    TrustedOrNull,
}

/// What the kernel says of a field's pointer. Beside a structure there may be others, named after
/// it, that repeat such fields of it.
///
/// Linux: `btf_nested_type_is_trusted`.
fn safety(btf: &Btf, structure: TypeId, field: &str, to: TypeId) -> Option<Safe> {
    let structure = btf.name_of(structure);
    let among = |suffix: &str| {
        let list = btf.by_name_kind(&format!("{structure}{suffix}"), KindCode::Struct);
        list.and_then(|list| btf.get(list)?.composite()).is_some_and(|list| {
            list.members().any(|member| {
                btf.name(member.name_off) == field
                    && btf.pointee(member.ty).is_some_and(|pointee| pointee.id == to)
            })
        })
    };
    [
        ("__safe_trusted", Safe::Trusted),
        ("__safe_trusted_or_null", Safe::TrustedOrNull),
        ("__safe_rcu", Safe::Rcu),
        ("__safe_rcu_or_null", Safe::RcuOrNull),
    ]
    .into_iter()
    .find_map(|(suffix, safe)| among(suffix).then_some(safe))
}

/// How far a pointer is to be trusted that was found by walking another.
///
/// Linux: the second half of `check_ptr_to_btf_access`.
fn trust(cx: &StepCx<'_, '_>, parent: &Pointer, safe: Option<Safe>, flags: PtrFlags) -> PtrFlags {
    let plain = flags - (PtrFlags::TRUSTED | PtrFlags::RCU);
    if parent.flags.contains(PtrFlags::UNTRUSTED) {
        return PtrFlags::UNTRUSTED;
    }
    if !null::is_trusted(parent) && !parent.flags.contains(PtrFlags::RCU) {
        return plain;
    }
    let or_null = PtrFlags::RCU | PtrFlags::MAYBE_NULL;
    match safe {
        Some(Safe::Trusted) => flags | PtrFlags::TRUSTED,
        Some(Safe::TrustedOrNull) => flags | PtrFlags::TRUSTED | PtrFlags::MAYBE_NULL,
        _ if !in_rcu_section(cx) || parent.maybe_null() => PtrFlags::UNTRUSTED,
        Some(Safe::Rcu) => flags | PtrFlags::RCU,
        Some(Safe::RcuOrNull) => (flags | or_null) - PtrFlags::UNTRUSTED,
        None if flags.contains(PtrFlags::RCU) => (flags | or_null) - PtrFlags::UNTRUSTED,
        None if flags.intersects(PtrFlags::PERCPU | PtrFlags::USER) => flags,
        None => plain,
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
    if let What::Load(into, _) = access.what {
        let value = loaded(cx, found);
        cx.state.set(into, Some(value));
    }
    Ok(())
}
