//! Spin locks, and timers.

use bpf_btf::record::NamedField;
use bpf_isa::{Reg, Size};

use crate::call::helper::{self, id};
use crate::call::kfunc::Meta;
use crate::call::objects::{Place, slots_of};
use crate::call::{CallError, KfuncError, fields, graph};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::stack::write_unknown;
use crate::state::{
    ByteKind, Held, IrqClass, IrqSlot, Keep, LockPlace, Pointer, PointerKind, PtrFlags, RefKind,
    Slot, State, Value,
};

/// Which pair of functions takes and releases a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockClass {
    /// `bpf_spin_lock`.
    Spin,
    /// `bpf_res_spin_lock`.
    Resilient,
    /// `bpf_res_spin_lock_irqsave`.
    ResilientIrq,
}

impl LockClass {
    const fn unlock(self) -> &'static str {
        match self {
            Self::Spin => "bpf_spin_unlock",
            Self::Resilient | Self::ResilientIrq => "bpf_res_spin_unlock",
        }
    }

    const fn field(self) -> NamedField {
        match self {
            Self::Spin => NamedField::SpinLock,
            Self::Resilient | Self::ResilientIrq => NamedField::ResSpinLock,
        }
    }

    const fn kind(self, place: LockPlace) -> RefKind {
        match self {
            Self::Spin => RefKind::Lock { place },
            Self::Resilient => RefKind::ResilientLock { place },
            Self::ResilientIrq => RefKind::ResilientLockIrq { place },
        }
    }
}

/// What is done with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is taken.
    Lock,
    /// It is released.
    Unlock,
}

/// The lock argument of `bpf_spin_lock` or `bpf_spin_unlock`.
pub(crate) fn spin(cx: &mut StepCx<'_, '_>, meta: &helper::Meta, reg: Reg) -> Result<(), Reason> {
    let act = if meta.proto.id == id::SPIN_LOCK { Act::Lock } else { Act::Unlock };
    graph::check_may_lock(cx)?;
    process(cx, reg, LockClass::Spin, act)
}

/// Takes or releases a lock. Linux: `process_spin_lock`.
pub(crate) fn process(
    cx: &mut StepCx<'_, '_>,
    reg: Reg,
    class: LockClass,
    act: Act,
) -> Result<(), Reason> {
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied() else { return Ok(()) };
    let place = place(cx, reg, &pointer, class)?;
    let kind = class.kind(place);
    let locked = cx.state.refs.active_locks > 0;
    if act == Act::Lock {
        if locked && class == LockClass::Spin {
            let spin = |held: &crate::state::Reference| matches!(held.kind, RefKind::Lock { .. });
            if cx.state.refs.held().iter().any(spin) {
                return Err(CallError::TwoLocks.into());
            }
        } else if locked && holds_resilient(cx.state, place, pointer.id) {
            return Err(CallError::SameLock.into());
        }
        let pc = cx.pc;
        cx.state.refs.acquire_lock(kind, pointer.id, pc);
        return Ok(());
    }
    if !locked {
        return Err(CallError::UnlockWithout { what: class.unlock() }.into());
    }
    if cx.state.refs.find_lock(kind, pointer.id).is_none() {
        return Err(CallError::UnlockOther { what: class.unlock() }.into());
    }
    if cx.state.refs.lock_id != pointer.id || cx.state.refs.lock_place != Some(place) {
        return Err(CallError::UnlockOrder { what: class.unlock() }.into());
    }
    cx.state.refs.release_lock(kind, pointer.id);
    forget_borrowed(cx.state);
    Ok(())
}

fn holds_resilient(state: &State, place: LockPlace, id: Option<crate::state::Id>) -> bool {
    state.refs.find_lock(RefKind::ResilientLock { place }, id).is_some()
        || state.refs.find_lock(RefKind::ResilientLockIrq { place }, id).is_some()
}

/// Objects of lists and trees may be looked at only while the lock is held.
///
/// Linux: `invalidate_non_owning_refs`.
pub(crate) fn forget_borrowed(state: &mut State) {
    state.for_each_value(|value| {
        if let Value::Pointer(pointer) = value
            && pointer.flags.contains(PtrFlags::NON_OWN_REF)
        {
            *value = Value::UNKNOWN;
        }
        Keep::Yes
    });
}

/// What the lock is part of.
fn place(
    cx: &StepCx<'_, '_>,
    reg: Reg,
    pointer: &Pointer,
    class: LockClass,
) -> Result<LockPlace, Reason> {
    let what = class.field().type_name();
    let Some(delta) = pointer.delta.const_value() else {
        return Err(CallError::LockVariable { reg, place: what }.into());
    };
    let map = pointer.map().map(|map| cx.env.map(map));
    if let Some(map) = map
        && map.btf.is_none()
    {
        return Err(CallError::LockNoBtf { map: map.name.clone(), what }.into());
    }
    let record = fields::record_of(cx.env, pointer);
    let Some(at) = record.and_then(|record| record.offset_of(class.field())) else {
        let (kind, called) = map.map_or(("local", "kptr"), |map| ("map", map.name.as_str()));
        return Err(CallError::LockNone { kind, name: called.to_owned(), what }.into());
    };
    let off = delta.cast_signed().wrapping_add(i64::from(pointer.off));
    if off != i64::from(at) {
        return Err(CallError::LockOffset { off, what, at }.into());
    }
    Ok(match pointer.kind {
        PointerKind::Btf { ty } => LockPlace::Btf(ty.btf),
        _ => LockPlace::Map(pointer.map().unwrap_or(crate::state::MapNo(0))),
    })
}

/// The timer argument of a helper. Linux: `process_timer_func`.
pub(crate) fn timer(
    cx: &mut StepCx<'_, '_>,
    meta: &mut helper::Meta,
    reg: Reg,
) -> Result<(), Reason> {
    meta.map = Some(in_map(cx, reg, NamedField::Timer)?);
    Ok(())
}

/// The map that a timer, a work item or task work is in.
///
/// Linux: `check_map_field_pointer`.
pub(crate) fn in_map(
    cx: &StepCx<'_, '_>,
    reg: Reg,
    field: NamedField,
) -> Result<(crate::state::MapNo, Option<crate::state::Id>), Reason> {
    let what = field.type_name();
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg) else {
        return Err(CallError::TimerPlace { reg }.into());
    };
    let Some(off) = pointer.constant_off() else {
        return Err(CallError::TimerVariable { reg, what }.into());
    };
    let PointerKind::MapValue { map, uid } = pointer.kind else {
        return Err(CallError::TimerPlace { reg }.into());
    };
    let facts = cx.env.map(map);
    let name = &facts.name;
    if facts.btf.is_none() {
        return Err(CallError::TimerNoBtf { map: name.clone(), what }.into());
    }
    let record = fields::record_of_map(cx.env, map);
    let Some(at) = record.and_then(|record| record.offset_of(field)) else {
        return Err(CallError::TimerNone { map: name.clone(), what }.into());
    };
    if off != i64::from(at) {
        return Err(CallError::TimerOffset { off, what, at }.into());
    }
    Ok((map, uid))
}

/// Saved interrupt flags on the stack. Linux: `process_irq_flag`.
pub(crate) fn irq_flag(cx: &mut StepCx<'_, '_>, meta: &Meta, reg: Reg) -> Result<(), Reason> {
    let arg = reg.number() - 1;
    let pointer = match cx.state.reg(reg).copied() {
        Some(Value::Pointer(pointer)) if pointer.stack_frame().is_some() => pointer,
        _ => return Err(KfuncError::FlagsPlace { arg }.into()),
    };
    let name = meta.row.name;
    let class = if name.starts_with("bpf_local_irq") { IrqClass::Native } else { IrqClass::Lock };
    let save = name == "bpf_local_irq_save" || name == "bpf_res_spin_lock_irqsave";
    let found = slots_of(cx.state, &pointer, "irq_flag", 1);
    let slot = |cx: &StepCx<'_, '_>, place: &Place| match *place {
        Place::At(frame, slot) => cx.state.frame(frame).stack.get(slot).copied(),
        Place::Untouched => None,
    };
    if save {
        let failed = Reason::from(KfuncError::FlagsInUse { arg });
        let place = match found {
            Ok(place) => place,
            Err(cause) => {
                cx.tell(cause.refusal());
                return Err(failed);
            }
        };
        if slot(cx, &place).is_some_and(|slot| slot.kinds.contains(&ByteKind::IrqFlag)) {
            return Err(failed);
        }
        write_unknown(cx, reg, 0, Size::DW)?;
        let id = cx.fresh_id();
        let pc = cx.pc;
        cx.state.refs.acquire_irq(id, pc);
        if let Place::At(frame, at) = slots_of(cx.state, &pointer, "irq_flag", 1)? {
            let held = Held::Irq(IrqSlot { ref_id: id, class });
            *cx.state.frame_mut(frame).stack.slot_mut(at) =
                Slot { kinds: [ByteKind::IrqFlag; 8], held };
            cx.mark_stack_written(frame, 1 << at.0);
            cx.env.scratched.slot(at);
        }
        return Ok(());
    }
    let failed = Reason::from(KfuncError::NoFlags { arg });
    let place = match found {
        Ok(place) => place,
        Err(cause) => {
            cx.tell(cause.refusal());
            return Err(failed);
        }
    };
    let held = slot(cx, &place).map(|slot| slot.held);
    let (Place::At(frame, at), Some(Held::Irq(flag))) = (place, held) else {
        return Err(failed);
    };
    cx.env.scratched.slot(at);
    cx.mark_stack_read(frame, 1 << at.0);
    restore_irq(cx, flag, class)?;
    *cx.state.frame_mut(frame).stack.slot_mut(at) = Slot::default();
    cx.mark_stack_written(frame, 1 << at.0);
    Ok(())
}

/// Linux: `unmark_stack_slot_irq_flag`.
fn restore_irq(cx: &mut StepCx<'_, '_>, flag: IrqSlot, class: IrqClass) -> Result<(), Reason> {
    if flag.class != class {
        let name = |class| match class {
            IrqClass::Native => "native",
            IrqClass::Lock => "lock",
        };
        let (by, with) = (name(flag.class), name(class));
        return Err(KfuncError::OtherFlags { by, with }.into());
    }
    match cx.state.refs.release_irq(flag.ref_id) {
        Ok(_) => Ok(()),
        Err(expected) => {
            let id = expected.map_or(0, crate::state::Id::number);
            let held = cx.state.refs.held().iter().find(|held| held.id == expected);
            let at = held.map_or(0, |held| held.pc.0);
            Err(KfuncError::InterruptsOrder { id, at }.into())
        }
    }
}
