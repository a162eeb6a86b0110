//! Atomic instructions: on x86-64 one instruction each, ordered as all of them are.

use bpf_isa::{AtomicOp, Reg, Size};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Value};

use super::Lower;
use super::alu::int;
use super::memory::Place;
use crate::error::CompileError;

impl Lower<'_> {
    /// A read-modify-write.
    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        size: Size,
        base: Reg,
        off: i16,
        src: Reg,
    ) -> Result<(), CompileError> {
        self.refuse_faults()?;
        let (address, place) = self.exact(base, off, size);
        let operand = self.get(src);
        let operand = self.narrow(operand, size);
        let (rmw, old_to) = match op {
            AtomicOp::Add { fetch } => (AtomicRmwOp::Add, fetch.then_some(src)),
            AtomicOp::Or { fetch } => (AtomicRmwOp::Or, fetch.then_some(src)),
            AtomicOp::And { fetch } => (AtomicRmwOp::And, fetch.then_some(src)),
            AtomicOp::Xor { fetch } => (AtomicRmwOp::Xor, fetch.then_some(src)),
            AtomicOp::Xchg => (AtomicRmwOp::Xchg, Some(src)),
            AtomicOp::CmpXchg => {
                let expected = self.get(Reg::R0);
                let expected = self.narrow(expected, size);
                let old = self.b.ins().atomic_cas(place.flags, address, expected, operand);
                let old = self.widen(old, size);
                self.set(Reg::R0, old);
                return Ok(());
            }
        };
        let old = self.b.ins().atomic_rmw(int(size), place.flags, rmw, address, operand);
        if let Some(reg) = old_to {
            let old = self.widen(old, size);
            self.set(reg, old);
        }
        Ok(())
    }

    /// `dst = load_acquire(...)`: every load of this processor is one.
    pub(super) fn load_acquire(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        let (address, place) = self.exact(base, off, size);
        let value = self.b.ins().atomic_load(int(size), place.flags, address);
        let value = self.widen(value, size);
        self.set(dst, value);
    }

    /// `store_release(..., src)`: every store of this processor is one. Cranelift's atomic store
    /// would wait for it to be seen, which nobody asked for; it is enough that no store moves.
    pub(super) fn store_release(&mut self, size: Size, base: Reg, off: i16, src: Reg) {
        let Place { base, off, flags, .. } = self.place(base, off, size);
        let value = self.get(src);
        let value = self.narrow(value, size);
        self.b.ins().sequence_point();
        self.b.ins().store(flags, value, base, off);
        self.b.ins().sequence_point();
    }

    /// The address `base + off` as one value.
    fn exact(&mut self, base: Reg, off: i16, size: Size) -> (Value, Place) {
        let place = self.place(base, off, size);
        let address = if place.off == 0 {
            place.base
        } else {
            self.b.ins().iadd_imm_s(place.base, i64::from(place.off))
        };
        (address, place)
    }
}
