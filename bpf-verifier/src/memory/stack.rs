//! Reads and writes of stacks, at fixed and at variable offsets.
//!
//! A slot remembers a whole spilled register, or the low bytes of one; anything finer is a kind
//! for each byte. Writes at unknown places forget what was known of all the places they may hit.

use bpf_abi::limits::MAX_STACK;
use bpf_isa::{Operand, Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::bounds::MAX_VARIABLE;
use crate::memory::{Access, MemoryError, What};
use crate::state::{
    ByteKind, DynptrPart, DynptrSlot, FrameNo, Held, Keep, Number, Pointer, PointerKind, PtrFlags,
    Slot, SlotNo, State, Value,
};

/// Whether memory is read or written, for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Read.
    Read,
    /// Written.
    Write,
}

impl Way {
    const fn text(self) -> &'static str {
        match self {
            Self::Read => " read from",
            Self::Write => " write to",
        }
    }
}

/// An access of an instruction to a stack, `off` bytes from its upper end besides the pointer's
/// variable part.
pub(crate) fn access(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let way = if access.what.writes() { Way::Write } else { Way::Read };
    let size = i64::from(access.size.bytes());
    check_bounds(cx, pointer, access.base, off, size, way)?;
    let fixed = fixed_off(pointer, off);
    match (access.what, fixed) {
        (What::Load(into, _), Some(off)) => read_fixed(cx, pointer, off, access.size, Some(into)),
        (What::Read, Some(off)) => read_fixed(cx, pointer, off, access.size, None),
        (What::Load(into, _), None) => read_variable(cx, pointer, access, off, into),
        (What::Read, None) => Err(MemoryError::StackHelperVariable {
            var: pointer.delta.bits,
            off,
            size: access.size.bytes(),
        }
        .into()),
        (What::Store(_) | What::Write, Some(off)) => write_fixed(cx, pointer, off, access),
        (What::Store(_) | What::Write, None) => write_variable(cx, pointer, off, access),
    }
}

/// The frame a stack pointer points into.
fn frame_of(pointer: &Pointer) -> FrameNo {
    pointer.stack_frame().unwrap_or_default()
}

fn fixed_off(pointer: &Pointer, off: i64) -> Option<i64> {
    let delta = pointer.delta.const_value()?;
    Some(off.wrapping_add(delta.cast_signed()))
}

fn slot_at(off: i64) -> Option<SlotNo> {
    SlotNo::at(i32::try_from(off).ok()?)
}

/// The index of the byte at `off` in its slot.
fn byte_at(off: i64) -> usize {
    usize::try_from((-off - 1).rem_euclid(8)).unwrap_or(0)
}

/// Checks that all bytes an access may touch are those of a stack, and makes it reach there.
///
/// Linux: `check_stack_access_within_bounds`.
pub(crate) fn check_bounds(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    way: Way,
) -> Result<(), Reason> {
    let delta = &pointer.delta;
    let text = way.text();
    let (least, end) = match delta.const_value() {
        Some(value) => {
            let least = off.wrapping_add(value.cast_signed());
            (least, least.wrapping_add(size))
        }
        None => {
            if delta.smax() >= MAX_VARIABLE || delta.smin() <= -MAX_VARIABLE {
                return Err(MemoryError::StackUnbounded { way: text, reg }.into());
            }
            (delta.smin() + off, delta.smax() + off + size)
        }
    };
    let outside = !(-i64::from(MAX_STACK)..=-1).contains(&least);
    let above = end > 0 || size < 0;
    if outside || above {
        let var = delta.bits;
        return Err(match (delta.is_const(), outside) {
            (true, true) => MemoryError::StackOutside { way: text, reg, off: least, size },
            (true, false) => MemoryError::StackAbove { way: text, reg, off: least, size },
            (false, true) => MemoryError::StackVariableOutside { way: text, reg, var, off, size },
            (false, false) => MemoryError::StackVariableAbove { way: text, reg, var, off, size },
        }
        .into());
    }
    grow(cx, frame_of(pointer), least);
    Ok(())
}

/// Linux: `grow_stack_state`.
fn grow(cx: &mut StepCx<'_, '_>, frame: FrameNo, least: i64) {
    let frame = cx.state.frame_mut(frame);
    let bytes = usize::try_from(-least).unwrap_or(0);
    frame.stack.grow(bytes);
    let subprog = frame.subprog;
    cx.env.note_stack_depth(subprog, i32::try_from(least).unwrap_or(0));
}

/// A number that is copied gets an identity, so that the copies stay linked.
///
/// Linux: `assign_scalar_id_before_mov`.
pub(crate) fn link_for_copy(cx: &mut StepCx<'_, '_>, number: &mut Number) {
    if number.link.is_some_and(|link| link.delta.is_some()) {
        number.link = None;
    }
    if number.link.is_none() && !number.set.is_const() {
        number.link = Some(crate::state::Link { id: cx.fresh_id(), delta: None });
    }
}

/// How many bits the number may take. Linux: `get_reg_width`.
pub(crate) fn width_of(value: &Value) -> u32 {
    let set = crate::memory::variable_part(value);
    u64::BITS - set.umax().leading_zeros()
}

/// Linux: `check_stack_read_fixed_off`.
fn read_fixed(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    off: i64,
    size: Size,
    into: Option<Reg>,
) -> Result<(), Reason> {
    let frame = frame_of(pointer);
    let place = slot_at(off).ok_or_else(|| nothing_there(off, 0, size))?;
    cx.env.scratched.slot(place);
    keep_fastcall(cx, frame, off);
    cx.mark_stack_read(frame, 1 << place.0);
    let slot = *cx.state.frame_mut(frame).stack.slot_mut(place);
    let Some(&held) = slot.spilled() else {
        check_readable(&slot, off, size)?;
        if let Some(into) = into {
            load_bytes(cx, frame, off, off + i64::from(size.bytes()), into);
        }
        return Ok(());
    };
    let spilled = slot.kinds.iter().rev().take_while(|kind| **kind == ByteKind::Spill).count();
    if size != Size::DW || spilled != 8 {
        let Value::Scalar(_) = held else {
            return Err(MemoryError::FillSize.into());
        };
        return match into {
            Some(into) => fill_part(cx, Fill { frame, place, slot, off, size, spilled }, into),
            None => Ok(()),
        };
    }
    if let Some(into) = into {
        cx.state.set(into, Some(held));
    }
    cx.record_stack(frame, place);
    Ok(())
}

/// A load of some bytes of a slot that holds a number.
struct Fill {
    frame: FrameNo,
    place: SlotNo,
    slot: Slot,
    off: i64,
    size: Size,
    spilled: usize,
}

/// A load that is narrower than a slot, or of a slot that holds less than a register.
fn fill_part(cx: &mut StepCx<'_, '_>, fill: Fill, into: Reg) -> Result<(), Reason> {
    let Fill { frame, place, slot, off, size, spilled } = fill;
    let Some(&Value::Scalar(number)) = slot.spilled() else { return Ok(()) };
    let bytes = usize::try_from(size.bytes()).unwrap_or(8);
    if bytes <= spilled && off % 8 == 0 {
        let fits = width_of(&Value::Scalar(number));
        let mut copy = number;
        if fits > size.bits() {
            copy.link = None;
        }
        cx.state.set(into, Some(Value::Scalar(copy)));
        cx.record_stack(frame, place);
        return Ok(());
    }
    let (mut spills, mut zeros) = (0, 0);
    for at in 0..i64::from(size.bytes()) {
        match slot.kinds[byte_at(off + at)] {
            ByteKind::Spill => spills += 1,
            ByteKind::Zero => zeros += 1,
            ByteKind::Misc | ByteKind::Invalid => {}
            ByteKind::Dynptr | ByteKind::Iter | ByteKind::IrqFlag => {
                return Err(nothing_there(off, at, size).into());
            }
        }
    }
    if spills == bytes && number.set.is(0) {
        cx.state.set(into, Some(Value::constant(0)));
        cx.record_stack(frame, place);
    } else if zeros == bytes {
        cx.state.set(into, Some(Value::constant(0)));
    } else {
        cx.state.set(into, Some(Value::UNKNOWN));
    }
    Ok(())
}

const fn nothing_there(off: i64, at: i64, size: Size) -> MemoryError {
    MemoryError::StackUnread { off, at, size: size.bytes() }
}

/// Whether a load may read these bytes. Privileged programs may read what was never written.
fn check_readable(slot: &Slot, off: i64, size: Size) -> Result<(), MemoryError> {
    for at in 0..i64::from(size.bytes()) {
        match slot.kinds[byte_at(off + at)] {
            ByteKind::Misc | ByteKind::Zero | ByteKind::Invalid => {}
            ByteKind::Spill | ByteKind::Dynptr | ByteKind::Iter | ByteKind::IrqFlag => {
                return Err(nothing_there(off, at, size));
            }
        }
    }
    Ok(())
}

/// A register receives bytes of a stack: zero if all are, else any number.
///
/// Linux: `mark_reg_stack_read`.
fn load_bytes(cx: &mut StepCx<'_, '_>, frame: FrameNo, from: i64, to: i64, into: Reg) {
    let mut zero = true;
    for off in from..to {
        let Some(place) = slot_at(off) else { break };
        cx.env.scratched.slot(place);
        let slot = cx.state.frame(frame).stack.get(place).copied().unwrap_or_default();
        if slot.kinds[byte_at(off)] != ByteKind::Zero {
            zero = false;
            break;
        }
    }
    cx.state.set(into, Some(if zero { Value::constant(0) } else { Value::UNKNOWN }));
}

/// Linux: `check_stack_read_var_off`.
fn read_variable(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
    into: Reg,
) -> Result<(), Reason> {
    let size = i64::from(access.size.bytes());
    check_range(cx, pointer, access.base, off, size, Range::read(false))?;
    let (least, most) = (pointer.delta.smin() + off, pointer.delta.smax() + off);
    load_bytes(cx, frame_of(pointer), least, most + size, into);
    keep_fastcall(cx, frame_of(pointer), least);
    Ok(())
}

/// How a helper, or a load at a variable offset, uses a range of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Whether it may have no bytes.
    pub(crate) zero_allowed: bool,
    /// Whether it is read or written.
    pub(crate) way: Way,
    /// Whether what is in it before does not matter. Linux: `raw_mode`.
    pub(crate) raw: bool,
}

impl Range {
    /// Bytes that are read.
    pub(crate) const fn read(zero_allowed: bool) -> Self {
        Self { zero_allowed, way: Way::Read, raw: false }
    }
}

/// Checks a range of a stack that is handed to a helper, or read at a variable offset.
///
/// Returns whether the helper's writing is still to be done by the caller, byte by byte: so
/// with a raw range at a fixed offset.
///
/// Linux: `check_stack_range_initialized`.
pub(crate) fn check_range(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    reg: Reg,
    off: i64,
    size: i64,
    range: Range,
) -> Result<bool, Reason> {
    if size == 0 && !range.zero_allowed {
        return Err(MemoryError::ZeroSizedRead.into());
    }
    check_bounds(cx, pointer, reg, off, size, range.way)?;
    let frame = frame_of(pointer);
    let fixed = fixed_off(pointer, off);
    let (least, most) = match fixed {
        Some(at) => (at, at),
        None => (pointer.delta.smin() + off, pointer.delta.smax() + off),
    };
    if range.raw && fixed.is_some() {
        for at in least..most + size {
            let slot = slot_at(at).and_then(|place| cx.state.frame(frame).stack.get(place));
            if slot.is_some_and(|slot| slot.kinds[byte_at(at)] == ByteKind::Dynptr) {
                return Err(MemoryError::DynptrOverwritten { off: at }.into());
            }
        }
        return Ok(true);
    }
    let clobber = range.way == Way::Write;
    for at in least..most + size {
        let Some(place) = slot_at(at) else { continue };
        let slot = cx.state.frame_mut(frame).stack.slot_mut(place);
        let kind = slot.kinds[byte_at(at)];
        match kind {
            ByteKind::Misc => {}
            ByteKind::Zero | ByteKind::Invalid => {
                if clobber {
                    slot.kinds[byte_at(at)] = ByteKind::Misc;
                }
            }
            _ if slot.is_spill() && matches!(slot.held, Held::Value(_)) => {
                if clobber {
                    slot.held = Held::Value(Value::UNKNOWN);
                    slot.kinds.iter_mut().for_each(scrub);
                }
            }
            ByteKind::Spill | ByteKind::Dynptr | ByteKind::Iter | ByteKind::IrqFlag => {
                let at = at - least;
                return Err(match fixed {
                    Some(off) => MemoryError::StackUninit { reg, off, at, size },
                    None => {
                        let var = pointer.delta.bits;
                        MemoryError::StackUninitVariable { reg, var, at, size }
                    }
                }
                .into());
            }
        }
        cx.mark_stack_read(frame, 1 << place.0);
    }
    Ok(false)
}

/// What was written is no register any more, but still written. Linux: `scrub_spilled_slot`.
fn scrub(kind: &mut ByteKind) {
    if *kind != ByteKind::Invalid {
        *kind = ByteKind::Misc;
    }
}

/// What is stored.
fn stored(cx: &StepCx<'_, '_>, what: What) -> Option<Value> {
    match what {
        What::Store(Operand::Reg(reg)) => cx.state.reg(reg).copied(),
        What::Store(Operand::Imm(imm)) => {
            Some(Value::Scalar(Number::of(crate::scalar::Scalar::imm(imm))))
        }
        What::Load(..) | What::Read | What::Write => None,
    }
}

/// Linux: `check_stack_write_fixed_off`.
fn write_fixed(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    off: i64,
    access: &Access,
) -> Result<(), Reason> {
    let frame = frame_of(pointer);
    let size = access.size;
    let place = slot_at(off).ok_or_else(|| nothing_there(off, 0, size))?;
    if off % 8 == 0 && size == Size::DW {
        cx.mark_stack_written(frame, 1 << place.0);
    }
    destroy_dynptr(cx, frame, place)?;
    keep_fastcall(cx, frame, off);
    cx.env.scratched.slot(place);
    let value = stored(cx, access.what);
    match value {
        Some(Value::Scalar(number)) if off % 8 == 0 => {
            spill_number(cx, frame, place, access, number);
            cx.record_stack(frame, place);
        }
        Some(Value::Pointer(stored)) if is_spillable(&stored) => {
            if size != Size::DW {
                return Err(MemoryError::SpillSize.into());
            }
            if matches!(stored.kind, PointerKind::Stack { .. }) && frame != cx.state.depth() {
                return Err(MemoryError::SpillToCaller.into());
            }
            save(cx.state, frame, place, Value::Pointer(stored), size);
            cx.record_stack(frame, place);
        }
        Some(_) | None => write_bytes(cx, frame, off, access, value)?,
    }
    Ok(())
}

/// Whether the stack remembers a pointer for what it is. Linux: `is_spillable_regtype`.
const fn is_spillable(pointer: &Pointer) -> bool {
    !matches!(pointer.kind, PointerKind::TpBuffer | PointerKind::Dynptr { .. })
}

/// A number is spilled whole, or its low bytes are.
fn spill_number(
    cx: &mut StepCx<'_, '_>,
    frame: FrameNo,
    place: SlotNo,
    access: &Access,
    mut number: Number,
) {
    if let What::Store(Operand::Reg(reg)) = access.what {
        let fits = width_of(&Value::Scalar(number)) <= access.size.bits();
        if fits {
            link_for_copy(cx, &mut number);
            cx.state.set(reg, Some(Value::Scalar(number)));
        } else {
            number.link = None;
        }
    }
    save(cx.state, frame, place, Value::Scalar(number), access.size);
}

/// Linux: `save_register_state`.
fn save(state: &mut State, frame: FrameNo, place: SlotNo, value: Value, size: Size) {
    let slot = state.frame_mut(frame).stack.slot_mut(place);
    slot.held = Held::Value(value);
    let kept = 8 - usize::try_from(size.bytes()).unwrap_or(8);
    slot.kinds[kept..].fill(ByteKind::Spill);
    for kind in &mut slot.kinds[..kept] {
        if !matches!(kind, ByteKind::Zero | ByteKind::Invalid) {
            *kind = ByteKind::Misc;
        }
    }
}

/// Whether a slot holds something as a whole. Linux: `is_stack_slot_special`.
const fn is_special(slot: &Slot) -> bool {
    match slot.kinds[7] {
        ByteKind::Spill | ByteKind::Dynptr | ByteKind::Iter | ByteKind::IrqFlag => true,
        ByteKind::Invalid | ByteKind::Misc | ByteKind::Zero => false,
    }
}

/// A write that is no spill: bytes of a number that do not begin a slot, or unknown ones.
fn write_bytes(
    cx: &mut StepCx<'_, '_>,
    frame: FrameNo,
    off: i64,
    access: &Access,
    value: Option<Value>,
) -> Result<(), Reason> {
    let Some(place) = slot_at(off) else { return Ok(()) };
    let slot = cx.state.frame_mut(frame).stack.slot_mut(place);
    if is_special(slot) {
        slot.kinds.iter_mut().for_each(scrub);
    }
    slot.held = Held::Nothing;
    let kind = if value.is_some_and(|value| value.is_null()) {
        // That these bytes are zero holds only as long as the register's value is exact.
        if let What::Store(Operand::Reg(reg)) = access.what {
            cx.mark_precise(reg)?;
        }
        ByteKind::Zero
    } else {
        ByteKind::Misc
    };
    let slot = cx.state.frame_mut(frame).stack.slot_mut(place);
    for at in 0..i64::from(access.size.bytes()) {
        slot.kinds[byte_at(off + at)] = kind;
    }
    Ok(())
}

/// Linux: `check_stack_write_var_off`.
fn write_variable(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    off: i64,
    access: &Access,
) -> Result<(), Reason> {
    let frame = frame_of(pointer);
    let least = pointer.delta.smin() + off;
    let end = pointer.delta.smax() + off + i64::from(access.size.bytes());
    let zero = stored(cx, access.what).is_some_and(|value| value.is_null());
    for at in least..end {
        if let Some(place) = slot_at(at) {
            destroy_dynptr(cx, frame, place)?;
        }
    }
    keep_fastcall(cx, frame, least);
    let mut zero_used = false;
    for at in least..end {
        let Some(place) = slot_at(at) else { continue };
        cx.env.scratched.slot(place);
        let slot = cx.state.frame_mut(frame).stack.slot_mut(place);
        let kind = &mut slot.kinds[byte_at(at)];
        if zero && *kind == ByteKind::Spill && spilled_zero(slot) {
            zero_used = true;
            continue;
        }
        if slot.is_spill() {
            slot.kinds.iter_mut().for_each(scrub);
        }
        let kind = &mut slot.kinds[byte_at(at)];
        *kind = if zero && *kind == ByteKind::Zero {
            zero_used = true;
            ByteKind::Zero
        } else {
            ByteKind::Misc
        };
        slot.held = Held::Nothing;
    }
    if zero_used && let What::Store(Operand::Reg(reg)) = access.what {
        cx.mark_precise(reg)?;
    }
    Ok(())
}

fn spilled_zero(slot: &Slot) -> bool {
    slot.spilled_scalar().is_some_and(|number| number.set.is(0))
}

/// A write to a slot of a dynptr ends the dynptr, and with it the slices of it.
///
/// Linux: `destroy_if_dynptr_stack_slot`.
pub(crate) fn destroy_dynptr(
    cx: &mut StepCx<'_, '_>,
    frame: FrameNo,
    place: SlotNo,
) -> Result<(), Reason> {
    let stack = &cx.state.frame(frame).stack;
    let Some(Slot { held: Held::Dynptr(part), .. }) = stack.get(place).copied() else {
        return Ok(());
    };
    let first = match part.part {
        DynptrPart::First => place,
        DynptrPart::Second => SlotNo(place.0 + 1),
    };
    let DynptrSlot { kind, id, .. } = part;
    if kind.is_refcounted() {
        return Err(MemoryError::ReferencedDynptr.into());
    }
    let second = SlotNo(first.0.saturating_sub(1));
    for place in [first, second] {
        cx.env.scratched.slot(place);
        *cx.state.frame_mut(frame).stack.slot_mut(place) = Slot::default();
    }
    if id.is_some() {
        forget_slices(cx.state, id);
    }
    cx.mark_stack_written(frame, 1 << first.0 | 1 << second.0);
    Ok(())
}

/// Slices of a dynptr that is no more are mere numbers.
pub(crate) fn forget_slices(state: &mut State, id: Option<crate::state::Id>) {
    state.for_each_value(|value| {
        if let Value::Pointer(pointer) = value
            && let PointerKind::Mem { dynptr, .. } = pointer.kind
            && (pointer.flags | PtrFlags::MAYBE_NULL) == PtrFlags::MAYBE_NULL
            && dynptr == id
        {
            *value = Value::UNKNOWN;
        }
        Keep::Yes
    });
}

/// A helper or kernel function wrote bytes of a stack that nothing is known of.
///
/// Linux: `check_mem_access` of single bytes without a value.
pub(crate) fn write_unknown(
    cx: &mut StepCx<'_, '_>,
    reg: Reg,
    off: i32,
    size: Size,
) -> Result<(), Reason> {
    let access = Access { base: reg, off, size, what: What::Write, aligned: false };
    crate::memory::access(cx, access)
}

/// Spills around a fastcall may be removed only if nothing else touches where they go.
///
/// Linux: `check_fastcall_stack_contract`.
fn keep_fastcall(cx: &mut StepCx<'_, '_>, frame: FrameNo, off: i64) {
    let subprog = cx.state.frame(frame).subprog;
    let lowest = i64::from(cx.env.subprog(subprog).fastcall_stack_off);
    if lowest <= off || cx.env.note(cx.pc).fastcall_pattern {
        return;
    }
    let facts = cx.env.subprog_mut(subprog);
    facts.fastcall_stack_off = i32::from(i16::MIN);
    let (start, end) = (facts.start.index(), facts.end.index());
    for note in cx.env.notes.iter_mut().take(end).skip(start) {
        note.fastcall_spills = 0;
        note.fastcall_pattern = false;
    }
}
