//! Is an old state at least as general as the current one?
//!
//! States are sets of concrete states. If every concrete state of the current one is in the old
//! one, and the old one was found safe, so is the current: its path needs no further walk.
//! Inclusion is decided piecewise. Registers and slots that no later instruction reads do not
//! matter, and of a scalar whose exact value no conclusion was drawn from (it is not *precise*),
//! only that it is a scalar. Identities need not be the same, but must correspond one to one,
//! since what they connect in the old state they must connect in the current.
//!
//! Linux: `states_equal`.

use crate::env::Env;
use crate::state::{
    ByteKind, Frame, Held, IdMap, IterState, LockPlace, Number, Pointer, PointerKind, Refs, Slot,
    State, Value,
};
use crate::walk::kept::{KeptState, frame_pc};

/// How alike two states must be.
///
/// Linux: `enum exact_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exactness {
    /// The old one is known to be safe: what it does not depend on may differ.
    Covered,
    /// The old one may turn out to depend on more: ranges must be included everywhere.
    RangeWithin,
    /// They must be the same.
    Same,
}

/// Whether `old` covers `cur`, which stands at the same instruction.
///
/// Linux: `states_equal`.
pub(super) fn subsumes(
    env: &Env<'_>,
    ids: &mut IdMap,
    old: &KeptState,
    cur: &State,
    exact: Exactness,
) -> bool {
    if old.state.frames().len() != cur.frames().len() {
        return false;
    }
    ids.reset(env.ids.last());
    if old.state.in_sleepable != cur.in_sleepable || !refs_agree(&old.state.refs, &cur.refs, ids) {
        return false;
    }
    old.state.frames().iter().zip(cur.frames()).all(|(old_frame, cur_frame)| {
        let live = env.note(frame_pc(&old.state, old.pc, old_frame.number)).live_regs;
        old_frame.callsite == cur_frame.callsite
            && frame_subsumes(old_frame, cur_frame, live, ids, exact)
    })
}

/// Linux: `refsafe`.
fn refs_agree(old: &Refs, cur: &Refs, ids: &mut IdMap) -> bool {
    let places_agree = |a: Option<LockPlace>, b: Option<LockPlace>| a == b;
    old.held().len() == cur.held().len()
        && old.active_locks == cur.active_locks
        && old.preempt_locks == cur.preempt_locks
        && old.rcu_locks == cur.rcu_locks
        && ids.correspond(old.irq_id, cur.irq_id)
        && ids.correspond(old.lock_id, cur.lock_id)
        && places_agree(old.lock_place, cur.lock_place)
        && old
            .held()
            .iter()
            .zip(cur.held())
            .all(|(old, cur)| ids.correspond(old.id, cur.id) && old.kind == cur.kind)
}

/// Linux: `func_states_equal`.
fn frame_subsumes(old: &Frame, cur: &Frame, live: u16, ids: &mut IdMap, exact: Exactness) -> bool {
    if old.callback_depth > cur.callback_depth {
        return false;
    }
    let regs = old.regs().iter().zip(cur.regs()).enumerate();
    for (number, (old, cur)) in regs {
        if live & (1 << number) != 0 && !place_subsumes(old.as_ref(), cur.as_ref(), ids, exact) {
            return false;
        }
    }
    stack_subsumes(old, cur, ids, exact)
}

/// Linux: `regsafe`.
fn place_subsumes(
    old: Option<&Value>,
    cur: Option<&Value>,
    ids: &mut IdMap,
    exact: Exactness,
) -> bool {
    match (old, cur) {
        (None, None) => true,
        (None, Some(_)) => exact == Exactness::Covered,
        (Some(_), None) => false,
        (Some(old), Some(cur)) => value_subsumes(old, cur, ids, exact),
    }
}

fn value_subsumes(old: &Value, cur: &Value, ids: &mut IdMap, exact: Exactness) -> bool {
    match (old, cur) {
        (Value::Scalar(old), Value::Scalar(cur)) => match exact {
            Exactness::Same => same_number(old, cur, ids),
            Exactness::Covered if !old.precise => true,
            Exactness::Covered | Exactness::RangeWithin => {
                old.set.includes(&cur.set) && links_correspond(old, cur, ids)
            }
        },
        (Value::Pointer(old), Value::Pointer(cur)) => match exact {
            Exactness::Same => same_pointer(old, cur, ids),
            Exactness::Covered | Exactness::RangeWithin => pointer_subsumes(old, cur, ids),
        },
        (Value::Scalar(_), Value::Pointer(_)) | (Value::Pointer(_), Value::Scalar(_)) => false,
    }
}

/// Whether what the old state knew of a scalar's relation to others holds in the current one. If
/// it knew nothing, any relation is as good.
fn links_correspond(old: &Number, cur: &Number, ids: &mut IdMap) -> bool {
    match old.link {
        None => true,
        Some(link) => old.delta() == cur.delta() && ids.scalars_correspond(link, cur.link),
    }
}

/// Linux: `regs_exact`, of two scalars.
fn same_number(old: &Number, cur: &Number, ids: &mut IdMap) -> bool {
    old.delta() == cur.delta() && old.set == cur.set && ids.links_correspond(old.link, cur.link)
}

/// Linux: `regs_exact`, of two pointers.
fn same_pointer(old: &Pointer, cur: &Pointer, ids: &mut IdMap) -> bool {
    old.kind == cur.kind
        && old.flags == cur.flags
        && old.off == cur.off
        && old.delta == cur.delta
        && ids.correspond(old.id, cur.id)
        && ids.correspond(old.ref_id, cur.ref_id)
}

fn pointer_subsumes(old: &Pointer, cur: &Pointer, ids: &mut IdMap) -> bool {
    match (old.kind, cur.kind) {
        (PointerKind::Arena, PointerKind::Arena) => old.flags == cur.flags,
        (PointerKind::Packet { range: had }, PointerKind::Packet { range: has })
        | (PointerKind::PacketMeta { range: had }, PointerKind::PacketMeta { range: has }) => {
            let reaches = if had.0 < 0 || has.0 < 0 { had.0 == has.0 } else { had.0 <= has.0 };
            old.flags == cur.flags
                && reaches
                && old.off == cur.off
                && ids.correspond(old.id, cur.id)
                && old.delta.includes(&cur.delta)
        }
        (
            PointerKind::MapKey { .. }
            | PointerKind::MapValue { .. }
            | PointerKind::Mem { .. }
            | PointerKind::Buf
            | PointerKind::TpBuffer,
            _,
        ) => {
            old.kind == cur.kind
                && old.flags == cur.flags
                && old.off == cur.off
                && old.delta.includes(&cur.delta)
                && ids.correspond(old.id, cur.id)
                && ids.correspond(old.ref_id, cur.ref_id)
        }
        _ => same_pointer(old, cur, ids),
    }
}

/// Linux: `stacksafe`.
fn stack_subsumes(old: &Frame, cur: &Frame, ids: &mut IdMap, exact: Exactness) -> bool {
    let cur = cur.stack.slots();
    for (place, old) in old.stack.slots().iter().enumerate() {
        if !slot_subsumes(old, cur.get(place), ids, exact) {
            return false;
        }
    }
    true
}

/// What a load of a whole slot yields, if that is a scalar: what was spilled, or anything if
/// only bytes were written.
///
/// Linux: `scalar_reg_for_stack`.
fn whole_scalar(slot: &Slot) -> Option<Number> {
    if slot.is_whole_scalar() {
        return slot.spilled_scalar().copied();
    }
    let bytes = slot.kinds.iter().all(|kind| matches!(kind, ByteKind::Misc | ByteKind::Invalid));
    bytes.then_some(Number::UNKNOWN)
}

fn slot_subsumes(old: &Slot, cur: Option<&Slot>, ids: &mut IdMap, exact: Exactness) -> bool {
    for (index, old_kind) in old.kinds.iter().enumerate() {
        if exact != Exactness::Covered && cur.map(|cur| cur.kinds[index]) != Some(*old_kind) {
            return false;
        }
        if matches!(old_kind, ByteKind::Invalid | ByteKind::Misc) {
            continue;
        }
        let Some(cur) = cur else { return false };
        if let (Some(old), Some(cur)) = (whole_scalar(old), whole_scalar(cur)) {
            return value_subsumes(&Value::Scalar(old), &Value::Scalar(cur), ids, exact);
        }
        if *old_kind != cur.kinds[index] {
            return false;
        }
        if index == 7 {
            return held_subsumes(old, cur, ids, exact);
        }
    }
    true
}

/// Two slots whose last bytes are of the same kind.
fn held_subsumes(old: &Slot, cur: &Slot, ids: &mut IdMap, exact: Exactness) -> bool {
    match old.kinds[7] {
        ByteKind::Spill => place_subsumes(old.spilled(), cur.spilled(), ids, exact),
        ByteKind::Dynptr => match (old.held, cur.held) {
            (Held::Dynptr(old), Held::Dynptr(cur)) => {
                old.kind == cur.kind
                    && old.part == cur.part
                    && ids.correspond(old.ref_id, cur.ref_id)
            }
            _ => false,
        },
        ByteKind::Iter => match (old.held, cur.held) {
            (Held::Iter(old), Held::Iter(cur)) => {
                old.ty == cur.ty && old.state == cur.state && ids.correspond(old.ref_id, cur.ref_id)
            }
            _ => false,
        },
        ByteKind::IrqFlag => match (old.held, cur.held) {
            (Held::Irq(old), Held::Irq(cur)) => {
                ids.correspond(Some(old.ref_id), Some(cur.ref_id)) && old.class == cur.class
            }
            _ => false,
        },
        ByteKind::Zero | ByteKind::Misc | ByteKind::Invalid => true,
    }
}

/// Whether two states are alike enough to be compared in earnest when looking for a loop: the
/// registers of the innermost frame are the same, identities included.
///
/// Linux: `states_maybe_looping`.
pub(super) fn maybe_looping(old: &State, cur: &State) -> bool {
    let same = |pair: (&Option<Value>, &Option<Value>)| match pair {
        (None, None) => true,
        (Some(Value::Scalar(old)), Some(Value::Scalar(cur))) => {
            old.set == cur.set && old.link == cur.link
        }
        (Some(Value::Pointer(old)), Some(Value::Pointer(cur))) => old == cur,
        _ => false,
    };
    old.frames().len() == cur.frames().len()
        && old.cur().regs().iter().zip(cur.cur().regs()).all(same)
}

/// Whether an active iterator of the old state has been advanced since.
///
/// Linux: `iter_active_depths_differ`.
pub(super) fn iterators_advanced(old: &State, cur: &State) -> bool {
    old.frames().iter().zip(cur.frames()).any(|(old, cur)| {
        old.stack.slots().iter().zip(cur.stack.slots()).any(|(old, cur)| {
            match (old.held, cur.held) {
                (Held::Iter(old_iter), Held::Iter(cur_iter)) => {
                    old.kinds[0] == ByteKind::Iter
                        && old_iter.state == IterState::Active
                        && old_iter.depth != cur_iter.depth
                }
                _ => false,
            }
        })
    })
}

/// Makes scalars of `cur` that differ from those of `old`, and that no conclusion was drawn
/// from, hold anything, so that the next round of a loop finds the same state again.
///
/// Linux: `widen_imprecise_scalars`.
pub(super) fn widen(env: &Env<'_>, ids: &mut IdMap, old: &State, cur: &mut State) {
    ids.reset(env.ids.last());
    for (old, cur) in old.frames().iter().zip(cur.frames_mut()).rev() {
        for (old, cur) in old.regs().iter().zip(cur.regs_mut()) {
            if let (Some(old), Some(cur)) = (old, cur) {
                widen_value(old, cur, ids);
            }
        }
        for (old, cur) in old.stack.slots().iter().zip(cur.stack.slots_mut()) {
            if let (Some(old), Some(cur)) = (old.spilled(), cur.spilled_mut()) {
                widen_value(old, cur, ids);
            }
        }
    }
}

/// Linux: `maybe_widen_reg`.
fn widen_value(old: &Value, cur: &mut Value, ids: &mut IdMap) {
    if let (Value::Scalar(old), Value::Scalar(cur)) = (old, cur)
        && !old.precise
        && !cur.precise
        && !same_number(old, cur, ids)
    {
        *cur = Number::UNKNOWN;
    }
}
