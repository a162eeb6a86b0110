//! What must be precise for a conclusion to hold.
//!
//! A conclusion (a branch decided, an access found in bounds) rests on the exact values of some
//! scalars. Reading the path backwards finds what they were computed from; every state kept on
//! the way gets these scalars marked as precise, so that later states are held to their exact
//! ranges there. Reading stops when nothing is wanted any more, or when all that is wanted is
//! already marked: then the same was concluded before, and everything earlier is marked too.
//!
//! Linux: `mark_chain_precision`.

use std::fmt::{self, Write as _};

use bpf_isa::{Insn, Pc, Reg};

use crate::env::Env;
use crate::error::Reason;
use crate::log::Show;
use crate::state::{Frame, FrameNo, SlotNo, State, SubprogId, Value};
use crate::walk::WalkError;
use crate::walk::backtrack::{Stuck, Wanted};
use crate::walk::history::Track;
use crate::walk::kept::{Kept, KeptId};

/// Where reading backwards begins: before the instruction at `pc`.
#[derive(Debug)]
pub(super) struct From<'a> {
    /// How the path came there.
    pub(super) track: &'a Track,
    /// The instruction.
    pub(super) pc: Pc,
    /// The innermost frame's number.
    pub(super) frame: FrameNo,
}

/// A place on the way, where reading backwards goes on before an instruction.
#[derive(Debug)]
struct Resting {
    /// The state kept last before it; `None` if it is on the path itself.
    at: Option<KeptId>,
    pc: Option<Pc>,
    /// How many steps of the record there are up to it.
    steps: usize,
    wanted: Wanted,
}

/// Marks what `wanted` was computed from in the states kept on the way to `from`; says whether
/// any mark is new.
///
/// What Linux forgets is read for itself afterwards, and not told of: what is told is Linux's.
///
/// Linux: `__mark_chain_precision`.
pub(super) fn mark(
    env: &mut Env<'_>,
    kept: &mut Kept,
    from: &From<'_>,
    wanted: Wanted,
) -> Result<bool, Reason> {
    let mut forgotten = Vec::new();
    let begin = Resting { at: None, pc: Some(from.pc), steps: from.track.steps.len(), wanted };
    let mut changed = follow(env, kept, from, begin, &mut forgotten)?;
    if forgotten.is_empty() {
        return Ok(changed);
    }
    let level = env.log.set_level(0);
    while let Some(place) = forgotten.pop() {
        match follow(env, kept, from, place, &mut forgotten) {
            Ok(new) => changed |= new,
            Err(error) => {
                env.log.set_level(level);
                return Err(error);
            }
        }
    }
    env.log.set_level(level);
    Ok(changed)
}

fn follow(
    env: &mut Env<'_>,
    kept: &mut Kept,
    from: &From<'_>,
    begin: Resting,
    forgotten: &mut Vec<Resting>,
) -> Result<bool, Reason> {
    let Resting { mut at, pc: mut last, mut steps, mut wanted } = begin;
    let mut changed = false;
    if wanted.is_empty() {
        return Ok(changed);
    }
    let mut next: Option<Pc> = None;
    let mut skip_first = true;
    loop {
        let (first, parent) = {
            let track = at.map_or(from.track, |id| &kept.get(id).track);
            (track.first, track.parent)
        };
        if env.log.shows_everything() {
            env.log.print(format_args!(
                "mark_precise: frame{}: last_idx {} first_idx {first} subseq_idx {} \n",
                wanted.frame.0,
                Index(last),
                Index(next),
            ));
        }
        let Some(mut pc) = last else {
            return mark_entry(kept, at, &wanted).map(|new| changed || new);
        };
        loop {
            let track = at.map_or(from.track, |id| &kept.get(id).track);
            if skip_first {
                skip_first = false;
            } else if env.insn(pc) != Some(Insn::SecondSlot) {
                print_step(env, &wanted, pc);
                match wanted.read_back(env, pc, next, track.step_at(pc, steps)) {
                    Ok(()) => {}
                    Err(Stuck::Untracked) => {
                        mark_all(env, kept, from);
                        return Ok(changed);
                    }
                    Err(Stuck::Bug(error)) => return Err(error.into()),
                }
                if let Some((frame, slot)) = wanted.forgotten.take() {
                    let mut wanted = Wanted::none(wanted.frame);
                    wanted.want_slot(frame, slot);
                    forgotten.push(Resting { at, pc: Some(pc), steps, wanted });
                }
            }
            if wanted.is_empty() {
                return Ok(changed);
            }
            next = Some(pc);
            match track.before(pc, steps) {
                None => break,
                Some((Some(before), left)) => (pc, steps) = (before, left),
                Some((None, _)) => return Err(WalkError::Bug { what: "backtracking idx" }.into()),
            }
        }
        let Some(parent) = parent else { break };
        changed |= mark_state(env, kept, parent, &mut wanted)?;
        if wanted.is_empty() {
            return Ok(changed);
        }
        next = Some(first);
        let track = &kept.get(parent).track;
        (last, steps, at) = (track.last, track.steps.len(), Some(parent));
    }
    mark_all(env, kept, from);
    Ok(changed)
}

/// Nothing came before: only a function's parameters may still be wanted.
fn mark_entry(kept: &mut Kept, at: Option<KeptId>, wanted: &Wanted) -> Result<bool, Reason> {
    let bug = WalkError::Bug { what: "backtracking func entry" };
    let Some(at) = at else { return Err(bug.into()) };
    let state = &mut kept.get_mut(at).state;
    let frame = FrameNo(0);
    let is_entry = state.frames().len() == 1
        && state.cur().subprog != SubprogId::MAIN
        && state.cur().callsite.is_none();
    let regs = wanted.regs(wanted.frame);
    if !is_entry || wanted.slots(wanted.frame) != 0 || regs & !0b11_1110 != 0 {
        return Err(bug.into());
    }
    let mut changed = false;
    for reg in Reg::ARGS {
        if regs & (1 << reg.number()) != 0
            && let Some(Value::Scalar(number)) = state.frame_mut(frame).reg_mut(reg)
        {
            number.precise = true;
            changed = true;
        }
    }
    Ok(changed)
}

/// Marks what is wanted in one kept state. What it has marked already, or what is no scalar
/// there, is wanted no more.
fn mark_state(
    env: &mut Env<'_>,
    kept: &mut Kept,
    id: KeptId,
    wanted: &mut Wanted,
) -> Result<bool, Reason> {
    let mut changed = false;
    for number in (0..=wanted.frame.0).rev().map(FrameNo) {
        let state = &mut kept.get_mut(id).state;
        let Some(frame) = state.frames_mut().get_mut(number.index()) else {
            return Err(WalkError::Bug { what: "backtracking frame" }.into());
        };
        changed |= mark_frame(frame, wanted)?;
        if env.log.shows_everything() {
            env.log.print(format_args!(
                "mark_precise: frame{}: parent state regs={} stack={}: ",
                number.0,
                RegMask(wanted.regs(number)),
                SlotMask(wanted.slots(number)),
            ));
            env.print_state(&kept.get(id).state, number, Show::All);
        }
    }
    Ok(changed)
}

fn mark_frame(frame: &mut Frame, wanted: &mut Wanted) -> Result<bool, Reason> {
    let mut changed = false;
    let number = frame.number;
    for reg in Reg::ALL {
        if wanted.regs(number) & (1 << reg.number()) == 0 {
            continue;
        }
        match frame.reg_mut(reg) {
            Some(Value::Scalar(scalar)) if !scalar.precise => {
                scalar.precise = true;
                changed = true;
            }
            Some(Value::Scalar(_) | Value::Pointer(_)) | None => {
                wanted.drop_reg(number, reg.number());
            }
        }
    }
    for slot in 0_u8..64 {
        if wanted.slots(number) & (1 << slot) == 0 {
            continue;
        }
        let Some(place) = frame.stack.get_mut(SlotNo(slot)) else {
            return Err(WalkError::Bug { what: "stack slot" }.into());
        };
        match place.spilled_mut() {
            Some(Value::Scalar(scalar)) if !scalar.precise => {
                scalar.precise = true;
                changed = true;
            }
            Some(Value::Scalar(_) | Value::Pointer(_)) | None => wanted.drop_slot(number, slot),
        }
    }
    Ok(changed)
}

/// Marks every scalar of every state kept on the way.
///
/// Linux: `mark_all_scalars_precise`.
pub(super) fn mark_all(env: &mut Env<'_>, kept: &mut Kept, from: &From<'_>) {
    let shows = env.log.shows_everything();
    if shows {
        env.log.print(format_args!(
            "mark_precise: frame{}: falling back to forcing all scalars precise\n",
            from.frame.0
        ));
    }
    let mut at = from.track.parent;
    while let Some(id) = at {
        let kept = kept.get_mut(id);
        for (number, frame) in kept.state.frames_mut().iter_mut().enumerate() {
            for reg in Reg::ALL {
                if let Some(Value::Scalar(scalar)) = frame.reg_mut(reg)
                    && !scalar.precise
                {
                    scalar.precise = true;
                    if shows {
                        env.log.print(format_args!(
                            "force_precise: frame{number}: forcing r{} to be precise\n",
                            reg.number()
                        ));
                    }
                }
            }
            for (place, slot) in frame.stack.slots_mut().iter_mut().enumerate() {
                if let Some(Value::Scalar(scalar)) = slot.spilled_mut()
                    && !scalar.precise
                {
                    scalar.precise = true;
                    if shows {
                        env.log.print(format_args!(
                            "force_precise: frame{number}: forcing fp-{} to be precise\n",
                            (place + 1) * 8
                        ));
                    }
                }
            }
        }
        at = kept.track.parent;
    }
}

/// Carries the marks of a state that covers another over to the way that led to the other.
///
/// Linux: `propagate_precision`.
pub(super) fn propagate(
    env: &mut Env<'_>,
    kept: &mut Kept,
    old: KeptId,
    from: &From<'_>,
) -> Result<bool, Reason> {
    let mut wanted = Wanted::none(from.frame);
    for frame in kept.get(old).state.frames().iter().rev() {
        want_precise(env, frame, &mut wanted);
    }
    mark(env, kept, from, wanted)
}

fn want_precise(env: &mut Env<'_>, frame: &Frame, wanted: &mut Wanted) {
    let number = frame.number;
    let mut text = String::new();
    let is_precise = |value: &Value| value.as_scalar().is_some_and(|scalar| scalar.precise);
    for reg in Reg::ALL {
        if reg != Reg::FP && frame.reg(reg).is_some_and(is_precise) {
            wanted.want_reg(number, reg);
            push_item(&mut text, format_args!("r{}", reg.number()));
        }
    }
    for (place, slot) in (0_u8..).zip(frame.stack.slots()) {
        if slot.spilled().is_some_and(is_precise) {
            wanted.want_slot(number, SlotNo(place));
            push_item(&mut text, format_args!("fp{}", SlotNo(place).off()));
        }
    }
    if !text.is_empty() && env.log.shows_everything() {
        env.log.print(format_args!("frame {}: propagating {text}\n", number.0));
    }
}

fn push_item(text: &mut String, item: fmt::Arguments<'_>) {
    let sep = if text.is_empty() { "" } else { "," };
    write!(text, "{sep}{item}").expect("a String takes everything");
}

fn print_step(env: &mut Env<'_>, wanted: &Wanted, pc: Pc) {
    if !env.log.shows_everything() {
        return;
    }
    env.log.print(format_args!(
        "mark_precise: frame{}: regs={} stack={} before {pc}: ",
        wanted.frame.0,
        RegMask(wanted.regs(wanted.frame)),
        SlotMask(wanted.slots(wanted.frame)),
    ));
    env.print_insn(pc);
}

/// The state at which a path is, as the beginning of reading backwards.
pub(super) fn here<'a>(state: &State, track: &'a Track, pc: Pc) -> From<'a> {
    From { track, pc, frame: state.depth() }
}

/// A position, or -1. Linux prints positions as signed numbers.
struct Index(Option<Pc>);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pc) => pc.fmt(f),
            None => f.write_str("-1"),
        }
    }
}

/// Registers, as `r0,r6`. Linux: `fmt_reg_mask`.
struct RegMask(u16);

impl fmt::Display for RegMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        for number in (0..16).filter(|number| self.0 & (1 << number) != 0) {
            write!(f, "{sep}r{number}")?;
            sep = ",";
        }
        Ok(())
    }
}

/// Slots, as `-8,-16`. Linux: `fmt_stack_mask`.
struct SlotMask(u64);

impl fmt::Display for SlotMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        for slot in (0..64_i32).filter(|slot| self.0 & (1 << slot) != 0) {
            write!(f, "{sep}{}", -8 * (slot + 1))?;
            sep = ",";
        }
        Ok(())
    }
}
