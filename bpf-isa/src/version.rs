//! Which revision of the instruction set an instruction needs.

use crate::insn::{AtomicOp, Call, Endian, Extension, Insn, Width};
use crate::opcode::JumpOp;

/// A revision of the instruction set, as compilers name it (`-mcpu=v3`).
///
/// A later one contains the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuVersion {
    /// The instructions of 2014.
    V1,
    /// The comparisons `<`, `<=`, `s<`, `s<=`.
    V2,
    /// Comparisons of the low halves; atomics other than addition, and those that return the old
    /// value.
    V3,
    /// Loads and moves with sign extension, signed division, unconditional byte swaps, the long
    /// jump.
    V4,
    /// What Linux has beside: load-acquire and store-release, `may_goto`, casts of address spaces.
    Linux618,
}

impl Insn {
    /// The first revision that has it.
    ///
    /// Arithmetic on the low halves is in every revision, although compilers use it from the third
    /// on; likewise stores of immediates, which they use from the fourth on.
    pub const fn version(self) -> CpuVersion {
        match self {
            Self::Alu { .. }
            | Self::Neg { .. }
            | Self::Endian { kind: Endian::To(_), .. }
            | Self::LoadImm64 { .. }
            | Self::SecondSlot
            | Self::Load { ext: Extension::Unsigned, .. }
            | Self::Store { .. }
            | Self::Atomic { op: AtomicOp::Add { fetch: false }, .. }
            | Self::LoadAbs { .. }
            | Self::LoadInd { .. }
            | Self::Jump { long: false, .. }
            | Self::Call(Call::Helper(_) | Call::Local(_) | Call::Kfunc { .. })
            | Self::Exit => CpuVersion::V1,
            Self::JumpIf { width: Width::W64, op, .. } => match op {
                JumpOp::Lt | JumpOp::Le | JumpOp::Slt | JumpOp::Sle => CpuVersion::V2,
                JumpOp::Eq
                | JumpOp::Ne
                | JumpOp::Gt
                | JumpOp::Ge
                | JumpOp::Sgt
                | JumpOp::Sge
                | JumpOp::Set => CpuVersion::V1,
            },
            Self::JumpIf { width: Width::W32, .. } | Self::Atomic { .. } => CpuVersion::V3,
            Self::AluSigned { .. }
            | Self::MovSx { .. }
            | Self::Endian { kind: Endian::Swap, .. }
            | Self::Load { ext: Extension::Signed, .. }
            | Self::Jump { long: true, .. } => CpuVersion::V4,
            Self::LoadAcquire { .. }
            | Self::StoreRelease { .. }
            | Self::MayGoto { .. }
            | Self::AddrSpaceCast { .. } => CpuVersion::Linux618,
        }
    }
}

impl crate::Program {
    /// The first revision that has all its instructions.
    pub fn version(&self) -> CpuVersion {
        self.insns().iter().map(|insn| insn.version()).max().unwrap_or(CpuVersion::V1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::{Operand, Pc, Reg, Size};
    use crate::{Program, Slot, decode};

    #[test]
    fn a_program_needs_what_its_newest_instruction_needs() {
        let (dst, src) = (Reg::R1, Operand::Imm(0));
        let less = Insn::JumpIf { op: JumpOp::Lt, width: Width::W64, dst, src, off: 0 };
        assert_eq!(Program::new(vec![less, Insn::Exit]).version(), CpuVersion::V2);
        let less = Insn::JumpIf { op: JumpOp::Lt, width: Width::W32, dst, src, off: 0 };
        assert_eq!(Program::new(vec![less, Insn::Exit]).version(), CpuVersion::V3);
        assert_eq!(Program::default().version(), CpuVersion::V1);
    }

    #[test]
    fn atomics_grew_in_the_third_revision() {
        let atomic = |op| Insn::Atomic { op, size: Size::W, base: Reg::R1, off: 0, src: Reg::R2 };
        assert_eq!(atomic(AtomicOp::Add { fetch: false }).version(), CpuVersion::V1);
        assert_eq!(atomic(AtomicOp::Add { fetch: true }).version(), CpuVersion::V3);
        assert_eq!(atomic(AtomicOp::Xchg).version(), CpuVersion::V3);
    }

    #[test]
    fn every_revision_has_instructions_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for opcode in 0..=u8::MAX {
            for (off, imm) in [(0, 0), (0, 16), (1, 0), (8, 0), (0, 0x100)] {
                let slot = Slot { opcode, dst: 1, src: 0, off, imm };
                let call_like = Slot { dst: 0, ..slot };
                for slot in [slot, call_like] {
                    if let Ok(insn) = decode(slot, Some(Slot::default()), Pc(0)) {
                        seen.insert(insn.version());
                    }
                }
            }
        }
        assert_eq!(seen.len(), 5);
    }
}
