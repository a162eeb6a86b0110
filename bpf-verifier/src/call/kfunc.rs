//! Kernel functions: the contract is in BTF, and in a table of flags.

use std::sync::Arc;

use bpf_abi::kfunc::{self, Kfunc, KfuncFlags};
use bpf_btf::{Btf, KindCode, TypeId};
use bpf_isa::{Call, Reg};

use crate::call::helper::may_sleep;
use crate::call::{
    KfuncError, callback, clobber, fields, forget_packets, graph, iterators, objects, release,
};
use crate::call::{kfunc_args, prototype};
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::memory::btf;
use crate::program::kfunc_name;
use crate::scalar::Scalar;
use crate::state::{
    BtfType, Held, Id, Keep, MapNo, Number, Pointer, PointerKind, PtrFlags, ReturnRange, State,
    SubprogId, Value,
};
use crate::step::{exit, target};

/// The greatest error number. Linux: `MAX_ERRNO`.
const MAX_ERRNO: i32 = 4095;

/// What is learnt of a call while its arguments are looked at.
///
/// Linux: `struct bpf_kfunc_call_arg_meta`.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    /// The function's row.
    pub(crate) row: &'static Kfunc,
    /// The kernel's types.
    pub(crate) types: Arc<Btf>,
    /// Its prototype.
    pub(crate) proto: TypeId,
    /// The reference among the arguments.
    pub(crate) ref_id: Option<Id>,
    /// The argument that is released.
    pub(crate) release: Option<Reg>,
    /// The constant among the arguments.
    pub(crate) constant: Option<u64>,
    /// The size of the memory that the result points to, and whether it may only be read.
    pub(crate) result_size: Option<u32>,
    /// Whether that memory may only be read.
    pub(crate) result_rdonly: bool,
    /// The dynptr among the arguments.
    pub(crate) dynptr: Option<objects::Dynptr>,
    /// The iterator among the arguments.
    pub(crate) iter: Option<iterators::Place>,
    /// The map among the arguments.
    pub(crate) map: Option<(MapNo, Option<Id>)>,
    /// The function to be called back.
    pub(crate) subprog: Option<SubprogId>,
    /// The object that is given back or looked at.
    pub(crate) object: Option<BtfType>,
    /// The list or tree among the arguments.
    pub(crate) root: Option<graph::Root>,
    /// Whether the program owns the object that is counted: it cannot vanish meanwhile.
    pub(crate) owned: bool,
}

impl Meta {
    /// Whether it is this function.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.row.name == name
    }

    /// Whether it has this flag. Releasing a thing asks for trust.
    pub(crate) fn has(&self, flag: KfuncFlags) -> bool {
        let flags = self.row.flags;
        flags.contains(flag)
            || (flag == KfuncFlags::TRUSTED_ARGS && flags.contains(KfuncFlags::RELEASE))
    }
}

/// Whether a kernel function may be called with a lock held. Linux: `kfunc_spin_allowed`.
pub(crate) fn allowed_under_lock(cx: &StepCx<'_, '_>, callee: Call) -> bool {
    let Call::Kfunc { btf_id, btf_fd_idx: 0 } = callee else { return false };
    let row = kfunc_name(cx.env, btf_id, 0).and_then(kfunc::find);
    row.is_some_and(|row| row.flags.contains(KfuncFlags::UNDER_LOCK))
}

/// A call of a kernel function. Linux: `check_kfunc_call`.
pub(crate) fn call(cx: &mut StepCx<'_, '_>, id: i32, btf: i16) -> Result<Next, Reason> {
    // What is not there may stand in code that no path reaches; rewriting refuses what is left.
    if id == 0 {
        return Ok(Next::Fallthrough);
    }
    let mut meta = find(cx, id, btf)?;
    let name = meta.row.name;
    if name.starts_with("bpf_res_spin_lock") {
        push_lock_failure(cx)?;
    }
    if meta.is("__bpf_trap") {
        return Err(KfuncError::Trap.into());
    }
    let sleepable = meta.has(KfuncFlags::SLEEPABLE);
    if sleepable && !may_sleep(cx) {
        return Err(KfuncError::MightSleep { function: name }.into());
    }
    kfunc_args::check(cx, &mut meta)?;
    call_back(cx, &meta)?;
    sections(cx, &meta)?;
    let refs = &cx.state.refs;
    for (held, place) in [
        (refs.rcu_locks > 0, "rcu_read_lock region"),
        (refs.preempt_locks > 0, "non-preemptible region"),
        (refs.irq_id.is_some(), "IRQ-disabled region"),
    ] {
        if sleepable && held {
            return Err(KfuncError::Sleeps { function: name, place }.into());
        }
    }
    if meta.has(KfuncFlags::RCU_PROTECTED) && !btf::in_rcu_section(cx) {
        return Err(KfuncError::OutsideRcu { function: name }.into());
    }
    if let Some(reg) = meta.release {
        release_argument(cx, &meta, reg, id)?;
    }
    if is_insertion(meta.row.name) {
        graph::hand_over(cx, &meta);
    }
    if meta.is("bpf_throw") {
        return throw(cx);
    }
    clobber(cx);
    set_result(cx, &meta)?;
    if meta.has(KfuncFlags::CHANGES_PKT_DATA) {
        forget_packets(cx);
    }
    if meta.has(KfuncFlags::ITER_NEXT) {
        iterators::advance(cx, &meta)?;
    }
    Ok(Next::Fallthrough)
}

/// Whether it puts an element into a list or tree.
fn is_insertion(name: &str) -> bool {
    matches!(name, "bpf_list_push_front_impl" | "bpf_list_push_back_impl" | "bpf_rbtree_add_impl")
}

/// The function's row and prototype.
fn find(cx: &mut StepCx<'_, '_>, id: i32, btf: i16) -> Result<Meta, Reason> {
    let name = kfunc_name(cx.env, id, btf).unwrap_or("").to_owned();
    let refused = || Reason::from(KfuncError::NotHere { name: name.clone() });
    let row = kfunc::find(&name).ok_or_else(refused)?;
    let kind = cx.env.kind;
    if !row.callers.include(kind.prog_type, kind.expected_attach_type) {
        return Err(refused());
    }
    let types = cx.env.host.kernel_btf().map(Arc::clone).ok_or_else(refused)?;
    let func = u32::try_from(id).ok().and_then(|id| types.get(TypeId(id))?.func());
    let proto = func.ok_or_else(refused)?.proto;
    Ok(Meta {
        row,
        types,
        proto,
        ref_id: None,
        release: None,
        constant: None,
        result_size: None,
        result_rdonly: false,
        dynptr: None,
        iter: None,
        map: None,
        subprog: None,
        object: None,
        root: None,
        owned: false,
    })
}

/// Taking a resilient lock may fail: a path on which it did.
fn push_lock_failure(cx: &mut StepCx<'_, '_>) -> Result<(), Reason> {
    let mut set = Scalar::UNKNOWN;
    set.low.smin = -MAX_ERRNO;
    set.low.smax = -1;
    set.whole.smin = i64::from(-MAX_ERRNO);
    set.whole.smax = -1;
    set.sync();
    let next = target(cx, 0);
    let branch = cx.push_branch(next)?;
    for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
        branch.set(reg, None);
    }
    branch.set(Reg::R0, Some(Value::Scalar(Number::of(set))));
    Ok(())
}

/// What work returns that a queue does.
const NOTHING: ReturnRange = ReturnRange { min: 0, max: 0 };
/// What work returns that a task does.
const ANYTHING: ReturnRange = ReturnRange { min: i32::MIN, max: i32::MAX };

/// Functions of the program that it calls.
fn call_back(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let Some(subprog) = meta.subprog else { return Ok(()) };
    let to = |kind| Some(Value::Pointer(Pointer::to(kind)));
    if let Some(root) = meta.root {
        let mut node = root.node();
        graph::lend(cx.env, &mut node);
        let node = Some(Value::Pointer(node));
        let range = ReturnRange { min: 0, max: 1 };
        let args = [node, node, None, None, None];
        return callback::enter_now(cx, callback::Callback { subprog, args, range });
    }
    if let Some((map, _)) = meta.map {
        let args = [
            to(PointerKind::MapPtr { map, uid: None }),
            to(PointerKind::MapKey { map, uid: None }),
            to(PointerKind::MapValue { map, uid: None }),
            None,
            None,
        ];
        let task_work = meta.row.name.starts_with("bpf_task_work_");
        let range = if task_work { ANYTHING } else { NOTHING };
        let callback = callback::Callback { subprog, args, range };
        let sleepable = task_work || meta.row.name.starts_with("bpf_wq_");
        return callback::enter_later(cx, callback, sleepable);
    }
    Ok(())
}

/// RCU and preemption sections that it begins or ends.
fn sections(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let name = meta.row.name;
    let refs = &mut cx.state.refs;
    match name {
        "bpf_rcu_read_lock" if refs.rcu_locks > 0 => {
            return Err(KfuncError::RcuNested { function: name }.into());
        }
        "bpf_rcu_read_lock" => refs.rcu_locks += 1,
        "bpf_rcu_read_unlock" => {
            if refs.rcu_locks == 0 {
                return Err(KfuncError::RcuUnmatched { function: name }.into());
            }
            refs.rcu_locks -= 1;
            if refs.rcu_locks == 0 {
                end_rcu(cx.state);
            }
        }
        "bpf_preempt_disable" => refs.preempt_locks += 1,
        "bpf_preempt_enable" => {
            if refs.preempt_locks == 0 {
                return Err(KfuncError::PreemptionUnmatched { function: name }.into());
            }
            refs.preempt_locks -= 1;
        }
        _ => {}
    }
    Ok(())
}

/// What RCU protected may be stale from here on.
fn end_rcu(state: &mut State) {
    state.for_each_value(|value| {
        if let Value::Pointer(pointer) = value
            && pointer.flags.contains(PtrFlags::RCU)
        {
            pointer.flags.remove(PtrFlags::RCU | PtrFlags::MAYBE_NULL);
            pointer.flags |= PtrFlags::UNTRUSTED;
        }
        Keep::Yes
    });
    for frame in state.frames_mut() {
        for slot in frame.stack.slots_mut() {
            if let Held::Iter(iter) = &mut slot.held
                && iter.rcu
            {
                iter.rcu = false;
                iter.untrusted = true;
            }
        }
    }
}

fn release_argument(cx: &mut StepCx<'_, '_>, meta: &Meta, reg: Reg, id: i32) -> Result<(), Reason> {
    if meta.dynptr.is_some_and(|dynptr| dynptr.ref_id.is_some()) {
        return objects::unmark_dynptr(cx, reg);
    }
    let ref_id = match cx.state.reg(reg) {
        Some(Value::Pointer(pointer)) => pointer.ref_id,
        Some(Value::Scalar(_)) | None => None,
    };
    if ref_id.is_some_and(|id| release(cx, id)) {
        return Ok(());
    }
    Err(KfuncError::NotAcquired { function: meta.row.name, id }.into())
}

/// An exception: the program ends, whatever frames it is in.
fn throw(cx: &mut StepCx<'_, '_>) -> Result<Next, Reason> {
    cx.env.found.exception = true;
    if cx.env.exception_callback.is_none() {
        exit::check_result(cx, Reg::R1, "R1")?;
    }
    clobber(cx);
    exit::check_resources(cx, exit::Check::Everything, "bpf_throw")?;
    Ok(Next::Done)
}

/// Sets R0. Linux: the second half of `check_kfunc_call`.
fn set_result(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let types = Arc::clone(&meta.types);
    let Some(proto) = types.func_proto(meta.proto) else { return Ok(()) };
    let Some(ret) = types.resolve(proto.ret) else { return Ok(()) };
    match ret.code() {
        KindCode::Int | KindCode::Enum | KindCode::Enum64 => {
            let lock = meta.row.name.starts_with("bpf_res_spin_lock");
            let value = if lock { Value::constant(0) } else { Value::UNKNOWN };
            cx.state.set(Reg::R0, Some(value));
            Ok(())
        }
        KindCode::Ptr => {
            let to = types.pointee(ret.id).map(|to| to.id).and_then(|id| types.resolve(id));
            pointer_result(cx, meta, to.map(|to| (to.id, to.code())))
        }
        _ => Ok(()),
    }
}

fn pointer_result(
    cx: &mut StepCx<'_, '_>,
    meta: &Meta,
    to: Option<(TypeId, KindCode)>,
) -> Result<(), Reason> {
    let special = special_result(cx, meta)?;
    let mut pointer = match (special, to) {
        (Some(pointer), _) => pointer,
        (None, None | Some((_, KindCode::Void))) => {
            cx.state.set(Reg::R0, Some(Value::UNKNOWN));
            return Ok(());
        }
        (None, Some((id, KindCode::Struct))) => object_result(cx, meta, id),
        (None, Some((id, code))) => {
            let size = meta.result_size.filter(|size| *size > 0);
            let (size, rdonly) = match (size, meta.types.size_of(id)) {
                (Some(size), _) => (size, meta.result_rdonly),
                (None, Some(size)) if meta.is("bpf_session_cookie") => (size, false),
                (None, Some(size)) if size > 0 => (size, true),
                (None, _) => {
                    let (function, kind) = (meta.row.name, code.name());
                    let name = meta.types.name_of(id).to_owned();
                    return Err(KfuncError::Result { function, kind, name }.into());
                }
            };
            let mut pointer = Pointer::to(PointerKind::Mem { size, dynptr: None });
            pointer.flags.set(PtrFlags::RDONLY, rdonly);
            pointer.flags.set(PtrFlags::RCU, meta.has(KfuncFlags::RCU_PROTECTED));
            pointer.ref_id = meta.ref_id;
            pointer
        }
    };
    let may_be_null = meta.has(KfuncFlags::RET_NULL) && !meta.owned;
    if may_be_null {
        pointer.flags |= PtrFlags::MAYBE_NULL;
        pointer.id = Some(cx.fresh_id());
    }
    if meta.has(KfuncFlags::ACQUIRE) {
        let id = cx.acquire();
        if may_be_null {
            pointer.id = Some(id);
        }
        pointer.ref_id = Some(id);
    } else if meta.root.is_some() {
        graph::lend(cx.env, &mut pointer);
    }
    if pointer.id.is_none() && fields::may_hold_lock(cx.env, &pointer) {
        pointer.id = Some(cx.fresh_id());
    }
    cx.state.set(Reg::R0, Some(Value::Pointer(pointer)));
    Ok(())
}

/// A pointer to a kernel object.
fn object_result(cx: &mut StepCx<'_, '_>, meta: &Meta, id: TypeId) -> Pointer {
    let ty = BtfType { btf: btf::kernel(cx.env), id };
    let in_rcu = meta.iter.is_some_and(|place| iterators::is_rcu(cx.state, place));
    let flags = if meta.is("bpf_get_kmem_cache") {
        PtrFlags::UNTRUSTED
    } else if meta.has(KfuncFlags::RCU_PROTECTED) || in_rcu {
        PtrFlags::RCU
    } else if meta.has(KfuncFlags::ITER_NEXT) {
        PtrFlags::TRUSTED
    } else {
        // What is acquired is safe for the reference that is held.
        PtrFlags::empty()
    };
    Pointer::to(PointerKind::Btf { ty }).with(flags)
}

/// Results that the prototype does not tell. Linux: `check_special_kfunc`.
fn special_result(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<Option<Pointer>, Reason> {
    match meta.row.name {
        "bpf_rdonly_cast" => {
            let id = TypeId(u32::try_from(meta.constant.unwrap_or(0)).unwrap_or(u32::MAX));
            if id.0 == 0 {
                let kind = PointerKind::Mem { size: 0, dynptr: None };
                let flags = PtrFlags::RDONLY | PtrFlags::UNTRUSTED;
                return Ok(Some(Pointer::to(kind).with(flags)));
            }
            match meta.types.resolve(id).map(|ty| ty.code()) {
                Some(KindCode::Struct | KindCode::Union) => {
                    let ty = BtfType { btf: btf::kernel(cx.env), id };
                    let kind = PointerKind::Btf { ty };
                    Ok(Some(Pointer::to(kind).with(PtrFlags::UNTRUSTED)))
                }
                Some(_) => Err(KfuncError::CastNoStruct.into()),
                None => Err(KfuncError::CastUnknown { id: id.0 }.into()),
            }
        }
        "bpf_dynptr_slice" | "bpf_dynptr_slice_rdwr" => {
            let Some(dynptr) = meta.dynptr else { return Ok(None) };
            let size = u32::try_from(meta.constant.unwrap_or(0)).unwrap_or(u32::MAX);
            let mut pointer = Pointer::to(PointerKind::Mem { size, dynptr: dynptr.id });
            if meta.is("bpf_dynptr_slice") {
                pointer.flags |= PtrFlags::RDONLY;
            } else {
                // Whatever the dynptr is made of.
                use crate::memory::packet::{Purpose, may_touch};
                if !may_touch(cx, Purpose::Write) {
                    return Err(KfuncError::PacketReadOnly.into());
                }
            }
            Ok(Some(pointer))
        }
        "bpf_obj_new_impl" | "bpf_percpu_obj_new_impl" => new_object(cx, meta).map(Some),
        "bpf_refcount_acquire_impl" => {
            let Some(ty) = meta.object else { return Ok(None) };
            Ok(Some(Pointer::to(PointerKind::Btf { ty }).with(PtrFlags::ALLOC)))
        }
        _ if meta.root.is_some() => Ok(meta.root.map(|root| root.node())),
        "bpf_cast_to_kern_ctx" => {
            let Some(ty) = kernel_context(cx, &meta.types)? else { return Ok(None) };
            Ok(Some(Pointer::to(PointerKind::Btf { ty }).with(PtrFlags::TRUSTED)))
        }
        _ => Ok(None),
    }
}

/// The kernel's own structure behind the context. Linux: `get_kern_ctx_btf_id`.
fn kernel_context(cx: &mut StepCx<'_, '_>, types: &Btf) -> Result<Option<BtfType>, Reason> {
    // One structure of the kernel's has a member for each program type's context.
    let member = format!("BPF_PROG_TYPE_{}_kern", cx.env.kind.prog_type.name().to_uppercase());
    let contexts = types.by_name_kind("bpf_ctx_convert", KindCode::Struct);
    let Some(member) = contexts.and_then(|id| types.member_by_name(id, &member)) else {
        let name = prototype::kernel_context_name(cx.env.kind);
        return Ok(name.and_then(|name| btf::find_struct(cx.env, name)));
    };
    match types.get(member.ty).map(|ty| ty.code()) {
        Some(KindCode::Struct | KindCode::Union) => {
            Ok(Some(BtfType { btf: btf::kernel(cx.env), id: member.ty }))
        }
        _ => Err(KfuncError::ContextNoStruct { id: member.ty.0 }.into()),
    }
}

/// The largest object that every CPU may have of its own. Linux: `BPF_GLOBAL_PERCPU_MA_MAX_SIZE`.
const MAX_PERCPU_SIZE: u32 = 512;

/// An object of one of the program's own types.
fn new_object(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<Pointer, Reason> {
    let Ok(id) = u32::try_from(meta.constant.unwrap_or(0)).map(TypeId) else {
        return Err(KfuncError::TypeIdRange.into());
    };
    let Some(own) = cx.env.spec.btf.clone() else { return Err(KfuncError::NoOwnBtf.into()) };
    if own.get(id).map(|ty| ty.code()) != Some(KindCode::Struct) {
        return Err(KfuncError::TypeIdNoStruct.into());
    }
    let size = own.size_of(id).unwrap_or(0);
    let ty = BtfType { btf: cx.env.use_btf(&own), id };
    let mut pointer = Pointer::to(PointerKind::Btf { ty }).with(PtrFlags::ALLOC);
    if meta.is("bpf_percpu_obj_new_impl") {
        if size > MAX_PERCPU_SIZE {
            return Err(KfuncError::PercpuTooLarge { size }.into());
        }
        if !kfunc_args::is_plain_struct(cx, &own, id) {
            return Err(KfuncError::PercpuNotPlain.into());
        }
        if fields::record_of(cx.env, &pointer).is_some_and(|record| !record.is_empty()) {
            return Err(KfuncError::PercpuSpecial.into());
        }
        pointer.flags |= PtrFlags::PERCPU;
    }
    let pc = cx.pc;
    let object_size = u64::from(size);
    let struct_id = Some(id);
    cx.env.note_mut(pc).kfunc_meta =
        Some(crate::env::KfuncMeta { object_size, node_off: 0, struct_id });
    Ok(pointer)
}
