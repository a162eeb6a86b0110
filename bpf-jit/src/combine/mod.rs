//! Memory accesses joined to fewer, and stores that nobody reads left out.
//!
//! Programs take numbers apart and put them together byte by byte: compilers have to where a
//! structure is packed, and people do who want a byte order. What is one load or one store of this
//! processor is made one here; so are copies and zeros of many small pieces.
//!
//! The rules that hold for all of it:
//!
//! - Accesses are joined within one block, so a byte is touched only where the program does.
//! - What is joined happens where the last of the parts did. Between the first part and the last
//!   nothing happens that may meet them: see [`Meeting`].
//! - In memory that is shared with other threads, besides, no other access of shared memory lies
//!   between the parts: in which order others see things does not change.

#![expect(clippy::wildcard_enum_match_arm, reason = "few of Cranelift's instructions matter here")]

mod bytes;
mod loads;
mod dead;
mod stores;

use std::collections::HashMap;

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{
    AliasRegion, Function, Inst, InstructionData, MemFlags, Opcode, StackSlot, Type, Value,
    ValueDef,
};
use cranelift_codegen::ir::{immediates::Imm64, types};

use crate::origin::Region;

/// What is done before the optimizer has seen a function: it then knows the joined loads.
pub(crate) fn before(func: &mut Function) {
    func.dfg.resolve_all_aliases();
    loads::join(func);
}

/// What is done after it: it has replaced loads of the frame by what was stored.
pub(crate) fn after(func: &mut Function) {
    dead::remove(func);
    stores::join(func);
}

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// The function's frame.
    Frame(StackSlot),
    /// A value.
    Value(Value),
}

/// A load or a store of memory, as a plain instruction.
#[derive(Clone, Copy, Debug)]
struct Access {
    base: Base,
    /// How many bytes behind it.
    at: i64,
    /// How many bytes.
    len: u8,
    /// The address operand and the offset, as the instruction has them.
    address: Value,
    offset: i32,
    flags: MemFlags,
}

impl Access {
    /// What `inst` loads or stores; nothing if it is neither, or an atomic instruction.
    fn of(func: &Function, inst: Inst) -> Option<Self> {
        let data = func.dfg.insts[inst];
        let (opcode, address, flags, offset, stored) = match data {
            InstructionData::Load { opcode, arg, flags, offset } => {
                (opcode, arg, flags, offset, None)
            }
            InstructionData::Store { opcode, args, flags, offset } => {
                (opcode, args[1], flags, offset, Some(args[0]))
            }
            _ => return None,
        };
        let typed = |ty: Type| u8::try_from(ty.bytes()).ok();
        let len = match opcode {
            Opcode::Uload8 | Opcode::Sload8 | Opcode::Istore8 => 1,
            Opcode::Uload16 | Opcode::Sload16 | Opcode::Istore16 => 2,
            Opcode::Uload32 | Opcode::Sload32 | Opcode::Istore32 => 4,
            Opcode::Load => typed(func.dfg.value_type(func.dfg.first_result(inst)))?,
            Opcode::Store => typed(func.dfg.value_type(stored?))?,
            _ => return None,
        };
        let offset = i32::from(offset);
        let (base, at) = origin(func, address);
        Some(Self { base, at: at + i64::from(offset), len, address, offset, flags })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.at + i64::from(other.len) && other.at < self.at + i64::from(self.len)
    }

    fn region(&self, func: &Function) -> Option<AliasRegion> {
        func.dfg.mem_flags[self.flags].alias_region()
    }

    fn is_of(&self, func: &Function, region: Region) -> bool {
        let number = self.region(func).map(|region| func.dfg.alias_regions[region].user_id);
        number == Some(region.data().user_id)
    }

    /// Whether other threads may touch it too.
    fn is_shared(&self, func: &Function) -> bool {
        let private = [Region::Stack, Region::Context, Region::Packet];
        !private.into_iter().any(|region| self.is_of(func, region))
    }

    /// The offset from this access's address to `at`, if an instruction can have it.
    fn offset_to(&self, at: i64) -> Option<i32> {
        i32::try_from(i64::from(self.offset) + (at - self.at)).ok()
    }
}

/// How an instruction between the parts of a joined access meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    /// Not at all.
    None,
    /// It may touch memory of this region, or of any.
    Touches(Option<AliasRegion>),
    /// It may do anything.
    Everything,
}

impl Meeting {
    /// What `inst` may do to memory.
    fn of(func: &Function, inst: Inst) -> Self {
        let opcode = func.dfg.insts[inst].opcode();
        if let Some(access) = Access::of(func, inst) {
            return Self::Touches(access.region(func));
        }
        let is_harmless = !opcode.can_load()
            && !opcode.can_store()
            && !opcode.is_call()
            && !opcode.other_side_effects();
        if is_harmless { Self::None } else { Self::Everything }
    }
}

/// Whether an instruction stores.
fn stores(func: &Function, inst: Inst) -> bool {
    matches!(func.dfg.insts[inst], InstructionData::Store { .. })
}

/// The value that an address is a constant away from, and how far.
fn origin(func: &Function, address: Value) -> (Base, i64) {
    let (mut value, mut at) = (address, 0_i64);
    // No address is a longer sum.
    for _ in 0..8 {
        let ValueDef::Result(inst, _) = func.dfg.value_def(value) else { break };
        match func.dfg.insts[inst] {
            InstructionData::StackAddr { stack_slot, offset, .. } => {
                return (Base::Frame(stack_slot), at + i64::from(i32::from(offset)));
            }
            InstructionData::Binary { opcode: Opcode::Iadd, args: [a, b] } => {
                let (from, by) = match (constant(func, a), constant(func, b)) {
                    (_, Some(by)) => (a, by),
                    (Some(by), None) => (b, by),
                    (None, None) => break,
                };
                let Some(sum) = at.checked_add(by) else { break };
                (value, at) = (func.dfg.resolve_aliases(from), sum);
            }
            _ => break,
        }
    }
    (Base::Value(value), at)
}

/// The number that a value is.
fn constant(func: &Function, value: Value) -> Option<i64> {
    let ValueDef::Result(inst, _) = func.dfg.value_def(value) else { return None };
    match func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(Imm64::bits(&imm)),
        _ => None,
    }
}

/// How often each value is used.
struct Uses(SecondaryMap<Value, u32>);

impl Uses {
    fn of(func: &Function) -> Self {
        let mut uses = SecondaryMap::new();
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                for value in func.dfg.inst_values(inst) {
                    uses[func.dfg.resolve_aliases(value)] += 1;
                }
            }
        }
        Self(uses)
    }

    /// The instructions that nobody has a use for any more without these: they themselves, and
    /// what only they use.
    fn dying(&self, func: &Function, without: &[Inst]) -> Vec<Inst> {
        let mut dying = without.to_vec();
        let mut gone: HashMap<Value, u32> = HashMap::new();
        let mut next = 0;
        while let Some(inst) = dying.get(next).copied() {
            next += 1;
            for value in func.dfg.inst_values(inst) {
                let value = func.dfg.resolve_aliases(value);
                let gone = gone.entry(value).or_default();
                *gone += 1;
                if *gone == self.0[value]
                    && let ValueDef::Result(def, _) = func.dfg.value_def(value)
                    && is_removable(func, def)
                    && !dying.contains(&def)
                {
                    dying.push(def);
                }
            }
        }
        dying
    }

    /// Takes instructions out of the function.
    fn remove(&mut self, func: &mut Function, insts: &[Inst]) {
        for inst in insts {
            for value in func.dfg.inst_values(*inst) {
                let uses = &mut self.0[func.dfg.resolve_aliases(value)];
                *uses = uses.saturating_sub(1);
            }
            func.layout.remove_inst(*inst);
        }
    }
}

/// Whether an instruction does nothing but have a result.
fn is_removable(func: &Function, inst: Inst) -> bool {
    if func.layout.inst_block(inst).is_none() || func.dfg.inst_results(inst).len() != 1 {
        return false;
    }
    if let InstructionData::Load { flags, .. } = func.dfg.insts[inst] {
        return func.dfg.mem_flags[flags].notrap();
    }
    Meeting::of(func, inst) == Meeting::None && !func.dfg.insts[inst].opcode().can_trap()
}

/// The integer of so many bytes.
fn integer(len: usize) -> Option<Type> {
    match len {
        1 => Some(types::I8),
        2 => Some(types::I16),
        4 => Some(types::I32),
        8 => Some(types::I64),
        _ => None,
    }
}
