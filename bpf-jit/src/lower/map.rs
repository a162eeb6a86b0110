//! Lookups in arrays, without a call.

use bpf_isa::{Call, Insn, Reg, Size};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};

use super::Lower;
use super::call::MAP_LOOKUP;
use crate::error::CompileError;
use crate::input::Shape;
use crate::layout::Exit;
use crate::symbol::Symbol;

/// An array whose values lie one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array {
    values: Symbol,
    stride: u32,
    pub(super) max_entries: u32,
    /// How the CPUs' values lie, if each has its own.
    percpu: Option<Percpu>,
}

/// Values of an array that each CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percpu {
    /// How far the values of two CPUs are apart.
    stride: u64,
    cpus: u32,
}

impl Lower<'_> {
    /// If `insn` is a lookup and the block ends with the test of its result, both at once.
    /// Returns whether it was so.
    ///
    /// Whether there is a value is known where its address is not yet: either way out gets the
    /// R0 of its own, and nothing is tested twice.
    pub(super) fn fused_lookup(&mut self, insn: Insn, exit: Exit) -> Result<bool, CompileError> {
        let (Insn::Call(Call::Helper(MAP_LOOKUP)), Exit::If { at, taken, fallen }) = (insn, exit)
        else {
            return Ok(false);
        };
        let Some(null_is_taken) = self.compares_r0_with_null(at)? else { return Ok(false) };
        let (on_value, on_null) = if null_is_taken { (fallen, taken) } else { (taken, fallen) };
        if let Some(table) = self.table()? {
            self.find_or_else(table, on_value, on_null)?;
            return Ok(true);
        }
        if self.note().key.is_some() {
            return Ok(false);
        }
        let Some(array) = self.array()? else { return Ok(false) };
        let key = self.key();
        let is_in = self.is_in(array, key);
        let (found, missing) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_in, found, &[], missing, &[]);
        self.enter(missing);
        let null = self.b.ins().iconst(I64, 0);
        self.set(Reg::R0, null);
        self.goto(on_null);
        self.enter(found);
        let value = self.value(array, key);
        let value = self.on_this_cpu(array, value);
        self.set(Reg::R0, value);
        self.goto(on_value);
        Ok(true)
    }

    /// A lookup in an array; returns whether it was one.
    pub(super) fn lookup(&mut self) -> Result<bool, CompileError> {
        if let Some(table) = self.table()? {
            self.find(table)?;
            return Ok(true);
        }
        let Some(array) = self.array()? else { return Ok(false) };
        if let Some(key) = self.note().key {
            let address = if key < array.max_entries {
                self.found = true;
                let distance = u64::from(key) * u64::from(array.stride);
                let address = self.address(array.values, distance);
                self.on_this_cpu(array, address)
            } else {
                self.b.ins().iconst(I64, 0)
            };
            self.set(Reg::R0, address);
            return Ok(true);
        }
        let key = self.key();
        let is_in = self.is_in(array, key);
        self.value_or_null(is_in, |lower| {
            let value = lower.value(array, key);
            lower.on_this_cpu(array, value)
        });
        Ok(true)
    }

    /// R0 becomes what `value` gives if `is_in`, and null if not.
    fn value_or_null(&mut self, is_in: Value, value: impl FnOnce(&mut Self) -> Value) {
        let (found, done) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, I64);
        let null = self.b.ins().iconst(I64, 0);
        self.b.ins().brif(is_in, found, &[], done, &[BlockArg::Value(null)]);
        self.enter(found);
        let value = value(self);
        self.b.ins().jump(done, &[BlockArg::Value(value)]);
        self.enter(done);
        self.set(Reg::R0, result);
    }

    /// A lookup of the value that the CPU in R3 has in an array; returns whether it was one.
    pub(super) fn lookup_of_cpu(&mut self) -> Result<bool, CompileError> {
        let Some(array) = self.array()? else { return Ok(false) };
        let Some(percpu) = array.percpu else { return Ok(false) };
        let key = self.key();
        let cpu = self.get(Reg::R3);
        let cpu = self.b.ins().ireduce(I32, cpu);
        let cpus = self.b.ins().iconst(I32, i64::from(percpu.cpus));
        let is_cpu = self.b.ins().icmp(IntCC::UnsignedLessThan, cpu, cpus);
        let is_key = self.is_in(array, key);
        let is_in = self.b.ins().band(is_key, is_cpu);
        self.value_or_null(is_in, |lower| {
            let value = lower.value(array, key);
            let cpu = lower.b.ins().uextend(I64, cpu);
            lower.on_cpu(percpu, cpu, value)
        });
        Ok(true)
    }

    /// The array that R1 holds, if it is one whose values can be addressed.
    pub(super) fn array(&self) -> Result<Option<Array>, CompileError> {
        let Some(map) = self.note().map.or(self.maps[Reg::R1.index()]) else { return Ok(None) };
        let (number, map) = self.map(i32::from(map))?;
        let values = Symbol::MapValues(number);
        if map.key_size != 4 {
            return Ok(None);
        }
        Ok(match map.shape {
            Shape::Array { stride, max_entries } => {
                Some(Array { values, stride, max_entries, percpu: None })
            }
            Shape::PercpuArray { stride, cpu_stride, max_entries, cpus } => {
                let percpu = Some(Percpu { stride: cpu_stride, cpus });
                Some(Array { values, stride, max_entries, percpu })
            }
            Shape::Opaque | Shape::Hash { .. } | Shape::ProgArray { .. } => None,
        })
    }

    /// The key that R2 points to.
    fn key(&mut self) -> Value {
        if !self.points_into_frame(Reg::R2) {
            // Which kind of memory it is in is not known: nothing moves across.
            self.b.ins().sequence_point();
        }
        let place = self.pointee(Reg::R2, Size::W);
        self.b.ins().load(I32, place.flags, place.base, place.off)
    }

    fn is_in(&mut self, array: Array, key: Value) -> Value {
        let max_entries = self.b.ins().iconst(I32, i64::from(array.max_entries));
        self.b.ins().icmp(IntCC::UnsignedLessThan, key, max_entries)
    }

    /// The address of the value at `key`, which is in bounds; the first CPU's, if each has its own.
    pub(super) fn value(&mut self, array: Array, key: Value) -> Value {
        let key = self.b.ins().uextend(I64, key);
        let distance = if array.stride.is_power_of_two() {
            self.b.ins().ishl_imm_u(key, i64::from(array.stride.trailing_zeros()))
        } else {
            self.b.ins().imul_imm_u(key, i64::from(array.stride))
        };
        let values = self.address(array.values, 0);
        self.b.ins().iadd(values, distance)
    }

    /// `address`, moved to the values of this CPU.
    fn on_cpu(&mut self, percpu: Percpu, cpu: Value, address: Value) -> Value {
        let distance = self.b.ins().imul_imm_u(cpu, percpu.stride.cast_signed());
        self.b.ins().iadd(address, distance)
    }

    /// `address`, moved to the values of the CPU the program runs on.
    pub(super) fn on_this_cpu(&mut self, array: Array, address: Value) -> Value {
        let Some(percpu) = array.percpu else { return address };
        let cpu = self.cpu();
        self.on_cpu(percpu, cpu, address)
    }
}
