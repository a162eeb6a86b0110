//! Jumps: each comparison, width and form of the operand, taken and not; long jumps; `may_goto`.

use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_isa::asm::assemble;
use bpf_isa::{JumpOp, Operand, Width};
use bpf_tests::places::Places;

use crate::{Case, IMMEDIATES, at_each, jump, mov, pairs, reference};

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

fn both_sides(case: &Case) {
    let sides: Vec<Vec<u64>> = case
        .tuples
        .iter()
        .enumerate()
        .map(|(n, tuple)| (case.expect)(n % case.unrolled, tuple))
        .collect();
    assert!(sides.contains(&vec![0]) && sides.contains(&vec![1]), "{} has one side", case.name);
    assert!(sides.len() >= 100);
}

#[test]
fn comparisons_of_registers() {
    for op in JumpOp::ALL.iter().copied() {
        for width in WIDTHS {
            let case = Case {
                name: format!("{op:?} {width:?} register"),
                words: (2, 1),
                unrolled: 32,
                tuples: pairs(),
                reserved: vec![],
                emit: Box::new(move |frame, code| {
                    let out = frame.spare[frame.k % frame.spare.len()];
                    code.push(mov(out, Operand::Imm(1)));
                    code.push(jump(op, width, frame.ins[0], Operand::Reg(frame.ins[1]), 1));
                    code.push(mov(out, Operand::Imm(0)));
                    code.push(frame.put(0, out));
                }),
                expect: Box::new(move |_, ins| {
                    vec![u64::from(reference::holds(op, width, ins[0], ins[1]))]
                }),
            };
            both_sides(&case);
            case.check();
        }
    }
}

#[test]
fn comparisons_with_immediates() {
    for op in JumpOp::ALL.iter().copied() {
        for width in WIDTHS {
            let case = Case {
                name: format!("{op:?} {width:?} immediate"),
                words: (1, 1),
                unrolled: IMMEDIATES.len(),
                tuples: at_each(IMMEDIATES.len()),
                reserved: vec![],
                emit: Box::new(move |frame, code| {
                    let out = frame.spare[frame.k % frame.spare.len()];
                    let imm = Operand::Imm(IMMEDIATES[frame.k]);
                    code.push(mov(out, Operand::Imm(1)));
                    code.push(jump(op, width, frame.ins[0], imm, 1));
                    code.push(mov(out, Operand::Imm(0)));
                    code.push(frame.put(0, out));
                }),
                expect: Box::new(move |k, ins| {
                    let imm = reference::immediate(IMMEDIATES[k]);
                    vec![u64::from(reference::holds(op, width, ins[0], imm))]
                }),
            };
            both_sides(&case);
            case.check();
        }
    }
}

/// What a program of text answers everywhere.
fn answer(text: &str) -> u32 {
    let program = assemble(text).unwrap();
    let mut spec = ObjectSpec { license: "GPL".to_owned(), ..ObjectSpec::default() };
    spec.programs.push(ProgramSpec::new("text", ProgType::Xdp, program.to_slots()));
    let places = Places::load(&spec).unwrap();
    places.run("text", &[0; 64]).unwrap().r0
}

#[test]
fn short_and_long_jumps_go_both_ways() {
    for word in ["goto", "gotol"] {
        let text = format!(
            "r0 = 1
             {word} there
             back: r0 += 10
             {word} out
             there: r0 += 100
             {word} back
             out: exit"
        );
        assert_eq!(answer(&text), 111, "{word}");
    }
}

#[test]
fn a_long_jump_goes_farther_than_a_short_one_can() {
    let far = "r0 += 1\n".repeat(40_000);
    assert_eq!(answer(&format!("r0 = 7\nif r1 == 0 goto +1\ngotol far\n{far}far: exit")), 7);
}

#[test]
fn may_goto_falls_through_as_long_as_its_budget_lasts() {
    let text = "r0 = 0
         again: may_goto out
         r0 += 1
         if r0 < 1000 goto again
         r0 += 1
         out: exit";
    assert_eq!(answer(text), 1001);
}

#[test]
fn comparisons_close_loops() {
    let text = "r0 = 0
         r2 = 100
         again: r0 += r2
         r2 += -1
         if r2 s> 0 goto again
         if w0 == 5050 goto out
         r0 = 0
         out: exit";
    assert_eq!(answer(text), 5050);
}
