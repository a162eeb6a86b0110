//! What an instruction reads and writes, and where it may go next.

use std::fmt;

use crate::insn::{AtomicOp, Insn, Operand, Pc, Reg};
use crate::opcode::AluOp;

/// A set of registers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RegSet(u16);

impl RegSet {
    /// No register.
    pub const EMPTY: Self = Self(0);

    /// All registers but the frame pointer, which holds the same value all the time.
    pub const GENERAL: Self = Self(0x3ff);

    /// What a call leaves unreadable: the arguments and, before it is set, the result.
    pub const CLOBBERED_BY_CALLS: Self = Self(0x03f);

    /// The first `count` argument registers, at most all five.
    pub const fn args(count: u8) -> Self {
        let count = if count > 5 { 5 } else { count };
        Self(((1 << count) - 1) << 1)
    }

    /// This set of registers.
    pub fn of(regs: &[Reg]) -> Self {
        regs.iter().fold(Self::EMPTY, |set, reg| set.with(*reg))
    }

    /// The set with `reg`.
    #[must_use]
    pub const fn with(self, reg: Reg) -> Self {
        Self(self.0 | 1 << reg.number())
    }

    /// Whether `reg` is in it.
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 & 1 << reg.number() != 0
    }

    /// What is in this set or the other.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set but not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits, bit 0 for R0.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of these bits, without those of no register.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x7ff)
    }

    /// Its registers, in order.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        Reg::ALL.into_iter().filter(move |reg| self.contains(*reg))
    }
}

impl fmt::Debug for RegSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Insn {
    /// The registers it reads. `arity` is the number of arguments of what it calls, if it does.
    ///
    /// A call of a function of this program reads by its callee's arity, five where unknown.
    /// The return value is read by `exit`.
    pub fn reads(self, arity: u8) -> RegSet {
        match self {
            Self::Alu { op: AluOp::Mov, src, .. } => operand(src),
            Self::Alu { dst, src, .. } | Self::AluSigned { dst, src, .. } => operand(src).with(dst),
            Self::Neg { dst, .. } | Self::Endian { dst, .. } => RegSet::of(&[dst]),
            Self::MovSx { src, .. } | Self::AddrSpaceCast { src, .. } => RegSet::of(&[src]),
            Self::LoadImm64 { .. } | Self::SecondSlot | Self::Jump { .. } => RegSet::EMPTY,
            Self::Load { base, .. } | Self::LoadAcquire { base, .. } => RegSet::of(&[base]),
            Self::Store { base, src, .. } => operand(src).with(base),
            Self::Atomic { op: AtomicOp::CmpXchg, base, src, .. } => {
                RegSet::of(&[Reg::R0, base, src])
            }
            Self::Atomic { base, src, .. } | Self::StoreRelease { base, src, .. } => {
                RegSet::of(&[base, src])
            }
            Self::LoadAbs { .. } => RegSet::of(&[Reg::R6]),
            Self::LoadInd { src, .. } => RegSet::of(&[Reg::R6, src]),
            Self::JumpIf { dst, src, .. } => operand(src).with(dst),
            Self::MayGoto { .. } => RegSet::EMPTY,
            Self::Call(_) => RegSet::args(arity),
            Self::Exit => RegSet::of(&[Reg::R0]),
        }
    }

    /// The registers whose old value is gone after it.
    pub fn writes(self) -> RegSet {
        match self {
            Self::Alu { dst, .. }
            | Self::AluSigned { dst, .. }
            | Self::Neg { dst, .. }
            | Self::MovSx { dst, .. }
            | Self::Endian { dst, .. }
            | Self::AddrSpaceCast { dst, .. }
            | Self::LoadImm64 { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadAcquire { dst, .. } => RegSet::of(&[dst]),
            Self::Atomic { op, src, .. } => match op {
                AtomicOp::CmpXchg => RegSet::of(&[Reg::R0]),
                AtomicOp::Xchg
                | AtomicOp::Add { fetch: true }
                | AtomicOp::Or { fetch: true }
                | AtomicOp::And { fetch: true }
                | AtomicOp::Xor { fetch: true } => RegSet::of(&[src]),
                AtomicOp::Add { fetch: false }
                | AtomicOp::Or { fetch: false }
                | AtomicOp::And { fetch: false }
                | AtomicOp::Xor { fetch: false } => RegSet::EMPTY,
            },
            Self::LoadAbs { .. } | Self::LoadInd { .. } | Self::Call(_) => {
                RegSet::CLOBBERED_BY_CALLS
            }
            Self::SecondSlot
            | Self::Store { .. }
            | Self::StoreRelease { .. }
            | Self::Jump { .. }
            | Self::JumpIf { .. }
            | Self::MayGoto { .. }
            | Self::Exit => RegSet::EMPTY,
        }
    }

    /// What it contributes to the kernel's table of live registers: used, then defined.
    ///
    /// As [`reads`](Self::reads) and [`writes`](Self::writes), but for the loads from the packet:
    /// the kernel takes them to read everything and to define nothing. The frame pointer is in
    /// no column of the table. Linux: `compute_insn_live_regs`.
    pub fn live_effect(self, arity: u8) -> (RegSet, RegSet) {
        if matches!(self, Self::LoadAbs { .. } | Self::LoadInd { .. }) {
            return (RegSet::GENERAL, RegSet::EMPTY);
        }
        let fp = RegSet::of(&[Reg::FP]);
        (self.reads(arity).minus(fp), self.writes().minus(fp))
    }

    /// How many slots it takes.
    pub const fn slots(self) -> u32 {
        if matches!(self, Self::LoadImm64 { .. }) { 2 } else { 1 }
    }

    /// Where it jumps, standing at `at`: `None` if it does not, or to no position.
    pub const fn jump_target(self, at: Pc) -> Option<Pc> {
        match self.jump_offset() {
            Some(off) => at.offset(1 + off),
            None => None,
        }
    }

    /// How far it jumps, counted in slots from the next one, if it does.
    pub const fn jump_offset(self) -> Option<i64> {
        match self {
            Self::Jump { off, .. } => Some(off as i64),
            Self::JumpIf { off, .. } | Self::MayGoto { off } => Some(off as i64),
            Self::Alu { .. }
            | Self::AluSigned { .. }
            | Self::Neg { .. }
            | Self::MovSx { .. }
            | Self::Endian { .. }
            | Self::AddrSpaceCast { .. }
            | Self::LoadImm64 { .. }
            | Self::SecondSlot
            | Self::Load { .. }
            | Self::Store { .. }
            | Self::Atomic { .. }
            | Self::LoadAcquire { .. }
            | Self::StoreRelease { .. }
            | Self::LoadAbs { .. }
            | Self::LoadInd { .. }
            | Self::Call(_)
            | Self::Exit => None,
        }
    }

    /// Whether the instruction after it may be the next.
    pub const fn falls_through(self) -> bool {
        !matches!(self, Self::Jump { .. } | Self::Exit)
    }

    /// The instructions that may be next in the same function: the one after it, then the target
    /// of its jump.
    pub fn successors(self, at: Pc) -> impl Iterator<Item = Pc> {
        let after = if self.falls_through() { at.offset(i64::from(self.slots())) } else { None };
        after.into_iter().chain(self.jump_target(at))
    }
}

fn operand(src: Operand) -> RegSet {
    src.reg().map_or(RegSet::EMPTY, |reg| RegSet::of(&[reg]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::{Call, Size, Width};
    use crate::opcode::JumpOp;

    #[test]
    fn a_call_reads_as_many_arguments_as_it_takes() {
        let call = Insn::Call(Call::Helper(1));
        assert_eq!(call.reads(2), RegSet::of(&[Reg::R1, Reg::R2]));
        assert_eq!(call.reads(200), RegSet::of(&Reg::ARGS));
        assert!(call.writes().contains(Reg::R5) && !call.writes().contains(Reg::R6));
    }

    #[test]
    fn compare_and_exchange_reads_and_writes_r0() {
        let (base, src) = (Reg::R2, Reg::R3);
        let insn = Insn::Atomic { op: AtomicOp::CmpXchg, size: Size::W, base, off: 0, src };
        assert_eq!(insn.reads(0), RegSet::of(&[Reg::R0, Reg::R2, Reg::R3]));
        assert_eq!(insn.writes(), RegSet::of(&[Reg::R0]));
    }

    #[test]
    fn the_kernels_table_has_no_column_for_the_frame_pointer() {
        let insn = Insn::Store { size: Size::W, base: Reg::FP, off: 0, src: Operand::Imm(0) };
        assert_eq!(insn.reads(0), RegSet::of(&[Reg::FP]));
        assert_eq!(insn.live_effect(0), (RegSet::EMPTY, RegSet::EMPTY));
    }

    #[test]
    fn a_conditional_jump_goes_on_or_away() {
        let insn = Insn::JumpIf {
            op: JumpOp::Eq,
            width: Width::W64,
            dst: Reg::R1,
            src: Operand::Imm(0),
            off: -3,
        };
        assert_eq!(insn.successors(Pc(5)).collect::<Vec<_>>(), [Pc(6), Pc(3)]);
        assert_eq!(insn.successors(Pc(1)).collect::<Vec<_>>(), [Pc(2)]);
        assert_eq!(Insn::Exit.successors(Pc(1)).count(), 0);
    }
}
