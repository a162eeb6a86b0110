//! How blocks are left.

use bpf_isa::{Insn, JumpOp, Operand, Pc, Reg, Width};
use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::{Lower, Mode};
use crate::error::CompileError;
use crate::layout::{BlockNo, Exit};

impl Lower<'_> {
    /// Leaves the current block.
    pub(super) fn exit(&mut self, exit: Exit) -> Result<(), CompileError> {
        if self.unit.mode == Mode::Checked && self.goes_back(exit) {
            self.spend();
        }
        match exit {
            Exit::Goto(to) => self.goto(to),
            Exit::Return { at } => {
                self.at(at);
                let result = self.get(Reg::R0);
                self.leave(result);
            }
            Exit::If { at, taken, fallen } => {
                if let Some(is_null) = self.compares_r0_with_null(at)?
                    && self.found
                {
                    self.goto_one_of(if is_null { (fallen, taken) } else { (taken, fallen) });
                } else if self.is_second_half(taken) {
                    let condition = self.condition(at, Sense::Inverted)?;
                    self.branch(condition, fallen, taken);
                } else {
                    let condition = self.condition(at, Sense::Plain)?;
                    self.branch(condition, taken, fallen);
                }
            }
            Exit::MayGoto { at, taken, fallen } => {
                self.at(at);
                let budget = self.b.use_var(self.budget);
                let less = self.b.ins().iadd_imm_s(budget, -1);
                let is_used_up = self.b.ins().icmp_imm_u(IntCC::Equal, budget, 0);
                // A budget that is used up must stay so: only who falls through pays.
                let pay = self.b.create_block();
                self.b.ins().brif(is_used_up, self.blocks[taken], &[], pay, &[]);
                self.edge(taken);
                self.enter(pay);
                self.b.def_var(self.budget, less);
                self.goto(fallen);
            }
        }
        Ok(())
    }

    /// Whether `next` is the second half of the loop whose first is the current block. It comes
    /// next in the code: Cranelift puts there what a branch goes to if it is not taken.
    pub(super) fn is_second_half(&self, next: BlockNo) -> bool {
        let blocks = &self.function.blocks;
        next > self.current && blocks[next].start == blocks[self.current].start
    }

    /// The jump at `pc` and the instruction that it goes around, as one choice; returns where it goes
    /// on.
    pub(super) fn choose(&mut self, pc: Pc) -> Result<Pc, CompileError> {
        let condition = self.condition(pc, Sense::Plain)?;
        let next = Pc(pc.0 + 1);
        let insn = self.insn(next)?;
        self.at(next);
        let before: Vec<(Reg, Value)> =
            insn.writes().iter().map(|reg| (reg, self.get(reg))).collect();
        let origins = self.origins;
        self.insn_at(insn)?;
        self.origins.step(self.unit.image, next, insn);
        self.origins = self.origins.join(&origins);
        for (reg, before) in before {
            let after = self.get(reg);
            let value = self.b.ins().select(condition, before, after);
            self.set(reg, value);
            self.maps[reg.index()] = None;
        }
        Ok(Pc(next.0 + insn.slots()))
    }

    /// Whether one of the ways out leads to where the function has been.
    fn goes_back(&self, exit: Exit) -> bool {
        let blocks = &self.function.blocks;
        exit.successors().any(|next| blocks[next].start <= blocks[self.current].start)
    }

    /// Whether the jump at `at` compares R0 with null, and if so, whether it is taken for null.
    pub(super) fn compares_r0_with_null(&self, at: Pc) -> Result<Option<bool>, CompileError> {
        let Insn::JumpIf { op, width, dst, src, .. } = self.insn(at)? else { return Ok(None) };
        let compares = (width, dst, src) == (Width::W64, Reg::R0, Operand::Imm(0))
            && matches!(op, JumpOp::Eq | JumpOp::Ne);
        Ok(compares.then_some(op == JumpOp::Eq))
    }

    pub(super) fn goto(&mut self, to: BlockNo) {
        self.b.ins().jump(self.blocks[to], &[]);
        self.edge(to);
    }

    /// Goes to the first; the edge to the second is never taken.
    fn goto_one_of(&mut self, (to, never): (BlockNo, BlockNo)) {
        self.goto(to);
        self.edge(never);
    }

    pub(super) fn branch(&mut self, condition: Value, taken: BlockNo, fallen: BlockNo) {
        self.b.ins().brif(condition, self.blocks[taken], &[], self.blocks[fallen], &[]);
        self.edge(taken);
        self.edge(fallen);
    }

    /// Counts an edge into `to`, which is complete with the last.
    pub(super) fn edge(&mut self, to: BlockNo) {
        self.pending[to] -= 1;
        self.seal_if_complete(to);
    }

    /// When the conditional jump at `at` is taken, or when it is not.
    fn condition(&mut self, at: Pc, sense: Sense) -> Result<Value, CompileError> {
        self.at(at);
        let Insn::JumpIf { op, width, dst, src, .. } = self.insn(at)? else {
            return Err(self.malformed("no conditional jump"));
        };
        let a = self.read(dst, width);
        let b = self.operand(src, width);
        let relation = match op {
            JumpOp::Eq => IntCC::Equal,
            JumpOp::Ne => IntCC::NotEqual,
            JumpOp::Gt => IntCC::UnsignedGreaterThan,
            JumpOp::Ge => IntCC::UnsignedGreaterThanOrEqual,
            JumpOp::Lt => IntCC::UnsignedLessThan,
            JumpOp::Le => IntCC::UnsignedLessThanOrEqual,
            JumpOp::Sgt => IntCC::SignedGreaterThan,
            JumpOp::Sge => IntCC::SignedGreaterThanOrEqual,
            JumpOp::Slt => IntCC::SignedLessThan,
            JumpOp::Sle => IntCC::SignedLessThanOrEqual,
            JumpOp::Set => {
                let common = self.b.ins().band(a, b);
                return Ok(match sense {
                    Sense::Plain => common,
                    Sense::Inverted => self.b.ins().icmp_imm_u(IntCC::Equal, common, 0),
                });
            }
        };
        let relation = match sense {
            Sense::Plain => relation,
            Sense::Inverted => relation.complement(),
        };
        Ok(self.b.ins().icmp(relation, a, b))
    }
}

/// Which way a condition is asked.
#[derive(Clone, Copy, Debug)]
enum Sense {
    Plain,
    Inverted,
}
