//! Arithmetic: which kinds of value may meet.

use bpf_abi::map::MapType;
use bpf_isa::{AluOp, ByteOrder, Endian, Insn, Operand, Reg, Size, Width};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::stack::{link_for_copy, width_of};
use crate::scalar::Scalar;
use crate::state::{Delta, Link, Number, Pointer, PointerKind, Value};
use crate::step::atomic::is_arena;
use crate::step::{StepError, check_sane, pointer};

/// The address space of arenas.
const ARENA: u16 = 1;

/// An arithmetic instruction. Linux: `check_alu_op`.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>, insn: Insn) -> Result<(), Reason> {
    match insn {
        Insn::Alu { op: AluOp::Mov, width, dst, src: Operand::Reg(src) } => {
            move_reg(cx, width, dst, src)
        }
        Insn::Alu { op: AluOp::Mov, width, dst, src: Operand::Imm(imm) } => {
            cx.check_writable(dst)?;
            let set = match width {
                Width::W64 => Scalar::imm(imm),
                Width::W32 => Scalar::constant(u64::from(imm.cast_unsigned())),
            };
            cx.state.set(dst, Some(Value::Scalar(Number::of(set))));
            Ok(())
        }
        Insn::Alu { op, width, dst, src } => {
            binary(cx, Operation { op, width, dst, src, signed: false })
        }
        Insn::AluSigned { op, width, dst, src } => {
            binary(cx, Operation { op, width, dst, src, signed: true })
        }
        Insn::Neg { width, dst } => negate(cx, width, dst),
        Insn::MovSx { width, dst, src, from } => move_signed(cx, width, dst, src, from),
        Insn::Endian { kind, size, dst } => reorder(cx, kind, size, dst),
        Insn::AddrSpaceCast { dst, src, from, .. } => {
            if !cx.env.used_maps().any(|map| map.map_type == MapType::Arena) {
                return Err(StepError::NoArena.into());
            }
            cx.read(src)?;
            cx.check_writable(dst)?;
            let value = if from == ARENA {
                Value::Pointer(Pointer::to(PointerKind::Arena))
            } else {
                Value::UNKNOWN
            };
            cx.state.set(dst, Some(value));
            Ok(())
        }
        Insn::LoadImm64 { .. }
        | Insn::SecondSlot
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::LoadAbs { .. }
        | Insn::LoadInd { .. }
        | Insn::Jump { .. }
        | Insn::JumpIf { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(_)
        | Insn::Exit => Ok(()),
    }
}

fn negate(cx: &mut StepCx<'_, '_>, width: Width, dst: Reg) -> Result<(), Reason> {
    let value = cx.read(dst)?;
    cx.check_writable(dst)?;
    let value = match value {
        Value::Scalar(number) => {
            Value::Scalar(Number { set: number.set.neg(width), link: None, ..number })
        }
        Value::Pointer(_) => Value::UNKNOWN,
    };
    cx.state.set(dst, Some(value));
    finish(cx, dst, "alu")
}

/// Changes the order of bytes. Hosts are little-endian: that order is a truncation.
///
/// Linux: `scalar_byte_swap`.
fn reorder(cx: &mut StepCx<'_, '_>, kind: Endian, size: Size, dst: Reg) -> Result<(), Reason> {
    let value = cx.read(dst)?;
    cx.check_writable(dst)?;
    let value = match (value, kind) {
        (Value::Pointer(_), _) => Value::UNKNOWN,
        (Value::Scalar(_), Endian::To(ByteOrder::Little)) if size == Size::DW => value,
        (Value::Scalar(number), Endian::To(ByteOrder::Little)) => {
            Value::Scalar(Number { set: number.set.zero_extended(size), link: None, ..number })
        }
        (Value::Scalar(number), Endian::To(ByteOrder::Big) | Endian::Swap) => {
            Value::Scalar(Number { set: number.set.byte_swapped(size), link: None, ..number })
        }
    };
    cx.state.set(dst, Some(value));
    finish(cx, dst, "alu")
}

/// `dst = src`, or its low half.
fn move_reg(cx: &mut StepCx<'_, '_>, width: Width, dst: Reg, src: Reg) -> Result<(), Reason> {
    let value = cx.read(src)?;
    cx.check_writable(dst)?;
    let moved = match (value, width) {
        (Value::Scalar(mut number), Width::W64) => {
            link(cx, src, &mut number);
            Value::Scalar(number)
        }
        (Value::Pointer(_), Width::W64) => value,
        (Value::Scalar(mut number), Width::W32) => {
            if width_of(&value) <= 32 {
                link(cx, src, &mut number);
            } else {
                number.link = None;
            }
            number.set = number.set.truncated();
            Value::Scalar(number)
        }
        // Half an address is a number of which nothing is known.
        (Value::Pointer(_), Width::W32) => Value::Scalar(Number::of(Scalar::UNKNOWN.truncated())),
    };
    cx.state.set(dst, Some(moved));
    finish(cx, dst, "alu")
}

/// Links a register to the copy that is about to be made of it.
fn link(cx: &mut StepCx<'_, '_>, src: Reg, number: &mut Number) {
    link_for_copy(cx, number);
    cx.state.set(src, Some(Value::Scalar(*number)));
}

/// `dst = (signed)src`.
fn move_signed(
    cx: &mut StepCx<'_, '_>,
    width: Width,
    dst: Reg,
    src: Reg,
    from: Size,
) -> Result<(), Reason> {
    let value = cx.read(src)?;
    cx.check_writable(dst)?;
    let moved = match value {
        Value::Scalar(mut number) => {
            let keeps = number.set.umax() < 1 << (from.bits() - 1);
            if keeps {
                link(cx, src, &mut number);
            } else {
                number.link = None;
            }
            number.set = number.set.sign_extended(width, from);
            Value::Scalar(number)
        }
        Value::Pointer(_) if width == Width::W32 => {
            Value::Scalar(Number::of(Scalar::UNKNOWN.truncated()))
        }
        Value::Pointer(_) => Value::UNKNOWN,
    };
    cx.state.set(dst, Some(moved));
    finish(cx, dst, "alu")
}

/// An operation with two operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// What is computed.
    pub(crate) op: AluOp,
    /// On how many bits.
    pub(crate) width: Width,
    /// The left operand, and where the result goes.
    pub(crate) dst: Reg,
    /// The right operand.
    pub(crate) src: Operand,
    /// Whether it is signed division or remainder.
    pub(crate) signed: bool,
}

fn binary(cx: &mut StepCx<'_, '_>, operation: Operation) -> Result<(), Reason> {
    let Operation { op, width, dst, src, .. } = operation;
    if let Operand::Reg(src) = src {
        cx.read(src)?;
    }
    cx.read(dst)?;
    if let Operand::Imm(imm) = src {
        check_immediate(op, width, imm)?;
    }
    cx.check_writable(dst)?;
    compute(cx, operation)?;
    finish(cx, dst, "alu")
}

fn check_immediate(op: AluOp, width: Width, imm: i32) -> Result<(), StepError> {
    match op {
        AluOp::Div | AluOp::Mod if imm == 0 => Err(StepError::DivisionByZero),
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh
            if u32::try_from(imm).is_ok_and(|by| by < width.bits()) =>
        {
            Ok(())
        }
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => Err(StepError::Shift { by: imm }),
        AluOp::Div
        | AluOp::Mod
        | AluOp::Add
        | AluOp::Sub
        | AluOp::Mul
        | AluOp::Or
        | AluOp::And
        | AluOp::Xor
        | AluOp::Mov => Ok(()),
    }
}

/// Linux: `adjust_reg_min_max_vals`.
fn compute(cx: &mut StepCx<'_, '_>, operation: Operation) -> Result<(), Reason> {
    let Operation { op, dst, src, .. } = operation;
    let Some(&left) = cx.state.reg(dst) else { return Ok(()) };
    let right = match src {
        Operand::Reg(src) => match cx.state.reg(src) {
            Some(&right) => right,
            None => return Ok(()),
        },
        Operand::Imm(imm) => Value::Scalar(Number::of(Scalar::imm(imm))),
    };
    if is_arena(Some(&left)) || is_arena(Some(&right)) {
        // Arenas catch every wrong address, so any arithmetic is allowed, whatever the other is.
        cx.state.set(dst, Some(Value::Pointer(Pointer::to(PointerKind::Arena))));
        return Ok(());
    }
    match (left, right) {
        (Value::Pointer(_), Value::Pointer(_)) => {
            if op != AluOp::Sub {
                return Err(StepError::TwoPointers { dst, op: op.symbol() }.into());
            }
            cx.state.set(dst, Some(Value::UNKNOWN));
            Ok(())
        }
        (Value::Scalar(number), Value::Pointer(base)) => {
            cx.mark_precise(dst)?;
            pointer::offset(cx, operation, base, number, pointer::Side::Right)
        }
        (Value::Pointer(base), Value::Scalar(number)) => {
            if let Operand::Reg(src) = src {
                cx.mark_precise(src)?;
            }
            pointer::offset(cx, operation, base, number, pointer::Side::Left)
        }
        (Value::Scalar(left), Value::Scalar(right)) => {
            if left.precise
                && let Operand::Reg(src) = src
            {
                cx.mark_precise(src)?;
            }
            let left = split(cx, operation, left, &right.set)?;
            let result = numbers(operation, left, right);
            cx.state.set(dst, Some(Value::Scalar(result)));
            Ok(())
        }
    }
}

/// A number that is a smeared sign is followed apart for each sign, where that helps: the branch
/// for zero is put aside, to walk this instruction again.
///
/// Linux: `maybe_fork_scalars`.
fn split(
    cx: &mut StepCx<'_, '_>,
    operation: Operation,
    left: Number,
    right: &Scalar,
) -> Result<Number, Reason> {
    let Operation { op, dst, .. } = operation;
    if !matches!(op, AluOp::And | AluOp::Or) || !right.is_const() {
        return Ok(left);
    }
    let Some([zero, ones]) = left.set.split_sign_mask() else { return Ok(left) };
    // The whole word known, it is no member of its group any more.
    let link = if ones.is_const() { None } else { left.link };
    let again = cx.pc;
    let there = cx.push_branch(again)?;
    there.set(dst, Some(Value::Scalar(Number { set: zero, link, ..left })));
    Ok(Number { set: ones, link, ..left })
}

/// The result of an operation on two numbers.
///
/// Linux: `adjust_scalar_min_max_vals`.
fn numbers(operation: Operation, left: Number, right: Number) -> Number {
    let Operation { op, width, src, signed, .. } = operation;
    let link = moved_link(operation, left, right);
    let unknown = signed
        || matches!(op, AluOp::Div | AluOp::Mod)
        || contradicts(&right.set, width)
        || shift_unknown(op, width, src, &right.set);
    if unknown {
        let set = match width {
            Width::W64 => Scalar::UNKNOWN,
            Width::W32 => Scalar::UNKNOWN,
        };
        return Number { set, link: None, precise: false };
    }
    let set = left.set.alu(op, width, right.set);
    Number { set, link, precise: left.precise }
}

/// Whether the right operand is what no execution has: a branch not taken was walked.
fn contradicts(set: &Scalar, width: Width) -> bool {
    match width {
        Width::W64 => {
            set.smin() > set.smax()
                || set.umin() > set.umax()
                || (set.is_const() && (set.smin() != set.smax() || set.umin() != set.umax()))
        }
        Width::W32 => {
            let low = &set.low;
            let known = set.bits.is_const_in(width);
            low.smin > low.smax
                || low.umin > low.umax
                || (known && (low.smin != low.smax || low.umin != low.umax))
        }
    }
}

/// Whether a shift is by an unknown or too great a number.
fn shift_unknown(op: AluOp, width: Width, src: Operand, by: &Scalar) -> bool {
    let _ = src;
    match op {
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
            let least = by.const_in(width);
            least.is_none_or(|least| least >= u64::from(width.bits()))
        }
        AluOp::Add
        | AluOp::Sub
        | AluOp::Mul
        | AluOp::Div
        | AluOp::Mod
        | AluOp::Or
        | AluOp::And
        | AluOp::Xor
        | AluOp::Mov => false,
    }
}

/// A number that is moved by a known distance stays related to its group, once. A sum of low
/// halves counts only if the upper half was zero.
///
/// Linux: the `BPF_ADD_CONST` of `adjust_reg_min_max_vals`.
fn moved_link(operation: Operation, left: Number, right: Number) -> Option<Link> {
    let Operation { op, width, .. } = operation;
    let link = left.link.filter(|link| link.delta.is_none())?;
    let by = right.set.const_in(width)?;
    let by = match width {
        Width::W64 => i32::try_from(by.cast_signed()).ok()?,
        Width::W32 if left.set.umax() > u64::from(u32::MAX) => return None,
        Width::W32 => u32::try_from(by).ok()?.cast_signed(),
    };
    let by = match op {
        AluOp::Add => by,
        AluOp::Sub => by.checked_neg()?,
        AluOp::Mul
        | AluOp::Div
        | AluOp::Mod
        | AluOp::Or
        | AluOp::And
        | AluOp::Xor
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Arsh
        | AluOp::Mov => return None,
    };
    Some(Link { id: link.id, delta: Some(Delta { by, width }) })
}

/// Looks for contradictions in a result.
fn finish(cx: &mut StepCx<'_, '_>, dst: Reg, context: &str) -> Result<(), Reason> {
    if let Some(Value::Scalar(number)) = cx.state.reg(dst).copied() {
        let mut set = number.set;
        check_sane(cx, &mut set, context)?;
        cx.state.set(dst, Some(Value::Scalar(Number { set, ..number })));
    }
    Ok(())
}
