//! Truncation and extension.

use bpf_isa::{Size, Width};

use super::{Range, Scalar, Tnum, Word};

impl Scalar {
    /// The low half, zero-extended: what any 32-bit operation leaves.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.zero_extend();
        self.sync();
        self
    }

    /// Takes the whole word from the low half, without [`sync`](Self::sync).
    ///
    /// Linux: `zext_32_to_64`.
    pub(super) fn zero_extend(&mut self) {
        self.bits = self.bits.low();
        let (umin, umax) = (u64::from(self.low.umin), u64::from(self.low.umax));
        let (smin, smax) = if self.low.smin >= 0 && self.low.smax >= 0 {
            (i64::from(self.low.smin), i64::from(self.low.smax))
        } else {
            (0, i64::from(u32::MAX))
        };
        self.whole = Range { umin, umax, smin, smax };
    }

    /// The low `size`, zero-extended: what a load of that size yields of this.
    ///
    /// Linux: `coerce_reg_to_size`.
    #[must_use]
    pub fn zero_extended(mut self, size: Size) -> Self {
        if size == Size::DW {
            return self;
        }
        self.bits = self.bits.truncated(size.bytes());
        let keep = (1 << size.bits()) - 1;
        // The low bits of an interval form one if the upper bits do not change within it.
        let (umin, umax) = if self.whole.umin & !keep == self.whole.umax & !keep {
            (self.whole.umin & keep, self.whole.umax & keep)
        } else {
            (0, keep)
        };
        self.whole = Range { umin, umax, smin: umin.cast_signed(), smax: umax.cast_signed() };
        if size < Size::W {
            self.low = Range::FULL;
        }
        self.sync();
        self
    }

    /// The low `size` with its bytes in the other order, zero-extended. Only known bits survive:
    /// intervals are scrambled.
    ///
    /// Linux: `scalar_byte_swap`.
    #[must_use]
    pub fn byte_swapped(self, size: Size) -> Self {
        Self::of_bits(self.bits.byte_swapped(size)).zero_extended(size).synced()
    }

    /// The low `size`, sign-extended to `width`; the rest of a 32-bit result is zero.
    ///
    /// Linux: `coerce_reg_to_size_sx`, `coerce_subreg_to_size_sx`.
    #[must_use]
    pub fn sign_extended(mut self, width: Width, size: Size) -> Self {
        match width {
            Width::W64 if size == Size::DW => self,
            Width::W64 => self.sign_extended_whole(size),
            Width::W32 if size >= Size::W => self.truncated(),
            Width::W32 => {
                self.sign_extend_low(size);
                self.truncated()
            }
        }
    }

    fn sign_extended_whole(&self, size: Size) -> Self {
        if let Some(value) = self.const_value() {
            return Self::constant(sign_extend(value, size).cast_unsigned());
        }
        match narrow_ends(self.whole.smin, self.whole.smax, size) {
            Some((min, max)) => Self {
                bits: Tnum::range(min.cast_unsigned(), max.cast_unsigned()),
                whole: signed_ends(min, max),
                low: low_ends(min, max),
            },
            None => {
                let (min, max) = extremes(size);
                Self {
                    bits: Tnum::UNKNOWN,
                    whole: Range { smin: min, smax: max, ..Range::FULL },
                    low: Range { smin: low(min).signed(), smax: low(max).signed(), ..Range::FULL },
                }
            }
        }
    }

    /// Leaves the upper half to [`truncated`](Self::truncated).
    fn sign_extend_low(&mut self, size: Size) {
        if let Some(value) = self.const_value() {
            let value = sign_extend(value, size).cast_unsigned();
            self.bits = Tnum::constant(value);
            self.low = Range::constant(low(value.cast_signed()));
            return;
        }
        match narrow_ends(i64::from(self.low.smin), i64::from(self.low.smax), size) {
            Some((min, max)) => {
                self.low = low_ends(min, max);
                self.bits = Tnum::range(min.cast_unsigned(), max.cast_unsigned()).low();
            }
            None => {
                let (min, max) = extremes(size);
                self.low =
                    Range { smin: low(min).signed(), smax: low(max).signed(), ..Range::FULL };
                self.bits = Tnum::UNKNOWN.low();
            }
        }
    }
}

/// The ends of a signed interval after sign extension from `size`, if they are those of an
/// interval: what is above `size` does not change within it, nor does the sign of `size`.
fn narrow_ends(smin: i64, smax: i64, size: Size) -> Option<(i64, i64)> {
    if smin >> size.bits() != smax >> size.bits() {
        return None;
    }
    let a = sign_extend(smin.cast_unsigned(), size);
    let b = sign_extend(smax.cast_unsigned(), size);
    ((a >= 0) == (b >= 0)).then_some((a.min(b), a.max(b)))
}

/// The low `size` of `value`, sign-extended.
const fn sign_extend(value: u64, size: Size) -> i64 {
    let unused = u64::BITS - size.bits();
    (value << unused).cast_signed() >> unused
}

/// The least and the greatest signed number of `size`.
const fn extremes(size: Size) -> (i64, i64) {
    let min = -1 << (size.bits() - 1);
    (min, !min)
}

fn low(word: i64) -> u32 {
    u32::low_of(word.cast_unsigned())
}

fn signed_ends(smin: i64, smax: i64) -> Range<u64> {
    Range { umin: smin.cast_unsigned(), umax: smax.cast_unsigned(), smin, smax }
}

fn low_ends(min: i64, max: i64) -> Range<u32> {
    let (umin, umax) = (low(min), low(max));
    Range { umin, umax, smin: umin.signed(), smax: umax.signed() }
}
