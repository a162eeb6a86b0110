//! A sequence of instructions addressed by [`Pc`].

use crate::insn::{Insn, Pc};

/// Instructions, one entry a slot: a two-slot immediate is followed by
/// [`Insn::SecondSlot`], so that an index is a [`Pc`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
}

impl Program {
    /// A program of these instructions.
    pub const fn new(insns: Vec<Insn>) -> Self {
        Self { insns }
    }

    /// The instructions, one entry a slot.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The instruction at `pc`.
    pub fn get(&self, pc: Pc) -> Option<Insn> {
        self.insns.get(pc.index()).copied()
    }

    /// Its length in slots.
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// Whether there is no instruction.
    pub fn is_empty(&self) -> bool {
        self.insns.is_empty()
    }
}
