//! What programs compute in checked memory, and what they fault on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_interp::{
    Checked, Fault, FaultKind, HelperResult, Helpers, Limits, Permission, Plain, Step, alu, jump,
};
use bpf_isa::asm::assemble;
use bpf_isa::{
    AluOp, AtomicOp, ByteOrder, Endian, Extension, Insn, JumpOp, Operand, Pc, Program, Reg, Size,
    Width,
};

const VALUES: [u64; 12] = [
    0,
    1,
    31,
    64,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1234_5678_9abc_def0,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

fn run(program: &Program, args: [u64; 5]) -> Result<u64, Fault> {
    Plain::new(program).run(&mut Checked::default(), args, Limits::new(10_000))
}

fn text(text: &str, args: [u64; 5]) -> Result<u64, Fault> {
    run(&assemble(text).unwrap(), args)
}

/// `insn` on R1 and R2, then R1 in R0.
fn on_r1(insn: Insn) -> Program {
    let mov =
        Insn::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R0, src: Operand::Reg(Reg::R1) };
    Program::new(vec![insn, mov, Insn::Exit])
}

#[test]
fn every_operation_in_every_form_is_the_reference() {
    let dst = Reg::R1;
    for (a, b) in VALUES.into_iter().flat_map(|a| VALUES.map(|b| (a, b))) {
        let imm = i32::from_le_bytes(b.to_le_bytes()[..4].try_into().unwrap());
        let extended = i64::from(imm).cast_unsigned();
        for width in [Width::W32, Width::W64] {
            for (src, b) in [(Operand::Reg(Reg::R2), b), (Operand::Imm(imm), extended)] {
                for op in AluOp::ALL.iter().copied() {
                    let program = on_r1(Insn::Alu { op, width, dst, src });
                    let expected = alu::alu(op, width, a, b);
                    assert_eq!(run(&program, [a, b, 0, 0, 0]), Ok(expected), "{program:?}");
                }
                for op in [AluOp::Div, AluOp::Mod] {
                    let program = on_r1(Insn::AluSigned { op, width, dst, src });
                    let expected = alu::alu_signed(op, width, a, b);
                    assert_eq!(run(&program, [a, b, 0, 0, 0]), Ok(expected), "{program:?}");
                }
                for op in JumpOp::ALL.iter().copied() {
                    let insns = vec![
                        Insn::JumpIf { op, width, dst, src, off: 1 },
                        Insn::Exit,
                        Insn::Endian { kind: Endian::Swap, size: Size::DW, dst: Reg::R0 },
                        Insn::Alu {
                            op: AluOp::Add,
                            width: Width::W64,
                            dst: Reg::R0,
                            src: Operand::Imm(1),
                        },
                        Insn::Exit,
                    ];
                    let expected = jump::taken(op, width, a, b);
                    assert_eq!(run(&Program::new(insns), [a, b, 0, 0, 0]), Ok(u64::from(expected)));
                }
            }
        }
    }
}

#[test]
fn operations_on_one_register_are_the_reference() {
    let dst = Reg::R1;
    let check =
        |insn, a, expected| assert_eq!(run(&on_r1(insn), [a, 0, 0, 0, 0]), Ok(expected), "{insn}");
    for a in VALUES {
        for width in [Width::W32, Width::W64] {
            check(Insn::Neg { width, dst }, a, alu::neg(width, a));
            for from in [Size::B, Size::H, Size::W] {
                if width == Width::W64 || from != Size::W {
                    let insn = Insn::MovSx { width, dst, src: dst, from };
                    check(insn, a, alu::mov_sx(width, from, a));
                }
            }
        }
        for kind in [Endian::To(ByteOrder::Little), Endian::To(ByteOrder::Big), Endian::Swap] {
            for size in [Size::H, Size::W, Size::DW] {
                check(Insn::Endian { kind, size, dst }, a, alu::endian(kind, size, a));
            }
        }
    }
}

#[test]
fn loads_and_stores_move_the_low_bytes() {
    let (base, dst, src) = (Reg::R10, Reg::R0, Reg::R1);
    for value in VALUES {
        for (size, off) in
            Size::ALL.into_iter().flat_map(|size| [-16, -13, -9].map(|off| (size, off)))
        {
            let imm = i32::from_le_bytes(value.to_le_bytes()[..4].try_into().unwrap());
            let extended = i64::from(imm).cast_unsigned();
            for (src, stored) in [(Operand::Reg(src), value), (Operand::Imm(imm), extended)] {
                for ext in [Extension::Unsigned, Extension::Signed] {
                    if (size, ext) == (Size::DW, Extension::Signed) {
                        continue;
                    }
                    let program = Program::new(vec![
                        Insn::Store { size, base, off, src },
                        Insn::Load { size, ext, dst, base, off },
                        Insn::Exit,
                    ]);
                    let expected = alu::extend(ext, size, stored);
                    assert_eq!(run(&program, [value, 0, 0, 0, 0]), Ok(expected), "{program:?}");
                }
            }
            let off = -16;
            let program = Program::new(vec![
                Insn::StoreRelease { size, base, off, src },
                Insn::LoadAcquire { size, dst, base, off },
                Insn::Exit,
            ]);
            let expected = alu::extend(Extension::Unsigned, size, value);
            assert_eq!(run(&program, [value, 0, 0, 0, 0]), Ok(expected));
        }
    }
}

#[test]
fn a_store_leaves_its_neighbours_alone() {
    for (size, expected) in [
        (Size::B, 0x1122_3344_5566_00ff_u64),
        (Size::H, 0x1122_3344_5500_00ff),
        (Size::W, 0x1122_3300_0000_00ff),
    ] {
        let mut memory = Checked::default();
        let at = memory.add(&0x1122_3344_5566_77ff_u64.to_le_bytes(), Permission::ReadWrite);
        let store = Insn::Store { size, base: Reg::R1, off: 1, src: Operand::Imm(0) };
        let program = Plain::new(&Program::new(vec![store, Insn::Exit]));
        program.run(&mut memory, [at, 0, 0, 0, 0], Limits::new(9)).unwrap();
        assert_eq!(memory.read(at, 8).unwrap(), expected.to_le_bytes(), "{size:?}");
    }
}

/// What an atomic leaves in memory, in its source and in R0, by hand.
fn atomically(op: AtomicOp, size: Size, old: u64, src: u64, r0: u64) -> (u64, u64, u64) {
    let cut = |value| alu::extend(Extension::Unsigned, size, value);
    let (old, operand) = (cut(old), cut(src));
    let (new, fetches) = match op {
        AtomicOp::Add { fetch } => (cut(old.wrapping_add(operand)), fetch),
        AtomicOp::Or { fetch } => (old | operand, fetch),
        AtomicOp::And { fetch } => (old & operand, fetch),
        AtomicOp::Xor { fetch } => (old ^ operand, fetch),
        AtomicOp::Xchg => (operand, true),
        AtomicOp::CmpXchg => {
            return (if cut(r0) == old { operand } else { old }, src, old);
        }
    };
    (new, if fetches { old } else { src }, r0)
}

#[test]
fn atomics_do_what_their_names_say() {
    let ops = [false, true].into_iter().flat_map(|fetch| {
        [
            AtomicOp::Add { fetch },
            AtomicOp::Or { fetch },
            AtomicOp::And { fetch },
            AtomicOp::Xor { fetch },
        ]
    });
    for op in ops.chain([AtomicOp::Xchg, AtomicOp::CmpXchg]) {
        for size in [Size::W, Size::DW] {
            for (old, src) in VALUES.into_iter().flat_map(|a| VALUES.map(|b| (a, b))) {
                for r0 in [0, 7, old] {
                    let mut memory = Checked::default();
                    let at = memory.add(&old.to_le_bytes(), Permission::ReadWrite);
                    let out = memory.add(&[0; 16], Permission::ReadWrite);
                    let atomic = Insn::Atomic { op, size, base: Reg::R1, off: 0, src: Reg::R2 };
                    let program = assemble(&format!(
                        "r0 = r3\n{atomic}\n*(u64 *)(r4 + 0) = r2\n*(u64 *)(r4 + 8) = r0\nexit"
                    ));
                    let plain = Plain::new(&program.unwrap());
                    plain.run(&mut memory, [at, src, r0, out, 0], Limits::new(9)).unwrap();
                    let word =
                        |at| u64::from_le_bytes(memory.read(at, 8).unwrap().try_into().unwrap());
                    let (new, new_src, new_r0) = atomically(op, size, old, src, r0);
                    let above = if size == Size::W { old >> 32 << 32 } else { 0 };
                    assert_eq!(word(at), above | new, "{atomic}");
                    assert_eq!((word(out), word(out + 8)), (new_src, new_r0), "{atomic}");
                }
            }
        }
    }
}

#[test]
fn functions_keep_their_callers_registers_and_stack() {
    let program = "
        r6 = 6
        *(u64 *)(r10 - 8) = 8
        r1 = 1
        call f
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        r0 += r6
        exit
    f:  r6 = 100
        *(u64 *)(r10 - 8) = 200
        r0 = r1
        exit
    ";
    assert_eq!(text(program, [0; 5]), Ok(15));
}

#[test]
fn eight_functions_may_be_under_way_and_no_more() {
    let program = "
        call f
        exit
    f:  r1 -= 1
        if r1 == 0 goto out
        call f
    out:
        r0 += 1
        exit
    ";
    assert_eq!(text(program, [7, 0, 0, 0, 0]), Ok(7));
    let fault = text(program, [8, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(fault, Fault { pc: Pc(4), kind: FaultKind::CallDepth(8) });
}

#[test]
fn memory_outside_of_the_regions_faults() {
    let faults = |program: &str, args| text(program, args).unwrap_err().to_string();
    assert_eq!(
        faults("r0 = 0\nr0 = *(u32 *)(r1 + 4)\nexit", [0x1000, 0, 0, 0, 0]),
        "insn 1: load of 4 bytes at 0x1004: outside of the program's memory"
    );
    assert!(faults("*(u64 *)(r10 + 0) = 1\nexit", [0; 5]).contains("store of 8 bytes"));
    assert!(faults("r0 = *(u8 *)(r10 + 0)\nexit", [0; 5]).contains("load of 1 bytes"));
    assert!(faults("lock *(u32 *)(r10 - 6) += r1\nexit", [0; 5]).ends_with("misaligned"));
    let mut memory = Checked::default();
    let at = memory.add(&[1], Permission::Read);
    let store = Plain::new(&assemble("*(u8 *)(r1 + 0) = 2\nexit").unwrap());
    let fault = store.run(&mut memory, [at, 0, 0, 0, 0], Limits::new(9)).unwrap_err();
    assert!(fault.to_string().ends_with("the memory is read only"), "{fault}");
}

#[test]
fn above_the_first_frame_is_as_much_as_the_memory_has() {
    let program = assemble("*(u64 *)(r10 - 4) = -1\nr0 = *(u64 *)(r10 - 8)\nexit").unwrap();
    let plain = Plain::new(&program);
    let result = plain.run(&mut Checked::new(512, 8), [0; 5], Limits::new(9));
    assert_eq!(result, Ok(0xffff_ffff_0000_0000));
    let fault = plain.run(&mut Checked::new(512, 0), [0; 5], Limits::new(9)).unwrap_err();
    assert_eq!(fault.pc, Pc(0));
}

#[test]
fn what_does_not_end_is_ended() {
    let fault = text("goto -1", [0; 5]).unwrap_err();
    assert_eq!(fault, Fault { pc: Pc(0), kind: FaultKind::Budget(10_000) });
    assert_eq!(text("r0 = 3", [0; 5]).unwrap_err().kind, FaultKind::End);
    assert_eq!(text("r0 = 3\ngoto +7", [0; 5]).unwrap_err().kind, FaultKind::Outside);
    assert_eq!(text("if r1 == 0 goto +7\nexit", [0; 5]).unwrap_err().kind, FaultKind::End);
    assert_eq!(text("goto +1\nr0 = 3 ll\nexit", [0; 5]).unwrap_err().kind, FaultKind::SecondSlot);
    assert_eq!(text("call 1", [0; 5]).unwrap_err().kind, FaultKind::UnknownHelper(1));
    assert_eq!(run(&Program::default(), [0; 5]).unwrap_err().kind, FaultKind::End);
}

#[test]
fn may_goto_ends_a_loop_after_eight_million_rounds() {
    let program = assemble("r0 = 0\nmay_goto +2\nr0 += 1\ngoto -3\nexit").unwrap();
    let rounds = Plain::new(&program).run(&mut Checked::default(), [0; 5], Limits::new(u64::MAX));
    assert_eq!(rounds, Ok(8 * 1024 * 1024));
}

struct Unwind;

impl Helpers for Unwind {
    fn call(&mut self, id: i32, args: [u64; 5], memory: &mut Checked) -> HelperResult {
        match (id, args[0]) {
            (5, 0) => HelperResult::Ends(args[0]),
            (5, value) => HelperResult::Returned(value),
            (6, at) if memory.write(at, &[42]) => HelperResult::Returned(0),
            (6, _) => HelperResult::Refused("not the program's memory".into()),
            _ => HelperResult::Unknown,
        }
    }
}

#[test]
fn helpers_are_called_by_number_and_by_register() {
    let run = |bytes: &[u8], r1| {
        let limits = Limits::new(100);
        let plain = Plain::from_bytes(bytes).unwrap();
        plain.run(&mut Checked::default(), [r1, 0, 0, 0, 0], limits.with_helpers(&mut Unwind))
    };
    let by_number = assemble("call 5\nr0 += 1\nexit").unwrap().to_bytes();
    assert_eq!(run(&by_number, 7), Ok(8));
    assert_eq!(run(&by_number, 0), Ok(0));
    let mut by_register = assemble("r2 = 5\ncall 0\nr0 += 1\nexit").unwrap().to_bytes();
    by_register[8..10].copy_from_slice(&[0x8d, 2]);
    assert_eq!(run(&by_register, 7), Ok(8));
    let writes = assemble("r1 = r10\nr1 += -8\ncall 6\nr0 = *(u8 *)(r10 - 8)\nexit").unwrap();
    assert_eq!(run(&writes.to_bytes(), 0), Ok(42));
    let refused = run(&assemble("call 6\nexit").unwrap().to_bytes(), 1).unwrap_err();
    assert_eq!(refused.to_string(), "insn 0: helper 6: not the program's memory");
    assert_eq!(Plain::from_bytes(&[0x8d, 0x12, 0, 0, 0, 0, 0, 0]).unwrap_err().at, Pc(0));
}

#[test]
fn a_witness_sees_each_step_before_it_is_taken() {
    let program = assemble("r0 = 1\ncall pc+1\nexit\nr0 += 1\nexit").unwrap();
    let mut steps = Vec::new();
    let mut witness = |step: Step<'_>| steps.push((step.pc.0, step.frame, step.regs[0]));
    let plain = Plain::new(&program);
    plain.watch(&mut Checked::default(), [0; 5], Limits::new(9), &mut witness).unwrap();
    assert_eq!(steps, [(0, 0, 0), (1, 0, 1), (3, 1, 1), (4, 1, 2), (2, 0, 2)]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_end_in_a_result_or_a_fault(
        raw in proptest::collection::vec(
            (0_u8..=255, 0_u8..11, 0_u8..11, -4_i16..4, -4_i32..64),
            0..40,
        ),
    ) {
        let bytes: Vec<u8> = raw
            .into_iter()
            .map(|(opcode, dst, src, off, imm)| bpf_isa::Slot { opcode, dst, src, off, imm })
            .filter(|slot| bpf_isa::decode(*slot, Some(bpf_isa::Slot::default()), Pc(0)).is_ok())
            .flat_map(|slot| slot.to_bytes())
            .collect();
        if let Ok(plain) = Plain::from_bytes(&bytes) {
            let mut memory = Checked::default();
            let at = memory.add(&[9; 32], Permission::ReadWrite);
            drop(plain.run(&mut memory, [at, 32, 0, 0, 0], Limits::new(5000)));
        }
    }
}
