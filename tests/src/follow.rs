//! A run of an accepted program, followed through the states that the verifier walked.
//!
//! [`bpf_verifier::trace`] says what is claimed; this holds a run against it: at each step the run
//! must be at a walked step that an edge leads to, and every register that was not forgotten must
//! hold a member of what that step says of it.

use std::collections::{BTreeSet, VecDeque};

use bpf_interp::{Step, Witness};
use bpf_isa::{Call, Insn, Operand, Pc, Program, Reg};
use bpf_verifier::state::{Pointer, PointerKind, PtrFlags, Value};
use bpf_verifier::trace::{Forgotten, Trace};

use crate::checked::{Onlooker, Places};

/// Follows a run.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The program as it was verified.
    program: &'a Program,
    trace: &'a Trace,
    /// The instructions that are left in the image.
    left: Vec<bool>,
    /// Where the run may be.
    candidates: Vec<Candidate>,
    /// The instruction that runs, and the registers before it.
    running: Option<(Pc, [u64; 11])>,
    context: u64,
    places: Places,
    /// How many registers were held against what is said of them.
    pub compared: u64,
    /// What the run did that the trace does not say.
    pub wrong: Option<String>,
}

/// Where a run may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    step: usize,
    frames: Vec<Local>,
    /// Whole slots of stacks, by their addresses.
    forgotten: BTreeSet<u64>,
}

/// A call of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Local {
    /// The registers of which nothing is said, a bit each.
    forgotten: u16,
    /// The frame pointer.
    top: u64,
    /// The step that called it, if it is a global function: those are walked by themselves.
    called_at: Option<usize>,
}

/// R0 to R5.
const CLOBBERED: u16 = 0x3f;

impl<'a> Follower<'a> {
    /// A follower of runs of the image that `trace` is about; `program` is what was verified.
    pub fn new(program: &'a Program, trace: &'a Trace) -> Self {
        let mut left = vec![false; program.len()];
        for place in &trace.places {
            left[place.index()] = true;
        }
        Self {
            program,
            trace,
            left,
            candidates: Vec::new(),
            running: None,
            context: 0,
            places: Places::default(),
            compared: 0,
            wrong: None,
        }
    }

    fn follow(&mut self, pc: Pc, regs: &[u64; 11]) -> Result<(), String> {
        let Some((before, old)) = self.running.replace((pc, *regs)) else {
            self.context = regs[1];
            let local = Local { forgotten: 0, top: regs[10], called_at: None };
            let start = Candidate { step: 0, frames: vec![local], forgotten: BTreeSet::new() };
            self.candidates = self.arrive(start, pc);
            return self.check(regs);
        };
        let mut arrived: Vec<Candidate> = Vec::new();
        for candidate in std::mem::take(&mut self.candidates) {
            for next in self.advance(candidate, before, &old, pc, regs) {
                if !arrived.contains(&next) && arrived.len() < 64 {
                    arrived.push(next);
                }
            }
        }
        if arrived.is_empty() {
            return Err(format!("nobody walked from {before} to {pc}"));
        }
        self.candidates = arrived;
        self.check(regs)
    }

    /// The candidate itself if it is at `pc`, or what follows it there through what was removed.
    fn arrive(&self, candidate: Candidate, pc: Pc) -> Vec<Candidate> {
        if self.trace.steps[candidate.step].pc == pc {
            return vec![candidate];
        }
        self.next(candidate, pc)
    }

    /// Where edges lead that come to `pc`, through nothing but instructions that were removed.
    fn next(&self, from: Candidate, pc: Pc) -> Vec<Candidate> {
        // Mostly there is one edge, and it leads there.
        if let [edge] = &*self.trace.steps[from.step].next
            && self.trace.steps[edge.to].pc == pc
        {
            let mut next = from;
            next.step = edge.to;
            next.forget(&edge.forgotten);
            return vec![next];
        }
        let mut found = Vec::new();
        let mut waiting = VecDeque::from([(from, 0)]);
        while let Some((candidate, passed)) = waiting.pop_front() {
            for edge in &self.trace.steps[candidate.step].next {
                let mut next = candidate.clone();
                next.step = edge.to;
                next.forget(&edge.forgotten);
                let at = self.trace.steps[edge.to].pc;
                if at == pc {
                    found.push(next);
                } else if !self.left.get(at.index()).copied().unwrap_or(false) && passed < 100 {
                    waiting.push_back((next, passed + 1));
                }
            }
        }
        found
    }

    /// Where a candidate is after the instruction at `before`, which has led to `pc`.
    fn advance(
        &self,
        mut candidate: Candidate,
        before: Pc,
        old: &[u64; 11],
        pc: Pc,
        regs: &[u64; 11],
    ) -> Vec<Candidate> {
        let Some(insn) = self.program.get(before) else { return Vec::new() };
        #[expect(clippy::wildcard_enum_match_arm, reason = "others stay in their function")]
        match insn {
            Insn::Call(Call::Local(_)) => {
                let globals = self.trace.starts.iter().skip(1);
                let start = globals.copied().find(|start| self.trace.steps[*start].pc == pc);
                let caller = candidate.local();
                let forgotten = if start.is_some() { 0 } else { caller.forgotten & CLOBBERED };
                caller.forgotten &= !CLOBBERED;
                let called_at = start.map(|_| candidate.step);
                candidate.frames.push(Local { forgotten, top: regs[10], called_at });
                match start {
                    Some(start) => {
                        candidate.step = start;
                        self.arrive(candidate, pc)
                    }
                    None => self.next(candidate, pc),
                }
            }
            Insn::Exit => {
                let Some(callee) = candidate.frames.pop() else { return Vec::new() };
                if candidate.frames.is_empty() {
                    return Vec::new();
                }
                match callee.called_at {
                    Some(step) => candidate.step = step,
                    None => candidate.local().forgotten |= callee.forgotten & 1,
                }
                self.next(candidate, pc)
            }
            _ => {
                self.compute(&mut candidate, insn, old);
                self.next(candidate, pc)
            }
        }
    }

    /// What is forgotten after an instruction, if it depends on what was forgotten before.
    fn compute(&self, candidate: &mut Candidate, insn: Insn, old: &[u64; 11]) {
        let address = |base: Reg, off: i16| old[base.index()].wrapping_add_signed(i64::from(off));
        let is_forgotten = |candidate: &mut Candidate, reg: Reg| {
            candidate.local().forgotten >> reg.number() & 1 == 1
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "others read and write registers only")]
        match insn {
            Insn::Load { size, dst, base, off, .. }
            | Insn::LoadAcquire { size, dst, base, off } => {
                let forgotten = candidate.is_open(address(base, off), size.bytes());
                candidate.set(dst, forgotten);
            }
            Insn::Store { size, base, off, src } => {
                let open = match src {
                    Operand::Reg(src) => is_forgotten(candidate, src),
                    Operand::Imm(_) => false,
                };
                candidate.store(address(base, off), size.bytes(), open);
            }
            Insn::StoreRelease { size, base, off, src } => {
                let open = is_forgotten(candidate, src);
                candidate.store(address(base, off), size.bytes(), open);
            }
            Insn::Atomic { size, base, off, src, .. } => {
                let at = address(base, off);
                let open = candidate.is_open(at, size.bytes());
                let stored = is_forgotten(candidate, src);
                if stored {
                    candidate.store(at, size.bytes(), true);
                }
                for reg in insn.writes().iter() {
                    candidate.set(reg, open);
                }
            }
            Insn::JumpIf { .. } => {
                let compared = insn.reads(0);
                if candidate.local().forgotten & compared.bits() != 0 {
                    self.unlink(candidate, compared.bits());
                }
            }
            // What a call leaves in R1 to R5 nobody says.
            Insn::Call(_) | Insn::LoadAbs { .. } | Insn::LoadInd { .. } => {
                candidate.set(Reg::R0, false);
            }
            _ => {
                let open = candidate.local().forgotten & insn.reads(0).bits() != 0;
                for reg in insn.writes().iter() {
                    candidate.set(reg, open);
                }
            }
        }
    }

    /// What is compared with something forgotten is forgotten, and what is linked to either.
    fn unlink(&self, candidate: &mut Candidate, compared: u16) {
        let step = &self.trace.steps[candidate.step];
        let Some(regs) = step.frames.last() else { return };
        let is_scalar = |value: &Option<Value>| matches!(value, Some(Value::Scalar(_)));
        let mut ids = Vec::new();
        for (number, value) in regs.iter().enumerate() {
            if compared >> number & 1 == 1 && is_scalar(value) {
                candidate.local().forgotten |= 1 << number;
                ids.extend(value.as_ref().and_then(Value::id));
            }
        }
        let bottom = candidate.bottom();
        for (frame, regs) in step.frames.iter().enumerate() {
            for (number, value) in regs.iter().enumerate() {
                let is_linked = is_scalar(value)
                    && value.as_ref().and_then(Value::id).is_some_and(|id| ids.contains(&id));
                if is_linked {
                    candidate.frames[bottom + frame].forgotten |= 1 << number;
                }
            }
        }
        for slot in step.linked.iter().filter(|slot| ids.contains(&slot.id)) {
            let top = candidate.frames[bottom + slot.frame].top;
            candidate.forgotten.insert(address_of(top, slot.slot));
        }
    }

    /// Leaves those candidates whose steps say what is so.
    fn check(&mut self, regs: &[u64; 11]) -> Result<(), String> {
        let mut reason = String::new();
        let mut compared = 0;
        let mut kept = std::mem::take(&mut self.candidates);
        kept.retain(|candidate| match self.holds(candidate, regs) {
            Ok(count) => {
                compared = count;
                true
            }
            Err(why) => {
                reason = why;
                false
            }
        });
        self.compared += compared;
        self.candidates = kept;
        if self.candidates.is_empty() { Err(reason) } else { Ok(()) }
    }

    /// How many registers hold what is said of them, or which does not.
    fn holds(&self, candidate: &Candidate, regs: &[u64; 11]) -> Result<u64, String> {
        let step = &self.trace.steps[candidate.step];
        let (Some(said), Some(local)) = (step.frames.last(), candidate.frames.last()) else {
            return Err("no frame".to_owned());
        };
        let mut compared = 0;
        for (number, value) in said.iter().enumerate() {
            let Some(value) = value.filter(|_| local.forgotten >> number & 1 == 0) else {
                continue;
            };
            let held = regs[number];
            if !self.may_hold(candidate, &value, held) {
                return Err(format!("at {}: r{number} is {held:#x}, and not {value:?}", step.pc));
            }
            compared += 1;
        }
        Ok(compared)
    }

    fn may_hold(&self, candidate: &Candidate, value: &Value, held: u64) -> bool {
        let pointer = match value {
            Value::Scalar(number) => return number.set.contains(held),
            Value::Pointer(pointer) => pointer,
        };
        if pointer.flags.contains(PtrFlags::MAYBE_NULL) && held == 0 {
            return true;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "nobody knows where others are")]
        let from = match pointer.kind {
            PointerKind::Ctx => self.context,
            PointerKind::Stack { frame } => {
                match candidate.frames.get(candidate.bottom() + frame.index()) {
                    Some(local) => local.top,
                    None => return false,
                }
            }
            PointerKind::Packet { .. } | PointerKind::PacketMeta { .. } => self.places.packet,
            PointerKind::MapValue { .. } => {
                let Some(values) = &self.places.values else { return held != 0 };
                return values.iter().any(|from| reaches(pointer, *from, held));
            }
            _ => return true,
        };
        reaches(pointer, from, held)
    }
}

/// Whether a pointer into something that begins at `from` may be `held`.
fn reaches(pointer: &Pointer, from: u64, held: u64) -> bool {
    let moved = held.wrapping_sub(from).wrapping_add_signed(-i64::from(pointer.off));
    pointer.delta.contains(moved)
}

/// The address of a slot of the stack.
fn address_of(top: u64, slot: usize) -> u64 {
    top.wrapping_sub(8 * (slot as u64 + 1))
}

impl Candidate {
    fn local(&mut self) -> &mut Local {
        self.frames.last_mut().expect("a run has a frame")
    }

    /// The place of the first frame that the step knows.
    fn bottom(&self) -> usize {
        self.frames.iter().rposition(|frame| frame.called_at.is_some()).unwrap_or(0)
    }

    fn set(&mut self, reg: Reg, forgotten: bool) {
        let bit = 1 << reg.number();
        let local = self.local();
        if forgotten {
            local.forgotten |= bit;
        } else {
            local.forgotten &= !bit;
        }
    }

    fn forget(&mut self, forgotten: &[Forgotten]) {
        let bottom = self.bottom();
        for (frame, forgotten) in forgotten.iter().enumerate() {
            let Some(local) = self.frames.get_mut(bottom + frame) else { continue };
            local.forgotten |= forgotten.regs;
            let slots = (0..64).filter(|slot| forgotten.slots >> slot & 1 == 1);
            self.forgotten.extend(slots.map(|slot| address_of(local.top, slot)));
        }
    }

    /// Whether any of these bytes were forgotten.
    fn is_open(&self, address: u64, size: u32) -> bool {
        let last = address.wrapping_add(u64::from(size) - 1);
        [address & !7, last & !7].iter().any(|slot| self.forgotten.contains(slot))
    }

    fn store(&mut self, address: u64, size: u32, forgotten: bool) {
        let last = address.wrapping_add(u64::from(size) - 1);
        if forgotten {
            self.forgotten.extend([address & !7, last & !7]);
        } else if size == 8 && address.is_multiple_of(8) {
            self.forgotten.remove(&address);
        }
    }
}

impl Onlooker for Follower<'_> {
    fn begin(&mut self, places: Places) {
        self.places = places;
    }
}

impl Witness for Follower<'_> {
    fn step(&mut self, step: Step<'_>) {
        if self.wrong.is_some() {
            return;
        }
        let Some(&pc) = self.trace.places.get(step.pc.index()) else {
            self.wrong = Some(format!("{} is no instruction of the image", step.pc));
            return;
        };
        self.wrong = self.follow(pc, step.regs).err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_abi::prog::ProgType;
    use bpf_verifier::Options;
    use bpf_verifier::trace::Recorder;

    use crate::checked::{Prepared, prepare};
    use crate::text;

    /// What following a run says, once `lie` has changed the trace.
    fn follow(lie: impl FnOnce(&mut Trace)) -> Option<String> {
        let text = "r0 = *(u32 *)(r1 +12)\nr0 &= 7\nif r0 > 3 goto +1\nr0 += 1\nr0 = 0\nexit";
        let object = text::object(ProgType::Xdp, Vec::new(), &[("test", text)]).unwrap();
        let recorder = Recorder::new();
        let options = Options { trace: Some(recorder.clone()), ..Options::default() };
        let Prepared::Accepted(checked) = prepare(&object, &object.programs[0], &options) else {
            panic!("it is not accepted");
        };
        let mut trace = recorder.take();
        lie(&mut trace);
        let program = Program::from_slots(&object.programs[0].insns).unwrap();
        (0..20).find_map(|seed| {
            let mut follower = Follower::new(&program, &trace);
            checked.watch(&[0; 64], seed, &mut follower).unwrap();
            assert!(follower.compared > 0);
            follower.wrong
        })
    }

    #[test]
    fn what_the_verifier_says_is_so_and_lies_are_noticed() {
        assert_eq!(follow(|_| {}), None);
        let at =
            |trace: &Trace, pc: u32| trace.steps.iter().position(|step| step.pc == Pc(pc)).unwrap();
        let wrong_value = follow(|trace| {
            let step = at(trace, 2);
            trace.steps[step].frames[0][0] = Some(Value::constant(9));
        });
        assert!(wrong_value.unwrap().starts_with("at 2: r0 is"));
        let no_edge = follow(|trace| {
            let (from, to) = (at(trace, 2), at(trace, 3));
            trace.steps[from].next.retain(|edge| edge.to != to);
        });
        assert_eq!(no_edge.unwrap(), "nobody walked from 2 to 3");
    }

    #[test]
    fn what_was_forgotten_is_not_held_against_a_run() {
        let said = follow(|trace| {
            let step = trace.steps.iter().position(|step| step.pc == Pc(2)).unwrap();
            trace.steps[step].frames[0][0] = Some(Value::constant(9));
            let from = trace.steps.iter().position(|step| step.pc == Pc(1)).unwrap();
            trace.steps[from].next[0].forgotten = vec![Forgotten { regs: 1, slots: 0 }];
        });
        assert_eq!(said, None);
    }
}
