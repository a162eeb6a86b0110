//! Programs that nobody vouched for.

use bpf_isa::{AtomicOp, Insn, JumpOp, Program, Reg, Size};

use super::{
    add, add_imm, goto, helper, jit, jump_if, load, local, mov, mov_imm, store, store_imm,
};
use crate::{CheckedProgram, CompileError, Fault, FaultKind};

fn compile(insns: Vec<Insn>) -> Result<CheckedProgram, CompileError> {
    CheckedProgram::compile(jit(), &Program::new(insns))
}

fn run(insns: Vec<Insn>, memory: &mut [u8]) -> Result<u64, Fault> {
    compile(insns).unwrap().run(memory, 10_000)
}

/// The instruction and the reason it was stopped.
fn fault(insns: Vec<Insn>, memory: &mut [u8]) -> String {
    run(insns, memory).unwrap_err().to_string()
}

#[test]
fn r1_and_r2_are_the_memory() {
    let last = vec![add(Reg::R1, Reg::R2), load(Size::B, Reg::R0, Reg::R1, -1), Insn::Exit];
    assert_eq!(run(last.clone(), &mut [1, 2, 3]), Ok(3));
    assert_eq!(fault(last, &mut []), "insn 1: access outside of memory and stack");
}

#[test]
fn accesses_must_lie_within_as_a_whole() {
    for size in Size::ALL {
        let bytes = i16::try_from(size.bytes()).unwrap();
        for (off, is_fine) in
            [(0, true), (16 - bytes, true), (17 - bytes, false), (-1, false), (16, false)]
        {
            let insns = [
                load(size, Reg::R0, Reg::R1, off),
                store_imm(size, Reg::R1, off, 1),
                Insn::LoadAcquire { size, dst: Reg::R0, base: Reg::R1, off },
                Insn::StoreRelease { size, base: Reg::R1, off, src: Reg::R2 },
            ];
            for insn in insns {
                let got = run(vec![mov_imm(Reg::R0, 0), insn, Insn::Exit], &mut [0; 16]);
                assert_eq!(got.is_ok(), is_fine, "{insn}");
            }
        }
    }
    let (op, size, base) = (AtomicOp::Xchg, Size::DW, Reg::R1);
    for (off, is_fine) in [(8, true), (9, false)] {
        let insn = Insn::Atomic { op, size, base, off, src: Reg::R2 };
        let got = run(vec![mov_imm(Reg::R0, 0), insn, Insn::Exit], &mut [0; 16]);
        assert_eq!(got.is_ok(), is_fine);
    }
}

#[test]
fn addresses_that_wrap_around_are_outside() {
    let insns = vec![mov_imm(Reg::R1, -4), load(Size::DW, Reg::R0, Reg::R1, 0), Insn::Exit];
    assert_eq!(fault(insns, &mut [0; 16]), "insn 1: access outside of memory and stack");
    let null = vec![mov_imm(Reg::R1, 0), store_imm(Size::B, Reg::R1, 0, 0), Insn::Exit];
    assert_eq!(fault(null, &mut [0; 16]), "insn 1: access outside of memory and stack");
}

#[test]
fn each_function_has_a_frame() {
    let insns = vec![
        store_imm(Size::DW, Reg::FP, -512, 1),
        store_imm(Size::DW, Reg::FP, -8, 2),
        local(4),
        load(Size::DW, Reg::R1, Reg::FP, -8),
        add(Reg::R0, Reg::R1),
        Insn::Exit,
        Insn::Exit,
        store_imm(Size::DW, Reg::FP, -8, 40),
        load(Size::DW, Reg::R0, Reg::FP, -8),
        Insn::Exit,
    ];
    assert_eq!(run(insns, &mut []), Ok(42));
    let below = vec![store_imm(Size::DW, Reg::FP, -520, 1), Insn::Exit];
    assert_eq!(fault(below, &mut []), "insn 0: access outside of memory and stack");
}

#[test]
fn a_fault_in_a_function_is_a_fault_of_the_program() {
    let insns = vec![
        local(2),
        mov_imm(Reg::R0, 1),
        Insn::Exit,
        load(Size::DW, Reg::R0, Reg::R2, 0),
        Insn::Exit,
    ];
    assert_eq!(fault(insns, &mut [0; 4]), "insn 3: access outside of memory and stack");
}

#[test]
fn endless_loops_and_endless_recursion_end() {
    assert_eq!(fault(vec![goto(-1)], &mut []), "insn 0: out of budget");
    let counted = vec![
        mov_imm(Reg::R0, 0),
        add_imm(Reg::R0, 1),
        jump_if(JumpOp::Ne, Reg::R0, 5000, -2),
        Insn::Exit,
    ];
    assert_eq!(run(counted, &mut []), Ok(5000));
    assert_eq!(fault(vec![local(-1), Insn::Exit], &mut []), "insn 0: calls too deep");
}

#[test]
fn what_has_addresses_of_its_own_is_refused() {
    let error = compile(vec![helper(1), Insn::Exit]).unwrap_err();
    assert_eq!(error.to_string(), "insn 0: a call of helper #1 is not supported");
    let [first, second] = super::load_map(Reg::R1, 0);
    let error = compile(vec![first, second, Insn::Exit]).unwrap_err();
    assert_eq!(error.to_string(), "insn 0: an address as an immediate is not supported");
    let error = compile(vec![Insn::LoadAbs { size: Size::B, imm: 0 }, Insn::Exit]).unwrap_err();
    assert_eq!(error.to_string(), "insn 0: a load from the packet is not supported");
}

#[test]
fn a_program_can_be_run_again_after_a_fault() {
    let program = compile(vec![
        mov(Reg::R3, Reg::R1),
        mov_imm(Reg::R0, 0),
        store(Size::DW, Reg::R3, 0, Reg::R0),
        Insn::Exit,
    ])
    .unwrap();
    assert_eq!(program.run(&mut [1; 4], 9).unwrap_err().kind, FaultKind::BadAccess);
    assert_eq!(program.run(&mut [1; 8], 9), Ok(0));
    assert_eq!(program.run(&mut [1; 8], 0).unwrap_err().kind, FaultKind::OutOfBudget);
}
