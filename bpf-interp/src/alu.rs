//! Arithmetic as total functions: what every other engine and the verifier are compared with.
//!
//! A register is a `u64`; an operation of 32 bits reads the low halves and leaves the upper half
//! of its result zero.

use bpf_isa::{AluOp, ByteOrder, Endian, Extension, Size, Width};

/// `a op b`. For [`AluOp::Mov`], `b`.
///
/// Division by zero gives zero, the remainder by zero `a`; shifts are taken modulo the width.
#[inline(always)]
pub const fn alu(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, a, b),
        Width::W32 => alu32(op, low(a), low(b)) as u64,
    }
}

/// Signed division (`AluOp::Div`) or remainder (`AluOp::Mod`), truncating toward zero; any other
/// operation is the unsigned one.
///
/// Division by zero gives zero, the remainder by zero `a`. The smallest number divided by -1 is
/// itself, with remainder zero.
#[inline(always)]
pub const fn alu_signed(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    match (op, width) {
        (AluOp::Div, Width::W64) if b == 0 => 0,
        (AluOp::Div, Width::W64) => a.cast_signed().wrapping_div(b.cast_signed()).cast_unsigned(),
        (AluOp::Mod, Width::W64) if b == 0 => a,
        (AluOp::Mod, Width::W64) => a.cast_signed().wrapping_rem(b.cast_signed()).cast_unsigned(),
        (AluOp::Div, Width::W32) if low(b) == 0 => 0,
        (AluOp::Div, Width::W32) => {
            low(a).cast_signed().wrapping_div(low(b).cast_signed()).cast_unsigned() as u64
        }
        (AluOp::Mod, Width::W32) if low(b) == 0 => low(a) as u64,
        (AluOp::Mod, Width::W32) => {
            low(a).cast_signed().wrapping_rem(low(b).cast_signed()).cast_unsigned() as u64
        }
        _ => alu(op, width, a, b),
    }
}

/// `-a`.
#[inline(always)]
pub const fn neg(width: Width, a: u64) -> u64 {
    match width {
        Width::W64 => a.wrapping_neg(),
        Width::W32 => low(a).wrapping_neg() as u64,
    }
}

/// The low `from` of `a`, extended to 64 bits.
#[inline(always)]
pub const fn extend(ext: Extension, from: Size, a: u64) -> u64 {
    let unused = 64 - from.bits();
    match ext {
        Extension::Unsigned => a << unused >> unused,
        Extension::Signed => ((a << unused).cast_signed() >> unused).cast_unsigned(),
    }
}

/// The low `from` of `a`, sign-extended to `width`.
#[inline(always)]
pub const fn mov_sx(width: Width, from: Size, a: u64) -> u64 {
    alu(AluOp::Mov, width, 0, extend(Extension::Signed, from, a))
}

/// What a byte-order instruction makes of `a`, on a little-endian host.
#[inline(always)]
pub const fn endian(kind: Endian, size: Size, a: u64) -> u64 {
    let swaps = match kind {
        Endian::To(ByteOrder::Little) => false,
        Endian::To(ByteOrder::Big) | Endian::Swap => true,
    };
    let bits = size.bits();
    if swaps { a.swap_bytes() >> (64 - bits) } else { extend(Extension::Unsigned, size, a) }
}

/// The low half.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
pub const fn low(a: u64) -> u32 {
    a as u32
}

#[inline(always)]
const fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div if b == 0 => 0,
        AluOp::Div => a / b,
        AluOp::Mod if b == 0 => a,
        AluOp::Mod => a % b,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_shl(low(b)),
        AluOp::Rsh => a.wrapping_shr(low(b)),
        AluOp::Arsh => a.cast_signed().wrapping_shr(low(b)).cast_unsigned(),
        AluOp::Mov => b,
    }
}

#[inline(always)]
const fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div if b == 0 => 0,
        AluOp::Div => a / b,
        AluOp::Mod if b == 0 => a,
        AluOp::Mod => a % b,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_shl(b),
        AluOp::Rsh => a.wrapping_shr(b),
        AluOp::Arsh => a.cast_signed().wrapping_shr(b).cast_unsigned(),
        AluOp::Mov => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boundaries of both widths and some numbers between.
    pub(crate) const VALUES: [u64; 20] = [
        0,
        1,
        2,
        3,
        31,
        32,
        63,
        64,
        0x7f,
        0x80,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x1234_5678_9abc_def0,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xffff_ffff_7fff_ffff,
        0xffff_ffff_8000_0000,
        u64::MAX,
    ];

    /// The operation written down again, in integers wide enough never to overflow.
    fn wide(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
        let modulus = 1_u128 << bits;
        let (a, b) = (u128::from(a) % modulus, u128::from(b) % modulus);
        let shift = b % u128::from(bits);
        let floor = |a: i128| a.div_euclid(1 << shift).rem_euclid(1 << bits).cast_unsigned();
        let result = match op {
            AluOp::Add => a + b,
            AluOp::Sub => a + modulus - b,
            AluOp::Mul => a.wrapping_mul(b),
            AluOp::Div => a.checked_div(b).unwrap_or(0),
            AluOp::Mod => a.checked_rem(b).unwrap_or(a),
            AluOp::Or => a | b,
            AluOp::And => a & b,
            AluOp::Xor => (a | b) - (a & b),
            AluOp::Lsh => a << shift,
            AluOp::Rsh => a >> shift,
            AluOp::Arsh if a >= modulus / 2 => floor(a.cast_signed() - (1 << bits)),
            AluOp::Arsh => a >> shift,
            AluOp::Mov => b,
        };
        u64::try_from(result % modulus).unwrap()
    }

    /// Long division by hand: magnitudes first, then signs.
    fn wide_signed(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
        let modulus = 1_i128 << bits;
        let signed = |x: u64| {
            let x = i128::from(x) % modulus;
            if x >= modulus / 2 { x - modulus } else { x }
        };
        let (a, b) = (signed(a), signed(b));
        let (quotient, remainder) = if b == 0 {
            (0, a)
        } else {
            let quotient = a.abs() / b.abs();
            let quotient = if (a < 0) == (b < 0) { quotient } else { -quotient };
            (quotient, a - quotient * b)
        };
        let result = if op == AluOp::Div { quotient } else { remainder };
        u64::try_from(result.rem_euclid(modulus)).unwrap()
    }

    #[test]
    fn operations_agree_with_arithmetic_in_wider_integers() {
        for op in AluOp::ALL {
            for (a, b) in VALUES.into_iter().flat_map(|a| VALUES.map(move |b| (a, b))) {
                for (width, bits) in [(Width::W32, 32), (Width::W64, 64)] {
                    let result = alu(*op, width, a, b);
                    assert_eq!(
                        result,
                        wide(*op, bits, a, b),
                        "{a:#x} {} {b:#x}, {bits}",
                        op.symbol()
                    );
                }
            }
        }
    }

    #[test]
    fn signed_division_truncates_toward_zero_and_never_traps() {
        for op in [AluOp::Div, AluOp::Mod] {
            for (a, b) in VALUES.into_iter().flat_map(|a| VALUES.map(move |b| (a, b))) {
                for (width, bits) in [(Width::W32, 32), (Width::W64, 64)] {
                    let result = alu_signed(op, width, a, b);
                    assert_eq!(
                        result,
                        wide_signed(op, bits, a, b),
                        "{a:#x} s{} {b:#x}",
                        op.symbol()
                    );
                }
            }
        }
    }

    #[test]
    fn negation_is_subtraction_from_zero() {
        for a in VALUES {
            for width in [Width::W32, Width::W64] {
                assert_eq!(neg(width, a), alu(AluOp::Sub, width, 0, a));
            }
        }
    }

    #[test]
    fn extensions_keep_the_low_bits_and_repeat_the_sign() {
        for a in VALUES {
            for size in Size::ALL {
                for bit in 0..64 {
                    let from = bit.min(size.bits() - 1);
                    let signed = extend(Extension::Signed, size, a);
                    assert_eq!(signed >> bit & 1, a >> from & 1);
                    let unsigned = extend(Extension::Unsigned, size, a);
                    assert_eq!(unsigned >> bit & 1, if from == bit { a >> bit & 1 } else { 0 });
                }
            }
        }
        assert_eq!(mov_sx(Width::W32, Size::B, 0x80), 0xffff_ff80);
        assert_eq!(mov_sx(Width::W64, Size::B, 0x80), 0xffff_ffff_ffff_ff80);
    }

    #[test]
    fn byte_order_is_that_of_the_bytes() {
        for a in VALUES {
            for size in [Size::H, Size::W, Size::DW] {
                let count = usize::try_from(size.bytes()).unwrap();
                let bytes = &a.to_le_bytes()[..count];
                let number = |bytes: &mut dyn Iterator<Item = &u8>| {
                    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
                };
                let big = number(&mut bytes.iter());
                let little = number(&mut bytes.iter().rev());
                assert_eq!(endian(Endian::To(ByteOrder::Big), size, a), big);
                assert_eq!(endian(Endian::Swap, size, a), big);
                assert_eq!(endian(Endian::To(ByteOrder::Little), size, a), little);
            }
        }
    }
}
