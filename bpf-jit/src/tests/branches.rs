//! Every jump on both sides, loops, and what the layout does to them.

use bpf_isa::{AluOp, Insn, JumpOp, Operand, Reg, Size, Width};

use super::{
    BOUNDARIES, IMMEDIATES, WIDTHS, add, add_imm, compile, goto, jump_if, load, mov, mov_imm,
    parts, result_of, run,
};

/// What a jump on two numbers of this width does.
pub(super) fn expected(op: JumpOp, width: Width, a: u64, b: u64) -> bool {
    let unused = 64 - width.bits();
    let (a, b) = (a << unused, b << unused);
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    match op {
        JumpOp::Eq => a == b,
        JumpOp::Ne => a != b,
        JumpOp::Gt => a > b,
        JumpOp::Ge => a >= b,
        JumpOp::Lt => a < b,
        JumpOp::Le => a <= b,
        JumpOp::Set => a & b != 0,
        JumpOp::Sgt => signed_a > signed_b,
        JumpOp::Sge => signed_a >= signed_b,
        JumpOp::Slt => signed_a < signed_b,
        JumpOp::Sle => signed_a <= signed_b,
    }
}

/// R0 is 1 if `insn` jumps by two.
fn program(insn: Insn) -> Vec<Insn> {
    vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        load(Size::DW, Reg::R3, Reg::R1, 8),
        insn,
        mov_imm(Reg::R0, 0),
        Insn::Exit,
        mov_imm(Reg::R0, 1),
        Insn::Exit,
    ]
}

#[test]
fn jumps_on_registers() {
    for &op in JumpOp::ALL {
        for width in WIDTHS {
            let src = Operand::Reg(Reg::R3);
            let insn = Insn::JumpIf { op, width, dst: Reg::R2, src, off: 2 };
            let compiled = compile(parts(program(insn)));
            for a in BOUNDARIES {
                for b in BOUNDARIES {
                    let taken = run(&compiled, &mut [a, b]) == 1;
                    assert_eq!(taken, expected(op, width, a, b), "{insn} of {a:#x}, {b:#x}");
                }
            }
        }
    }
}

#[test]
fn jumps_on_immediates() {
    for &op in JumpOp::ALL {
        for width in WIDTHS {
            for imm in IMMEDIATES {
                let src = Operand::Imm(imm);
                let insn = Insn::JumpIf { op, width, dst: Reg::R2, src, off: 2 };
                let compiled = compile(parts(program(insn)));
                let b = i64::from(imm).cast_unsigned();
                for a in BOUNDARIES {
                    let taken = run(&compiled, &mut [a, 0]) == 1;
                    assert_eq!(taken, expected(op, width, a, b), "{insn} of {a:#x}");
                }
            }
        }
    }
}

#[test]
fn a_loop_counts() {
    let program = vec![
        mov_imm(Reg::R0, 0),
        mov_imm(Reg::R2, 0),
        add(Reg::R0, Reg::R2),
        add_imm(Reg::R2, 1),
        jump_if(JumpOp::Ne, Reg::R2, 100, -3),
        Insn::Exit,
    ];
    assert_eq!(result_of(program), 4950);
}

#[test]
fn a_latch_that_is_jumped_to_from_the_body_counts_once() {
    // for (i = 0; i != 10; i++) if (i & 1) r0 += 100; else r0 += 1;
    let program = vec![
        mov_imm(Reg::R0, 0),
        mov_imm(Reg::R2, 0),
        jump_if(JumpOp::Set, Reg::R2, 1, 2),
        add_imm(Reg::R0, 1),
        goto(2),
        add_imm(Reg::R0, 100),
        goto(0),
        add_imm(Reg::R2, 1),
        jump_if(JumpOp::Ne, Reg::R2, 10, -7),
        Insn::Exit,
    ];
    assert_eq!(result_of(program), 505);
}

#[test]
fn jumps_to_jumps_arrive() {
    let program = vec![
        goto(2),
        mov_imm(Reg::R0, 7),
        Insn::Exit,
        Insn::Jump { off: 1, long: true },
        goto(-4),
        goto(-2),
    ];
    assert_eq!(result_of(program), 7);
}

#[test]
fn both_ways_of_a_jump_may_lead_to_one_place() {
    let program = vec![mov_imm(Reg::R0, 3), jump_if(JumpOp::Eq, Reg::R0, 3, 0), Insn::Exit];
    assert_eq!(result_of(program), 3);
}

#[test]
fn code_that_cannot_be_reached_does_no_harm() {
    let program = vec![mov_imm(Reg::R0, 1), goto(1), add_imm(Reg::R0, 5), Insn::Exit, Insn::Exit];
    assert_eq!(result_of(program), 1);
}

#[test]
fn may_goto_jumps_when_the_budget_is_used_up() {
    // r0 counts the rounds of an endless loop.
    let program = vec![
        mov_imm(Reg::R0, 0),
        Insn::MayGoto { off: 2 },
        add_imm(Reg::R0, 1),
        goto(-3),
        // Used up is used up.
        Insn::MayGoto { off: 1 },
        mov_imm(Reg::R0, 0),
        Insn::Exit,
    ];
    assert_eq!(result_of(program), bpf_abi::limits::MAX_MAY_GOTO);
}

#[test]
fn a_register_is_what_the_way_taken_made_it() {
    let double =
        Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R0, src: Operand::Reg(Reg::R0) };
    let program = vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        mov(Reg::R0, Reg::R2),
        jump_if(JumpOp::Gt, Reg::R2, 10, 1),
        double,
        Insn::Exit,
    ];
    let compiled = compile(parts(program));
    assert_eq!(run(&compiled, &mut 10u64), 20);
    assert_eq!(run(&compiled, &mut 11u64), 11);
}
