//! BPF instructions as data: bytes, meaning and text.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod slot;
pub mod opcode;
mod insn;
mod error;
mod decode;
mod encode;
mod program;
mod effects;
mod version;
mod disasm;
#[cfg(feature = "asm")]
pub mod asm;

pub use decode::{decode, decode_slots};
pub use disasm::{Numbers, Symbols, Text};
pub use effects::RegSet;
pub use encode::Encoded;
pub use error::{DecodeError, DecodeErrorKind, Family, Noticed};
pub use insn::{
    AtomicOp, ByteOrder, Call, Endian, Extension, Imm64, Insn, Operand, Pc, Reg, Size, Width,
};
pub use opcode::{AluOp, Class, JumpOp};
pub use program::{Program, slots};
pub use slot::Slot;
pub use version::CpuVersion;
