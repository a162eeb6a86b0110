//! Helpers that call a function again and again, where the function is known: a loop.

use bpf_abi::errno::Errno;
use bpf_abi::image::MemoryClass;
use bpf_isa::Reg;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, StackSlotData, StackSlotKind, Value};

use super::Lower;
use super::map::Array;
use crate::error::CompileError;
use crate::inline::repeated;
use crate::input::Repeats;
use crate::origin::Touched;

/// How often `bpf_loop` calls at most. Linux: `BPF_MAX_LOOPS`.
const MOST: i64 = 8 * 1024 * 1024;

/// What a function is called with, round by round.
#[derive(Clone, Copy, Debug)]
enum Rounds {
    /// The number of the round, and what the program gave.
    Numbers { given: Value },
    /// The map, where the key is, the element, and what the program gave.
    Elements { map: Value, key: Value, array: Array, given: Value },
}

impl Lower<'_> {
    /// A helper that calls a known function again and again; returns whether it was one.
    pub(super) fn repeat(&mut self, id: i32) -> Result<bool, CompileError> {
        let found = repeated(self.unit.image, self.unit.layout, self.pc, id, &self.origins);
        let Some(repetition) = found else { return Ok(false) };
        let given = self.get(Reg::R3);
        let (rounds, count) = match repetition.what {
            Repeats::Numbers => {
                let count = self.get(Reg::R1);
                let count = self.b.ins().ireduce(I32, count);
                (Rounds::Numbers { given }, self.b.ins().uextend(I64, count))
            }
            Repeats::Elements => {
                let Some(array) = self.array()? else { return Ok(false) };
                let map = self.get(Reg::R1);
                let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 4, 2);
                let slot = self.b.create_sized_stack_slot(slot);
                let key = self.b.ins().stack_addr(I64, slot, 0);
                let count = self.b.ins().iconst(I64, i64::from(array.max_entries));
                (Rounds::Elements { map, key, array, given }, count)
            }
        };
        let (refused, few, looping, done) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.set_cold_block(refused);
        let error = self.b.append_block_param(refused, I64);
        let result = self.b.append_block_param(done, I64);
        let flags = self.get(Reg::R4);
        let invalid = BlockArg::Value(self.errno(Errno::EINVAL));
        self.b.ins().brif(flags, refused, &[invalid], few, &[]);
        self.enter(few);
        if repetition.what == Repeats::Numbers {
            let too_many = BlockArg::Value(self.errno(Errno::E2BIG));
            let fits = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, count, MOST);
            self.b.ins().brif(fits, looping, &[], refused, &[too_many]);
        } else {
            self.b.ins().jump(looping, &[]);
        }
        self.enter(refused);
        self.b.ins().jump(done, &[BlockArg::Value(error)]);
        self.enter(looping);
        let times = self.rounds(rounds, repetition.function, count)?;
        self.b.ins().jump(done, &[BlockArg::Value(times)]);
        self.enter(done);
        self.set(Reg::R0, result);
        Ok(true)
    }

    /// Calls a function `count` times or until it does not return 0; yields how often that was.
    fn rounds(
        &mut self,
        rounds: Rounds,
        function: usize,
        count: Value,
    ) -> Result<Value, CompileError> {
        let (round, on, end) =
            (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let before = self.b.append_block_param(round, I64);
        let times = self.b.append_block_param(end, I64);
        let none = BlockArg::Value(self.b.ins().iconst(I64, 0));
        self.b.ins().brif(count, round, &[none], end, &[none]);
        self.b.switch_to_block(round);
        let args = self.round(rounds, before);
        let arity = usize::from(self.unit.layout.functions[function].arity);
        let args = args.into_iter().take(arity).collect();
        let enough = self.call_or_inline(function, args)?;
        let after = self.b.ins().iadd_imm_s(before, 1);
        self.b.ins().brif(enough, end, &[BlockArg::Value(after)], on, &[]);
        self.enter(on);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, after, count);
        let after = BlockArg::Value(after);
        self.b.ins().brif(more, round, &[after], end, &[after]);
        self.b.seal_block(round);
        self.enter(end);
        Ok(times)
    }

    /// What the function is called with in round `number`.
    fn round(&mut self, rounds: Rounds, number: Value) -> [Value; 5] {
        let nothing = self.b.ins().iconst(I64, 0);
        match rounds {
            Rounds::Numbers { given } => [number, given, nothing, nothing, nothing],
            Rounds::Elements { map, key, array, given } => {
                let number = self.b.ins().ireduce(I32, number);
                let flags = self.flags(self.memory.region(Touched::Other(MemoryClass::Unknown)));
                self.b.ins().store(flags, number, key, 0);
                let element = self.value(array, number);
                let element = self.on_this_cpu(array, element);
                [map, key, element, given, nothing]
            }
        }
    }

    /// An error as helpers return it.
    fn errno(&mut self, errno: Errno) -> Value {
        self.imm(errno.to_register().cast_signed(), I64)
    }
}
