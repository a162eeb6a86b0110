//! Exceptions: the way from where one is thrown to the program's first function.
//!
//! The value waits in the run, and each function on the way leaves as soon as it sees that. The first
//! function takes it, and returns what the program's exception callback makes of it.

use bpf_abi::exec::RunCx;
use bpf_isa::{Pc, Reg};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::Lower;
use super::call::offset;
use crate::error::CompileError;

impl Lower<'_> {
    /// `bpf_throw(R1)`, behind which stands an `exit`.
    pub(super) fn throw(&mut self) -> Result<(), CompileError> {
        let cookie = self.get(Reg::R1);
        if self.is_first() {
            let result = self.caught(cookie)?;
            self.set(Reg::R0, result);
            return Ok(());
        }
        let (cx, flags) = (self.cx(), MemFlagsData::trusted());
        self.b.ins().store(flags, cookie, cx, offset(RunCx::COOKIE_OFFSET));
        let thrown = self.b.ins().iconst(I32, 1);
        self.b.ins().store(flags, thrown, cx, offset(RunCx::THROWN_OFFSET));
        let nothing = self.b.ins().iconst(I64, 0);
        self.set(Reg::R0, nothing);
        Ok(())
    }

    /// Leaves the function if what it called threw an exception.
    pub(super) fn leave_if_thrown(&mut self) -> Result<(), CompileError> {
        let (cx, flags) = (self.cx(), MemFlagsData::trusted());
        let thrown = self.b.ins().load(I32, flags, cx, offset(RunCx::THROWN_OFFSET));
        let (leaving, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(thrown, leaving, &[], on, &[]);
        self.enter(leaving);
        let result = if self.is_first() {
            let none = self.b.ins().iconst(I32, 0);
            self.b.ins().store(flags, none, cx, offset(RunCx::THROWN_OFFSET));
            let cookie = self.b.ins().load(I64, flags, cx, offset(RunCx::COOKIE_OFFSET));
            self.caught(cookie)?
        } else {
            self.b.ins().iconst(I64, 0)
        };
        self.leave(result);
        self.enter(on);
        Ok(())
    }

    /// What the program returns for an exception of this value.
    fn caught(&mut self, cookie: Value) -> Result<Value, CompileError> {
        let Some(start) = self.unit.image.exception_callback else { return Ok(cookie) };
        let number = self
            .unit
            .layout
            .function_from(start)
            .ok_or_else(|| self.malformed("an exception callback where no function begins"))?;
        let takes = usize::from(self.unit.layout.functions[number].arity);
        let nothing = self.b.ins().iconst(I64, 0);
        let values = [cookie, nothing, nothing, nothing, nothing];
        Ok(self.call_function(number, values.into_iter().take(takes).collect()))
    }

    /// Whether this is the program's first function.
    fn is_first(&self) -> bool {
        self.function.start == Pc(0)
    }
}
