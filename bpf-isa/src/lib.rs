//! BPF instructions as data.
//!
//! An instruction has three forms: eight bytes ([`Slot`]), a meaning ([`Insn`]) and text.
#![forbid(unsafe_code)]

mod slot;
mod opcode;
mod insn;

pub use insn::{
    AtomicOp, ByteOrder, Call, Endian, Imm64, Insn, Extension, Operand, Pc, Reg, Size, Width,
};
pub use opcode::{AluOp, Class, JumpOp};
pub use slot::Slot;

mod program;
pub use program::Program;
