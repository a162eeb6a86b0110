//! Dynptr and kptr arguments.

use bpf_abi::helper::{ArgProto, TypeFlags};
use bpf_btf::record::{FieldKind, PointerField};
use bpf_isa::{Reg, Size};

use crate::call::helper::Meta;
use crate::call::{CallError, fields, release};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{btf, stack};
use crate::state::{
    ByteKind, DynptrKind, DynptrPart, DynptrSlot, FrameNo, Held, Id, Keep, Pointer, PointerKind,
    PtrFlags, Slot, SlotNo, State, Value,
};

/// The size of a dynptr, in bytes.
const DYNPTR_SIZE: i32 = 16;

/// A dynptr among the arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dynptr {
    /// What it refers to.
    pub(crate) kind: DynptrKind,
    /// Tells it from others.
    pub(crate) id: Option<Id>,
    /// The reference it holds.
    pub(crate) ref_id: Option<Id>,
}

/// Whether slices of it end when the packet moves.
pub(crate) const fn is_packet(kind: DynptrKind) -> bool {
    matches!(kind, DynptrKind::Skb | DynptrKind::Xdp | DynptrKind::SkbMeta)
}

/// Whether writing through it may move the packet.
pub(crate) const fn is_packet_written(kind: DynptrKind) -> bool {
    matches!(kind, DynptrKind::Skb | DynptrKind::SkbMeta)
}

/// Where an object on the stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this slot, which is that at the lowest address.
    At(FrameNo, SlotNo),
    /// Somewhere the stack was not touched yet.
    Untouched,
}

/// The slots that an object which a pointer points to takes.
///
/// Linux: `stack_slot_obj_get_spi`.
pub(crate) fn slots_of(
    state: &State,
    pointer: &Pointer,
    what: &'static str,
    count: u8,
) -> Result<Place, Reason> {
    let Some(off) = pointer.constant_off() else {
        return Err(CallError::ObjectVariable { what }.into());
    };
    // The stack's upper end counts as the slot below it; whoever writes there is refused.
    let at = i32::try_from(off).ok().filter(|off| off % 8 == 0);
    let at = at.map(|off| if off == 0 { -1 } else { off }).and_then(SlotNo::at);
    let Some(slot) = at.filter(|slot| slot.0 + 1 >= count) else {
        return Err(CallError::ObjectOffset { what, off }.into());
    };
    let frame = pointer.stack_frame().unwrap_or_default();
    if slot.index() >= state.frame(frame).stack.slots().len() {
        return Ok(Place::Untouched);
    }
    Ok(Place::At(frame, slot))
}

/// A reason with another line behind it.
pub(crate) fn followed(cause: &Reason, last: &CallError) -> Reason {
    CallError::After { cause: cause.to_string(), last: last.to_string() }.into()
}

/// The dynptr that a register points to, if it is an initialized one.
pub(crate) fn dynptr_of(cx: &StepCx<'_, '_>, reg: Reg) -> Result<Option<Dynptr>, Reason> {
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg) else { return Ok(None) };
    if let PointerKind::Dynptr { kind } = pointer.kind {
        return Ok(Some(Dynptr { kind, id: pointer.id, ref_id: pointer.ref_id }));
    }
    let Place::At(frame, first) = slots_of(cx.state, pointer, "dynptr", 2)? else {
        return Ok(None);
    };
    let stack = &cx.state.frame(frame).stack;
    let (Some(low), Some(high)) = (stack.get(first), stack.get(SlotNo(first.0 - 1))) else {
        return Ok(None);
    };
    let whole = |slot: &Slot| slot.kinds.iter().all(|kind| *kind == ByteKind::Dynptr);
    match low.held {
        Held::Dynptr(DynptrSlot { part: DynptrPart::First, kind, id, ref_id })
            if whole(low) && whole(high) =>
        {
            Ok(Some(Dynptr { kind, id, ref_id }))
        }
        _ => Ok(None),
    }
}

/// An argument that is a dynptr. Linux: `process_dynptr_func`.
pub(crate) fn dynptr_argument(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    reg: Reg,
    proto: &ArgProto,
) -> Result<(), Reason> {
    let wanted = if proto.flags.contains(TypeFlags::DYNPTR_LOCAL) {
        Some(DynptrKind::Local)
    } else if proto.flags.contains(TypeFlags::DYNPTR_RINGBUF) {
        Some(DynptrKind::Ringbuf)
    } else {
        None
    };
    if proto.flags.contains(TypeFlags::UNINIT) {
        return initialize(cx, reg, wanted.unwrap_or(DynptrKind::Local), None);
    }
    // Whoever releases one must own it; all others only look at what it refers to.
    let read_only = !proto.flags.contains(TypeFlags::RELEASE);
    let found = initialized(cx, reg, read_only, wanted)?;
    meta.dynptr = Some(found);
    Ok(())
}

/// A dynptr that is made on the stack.
pub(crate) fn initialize(
    cx: &mut StepCx<'_, '_>,
    reg: Reg,
    kind: DynptrKind,
    clone_of: Option<Id>,
) -> Result<(), Reason> {
    let Some(&Value::Pointer(pointer)) = cx.state.reg(reg) else {
        return Err(CallError::DynptrArg { arg: reg.number() - 1 }.into());
    };
    if let PointerKind::Dynptr { .. } = pointer.kind {
        return Err(CallError::DynptrUninit.into());
    }
    if let Err(cause) = slots_of(cx.state, &pointer, "dynptr", 2) {
        return Err(followed(&cause, &CallError::DynptrUninit));
    }
    for off in (0..DYNPTR_SIZE).step_by(8) {
        stack::write_unknown(cx, reg, off, Size::DW)?;
    }
    let Place::At(frame, first) = slots_of(cx.state, &pointer, "dynptr", 2)? else {
        return Err(CallError::ZeroDynptr.into());
    };
    let second = SlotNo(first.0 - 1);
    stack::destroy_dynptr(cx, frame, first)?;
    stack::destroy_dynptr(cx, frame, second)?;
    let id = Some(cx.fresh_id());
    let ref_id = kind.is_refcounted().then(|| clone_of.unwrap_or_else(|| cx.acquire()));
    let stack = &mut cx.state.frame_mut(frame).stack;
    for (place, part) in [(first, DynptrPart::First), (second, DynptrPart::Second)] {
        let held = Held::Dynptr(DynptrSlot { kind, part, id, ref_id });
        *stack.slot_mut(place) = Slot { kinds: [ByteKind::Dynptr; 8], held };
    }
    cx.mark_stack_written(frame, 1 << first.0 | 1 << second.0);
    Ok(())
}

/// Checks that an argument is an initialized dynptr of the kind that is wanted.
pub(crate) fn initialized(
    cx: &mut StepCx<'_, '_>,
    reg: Reg,
    read_only: bool,
    wanted: Option<DynptrKind>,
) -> Result<Dynptr, Reason> {
    let arg = reg.number() - 1;
    let Some(&Value::Pointer(pointer)) = cx.state.reg(reg) else {
        return Err(CallError::DynptrArg { arg }.into());
    };
    let constant = matches!(pointer.kind, PointerKind::Dynptr { .. });
    if !constant && !matches!(pointer.kind, PointerKind::Stack { .. }) {
        return Err(CallError::DynptrArg { arg }.into());
    }
    if constant && !read_only {
        return Err(CallError::DynptrRdonly.into());
    }
    let found = match dynptr_of(cx, reg) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(CallError::DynptrInit { arg }.into()),
        Err(cause) => return Err(followed(&cause, &CallError::DynptrInit { arg })),
    };
    if let Some(wanted) = wanted
        && wanted != found.kind
    {
        return Err(CallError::DynptrKind { kind: wanted.name(), arg }.into());
    }
    if !constant && let Ok(Place::At(frame, first)) = slots_of(cx.state, &pointer, "dynptr", 2) {
        let second = SlotNo(first.0 - 1);
        cx.mark_stack_read(frame, 1 << first.0 | 1 << second.0);
        cx.env.scratched.slot(first);
        cx.env.scratched.slot(second);
    }
    Ok(found)
}

/// A dynptr argument of a function of the program.
pub(crate) fn check_read_only(cx: &mut StepCx<'_, '_>, reg: Reg) -> Result<(), Reason> {
    if let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied()
        && !matches!(pointer.kind, PointerKind::Stack { .. })
    {
        crate::call::args::check_pointer_offset(reg, &pointer)?;
    }
    initialized(cx, reg, true, None).map(|_| ())
}

/// Checks that a dynptr that is released holds something.
pub(crate) fn check_owned(cx: &mut StepCx<'_, '_>, reg: Reg, value: &Value) -> Result<(), Reason> {
    let arg = reg.number();
    let Value::Pointer(pointer) = value else { return Err(CallError::DynptrConst.into()) };
    if !matches!(pointer.kind, PointerKind::Stack { .. }) {
        return Err(CallError::DynptrConst.into());
    }
    let unacquired = CallError::DynptrUnacquired { arg };
    match slots_of(cx.state, pointer, "dynptr", 2) {
        Ok(Place::At(frame, slot)) => {
            let held = cx.state.frame(frame).stack.get(slot).map(|slot| slot.held);
            match held {
                Some(Held::Dynptr(DynptrSlot { ref_id: Some(_), .. })) => Ok(()),
                _ => Err(unacquired.into()),
            }
        }
        Ok(Place::Untouched) => Err(unacquired.into()),
        Err(cause) => Err(followed(&cause, &unacquired)),
    }
}

/// A dynptr is given back: its slots are free, its slices are gone.
///
/// Linux: `unmark_stack_slots_dynptr`.
pub(crate) fn unmark_dynptr(cx: &mut StepCx<'_, '_>, reg: Reg) -> Result<(), Reason> {
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied() else { return Ok(()) };
    let Place::At(frame, first) = slots_of(cx.state, &pointer, "dynptr", 2)? else {
        return Ok(());
    };
    let held = cx.state.frame(frame).stack.get(first).map(|slot| slot.held);
    let Some(Held::Dynptr(part)) = held else { return Ok(()) };
    let Some(ref_id) = part.ref_id else {
        invalidate(cx, frame, first);
        return Ok(());
    };
    release(cx, ref_id);
    let clones: Vec<SlotNo> = (0_u8..)
        .zip(cx.state.frame(frame).stack.slots())
        .filter_map(|(place, slot)| match slot.held {
            Held::Dynptr(DynptrSlot { part: DynptrPart::First, ref_id: Some(id), .. })
                if id == ref_id =>
            {
                Some(SlotNo(place))
            }
            _ => None,
        })
        .collect();
    for place in clones {
        invalidate(cx, frame, place);
    }
    Ok(())
}

/// Linux: `invalidate_dynptr`.
fn invalidate(cx: &mut StepCx<'_, '_>, frame: FrameNo, first: SlotNo) {
    let second = SlotNo(first.0.saturating_sub(1));
    for place in [first, second] {
        *cx.state.frame_mut(frame).stack.slot_mut(place) = Slot::default();
    }
    cx.mark_stack_written(frame, 1 << first.0 | 1 << second.0);
}

/// An object goes into a map: those pointers to it that stay valid are those protected by RCU.
pub(crate) fn hand_over(cx: &mut StepCx<'_, '_>, id: Id) -> bool {
    let in_rcu = btf::in_rcu_section(cx);
    if !cx.state.refs.release(id) {
        return false;
    }
    cx.state.for_each_value(|value| {
        let Value::Pointer(pointer) = value else { return Keep::Yes };
        if pointer.ref_id != Some(id) {
            return Keep::Yes;
        }
        let percpu = PtrFlags::ALLOC | PtrFlags::PERCPU;
        if in_rcu && pointer.flags.contains(percpu) {
            pointer.ref_id = None;
            pointer.flags.remove(PtrFlags::ALLOC);
            pointer.flags |= PtrFlags::RCU;
        } else {
            *value = Value::UNKNOWN;
        }
        Keep::Yes
    });
    true
}

/// The place of a kptr that is exchanged. Linux: `process_kptr_func`.
pub(crate) fn take_kptr(cx: &mut StepCx<'_, '_>, meta: &mut Meta, reg: Reg) -> Result<(), Reason> {
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied() else { return Ok(()) };
    if let Some(map) = pointer.map() {
        let facts = cx.env.map(map);
        if facts.btf.is_none() {
            return Err(CallError::KptrNoBtf { map: facts.name.clone() }.into());
        }
        meta.map = Some((map, None));
    }
    let Some(off) = pointer.constant_off() else {
        return Err(CallError::KptrVariable { reg }.into());
    };
    let record = fields::record_of(cx.env, &pointer);
    let has_kptr = record.as_ref().is_some_and(|record| {
        record.fields().iter().any(|field| matches!(field.kind, FieldKind::Pointer { .. }))
    });
    if !has_kptr {
        return Err(CallError::KptrMissing { reg }.into());
    }
    let at = u32::try_from(off).ok();
    let field = record.as_ref().zip(at).and_then(|(record, at)| record.at(at));
    let Some(FieldKind::Pointer { owner, to }) = field.map(|field| field.kind) else {
        return Err(CallError::KptrOffset { off }.into());
    };
    if !matches!(owner, PointerField::Owned | PointerField::PerCpu) {
        return Err(CallError::KptrNotReferenced { off }.into());
    }
    if let Some(map) = pointer.map() {
        let ty = fields::type_in_kernel(cx, map, to)?;
        meta.kptr = Some((owner, ty));
    } else if let PointerKind::Btf { ty } = pointer.kind {
        let ty = fields::type_in_kernel_of(cx, ty.btf, to)?;
        meta.kptr = Some((owner, ty));
    }
    Ok(())
}
