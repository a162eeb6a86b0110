//! Every load, store and atomic, in the frame and elsewhere.

use bpf_abi::image::{Facts, MemoryClass, Note};
use bpf_isa::{AluOp, AtomicOp, Extension, Insn, JumpOp, Operand, Reg, Size, Width};

use super::{
    BOUNDARIES, add, add_imm, compile, jump_if, load, mov, mov_imm, notes, parts, result_of, run,
    store, store_imm,
};

/// What a load of this size and kind makes of these bytes.
fn loaded(size: Size, ext: Extension, value: u64) -> u64 {
    let unused = 64 - size.bits();
    match ext {
        Extension::Unsigned => (value << unused) >> unused,
        Extension::Signed => ((value << unused).cast_signed() >> unused).cast_unsigned(),
    }
}

#[test]
fn loads_extend() {
    for size in Size::ALL {
        for ext in [Extension::Unsigned, Extension::Signed] {
            let insn = Insn::Load { size, ext, dst: Reg::R0, base: Reg::R1, off: 8 };
            let compiled = compile(parts(vec![insn, Insn::Exit]));
            for value in BOUNDARIES {
                let got = run(&compiled, &mut [!value, value, !value]);
                assert_eq!(got, loaded(size, ext, value), "{insn} of {value:#x}");
            }
        }
    }
}

#[test]
fn loads_from_the_frame_extend() {
    for size in Size::ALL {
        for ext in [Extension::Unsigned, Extension::Signed] {
            let insn = Insn::Load { size, ext, dst: Reg::R0, base: Reg::FP, off: -8 };
            let compiled = compile(parts(vec![
                load(Size::DW, Reg::R2, Reg::R1, 0),
                store(Size::DW, Reg::FP, -8, Reg::R2),
                insn,
                Insn::Exit,
            ]));
            for mut value in BOUNDARIES {
                let expected = loaded(size, ext, value);
                assert_eq!(run(&compiled, &mut value), expected, "{insn} of {expected:#x}");
            }
        }
    }
}

#[test]
fn stores_touch_their_bytes_alone() {
    for size in Size::ALL {
        let mask = u64::MAX >> (64 - size.bits());
        let by_register = compile(parts(vec![
            load(Size::DW, Reg::R2, Reg::R1, 0),
            store(size, Reg::R1, 8, Reg::R2),
            mov_imm(Reg::R0, 0),
            Insn::Exit,
        ]));
        for value in BOUNDARIES {
            let mut ctx = [value, !value, 5];
            run(&by_register, &mut ctx);
            assert_eq!(ctx, [value, (value & mask) | (!value & !mask), 5]);
        }
        for imm in [-1, i32::MIN, 0x1234_5678] {
            let by_number = compile(parts(vec![
                store_imm(size, Reg::R1, 8, imm),
                mov_imm(Reg::R0, 0),
                Insn::Exit,
            ]));
            let mut ctx = [1u64, 0, 5];
            run(&by_number, &mut ctx);
            assert_eq!(ctx, [1, i64::from(imm).cast_unsigned() & mask, 5]);
        }
    }
}

#[test]
fn unaligned_accesses_are_fine() {
    let compiled = compile(parts(vec![load(Size::DW, Reg::R0, Reg::R1, 3), Insn::Exit]));
    let mut ctx: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    assert_eq!(run(&compiled, &mut ctx), u64::from_le_bytes([3, 4, 5, 6, 7, 8, 9, 10]));
}

/// Old and new memory, old and new R0 and source.
fn atomic(op: AtomicOp, size: Size, memory: u64, r0: u64, src: u64) -> [u64; 3] {
    let mask = u64::MAX >> (64 - size.bits());
    let old = memory & mask;
    let (new, fetch) = match op {
        AtomicOp::Add { fetch } => (old.wrapping_add(src), fetch),
        AtomicOp::Or { fetch } => (old | src, fetch),
        AtomicOp::And { fetch } => (old & src, fetch),
        AtomicOp::Xor { fetch } => (old ^ src, fetch),
        AtomicOp::Xchg => (src, true),
        AtomicOp::CmpXchg => {
            let new = if old == r0 & mask { src } else { old };
            return [(memory & !mask) | (new & mask), old, src];
        }
    };
    [(memory & !mask) | (new & mask), r0, if fetch { old } else { src }]
}

#[test]
fn atomics() {
    let ops = [true, false].into_iter().flat_map(|fetch| {
        [
            AtomicOp::Add { fetch },
            AtomicOp::Or { fetch },
            AtomicOp::And { fetch },
            AtomicOp::Xor { fetch },
        ]
    });
    for op in ops.chain([AtomicOp::Xchg, AtomicOp::CmpXchg]) {
        for size in [Size::W, Size::DW] {
            for base in [Reg::R1, Reg::FP] {
                check_atomic(op, size, base);
            }
        }
    }
}

/// The context holds the memory, R0 and the source, before and after.
fn check_atomic(op: AtomicOp, size: Size, base: Reg) {
    let off = if base == Reg::FP { -16 } else { 0 };
    let compiled = compile(parts(vec![
        mov(Reg::R6, Reg::R1),
        load(Size::DW, Reg::R0, Reg::R6, 0),
        store(Size::DW, Reg::FP, -16, Reg::R0),
        load(Size::DW, Reg::R0, Reg::R6, 8),
        load(Size::DW, Reg::R2, Reg::R6, 16),
        Insn::Atomic { op, size, base, off, src: Reg::R2 },
        store(Size::DW, Reg::R6, 8, Reg::R0),
        store(Size::DW, Reg::R6, 16, Reg::R2),
        load(Size::DW, Reg::R0, base, off),
        store(Size::DW, Reg::R6, 0, Reg::R0),
        Insn::Exit,
    ]));
    for memory in BOUNDARIES {
        for src in BOUNDARIES {
            for r0 in [memory, !memory] {
                let mut ctx = [memory, r0, src];
                run(&compiled, &mut ctx);
                let expected = atomic(op, size, memory, r0, src);
                assert_eq!(ctx, expected, "{op:?} {size:?} {memory:#x} {r0:#x} {src:#x}");
            }
        }
    }
}

#[test]
fn acquiring_loads_and_releasing_stores() {
    for size in Size::ALL {
        let mask = u64::MAX >> (64 - size.bits());
        let compiled = compile(parts(vec![
            Insn::LoadAcquire { size, dst: Reg::R0, base: Reg::R1, off: 8 },
            Insn::StoreRelease { size, base: Reg::R1, off: 16, src: Reg::R0 },
            Insn::Exit,
        ]));
        for value in BOUNDARIES {
            let mut ctx = [0, value, !value];
            assert_eq!(run(&compiled, &mut ctx), value & mask);
            assert_eq!(ctx, [0, value, (value & mask) | (!value & !mask)]);
        }
    }
}

#[test]
fn a_pointer_that_is_kept_in_the_frame_still_points_there() {
    let program = vec![
        mov(Reg::R2, Reg::FP),
        add_imm(Reg::R2, -16),
        store(Size::DW, Reg::FP, -8, Reg::R2),
        store_imm(Size::DW, Reg::FP, -16, 1),
        load(Size::DW, Reg::R3, Reg::FP, -8),
        store_imm(Size::DW, Reg::R3, 0, 2),
        load(Size::DW, Reg::R0, Reg::FP, -16),
        Insn::Exit,
    ];
    assert_eq!(result_of(program), 2);
}

#[test]
fn an_index_into_the_frame_meets_what_is_at_fixed_places() {
    let mut parts = parts(vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        store_imm(Size::W, Reg::FP, -16, 1),
        store_imm(Size::W, Reg::FP, -12, 2),
        mov(Reg::R3, Reg::FP),
        add(Reg::R3, Reg::R2),
        store_imm(Size::W, Reg::R3, -16, 10),
        load(Size::W, Reg::R0, Reg::FP, -16),
        load(Size::W, Reg::R4, Reg::FP, -12),
        add(Reg::R0, Reg::R4),
        Insn::Exit,
    ]);
    parts.notes = notes(&parts, Note::default());
    let compiled = compile(parts);
    assert_eq!(run(&compiled, &mut 0u64), 12);
    assert_eq!(run(&compiled, &mut 4u64), 11);
}

#[test]
fn memory_of_unknown_class_meets_memory_of_known_class() {
    let mut parts = parts(vec![
        load(Size::DW, Reg::R2, Reg::R1, 8),
        load(Size::DW, Reg::R3, Reg::R2, 0),
        store_imm(Size::DW, Reg::R1, 0, 77),
        load(Size::DW, Reg::R0, Reg::R2, 0),
        Insn::Exit,
    ]);
    // The second load is noted as a map value's, the store as nothing in particular.
    parts.notes = notes(&parts, Note::default());
    parts.notes[3].memory = MemoryClass::MapValue;
    let compiled = compile(parts);
    let mut ctx = [5u64, 0];
    ctx[1] = ctx.as_ptr().expose_provenance() as u64;
    assert_eq!(run(&compiled, &mut ctx), 77);
}

#[test]
fn memory_that_is_shared_is_loaded_anew() {
    // Reads one number again and again until it changes, which another thread sees to.
    let mut parts = parts(vec![
        load(Size::DW, Reg::R0, Reg::R1, 0),
        mov_imm(Reg::R3, 0),
        load(Size::DW, Reg::R2, Reg::R1, 0),
        add_imm(Reg::R3, 1),
        Insn::JumpIf {
            op: JumpOp::Ne,
            width: Width::W64,
            dst: Reg::R2,
            src: Operand::Reg(Reg::R0),
            off: 1,
        },
        jump_if(JumpOp::Lt, Reg::R3, i32::MAX, -4),
        mov(Reg::R0, Reg::R2),
        Insn::Exit,
    ]);
    let note = Note { memory: MemoryClass::MapValue, ..Note::default() };
    parts.notes = notes(&parts, note);
    let compiled = compile(parts);
    let number = std::sync::atomic::AtomicU64::new(5);
    let mut seen = 5;
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let address = std::ptr::from_ref(&number).cast_mut();
            // SAFETY: [run-context] the program reads the number.
            #[expect(unsafe_code, reason = "runs a program of a test")]
            unsafe {
                compiled.run(&mut bpf_abi::exec::RunCx::new(0), address.expose_provenance() as u64)
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        number.store(6, std::sync::atomic::Ordering::Relaxed);
        seen = runner.join().unwrap();
    });
    assert_eq!(seen, 6);
}

#[test]
fn a_loop_over_the_frame_sums_it() {
    let halve = Insn::Alu { op: AluOp::Rsh, width: Width::W64, dst: Reg::R2, src: Operand::Imm(1) };
    let program = vec![
        mov(Reg::R3, Reg::FP),
        add_imm(Reg::R3, -64),
        mov_imm(Reg::R2, 128),
        store(Size::DW, Reg::R3, 0, Reg::R2),
        add_imm(Reg::R3, 8),
        halve,
        jump_if(JumpOp::Ne, Reg::R2, 0, -4),
        load(Size::DW, Reg::R0, Reg::FP, -64),
        load(Size::DW, Reg::R1, Reg::FP, -8),
        add(Reg::R0, Reg::R1),
        Insn::Exit,
    ];
    assert_eq!(result_of(program), 129);
}

#[test]
fn what_is_not_there_reads_as_zero() {
    let signed =
        |size, off| Insn::Load { size, ext: Extension::Signed, dst: Reg::R0, base: Reg::R2, off };
    let loaded = |load: Insn, ctx: u64| {
        let first = self::load(Size::DW, Reg::R2, Reg::R1, 0);
        let mut parts = parts(vec![first, load, Insn::Exit]);
        parts.notes = notes(&parts, Note::default());
        parts.notes[1].facts = Facts::MAY_FAULT;
        run(&compile(parts), &mut { ctx })
    };
    let there = [0x1122_3344_8566_7788_u64, 9];
    let address = there.as_ptr().expose_provenance() as u64;
    assert_eq!(loaded(load(Size::DW, Reg::R0, Reg::R2, 8), address), 9);
    assert_eq!(loaded(load(Size::W, Reg::R0, Reg::R2, 0), address), 0x8566_7788);
    assert_eq!(loaded(signed(Size::W, 0), address), 0xffff_ffff_8566_7788);
    assert_eq!(loaded(signed(Size::B, 0), address), 0xffff_ffff_ffff_ff88);
    assert_eq!(loaded(load(Size::B, Reg::R0, Reg::R2, 1), address), 0x77);
    for stale in [0, 8, u64::MAX, 0xffff_8880_0000_0000] {
        assert_eq!(loaded(load(Size::DW, Reg::R0, Reg::R2, 0), stale), 0, "{stale:#x}");
    }
}
