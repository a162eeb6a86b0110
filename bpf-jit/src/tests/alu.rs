//! Every operation, on both widths, with both kinds of operand.

use bpf_abi::image::{Facts, Note};
use bpf_isa::{AluOp, ByteOrder, Endian, Insn, Operand, Reg, Size, Width};

use super::{BOUNDARIES, IMMEDIATES, WIDTHS, compile, load, mov, notes, parts, run};

/// What `op` gives, written down from RFC 9669 in the widest arithmetic there is.
fn expected(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let modulus: u128 = 1 << width.bits();
    let (a, b) = (u128::from(a) % modulus, u128::from(b) % modulus);
    let shift = b % u128::from(width.bits());
    let result = match op {
        AluOp::Add => a + b,
        AluOp::Sub => a + modulus - b,
        AluOp::Mul => (a * b) % modulus,
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << shift,
        AluOp::Rsh => a >> shift,
        AluOp::Arsh => signed(a, width).wrapping_shr(u32::try_from(shift).unwrap()).cast_unsigned(),
    };
    u64::try_from(result % modulus).unwrap()
}

/// What the signed division gives.
fn expected_signed(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let modulus: u128 = 1 << width.bits();
    let (a, b) = (signed(u128::from(a) % modulus, width), signed(u128::from(b) % modulus, width));
    let result = match op {
        AluOp::Div if b == 0 => 0,
        AluOp::Div => a / b,
        AluOp::Mod if b == 0 => a,
        _ => a % b,
    };
    u64::try_from(result.cast_unsigned() % modulus).unwrap()
}

fn signed(value: u128, width: Width) -> i128 {
    let half: u128 = 1 << (width.bits() - 1);
    let value = value.cast_signed();
    if value.cast_unsigned() >= half { value - (1i128 << width.bits()) } else { value }
}

/// `R0 = op(ctx[0], ctx[1])`: the operands in R2 and R3, the result from R2.
fn program(insn: Insn) -> Vec<Insn> {
    vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        load(Size::DW, Reg::R3, Reg::R1, 8),
        insn,
        mov(Reg::R0, Reg::R2),
        Insn::Exit,
    ]
}

/// Whether an instruction of register operands does as `expected` on all pairs of boundaries.
fn check(insn: Insn, expected: impl Fn(u64, u64) -> u64) {
    let compiled = compile(parts(program(insn)));
    for a in BOUNDARIES {
        for b in BOUNDARIES {
            assert_eq!(run(&compiled, &mut [a, b]), expected(a, b), "{insn} of {a:#x}, {b:#x}");
        }
    }
}

#[test]
fn operations_on_registers() {
    for &op in AluOp::ALL {
        for width in WIDTHS {
            let insn = Insn::Alu { op, width, dst: Reg::R2, src: Operand::Reg(Reg::R3) };
            check(insn, |a, b| expected(op, width, a, b));
        }
    }
}

#[test]
fn operations_with_immediates() {
    for &op in AluOp::ALL {
        for width in WIDTHS {
            for imm in IMMEDIATES {
                let insn = Insn::Alu { op, width, dst: Reg::R2, src: Operand::Imm(imm) };
                let b = i64::from(imm).cast_unsigned();
                check(insn, |a, _| expected(op, width, a, b));
            }
        }
    }
}

#[test]
fn an_operation_of_a_register_with_itself() {
    for &op in AluOp::ALL {
        for width in WIDTHS {
            let insn = Insn::Alu { op, width, dst: Reg::R2, src: Operand::Reg(Reg::R2) };
            check(insn, |a, _| expected(op, width, a, a));
        }
    }
}

#[test]
fn signed_divisions() {
    for op in [AluOp::Div, AluOp::Mod] {
        for width in WIDTHS {
            let dst = Reg::R2;
            let insn = Insn::AluSigned { op, width, dst, src: Operand::Reg(Reg::R3) };
            check(insn, |a, b| expected_signed(op, width, a, b));
            for imm in IMMEDIATES {
                let insn = Insn::AluSigned { op, width, dst, src: Operand::Imm(imm) };
                let b = i64::from(imm).cast_unsigned();
                check(insn, |a, _| expected_signed(op, width, a, b));
            }
        }
    }
}

#[test]
fn a_division_known_to_be_by_no_zero_needs_no_branch() {
    let src = Operand::Reg(Reg::R3);
    let insn = Insn::Alu { op: AluOp::Div, width: Width::W64, dst: Reg::R2, src };
    let mut parts = parts(program(insn));
    let plain = compile(super::parts(program(insn))).code_size();
    parts.notes = notes(&parts, Note { facts: Facts::NONZERO_DIVISOR, ..Note::default() });
    let compiled = compile(parts);
    assert_eq!(run(&compiled, &mut [100u64, 7]), 14);
    assert!(compiled.code_size() <= plain);
}

#[test]
fn negations() {
    for width in WIDTHS {
        check(Insn::Neg { width, dst: Reg::R2 }, |a, _| expected(AluOp::Sub, width, 0, a));
    }
}

#[test]
fn sign_extending_moves() {
    for width in WIDTHS {
        for from in [Size::B, Size::H, Size::W] {
            if from.bits() >= width.bits() {
                continue;
            }
            let insn = Insn::MovSx { width, dst: Reg::R2, src: Reg::R3, from };
            check(insn, |_, b| {
                let unused = 64 - from.bits();
                let extended = ((b << unused).cast_signed() >> unused).cast_unsigned();
                expected(AluOp::Mov, width, 0, extended)
            });
        }
    }
}

#[test]
fn byte_orders() {
    for size in [Size::H, Size::W, Size::DW] {
        let mask = u64::MAX >> (64 - size.bits());
        let swapped = |a: u64| (a & mask).swap_bytes() >> (64 - size.bits());
        for kind in [Endian::Swap, Endian::To(ByteOrder::Big)] {
            check(Insn::Endian { kind, size, dst: Reg::R2 }, |a, _| swapped(a));
        }
        let kind = Endian::To(ByteOrder::Little);
        check(Insn::Endian { kind, size, dst: Reg::R2 }, |a, _| a & mask);
    }
}
