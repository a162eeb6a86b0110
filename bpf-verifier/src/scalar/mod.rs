//! Sets of integers: what is known of a register that holds a number.
//!
//! A [`Scalar`] describes a set of 64-bit words by five constraints that hold together: a pattern
//! of known bits, an unsigned and a signed interval of the whole word, and both for its low half.
//! Operations compute each part on its own and then [`sync`](Scalar::sync) lets the parts learn
//! from each other. Nothing here knows of registers, pointers or paths.

mod tnum;
mod range;
mod sync;
mod arith;
mod bits;
mod cast;
mod compare;

pub use compare::{Branch, Condition};
pub use range::{Range, Word};
pub use sync::{Contradiction, Violation};
pub use tnum::Tnum;

use bpf_isa::{AluOp, Width};

/// A set of 64-bit words.
///
/// Invariant: every word the register can hold satisfies all five constraints. After
/// [`sync`](Self::sync) each is about as tight as the others make it; what exactly, is part of
/// the interface, since the log prints it.
///
/// Linux: the scalar half of `struct bpf_reg_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Known bits. Linux: `var_off`.
    pub bits: Tnum,
    /// The whole word. Linux: `umin_value`, `umax_value`, `smin_value`, `smax_value`.
    pub whole: Range<u64>,
    /// Its low half. Linux: `u32_min_value`, `u32_max_value`, `s32_min_value`, `s32_max_value`.
    pub low: Range<u32>,
}

impl Scalar {
    /// All words. Linux: `__mark_reg_unknown`.
    pub const UNKNOWN: Self = Self { bits: Tnum::UNKNOWN, whole: Range::FULL, low: Range::FULL };

    /// One word. Linux: `__mark_reg_known`.
    pub const fn constant(value: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let low = value as u32;
        Self {
            bits: Tnum::constant(value),
            whole: Range {
                umin: value,
                umax: value,
                smin: value.cast_signed(),
                smax: value.cast_signed(),
            },
            low: Range { umin: low, umax: low, smin: low.cast_signed(), smax: low.cast_signed() },
        }
    }

    /// An immediate, as operations on whole registers see it.
    pub const fn imm(imm: i32) -> Self {
        Self::constant((imm as i64).cast_unsigned())
    }

    /// The words of which `bits` is known, and no more than that: the ranges are unbounded.
    pub const fn of_bits(bits: Tnum) -> Self {
        Self { bits, whole: Range::FULL, low: Range::FULL }
    }

    /// The words `min..=max`, unsigned.
    pub fn of_unsigned(min: u64, max: u64) -> Self {
        let mut scalar = Self::UNKNOWN;
        scalar.whole.clip(min, max);
        scalar.sync();
        scalar
    }

    /// The words `min..=max`, signed.
    pub fn of_signed(min: i64, max: i64) -> Self {
        let mut scalar = Self::UNKNOWN;
        scalar.whole.clip_signed(min, max);
        scalar.sync();
        scalar
    }

    /// The least value, unsigned.
    pub const fn umin(&self) -> u64 {
        self.whole.umin
    }

    /// The greatest value, unsigned.
    pub const fn umax(&self) -> u64 {
        self.whole.umax
    }

    /// The least value, signed.
    pub const fn smin(&self) -> i64 {
        self.whole.smin
    }

    /// The greatest value, signed.
    pub const fn smax(&self) -> i64 {
        self.whole.smax
    }

    /// The least low half, unsigned.
    pub const fn umin32(&self) -> u32 {
        self.low.umin
    }

    /// The greatest low half, unsigned.
    pub const fn umax32(&self) -> u32 {
        self.low.umax
    }

    /// The least low half, signed.
    pub const fn smin32(&self) -> i32 {
        self.low.smin
    }

    /// The greatest low half, signed.
    pub const fn smax32(&self) -> i32 {
        self.low.smax
    }

    /// Whether all bits are known.
    pub const fn is_const(&self) -> bool {
        self.bits.is_const()
    }

    /// The number, if all bits are known.
    pub const fn const_value(&self) -> Option<u64> {
        if self.bits.is_const() { Some(self.bits.value()) } else { None }
    }

    /// The low `width` bits, if they are known. Linux: `is_reg_const`, `reg_const_value`.
    pub const fn const_in(&self, width: Width) -> Option<u64> {
        match width {
            Width::W64 => self.const_value(),
            Width::W32 => {
                if self.bits.is_const_in(width) {
                    Some(self.bits.low().value())
                } else {
                    None
                }
            }
        }
    }

    /// Whether the number is known to be this.
    pub fn is(&self, value: u64) -> bool {
        self.const_value() == Some(value)
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// Whether `word` may be the number.
    pub fn contains(&self, word: u64) -> bool {
        self.bits.contains(word)
            && self.whole.contains(word)
            && self.low.contains(u32::low_of(word))
    }

    /// Whether every constraint is at least as wide as that of `other`. Linux: `range_within`
    /// and `tnum_in`.
    pub fn includes(&self, other: &Self) -> bool {
        self.whole.includes(&other.whole)
            && self.low.includes(&other.low)
            && self.bits.includes(other.bits)
    }

    /// `self op rhs`: all results of `op` on members.
    ///
    /// With [`Width::W32`] the low halves are the operands and the upper half of the result is
    /// zero. `Div` and `Mod` yield all words.
    ///
    /// Linux: `adjust_scalar_min_max_vals`.
    #[must_use]
    pub fn alu(self, op: AluOp, width: Width, rhs: Self) -> Self {
        if let (Some(a), Some(b)) = (self.const_value(), rhs.const_value())
            && let Some(result) = fold(op, width, a, b)
        {
            return Self::constant(result);
        }
        let mut result = match op {
            AluOp::Mov => return self.moved(width, rhs),
            AluOp::Div | AluOp::Mod => return Self::UNKNOWN,
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                let Some(by) = rhs.shift_amount(width) else { return Self::UNKNOWN };
                self.shifted(op, width, by)
            }
            AluOp::Add => self.plus(&rhs),
            AluOp::Sub => self.minus(&rhs),
            AluOp::Mul => self.times(&rhs),
            AluOp::And => self.and(&rhs),
            AluOp::Or => self.or(&rhs),
            AluOp::Xor => self.xor(&rhs),
        };
        if width == Width::W32 {
            // The whole word is taken from the low half: that must know its bits before.
            if !matches!(op, AluOp::Add | AluOp::Sub | AluOp::Mul) {
                result.ranges_from_bits();
            }
            result.zero_extend();
        }
        result.sync();
        result
    }

    /// `-self`. Linux: the `BPF_NEG` of `adjust_scalar_min_max_vals`.
    #[must_use]
    pub fn neg(self, width: Width) -> Self {
        Self::constant(0).alu(AluOp::Sub, width, self)
    }

    /// `rhs`, or its low half.
    fn moved(self, width: Width, rhs: Self) -> Self {
        match width {
            Width::W64 => rhs,
            Width::W32 => rhs.truncated(),
        }
    }
}

/// `a op b` on words, where the general way would come to the same: not for shifts, whose amount
/// may be too great, nor for what is not computed at all.
const fn fold(op: AluOp, width: Width, a: u64, b: u64) -> Option<u64> {
    let result = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh | AluOp::Div | AluOp::Mod => return None,
    };
    match width {
        Width::W32 => Some(result & 0xffff_ffff),
        Width::W64 => Some(result),
    }
}

#[cfg(test)]
mod tests;
