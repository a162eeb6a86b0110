//! What makes bytes no instruction, in the kernel's words.

use std::fmt;

use thiserror::Error;

use crate::insn::Pc;

/// A slot that is no instruction: where it stands and what is wrong with it.
///
/// `Display` is the kernel's log line, and so does not repeat the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct DecodeError {
    /// The slot.
    pub at: Pc,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The opcode has no meaning.
    #[error("unknown opcode {0:02x}")]
    UnknownOpcode(u8),
    /// A load of a mode that is not supported, or with an immediate.
    #[error("BPF_LDX uses reserved fields")]
    LoadReserved,
    /// The second slot of a wide immediate is missing, or more than an immediate.
    #[error("invalid bpf_ld_imm64 insn")]
    SecondSlot,
    /// The source of a wide immediate has no meaning, or does not use the second half.
    #[error("unrecognized bpf_ld_imm64 insn")]
    ImmSource,
    /// A field that the instruction does not use is not zero.
    #[error("{0} uses reserved fields")]
    Reserved(Family),
    /// There is no register of this number.
    #[error("R{0} is invalid")]
    Register(u8),
    /// An atomic read-modify-write of one or two bytes.
    #[error("invalid atomic operand size")]
    AtomicSize,
    /// The immediate names no atomic operation.
    #[error("BPF_ATOMIC uses invalid atomic opcode {0:02x}")]
    AtomicOp(i32),
    /// `may_goto` with an immediate.
    #[error("invalid may_goto imm {0}")]
    MayGotoImm(i32),
    /// A cast that is neither from address space 1 to 0 nor from 0 to 1.
    #[error("addr_space_cast insn can only convert between address space 1 and 0")]
    AddrSpaces,
    /// The program's length is no multiple of a slot's.
    #[error("the last instruction has {bytes} of {} bytes", crate::Slot::SIZE)]
    Truncated {
        /// How many bytes there are of the last slot.
        bytes: usize,
    },
}

impl DecodeErrorKind {
    /// When the kernel notices it.
    pub const fn noticed(self) -> Noticed {
        match self {
            Self::UnknownOpcode(_)
            | Self::LoadReserved
            | Self::SecondSlot
            | Self::ImmSource
            | Self::Truncated { .. } => Noticed::UpFront,
            Self::Reserved(_)
            | Self::Register(_)
            | Self::AtomicSize
            | Self::AtomicOp(_)
            | Self::MayGotoImm(_)
            | Self::AddrSpaces => Noticed::Walking,
        }
    }
}

/// When the kernel notices that a slot is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noticed {
    /// Before any path is walked, wherever the slot stands.
    UpFront,
    /// When a path comes to it; a program that never gets there is accepted.
    Walking,
}

/// The instructions among which the kernel's messages distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Arithmetic with two operands.
    Alu,
    /// Moves.
    Mov,
    /// Negation.
    Neg,
    /// Byte order.
    End,
    /// Conditional jumps.
    JumpIf,
    /// Jumps.
    Jump,
    /// Calls.
    Call,
    /// The end of a function.
    Exit,
    /// Loads from the packet.
    Packet,
    /// Wide immediates.
    LoadImm64,
    /// Stores of an immediate.
    StoreImm,
    /// Stores of a register.
    StoreReg,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alu => "BPF_ALU",
            Self::Mov => "BPF_MOV",
            Self::Neg => "BPF_NEG",
            Self::End => "BPF_END",
            Self::JumpIf => "BPF_JMP/JMP32",
            Self::Jump => "BPF_JA",
            Self::Call => "BPF_CALL",
            Self::Exit => "BPF_EXIT",
            Self::Packet => "BPF_LD_[ABS|IND]",
            Self::LoadImm64 => "BPF_LD_IMM64",
            Self::StoreImm => "BPF_ST",
            Self::StoreReg => "BPF_STX",
        })
    }
}
