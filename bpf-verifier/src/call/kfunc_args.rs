//! The arguments of kernel functions, by their types and the endings of their names.

use std::sync::Arc;

use bpf_abi::kfunc::KfuncFlags;
use bpf_btf::record::NamedField;
use bpf_btf::{Btf, KindCode, TypeId};
use bpf_isa::Reg;

use crate::call::kfunc::Meta;
use crate::call::locks::{Act, LockClass};
use crate::call::sizes::{self, Measure};
use crate::call::{KfuncError, args, global, graph, iterators, locks, objects, prototype, strings};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::btf::{self, Match};
use crate::memory::stack::Way;
use crate::memory::{MemoryError, pointer_name, type_name};
use crate::scalar::Tnum;
use crate::state::{BtfType, DynptrKind, Id, Pointer, PointerKind, PtrFlags, Value};
use crate::step::null;

/// A parameter of a kernel function.
#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    ty: TypeId,
}

impl Parameter {
    fn ends(&self, suffix: &str) -> bool {
        self.name.ends_with(suffix)
    }

    /// Whether it measures the memory before it.
    fn is_size(&self) -> bool {
        self.ends("__sz") || self.ends("__szk")
    }
}

/// What a pointer argument is. Linux: `enum kfunc_ptr_arg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Context,
    Null,
    Allocated,
    Refcounted,
    Dynptr,
    Iterator,
    Root(NamedField),
    Node(NamedField),
    String,
    Map,
    Work(NamedField),
    IrqFlag,
    ResilientLock,
    Object,
    Callback,
    Memory,
    MeasuredMemory,
}

/// Linux: `check_kfunc_args`.
pub(crate) fn check(cx: &mut StepCx<'_, '_>, meta: &mut Meta) -> Result<(), Reason> {
    let types = Arc::clone(&meta.types);
    let Some(proto) = types.func_proto(meta.proto) else { return Ok(()) };
    let params: Vec<Parameter> = proto
        .params()
        .map(|param| Parameter { name: types.name(param.name_off).to_owned(), ty: param.ty })
        .collect();
    if params.len() > Reg::ARGS.len() {
        let (function, count) = (meta.row.name, params.len());
        return Err(KfuncError::Arity { function, count }.into());
    }
    let mut place = 0;
    while place < params.len() {
        let measured = check_one(cx, meta, &types, &params, place)?;
        place += if measured { 2 } else { 1 };
    }
    if meta.row.flags.contains(KfuncFlags::RELEASE) && meta.release.is_none() {
        return Err(KfuncError::NothingReleased { function: meta.row.name }.into());
    }
    Ok(())
}

/// Checks an argument; says whether the one after it was checked with it.
fn check_one(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    types: &Btf,
    params: &[Parameter],
    place: usize,
) -> Result<bool, Reason> {
    let (Some(param), Some(&reg)) = (params.get(place), Reg::ARGS.get(place)) else {
        return Ok(false);
    };
    if param.ends("__ign") || param.ends("__prog") {
        return Ok(false);
    }
    let Some(ty) = types.resolve(param.ty) else { return Ok(false) };
    let value = cx.state.reg(reg).copied();
    match ty.code() {
        KindCode::Int | KindCode::Enum | KindCode::Enum64 => {
            check_number(cx, meta, param, reg, value)?;
            return Ok(false);
        }
        KindCode::Ptr => {}
        code => {
            let kind = code.name();
            return Err(KfuncError::ArgumentKind { arg: place, kind }.into());
        }
    }
    let null = value.is_some_and(|value| value.is_null());
    let pointer = value.and_then(|value| value.as_pointer().copied());
    let maybe_null = pointer.is_some_and(|pointer| pointer.maybe_null());
    let trusted = meta.has(KfuncFlags::TRUSTED_ARGS) || meta.has(KfuncFlags::RCU);
    if (null || maybe_null) && trusted && !param.ends("__nullable") {
        return Err(KfuncError::PossiblyNull { arg: place }.into());
    }
    if let Some(id) = pointer.and_then(|pointer| pointer.ref_id) {
        meta.ref_id = Some(id);
        if meta.row.flags.contains(KfuncFlags::RELEASE) {
            meta.release = Some(reg);
        }
    }
    let to = types.pointee(ty.id).map_or(TypeId(0), |to| to.id);
    let target = types.resolve(to).map_or(TypeId(0), |to| to.id);
    let argument = Argument { place, reg, value, to, target };
    let kind = kind_of(cx, meta, types, params, &argument)?;
    if kind == Kind::Null {
        return Ok(false);
    }
    if kind == Kind::Map {
        map(meta, &argument)?;
    }
    check_trust(meta, kind, &argument)?;
    match value {
        Some(Value::Pointer(pointer)) => check_offset(meta, reg, &pointer)?,
        Some(Value::Scalar(_)) => {}
        None => {
            let (ty, var) = ("?".to_owned(), Tnum::UNKNOWN);
            return Err(MemoryError::Variable { ty, var }.into());
        }
    }
    check_kind(cx, meta, types, params, &argument, kind)?;
    Ok(kind == Kind::MeasuredMemory)
}

/// A pointer argument.
#[derive(Clone, Copy, Debug)]
struct Argument {
    place: usize,
    reg: Reg,
    value: Option<Value>,
    /// What the parameter points to, qualifiers and all.
    to: TypeId,
    /// The same without them.
    target: TypeId,
}

impl Argument {
    fn pointer(&self) -> Option<Pointer> {
        self.value.and_then(|value| value.as_pointer().copied())
    }
}

fn check_number(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    param: &Parameter,
    reg: Reg,
    value: Option<Value>,
) -> Result<(), Reason> {
    let Some(Value::Scalar(number)) = value else {
        return Err(KfuncError::NotScalar { reg }.into());
    };
    if param.ends("__k") {
        let Some(value) = number.set.const_value() else {
            return Err(KfuncError::NotConstant { reg }.into());
        };
        cx.mark_precise(reg)?;
        meta.constant = Some(value);
        return Ok(());
    }
    let rdonly = param.name == "rdonly_buf_size";
    if rdonly || param.name == "rdwr_buf_size" {
        meta.result_rdonly |= rdonly;
        let Some(size) = number.set.const_value() else {
            return Err(KfuncError::SizeNotConstant { reg }.into());
        };
        meta.result_size = Some(u32::try_from(size).unwrap_or(u32::MAX));
        cx.mark_precise(reg)?;
    }
    Ok(())
}

/// Linux: `get_kfunc_ptr_arg_type`.
fn kind_of(
    cx: &mut StepCx<'_, '_>,
    meta: &Meta,
    types: &Btf,
    params: &[Parameter],
    argument: &Argument,
) -> Result<Kind, Reason> {
    let param = &params[argument.place];
    // A size that is no number measures nothing.
    let size = Reg::ARGS.get(argument.place + 1).and_then(|size| cx.state.reg(*size));
    let measured = params.get(argument.place + 1).is_some_and(Parameter::is_size)
        && matches!(size, Some(Value::Scalar(_)));
    let target_name = types.name_of(argument.target);
    if meta.is("bpf_cast_to_kern_ctx") || prototype::is_context(cx.env.kind, types, argument.to) {
        return Ok(Kind::Context);
    }
    let null = argument.value.is_some_and(|value| value.is_null());
    if param.ends("__nullable") && null && !measured {
        return Ok(Kind::Null);
    }
    if param.ends("__alloc") {
        return Ok(Kind::Allocated);
    }
    if param.ends("__refcounted_kptr") {
        return Ok(Kind::Refcounted);
    }
    let iterating = KfuncFlags::ITER_NEW | KfuncFlags::ITER_NEXT | KfuncFlags::ITER_DESTROY;
    if (meta.row.flags.intersects(iterating) && argument.place == 0) || param.ends("__iter") {
        return Ok(Kind::Iterator);
    }
    match target_name {
        "bpf_dynptr" | "bpf_dynptr_kern" => return Ok(Kind::Dynptr),
        "bpf_list_head" => return Ok(Kind::Root(NamedField::ListHead)),
        "bpf_rb_root" => return Ok(Kind::Root(NamedField::RbRoot)),
        "bpf_list_node" => return Ok(Kind::Node(NamedField::ListNode)),
        "bpf_rb_node" => return Ok(Kind::Node(NamedField::RbNode)),
        "bpf_wq" => return Ok(Kind::Work(NamedField::Workqueue)),
        "bpf_task_work" => return Ok(Kind::Work(NamedField::TaskWork)),
        "bpf_res_spin_lock" => return Ok(Kind::ResilientLock),
        _ => {}
    }
    for (suffix, kind) in
        [("__str", Kind::String), ("__map", Kind::Map), ("__irq_flag", Kind::IrqFlag)]
    {
        if param.ends(suffix) {
            return Ok(kind);
        }
    }
    let code = types.get(argument.target).map_or(KindCode::Void, |ty| ty.code());
    let shown = if code == KindCode::Void { "UNKNOWN" } else { code.name() };
    let object = argument.pointer().is_some_and(|pointer| is_object(&pointer));
    if object {
        if code != KindCode::Struct {
            let (function, arg) = (meta.row.name, argument.place);
            let (kind, name) = (shown, target_name.to_owned());
            return Err(KfuncError::PointerKind { function, arg, kind, name }.into());
        }
        return Ok(Kind::Object);
    }
    if code == KindCode::FuncProto {
        return Ok(Kind::Callback);
    }
    let anything = measured && code == KindCode::Void;
    if !is_number(code) && !is_plain_struct(cx, types, argument.target) && !anything {
        let (arg, more) = (argument.place, if measured { "void, " } else { "" });
        let (kind, name) = (shown, target_name.to_owned());
        return Err(KfuncError::NotPlain { arg, kind, name, more }.into());
    }
    Ok(if measured { Kind::MeasuredMemory } else { Kind::Memory })
}

/// A map, which must be the one that the timer or work before it is in.
fn map(meta: &mut Meta, argument: &Argument) -> Result<(), Reason> {
    let reg = argument.reg;
    let Some(pointer) = argument.pointer().filter(looks_like_map) else {
        return Err(KfuncError::NotMap { reg }.into());
    };
    let PointerKind::MapPtr { map, uid } = pointer.kind else { return Ok(()) };
    if let Some((work_map, work_uid)) = meta.map
        && (work_map, work_uid) != (map, uid)
    {
        let number = |id: Option<Id>| id.map_or(0, Id::number);
        let (work, map) = (number(work_uid), number(uid));
        let task = meta.row.name.starts_with("bpf_task_work");
        return Err(if task {
            KfuncError::OtherTaskWorkMap { work, map }
        } else {
            KfuncError::OtherWorkqueueMap { work, map }
        }
        .into());
    }
    meta.map = Some((map, uid));
    Ok(())
}

/// Whether the word is set that the kernel keeps a map pointer's map in: it keeps other things
/// there for other pointers, and the arguments' types are compared later.
const fn looks_like_map(pointer: &Pointer) -> bool {
    match pointer.kind {
        PointerKind::MapPtr { .. }
        | PointerKind::MapValue { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::Btf { .. }
        | PointerKind::Dynptr { .. } => true,
        PointerKind::Mem { size, .. } => size > 0,
        PointerKind::Packet { range } | PointerKind::PacketMeta { range } => range.0 != 0,
        PointerKind::Func { subprog } => subprog.0 != 0,
        PointerKind::Ctx
        | PointerKind::Stack { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::TpBuffer
        | PointerKind::Buf
        | PointerKind::Arena => false,
    }
}

/// Whether a pointer is to what the kernel has a type of its own for, and keeps alive.
fn is_kernels_own(pointer: &Pointer) -> bool {
    pointer.flags.is_empty() && has_kernel_type(&pointer.kind)
}

/// Whether what is no kernel object for the verifier is one for kernel functions.
///
/// Linux: `reg2btf_ids`.
const fn has_kernel_type(kind: &PointerKind) -> bool {
    matches!(
        kind,
        PointerKind::Socket { .. }
            | PointerKind::SockCommon
            | PointerKind::TcpSock
            | PointerKind::MapPtr { .. }
    )
}

/// Whether a register holds a kernel object, or a socket that is one.
fn is_object(pointer: &Pointer) -> bool {
    matches!(pointer.kind, PointerKind::Btf { .. }) || has_kernel_type(&pointer.kind)
}

/// Linux: `btf_type_is_scalar`.
const fn is_number(code: KindCode) -> bool {
    matches!(code, KindCode::Int | KindCode::Enum | KindCode::Enum64)
}

/// How deep structures of numbers may be nested.
const MAX_NESTING: u32 = 3;

/// Whether a type is a structure of numbers, all the way down.
///
/// Linux: `__btf_type_is_scalar_struct`.
pub(crate) fn is_plain_struct(cx: &mut StepCx<'_, '_>, types: &Btf, id: TypeId) -> bool {
    is_plain(cx, types, id, 0)
}

fn is_plain(cx: &mut StepCx<'_, '_>, types: &Btf, id: TypeId, depth: u32) -> bool {
    let Some(composite) = types.resolve(id).and_then(|ty| ty.composite()) else { return false };
    for member in composite.members() {
        let Some(ty) = types.resolve(member.ty) else { return false };
        let fits = match ty.code() {
            KindCode::Struct | KindCode::Union if depth == MAX_NESTING => {
                cx.tell(&KfuncError::NestedTooDeep);
                false
            }
            KindCode::Struct | KindCode::Union => is_plain(cx, types, ty.id, depth + 1),
            KindCode::Array => ty.array().is_some_and(|array| {
                let element = types.resolve(array.element).map(|ty| ty.code());
                array.len > 0 && element.is_some_and(is_number)
            }),
            code => is_number(code),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Whether the object is safe enough.
fn check_trust(meta: &Meta, kind: Kind, argument: &Argument) -> Result<(), Reason> {
    if !matches!(kind, Kind::Map | Kind::Allocated | Kind::Object) {
        return Ok(());
    }
    let rcu = meta.has(KfuncFlags::RCU);
    if !meta.has(KfuncFlags::TRUSTED_ARGS) && !rcu {
        return Ok(());
    }
    let pointer = argument.pointer();
    if pointer.is_some_and(|pointer| null::is_trusted(&pointer) || is_kernels_own(&pointer)) {
        return Ok(());
    }
    let reg = argument.reg;
    if !rcu {
        return Err(KfuncError::Untrusted { reg }.into());
    }
    if !pointer.is_some_and(|pointer| pointer.flags.contains(PtrFlags::RCU)) {
        return Err(KfuncError::NotRcu { reg }.into());
    }
    Ok(())
}

fn check_offset(meta: &Meta, reg: Reg, pointer: &Pointer) -> Result<(), Reason> {
    let releases = meta.row.flags.contains(KfuncFlags::RELEASE) && pointer.ref_id.is_some();
    if releases && pointer.off != 0 {
        return Err(crate::call::CallError::MovedRelease { reg }.into());
    }
    args::check_pointer_offset(reg, pointer)
}

fn check_kind(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    types: &Btf,
    params: &[Parameter],
    argument: &Argument,
    kind: Kind,
) -> Result<(), Reason> {
    let Argument { place, reg, value, target, .. } = *argument;
    let pointer = argument.pointer();
    match kind {
        Kind::Null => Ok(()),
        Kind::Context => match pointer {
            Some(Pointer { kind: PointerKind::Ctx, .. }) => Ok(()),
            _ => {
                let ty = type_name(value.as_ref());
                Err(KfuncError::NotContext { arg: place, ty }.into())
            }
        },
        Kind::Allocated => allocated(meta, argument),
        Kind::Refcounted => graph::counted(cx, meta, graph::Argument { place, reg, pointer }),
        Kind::Dynptr => dynptr(cx, meta, params, argument),
        Kind::Iterator => iterators::argument(cx, meta, reg, target),
        Kind::Root(field) => graph::root(cx, meta, graph::Argument { place, reg, pointer }, field),
        Kind::Node(field) => graph::node(cx, meta, graph::Argument { place, reg, pointer }, field),
        Kind::String => match pointer {
            Some(Pointer { kind: PointerKind::MapValue { .. }, .. }) => {
                strings::check_constant(cx, reg)
            }
            _ => Err(KfuncError::NotString { arg: place }.into()),
        },
        Kind::Map => {
            let target = types.by_name_kind("bpf_map", KindCode::Struct).unwrap_or(target);
            object(cx, meta, types, &Argument { target, ..*argument })
        }
        Kind::Work(field) => match pointer {
            Some(Pointer { kind: PointerKind::MapValue { .. }, .. }) => {
                meta.map = Some(locks::in_map(cx, reg, field)?);
                Ok(())
            }
            _ => Err(KfuncError::NotMapValue { arg: place }.into()),
        },
        Kind::IrqFlag => locks::irq_flag(cx, meta, reg),
        Kind::ResilientLock => match pointer {
            Some(Pointer {
                kind: PointerKind::MapValue { .. } | PointerKind::Btf { .. }, ..
            }) => {
                let name = meta.row.name;
                let irq = name.contains("irq");
                let class = if irq { LockClass::ResilientIrq } else { LockClass::Resilient };
                let act = if name.contains("unlock") { Act::Unlock } else { Act::Lock };
                locks::process(cx, reg, class, act)
            }
            _ => Err(KfuncError::NoLockThere { arg: place }.into()),
        },
        Kind::Object => object(cx, meta, types, argument),
        Kind::Callback => match pointer {
            Some(Pointer { kind: PointerKind::Func { subprog }, .. }) => {
                meta.subprog = Some(subprog);
                Ok(())
            }
            _ => Err(KfuncError::NotFunction { arg: place }.into()),
        },
        Kind::Memory => {
            let Some(size) = types.size_of(target) else {
                let kind = types.get(target).map_or("UNKNOWN", |ty| ty.code().name());
                let name = types.name_of(target).to_owned();
                return Err(KfuncError::Unsized { arg: place, kind, name }.into());
            };
            global::check_memory(cx, reg, size)
        }
        Kind::MeasuredMemory => measured(cx, meta, params, argument),
    }
}

/// Memory and its size.
fn measured(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    params: &[Parameter],
    argument: &Argument,
) -> Result<(), Reason> {
    let place = argument.place;
    let Some(&size) = Reg::ARGS.get(place + 1) else { return Ok(()) };
    let null = argument.value.is_some_and(|value| value.is_null());
    let optional = params[place].ends("__opt") || params[place].ends("__nullable");
    if !(null && optional) {
        let memory = argument.reg;
        let saved = cx.state.reg(memory).copied();
        if let Some(Value::Pointer(pointer)) = saved
            && pointer.maybe_null()
        {
            let mut known = pointer;
            null::set_not_null(cx.env, &mut known);
            cx.state.set(memory, Some(Value::Pointer(known)));
        }
        let measure = |way| Measure { memory, reg: size, way, zero_allowed: true, raw: false };
        let checked = sizes::measured(cx, measure(Way::Read))
            .and_then(|_| sizes::measured(cx, measure(Way::Write)));
        cx.state.set(memory, saved);
        if let Err(cause) = checked {
            cx.tell(cause.refusal());
            let (arg, size, errno) = (place, place + 1, cause.errno());
            return Err(KfuncError::Memory { arg, size, errno }.into());
        }
    }
    if params[place + 1].ends("__szk") {
        let Some(value) = cx.state.reg(size).and_then(Value::as_constant) else {
            return Err(KfuncError::NotConstant { reg: size }.into());
        };
        meta.constant = Some(value);
    }
    Ok(())
}

/// An object of the program's own.
fn allocated(meta: &mut Meta, argument: &Argument) -> Result<(), Reason> {
    let place = argument.place;
    let expected = || Reason::from(KfuncError::NoAllocated { arg: place });
    let Some(pointer) = argument.pointer() else { return Err(expected()) };
    let PointerKind::Btf { ty } = pointer.kind else { return Err(expected()) };
    let plain = pointer.flags == PtrFlags::ALLOC;
    let percpu = pointer.flags == PtrFlags::ALLOC | PtrFlags::PERCPU;
    if plain && meta.is("bpf_percpu_obj_drop_impl") {
        return Err(KfuncError::PlainDropped { arg: place }.into());
    }
    if percpu && meta.is("bpf_obj_drop_impl") {
        return Err(KfuncError::PercpuDropped { arg: place }.into());
    }
    if !plain && !percpu {
        return Err(expected());
    }
    if pointer.ref_id.is_none() {
        return Err(KfuncError::Unreferenced.into());
    }
    meta.object = Some(ty);
    Ok(())
}

fn dynptr(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    params: &[Parameter],
    argument: &Argument,
) -> Result<(), Reason> {
    let reg = argument.reg;
    if params[argument.place].ends("__uninit") {
        let (kind, clone_of) = match meta.row.name {
            "bpf_dynptr_from_skb" => (DynptrKind::Skb, None),
            "bpf_dynptr_from_xdp" => (DynptrKind::Xdp, None),
            "bpf_dynptr_from_skb_meta" => (DynptrKind::SkbMeta, None),
            "bpf_dynptr_from_file" => (DynptrKind::File, None),
            _ => match meta.dynptr {
                Some(parent) => (parent.kind, parent.ref_id),
                None => (DynptrKind::Local, None),
            },
        };
        return objects::initialize(cx, reg, kind, clone_of);
    }
    let found = objects::initialized(cx, reg, true, None)?;
    meta.dynptr = Some(found);
    Ok(())
}

/// A kernel object. Linux: `process_kf_arg_ptr_to_btf_id`.
fn object(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    types: &Btf,
    argument: &Argument,
) -> Result<(), Reason> {
    let Argument { place, reg, target, .. } = *argument;
    let Some(pointer) = argument.pointer() else { return Ok(()) };
    let held = match pointer.kind {
        PointerKind::Btf { ty } => Some(ty),
        PointerKind::Socket { .. } => btf::find_struct(cx.env, "sock"),
        PointerKind::SockCommon => btf::find_struct(cx.env, "sock_common"),
        PointerKind::TcpSock => btf::find_struct(cx.env, "tcp_sock"),
        PointerKind::MapPtr { .. } => btf::find_struct(cx.env, "bpf_map"),
        _ => None,
    };
    let safe = PtrFlags::TRUSTED | PtrFlags::NON_OWN_REF | PtrFlags::ALLOC;
    let is_object = matches!(pointer.kind, PointerKind::Btf { .. });
    let is_safe = (pointer.flags - safe).is_empty() || pointer.flags.contains(PtrFlags::RCU);
    if !(has_kernel_type(&pointer.kind) || is_object && is_safe) {
        let held = pointer_name(&pointer);
        let mut wanted = pointer;
        wanted.flags &= safe;
        let wanted = pointer_name(&wanted);
        return Err(KfuncError::NoObject { arg: place, held, wanted }.into());
    }
    let Some(held) = held else { return Ok(()) };
    let wanted = BtfType { btf: btf::kernel(cx.env), id: target };
    let expected = types.name_of(target);
    let found = btf::name_of(cx.env, held);
    let released = meta.row.flags.contains(KfuncFlags::RELEASE) && pointer.ref_id.is_some();
    let how =
        if released || is_uncast_alias(&found, expected) { Match::Exact } else { Match::Embedded };
    if btf::matches(cx, held, pointer.off, wanted, how) || is_projection(expected, &found) {
        return Ok(());
    }
    let (function, arg, expected) = (meta.row.name, place, expected.to_owned());
    let kind = |btf: Option<&Btf>, id: TypeId| {
        let code = btf.and_then(|btf| btf.get(id)).map(|ty| ty.code());
        code.map_or("UNKNOWN", KindCode::name)
    };
    let expected_kind = kind(Some(types), target);
    let found_kind = kind(cx.env.btf(held.btf).map(Arc::as_ref), held.id);
    Err(KfuncError::OtherObject { function, arg, expected_kind, expected, reg, found_kind, found }
        .into())
}

/// What the name of a type ends with whose objects are not ready yet.
const UNREADY: &str = "___init";

/// Whether one type is the other before it is ready: neither is taken for the other.
///
/// Linux: `btf_type_ids_nocast_alias`.
fn is_uncast_alias(one: &str, other: &str) -> bool {
    one.strip_suffix(UNREADY) == Some(other) || other.strip_suffix(UNREADY) == Some(one)
}

/// Whether programs see objects of the kernel's type as the other.
///
/// Linux: `btf_is_projection_of`.
fn is_projection(seen: &str, kernels: &str) -> bool {
    matches!((seen, kernels), ("__sk_buff", "sk_buff") | ("xdp_md", "xdp_buff"))
}
