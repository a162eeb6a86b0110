//! One instruction, read backwards.
//!
//! Given the registers and slots whose exact values matter *after* an instruction, finds those
//! whose exact values matter *before* it. An assignment moves the interest from what it writes
//! to what it reads; a constant ends it.

use bpf_isa::{AluOp, Call, Imm64, Insn, Operand, Pc, Reg};

use crate::env::Env;
use crate::state::{FrameNo, LinkedRegs, RegOrSlot, SlotNo};
use crate::walk::WalkError;
use crate::walk::history::{StackOperands, Step};

/// R1 to R5, a bit each. Linux: `BPF_REGMASK_ARGS`.
const ARGS: u16 = 0b11_1110;

/// The registers and slots of each frame whose exact values matter.
///
/// Linux: `struct backtrack_state`.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The frame the instruction being read runs in.
    pub(super) frame: FrameNo,
    regs: [u16; 8],
    slots: [u64; 8],
    /// What the instruction read last rests on and Linux does not see.
    pub(super) forgotten: Option<(FrameNo, SlotNo)>,
}

/// Why reading backwards stops short.
#[derive(Debug)]
pub(super) enum Stuck {
    /// What is wanted came from something that is not tracked. Linux: `-ENOTSUPP`.
    Untracked,
    /// What is wanted cannot have come from here.
    Bug(WalkError),
}

impl Wanted {
    /// Nothing, in this frame.
    pub(super) fn none(frame: FrameNo) -> Self {
        Self { frame, ..Self::default() }
    }

    /// Whether nothing is wanted in this frame or those that called it.
    ///
    /// Linux: `bt_empty`.
    pub(super) fn is_empty(&self) -> bool {
        let frames = ..=self.frame.index();
        self.regs[frames].iter().all(|regs| *regs == 0)
            && self.slots[frames].iter().all(|slots| *slots == 0)
    }

    /// The registers wanted in a frame.
    pub(super) const fn regs(&self, frame: FrameNo) -> u16 {
        self.regs[frame.index()]
    }

    /// The slots wanted in a frame.
    pub(super) const fn slots(&self, frame: FrameNo) -> u64 {
        self.slots[frame.index()]
    }

    /// Wants a register of a frame.
    pub(super) const fn want_reg(&mut self, frame: FrameNo, reg: Reg) {
        self.regs[frame.index()] |= 1 << reg.number();
    }

    /// Wants a slot of a frame.
    pub(super) const fn want_slot(&mut self, frame: FrameNo, slot: SlotNo) {
        self.slots[frame.index()] |= 1 << (slot.0 & 63);
    }

    /// Wants a register of a frame no more.
    pub(super) const fn drop_reg(&mut self, frame: FrameNo, number: u8) {
        self.regs[frame.index()] &= !(1 << number);
    }

    /// Wants a slot of a frame no more.
    pub(super) const fn drop_slot(&mut self, frame: FrameNo, slot: u8) {
        self.slots[frame.index()] &= !(1 << (slot & 63));
    }

    const fn wants(&self, reg: Reg) -> bool {
        self.regs[self.frame.index()] & (1 << reg.number()) != 0
    }

    const fn wants_slot(&self, frame: FrameNo, slot: SlotNo) -> bool {
        self.slots[frame.index()] & (1 << (slot.0 & 63)) != 0
    }

    const fn want(&mut self, reg: Reg) {
        self.want_reg(self.frame, reg);
    }

    const fn drop(&mut self, reg: Reg) {
        self.drop_reg(self.frame, reg.number());
    }

    const fn drop_args(&mut self) {
        self.regs[self.frame.index()] &= !ARGS;
    }

    /// Goes back out of a function, to before it was called. Linux: `bt_subprog_exit`.
    fn leave(&mut self) -> Result<(), Stuck> {
        let outer = self.frame.0.checked_sub(1).ok_or(bug("backtracking left the main frame"))?;
        self.frame = FrameNo(outer);
        Ok(())
    }

    /// Goes back into a function, to before it returned. Linux: `bt_subprog_enter`.
    fn enter(&mut self) -> Result<(), Stuck> {
        if self.frame.index() + 1 >= self.regs.len() {
            return Err(bug("backtracking entered too many frames"));
        }
        self.frame.0 += 1;
        Ok(())
    }

    /// If one of the scalars that moved together is wanted, all are.
    ///
    /// Linux: `bt_sync_linked_regs`.
    fn sync(&mut self, linked: Option<&LinkedRegs>) {
        let Some(linked) = linked else { return };
        let wanted = linked.places().iter().any(|place| match place.at {
            RegOrSlot::Reg(reg) => self.regs(place.frame) & (1 << reg.number()) != 0,
            RegOrSlot::Slot(slot) => self.wants_slot(place.frame, slot),
        });
        if !wanted {
            return;
        }
        for place in linked.places() {
            match place.at {
                RegOrSlot::Reg(reg) => self.want_reg(place.frame, reg),
                RegOrSlot::Slot(slot) => self.want_slot(place.frame, slot),
            }
        }
    }

    /// Reads the instruction at `pc` backwards. `next` is the instruction that was walked after
    /// it, `step` what the path's record has of it.
    ///
    /// Linux: `backtrack_insn`.
    pub(super) fn read_back(
        &mut self,
        env: &Env<'_>,
        pc: Pc,
        next: Option<Pc>,
        step: Option<&Step>,
    ) -> Result<(), Stuck> {
        let insn = env.insn(pc).ok_or(bug("backtracking idx"))?;
        let linked = step.and_then(|step| step.linked.as_deref());
        self.sync(linked);
        if self.read_insn(env, insn, pc, next, step)? == Synced::Wanted {
            self.sync(linked);
        }
        Ok(())
    }

    fn read_insn(
        &mut self,
        env: &Env<'_>,
        insn: Insn,
        pc: Pc,
        next: Option<Pc>,
        step: Option<&Step>,
    ) -> Result<Synced, Stuck> {
        match insn {
            Insn::Alu { op, dst, src, .. } => self.read_alu(op, dst, src),
            Insn::AluSigned { dst, src, .. } => self.read_operator(dst, src),
            Insn::MovSx { dst, src, .. } | Insn::AddrSpaceCast { dst, src, .. } => {
                self.read_alu(AluOp::Mov, dst, Operand::Reg(src))
            }
            Insn::Neg { .. } | Insn::Endian { .. } => Ok(Synced::Done),
            Insn::Load { dst, .. } | Insn::LoadAcquire { dst, .. } => self.read_load(dst, step),
            Insn::Store { base, src, .. } => self.read_store(base, src.reg(), step),
            Insn::Atomic { base, src, .. }
                if env.options.strict_holes
                    && let Some(loaded) = insn.writes().iter().next() =>
            {
                self.read_fetch(loaded, base, src, step)
            }
            Insn::Atomic { base, src, .. } | Insn::StoreRelease { base, src, .. } => {
                self.read_store(base, Some(src), step)
            }
            Insn::LoadImm64 { dst, imm } => self.read_imm64(dst, imm),
            Insn::LoadAbs { .. } | Insn::LoadInd { .. } => {
                if self.wants(Reg::R0) {
                    return Err(Stuck::Untracked);
                }
                Ok(Synced::Done)
            }
            Insn::JumpIf { dst, src: Operand::Reg(src), .. } => self.read_branch(dst, src, step),
            Insn::JumpIf { src: Operand::Imm(_), .. }
            | Insn::Jump { .. }
            | Insn::MayGoto { .. }
            | Insn::SecondSlot => Ok(Synced::Wanted),
            Insn::Call(call) => self.read_call(env, call, pc, next),
            Insn::Exit => self.read_exit(env, next),
        }
    }

    fn read_alu(&mut self, op: AluOp, dst: Reg, src: Operand) -> Result<Synced, Stuck> {
        if op != AluOp::Mov {
            return self.read_operator(dst, src);
        }
        if !self.wants(dst) {
            return Ok(Synced::Done);
        }
        self.drop(dst);
        if let Operand::Reg(src) = src
            && src != Reg::FP
        {
            self.want(src);
        }
        Ok(Synced::Wanted)
    }

    fn read_operator(&mut self, dst: Reg, src: Operand) -> Result<Synced, Stuck> {
        if !self.wants(dst) {
            return Ok(Synced::Done);
        }
        if let Operand::Reg(src) = src
            && src != Reg::FP
        {
            self.want(src);
        }
        Ok(Synced::Wanted)
    }

    /// Only the stack keeps what is known of a scalar: loads of other memory end the interest.
    fn read_load(&mut self, dst: Reg, step: Option<&Step>) -> Result<Synced, Stuck> {
        if !self.wants(dst) {
            return Ok(Synced::Done);
        }
        self.drop(dst);
        match step.and_then(|step| step.stack) {
            Some(touch) => {
                self.want_slot(touch.frame, touch.slot);
                Ok(Synced::Wanted)
            }
            None => Ok(Synced::Done),
        }
    }

    fn read_store(
        &mut self,
        base: Reg,
        src: Option<Reg>,
        step: Option<&Step>,
    ) -> Result<Synced, Stuck> {
        if self.wants(base) {
            // A scalar cannot be stored through: a pointer was made from pointers.
            return Err(Stuck::Untracked);
        }
        let Some(touch) = step.and_then(|step| step.stack) else { return Ok(Synced::Done) };
        if !self.wants_slot(touch.frame, touch.slot) {
            return Ok(Synced::Done);
        }
        self.drop_slot(touch.frame, touch.slot.0);
        if let Some(src) = src {
            self.want(src);
        }
        Ok(Synced::Wanted)
    }

    /// An atomic operation that loads what was there before, and stores what it makes of it.
    ///
    /// Linux 6.18 forgets that it loads: what a number rests on that was fetched from the stack is not
    /// held against other paths, and a program is accepted that goes anywhere. What it forgets is
    /// kept in [`forgotten`](Self::forgotten).
    fn read_fetch(
        &mut self,
        loaded: Reg,
        base: Reg,
        src: Reg,
        step: Option<&Step>,
    ) -> Result<Synced, Stuck> {
        if let Some(touch) = step.and_then(|step| step.stack)
            && (self.wants(loaded) || self.wants_slot(touch.frame, touch.slot))
        {
            self.forgotten = Some((touch.frame, touch.slot));
        }
        self.read_store(base, Some(src), step)
    }

    fn read_imm64(&mut self, dst: Reg, imm: Imm64) -> Result<Synced, Stuck> {
        let _ = imm;
        if !self.wants(dst) {
            return Ok(Synced::Done);
        }
        self.drop(dst);
        Ok(Synced::Wanted)
    }

    fn read_branch(&mut self, dst: Reg, src: Reg, step: Option<&Step>) -> Result<Synced, Stuck> {
        if !self.wants(dst) && !self.wants(src) {
            return Ok(Synced::Done);
        }
        let stack = step.map_or(StackOperands::empty(), |step| step.stack_operands);
        if !stack.contains(StackOperands::SRC) {
            self.want(src);
        }
        if !stack.contains(StackOperands::DST) {
            self.want(dst);
        }
        Ok(Synced::Wanted)
    }

    fn read_call(
        &mut self,
        env: &Env<'_>,
        call: Call,
        pc: Pc,
        next: Option<Pc>,
    ) -> Result<Synced, Stuck> {
        let regs = self.regs(self.frame);
        if let Call::Local(off) = call {
            let target = pc.offset(i64::from(off) + 1).and_then(|target| env.subprog_at(target));
            let target = target.ok_or(bug("backtracking call of no function"))?;
            return self.read_local_call(env.subprog(target).is_global, pc, next);
        }
        if env.note(pc).calls_callback && next != pc.offset(1) {
            if regs & !ARGS != 0 {
                return Err(bug("callback unexpected regs"));
            }
            if self.slots(self.frame) != 0 {
                return Err(bug("callback leftover stack slots"));
            }
            self.drop_args();
            self.leave()?;
            return Ok(Synced::Done);
        }
        if matches!(call, Call::Kfunc { btf_id: 0, .. }) {
            return Err(Stuck::Untracked);
        }
        self.drop(Reg::R0);
        if self.regs(self.frame) & ARGS != 0 {
            return Err(bug("backtracking call unexpected regs"));
        }
        if call == Call::Helper(TAIL_CALL) && next != pc.offset(1) {
            self.enter()?;
        }
        Ok(Synced::Wanted)
    }

    fn read_local_call(
        &mut self,
        is_global: bool,
        pc: Pc,
        next: Option<Pc>,
    ) -> Result<Synced, Stuck> {
        let regs = self.regs(self.frame);
        if is_global {
            if next != pc.offset(1) {
                return Err(bug("extra insn from subprog"));
            }
            if regs & ARGS != 0 {
                return Err(bug("global subprog unexpected regs"));
            }
            self.drop(Reg::R0);
            return Ok(Synced::Done);
        }
        if regs & !ARGS != 0 {
            return Err(bug("static subprog unexpected regs"));
        }
        if self.slots(self.frame) != 0 {
            return Err(bug("static subprog leftover stack slots"));
        }
        self.drop_args();
        self.leave()?;
        self.regs[self.frame.index()] |= regs & ARGS;
        Ok(Synced::Done)
    }

    fn read_exit(&mut self, env: &Env<'_>, next: Option<Pc>) -> Result<Synced, Stuck> {
        if next.is_some_and(|next| env.note(next).calls_callback) {
            self.drop_args();
        }
        if self.regs(self.frame) & ARGS != 0 {
            return Err(bug("backtracking exit unexpected regs"));
        }
        let call = next.and_then(|next| next.offset(-1)).and_then(|call| env.insn(call));
        let returns = matches!(call, Some(Insn::Call(Call::Local(_)))) && self.wants(Reg::R0);
        self.drop(Reg::R0);
        self.enter()?;
        if returns {
            self.want(Reg::R0);
        }
        Ok(Synced::Done)
    }
}

/// Whether scalars that moved together are looked at again after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    /// No: the instruction did not change what is wanted in a way that matters.
    Done,
    /// Yes.
    Wanted,
}

/// Linux: `BPF_FUNC_tail_call`.
const TAIL_CALL: i32 = 12;

const fn bug(what: &'static str) -> Stuck {
    Stuck::Bug(WalkError::Bug { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_passes_the_interest_on() {
        let mut wanted = Wanted::none(FrameNo(0));
        wanted.want(Reg::R3);
        wanted.read_alu(AluOp::Mov, Reg::R3, Operand::Reg(Reg::R4)).unwrap();
        assert!(wanted.wants(Reg::R4) && !wanted.wants(Reg::R3));
        wanted.read_alu(AluOp::Add, Reg::R4, Operand::Reg(Reg::R5)).unwrap();
        assert!(wanted.wants(Reg::R4) && wanted.wants(Reg::R5));
        wanted.read_alu(AluOp::Mov, Reg::R4, Operand::Imm(0)).unwrap();
        wanted.read_alu(AluOp::Mov, Reg::R5, Operand::Imm(0)).unwrap();
        assert!(wanted.is_empty());
    }
}
