//! Pointers moved by numbers.
//!
//! A known number goes into the fixed part of the offset; any other makes, or grows, the
//! variable part. How far either may go is limited so that sums cannot overflow.

use bpf_isa::{AluOp, Width};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::bounds::MAX_VARIABLE;
use crate::memory::pointer_name;
use crate::scalar::{Range, Scalar};
use crate::state::{FrameNo, Number, PacketRange, Pointer, PointerKind, PtrFlags, Value};
use crate::step::StepError;
use crate::step::alu::Operation;

/// Where the pointer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `pointer op= number`.
    Left,
    /// `number op= pointer`.
    Right,
}

/// A pointer and a number meet. Linux: `adjust_ptr_min_max_vals`.
pub(crate) fn offset(
    cx: &mut StepCx<'_, '_>,
    operation: Operation,
    base: Pointer,
    number: Number,
    side: Side,
) -> Result<(), Reason> {
    let Operation { op, width, dst, .. } = operation;
    let set = number.set;
    let contradicts = set.smin() > set.smax()
        || set.umin() > set.umax()
        || (set.is_const() && (set.smin() != set.smax() || set.umin() != set.umax()));
    if contradicts {
        cx.state.set(dst, Some(Value::UNKNOWN));
        return Ok(());
    }
    if width == Width::W32 {
        if op != AluOp::Sub {
            return Err(StepError::HalfPointer { dst }.into());
        }
        cx.state.set(dst, Some(Value::UNKNOWN));
        return Ok(());
    }
    let ty = || pointer_name(&base);
    if base.maybe_null() {
        return Err(StepError::MaybeNullMoved { dst, ty: ty() }.into());
    }
    if matches!(base.kind, PointerKind::Mem { .. }) && base.flags.contains(PtrFlags::UNTRUSTED) {
        return Ok(());
    }
    if !may_move(&base, op, &set) {
        return Err(StepError::PointerMoved { dst, ty: ty() }.into());
    }
    let linked = number.link.map_or(0, |link| link.distance());
    check_sane_offset(&base, &set, linked)?;
    check_sane_offset(&base, &base.delta, base.off)?;
    let mut moved = match op {
        AluOp::Add => add(cx, base, &set),
        AluOp::Sub if side == Side::Right => {
            return Err(StepError::PointerSubtracted { dst }.into());
        }
        AluOp::Sub if matches!(base.kind, PointerKind::Stack { .. }) => {
            return Err(StepError::StackSubtraction { dst }.into());
        }
        AluOp::Sub => subtract(cx, base, &set),
        AluOp::And | AluOp::Or | AluOp::Xor => {
            return Err(StepError::PointerBits { dst, op: op.symbol() }.into());
        }
        AluOp::Mul
        | AluOp::Div
        | AluOp::Mod
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Arsh
        | AluOp::Mov => {
            return Err(StepError::PointerOperator { dst, op: op.symbol() }.into());
        }
    };
    check_sane_offset(&base, &moved.delta, moved.off)?;
    moved.delta.low = Range::FULL;
    moved.delta.sync();
    if side == Side::Right {
        // What the number's register referred to is nothing.
        moved.ref_id = None;
        // The kernel forgets whose stack it is, and takes it for the main program's.
        if let PointerKind::Stack { frame } = &mut moved.kind
            && !cx.env.options.strict_holes
        {
            *frame = FrameNo(0);
        }
    }
    cx.state.set(dst, Some(Value::Pointer(moved)));
    Ok(())
}

/// Which pointers may be moved at all.
fn may_move(base: &Pointer, op: AluOp, by: &Scalar) -> bool {
    let by_nothing = by.is(0) && op == AluOp::Add;
    match base.kind {
        PointerKind::Ctx
        | PointerKind::MapValue { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::Stack { .. }
        | PointerKind::PacketMeta { .. }
        | PointerKind::Packet { .. }
        | PointerKind::TpBuffer
        | PointerKind::Btf { .. }
        | PointerKind::Mem { .. }
        | PointerKind::Buf
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => true,
        PointerKind::FlowKeys => by.is_const(),
        PointerKind::MapPtr { .. } => by_nothing,
        PointerKind::PacketEnd
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::Arena => false,
    }
}

/// Linux: `check_reg_sane_offset`.
fn check_sane_offset(base: &Pointer, set: &Scalar, off: i32) -> Result<(), StepError> {
    let ty = || pointer_name(base);
    if let Some(value) = set.const_value() {
        let by = value.cast_signed();
        if !(-MAX_VARIABLE + 1..MAX_VARIABLE).contains(&by) {
            return Err(StepError::FarOffset { ty: ty(), by });
        }
    }
    if !(-MAX_VARIABLE + 1..MAX_VARIABLE).contains(&i64::from(off)) {
        return Err(StepError::FarPointer { ty: ty(), off });
    }
    let smin = set.smin();
    if smin == i64::MIN {
        return Err(StepError::UnboundedMin { ty: ty() });
    }
    if !(-MAX_VARIABLE + 1..MAX_VARIABLE).contains(&smin) {
        return Err(StepError::FarMin { ty: ty(), smin });
    }
    Ok(())
}

/// The pointer's fixed part moved by a known number, if it still fits.
fn fixed(off: i32, by: i64) -> Option<i32> {
    i32::try_from(i64::from(off).checked_add(by)?).ok()
}

fn add(cx: &mut StepCx<'_, '_>, base: Pointer, by: &Scalar) -> Pointer {
    let known = by.const_value().map(u64::cast_signed);
    if let Some(off) = known.and_then(|by| fixed(base.off, by)) {
        return Pointer { off, ..base };
    }
    let old = &base.delta;
    let signed = old.smin().checked_add(by.smin()).zip(old.smax().checked_add(by.smax()));
    let unsigned = old.umin().checked_add(by.umin()).zip(old.umax().checked_add(by.umax()));
    let delta = variable(old.bits.add(by.bits), signed, unsigned);
    let mut moved = Pointer { delta, ..base };
    renew_packet(cx, &mut moved, true);
    moved
}

fn subtract(cx: &mut StepCx<'_, '_>, base: Pointer, by: &Scalar) -> Pointer {
    let known = by.const_value().map(u64::cast_signed);
    let back = known.and_then(i64::checked_neg);
    if let Some(off) = back.and_then(|back| fixed(base.off, back)) {
        return Pointer { off, ..base };
    }
    let old = &base.delta;
    let signed = old.smin().checked_sub(by.smax()).zip(old.smax().checked_sub(by.smin()));
    let unsigned =
        old.umin().checked_sub(by.umax()).map(|min| (min, old.umax().wrapping_sub(by.umin())));
    let delta = variable(old.bits.sub(by.bits), signed, unsigned);
    let mut moved = Pointer { delta, ..base };
    renew_packet(cx, &mut moved, by.smin() < 0);
    moved
}

/// A variable part with these bits and ranges; an overflow leaves nothing known.
fn variable(
    bits: crate::scalar::Tnum,
    signed: Option<(i64, i64)>,
    unsigned: Option<(u64, u64)>,
) -> Scalar {
    let mut delta = Scalar::of_bits(bits);
    if let Some((smin, smax)) = signed {
        (delta.whole.smin, delta.whole.smax) = (smin, smax);
    }
    if let Some((umin, umax)) = unsigned {
        (delta.whole.umin, delta.whole.umax) = (umin, umax);
    }
    delta
}

/// A packet pointer with another variable part is not related to the one it was; it may have
/// gone beyond what was checked.
fn renew_packet(cx: &mut StepCx<'_, '_>, pointer: &mut Pointer, forward: bool) {
    if !pointer.is_packet() {
        return;
    }
    pointer.id = Some(cx.fresh_id());
    if forward
        && let PointerKind::Packet { range } | PointerKind::PacketMeta { range } = &mut pointer.kind
    {
        *range = PacketRange::NONE;
    }
}
