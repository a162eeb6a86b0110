//! Numbers, headers and first values in the program's memory.

use std::marker::PhantomData;

use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};
use smallvec::SmallVec;

use super::{Arg, MemOut, Registers, arg, copied, copy_in, value_size};

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

/// A header of so many bytes, copied.
#[derive(Debug)]
pub(crate) struct Header<const SIZE: usize>(pub(crate) [u8; SIZE]);

impl<'a, const SIZE: usize> Arg<'a> for Header<SIZE> {
    const PROTO: ArgProto = ArgProto {
        kind: ArgKind::Mem,
        flags: TypeFlags::FIXED_SIZE.union(TypeFlags::RDONLY),
        size: {
            #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
            let size = SIZE as u32;
            size
        },
        btf: None,
    };

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let mut bytes = [0; SIZE];
        // SAFETY: [helper-args] the verifier held the program to so many bytes.
        unsafe { copy_in(registers.take(), &mut bytes) };
        Self(bytes)
    }
}

/// The bytes of a value, copied, or none.
#[derive(Debug)]
pub(crate) struct InitialValue(pub(crate) SmallVec<[u8; 128]>);

impl<'a> Arg<'a> for InitialValue {
    const PROTO: ArgProto = arg(ArgKind::MapValue, TypeFlags::MAYBE_NULL);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let size = registers.map.map_or(0, value_size);
        let address = registers.take();
        let size = if address == 0 { 0 } else { size };
        // SAFETY: [sized-by-map] the verifier measured the value by the map before it.
        Self(unsafe { copied(address, size) })
    }
}
