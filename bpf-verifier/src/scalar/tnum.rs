//! Known bits: which bits of a number are certain, and what they are.

use std::fmt;

use bpf_isa::{Size, Width};

/// A set of integers, given as what is known of each bit.
///
/// The set is every `x` that agrees with `value` wherever `mask` has a zero:
///
/// ```text
///   mask   0 0 1 1
///   value  1 0 0 0     { 1000, 1001, 1010, 1011 }
/// ```
///
/// These sets form a lattice under inclusion, with all integers at the top and the single
/// integers at the bottom. Every operation here is sound: the result of the operation on members
/// is a member of the result. Addition, subtraction and the bitwise operations are also optimal:
/// no smaller set of this form would do.
///
/// Invariant: `value & mask == 0`.
///
/// Linux: `struct tnum`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tnum {
    value: u64,
    mask: u64,
}

impl Tnum {
    /// All integers.
    pub const UNKNOWN: Self = Self { value: 0, mask: u64::MAX };

    /// The one integer `value`. Linux: `tnum_const`.
    pub const fn constant(value: u64) -> Self {
        Self { value, mask: 0 }
    }

    /// The integers that have the bits of `value` outside of `mask`.
    pub const fn new(value: u64, mask: u64) -> Self {
        Self { value: value & !mask, mask }
    }

    /// The smallest set of this form with all of `min..=max`: the common upper bits are known.
    ///
    /// Linux: `tnum_range`.
    pub const fn range(min: u64, max: u64) -> Self {
        let differing = u64::BITS - (min ^ max).leading_zeros();
        if differing == u64::BITS {
            return Self::UNKNOWN;
        }
        Self::new(min, (1 << differing) - 1)
    }

    /// The known ones.
    pub const fn value(self) -> u64 {
        self.value
    }

    /// The unknown bits.
    pub const fn mask(self) -> u64 {
        self.mask
    }

    /// The smallest member, unsigned.
    pub const fn min(self) -> u64 {
        self.value
    }

    /// The largest member, unsigned.
    pub const fn max(self) -> u64 {
        self.value | self.mask
    }

    /// Whether there is only one member.
    pub const fn is_const(self) -> bool {
        self.mask == 0
    }

    /// Whether all members agree in their low `width` bits.
    pub const fn is_const_in(self, width: Width) -> bool {
        match width {
            Width::W32 => self.mask << 32 == 0,
            Width::W64 => self.mask == 0,
        }
    }

    /// Whether nothing is known.
    pub const fn is_unknown(self) -> bool {
        self.mask == u64::MAX
    }

    /// Whether every member is a multiple of `size`, a power of two. Linux: `tnum_is_aligned`.
    pub const fn is_aligned(self, size: u64) -> bool {
        size == 0 || self.max() & (size - 1) == 0
    }

    /// Whether `number` is a member.
    pub const fn contains(self, number: u64) -> bool {
        number & !self.mask == self.value
    }

    /// Whether every member of `other` is a member of this. Linux: `tnum_in(self, other)`.
    pub const fn includes(self, other: Self) -> bool {
        other.mask & !self.mask == 0 && other.value & !self.mask == self.value
    }

    /// Whether some integer is a member of both. Linux: `tnum_overlap`.
    pub const fn overlaps(self, other: Self) -> bool {
        (self.value ^ other.value) & !(self.mask | other.mask) == 0
    }

    /// The smallest member above `number`, or the largest member if there is none.
    ///
    /// Without its known ones a member is a choice of bits of the mask, and the next choice is
    /// reached by a carry that runs through all other bits. Below the highest bit of `number`
    /// that no member has, every choice is passed over.
    ///
    /// Linux: `tnum_step`.
    pub const fn next_after(self, number: u64) -> u64 {
        if number >= self.max() {
            return self.max();
        }
        if number < self.min() {
            return self.min();
        }
        let choice = number - self.value;
        let stray = u64::BITS - (choice & !self.mask).leading_zeros();
        let passed = if stray == 0 { 0 } else { u64::MAX >> (u64::BITS - stray) };
        self.value | ((choice | passed | !self.mask).wrapping_add(1) & self.mask)
    }

    /// What is known if both are known to hold. The two must overlap: if they do not, the result
    /// mixes them.
    ///
    /// Linux: `tnum_intersect`.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self::new(self.value | other.value, self.mask & other.mask)
    }

    /// What is known if one of the two holds. Linux: `tnum_union`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self::new(self.value, (self.value ^ other.value) | self.mask | other.mask)
    }

    /// The sums of any two members.
    ///
    /// The smallest and the largest sum differ in just those bits that a carry may or may not
    /// have reached. Those bits become unknown; the others are the same in every sum.
    #[must_use]
    pub const fn add(self, rhs: Self) -> Self {
        let smallest = self.value.wrapping_add(rhs.value);
        let largest = smallest.wrapping_add(self.mask.wrapping_add(rhs.mask));
        Self::new(smallest, (smallest ^ largest) | self.mask | rhs.mask)
    }

    /// The differences of any two members, by the argument of [`add`](Self::add).
    #[must_use]
    pub const fn sub(self, rhs: Self) -> Self {
        let known = self.value.wrapping_sub(rhs.value);
        let largest = known.wrapping_add(self.mask);
        let smallest = known.wrapping_sub(rhs.mask);
        Self::new(known, (smallest ^ largest) | self.mask | rhs.mask)
    }

    /// The negations.
    #[must_use]
    pub const fn neg(self) -> Self {
        Self::constant(0).sub(self)
    }

    /// The products of any two members.
    ///
    /// Long multiplication, bit by bit of the left operand; where that bit is unknown, the sum
    /// so far goes on both with and without the shifted right operand.
    #[must_use]
    pub const fn mul(self, rhs: Self) -> Self {
        if self.mask | rhs.mask == 0 {
            return Self::constant(self.value.wrapping_mul(rhs.value));
        }
        let mut sum = Self::constant(0);
        let (mut left, mut right) = (self, rhs);
        while left.max() != 0 {
            if left.value & 1 != 0 {
                sum = sum.add(right);
            } else if left.mask & 1 != 0 {
                sum = sum.union(sum.add(right));
            }
            left = left.shr(1);
            right = right.shl(1);
        }
        sum
    }

    /// The conjunctions of any two members.
    #[must_use]
    pub const fn and(self, rhs: Self) -> Self {
        let value = self.value & rhs.value;
        Self { value, mask: self.max() & rhs.max() & !value }
    }

    /// The disjunctions of any two members.
    #[must_use]
    pub const fn or(self, rhs: Self) -> Self {
        let value = self.value | rhs.value;
        Self { value, mask: (self.mask | rhs.mask) & !value }
    }

    /// The exclusive disjunctions of any two members.
    #[must_use]
    pub const fn xor(self, rhs: Self) -> Self {
        Self::new(self.value ^ rhs.value, self.mask | rhs.mask)
    }

    /// The members, shifted left by `by` bits, fewer than 64.
    #[must_use]
    pub const fn shl(self, by: u32) -> Self {
        Self { value: self.value << by, mask: self.mask << by }
    }

    /// The members, shifted right by `by` bits, fewer than 64, filling with zeros.
    #[must_use]
    pub const fn shr(self, by: u32) -> Self {
        Self { value: self.value >> by, mask: self.mask >> by }
    }

    /// The low `width` bits, shifted right by `by` bits, fewer than `width`, filling with the
    /// sign, be it known or not.
    ///
    /// Linux: `tnum_arshift`.
    #[must_use]
    pub const fn sar(self, by: u32, width: Width) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
        match width {
            Width::W32 => Self {
                value: ((self.value as u32).cast_signed() >> by).cast_unsigned() as u64,
                mask: ((self.mask as u32).cast_signed() >> by).cast_unsigned() as u64,
            },
            Width::W64 => Self {
                value: (self.value.cast_signed() >> by).cast_unsigned(),
                mask: (self.mask.cast_signed() >> by).cast_unsigned(),
            },
        }
    }

    /// The low `bytes` bytes of the members, zero-extended. Linux: `tnum_cast`.
    #[must_use]
    pub const fn truncated(self, bytes: u32) -> Self {
        if bytes >= 8 {
            return self;
        }
        let keep = (1 << (bytes * 8)) - 1;
        Self { value: self.value & keep, mask: self.mask & keep }
    }

    /// The low `size` of the members with its bytes in the other order, zero-extended.
    ///
    /// Linux: `tnum_bswap16`, `tnum_bswap32`, `tnum_bswap64`.
    #[must_use]
    pub const fn byte_swapped(self, size: Size) -> Self {
        let unused = u64::BITS - size.bits();
        Self { value: self.value.swap_bytes() >> unused, mask: self.mask.swap_bytes() >> unused }
    }

    /// The low halves of the members. Linux: `tnum_subreg`.
    #[must_use]
    pub const fn low(self) -> Self {
        self.truncated(4)
    }

    /// The members, their low halves set to zero. Linux: `tnum_clear_subreg`.
    #[must_use]
    pub const fn high(self) -> Self {
        self.shr(32).shl(32)
    }

    /// The members, their low halves replaced by those of `low`. Linux: `tnum_with_subreg`.
    #[must_use]
    pub const fn with_low(self, low: Self) -> Self {
        self.high().or(low.low())
    }
}

/// As in the log: `(0x0; 0xff)`.
impl fmt::Display for Tnum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mask, self.value) {
            (0, value) if value <= u64::from(u16::MAX) => write!(f, "{value}"),
            (0, value) => write!(f, "{value:#x}"),
            (mask, value) => write!(f, "({value:#x}; {mask:#x})"),
        }
    }
}

impl fmt::Debug for Tnum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u32 = 4;

    /// Every set of four-bit integers that has this form.
    fn all() -> impl Iterator<Item = Tnum> {
        (0..1 << BITS)
            .flat_map(|mask| (0..1 << BITS).map(move |value| Tnum { value, mask }))
            .filter(|set| set.value & set.mask == 0)
    }

    fn pairs() -> impl Iterator<Item = (Tnum, Tnum)> {
        all().flat_map(|a| all().map(move |b| (a, b)))
    }

    fn members(set: Tnum) -> impl Iterator<Item = u64> {
        (0..1 << BITS).filter(move |&x| set.contains(x))
    }

    type OnSets = fn(Tnum, Tnum) -> Tnum;
    type OnNumbers = fn(u64, u64) -> u64;

    const OPTIMAL: [(&str, OnSets, OnNumbers); 5] = [
        ("+", Tnum::add, u64::wrapping_add),
        ("-", Tnum::sub, u64::wrapping_sub),
        ("&", Tnum::and, |x, y| x & y),
        ("|", Tnum::or, |x, y| x | y),
        ("^", Tnum::xor, |x, y| x ^ y),
    ];

    #[test]
    fn there_are_three_states_a_bit() {
        assert_eq!(all().count(), 81);
    }

    #[test]
    fn what_is_computed_of_members_is_a_member_of_what_is_computed() {
        let ops = OPTIMAL.into_iter().chain([("*", Tnum::mul as OnSets, u64::wrapping_mul as _)]);
        for (name, on_sets, on_numbers) in ops {
            for (a, b) in pairs() {
                let result = on_sets(a, b);
                assert_eq!(result.value & result.mask, 0, "{a} {name} {b}");
                for (x, y) in members(a).flat_map(|x| members(b).map(move |y| (x, y))) {
                    assert!(result.contains(on_numbers(x, y)), "{x} {name} {y} escapes {a} {b}");
                }
            }
        }
    }

    #[test]
    fn no_bit_is_forgotten_that_could_have_been_kept() {
        for (name, on_sets, on_numbers) in OPTIMAL {
            for (a, b) in pairs() {
                let results = members(a).flat_map(|x| members(b).map(move |y| on_numbers(x, y)));
                let (every, any) = results.fold((!0, 0), |(and, or), x| (and & x, or | x));
                assert_eq!(on_sets(a, b).mask, every ^ any, "{a} {name} {b}");
            }
        }
    }

    #[test]
    fn intersection_overlap_and_inclusion_are_those_of_the_sets() {
        for (a, b) in pairs() {
            let both: Vec<u64> = members(a).filter(|&x| b.contains(x)).collect();
            assert_eq!(a.overlaps(b), !both.is_empty(), "{a} {b}");
            assert_eq!(a.includes(b), both.len() == members(b).count(), "{a} {b}");
            if a.overlaps(b) {
                assert!(members(a.intersect(b)).eq(both), "{a} {b}");
            }
            assert!(a.union(b).includes(a) && a.union(b).includes(b));
        }
    }

    #[test]
    fn a_range_is_included_and_the_result_is_the_smallest_that_does() {
        for (min, max) in (0..32).flat_map(|min| (min..32).map(move |max| (min, max))) {
            let range = Tnum::range(min, max);
            assert!((min..=max).all(|x| range.contains(x)));
            // All bits below the highest one in which the ends differ take both values.
            assert_eq!(range.mask.count_ones(), u64::BITS - (min ^ max).leading_zeros());
        }
        assert_eq!(Tnum::range(0, u64::MAX), Tnum::UNKNOWN);
    }

    #[test]
    fn the_next_member_is_the_smallest_above() {
        for set in all() {
            for x in 0..1 << BITS {
                let above = members(set).find(|&member| member > x);
                assert_eq!(set.next_after(x), above.unwrap_or(set.max()), "{set} {x}");
            }
        }
    }

    #[test]
    fn an_arithmetic_shift_copies_an_unknown_sign() {
        let sign_unknown = Tnum::new(0x7000_0000, 0x8000_0000);
        assert_eq!(sign_unknown.sar(4, Width::W32), Tnum::new(0x0700_0000, 0xf800_0000));
        assert_eq!(sign_unknown.shl(32).sar(60, Width::W64), Tnum::new(7, !7));
    }

    #[test]
    fn halves_come_apart_and_together() {
        let set = Tnum::new(0x1234_0000_5678_0000, 0xff_0000_00ff);
        assert_eq!(set.high().or(set.low()), set);
        assert_eq!(set.with_low(Tnum::constant(7)), set.high().or(Tnum::constant(7)));
        assert_eq!(set.truncated(1), Tnum::new(0, 0xff));
        assert_eq!(set.to_string(), "(0x1234000056780000; 0xff000000ff)");
    }
}
