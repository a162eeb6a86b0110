//! Lists and trees: who owns an element, and which lock protects it.
//!
//! An element belongs to the program until it is put into a list or a tree. From then on, and
//! for as long as the lock of that list or tree is held, the program may look at it through a
//! pointer that owns nothing; when the lock is released, such pointers are mere numbers. What is
//! taken out belongs to the program again.

use std::sync::Arc;

use bpf_btf::record::{FieldKind, NamedField};
use bpf_isa::{Call, Insn, Reg};

use crate::call::kfunc::Meta;
use crate::call::kfunc_error::KfuncError;
use crate::call::{CallError, fields};
use crate::cx::StepCx;
use crate::env::{Env, KfuncMeta};
use crate::error::Reason;
use crate::memory::btf;
use crate::program::kfunc_name;
use crate::state::{
    BtfType, FrameRole, Id, Keep, LockPlace, Pointer, PointerKind, PtrFlags, State, Value,
};

/// A list or a tree among the arguments of a call.
///
/// Linux: `struct btf_field_graph_root`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Which of the two.
    field: NamedField,
    /// The type of its elements.
    element: BtfType,
    /// Where in an element the node lies.
    node_offset: u32,
}

impl Root {
    /// A pointer to the node of one of its elements. Linux: `mark_reg_graph_node`.
    pub(crate) fn node(&self) -> Pointer {
        let kind = PointerKind::Btf { ty: self.element };
        let mut pointer = Pointer::to(kind).with(PtrFlags::ALLOC);
        pointer.off = i32::try_from(self.node_offset).unwrap_or(i32::MAX);
        pointer
    }
}

/// A graph argument: a list, a tree, or the node of an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    /// The argument's number, from 0.
    pub(crate) place: usize,
    /// Its register.
    pub(crate) reg: Reg,
    /// What the register holds, if it is a pointer.
    pub(crate) pointer: Option<Pointer>,
}

/// Whether a pointer is to an object of the program's own, and to nothing less.
fn is_allocated(pointer: &Pointer) -> bool {
    matches!(pointer.kind, PointerKind::Btf { .. }) && pointer.flags == PtrFlags::ALLOC
}

/// A list or a tree. Linux: `process_kf_arg_ptr_to_graph_root`.
pub(crate) fn root(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    argument: Argument,
    field: NamedField,
) -> Result<(), Reason> {
    let Argument { place, reg, pointer } = argument;
    let in_map = |pointer: &Pointer| {
        matches!(pointer.kind, PointerKind::MapValue { .. }) && pointer.flags.is_empty()
    };
    let Some(pointer) = pointer.filter(|pointer| in_map(pointer) || is_allocated(pointer)) else {
        return Err(KfuncError::NoMapOrObject { arg: place }.into());
    };
    if is_allocated(&pointer) && pointer.ref_id.is_none() {
        return Err(KfuncError::Unreferenced.into());
    }
    let what = field.type_name();
    let off = constant_off(&pointer, reg, what)?;
    let record = fields::record_of(cx.env, &pointer);
    let found = record.as_ref().and_then(|record| record.at(u32::try_from(off).ok()?));
    let Some(FieldKind::Graph { root, contains, node_offset }) = found.map(|found| found.kind)
    else {
        return Err(KfuncError::FieldMissing { what, off: shown(off) }.into());
    };
    if root != field {
        return Err(KfuncError::FieldMissing { what, off: shown(off) }.into());
    }
    check_locked(cx, &pointer, what)?;
    let Some(element) = type_beside(cx.env, &pointer, contains) else { return Ok(()) };
    meta.root = Some(Root { field, element, node_offset });
    Ok(())
}

/// The fixed offset of a field that an argument is.
fn constant_off(pointer: &Pointer, reg: Reg, what: &'static str) -> Result<i64, Reason> {
    pointer.constant_off().ok_or_else(|| KfuncError::FieldVariable { reg, what }.into())
}

/// An offset as the kernel shows it.
fn shown(off: i64) -> u32 {
    u32::try_from(off & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// The type with this id in the BTF that describes what a pointer points to.
fn type_beside(env: &mut Env<'_>, pointer: &Pointer, id: bpf_btf::TypeId) -> Option<BtfType> {
    let btf = match pointer.kind {
        PointerKind::Btf { ty } => ty.btf,
        _ => {
            let own = Arc::clone(env.map(pointer.map()?).btf.as_ref()?);
            env.use_btf(&own)
        }
    };
    Some(BtfType { btf, id })
}

/// Whether the lock is held that is in the same object or map value.
///
/// Linux: `check_reg_allocation_locked`.
fn check_locked(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    what: &'static str,
) -> Result<(), Reason> {
    let place = match pointer.kind {
        PointerKind::Btf { ty } => Some(LockPlace::Btf(ty.btf)),
        _ => pointer.map().map(LockPlace::Map),
    };
    let refs = &cx.state.refs;
    let same = |held: &crate::state::Reference| {
        held.kind.lock_place().is_some_and(|held| Some(held) == place) && held.id == pointer.id
    };
    if refs.active_locks > 0 && refs.held().iter().any(same) {
        return Ok(());
    }
    if refs.active_locks > 0 {
        cx.tell(&KfuncError::OtherAllocation);
    }
    let record = fields::record_of(cx.env, pointer);
    let at = record.and_then(|record| record.offset_of(NamedField::SpinLock));
    let at = at.and_then(|at| i32::try_from(at).ok()).unwrap_or(NO_FIELD);
    Err(KfuncError::Unlocked { at, what }.into())
}

/// How the kernel shows the offset of a field that is not there. Linux: `-EINVAL`.
const NO_FIELD: i32 = -22;

/// The node of an element. Linux: `process_kf_arg_ptr_to_graph_node`.
pub(crate) fn node(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    argument: Argument,
    field: NamedField,
) -> Result<(), Reason> {
    let Argument { place, reg, pointer } = argument;
    let owned = field == NamedField::ListNode || meta.is("bpf_rbtree_add_impl");
    if owned {
        let Some(pointer) = pointer.filter(is_allocated) else {
            return Err(KfuncError::NoAllocated { arg: place }.into());
        };
        if pointer.ref_id.is_none() {
            return Err(KfuncError::Unreferenced.into());
        }
    } else {
        let function = meta.row.name;
        let fits = pointer.is_some_and(|pointer| is_lent(&pointer) || pointer.ref_id.is_some());
        if !fits {
            return Err(KfuncError::NotLent { function }.into());
        }
        if in_less(cx) {
            return Err(KfuncError::InTreeCallback { function }.into());
        }
    }
    let (Some(pointer), Some(root)) = (pointer, meta.root) else { return Ok(()) };
    let what = field.type_name();
    let off = constant_off(&pointer, reg, what)?;
    let record = fields::record_of(cx.env, &pointer);
    let found = record.as_ref().and_then(|record| record.at(u32::try_from(off).ok()?));
    if !found.is_some_and(|found| found.kind == FieldKind::Named(field)) {
        return Err(KfuncError::FieldMissing { what, off: shown(off) }.into());
    }
    let PointerKind::Btf { ty } = pointer.kind else { return Ok(()) };
    let (at, node) = (root.node_offset, what);
    if ty != root.element {
        let element = btf::name_of(cx.env, root.element);
        let held = btf::name_of(cx.env, ty);
        let root = root.field.type_name();
        return Err(KfuncError::OtherElement { root, node, at, element, off, held }.into());
    }
    meta.object = Some(ty);
    if off != i64::from(at) {
        let element = btf::name_of(cx.env, root.element);
        return Err(KfuncError::OtherNode { off, node, at, element }.into());
    }
    Ok(())
}

/// Whether a pointer is to an element that a list or tree owns.
///
/// Linux: `type_is_non_owning_ref`.
pub(crate) const fn is_lent(pointer: &Pointer) -> bool {
    matches!(pointer.kind, PointerKind::Btf { .. })
        && pointer.flags.contains(PtrFlags::ALLOC.union(PtrFlags::NON_OWN_REF))
}

/// An object of which there may be more owners. Linux: `KF_ARG_PTR_TO_REFCOUNTED_KPTR`.
pub(crate) fn counted(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    argument: Argument,
) -> Result<(), Reason> {
    let Argument { place, pointer, .. } = argument;
    let Some(pointer) = pointer.filter(|pointer| pointer.flags.contains(PtrFlags::ALLOC)) else {
        return Err(KfuncError::NotCounted { arg: place }.into());
    };
    let PointerKind::Btf { ty } = pointer.kind else {
        return Err(KfuncError::NotCounted { arg: place }.into());
    };
    meta.owned = !is_lent(&pointer);
    let record = fields::record_of(cx.env, &pointer).filter(|record| !record.is_empty());
    let Some(record) = record else { return Err(KfuncError::NoRecord.into()) };
    if !record.has(NamedField::Refcount) {
        return Err(KfuncError::NoRefcount { arg: place }.into());
    }
    meta.object = Some(ty);
    Ok(())
}

/// Whether the object that a pointer points to counts its owners.
fn is_counted(env: &Env<'_>, pointer: &Pointer) -> bool {
    fields::record_of(env, pointer).is_some_and(|record| record.has(NamedField::Refcount))
}

/// Makes a pointer one that owns nothing. Linux: `ref_set_non_owning`.
pub(crate) fn lend(env: &Env<'_>, pointer: &mut Pointer) {
    if is_counted(env, pointer) {
        pointer.flags |= PtrFlags::RCU;
    }
    pointer.flags |= PtrFlags::NON_OWN_REF;
}

/// The element in R2 goes into a list or tree: whoever pointed to it, looks on.
///
/// Linux: `ref_convert_owning_non_owning`.
pub(crate) fn hand_over(cx: &mut StepCx<'_, '_>, meta: &Meta) {
    let Some(Value::Pointer(node)) = cx.state.reg(Reg::R2).copied() else { return };
    let pc = cx.pc;
    cx.env.note_mut(pc).kfunc_meta = Some(KfuncMeta {
        object_size: 0,
        node_off: u32::try_from(node.off).unwrap_or(0),
        struct_id: meta.object.map(|ty| ty.id),
    });
    let Some(id) = node.ref_id else { return };
    convert(cx.env, cx.state, id);
    cx.state.refs.release(id);
}

fn convert(env: &Env<'_>, state: &mut State, id: Id) {
    state.for_each_value(|value| {
        if let Value::Pointer(pointer) = value
            && pointer.ref_id == Some(id)
        {
            pointer.ref_id = None;
            lend(env, pointer);
        }
        Keep::Yes
    });
}

/// Whether the path is in a function that compares elements of a tree.
///
/// Linux: `in_rbtree_lock_required_cb`.
pub(crate) fn in_less(cx: &StepCx<'_, '_>) -> bool {
    let frame = cx.state.cur();
    if frame.role != FrameRole::Callback {
        return false;
    }
    let call = frame.callsite.and_then(|callsite| cx.env.insn(callsite));
    matches!(call, Some(Insn::Call(Call::Kfunc { btf_id, btf_fd_idx }))
        if kfunc_name(cx.env, btf_id, btf_fd_idx) == Some("bpf_rbtree_add_impl"))
}

/// Checks that a spin lock may be taken or released here.
pub(crate) fn check_may_lock(cx: &StepCx<'_, '_>) -> Result<(), Reason> {
    if in_less(cx) { Err(CallError::LockInTree.into()) } else { Ok(()) }
}
