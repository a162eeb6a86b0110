//! What code of unverified programs does besides: see [`crate::checked`].

use std::mem::offset_of;

use bpf_isa::{Reg, Size};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::Lower;
use super::memory::Place;
use crate::checked::{CheckedCx, Code, FRAME};
use crate::error::CompileError;
use crate::origin::Region;

impl Lower<'_> {
    /// R10 and, of the main function, R2 come from the run; entering a function costs.
    pub(super) fn checked_prologue(&mut self, number: usize) {
        if number == 0 {
            let len = self.field(offset_of!(CheckedCx, memory_len));
            self.set(Reg::R2, len);
        }
        self.fp = Some(self.field(offset_of!(CheckedCx, frame)));
        self.spend();
    }

    /// A call, in a frame of its own; returns at once if something went wrong in it.
    pub(super) fn checked_local(&mut self, off: i32) -> Result<(), CompileError> {
        let frame = self.field(offset_of!(CheckedCx, frame));
        let next = self.b.ins().iadd_imm_u(frame, FRAME.cast_signed());
        let stack = self.field(offset_of!(CheckedCx, stack));
        let stack_len = self.field(offset_of!(CheckedCx, stack_len));
        let end = self.b.ins().iadd(stack, stack_len);
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, next, end);
        self.unless(fits, Code::CallsTooDeep);
        self.set_field(offset_of!(CheckedCx, frame), next);
        self.local(off)?;
        self.set_field(offset_of!(CheckedCx, frame), frame);
        let (cx, flags) = (self.cx(), self.flags(Region::Memory));
        let fault = self.b.ins().load(I32, flags, cx, offset(offset_of!(CheckedCx, fault)));
        let (failed, fine) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(fault, failed, &[], fine, &[]);
        self.enter(failed);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().return_(&[zero]);
        self.enter(fine);
        Ok(())
    }

    /// The address `base + off` of an access of this size, compared with what may be touched.
    pub(super) fn checked_place(&mut self, base: Reg, off: i16, size: Size) -> Place {
        let base = self.get(base);
        let address = self.b.ins().iadd_imm_s(base, i64::from(off));
        let memory = self.field(offset_of!(CheckedCx, memory));
        let memory_len = self.field(offset_of!(CheckedCx, memory_len));
        let stack = self.field(offset_of!(CheckedCx, stack));
        let stack_len = self.field(offset_of!(CheckedCx, stack_len));
        let in_memory = self.is_within(address, size, memory, memory_len);
        let in_stack = self.is_within(address, size, stack, stack_len);
        let is_fine = self.b.ins().bor(in_memory, in_stack);
        self.unless(is_fine, Code::BadAccess);
        let flags = self.flags(Region::Memory);
        Place { base: address, off: 0, flags, in_frame: false, is_shared: false }
    }

    /// Whether `size` bytes at `address` lie in the `len` bytes at `start`: they begin there, and
    /// what is left from there is enough.
    fn is_within(&mut self, address: Value, size: Size, start: Value, len: Value) -> Value {
        let distance = self.b.ins().isub(address, start);
        let begins = self.b.ins().icmp(IntCC::UnsignedLessThan, distance, len);
        let left = self.b.ins().isub(len, distance);
        let bytes = i64::from(size.bytes());
        let is_enough = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, left, bytes);
        self.b.ins().band(begins, is_enough)
    }

    /// Takes one from the budget.
    pub(super) fn spend(&mut self) {
        let budget = self.field(offset_of!(CheckedCx, budget));
        self.unless(budget, Code::OutOfBudget);
        let less = self.b.ins().iadd_imm_s(budget, -1);
        self.set_field(offset_of!(CheckedCx, budget), less);
    }

    /// Unless `is_fine`, writes down what went wrong and returns.
    fn unless(&mut self, is_fine: Value, code: Code) {
        let (failed, fine) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_fine, fine, &[], failed, &[]);
        self.enter(failed);
        let (cx, flags) = (self.cx(), MemFlagsData::trusted());
        let code = self.imm(i64::from(code as u32), I32);
        self.b.ins().store(flags, code, cx, offset(offset_of!(CheckedCx, fault)));
        let pc = self.imm(i64::from(self.pc.0), I32);
        self.b.ins().store(flags, pc, cx, offset(offset_of!(CheckedCx, fault_pc)));
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().return_(&[zero]);
        self.enter(fine);
    }

    fn field(&mut self, at: usize) -> Value {
        let (cx, flags) = (self.cx(), self.flags(Region::Memory));
        self.b.ins().load(I64, flags, cx, offset(at))
    }

    fn set_field(&mut self, at: usize, value: Value) {
        let (cx, flags) = (self.cx(), self.flags(Region::Memory));
        self.b.ins().store(flags, value, cx, offset(at));
    }
}

/// An offset in the run as Cranelift takes it.
fn offset(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("the run is a small structure")
}
