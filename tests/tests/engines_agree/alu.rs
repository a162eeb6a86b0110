//! Arithmetic: each operation, width and form of the operand, on every pair of values.

use bpf_isa::{AluOp, ByteOrder, Endian, Insn, Operand, Reg, Size, Width};

use crate::reference::SignedOp;
use crate::{Case, IMMEDIATES, at_each, mov, pairs, reference};

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

/// An operation with two operands.
#[derive(Clone, Copy)]
struct Op {
    op: AluOp,
    signed: bool,
    width: Width,
}

impl Op {
    /// Every operation on every width.
    fn all() -> Vec<Self> {
        let plain = AluOp::ALL.iter().map(|op| (*op, false));
        let signed = [AluOp::Div, AluOp::Mod].map(|op| (op, true));
        plain
            .chain(signed)
            .flat_map(|(op, signed)| WIDTHS.map(|width| Self { op, signed, width }))
            .collect()
    }

    fn insn(self, dst: Reg, src: Operand) -> Insn {
        let Self { op, signed, width } = self;
        if signed {
            Insn::AluSigned { op, width, dst, src }
        } else {
            Insn::Alu { op, width, dst, src }
        }
    }

    fn result(self, dst: u64, src: u64) -> u64 {
        if self.signed {
            let op = if self.op == AluOp::Mod { SignedOp::Mod } else { SignedOp::Div };
            reference::alu_signed(op, self.width, dst, src)
        } else {
            reference::alu(self.op, self.width, dst, src)
        }
    }

    /// The immediates that the verifier lets pass: no division by zero, no shift past the width.
    fn immediates(self) -> Vec<i32> {
        let passes = |imm: &i32| match self.op {
            AluOp::Div | AluOp::Mod => *imm != 0,
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                u32::try_from(*imm).is_ok_and(|imm| imm < self.width.bits())
            }
            AluOp::Add
            | AluOp::Sub
            | AluOp::Mul
            | AluOp::Or
            | AluOp::And
            | AluOp::Xor
            | AluOp::Mov => true,
        };
        IMMEDIATES.into_iter().chain([3, 5, 15, 30]).filter(passes).collect()
    }

    fn name(self, form: &str) -> String {
        let signed = if self.signed { "signed " } else { "" };
        format!("{signed}{:?} {:?} {form}", self.op, self.width)
    }
}

#[test]
fn two_registers() {
    for op in Op::all() {
        let case = Case {
            name: op.name("register"),
            words: (2, 1),
            unrolled: 32,
            tuples: pairs(),
            reserved: vec![],
            emit: Box::new(move |frame, code| {
                code.push(op.insn(frame.ins[0], Operand::Reg(frame.ins[1])));
                code.push(frame.put(0, frame.ins[0]));
            }),
            expect: Box::new(move |_, ins| vec![op.result(ins[0], ins[1])]),
        };
        assert!(case.tuples.len() >= 100);
        case.check();
    }
}

#[test]
fn a_register_and_itself() {
    for op in Op::all() {
        let case = Case {
            name: op.name("itself"),
            words: (1, 1),
            unrolled: 16,
            tuples: at_each(1),
            reserved: vec![],
            emit: Box::new(move |frame, code| {
                code.push(op.insn(frame.ins[0], Operand::Reg(frame.ins[0])));
                code.push(frame.put(0, frame.ins[0]));
            }),
            expect: Box::new(move |_, ins| vec![op.result(ins[0], ins[0])]),
        };
        case.check();
    }
}

#[test]
fn a_register_and_an_immediate() {
    for op in Op::all() {
        let immediates = op.immediates();
        let expected = immediates.clone();
        let case = Case {
            name: op.name("immediate"),
            words: (1, 1),
            unrolled: immediates.len(),
            tuples: at_each(immediates.len()),
            reserved: vec![],
            emit: Box::new(move |frame, code| {
                code.push(op.insn(frame.ins[0], Operand::Imm(immediates[frame.k])));
                code.push(frame.put(0, frame.ins[0]));
            }),
            expect: Box::new(move |k, ins| {
                vec![op.result(ins[0], reference::immediate(expected[k]))]
            }),
        };
        assert!(case.tuples.len() >= 100, "{}", case.name);
        case.check();
    }
}

/// An instruction with one operand.
fn unary(
    name: String,
    insn: impl Fn(Reg, Reg) -> Insn + 'static,
    result: impl Fn(u64) -> u64 + 'static,
) {
    let case = Case {
        name,
        words: (1, 2),
        unrolled: 20,
        tuples: at_each(7),
        reserved: vec![],
        emit: Box::new(move |frame, code| {
            // Into another register where the instruction has one, and in place.
            let other = frame.spare[frame.k % frame.spare.len()];
            code.push(mov(other, Operand::Reg(frame.ins[0])));
            code.push(insn(other, frame.ins[0]));
            code.push(frame.put(0, other));
            code.push(insn(frame.ins[0], frame.ins[0]));
            code.push(frame.put(1, frame.ins[0]));
        }),
        expect: Box::new(move |_, ins| vec![result(ins[0]); 2]),
    };
    assert!(case.tuples.len() >= 100);
    case.check();
}

#[test]
fn negation() {
    for width in WIDTHS {
        unary(
            format!("neg {width:?}"),
            move |dst, _| Insn::Neg { width, dst },
            move |x| reference::wrapped(width, -i128::from(x)),
        );
    }
}

#[test]
fn moves_with_the_sign() {
    for width in WIDTHS {
        for from in Size::ALL.into_iter().filter(|from| from.bits() < width.bits()) {
            unary(
                format!("movsx {width:?} {from:?}"),
                move |dst, src| Insn::MovSx { width, dst, src, from },
                move |x| reference::wrapped(width, reference::signed(from.bits(), x)),
            );
        }
    }
}

#[test]
fn byte_orders() {
    let kinds = [Endian::To(ByteOrder::Little), Endian::To(ByteOrder::Big), Endian::Swap];
    for kind in kinds {
        for size in [Size::H, Size::W, Size::DW] {
            unary(
                format!("{kind:?} {size:?}"),
                move |dst, _| Insn::Endian { kind, size, dst },
                move |x| reference::endian(kind, size, x),
            );
        }
    }
}
