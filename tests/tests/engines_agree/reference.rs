//! What instructions compute, in numbers that are wider than any register.

use bpf_isa::{AluOp, ByteOrder, Endian, JumpOp, Size, Width};

/// How many numbers a register of this width holds.
fn modulus(width: Width) -> i128 {
    1 << width.bits()
}

/// The low bits, as a number that is not negative.
fn unsigned(width: Width, x: u64) -> i128 {
    i128::from(x).rem_euclid(modulus(width))
}

/// The low bits, as a number in two's complement.
pub(crate) fn signed(bits: u32, x: u64) -> i128 {
    let low = i128::from(x).rem_euclid(1 << bits);
    if low >= 1 << (bits - 1) { low - (1 << bits) } else { low }
}

/// A number as the register of this width that holds it.
pub(crate) fn wrapped(width: Width, x: i128) -> u64 {
    u64::try_from(x.rem_euclid(modulus(width))).expect("no more than 64 bits")
}

/// `dst op= src`.
pub(crate) fn alu(op: AluOp, width: Width, dst: u64, src: u64) -> u64 {
    let (a, b) = (unsigned(width, dst), unsigned(width, src));
    let power = 1 << b.rem_euclid(i128::from(width.bits()));
    let result = match op {
        AluOp::Add => a + b,
        AluOp::Sub => a - b,
        AluOp::Mul => i128::from(dst).rem_euclid(modulus(width)).wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_mul(power),
        AluOp::Rsh => a / power,
        AluOp::Arsh => signed(width.bits(), dst).div_euclid(power),
        AluOp::Mov => b,
    };
    wrapped(width, result)
}

/// The operations that have a signed form.
#[derive(Clone, Copy)]
pub(crate) enum SignedOp {
    Div,
    Mod,
}

/// `dst s/= src` and `dst s%= src`, toward zero.
pub(crate) fn alu_signed(op: SignedOp, width: Width, dst: u64, src: u64) -> u64 {
    let (a, b) = (signed(width.bits(), dst), signed(width.bits(), src));
    let result = match op {
        SignedOp::Mod => a.checked_rem(b).unwrap_or(a),
        SignedOp::Div => a.checked_div(b).unwrap_or(0),
    };
    wrapped(width, result)
}

/// The low `size` of `x`, its bytes reversed or not; nothing above.
pub(crate) fn endian(kind: Endian, size: Size, x: u64) -> u64 {
    let mut bytes = x.to_le_bytes();
    let low = &mut bytes[..size.bytes() as usize];
    match kind {
        Endian::To(ByteOrder::Little) => {}
        Endian::To(ByteOrder::Big) | Endian::Swap => low.reverse(),
    }
    low.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Whether `dst op src`.
pub(crate) fn holds(op: JumpOp, width: Width, dst: u64, src: u64) -> bool {
    let (a, b) = (unsigned(width, dst), unsigned(width, src));
    let (sa, sb) = (signed(width.bits(), dst), signed(width.bits(), src));
    match op {
        JumpOp::Eq => a == b,
        JumpOp::Ne => a != b,
        JumpOp::Gt => a > b,
        JumpOp::Ge => a >= b,
        JumpOp::Lt => a < b,
        JumpOp::Le => a <= b,
        JumpOp::Set => a & b != 0,
        JumpOp::Sgt => sa > sb,
        JumpOp::Sge => sa >= sb,
        JumpOp::Slt => sa < sb,
        JumpOp::Sle => sa <= sb,
    }
}

/// An immediate, as an operand of this width.
pub(crate) fn immediate(imm: i32) -> u64 {
    wrapped(Width::W64, i128::from(imm))
}

#[test]
fn the_formulas_say_what_the_standard_says() {
    let (w32, w64) = (Width::W32, Width::W64);
    assert_eq!(alu(AluOp::Sub, w32, 0, 1), 0xffff_ffff);
    assert_eq!(alu(AluOp::Mul, w64, u64::MAX, u64::MAX), 1);
    assert_eq!(alu(AluOp::Lsh, w64, 3, 63), 1 << 63);
    assert_eq!(alu(AluOp::Arsh, w32, 0x8000_0000, 33), 0xc000_0000);
    assert_eq!(alu_signed(SignedOp::Div, w64, 1 << 63, u64::MAX), 1 << 63);
    assert_eq!(alu_signed(SignedOp::Mod, w64, wrapped(w64, -13), 3), u64::MAX);
    assert_eq!(endian(Endian::Swap, Size::H, 0xaa_1234), 0x3412);
    assert!(holds(JumpOp::Slt, w32, 0xffff_ffff, 0) && !holds(JumpOp::Slt, w64, 0xffff_ffff, 0));
    assert_eq!(immediate(-1), u64::MAX);
}
