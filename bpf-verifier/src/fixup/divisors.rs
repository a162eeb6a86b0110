//! Divisors that are never zero.
//!
//! What the walk saw of a divisor does not say it: paths are pruned where registers that no verdict rests
//! on differ, so a number may be zero that never was in a walked state. What the code itself says
//! holds on every path: numbers that were set, and comparisons that were not taken, are followed
//! from one instruction to the next, as far as no jump comes in from elsewhere.

use bpf_isa::{AluOp, Extension, Imm64, Insn, JumpOp, Operand, Pc, Reg, RegSet, Size, Width};

use super::code::Code;
use crate::env::Env;

/// For each line, whether it divides by a register that cannot be zero.
pub(super) fn never_zero(env: &Env<'_>, code: &Code) -> Vec<bool> {
    let mut joined = vec![false; env.program.len() + 1];
    let starts = env.subprogs.iter().map(|subprog| subprog.start);
    let targets = code.lines.iter().filter_map(|line| line.insn.jump_target(line.from));
    for at in starts.chain(targets) {
        if let Some(joined) = joined.get_mut(at.index()) {
            *joined = true;
        }
    }
    let mut known = Known::default();
    // What follows the line before; second slots of immediates have no line.
    let mut next = Pc(0);
    let mut all = Vec::with_capacity(code.lines.len());
    for line in &code.lines {
        let comes_in = (next.index()..=line.from.index()).any(|at| joined.get(at) != Some(&false));
        if comes_in {
            known = Known::default();
        }
        all.push(known.divides(line.insn));
        known.step(line.insn);
        next = Pc(line.from.0 + 1);
    }
    all
}

/// What is known of registers.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Not zero.
    whole: RegSet,
    /// The low half is not zero.
    low: RegSet,
    /// The high half is zero.
    narrow: RegSet,
}

/// The set with or without a register.
fn set(regs: &mut RegSet, reg: Reg, is_in: bool) {
    let without = regs.minus(RegSet::EMPTY.with(reg));
    *regs = if is_in { without.with(reg) } else { without };
}

impl Known {
    #[expect(clippy::wildcard_enum_match_arm, reason = "others do not divide by a register")]
    fn divides(&self, insn: Insn) -> bool {
        match insn {
            Insn::Alu { op: AluOp::Div | AluOp::Mod, width, src: Operand::Reg(src), .. }
            | Insn::AluSigned { width, src: Operand::Reg(src), .. } => match width {
                Width::W64 => self.whole.contains(src),
                Width::W32 => self.low.contains(src),
            },
            _ => false,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of others only what they write counts")]
    fn step(&mut self, insn: Insn) {
        let before = *self;
        for reg in insn.writes().iter() {
            self.learn(reg, false, false, false);
        }
        match insn {
            Insn::Alu { op: AluOp::Mov, width, dst, src: Operand::Imm(imm) } => {
                self.learn(dst, imm != 0, imm != 0, imm >= 0 || width == Width::W32);
            }
            Insn::Alu { op: AluOp::Mov, width, dst, src: Operand::Reg(src) } => {
                let low = before.low.contains(src);
                match width {
                    Width::W64 => {
                        let (whole, narrow) =
                            (before.whole.contains(src), before.narrow.contains(src));
                        self.learn(dst, whole, low, narrow);
                    }
                    Width::W32 => self.learn(dst, low, low, true),
                }
            }
            Insn::Alu { op: AluOp::Or, width, dst, src: Operand::Imm(imm) } => {
                self.learn(dst, imm != 0, imm != 0, width == Width::W32);
            }
            Insn::Alu { width: Width::W32, dst, .. } => self.learn(dst, false, false, true),
            Insn::LoadImm64 { dst, imm: Imm64::Value(value) } => {
                self.learn(dst, value != 0, value << 32 != 0, value >> 32 == 0);
            }
            Insn::Load { size, ext: Extension::Unsigned, dst, .. } => {
                self.learn(dst, false, false, size != Size::DW);
            }
            Insn::JumpIf { op, width, dst, src: Operand::Imm(imm), .. } => {
                // The jump was not taken.
                let is_something = match op {
                    JumpOp::Eq => imm == 0,
                    JumpOp::Ne | JumpOp::Lt => imm != 0,
                    JumpOp::Le => true,
                    _ => false,
                };
                if is_something {
                    let is_low = width == Width::W32 || before.narrow.contains(dst);
                    let low = is_low || before.low.contains(dst);
                    self.learn(dst, true, low, before.narrow.contains(dst));
                }
            }
            _ => {}
        }
    }

    fn learn(&mut self, reg: Reg, whole: bool, low: bool, narrow: bool) {
        set(&mut self.whole, reg, whole || low);
        set(&mut self.low, reg, low);
        set(&mut self.narrow, reg, narrow);
    }
}
