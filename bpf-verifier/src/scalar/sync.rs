//! How the five constraints of a [`Scalar`] learn from each other.
//!
//! Each rule below removes words that another constraint excludes already, so none can lose a
//! member: the rules are sound one by one, and in any order. They do not reach the tightest
//! description in one round, nor always in three; three is what the verifier's logs show.

use std::fmt;

use super::{Range, Scalar, Tnum, Word};

const LOW: u64 = 0xffff_ffff;

impl Scalar {
    /// Lets the constraints learn from each other. Linux: `reg_bounds_sync`.
    pub fn sync(&mut self) {
        if self.bits.is_const() {
            let value = self.bits.value();
            if self.whole.contains(value) && self.low.contains(u32::low_of(value)) {
                *self = Self::constant(value);
                return;
            }
        }
        self.ranges_from_bits();
        for _ in 0..3 {
            let before = (self.whole, self.low);
            self.ranges_from_ranges();
            if (self.whole, self.low) == before {
                break;
            }
        }
        self.bits_from_ranges();
        self.ranges_from_bits();
    }

    /// This, after [`sync`](Self::sync).
    pub(super) fn synced(mut self) -> Self {
        self.sync();
        self
    }

    /// A range ends no further than the smallest and the greatest number with the known bits.
    ///
    /// Linux: `__update_reg_bounds`.
    pub(super) fn ranges_from_bits(&mut self) {
        clip_to_bits(&mut self.whole, self.bits.value(), self.bits.mask());
        let low = self.bits.low();
        clip_to_bits(&mut self.low, u32::low_of(low.value()), u32::low_of(low.mask()));
        if let Some(value) = self.only_member() {
            *self = Self::constant(value);
        }
    }

    /// The one number with the known bits in the unsigned interval, if it is easily seen that
    /// there is just one.
    fn only_member(&self) -> Option<u64> {
        let Range { umin, umax, .. } = self.whole;
        let next = self.bits.next_after(umin);
        if self.bits.contains(umin) {
            return (next > umax).then_some(umin);
        }
        let is_last = next == self.bits.max();
        let is_only = || next <= umax && self.bits.next_after(next) > umax;
        (is_last || is_only()).then_some(next)
    }

    /// Linux: `__reg_deduce_bounds`.
    fn ranges_from_ranges(&mut self) {
        self.low_from_whole();
        signed_and_unsigned(&mut self.low);
        apart(&mut self.low);
        signed_and_unsigned(&mut self.whole);
        apart(&mut self.whole);
        self.whole_from_low();
    }

    /// The low halves of an interval form an interval if the upper halves are all the same, or
    /// if they step once while the low half steps from -1 to 0.
    fn low_from_whole(&mut self) {
        let Self { whole, low, .. } = self;
        let unsigned = Ends::of(whole.umin, whole.umax);
        if unsigned.same_upper() {
            low.clip(unsigned.low.0, unsigned.low.1);
            clip_if_signed(low, unsigned.low);
        }
        let signed = Ends::of(whole.smin.cast_unsigned(), whole.smax.cast_unsigned());
        if signed.same_upper() {
            if signed.low.0 <= signed.low.1 {
                low.clip(signed.low.0, signed.low.1);
            }
            clip_if_signed(low, signed.low);
        }
        for ends in [unsigned, signed] {
            if ends.steps_through_zero() {
                low.clip_signed(ends.low.0.signed(), ends.low.1.signed());
            }
        }
    }

    /// The lower end of the word has an upper half; with it, the word is no less than that half
    /// joined to the least low half. The same holds above.
    ///
    /// Linux: `__reg_deduce_mixed_bounds`.
    fn whole_from_low(&mut self) {
        let Self { bits, whole, low } = self;
        let (least, greatest) = (u64::from(low.umin), u64::from(low.umax));
        whole.clip(whole.umin & !LOW | least, whole.umax & !LOW | greatest);
        let join = |end: i64, half: u64| (end.cast_unsigned() & !LOW | half).cast_signed();
        whole.clip_signed(join(whole.smin, least), join(whole.smax, greatest));

        // A sign-extended half that is not negative is the word itself.
        let fits = whole.smin >= i64::from(i32::MIN) && whole.smax <= i64::from(i32::MAX);
        if low.smin >= 0 && fits {
            let (smin, smax) = (i64::from(low.smin), i64::from(low.smax));
            let (umin, umax) = (smin.cast_unsigned(), smax.cast_unsigned());
            *whole = Range { umin, umax, smin, smax };
            *bits = bits.intersect(Tnum::range(umin, umax));
        }
    }

    /// The upper bits in which the ends of a range agree are known. Linux: `__reg_bound_offset`.
    fn bits_from_ranges(&mut self) {
        let bits = self.bits.intersect(Tnum::range(self.whole.umin, self.whole.umax));
        let low = Tnum::range(u64::from(self.low.umin), u64::from(self.low.umax));
        self.bits = bits.high().or(bits.low().intersect(low));
    }

    /// What contradicts itself, if anything does: then no execution comes here with such a value,
    /// but the rules did not see it in time.
    ///
    /// Linux: `reg_bounds_sanity_check`.
    pub fn violation(&self) -> Option<Violation> {
        let low = self.bits.low();
        let contradiction = if self.whole.is_contradiction() || self.low.is_contradiction() {
            Contradiction::Range
        } else if self.bits.is_const() && self.whole != Range::constant(self.bits.value()) {
            Contradiction::Constant
        } else if low.is_const() && self.low != Range::constant(u32::low_of(low.value())) {
            Contradiction::ConstantLow
        } else {
            return None;
        };
        Some(Violation { contradiction, scalar: *self })
    }

    /// Forgets the ranges, but not the known bits. Linux: `__mark_reg_unbounded`.
    pub fn forget_ranges(&mut self) {
        self.whole = Range::FULL;
        self.low = Range::FULL;
    }
}

/// The two ends of an interval of whole words, split into halves.
#[derive(Clone, Copy)]
struct Ends {
    upper: (u32, u32),
    low: (u32, u32),
}

impl Ends {
    fn of(min: u64, max: u64) -> Self {
        let halves = |end: u64| (u32::low_of(end >> 32), u32::low_of(end));
        let (min, max) = (halves(min), halves(max));
        Self { upper: (min.0, max.0), low: (min.1, max.1) }
    }

    fn same_upper(self) -> bool {
        self.upper.0 == self.upper.1
    }

    fn steps_through_zero(self) -> bool {
        self.upper.0.wrapping_add(1) == self.upper.1
            && self.low.0.signed() < 0
            && self.low.1.signed() >= 0
    }
}

/// Clips the signed interval to `ends`, if in this order they are a signed interval.
fn clip_if_signed(range: &mut Range<u32>, ends: (u32, u32)) {
    let (min, max) = (ends.0.signed(), ends.1.signed());
    if min <= max {
        range.clip_signed(min, max);
    }
}

/// Clips both intervals to the numbers with known bits `value` outside of `mask`.
fn clip_to_bits<W: Word>(range: &mut Range<W>, value: W, mask: W) {
    let or = |a: W, b: W| a.add(b).0; // The two have no bit in common.
    let sign = mask.shr(W::BITS - 1).shl(W::BITS - 1);
    let rest = mask.sub(sign).0;
    range.clip_signed(or(value, sign).signed(), or(value, rest).signed());
    range.clip(value, or(value, mask));
}

/// An interval that does not cross the sign is one for signed and unsigned numbers alike.
fn signed_and_unsigned<W: Word>(range: &mut Range<W>) {
    let (smin, smax) = (range.umin.signed(), range.umax.signed());
    if smin <= smax {
        range.clip_signed(smin, smax);
    }
    let (umin, umax) = (W::unsigned(range.smin), W::unsigned(range.smax));
    if umin <= umax {
        range.clip(umin, umax);
    }
}

/// A signed interval that crosses zero lies at both ends of the unsigned numbers. If the unsigned
/// interval touches only one of these, that one is meant.
fn apart<W: Word>(range: &mut Range<W>) {
    let (negative, positive) = (W::unsigned(range.smin), W::unsigned(range.smax));
    if negative <= positive {
        return;
    }
    if range.umax < negative {
        range.smin = range.umin.signed();
        range.umax = range.umax.min(positive);
    } else if positive < range.umin {
        range.smax = range.umax.signed();
        range.umin = range.umin.max(negative);
    }
}

/// How a [`Scalar`] contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// The ends of an interval have crossed.
    Range,
    /// All bits are known, but not to the intervals.
    Constant,
    /// All bits of the low half are known, but not to its intervals.
    ConstantLow,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Range => "range bounds violation",
            Self::Constant => "const tnum out of sync with range bounds",
            Self::ConstantLow => "const subreg tnum out of sync with range bounds",
        })
    }
}

/// A [`Scalar`] that contradicts itself. `Display` is the latter part of the log line
/// `REG INVARIANTS VIOLATION (WHERE): …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In what.
    pub contradiction: Contradiction,
    /// The value.
    pub scalar: Scalar,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contradiction, scalar: Scalar { bits, whole, low } } = self;
        write!(
            f,
            "{contradiction} u64=[{:#x}, {:#x}] s64=[{:#x}, {:#x}] u32=[{:#x}, {:#x}] \
             s32=[{:#x}, {:#x}] var_off=({:#x}, {:#x})",
            whole.umin,
            whole.umax,
            whole.smin,
            whole.smax,
            low.umin,
            low.umax,
            low.smin,
            low.smax,
            bits.value(),
            bits.mask(),
        )
    }
}
