//! Accesses that are joined, stores that are left out, and moves that are chosen.

use bpf_abi::image::{Image, MemoryClass, Note};
use bpf_isa::{AluOp, Insn, JumpOp, Operand, Reg, Size, Width};

use super::branches::expected;
use super::{
    BOUNDARIES, IMMEDIATES, WIDTHS, add_imm, compile, goto, jit, load, local, mov, mov_imm, notes,
    parts, run, store, store_imm, vouch,
};
use crate::{Jit, JitOptions};

/// The context of these tests: bytes that tell each other apart.
fn memory() -> [u8; 64] {
    std::array::from_fn(|at| u8::try_from((at * 7 + 129) & 0xff).unwrap())
}

fn alu(op: AluOp, width: Width, dst: Reg, src: Operand) -> Insn {
    Insn::Alu { op, width, dst, src }
}

/// An image whose accesses outside of the frame are of this class.
fn image(insns: Vec<Insn>, memory: MemoryClass) -> Image {
    let mut parts = parts(insns);
    parts.notes = notes(&parts, Note { memory, ..Note::default() });
    vouch(parts)
}

/// What a program makes of [`memory`], R0 and the memory, and how many loads and stores its code has
/// beside those of its own frame.
fn outcome(insns: &[Insn], class: MemoryClass) -> (u64, [u8; 64], usize) {
    let image = image(insns.to_vec(), class);
    let compiled = jit().compile(&image).unwrap();
    let mut memory = memory();
    let result = run(&compiled, &mut memory);
    (result, memory, accesses(&compiled.listing(&image), "(%rdi"))
}

/// How many instructions of a listing have such an operand, addresses that are only made left out.
fn accesses(listing: &str, operand: &str) -> usize {
    let is_one =
        |line: &&str| line.contains(operand) && !line.contains("lea ") && !line.contains("nop");
    listing.lines().filter(is_one).count()
}

/// The same of the code that is not optimised.
fn plainly(insns: &[Insn], class: MemoryClass) -> (u64, [u8; 64]) {
    static PLAIN: std::sync::OnceLock<Jit> = std::sync::OnceLock::new();
    let options = JitOptions { optimize: false, check: true, ..JitOptions::default() };
    let plain = PLAIN.get_or_init(|| Jit::new(options).unwrap());
    let compiled = plain.compile(&image(insns.to_vec(), class)).unwrap();
    let mut memory = memory();
    (run(&compiled, &mut memory), memory)
}

/// R0 is put together of pieces: `(offset, shift)`.
fn gather(size: Size, width: Width, op: AluOp, pieces: &[(i16, i32)]) -> Vec<Insn> {
    let mut insns = vec![mov_imm(Reg::R0, 0)];
    for (off, shift) in pieces {
        insns.push(load(size, Reg::R2, Reg::R1, *off));
        if *shift > 0 {
            insns.push(alu(AluOp::Lsh, width, Reg::R2, Operand::Imm(*shift)));
        }
        insns.push(alu(op, width, Reg::R0, Operand::Reg(Reg::R2)));
    }
    insns.push(Insn::Exit);
    insns
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn a_number_in_pieces_is_one_load() {
    for len in [2_u8, 4, 8] {
        for (size, bytes) in [(Size::B, 1_u8), (Size::H, 2), (Size::W, 4)] {
            let widths: &[Width] = if len == 8 { &[Width::W64] } else { &WIDTHS };
            for (width, op) in widths
                .iter()
                .flat_map(|width| [AluOp::Or, AluOp::Add, AluOp::Xor].map(|op| (*width, op)))
            {
                if bytes >= len {
                    continue;
                }
                let starts = (0..len).step_by(usize::from(bytes));
                let up: Vec<(i16, i32)> =
                    starts.map(|at| (5 + i16::from(at), 8 * i32::from(at))).collect();
                let is_up = [up.clone(), up.iter().rev().copied().collect()];
                for pieces in is_up {
                    let got = outcome(&gather(size, width, op, &pieces), MemoryClass::Packet);
                    let expected = number(&memory()[5..5 + usize::from(len)]);
                    assert_eq!(got, (expected, memory(), 1), "{size:?} {width:?} {pieces:?}");
                }
            }
        }
    }
}

#[test]
fn a_number_in_bytes_the_other_way_round_is_one_load() {
    for len in [2_i16, 4, 8] {
        let pieces: Vec<(i16, i32)> =
            (0..len).map(|at| (9 + at, 8 * i32::from(len - 1 - at))).collect();
        let mut bytes = memory()[9..9 + usize::try_from(len).unwrap()].to_vec();
        bytes.reverse();
        let got = outcome(&gather(Size::B, Width::W64, AluOp::Or, &pieces), MemoryClass::MapValue);
        assert_eq!(got, (number(&bytes), memory(), 1), "{len}");
    }
}

#[test]
fn a_load_does_not_go_past_a_store_that_it_may_meet() {
    let half = |off, shift| {
        [
            load(Size::B, Reg::R2, Reg::R1, off),
            alu(AluOp::Lsh, Width::W64, Reg::R2, Operand::Imm(shift)),
            alu(AluOp::Or, Width::W64, Reg::R0, Operand::Reg(Reg::R2)),
        ]
    };
    let three = [half(0, 0), half(1, 8), half(2, 16)].concat();
    for (base, off) in [(Reg::R1, 0), (Reg::R1, 3), (Reg::R3, 2), (Reg::R3, -1)] {
        let insns = [
            vec![mov_imm(Reg::R0, 0), mov(Reg::R3, Reg::R1), add_imm(Reg::R3, 1)],
            three.clone(),
            vec![store_imm(Size::B, base, off, 0x55)],
            half(3, 24).to_vec(),
            vec![Insn::Exit],
        ]
        .concat();
        let (result, memory, _) = outcome(&insns, MemoryClass::Packet);
        assert_eq!((result, memory), plainly(&insns, MemoryClass::Packet), "{base} {off}");
    }
}

#[test]
fn loads_of_shared_memory_do_not_change_their_order() {
    let pieces = [
        load(Size::B, Reg::R0, Reg::R1, 0),
        load(Size::W, Reg::R3, Reg::R1, 16),
        load(Size::B, Reg::R2, Reg::R1, 1),
        alu(AluOp::Lsh, Width::W64, Reg::R2, Operand::Imm(8)),
        alu(AluOp::Or, Width::W64, Reg::R0, Operand::Reg(Reg::R2)),
        alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(Reg::R3)),
        Insn::Exit,
    ];
    let (result, _, count) = outcome(&pieces, MemoryClass::Packet);
    assert_eq!((result, count), (number(&memory()[0..2]) + number(&memory()[16..20]), 2));
    for class in [MemoryClass::MapValue, MemoryClass::Unknown] {
        assert_eq!(outcome(&pieces, class).2, 3, "{class:?}");
    }
}

#[test]
fn the_pieces_of_a_number_are_stored_at_once() {
    for (is_up, len) in [(true, 2), (true, 4), (true, 8), (false, 2), (false, 4), (false, 8)] {
        let mut insns = vec![load(Size::DW, Reg::R2, Reg::R1, 48), mov_imm(Reg::R0, 0)];
        for at in 0..len {
            let to = if is_up { at } else { len - 1 - at };
            insns.extend([
                mov(Reg::R3, Reg::R2),
                alu(AluOp::Rsh, Width::W64, Reg::R3, Operand::Imm(8 * i32::from(at))),
                store(Size::B, Reg::R1, 11 + to, Reg::R3),
            ]);
        }
        insns.push(Insn::Exit);
        let len = usize::try_from(len).unwrap();
        let mut expected = memory();
        expected.copy_within(48..48 + len, 11);
        if !is_up {
            expected[11..11 + len].reverse();
        }
        let got = outcome(&insns, MemoryClass::Packet);
        assert_eq!(got, (0, expected, 2), "{is_up} {len}");
    }
}

#[test]
fn copies_are_as_wide_as_they_can_be() {
    for (len, count) in [(4, 2), (8, 2), (14, 6), (16, 2), (20, 4), (40, 6)] {
        let mut insns = vec![mov_imm(Reg::R0, 0)];
        for at in 0..len {
            insns.push(load(Size::B, Reg::R2, Reg::R1, at));
            insns.push(store(Size::B, Reg::FP, at - 40, Reg::R2));
        }
        // What is stored is read, at places that are not known now.
        insns.extend([mov(Reg::R2, Reg::FP), add_imm(Reg::R2, -40), mov_imm(Reg::R3, 0)]);
        insns.extend([
            load(Size::B, Reg::R4, Reg::R2, 0),
            alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(31)),
            alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(Reg::R4)),
            add_imm(Reg::R2, 1),
            add_imm(Reg::R3, 1),
            super::jump_if(JumpOp::Lt, Reg::R3, i32::from(len), -6),
            Insn::Exit,
        ]);
        let image = image(insns.clone(), MemoryClass::Packet);
        let compiled = jit().compile(&image).unwrap();
        let listing = compiled.listing(&image);
        let bytes = &memory()[..usize::try_from(len).unwrap()];
        let expected =
            bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        assert_eq!(run(&compiled, &mut memory()), expected, "{len}");
        assert_eq!(2 * accesses(&listing, "(%rdi"), count, "{len}: {listing}");
    }
}

#[test]
fn stores_of_shared_memory_do_not_change_their_order() {
    let insns = [
        store_imm(Size::W, Reg::R1, 0, 1),
        store_imm(Size::W, Reg::R1, 8, 2),
        store_imm(Size::W, Reg::R1, 4, 0),
        mov_imm(Reg::R0, 0),
        Insn::Exit,
    ];
    let mut expected = memory();
    expected[..12].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(outcome(&insns, MemoryClass::MapValue), (0, expected, 3));
    // Two words that are not neighbours in the program's order are none to join; these are.
    let insns = [&insns[..1], &[store_imm(Size::W, Reg::R1, 4, 0)], &insns[3..]].concat();
    assert_eq!(outcome(&insns, MemoryClass::MapValue).2, 1);
}

#[test]
fn a_store_that_nobody_reads_is_left_out() {
    let insns = vec![
        load(Size::DW, Reg::R0, Reg::R1, 0),
        store_imm(Size::W, Reg::FP, -16, 7),
        store(Size::DW, Reg::FP, -8, Reg::R0),
        load(Size::DW, Reg::R0, Reg::FP, -8),
        Insn::Exit,
    ];
    let image = image(insns, MemoryClass::Packet);
    let compiled = jit().compile(&image).unwrap();
    assert_eq!(run(&compiled, &mut memory()), number(&memory()[..8]));
    let listing = compiled.listing(&image);
    assert_eq!(accesses(&listing, "(%rsp"), 0, "{listing}");
}

#[test]
fn what_is_left_of_a_store_is_read() {
    let insns = vec![
        store_imm(Size::DW, Reg::FP, -8, -1),
        store_imm(Size::H, Reg::FP, -6, 0x1234),
        store_imm(Size::B, Reg::FP, -1, 0),
        load(Size::DW, Reg::R0, Reg::FP, -8),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0_u64), 0x00ff_ffff_1234_ffff);
}

#[test]
fn a_function_reads_what_its_caller_stored() {
    let insns = vec![
        store_imm(Size::W, Reg::FP, -8, 41),
        store_imm(Size::W, Reg::FP, -4, 0),
        mov(Reg::R1, Reg::FP),
        add_imm(Reg::R1, -8),
        local(1),
        Insn::Exit,
        load(Size::DW, Reg::R0, Reg::R1, 0),
        store_imm(Size::DW, Reg::R1, 0, 5),
        add_imm(Reg::R0, 1),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0_u64), 42);
}

#[test]
fn a_store_in_a_loop_is_read_in_the_next_round() {
    let insns = vec![
        store_imm(Size::DW, Reg::FP, -8, 1),
        mov_imm(Reg::R2, 0),
        load(Size::DW, Reg::R0, Reg::FP, -8),
        alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(3)),
        store(Size::DW, Reg::FP, -8, Reg::R0),
        add_imm(Reg::R2, 1),
        super::jump_if(JumpOp::Ne, Reg::R2, 5, -5),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0_u64), 243);
}

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// A program of pieces: loads, stores, shifts and sums of a few registers, in the context through two
/// pointers and in the frame.
fn tangle(numbers: &mut Numbers) -> Vec<Insn> {
    let mut insns = vec![mov(Reg::R6, Reg::R1), add_imm(Reg::R6, 3)];
    for (n, reg) in [Reg::R0, Reg::R2, Reg::R3, Reg::R4].into_iter().enumerate() {
        insns.push(load(Size::DW, reg, Reg::R1, i16::try_from(8 * n).unwrap()));
        insns.push(store(Size::DW, Reg::FP, -8 * (1 + i16::try_from(n).unwrap()), reg));
    }
    let regs = [Reg::R0, Reg::R2, Reg::R3, Reg::R4];
    for _ in 0..6 + numbers.below(30) {
        let (reg, other, size) =
            (numbers.pick(&regs), numbers.pick(&regs), numbers.pick(&Size::ALL));
        let (base, room, from) = numbers.pick(&[
            (Reg::R1, 16, 0),
            (Reg::R6, 16, 0),
            (Reg::FP, 32, -32),
            (Reg::R1, 16, 8),
        ]);
        let bytes = u64::from(size.bytes());
        let off = from + i16::try_from(numbers.below(room - bytes + 1)).unwrap();
        let width = numbers.pick(&[Width::W64, Width::W64, Width::W32]);
        match numbers.below(9) {
            0 | 1 => insns.push(load(size, reg, base, off)),
            2 => insns.push(store(size, base, off, reg)),
            3 => insns.push(store_imm(size, base, off, numbers.pick(&[0, 0, -1, 0x1234_5678]))),
            4 => {
                let by = Operand::Imm(numbers.pick(&[8, 16, 24, 8, 4]));
                insns.push(alu(numbers.pick(&[AluOp::Lsh, AluOp::Rsh]), width, reg, by));
            }
            5 => {
                let op = numbers.pick(&[AluOp::Or, AluOp::Or, AluOp::Add, AluOp::Xor]);
                insns.push(alu(op, width, reg, Operand::Reg(other)));
            }
            6 => insns.push(alu(
                AluOp::And,
                width,
                reg,
                Operand::Imm(numbers.pick(&[255, 0xff00, 0xffff, 127])),
            )),
            _ => {
                // A number, taken or given byte by byte.
                let (start, len) =
                    (i16::try_from(numbers.below(8)).unwrap(), numbers.pick(&[2, 4, 8]));
                let (is_up, is_load) = (numbers.below(2) == 0, numbers.below(2) == 0);
                let start = if base == Reg::FP { start - 32 } else { start };
                insns.push(mov_imm(Reg::R5, 0));
                for at in 0..len {
                    let place = start + if is_up { at } else { len - 1 - at };
                    let by = Operand::Imm(8 * i32::from(at));
                    if is_load {
                        insns.push(load(Size::B, Reg::R7, base, place));
                        insns.push(alu(AluOp::Lsh, Width::W64, Reg::R7, by));
                        insns.push(alu(AluOp::Or, Width::W64, Reg::R5, Operand::Reg(Reg::R7)));
                    } else {
                        insns.push(mov(Reg::R7, other));
                        insns.push(alu(AluOp::Rsh, Width::W64, Reg::R7, by));
                        insns.push(store(Size::B, base, place, Reg::R7));
                    }
                }
                insns.push(alu(AluOp::Xor, Width::W64, reg, Operand::Reg(Reg::R5)));
            }
        }
        if numbers.below(6) == 0 {
            // A jump over the next instruction, which may be any.
            insns.push(Insn::JumpIf {
                op: numbers.pick(&[JumpOp::Gt, JumpOp::Slt, JumpOp::Eq]),
                width,
                dst: reg,
                src: Operand::Reg(other),
                off: 1,
            });
            insns.push(mov(numbers.pick(&[reg, other]), numbers.pick(&regs)));
        }
    }
    for reg in &regs[1..] {
        insns.push(alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(31)));
        insns.push(alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(*reg)));
    }
    for off in [-32, -24, -16, -8] {
        insns.push(load(Size::DW, Reg::R2, Reg::FP, off));
        insns.push(alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(33)));
        insns.push(alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R2)));
    }
    insns.push(Insn::Exit);
    insns
}

#[test]
fn whatever_is_joined_comes_to_the_same() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for n in 0..600 {
        let insns = tangle(&mut numbers);
        let class =
            numbers.pick(&[MemoryClass::Packet, MemoryClass::MapValue, MemoryClass::Unknown]);
        let (result, memory, _) = outcome(&insns, class);
        assert_eq!((result, memory), plainly(&insns, class), "{n}: {insns:?}");
    }
}

const fn cut(value: u64, width: Width) -> u64 {
    match width {
        Width::W64 => value,
        Width::W32 => value & 0xffff_ffff,
    }
}

#[test]
fn a_choice_of_two_numbers_is_what_the_jump_says() {
    for &op in JumpOp::ALL {
        for (compared, moved) in WIDTHS.into_iter().flat_map(|a| WIDTHS.map(|b| (a, b))) {
            for far in [false, true] {
                let src = Operand::Reg(Reg::R3);
                let jump = Insn::JumpIf {
                    op,
                    width: compared,
                    dst: Reg::R2,
                    src,
                    off: 1 + i16::from(far),
                };
                let mut insns = vec![
                    load(Size::DW, Reg::R2, Reg::R1, 0),
                    load(Size::DW, Reg::R3, Reg::R1, 8),
                    jump,
                    alu(AluOp::Mov, moved, Reg::R2, src),
                ];
                if far {
                    // Both ways lead to the same place over a jump.
                    insns.push(goto(0));
                }
                insns.extend([mov(Reg::R0, Reg::R2), Insn::Exit]);
                let image = vouch(parts(insns));
                let compiled = jit().compile(&image).unwrap();
                let is_order = !matches!(op, JumpOp::Eq | JumpOp::Ne | JumpOp::Set);
                assert_eq!(compiled.listing(&image).contains("cmov"), is_order, "{op:?}");
                for a in BOUNDARIES {
                    for b in BOUNDARIES {
                        let chosen = if expected(op, compared, a, b) { a } else { cut(b, moved) };
                        assert_eq!(run(&compiled, &mut [a, b]), chosen, "{jump}: {a:#x}, {b:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_choice_of_a_limit_and_an_absolute_value_is_what_the_jump_says() {
    for &op in JumpOp::ALL {
        for width in WIDTHS {
            for imm in IMMEDIATES {
                let src = Operand::Imm(imm);
                let jump = Insn::JumpIf { op, width, dst: Reg::R0, src, off: 1 };
                let limit = alu(AluOp::Mov, width, Reg::R0, src);
                let program =
                    |then| vec![load(Size::DW, Reg::R0, Reg::R1, 0), jump, then, Insn::Exit];
                let limited = compile(parts(program(limit)));
                let absolute = compile(parts(program(Insn::Neg { width, dst: Reg::R0 })));
                let other = i64::from(imm).cast_unsigned();
                for a in BOUNDARIES {
                    let holds = expected(op, width, a, other);
                    let expected = if holds { a } else { cut(other, width) };
                    assert_eq!(run(&limited, &mut [a]), expected, "{jump}: {a:#x}");
                    let expected = if holds { a } else { cut(a.wrapping_neg(), width) };
                    assert_eq!(run(&absolute, &mut [a]), expected, "{jump}: {a:#x}");
                }
            }
        }
    }
}

#[test]
fn what_others_jump_to_is_no_choice() {
    // The second jump leads to the move that the first goes around.
    let insns = vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        load(Size::DW, Reg::R3, Reg::R1, 8),
        super::jump_if(JumpOp::Eq, Reg::R2, 7, 1),
        Insn::JumpIf {
            op: JumpOp::Lt,
            width: Width::W64,
            dst: Reg::R2,
            src: Operand::Reg(Reg::R3),
            off: 1,
        },
        mov(Reg::R2, Reg::R3),
        mov(Reg::R0, Reg::R2),
        Insn::Exit,
    ];
    let compiled = compile(parts(insns));
    assert_eq!(run(&compiled, &mut [7_u64, 9]), 9);
    assert_eq!(run(&compiled, &mut [8_u64, 9]), 8);
    assert_eq!(run(&compiled, &mut [9_u64, 8]), 8);
}
