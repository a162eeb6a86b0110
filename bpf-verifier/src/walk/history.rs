//! How a path came here: the instructions that are not simply the ones after the last.

use bitflags::bitflags;
use bpf_isa::Pc;

use crate::state::{FrameNo, LinkedRegs, SlotNo};

bitflags! {
    /// Which operands of a comparison are stack pointers, whose precision nothing depends on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StackOperands: u8 {
        /// The left one. Linux: `INSN_F_DST_REG_STACK`.
        const DST = 1;
        /// The right one. Linux: `INSN_F_SRC_REG_STACK`.
        const SRC = 2;
    }
}

/// The slot that a load or store touched.
///
/// Linux: `insn_stack_access_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackTouch {
    /// Whose stack.
    pub frame: FrameNo,
    /// Which slot.
    pub slot: SlotNo,
}

/// What is remembered of one instruction of a path.
///
/// Linux: `struct bpf_jmp_history_entry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instruction.
    pub pc: Pc,
    /// The one walked before it.
    pub prev: Pc,
    /// The slot it touched, if it is a load or store.
    pub stack: Option<StackTouch>,
    /// Which operands are stack pointers, if it is a comparison.
    pub stack_operands: StackOperands,
    /// The scalars that moved together with those it compares.
    pub linked: LinkedRegs,
}
