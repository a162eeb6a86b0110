//! Numbers in the program's memory.

use std::marker::PhantomData;

use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};

use super::{Arg, MemOut, Registers};

/// Where a number of eight bytes is wanted.
#[derive(Debug)]
pub(crate) struct NumberOut<'a>(MemOut<'a>);

impl NumberOut<'_> {
    /// Writes the number.
    pub(crate) fn set(&mut self, value: u64) {
        self.0.write(&value.to_le_bytes());
    }
}

impl<'a> Arg<'a> for NumberOut<'a> {
    const PROTO: ArgProto = ArgProto {
        kind: ArgKind::Mem,
        flags: TypeFlags::ALIGNED
            .union(TypeFlags::FIXED_SIZE)
            .union(TypeFlags::UNINIT)
            .union(TypeFlags::WRITE),
        size: 8,
        btf: None,
    };

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self(MemOut { address: registers.take(), len: 8, borrowed: PhantomData })
    }
}

/// Where a number of four bytes is, and another is wanted.
#[derive(Debug)]
pub(crate) struct LengthInOut<'a>(MemOut<'a>);

impl LengthInOut<'_> {
    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.0.copy().first_chunk().copied().map_or(0, u32::from_le_bytes)
    }

    /// Writes another.
    pub(crate) fn set(&mut self, value: u32) {
        self.0.write(&value.to_le_bytes());
    }
}

impl<'a> Arg<'a> for LengthInOut<'a> {
    const PROTO: ArgProto = ArgProto {
        kind: ArgKind::Mem,
        flags: TypeFlags::ALIGNED.union(TypeFlags::FIXED_SIZE).union(TypeFlags::WRITE),
        size: 4,
        btf: None,
    };

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self(MemOut { address: registers.take(), len: 4, borrowed: PhantomData })
    }
}
