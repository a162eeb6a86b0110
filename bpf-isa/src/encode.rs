//! From meaning to slots: the inverse of decoding.

use crate::insn::{
    AtomicOp, ByteOrder, Call, Endian, Extension, Imm64, Insn, Operand, Reg, Size, Width,
};
use crate::opcode::{
    AluOp, Class, Mode, SOURCE_IS_REGISTER, SizeField, atomic, callee, imm_source, variant, whole,
};
use crate::slot::Slot;

/// An instruction as slots: one, or two for a wide immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The first slot.
    pub first: Slot,
    /// The second slot of a wide immediate.
    pub second: Option<Slot>,
}

impl Insn {
    /// The instruction as slots.
    ///
    /// What decodes from them is this instruction, if it is one that decoding can yield (an
    /// `AluSigned` that divides, an `Endian` of more than one byte, a short jump that fits in
    /// 16 bits, and so on); what does not fit is truncated.
    pub fn encode(self) -> Encoded {
        let first = match self {
            Self::LoadImm64 { dst, imm } => return load_imm64(dst, imm),
            Self::SecondSlot => Slot::default(),
            Self::Alu { op, width, dst, src } => alu(op, width, dst, src, 0),
            Self::AluSigned { op, width, dst, src } => alu(op, width, dst, src, variant::SIGNED),
            Self::Neg { width, dst } => neg(width, dst),
            Self::MovSx { width, dst, src, from } => {
                alu(AluOp::Mov, width, dst, Operand::Reg(src), bits(from))
            }
            Self::Endian { kind, size, dst } => endian(kind, size, dst),
            Self::AddrSpaceCast { dst, src, to, from } => addr_space_cast(dst, src, to, from),
            Self::Load { size, ext, dst, base, off } => load(size, ext, dst, base, off),
            Self::Store { size, base, off, src } => store(size, base, off, src),
            Self::Atomic { op, size, base, off, src } => {
                ordered(size, base, src, off, atomic_imm(op))
            }
            Self::LoadAcquire { size, dst, base, off } => {
                ordered(size, dst, base, off, atomic::LOAD_ACQUIRE)
            }
            Self::StoreRelease { size, base, off, src } => {
                ordered(size, base, src, off, atomic::STORE_RELEASE)
            }
            Self::LoadAbs { size, imm } => {
                Slot { opcode: opcode(Class::Ld, Mode::Abs, size), imm, ..Slot::default() }
            }
            Self::LoadInd { size, src, imm } => {
                let opcode = opcode(Class::Ld, Mode::Ind, size);
                Slot { opcode, src: src.number(), imm, ..Slot::default() }
            }
            Self::Jump { off, long } => jump(off, long),
            Self::JumpIf { op, width, dst, src, off } => {
                let class = match width {
                    Width::W32 => Class::Jmp32,
                    Width::W64 => Class::Jmp,
                };
                with_operand(op.bits() | class.bits(), dst, src, off)
            }
            Self::MayGoto { off } => Slot { opcode: whole::MAY_GOTO, off, ..Slot::default() },
            Self::Call(target) => call(target),
            Self::Exit => Slot { opcode: whole::EXIT, ..Slot::default() },
        };
        Encoded { first, second: None }
    }
}

fn neg(width: Width, dst: Reg) -> Slot {
    let opcode = match width {
        Width::W32 => whole::NEG32,
        Width::W64 => whole::NEG64,
    };
    Slot { opcode, dst: dst.number(), ..Slot::default() }
}

fn endian(kind: Endian, size: Size, dst: Reg) -> Slot {
    let opcode = match kind {
        Endian::To(ByteOrder::Little) => whole::TO_LE,
        Endian::To(ByteOrder::Big) => whole::TO_BE,
        Endian::Swap => whole::BSWAP,
    };
    Slot { opcode, dst: dst.number(), imm: i32::from(bits(size)), ..Slot::default() }
}

fn addr_space_cast(dst: Reg, src: Reg, to: u16, from: u16) -> Slot {
    let imm = (u32::from(to) << 16 | u32::from(from)).cast_signed();
    let mov = alu(AluOp::Mov, Width::W64, dst, Operand::Reg(src), variant::ADDR_SPACE_CAST);
    Slot { imm, ..mov }
}

const fn bits(size: Size) -> i16 {
    match size {
        Size::B => 8,
        Size::H => 16,
        Size::W => 32,
        Size::DW => 64,
    }
}

fn alu(op: AluOp, width: Width, dst: Reg, src: Operand, off: i16) -> Slot {
    let class = match width {
        Width::W32 => Class::Alu32,
        Width::W64 => Class::Alu64,
    };
    with_operand(op.bits() | class.bits(), dst, src, off)
}

/// A slot whose right operand is `src`.
fn with_operand(opcode: u8, dst: Reg, src: Operand, off: i16) -> Slot {
    let dst = dst.number();
    match src {
        Operand::Reg(src) => {
            Slot { opcode: opcode | SOURCE_IS_REGISTER, dst, src: src.number(), off, imm: 0 }
        }
        Operand::Imm(imm) => Slot { opcode, dst, src: 0, off, imm },
    }
}

/// The opcode of a load or store.
const fn opcode(class: Class, mode: Mode, size: Size) -> u8 {
    let size = match size {
        Size::B => SizeField::B,
        Size::H => SizeField::H,
        Size::W => SizeField::W,
        Size::DW => SizeField::DW,
    };
    class.bits() | mode.bits() | size.bits()
}

fn load(size: Size, ext: Extension, dst: Reg, base: Reg, off: i16) -> Slot {
    let mode = match ext {
        Extension::Unsigned => Mode::Mem,
        Extension::Signed => Mode::MemSx,
    };
    let opcode = opcode(Class::Ldx, mode, size);
    Slot { opcode, dst: dst.number(), src: base.number(), off, imm: 0 }
}

fn store(size: Size, base: Reg, off: i16, src: Operand) -> Slot {
    let (class, src, imm) = match src {
        Operand::Reg(src) => (Class::Stx, src.number(), 0),
        Operand::Imm(imm) => (Class::St, 0, imm),
    };
    Slot { opcode: opcode(class, Mode::Mem, size), dst: base.number(), src, off, imm }
}

fn ordered(size: Size, dst: Reg, src: Reg, off: i16, imm: i32) -> Slot {
    let opcode = opcode(Class::Stx, Mode::Atomic, size);
    Slot { opcode, dst: dst.number(), src: src.number(), off, imm }
}

/// The immediate that names an atomic operation.
pub(crate) fn atomic_imm(op: AtomicOp) -> i32 {
    let (op, fetch) = match op {
        AtomicOp::Add { fetch } => (AluOp::Add, fetch),
        AtomicOp::Or { fetch } => (AluOp::Or, fetch),
        AtomicOp::And { fetch } => (AluOp::And, fetch),
        AtomicOp::Xor { fetch } => (AluOp::Xor, fetch),
        AtomicOp::Xchg => return atomic::XCHG,
        AtomicOp::CmpXchg => return atomic::CMPXCHG,
    };
    i32::from(op.bits()) | if fetch { atomic::FETCH } else { 0 }
}

fn jump(off: i32, long: bool) -> Slot {
    if long {
        return Slot { opcode: whole::JUMP_LONG, imm: off, ..Slot::default() };
    }
    #[expect(clippy::cast_possible_truncation, reason = "documented: what does not fit is cut")]
    let off = off as i16;
    Slot { opcode: whole::JUMP, off, ..Slot::default() }
}

fn call(target: Call) -> Slot {
    let (src, imm, off) = match target {
        Call::Helper(id) => (callee::HELPER, id, 0),
        Call::Local(off) => (callee::LOCAL, off, 0),
        Call::Kfunc { btf_id, btf_fd_idx } => (callee::KFUNC, btf_id, btf_fd_idx),
    };
    Slot { opcode: whole::CALL, dst: 0, src, off, imm }
}

fn load_imm64(dst: Reg, imm: Imm64) -> Encoded {
    let (src, low, high) = match imm {
        Imm64::Value(value) => {
            let low = u32::try_from(value & 0xffff_ffff).unwrap_or(0).cast_signed();
            let high = u32::try_from(value >> 32).unwrap_or(0).cast_signed();
            (imm_source::VALUE, low, high)
        }
        Imm64::MapFd(fd) => (imm_source::MAP_FD, fd, 0),
        Imm64::MapValue { fd, off } => (imm_source::MAP_VALUE, fd, off.cast_signed()),
        Imm64::MapIdx(idx) => (imm_source::MAP_IDX, idx, 0),
        Imm64::MapIdxValue { idx, off } => (imm_source::MAP_IDX_VALUE, idx, off.cast_signed()),
        Imm64::BtfId { id, btf_fd } => (imm_source::BTF_ID, id, btf_fd),
        Imm64::Func { off } => (imm_source::FUNC, off, 0),
    };
    Encoded {
        first: Slot { opcode: whole::LOAD_IMM64, dst: dst.number(), src, off: 0, imm: low },
        second: Some(Slot { imm: high, ..Slot::default() }),
    }
}
