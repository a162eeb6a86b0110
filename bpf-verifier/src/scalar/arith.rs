//! Sums, differences and products.
//!
//! The whole word and its low half are computed apart, since the low half of a sum is the sum of
//! the low halves, and likewise for products.

use super::{Range, Scalar, Word};

impl Scalar {
    pub(super) fn plus(&self, rhs: &Self) -> Self {
        Self {
            bits: self.bits.add(rhs.bits),
            whole: sum(&self.whole, &rhs.whole),
            low: sum(&self.low, &rhs.low),
        }
    }

    pub(super) fn minus(&self, rhs: &Self) -> Self {
        Self {
            bits: self.bits.sub(rhs.bits),
            whole: difference(&self.whole, &rhs.whole),
            low: difference(&self.low, &rhs.low),
        }
    }

    pub(super) fn times(&self, rhs: &Self) -> Self {
        Self {
            bits: self.bits.mul(rhs.bits),
            whole: product(&self.whole, &rhs.whole),
            low: product(&self.low, &rhs.low),
        }
    }
}

/// The sums of the ends are the ends of the sums. If both unsigned ends wrap, so does everything
/// between them; if only the upper one does, the sums lie on both sides of zero.
///
/// Linux: `scalar_min_max_add`.
fn sum<W: Word>(a: &Range<W>, b: &Range<W>) -> Range<W> {
    let (umin, min_wraps) = a.umin.add(b.umin);
    let (umax, max_wraps) = a.umax.add(b.umax);
    joined(
        (min_wraps == max_wraps).then_some((umin, umax)),
        W::sadd(a.smin, b.smin).zip(W::sadd(a.smax, b.smax)),
    )
}

/// As [`sum`]; here the lower end wraps before the upper one.
///
/// Linux: `scalar_min_max_sub`.
fn difference<W: Word>(a: &Range<W>, b: &Range<W>) -> Range<W> {
    let (umin, min_wraps) = a.umin.sub(b.umax);
    let (umax, max_wraps) = a.umax.sub(b.umin);
    joined(
        (min_wraps == max_wraps).then_some((umin, umax)),
        W::ssub(a.smin, b.smax).zip(W::ssub(a.smax, b.smin)),
    )
}

/// A product is linear in each factor, so it is extreme at a corner.
///
/// Linux: `scalar_min_max_mul`.
fn product<W: Word>(a: &Range<W>, b: &Range<W>) -> Range<W> {
    let corners = || {
        let first = W::smul(a.smin, b.smin)?;
        let rest = [W::smul(a.smin, b.smax)?, W::smul(a.smax, b.smin)?, W::smul(a.smax, b.smax)?];
        Some(rest.into_iter().fold((first, first), |(min, max), x| (min.min(x), max.max(x))))
    };
    joined(a.umin.mul(b.umin).zip(a.umax.mul(b.umax)), corners())
}

/// A range of two intervals, each unbounded if it is not given.
fn joined<W: Word>(unsigned: Option<(W, W)>, signed: Option<(W::Signed, W::Signed)>) -> Range<W> {
    let (umin, umax) = unsigned.unwrap_or((W::ZERO, W::MAX));
    let (smin, smax) = signed.unwrap_or((W::SMIN, W::SMAX));
    Range { umin, umax, smin, smax }
}
