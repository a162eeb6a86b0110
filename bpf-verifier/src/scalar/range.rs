//! Intervals: the least and the greatest value, unsigned and signed, of 64 or 32 bits.

use std::fmt::Debug;

/// An unsigned machine word and its signed twin, so that 32 and 64 bits are written once.
pub trait Word: Copy + Ord + Debug + 'static {
    /// The same bits, read as two's complement.
    type Signed: Copy + Ord + Debug;

    /// How many bits it has.
    const BITS: u32;
    /// Zero.
    const ZERO: Self;
    /// All ones.
    const MAX: Self;
    /// The least signed number.
    const SMIN: Self::Signed;
    /// The greatest signed number.
    const SMAX: Self::Signed;

    /// The same bits, signed.
    fn signed(self) -> Self::Signed;
    /// The same bits, unsigned.
    fn unsigned(signed: Self::Signed) -> Self;
    /// The low bits of a 64-bit word.
    fn low_of(word: u64) -> Self;
    /// The sum modulo 2ⁿ, and whether it wrapped.
    fn add(self, rhs: Self) -> (Self, bool);
    /// The difference modulo 2ⁿ, and whether it wrapped.
    fn sub(self, rhs: Self) -> (Self, bool);
    /// The product, if it fits.
    fn mul(self, rhs: Self) -> Option<Self>;
    /// The signed sum, if it fits.
    fn sadd(lhs: Self::Signed, rhs: Self::Signed) -> Option<Self::Signed>;
    /// The signed difference, if it fits.
    fn ssub(lhs: Self::Signed, rhs: Self::Signed) -> Option<Self::Signed>;
    /// The signed product, if it fits.
    fn smul(lhs: Self::Signed, rhs: Self::Signed) -> Option<Self::Signed>;
    /// Shifted left by fewer than `BITS`.
    fn shl(self, by: u32) -> Self;
    /// Shifted right by fewer than `BITS`, filling with zeros.
    fn shr(self, by: u32) -> Self;
    /// Shifted right by fewer than `BITS`, filling with the sign.
    fn sar(signed: Self::Signed, by: u32) -> Self::Signed;
}

/// Implements [`Word`] for an unsigned type, its signed twin, given how to cut it off a `u64`.
macro_rules! word {
    ($($Unsigned:ty, $Signed:ty, $low:expr;)+) => {$(
        impl Word for $Unsigned {
            type Signed = $Signed;
            const BITS: u32 = <$Unsigned>::BITS;
            const ZERO: Self = 0;
            const MAX: Self = <$Unsigned>::MAX;
            const SMIN: $Signed = <$Signed>::MIN;
            const SMAX: $Signed = <$Signed>::MAX;

            fn signed(self) -> $Signed { self.cast_signed() }
            fn unsigned(signed: $Signed) -> Self { signed.cast_unsigned() }
            fn low_of(word: u64) -> Self { $low(word) }
            fn add(self, rhs: Self) -> (Self, bool) { self.overflowing_add(rhs) }
            fn sub(self, rhs: Self) -> (Self, bool) { self.overflowing_sub(rhs) }
            fn mul(self, rhs: Self) -> Option<Self> { self.checked_mul(rhs) }
            fn sadd(lhs: $Signed, rhs: $Signed) -> Option<$Signed> { lhs.checked_add(rhs) }
            fn ssub(lhs: $Signed, rhs: $Signed) -> Option<$Signed> { lhs.checked_sub(rhs) }
            fn smul(lhs: $Signed, rhs: $Signed) -> Option<$Signed> { lhs.checked_mul(rhs) }
            fn shl(self, by: u32) -> Self { self << by }
            fn shr(self, by: u32) -> Self { self >> by }
            fn sar(signed: $Signed, by: u32) -> $Signed { signed >> by }
        }
    )+};
}

word! {
    u64, i64, std::convert::identity;
    u32, i32, low_half;
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(word: u64) -> u32 {
    word as u32
}

/// The words that lie in an unsigned and in a signed interval.
///
/// Either interval alone may hold more than the set meant; [`Scalar`](super::Scalar) lets them
/// learn from each other. An interval whose ends have crossed stands for a contradiction: no
/// execution has such a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<W: Word> {
    /// The least value, unsigned.
    pub umin: W,
    /// The greatest value, unsigned.
    pub umax: W,
    /// The least value, signed.
    pub smin: W::Signed,
    /// The greatest value, signed.
    pub smax: W::Signed,
}

impl<W: Word> Range<W> {
    /// All words.
    pub const FULL: Self = Self { umin: W::ZERO, umax: W::MAX, smin: W::SMIN, smax: W::SMAX };

    /// One word.
    pub fn constant(value: W) -> Self {
        Self { umin: value, umax: value, smin: value.signed(), smax: value.signed() }
    }

    /// The words of an unsigned interval: also a signed one if it does not cross the sign.
    pub fn of_unsigned(umin: W, umax: W) -> Self {
        let (smin, smax) = (umin.signed(), umax.signed());
        if smin <= smax {
            Self { umin, umax, smin, smax }
        } else {
            Self { umin, umax, ..Self::FULL }
        }
    }

    /// The one word in it, if all four ends agree.
    pub fn const_value(&self) -> Option<W> {
        (*self == Self::constant(self.umin)).then_some(self.umin)
    }

    /// Whether an end has crossed its other end.
    pub fn is_contradiction(&self) -> bool {
        self.umin > self.umax || self.smin > self.smax
    }

    /// Whether `word` is in both intervals.
    pub fn contains(&self, word: W) -> bool {
        (self.umin..=self.umax).contains(&word) && (self.smin..=self.smax).contains(&word.signed())
    }

    /// Keeps what is not below `min` nor above `max`, unsigned.
    pub fn clip(&mut self, min: W, max: W) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    /// Keeps what is not below `min` nor above `max`, signed.
    pub fn clip_signed(&mut self, min: W::Signed, max: W::Signed) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    /// What lies in both.
    #[must_use]
    pub fn intersect(mut self, other: &Self) -> Self {
        self.clip(other.umin, other.umax);
        self.clip_signed(other.smin, other.smax);
        self
    }

    /// Whether no word lies in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.umin > other.umax
            || self.umax < other.umin
            || self.smin > other.smax
            || self.smax < other.smin
    }

    /// Whether everything in `other` lies in this.
    pub fn includes(&self, other: &Self) -> bool {
        self.umin <= other.umin
            && self.umax >= other.umax
            && self.smin <= other.smin
            && self.smax >= other.smax
    }
}
