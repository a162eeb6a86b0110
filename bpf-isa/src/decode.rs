//! From slots to meaning, as strict about reserved fields as the kernel.
//!
//! Where the kernel ignores a field (the offset of `exit`, the second immediate of a function's
//! address) so do we, and encoding writes a zero there.

use crate::error::{DecodeError, DecodeErrorKind, Family};
use crate::insn::{
    AtomicOp, ByteOrder, Call, Endian, Extension, Imm64, Insn, Operand, Pc, Reg, Size, Width,
};
use crate::opcode::{
    AluOp, Class, JumpOp, Mode, SOURCE_IS_REGISTER, SizeField, atomic, callee, imm_source, variant,
    whole,
};
use crate::slot::Slot;

use DecodeErrorKind::{
    AddrSpaces, AtomicSize, ImmSource, LoadReserved, MayGotoImm, Register, Reserved, SecondSlot,
    UnknownOpcode,
};

type Decoded = Result<Insn, DecodeErrorKind>;

/// Decodes the instruction in `slot`, which stands at `at` and is followed by `next`.
///
/// # Errors
///
/// Returns an error if the kernel would refuse it for its encoding alone. The error's
/// [`noticed`](DecodeErrorKind::noticed) says when.
pub fn decode(slot: Slot, next: Option<Slot>, at: Pc) -> Result<Insn, DecodeError> {
    let insn = match Class::of(slot.opcode) {
        Some(Class::Ld) => load_special(slot, next),
        Some(Class::Ldx) => load(slot),
        Some(Class::St) => store_imm(slot),
        Some(Class::Stx) => store_reg(slot),
        Some(Class::Alu32) => alu(slot, Width::W32),
        Some(Class::Alu64) => alu(slot, Width::W64),
        Some(Class::Jmp) => jump(slot, Width::W64),
        Some(Class::Jmp32) => jump(slot, Width::W32),
        None => Err(UnknownOpcode(slot.opcode)),
    };
    insn.map_err(|kind| DecodeError { at, kind })
}

/// Decodes every slot; each gets its own verdict, because the kernel reports some of them only
/// when a path comes there.
///
/// The second slot of a wide immediate decodes to [`Insn::SecondSlot`] even if its first one is
/// refused.
pub fn decode_slots(slots: &[Slot]) -> Vec<Result<Insn, DecodeError>> {
    let mut insns = Vec::with_capacity(slots.len());
    let mut is_second = false;
    for (index, slot) in slots.iter().enumerate() {
        if is_second {
            insns.push(Ok(Insn::SecondSlot));
            is_second = false;
            continue;
        }
        let next = slots.get(index + 1).copied();
        let at = Pc(u32::try_from(index).unwrap_or(u32::MAX));
        insns.push(decode(*slot, next, at));
        is_second = slot.opcode == whole::LOAD_IMM64 && next.is_some_and(is_second_slot);
    }
    insns
}

/// Whether `slot` can be the second one of a wide immediate.
fn is_second_slot(slot: Slot) -> bool {
    slot.opcode == 0 && slot.dst == 0 && slot.src == 0 && slot.off == 0
}

/// Refuses the instruction unless `fields_are_unused`.
fn unused(fields_are_unused: bool, family: Family) -> Result<(), DecodeErrorKind> {
    if fields_are_unused { Ok(()) } else { Err(Reserved(family)) }
}

fn reg(number: u8) -> Result<Reg, DecodeErrorKind> {
    Reg::new(number).ok_or(Register(number))
}

fn uses_register(slot: Slot) -> bool {
    slot.opcode & SOURCE_IS_REGISTER != 0
}

/// The right operand. The unused one of `src` and `imm` must be zero.
fn operand(slot: Slot, family: Family) -> Result<Operand, DecodeErrorKind> {
    if uses_register(slot) {
        unused(slot.imm == 0, family)?;
        Ok(Operand::Reg(reg(slot.src)?))
    } else {
        unused(slot.src == 0, family)?;
        Ok(Operand::Imm(slot.imm))
    }
}

fn size(opcode: u8) -> Size {
    match SizeField::of(opcode) {
        Some(SizeField::B) => Size::B,
        Some(SizeField::H) => Size::H,
        Some(SizeField::W) => Size::W,
        // All four values of the field are assigned.
        Some(SizeField::DW) | None => Size::DW,
    }
}

fn alu(slot: Slot, width: Width) -> Decoded {
    if matches!(slot.opcode, whole::NEG32 | whole::NEG64) {
        unused(slot.src == 0 && slot.off == 0 && slot.imm == 0, Family::Neg)?;
        return Ok(Insn::Neg { width, dst: reg(slot.dst)? });
    }
    if matches!(slot.opcode, whole::TO_LE | whole::TO_BE | whole::BSWAP) {
        return endian(slot);
    }
    let op = AluOp::of(slot.opcode).ok_or(UnknownOpcode(slot.opcode))?;
    if op == AluOp::Mov {
        return mov(slot, width);
    }
    let signed = matches!(op, AluOp::Div | AluOp::Mod) && slot.off == variant::SIGNED;
    unused(slot.off == 0 || signed, Family::Alu)?;
    let src = operand(slot, Family::Alu)?;
    let dst = reg(slot.dst)?;
    Ok(if signed {
        Insn::AluSigned { op, width, dst, src }
    } else {
        Insn::Alu { op, width, dst, src }
    })
}

fn endian(slot: Slot) -> Decoded {
    unused(slot.src == 0 && slot.off == 0, Family::End)?;
    let size = match slot.imm {
        16 => Size::H,
        32 => Size::W,
        64 => Size::DW,
        _ => return Err(Reserved(Family::End)),
    };
    let kind = match slot.opcode {
        whole::TO_LE => Endian::To(ByteOrder::Little),
        whole::TO_BE => Endian::To(ByteOrder::Big),
        _ => Endian::Swap,
    };
    Ok(Insn::Endian { kind, size, dst: reg(slot.dst)? })
}

fn mov(slot: Slot, width: Width) -> Decoded {
    if !uses_register(slot) {
        unused(slot.src == 0 && slot.off == 0, Family::Mov)?;
        let src = Operand::Imm(slot.imm);
        return Ok(Insn::Alu { op: AluOp::Mov, width, dst: reg(slot.dst)?, src });
    }
    if width == Width::W64 && slot.off == variant::ADDR_SPACE_CAST {
        return addr_space_cast(slot);
    }
    let from = match (width, slot.off) {
        (_, 0) => None,
        (_, 8) => Some(Size::B),
        (_, 16) => Some(Size::H),
        (Width::W64, 32) => Some(Size::W),
        _ => return Err(Reserved(Family::Mov)),
    };
    unused(slot.imm == 0, Family::Mov)?;
    let src = reg(slot.src)?;
    let dst = reg(slot.dst)?;
    Ok(match from {
        None => Insn::Alu { op: AluOp::Mov, width, dst, src: Operand::Reg(src) },
        Some(from) => Insn::MovSx { width, dst, src, from },
    })
}

/// The immediate holds the two address spaces, the result's in its upper half.
fn addr_space_cast(slot: Slot) -> Decoded {
    let (to, from) = match slot.imm {
        0x0_0001 => (0, 1),
        0x1_0000 => (1, 0),
        _ => return Err(AddrSpaces),
    };
    let src = reg(slot.src)?;
    Ok(Insn::AddrSpaceCast { dst: reg(slot.dst)?, src, to, from })
}

fn jump(slot: Slot, width: Width) -> Decoded {
    match slot.opcode {
        whole::JUMP => {
            unused(slot.dst == 0 && slot.src == 0 && slot.imm == 0, Family::Jump)?;
            Ok(Insn::Jump { off: i32::from(slot.off), long: false })
        }
        whole::JUMP_LONG => {
            unused(slot.dst == 0 && slot.src == 0 && slot.off == 0, Family::Jump)?;
            Ok(Insn::Jump { off: slot.imm, long: true })
        }
        whole::CALL => call(slot),
        whole::EXIT => {
            unused(slot.dst == 0 && slot.src == 0 && slot.imm == 0, Family::Exit)?;
            Ok(Insn::Exit)
        }
        whole::MAY_GOTO => {
            if slot.dst != 0 || slot.src != 0 || slot.imm != 0 {
                return Err(MayGotoImm(slot.imm));
            }
            Ok(Insn::MayGoto { off: slot.off })
        }
        opcode => {
            let op = JumpOp::of(opcode).ok_or(UnknownOpcode(opcode))?;
            // Jumps alone are looked at from left to right.
            let dst = reg(slot.dst)?;
            let src = operand(slot, Family::JumpIf)?;
            Ok(Insn::JumpIf { op, width, dst, src, off: slot.off })
        }
    }
}

fn call(slot: Slot) -> Decoded {
    unused(slot.dst == 0, Family::Call)?;
    unused(slot.off == 0 || slot.src == callee::KFUNC, Family::Call)?;
    match slot.src {
        callee::HELPER => Ok(Insn::Call(Call::Helper(slot.imm))),
        callee::LOCAL => Ok(Insn::Call(Call::Local(slot.imm))),
        callee::KFUNC => Ok(Insn::Call(Call::Kfunc { btf_id: slot.imm, btf_fd_idx: slot.off })),
        _ => Err(Reserved(Family::Call)),
    }
}

fn load(slot: Slot) -> Decoded {
    let size = size(slot.opcode);
    let ext = match Mode::of(slot.opcode) {
        Some(Mode::Mem) => Extension::Unsigned,
        Some(Mode::MemSx) if size == Size::DW => {
            return Err(if slot.imm == 0 { UnknownOpcode(slot.opcode) } else { LoadReserved });
        }
        Some(Mode::MemSx) => Extension::Signed,
        Some(Mode::Imm | Mode::Abs | Mode::Ind | Mode::Atomic) | None => return Err(LoadReserved),
    };
    if slot.imm != 0 {
        return Err(LoadReserved);
    }
    let base = reg(slot.src)?;
    Ok(Insn::Load { size, ext, dst: reg(slot.dst)?, base, off: slot.off })
}

fn store_imm(slot: Slot) -> Decoded {
    if Mode::of(slot.opcode) != Some(Mode::Mem) {
        return Err(UnknownOpcode(slot.opcode));
    }
    unused(slot.src == 0, Family::StoreImm)?;
    let src = Operand::Imm(slot.imm);
    Ok(Insn::Store { size: size(slot.opcode), base: reg(slot.dst)?, off: slot.off, src })
}

fn store_reg(slot: Slot) -> Decoded {
    let size = size(slot.opcode);
    match Mode::of(slot.opcode) {
        Some(Mode::Mem) => {
            unused(slot.imm == 0, Family::StoreReg)?;
            let src = Operand::Reg(reg(slot.src)?);
            Ok(Insn::Store { size, base: reg(slot.dst)?, off: slot.off, src })
        }
        Some(Mode::Atomic) => atomic(slot, size),
        Some(Mode::Imm | Mode::Abs | Mode::Ind | Mode::MemSx) | None => {
            Err(UnknownOpcode(slot.opcode))
        }
    }
}

fn atomic(slot: Slot, size: Size) -> Decoded {
    let off = slot.off;
    match slot.imm {
        atomic::LOAD_ACQUIRE => {
            let base = reg(slot.src)?;
            return Ok(Insn::LoadAcquire { size, dst: reg(slot.dst)?, base, off });
        }
        atomic::STORE_RELEASE => {
            let src = reg(slot.src)?;
            return Ok(Insn::StoreRelease { size, base: reg(slot.dst)?, off, src });
        }
        _ => {}
    }
    let op = atomic_op(slot.imm).ok_or(DecodeErrorKind::AtomicOp(slot.imm))?;
    if size.bytes() < 4 {
        return Err(AtomicSize);
    }
    let src = reg(slot.src)?;
    Ok(Insn::Atomic { op, size, base: reg(slot.dst)?, off, src })
}

/// The read-modify-write operation that an immediate names.
pub(crate) fn atomic_op(imm: i32) -> Option<AtomicOp> {
    let fetch = imm & atomic::FETCH != 0;
    match imm {
        atomic::XCHG => return Some(AtomicOp::Xchg),
        atomic::CMPXCHG => return Some(AtomicOp::CmpXchg),
        _ => {}
    }
    match AluOp::of(u8::try_from(imm & !atomic::FETCH).ok()?) {
        _ if imm & 0xf & !atomic::FETCH != 0 => None,
        Some(AluOp::Add) => Some(AtomicOp::Add { fetch }),
        Some(AluOp::Or) => Some(AtomicOp::Or { fetch }),
        Some(AluOp::And) => Some(AtomicOp::And { fetch }),
        Some(AluOp::Xor) => Some(AtomicOp::Xor { fetch }),
        _ => None,
    }
}

/// Wide immediates and the packet loads.
fn load_special(slot: Slot, next: Option<Slot>) -> Decoded {
    let size = size(slot.opcode);
    let mode = match Mode::of(slot.opcode) {
        Some(Mode::Imm) if size == Size::DW => return load_imm64(slot, next),
        Some(mode @ (Mode::Abs | Mode::Ind)) if size != Size::DW => mode,
        _ => return Err(UnknownOpcode(slot.opcode)),
    };
    unused(slot.dst == 0 && slot.off == 0, Family::Packet)?;
    if mode == Mode::Ind {
        return Ok(Insn::LoadInd { size, src: reg(slot.src)?, imm: slot.imm });
    }
    unused(slot.src == 0, Family::Packet)?;
    Ok(Insn::LoadAbs { size, imm: slot.imm })
}

fn load_imm64(slot: Slot, next: Option<Slot>) -> Decoded {
    let next = next.filter(|next| is_second_slot(*next)).ok_or(SecondSlot)?;
    let low = slot.imm;
    let off = u32::from_ne_bytes(next.imm.to_ne_bytes());
    let imm = match slot.src {
        imm_source::VALUE => {
            let low = u32::from_ne_bytes(low.to_ne_bytes());
            Imm64::Value(u64::from(off) << 32 | u64::from(low))
        }
        imm_source::MAP_FD if off == 0 => Imm64::MapFd(low),
        imm_source::MAP_VALUE => Imm64::MapValue { fd: low, off },
        imm_source::BTF_ID => Imm64::BtfId { id: low, btf_fd: next.imm },
        imm_source::FUNC => Imm64::Func { off: low },
        imm_source::MAP_IDX if off == 0 => Imm64::MapIdx(low),
        imm_source::MAP_IDX_VALUE => Imm64::MapIdxValue { idx: low, off },
        _ => return Err(ImmSource),
    };
    unused(slot.off == 0, Family::LoadImm64)?;
    Ok(Insn::LoadImm64 { dst: reg(slot.dst)?, imm })
}
