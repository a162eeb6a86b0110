//! Moves that a conditional jump goes around, which need no jump.
//!
//! ```text
//! if r1 < r2 goto +1        r1 = r1 < r2 ? r1 : r2
//! r1 = r2             becomes
//! ```
//!
//! A choice by a conditional move waits for both values and for the comparison, where a jump that is
//! predicted waits for nothing: a search that goes on where a comparison says is faster with jumps.
//! So only the smaller and the larger of two numbers and absolute values are chosen: there both
//! values are at hand as soon as the comparison is.

use std::collections::BTreeSet;

use bpf_isa::{AluOp, Insn, JumpOp, Operand, Pc, Reg, RegSet};

use crate::input::Input;

/// How far back it is looked for where a register's value comes from.
const FARTHEST: u32 = 6;

/// How many jumps to jumps are followed.
const MOST_JUMPS: u32 = 8;

/// The choices of a function.
pub(crate) struct Choices<'a> {
    image: &'a Input<'a>,
    start: Pc,
    end: Pc,
    /// Where jumps lead.
    targets: BTreeSet<Pc>,
}

impl<'a> Choices<'a> {
    /// Those of the function that has these instructions.
    pub(crate) fn new(image: &'a Input<'a>, start: Pc, end: Pc) -> Self {
        let pcs = (start.0..end.0).map(Pc);
        let targets = pcs.filter_map(|pc| image.program.get(pc)?.jump_target(pc)).collect();
        Self { image, start, end, targets }
    }

    /// Whether the jump at `pc` and the instruction after it are one choice.
    pub(crate) fn is_at(&self, pc: Pc) -> bool {
        let Some(insn @ Insn::JumpIf { op, dst, src, .. }) = self.insn(pc) else { return false };
        let (moved, after) = (Pc(pc.0 + 1), Pc(pc.0 + 2));
        let Some(taken) = insn.jump_target(pc) else { return false };
        if self.targets.contains(&moved) || !self.lead_together(taken, after) {
            return false;
        }
        let is_order = !matches!(op, JumpOp::Eq | JumpOp::Ne | JumpOp::Set);
        let is_sign = matches!(op, JumpOp::Sgt | JumpOp::Sge | JumpOp::Slt | JumpOp::Sle);
        let a = self.same(pc, Operand::Reg(dst));
        let moved = self.insn(moved);
        if let Some(Insn::Alu { op: AluOp::Mov, dst: to, src: from, .. }) = moved {
            let b = self.same(pc, src);
            let (to, from) = (self.same(pc, Operand::Reg(to)), self.same(pc, from));
            is_order && (meet(to, a) && meet(from, b) || meet(to, b) && meet(from, a))
        } else if let Some(Insn::Neg { dst: to, .. }) = moved {
            let is_near_zero = matches!(src, Operand::Imm(-1..=1));
            is_sign && is_near_zero && meet(self.same(pc, Operand::Reg(to)), a)
        } else {
            false
        }
    }

    fn lead_together(&self, a: Pc, b: Pc) -> bool {
        self.destination(a).is_some_and(|to| self.destination(b) == Some(to))
    }

    /// Where one gets to by going to `pc`: jumps lead on.
    fn destination(&self, mut pc: Pc) -> Option<Pc> {
        for _ in 0..MOST_JUMPS {
            let insn = self.insn(pc)?;
            let Insn::Jump { .. } = insn else { return Some(pc) };
            pc = insn.jump_target(pc)?;
        }
        None
    }

    fn insn(&self, pc: Pc) -> Option<Insn> {
        (self.start..self.end).contains(&pc).then(|| self.image.program.get(pc)).flatten()
    }

    /// An operand, and what it is a copy of at `pc`.
    fn same(&self, pc: Pc, operand: Operand) -> [Option<Operand>; 2] {
        let copy = operand.reg().and_then(|reg| self.copied(pc, reg));
        [Some(operand), copy]
    }

    /// What a register is a copy of at `pc`, if that is close by and still so.
    fn copied(&self, pc: Pc, reg: Reg) -> Option<Operand> {
        let mut written = RegSet::EMPTY;
        for back in 1..=FARTHEST {
            let at = Pc(pc.0.checked_sub(back)?);
            if self.targets.contains(&Pc(at.0 + 1)) {
                return None;
            }
            let insn = self.insn(at)?;
            if insn.jump_offset().is_some() || matches!(insn, Insn::Call(_)) {
                return None;
            }
            if insn.writes().contains(reg) {
                let Insn::Alu { op: AluOp::Mov, src, .. } = insn else { return None };
                let is_kept = src.reg().is_none_or(|from| !written.contains(from));
                return is_kept.then_some(src);
            }
            written = written.union(insn.writes());
        }
        None
    }
}

/// Whether two operands may be the same.
fn meet(a: [Option<Operand>; 2], b: [Option<Operand>; 2]) -> bool {
    a.iter().flatten().any(|ours| b.iter().flatten().any(|theirs| ours == theirs))
}
