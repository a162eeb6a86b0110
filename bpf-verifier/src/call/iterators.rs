//! Open-coded iterators: objects on the stack that kernel functions advance.

use bpf_abi::kfunc::KfuncFlags;
use bpf_btf::TypeId;
use bpf_isa::{Reg, Size};

use crate::call::kfunc::Meta;
use crate::call::{KfuncError, objects, release};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::{btf, stack};
use crate::state::{
    BtfType, ByteKind, FrameNo, Held, IterSlot, IterState, PointerKind, PtrFlags, Slot, SlotNo,
    State, Value,
};
use crate::step::target;

/// Where an iterator is: the slot at its lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whose stack.
    pub(crate) frame: FrameNo,
    /// The slot.
    pub(crate) slot: SlotNo,
}

fn first_slot(state: &mut State, place: Place) -> Option<&mut IterSlot> {
    match &mut state.frame_mut(place.frame).stack.get_mut(place.slot)?.held {
        Held::Iter(iter) => Some(iter),
        Held::Nothing | Held::Value(_) | Held::Dynptr(_) | Held::Irq(_) => None,
    }
}

/// Whether what it yields is protected by RCU.
pub(crate) fn is_rcu(state: &State, place: Place) -> bool {
    let slot = state.frame(place.frame).stack.get(place.slot);
    matches!(slot.map(|slot| slot.held), Some(Held::Iter(iter)) if iter.rcu)
}

/// An iterator argument. Linux: `process_iter_arg`.
pub(crate) fn argument(
    cx: &mut StepCx<'_, '_>,
    meta: &mut Meta,
    reg: Reg,
    ty: TypeId,
) -> Result<(), Reason> {
    let arg = reg.number() - 1;
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied() else {
        return Err(KfuncError::IteratorPlace { arg }.into());
    };
    if !matches!(pointer.kind, PointerKind::Stack { .. }) {
        return Err(KfuncError::IteratorPlace { arg }.into());
    }
    let name = meta.types.name_of(ty).to_owned();
    let name = name.strip_prefix("bpf_iter_").unwrap_or(&name).to_owned();
    let size = meta.types.size_of(ty).unwrap_or(8);
    let count = u8::try_from(size / 8).unwrap_or(1).max(1);
    let found = objects::slots_of(cx.state, &pointer, "iter", count);
    let ty = BtfType { btf: btf::kernel(cx.env), id: ty };
    if meta.has(KfuncFlags::ITER_NEW) {
        let failed = || Reason::from(KfuncError::IteratorInUse { name: name.clone(), arg });
        match found {
            Err(cause) => {
                cx.tell(cause.refusal());
                return Err(failed());
            }
            Ok(objects::Place::At(frame, slot)) => {
                if slots(cx.state, Place { frame, slot }, count).any(has_iter) {
                    return Err(failed());
                }
            }
            Ok(objects::Place::Untouched) => {}
        }
        for off in (0..i32::from(count) * 8).step_by(8) {
            stack::write_unknown(cx, reg, off, Size::DW)?;
        }
        let place = objects::slots_of(cx.state, &pointer, "iter", count)?;
        if let objects::Place::At(frame, slot) = place {
            initialize(cx, meta, Place { frame, slot }, ty, count);
        }
        return Ok(());
    }
    let failed = || Reason::from(KfuncError::NoIterator { name: name.clone(), arg });
    let place = match found {
        Err(cause) => {
            cx.tell(cause.refusal());
            return Err(failed());
        }
        Ok(objects::Place::At(frame, slot)) => Place { frame, slot },
        Ok(objects::Place::Untouched) => return Err(failed()),
    };
    match is_initialized(cx.state, place, ty, count) {
        Initialized::Yes => {}
        Initialized::No => return Err(failed()),
        Initialized::Stale => {
            return Err(KfuncError::IteratorStale { function: meta.row.name }.into());
        }
    }
    for back in 0..count {
        let slot = SlotNo(place.slot.0 - back);
        cx.env.scratched.slot(slot);
        cx.mark_stack_read(place.frame, 1 << slot.0);
    }
    meta.iter = Some(place);
    meta.ref_id = first_slot(cx.state, place).and_then(|iter| iter.ref_id);
    if meta.has(KfuncFlags::ITER_DESTROY) {
        destroy(cx, place, count);
    }
    Ok(())
}

fn slots(state: &State, place: Place, count: u8) -> impl Iterator<Item = &Slot> {
    let stack = &state.frame(place.frame).stack;
    (0..count).filter_map(move |back| stack.get(SlotNo(place.slot.0.checked_sub(back)?)))
}

fn has_iter(slot: &Slot) -> bool {
    slot.kinds.contains(&ByteKind::Iter)
}

enum Initialized {
    Yes,
    No,
    Stale,
}

/// Linux: `is_iter_reg_valid_init`.
fn is_initialized(state: &State, place: Place, ty: BtfType, count: u8) -> Initialized {
    for (number, slot) in slots(state, place, count).enumerate() {
        let Held::Iter(iter) = slot.held else { return Initialized::No };
        if iter.untrusted {
            return Initialized::Stale;
        }
        let whole = slot.kinds.iter().all(|kind| *kind == ByteKind::Iter);
        if iter.ref_id.is_some() != (number == 0) || iter.ty != ty || !whole {
            return Initialized::No;
        }
    }
    Initialized::Yes
}

/// Linux: `mark_stack_slots_iter`.
fn initialize(cx: &mut StepCx<'_, '_>, meta: &Meta, place: Place, ty: BtfType, count: u8) {
    let ref_id = cx.acquire();
    let protected = meta.has(KfuncFlags::RCU_PROTECTED);
    let in_rcu = btf::in_rcu_section(cx);
    for back in 0..count {
        let slot = SlotNo(place.slot.0 - back);
        let iter = IterSlot {
            ty,
            state: IterState::Active,
            depth: 0,
            ref_id: (back == 0).then_some(ref_id),
            rcu: protected && in_rcu,
            untrusted: protected && !in_rcu,
        };
        let held = Held::Iter(iter);
        *cx.state.frame_mut(place.frame).stack.slot_mut(slot) =
            Slot { kinds: [ByteKind::Iter; 8], held };
        cx.mark_stack_written(place.frame, 1 << slot.0);
        cx.env.scratched.slot(slot);
    }
}

/// Linux: `unmark_stack_slots_iter`.
fn destroy(cx: &mut StepCx<'_, '_>, place: Place, count: u8) {
    if let Some(id) = first_slot(cx.state, place).and_then(|iter| iter.ref_id) {
        release(cx, id);
    }
    for back in 0..count {
        let slot = SlotNo(place.slot.0 - back);
        *cx.state.frame_mut(place.frame).stack.slot_mut(slot) = Slot::default();
        cx.mark_stack_written(place.frame, 1 << slot.0);
        cx.env.scratched.slot(slot);
    }
}

/// There is another element, on a path of its own; on this one there is none.
///
/// Linux: `process_iter_next_call`.
pub(crate) fn advance(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let Some(place) = meta.iter else { return Ok(()) };
    let Some(iter) = first_slot(cx.state, place).copied() else { return Ok(()) };
    if iter.state == IterState::Active {
        let next = target(cx, 0);
        let branch = cx.push_round(next)?;
        if let Some(iter) = first_slot(branch, place) {
            iter.depth += 1;
        }
        if let Some(Value::Pointer(pointer)) = branch.reg_mut(Reg::R0) {
            pointer.flags.remove(PtrFlags::MAYBE_NULL);
        }
    }
    if let Some(iter) = first_slot(cx.state, place) {
        iter.state = IterState::Drained;
    }
    cx.set(Reg::R0, Value::constant(0));
    Ok(())
}
