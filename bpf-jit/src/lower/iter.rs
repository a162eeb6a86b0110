//! Iterators over numbers, without a call.
//!
//! ```text
//!  +---------+-------+
//!  | current |  end  |      in the function's own frame
//!  +---------+-------+
//!   0         4
//! ```
//!
//! Where an iterator is elsewhere, in a caller's frame, the kernel function is called.

use bpf_abi::errno::Errno;
use bpf_isa::{Call, Insn, Reg, Size};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};

use super::memory::Place;
use super::{Lower, Mode};
use crate::error::CompileError;
use crate::input::Numbers;
use crate::layout::Exit;
use crate::origin::Origin;

/// The most numbers. Linux: `BPF_MAX_LOOPS`.
const MOST: i64 = 8 * 1024 * 1024;

impl Lower<'_> {
    /// A call of a function of an iterator over numbers; returns whether it was one.
    pub(super) fn iterator(&mut self, id: i32) -> bool {
        match self.on_own_iterator(id) {
            Some(Numbers::New) => self.begin_numbers(),
            Some(Numbers::Next) => self.next_number(),
            Some(Numbers::Destroy) => {
                let none = self.b.ins().iconst(I32, 0);
                self.set_numbers(none, none);
            }
            None => return false,
        }
        true
    }

    /// If `insn` goes on to the next number and the block ends with the test of its result, both at
    /// once. Returns whether it was so.
    pub(super) fn fused_next(&mut self, insn: Insn, exit: Exit) -> Result<bool, CompileError> {
        let (Insn::Call(Call::Helper(id)), Exit::If { at, taken, fallen }) = (insn, exit) else {
            return Ok(false);
        };
        if self.on_own_iterator(id) != Some(Numbers::Next) {
            return Ok(false);
        }
        let Some(null_is_taken) = self.compares_r0_with_null(at)? else { return Ok(false) };
        let (on_number, on_null) = if null_is_taken { (fallen, taken) } else { (taken, fallen) };
        let (next, end, is_over) = self.next_and_end();
        let (over, more) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_over, over, &[], more, &[]);
        self.enter(over);
        let null = self.end_numbers();
        self.set(Reg::R0, null);
        self.goto(on_null);
        self.enter(more);
        self.set_numbers(next, end);
        let address = self.get(Reg::R1);
        self.set(Reg::R0, address);
        self.goto(on_number);
        Ok(true)
    }

    /// Which function of an iterator it is, if R1 is known to point into this function's frame.
    fn on_own_iterator(&self, id: i32) -> Option<Numbers> {
        let in_frame = matches!(self.origins.of(Reg::R1), Origin::Frame(Some(_)));
        if !in_frame || self.unit.mode == Mode::Checked {
            return None;
        }
        self.unit.image.helper(id)?.1.numbers
    }

    /// `bpf_iter_num_new(R1, R2, R3)`.
    fn begin_numbers(&mut self) {
        let (start, end) = (self.get(Reg::R2), self.get(Reg::R3));
        let (start, end) = (self.b.ins().ireduce(I32, start), self.b.ins().ireduce(I32, end));
        let (first, last) = (self.b.ins().sextend(I64, start), self.b.ins().sextend(I64, end));
        let many = self.b.ins().isub(last, first);
        // What is below zero is a large number without a sign.
        let fits = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, many, MOST);
        let before = self.b.ins().iadd_imm_s(start, -1);
        let none = self.b.ins().iconst(I32, 0);
        let current = self.b.ins().select(fits, before, none);
        let end = self.b.ins().select(fits, end, none);
        self.set_numbers(current, end);
        let is_backward = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, many, 0);
        // An `int`: the upper half of R0 is clear.
        let backward = self.imm(Errno::EINVAL.to_register().cast_signed(), I32);
        let too_many = self.imm(Errno::E2BIG.to_register().cast_signed(), I32);
        let error = self.b.ins().select(is_backward, backward, too_many);
        let fine = self.b.ins().iconst(I32, 0);
        let result = self.b.ins().select(fits, fine, error);
        let result = self.b.ins().uextend(I64, result);
        self.set(Reg::R0, result);
    }

    /// `bpf_iter_num_next(R1)`.
    fn next_number(&mut self) {
        let (next, end, is_over) = self.next_and_end();
        let (over, more) = (self.b.create_block(), self.b.create_block());
        let done = self.b.create_block();
        let result = self.b.append_block_param(done, I64);
        self.b.ins().brif(is_over, over, &[], more, &[]);
        self.enter(over);
        let null = self.end_numbers();
        self.b.ins().jump(done, &[BlockArg::Value(null)]);
        self.enter(more);
        self.set_numbers(next, end);
        let address = self.get(Reg::R1);
        self.b.ins().jump(done, &[BlockArg::Value(address)]);
        self.enter(done);
        self.set(Reg::R0, result);
    }

    /// The next number, that behind the last, and whether the one is not before the other.
    fn next_and_end(&mut self) -> (Value, Value, Value) {
        let Place { base, off, flags, .. } = self.pointee(Reg::R1, Size::W);
        let current = self.b.ins().load(I32, flags, base, off);
        let end = self.b.ins().load(I32, flags, base, off + 4);
        // The current number is below the end, so that the next is a number; before the first use
        // it may be the lowest less one, which has become the greatest.
        let next = self.b.ins().iadd_imm_s(current, 1);
        let is_over = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, next, end);
        (next, end, is_over)
    }

    /// No number is left; yields null.
    fn end_numbers(&mut self) -> Value {
        let none = self.b.ins().iconst(I32, 0);
        self.set_numbers(none, none);
        self.b.ins().iconst(I64, 0)
    }

    fn set_numbers(&mut self, current: Value, end: Value) {
        let Place { base, off, flags, .. } = self.pointee(Reg::R1, Size::W);
        self.b.ins().store(flags, current, base, off);
        self.b.ins().store(flags, end, base, off + 4);
    }
}
