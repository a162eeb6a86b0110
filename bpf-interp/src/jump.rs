//! Comparisons as a total function.

use bpf_isa::{JumpOp, Width};

use crate::alu::low;

/// Whether `if a op b` jumps.
#[inline(always)]
pub const fn taken(op: JumpOp, width: Width, a: u64, b: u64) -> bool {
    let (a, b, signed_a, signed_b) = match width {
        Width::W64 => (a, b, a.cast_signed(), b.cast_signed()),
        Width::W32 => {
            let (a, b) = (low(a), low(b));
            (a as u64, b as u64, a.cast_signed() as i64, b.cast_signed() as i64)
        }
    };
    match op {
        JumpOp::Eq => a == b,
        JumpOp::Ne => a != b,
        JumpOp::Gt => a > b,
        JumpOp::Ge => a >= b,
        JumpOp::Lt => a < b,
        JumpOp::Le => a <= b,
        JumpOp::Sgt => signed_a > signed_b,
        JumpOp::Sge => signed_a >= signed_b,
        JumpOp::Slt => signed_a < signed_b,
        JumpOp::Sle => signed_a <= signed_b,
        JumpOp::Set => a & b != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [u64; 12] = [
        0,
        1,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xffff_ffff_0000_0000,
        0xffff_ffff_8000_0000,
        u64::MAX,
    ];

    /// The sign of `a - b`, and of the same with both moved by half the range, which is how
    /// signed numbers are put in order.
    fn order(bits: u32, signed: bool, a: u64, b: u64) -> i128 {
        let modulus = 1_i128 << bits;
        let place = |x: u64| {
            let x = i128::from(x) % modulus;
            if signed { (x + modulus / 2) % modulus } else { x }
        };
        (place(a) - place(b)).signum()
    }

    #[test]
    fn comparisons_are_the_sign_of_the_difference() {
        for (a, b) in VALUES.into_iter().flat_map(|a| VALUES.map(move |b| (a, b))) {
            for (width, bits) in [(Width::W32, 32), (Width::W64, 64)] {
                let (unsigned, signed) = (order(bits, false, a, b), order(bits, true, a, b));
                let common = (a << (64 - bits)) & (b << (64 - bits));
                for op in JumpOp::ALL {
                    let expected = match op {
                        JumpOp::Eq => unsigned == 0,
                        JumpOp::Ne => unsigned != 0,
                        JumpOp::Gt => unsigned > 0,
                        JumpOp::Ge => unsigned >= 0,
                        JumpOp::Lt => unsigned < 0,
                        JumpOp::Le => unsigned <= 0,
                        JumpOp::Sgt => signed > 0,
                        JumpOp::Sge => signed >= 0,
                        JumpOp::Slt => signed < 0,
                        JumpOp::Sle => signed <= 0,
                        JumpOp::Set => common != 0,
                    };
                    assert_eq!(taken(*op, width, a, b), expected, "{a:#x} {} {b:#x}", op.symbol());
                }
            }
        }
    }
}
