//! Arithmetic.
//!
//! Cranelift agrees with BPF on everything but division, down to shifts being taken modulo the
//! width. Where BPF has a result for a division that the processor has none for, a branch goes
//! around it: it is predicted, and costs less than choosing another divisor.

use bpf_abi::image::Facts;
use bpf_isa::{AluOp, ByteOrder, Endian, Insn, JumpOp, Operand, Pc, Reg, Size, Width};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Type, Value};

use super::{Lower, ty};
use crate::error::CompileError;
use crate::layout::Exit;

impl Lower<'_> {
    /// `dst op= src`.
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        if op == AluOp::Mov {
            let value = self.operand(src, width);
            return self.write(dst, width, value);
        }
        let a = self.read(dst, width);
        let b = self.operand(src, width);
        let result = match op {
            AluOp::Add => self.b.ins().iadd(a, b),
            AluOp::Sub => self.b.ins().isub(a, b),
            AluOp::Mul => self.product(a, b, src, width),
            AluOp::Div => self.unsigned_division(Division::Quotient, a, b, src, width),
            AluOp::Mod => self.unsigned_division(Division::Remainder, a, b, src, width),
            AluOp::Or => self.b.ins().bor(a, b),
            AluOp::And => self.b.ins().band(a, b),
            AluOp::Xor => self.b.ins().bxor(a, b),
            AluOp::Lsh => self.b.ins().ishl(a, b),
            AluOp::Rsh => self.b.ins().ushr(a, b),
            AluOp::Arsh => self.b.ins().sshr(a, b),
            AluOp::Mov => b,
        };
        self.write(dst, width, result);
        if op == AluOp::Add && matches!(src, Operand::Imm(_)) && self.counts_loops(dst) {
            self.hide(dst);
        }
    }

    /// `a * b`: by 3, 5 and 9 with one addition of a shifted register, which the processor does in
    /// less time.
    fn product(&mut self, a: Value, b: Value, src: Operand, width: Width) -> Value {
        let shift = match src {
            Operand::Imm(3) => 1,
            Operand::Imm(5) => 2,
            Operand::Imm(9) => 3,
            Operand::Imm(_) | Operand::Reg(_) => return self.b.ins().imul(a, b),
        };
        let shift = self.b.ins().iconst(ty(width), shift);
        let shifted = self.b.ins().ishl(a, shift);
        self.b.ins().iadd(a, shifted)
    }

    /// `dst op= src`, signed.
    pub(super) fn alu_signed(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Reg,
        src: Operand,
    ) -> Result<(), CompileError> {
        let division = if op == AluOp::Div {
            Division::Quotient
        } else if op == AluOp::Mod {
            Division::Remainder
        } else {
            return Err(self.malformed("a signed operation other than a division"));
        };
        let a = self.read(dst, width);
        let b = self.operand(src, width);
        let result = self.signed_division(division, a, b, src, width);
        self.write(dst, width, result);
        Ok(())
    }

    /// The quotient is 0 and the remainder `a` if `b` is 0.
    fn unsigned_division(
        &mut self,
        division: Division,
        a: Value,
        b: Value,
        src: Operand,
        width: Width,
    ) -> Value {
        let fallback = match division {
            Division::Quotient => self.b.ins().iconst(ty(width), 0),
            Division::Remainder => a,
        };
        let never_zero = match src {
            Operand::Imm(0) => return fallback,
            Operand::Imm(_) => true,
            Operand::Reg(_) => self.note().facts.contains(Facts::NONZERO_DIVISOR),
        };
        let (divide, done) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, ty(width));
        if never_zero {
            self.b.ins().jump(divide, &[]);
        } else {
            self.b.ins().brif(b, divide, &[], done, &[BlockArg::Value(fallback)]);
        }
        self.enter(divide);
        let quotient = match division {
            Division::Quotient => self.b.ins().udiv(a, b),
            Division::Remainder => self.b.ins().urem(a, b),
        };
        self.b.ins().jump(done, &[BlockArg::Value(quotient)]);
        self.enter(done);
        result
    }

    /// The quotient is 0 and the remainder `a` if `b` is 0; the quotient is `-a` and the
    /// remainder 0 if `b` is -1, also for the `a` that has no negative.
    ///
    /// In both cases the quotient is `a * b` and the remainder `a & !b`.
    fn signed_division(
        &mut self,
        division: Division,
        a: Value,
        b: Value,
        src: Operand,
        width: Width,
    ) -> Value {
        let divide_by = |lower: &mut Self| match division {
            Division::Quotient => lower.b.ins().sdiv(a, b),
            Division::Remainder => lower.b.ins().srem(a, b),
        };
        let special = |lower: &mut Self| match division {
            Division::Quotient => lower.b.ins().imul(a, b),
            Division::Remainder => lower.b.ins().band_not(a, b),
        };
        match src {
            Operand::Imm(-1 | 0) => return special(self),
            Operand::Imm(_) => return divide_by(self),
            Operand::Reg(_) => {}
        }
        let (around, divide, done) =
            (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, ty(width));
        let above = self.b.ins().iadd_imm_s(b, 1);
        let is_special = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, above, 1);
        self.b.ins().brif(is_special, around, &[], divide, &[]);
        self.enter(divide);
        let quotient = divide_by(self);
        self.b.ins().jump(done, &[BlockArg::Value(quotient)]);
        self.enter(around);
        let other = special(self);
        self.b.ins().jump(done, &[BlockArg::Value(other)]);
        self.enter(done);
        result
    }

    /// `dst = -dst`.
    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        let value = self.read(dst, width);
        let value = self.b.ins().ineg(value);
        self.write(dst, width, value);
    }

    /// `dst = src`, sign-extended.
    pub(super) fn mov_sx(&mut self, width: Width, dst: Reg, src: Reg, from: Size) {
        let value = self.get(src);
        let value = self.narrow(value, from);
        let value =
            if int(from) == ty(width) { value } else { self.b.ins().sextend(ty(width), value) };
        self.write(dst, width, value);
    }

    /// Changes the byte order of `dst`.
    pub(super) fn endian(&mut self, kind: Endian, size: Size, dst: Reg) {
        let value = self.get(dst);
        let value = self.narrow(value, size);
        let value = match kind {
            Endian::Swap | Endian::To(ByteOrder::Big) => self.b.ins().bswap(value),
            Endian::To(ByteOrder::Little) => value,
        };
        let value = self.widen(value, size);
        self.set(dst, value);
    }

    /// The low `size` of a register's value.
    pub(super) fn narrow(&mut self, value: Value, size: Size) -> Value {
        if size == Size::DW { value } else { self.b.ins().ireduce(int(size), value) }
    }

    /// A value of this size as a register's, filled with zeros.
    pub(super) fn widen(&mut self, value: Value, size: Size) -> Value {
        if size == Size::DW { value } else { self.b.ins().uextend(I64, value) }
    }

    /// Whether `dst`, to which a constant was just added, is soon compared with a constant, and
    /// the loop then begins anew. In the first half of a loop that is laid out twice the new
    /// value is best not made at all.
    fn counts_loops(&self, dst: Reg) -> bool {
        let block = &self.function.blocks[self.current];
        let Exit::If { at, taken, fallen } = block.exit else { return false };
        if self.is_second_half(taken) || self.is_second_half(fallen) {
            return false;
        }
        let between = (self.pc.0 + 1..block.end.0).map(Pc);
        let insns = &self.unit.image.program;
        let kept = between.filter_map(|pc| insns.get(pc)).all(|insn| !insn.writes().contains(dst));
        kept && matches!(
            insns.get(at),
            Some(Insn::JumpIf {
                op: JumpOp::Eq | JumpOp::Ne,
                dst: compared,
                src: Operand::Imm(_),
                ..
            }) if compared == dst
        )
    }

    /// Hides how the value of `reg` came about.
    ///
    /// The optimizer would compare the counter's old value with another constant instead, and
    /// then keep both the old and the new one.
    fn hide(&mut self, reg: Reg) {
        let value = self.get(reg);
        let both = self.b.ins().iconcat(value, value);
        let (low, _) = self.b.ins().isplit(both);
        self.set(reg, low);
    }
}

/// Which result of a division is wanted.
#[derive(Clone, Copy, Debug)]
enum Division {
    Quotient,
    Remainder,
}

/// The type of so many bytes.
pub(super) const fn int(size: Size) -> Type {
    match size {
        Size::B => I8,
        Size::H => I16,
        Size::W => I32,
        Size::DW => I64,
    }
}
