//! Calls: helpers, functions of the program, tail calls.

use bpf_abi::exec::{ProgCounters, RandomLayout, RunCx};
use bpf_abi::helper::{LOAD_PACKET, LOAD_PACKET_FAILED, THROW};
use bpf_isa::{Call, Reg, Size};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value};

use super::{Lower, Mode, index};
use crate::abi::{self, Name};
use crate::error::CompileError;
use crate::input::Shape;
use crate::layout::TAIL_CALL;
use crate::origin::Region;
use crate::symbol::Symbol;

/// The number of `bpf_map_lookup_elem`.
pub(super) const MAP_LOOKUP: i32 = 1;
/// The number of `bpf_map_lookup_percpu_elem`.
const MAP_LOOKUP_PERCPU: i32 = 195;
/// The number of `bpf_get_smp_processor_id`.
const SMP_PROCESSOR_ID: i32 = 8;

impl Lower<'_> {
    /// A call, whose result is R0.
    pub(super) fn call(&mut self, call: Call) -> Result<(), CompileError> {
        match call {
            Call::Helper(id) if self.unit.mode == Mode::Checked => {
                Err(self.unsupported(&format!("a call of helper #{id}")))
            }
            Call::Local(off) if self.unit.mode == Mode::Checked => self.checked_local(off),
            Call::Helper(TAIL_CALL) => self.tail_call(),
            Call::Helper(THROW) => self.throw(),
            Call::Helper(SMP_PROCESSOR_ID) => {
                let cpu = self.cpu();
                self.set(Reg::R0, cpu);
                Ok(())
            }
            Call::Helper(MAP_LOOKUP) if self.lookup()? => Ok(()),
            Call::Helper(MAP_LOOKUP_PERCPU) if self.lookup_of_cpu()? => Ok(()),
            Call::Helper(id) if self.iterator(id) || self.repeat(id)? => Ok(()),
            Call::Helper(id) if self.random(id) => Ok(()),
            Call::Helper(id) => self.helper(id),
            Call::Local(off) => self.local(off),
            Call::Kfunc { btf_id, .. } => {
                Err(self.unsupported(&format!("a call of kernel function #{btf_id}")))
            }
        }
    }

    /// A call of a helper that returns the next number of its CPU's row; returns whether it was one.
    /// How the numbers are made says [`RandomLayout`].
    fn random(&mut self, id: i32) -> bool {
        if !self.unit.image.helper(id).is_some_and(|(_, helper)| helper.is_random) {
            return false;
        }
        let states = self.address(Symbol::RandomStates, 0);
        let cpu = self.cpu();
        let distance = self.b.ins().imul_imm_u(cpu, i64::from(RandomLayout::STRIDE));
        let state = self.b.ins().iadd(states, distance);
        let flags = self.flags(Region::Counters);
        let before = self.b.ins().load(I64, flags, state, 0);
        let now = self.b.ins().iadd_imm_s(before, RandomLayout::STEP.cast_signed());
        self.b.ins().store(flags, now, state, 0);
        let mut x = now;
        for (shift, factor) in [(30, RandomLayout::FIRST), (27, RandomLayout::SECOND)] {
            let shifted = self.b.ins().ushr_imm_u(x, shift);
            let mixed = self.b.ins().bxor(x, shifted);
            x = self.b.ins().imul_imm_s(mixed, factor.cast_signed());
        }
        let shifted = self.b.ins().ushr_imm_u(x, 31);
        let mixed = self.b.ins().bxor(x, shifted);
        let number = self.b.ins().ushr_imm_u(mixed, 32);
        self.set(Reg::R0, number);
        true
    }

    /// The number of the CPU the program runs on.
    pub(super) fn cpu(&mut self) -> Value {
        let cx = self.cx();
        let flags = MemFlagsData::trusted().with_readonly();
        self.b.ins().uload32(flags, cx, offset(RunCx::CPU_OFFSET))
    }

    pub(super) fn helper(&mut self, id: i32) -> Result<(), CompileError> {
        let args = self.helper_arity(id)?;
        let mut values = vec![self.cx()];
        for reg in &Reg::ARGS[..usize::from(args)] {
            values.push(self.get(*reg));
        }
        let result = self.call_helper(id, &values)?;
        self.set(Reg::R0, result);
        Ok(())
    }

    fn helper_arity(&self, id: i32) -> Result<u8, CompileError> {
        match self.unit.image.helper(id) {
            Some((_, helper)) => Ok(helper.registers),
            None => Err(self.unsupported(&format!("helper #{id}, which the image does not bind,"))),
        }
    }

    /// Calls a helper's code: directly if it is in reach.
    fn call_helper(&mut self, id: i32, values: &[Value]) -> Result<Value, CompileError> {
        let Some((at, helper)) = self.unit.image.helper(id) else {
            return Err(self.unsupported(&format!("helper #{id}")));
        };
        let args = u8::try_from(values.len() - 1).unwrap_or(5);
        let call = if helper.is_near {
            let callee = self.name(Name::Helper(index(at)), abi::helper(args));
            self.b.ins().call(callee, values)
        } else {
            let signature = self.b.import_signature(abi::helper(args));
            let address = self.address(Symbol::Helper(index(at)), 0);
            self.b.ins().call_indirect(signature, address, values)
        };
        Ok(self.b.inst_results(call)[0])
    }

    pub(super) fn local(&mut self, off: i32) -> Result<(), CompileError> {
        let number = self.unit.layout.function_at(self.pc, off)?;
        let arity = usize::from(self.unit.layout.functions[number].arity);
        let values: Vec<Value> = Reg::ARGS[..arity].iter().map(|reg| self.get(*reg)).collect();
        let result = self.call_or_inline(number, values)?;
        self.set(Reg::R0, result);
        if self.unit.layout.functions[number].may_throw {
            self.leave_if_thrown()?;
        }
        Ok(())
    }

    /// Calls a function of the program with as many arguments as it takes, or puts it here.
    pub(super) fn call_or_inline(
        &mut self,
        number: usize,
        args: Vec<Value>,
    ) -> Result<Value, CompileError> {
        match self.body.inlined(self.current, self.pc) {
            Some(body) => self.inline(body, &args),
            None => Ok(self.call_function(number, args)),
        }
    }

    /// Calls a function of the program with as many arguments as it takes.
    pub(super) fn call_function(&mut self, number: usize, args: Vec<Value>) -> Value {
        let callee = &self.unit.layout.functions[number];
        let mut values = args;
        if callee.wants_cx {
            values.push(self.cx());
        }
        let callee = self.name(Name::Function(index(number)), abi::called_body(callee));
        let call = self.b.ins().call(callee, &values);
        self.b.inst_results(call)[0]
    }

    /// `bpf_tail_call(R1, R2, R3)`: goes on after it if there is nowhere to go, or if the run has
    /// taken as many as it may.
    ///
    /// The slot is read anew each time: a running program sees what others put there.
    fn tail_call(&mut self) -> Result<(), CompileError> {
        let miss = self.b.create_block();
        // Who takes a tail call goes straight on; who does not has time.
        self.b.set_cold_block(miss);
        let Some(slot) = self.program_slot(miss)? else {
            // The slot is one that the array does not have.
            self.b.ins().jump(miss, &[]);
            self.tail_call_missed(miss);
            return Ok(());
        };
        let (below_limit, found) = (self.b.create_block(), self.b.create_block());
        let count = self.b.ins().get_pinned_reg(I64);
        self.b.ins().brif(count, below_limit, &[], miss, &[]);
        self.enter(below_limit);
        let entry = self.b.ins().atomic_load(I64, MemFlagsData::trusted(), slot);
        self.b.ins().brif(entry, found, &[], miss, &[]);
        self.enter(found);
        // Read anew, so that neither value outlives its use: see `tally`.
        let count = self.b.ins().get_pinned_reg(I64);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().set_pinned_reg(count);
        if self.unit.mode == Mode::Counted {
            self.count(std::mem::offset_of!(ProgCounters, tail_calls));
        }
        let signature = match self.tail_call {
            Some(signature) => signature,
            None => self.b.import_signature(abi::main_body()),
        };
        self.tail_call = Some(signature);
        let values = [self.get(Reg::R1), self.cx()];
        self.b.ins().return_call_indirect(signature, entry, &values);
        self.tail_call_missed(miss);
        Ok(())
    }

    /// Goes on in `miss`, after a tail call that was not taken.
    fn tail_call_missed(&mut self, miss: Block) {
        self.enter(miss);
        if self.unit.mode == Mode::Counted {
            self.count(std::mem::offset_of!(ProgCounters, fallen_through));
        }
    }

    /// The address of the slot that a tail call goes through, having gone to `miss` if the array
    /// has no such slot; `None` if that is known now.
    fn program_slot(&mut self, miss: Block) -> Result<Option<Value>, CompileError> {
        let note = self.note();
        let map = note.map.or(self.maps[Reg::R2.index()]);
        if let Some(map) = map {
            let max_entries = self.program_array(map)?;
            if let Some(key) = note.key {
                if key >= max_entries {
                    return Ok(None);
                }
                return Ok(Some(self.address(Symbol::ProgSlots(map), 8 * u64::from(key))));
            }
            let native = self.address(Symbol::ProgSlots(map), 0);
            let max_entries = self.b.ins().iconst(I32, i64::from(max_entries));
            return Ok(Some(self.slot_in_bounds(native, max_entries, miss)));
        }
        // One of several arrays: which one, their handles tell.
        let handle = self.get(Reg::R2);
        let mut native = self.b.ins().iconst(I64, 0);
        let mut max_entries = self.b.ins().iconst(I32, 0);
        for (number, map) in (0..).zip(&self.unit.image.maps) {
            let Shape::ProgArray { max_entries: len } = map.shape else { continue };
            let this = self.address(Symbol::Map(number), 0);
            let is_this = self.b.ins().icmp(IntCC::Equal, handle, this);
            let slots = self.address(Symbol::ProgSlots(number), 0);
            let len = self.b.ins().iconst(I32, i64::from(len));
            native = self.b.ins().select(is_this, slots, native);
            max_entries = self.b.ins().select(is_this, len, max_entries);
        }
        Ok(Some(self.slot_in_bounds(native, max_entries, miss)))
    }

    /// How many slots the program array with this number has.
    fn program_array(&self, map: u16) -> Result<u32, CompileError> {
        match self.map(i32::from(map))?.1.shape {
            Shape::ProgArray { max_entries } => Ok(max_entries),
            Shape::Opaque
            | Shape::Array { .. }
            | Shape::PercpuArray { .. }
            | Shape::Hash { .. } => {
                Err(self.malformed("a tail call through what is no program array"))
            }
        }
    }

    fn slot_in_bounds(&mut self, native: Value, max_entries: Value, miss: Block) -> Value {
        let key = self.get(Reg::R3);
        let key = self.b.ins().ireduce(I32, key);
        let is_in = self.b.ins().icmp(IntCC::UnsignedLessThan, key, max_entries);
        let in_bounds = self.b.create_block();
        self.b.ins().brif(is_in, in_bounds, &[], miss, &[]);
        self.enter(in_bounds);
        let key = self.b.ins().uextend(I64, key);
        let distance = self.b.ins().ishl_imm_u(key, 3);
        self.b.ins().iadd(native, distance)
    }

    /// `LD_ABS` and `LD_IND`: leaves the function with 0 if the bytes are not in the packet.
    pub(super) fn load_packet(
        &mut self,
        size: Size,
        src: Option<Reg>,
        imm: i32,
    ) -> Result<(), CompileError> {
        if self.unit.mode == Mode::Checked {
            return Err(self.unsupported("a load from the packet"));
        }
        let skb = self.get(Reg::R6);
        let off = match src {
            None => self.b.ins().iconst(I64, i64::from(imm)),
            Some(reg) => {
                let reg = self.get(reg);
                let low = self.b.ins().ireduce(I32, reg);
                let sum = self.b.ins().iadd_imm_s(low, i64::from(imm));
                self.b.ins().sextend(I64, sum)
            }
        };
        let bytes = self.b.ins().iconst(I64, i64::from(size.bytes()));
        let values = [self.cx(), skb, off, bytes];
        let id = i32::try_from(LOAD_PACKET).unwrap_or(i32::MAX);
        let result = self.call_helper(id, &values)?;
        let (failed, loaded) = (self.b.create_block(), self.b.create_block());
        let is_failed =
            self.b.ins().icmp_imm_s(IntCC::Equal, result, LOAD_PACKET_FAILED.cast_signed());
        self.b.ins().brif(is_failed, failed, &[], loaded, &[]);
        self.enter(failed);
        let zero = self.b.ins().iconst(I64, 0);
        self.leave(zero);
        self.enter(loaded);
        self.set(Reg::R0, result);
        Ok(())
    }
}

/// An offset in a structure as Cranelift takes it.
pub(super) fn offset(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("the run is a small structure")
}
