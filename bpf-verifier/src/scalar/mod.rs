//! Sets of 64-bit integers: what is known of a register that holds a number.

/// What is known of each bit: `value` where `mask` has a zero, anything where it has a one.
///
/// Linux: `struct tnum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tnum {
    /// The known bits.
    pub value: u64,
    /// The unknown bits.
    pub mask: u64,
}

/// A set of integers: known bits, and signed and unsigned ranges of 64 and of the low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The known bits. Linux: `var_off`.
    pub bits: Tnum,
    /// The smallest, unsigned.
    pub umin: u64,
    /// The largest, unsigned.
    pub umax: u64,
    /// The smallest, signed.
    pub smin: i64,
    /// The largest, signed.
    pub smax: i64,
    /// The smallest low half, unsigned.
    pub umin32: u32,
    /// The largest low half, unsigned.
    pub umax32: u32,
    /// The smallest low half, signed.
    pub smin32: i32,
    /// The largest low half, signed.
    pub smax32: i32,
}

impl Scalar {
    /// Every number.
    pub const UNKNOWN: Self = Self {
        bits: Tnum { value: 0, mask: u64::MAX },
        umin: 0,
        umax: u64::MAX,
        smin: i64::MIN,
        smax: i64::MAX,
        umin32: 0,
        umax32: u32::MAX,
        smin32: i32::MIN,
        smax32: i32::MAX,
    };

    /// One number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the four views of one bit pattern"
    )]
    pub const fn constant(value: u64) -> Self {
        Self {
            bits: Tnum { value, mask: 0 },
            umin: value,
            umax: value,
            smin: value as i64,
            smax: value as i64,
            umin32: value as u32,
            umax32: value as u32,
            smin32: value as i32,
            smax32: value as i32,
        }
    }

    /// The number, if there is one only.
    pub const fn const_value(&self) -> Option<u64> {
        if self.bits.mask == 0 { Some(self.bits.value) } else { None }
    }
}
