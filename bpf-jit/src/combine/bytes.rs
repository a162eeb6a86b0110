//! What the bytes of a value are.
//!
//! A byte is known, or a byte of a value that is not looked into: a load's result, an argument. The
//! operations that move whole bytes are followed; of what any other makes, the bytes are its own.

use std::collections::HashMap;

use cranelift_codegen::ir::{
    Block, Function, Inst, InstructionData, Opcode, Type, Value, ValueDef,
};

use super::{Access, constant};

/// A byte of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Byte {
    /// This one.
    Known(u8),
    /// Byte `at` of another value, counted from the lowest.
    Part {
        /// The value.
        of: Value,
        /// Which byte.
        at: u8,
    },
}

impl Byte {
    const ZERO: Self = Self::Known(0);
}

/// The bytes of a value, the lowest first. Those that its type does not have are zeros.
pub(super) type Bytes = [Byte; 8];

/// The bytes of all values that are made of others' bytes.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<Value, Bytes>);

impl Contents {
    /// Looks at the whole function.
    pub(super) fn of(func: &Function) -> Self {
        let mut contents = Self::default();
        for block in func.layout.blocks() {
            contents.look_at(func, block);
        }
        contents
    }

    fn look_at(&mut self, func: &Function, block: Block) {
        for inst in func.layout.block_insts(block) {
            let &[result] = func.dfg.inst_results(inst) else { continue };
            if let Some(bytes) = self.made_by(func, inst, result) {
                self.0.insert(result, bytes);
            }
        }
    }

    /// The bytes of an integer.
    pub(super) fn bytes(&self, func: &Function, value: Value) -> Option<Bytes> {
        let value = func.dfg.resolve_aliases(value);
        if let Some(bytes) = self.0.get(&value) {
            return Some(*bytes);
        }
        if let Some(number) = constant(func, value) {
            let ty = func.dfg.value_type(value);
            return Some(cut(number.to_le_bytes().map(Byte::Known), ty));
        }
        own(func.dfg.value_type(value), value)
    }

    fn made_by(&self, func: &Function, inst: Inst, result: Value) -> Option<Bytes> {
        let ty = func.dfg.value_type(result);
        if !ty.is_int() || ty.bits() > 64 {
            return None;
        }
        match func.dfg.insts[inst] {
            InstructionData::Load { opcode, .. } => {
                let is_filled =
                    matches!(opcode, Opcode::Uload8 | Opcode::Uload16 | Opcode::Uload32);
                let access = Access::of(func, inst)?;
                let mut bytes = own(ty, result)?;
                if is_filled {
                    bytes[usize::from(access.len)..].fill(Byte::ZERO);
                }
                Some(bytes)
            }
            InstructionData::Unary { opcode, arg } => {
                let bytes = self.bytes(func, arg)?;
                match opcode {
                    Opcode::Uextend => Some(bytes),
                    Opcode::Ireduce => Some(cut(bytes, ty)),
                    Opcode::Bswap => {
                        let mut bytes = bytes;
                        bytes[..size(ty)].reverse();
                        Some(bytes)
                    }
                    _ => None,
                }
            }
            InstructionData::Binary { opcode, args: [a, b] } => {
                self.combined(func, ty, opcode, a, b)
            }
            _ => None,
        }
    }

    fn combined(
        &self,
        func: &Function,
        ty: Type,
        opcode: Opcode,
        a: Value,
        b: Value,
    ) -> Option<Bytes> {
        let first = self.bytes(func, a)?;
        match opcode {
            Opcode::Bor | Opcode::Bxor | Opcode::Iadd => {
                let second = self.bytes(func, b)?;
                let mut bytes = [Byte::ZERO; 8];
                for (byte, pair) in bytes.iter_mut().zip(first.into_iter().zip(second)) {
                    // Of two bytes one is zero: all three operations do the same, and none carries.
                    *byte = match pair {
                        (one, Byte::ZERO) | (Byte::ZERO, one) => one,
                        _ => return None,
                    };
                }
                Some(bytes)
            }
            Opcode::Band => {
                let second = self.bytes(func, b)?;
                let mut bytes = [Byte::ZERO; 8];
                for (byte, pair) in bytes.iter_mut().zip(first.into_iter().zip(second)) {
                    *byte = match pair {
                        (Byte::ZERO, _) | (_, Byte::ZERO) => Byte::ZERO,
                        (one, Byte::Known(0xff)) | (Byte::Known(0xff), one) => one,
                        _ => return None,
                    };
                }
                Some(bytes)
            }
            Opcode::Ishl | Opcode::Ushr | Opcode::Rotl | Opcode::Rotr => {
                let by = constant(func, b)? & i64::from(ty.bits() - 1);
                let by = usize::try_from(by).ok().filter(|by| by.is_multiple_of(8))? / 8;
                let len = size(ty);
                let mut bytes = [Byte::ZERO; 8];
                for (at, byte) in bytes[..len].iter_mut().enumerate() {
                    let from = match opcode {
                        Opcode::Ishl => at.checked_sub(by),
                        Opcode::Ushr => Some(at + by).filter(|from| *from < len),
                        Opcode::Rotl => Some((at + len - by) % len),
                        _ => Some((at + by) % len),
                    };
                    *byte = from.map_or(Byte::ZERO, |from| first[from]);
                }
                Some(bytes)
            }
            _ => None,
        }
    }
}

/// The instruction that makes a value.
pub(super) fn maker(func: &Function, value: Value) -> Option<Inst> {
    match func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => Some(inst),
        ValueDef::Param(..) | ValueDef::Union(..) => None,
    }
}

/// How many bytes a type has.
fn size(ty: Type) -> usize {
    ty.bytes() as usize
}

/// The bytes of a value that is not looked into.
fn own(ty: Type, value: Value) -> Option<Bytes> {
    if !ty.is_int() || ty.bits() > 64 || ty.bits() < 8 {
        return None;
    }
    let mut bytes = [Byte::ZERO; 8];
    for (at, byte) in (0..).zip(&mut bytes[..size(ty)]) {
        *byte = Byte::Part { of: value, at };
    }
    Some(bytes)
}

/// The bytes that a type has.
fn cut(mut bytes: Bytes, ty: Type) -> Bytes {
    bytes[size(ty).min(8)..].fill(Byte::ZERO);
    bytes
}
