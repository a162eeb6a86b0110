//! `&`, `|`, `^` and shifts.

use bpf_isa::{AluOp, Width};

use super::{Range, Scalar, Tnum, Word};

impl Scalar {
    /// A conjunction has at least the bits that are known, and is no greater than either operand.
    pub(super) fn and(&self, rhs: &Self) -> Self {
        let bits = self.bits.and(rhs.bits);
        Self::bitwise(
            bits,
            (bits.min(), self.whole.umax.min(rhs.whole.umax)),
            (low(bits.min()), self.low.umax.min(rhs.low.umax)),
        )
    }

    /// A disjunction is no less than either operand, and has no bit that neither may have.
    pub(super) fn or(&self, rhs: &Self) -> Self {
        let bits = self.bits.or(rhs.bits);
        Self::bitwise(
            bits,
            (self.whole.umin.max(rhs.whole.umin), bits.max()),
            (self.low.umin.max(rhs.low.umin), low(bits.max())),
        )
    }

    /// Of an exclusive disjunction the known bits tell all.
    pub(super) fn xor(&self, rhs: &Self) -> Self {
        let bits = self.bits.xor(rhs.bits);
        Self::bitwise(bits, (bits.min(), bits.max()), (low(bits.min()), low(bits.max())))
    }

    fn bitwise(bits: Tnum, whole: (u64, u64), low: (u32, u32)) -> Self {
        let whole = Range::of_unsigned(whole.0, whole.1);
        let low = Range::of_unsigned(low.0, low.1);
        Self { bits, whole, low }
    }

    /// The two words of a set that a sign was smeared into, 0 and -1, each on its own; or the same
    /// for the low half.
    ///
    /// Compilers turn `x < 0 ? K : 0` into `(x s>> 63) & K`. Before an `&` or `|` with a constant
    /// the two words are followed apart, so that the result is 0 or K and nothing between.
    ///
    /// Linux: `maybe_fork_scalars`.
    pub fn split_sign_mask(&self) -> Option<[Self; 2]> {
        if (self.whole.smin, self.whole.smax) == (-1, 0) {
            return Some([Self::constant(0), Self::constant(u64::MAX)]);
        }
        if (self.low.smin, self.low.smax) != (-1, 0) {
            return None;
        }
        Some([0, u32::MAX].map(|value| Self {
            bits: self.bits.with_low(Tnum::constant(u64::from(value))),
            low: Range::constant(value),
            ..*self
        }))
    }

    /// How far a shift by this goes, if that is known and less than the width.
    ///
    /// Linux: `is_safe_to_compute_dst_reg_range`.
    pub(super) fn shift_amount(&self, width: Width) -> Option<u32> {
        let is_known = match width {
            Width::W32 => self.bits.is_const_in(width) && self.low.const_value().is_some(),
            Width::W64 => self.bits.is_const() && self.whole.const_value().is_some(),
        };
        let by = u32::try_from(self.whole.umax).ok()?;
        (is_known && by < width.bits()).then_some(by)
    }

    /// A shift by fewer bits than `width` has.
    pub(super) fn shifted(&self, op: AluOp, width: Width, by: u32) -> Self {
        match (op, width) {
            (AluOp::Lsh, Width::W64) => self.shl(by),
            (AluOp::Lsh, Width::W32) => Self {
                bits: self.bits.low().shl(by).low(),
                whole: Range::FULL,
                low: shl(&self.low, by),
            },
            (AluOp::Rsh, Width::W64) => {
                Self { bits: self.bits.shr(by), whole: shr(&self.whole, by), low: Range::FULL }
            }
            (AluOp::Rsh, Width::W32) => {
                Self { bits: self.bits.low().shr(by), whole: Range::FULL, low: shr(&self.low, by) }
            }
            (_, Width::W64) => Self {
                bits: self.bits.sar(by, width),
                whole: sar(&self.whole, by),
                low: Range::FULL,
            },
            (_, Width::W32) => {
                Self { bits: self.bits.sar(by, width), whole: Range::FULL, low: sar(&self.low, by) }
            }
        }
    }

    /// `<<` of the whole word. The low half follows unless it loses a bit too; a shift by 32, one
    /// half of the usual sign extension, keeps the low half's signed interval.
    fn shl(&self, by: u32) -> Self {
        let mut whole = shl(&self.whole, by);
        if by == 32 {
            whole.smin = i64::from(self.low.smin) << 32;
            whole.smax = i64::from(self.low.smax) << 32;
        }
        let low = if by < u32::BITS { shl(&self.low, by) } else { Range::FULL };
        Self { bits: self.bits.shl(by), whole, low }
    }
}

fn low(word: u64) -> u32 {
    u32::low_of(word)
}

/// Unbounded if a bit that may be set is shifted out, or into the sign.
fn shl<W: Word>(range: &Range<W>, by: u32) -> Range<W> {
    let greatest = W::MAX.sub(W::MAX.shr(1)).0.shr(by); // 1 << (BITS - 1 - by)
    if range.umax > greatest {
        return Range::FULL;
    }
    Range { umin: range.umin.shl(by), umax: range.umax.shl(by), ..Range::FULL }
}

fn shr<W: Word>(range: &Range<W>, by: u32) -> Range<W> {
    Range { umin: range.umin.shr(by), umax: range.umax.shr(by), ..Range::FULL }
}

fn sar<W: Word>(range: &Range<W>, by: u32) -> Range<W> {
    Range { smin: W::sar(range.smin, by), smax: W::sar(range.smax, by), ..Range::FULL }
}
