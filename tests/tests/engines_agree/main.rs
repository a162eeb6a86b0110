//! Every instruction gives the same result in the interpreter, in compiled code and in the kernel,
//! and that result is the one that the plain formulas of `reference.rs` give.
//!
//! A case is one program: it takes tuples of operands out of the packet, applies the instruction to
//! each with other registers, and puts the results back behind the operands. The verifier knows
//! nothing of the operands, so nothing is folded away.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod alu;
mod jumps;
mod memory;
mod reference;

use bpf_abi::map::{MapSpec, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_isa::{AluOp, Call, Extension, Imm64, Insn, JumpOp, Operand, Program, Reg, Size, Width};
use bpf_tests::places::Places;

/// Numbers at which something changes.
const VALUES: [u64; 16] = [
    0,
    1,
    2,
    31,
    33,
    64,
    0x80,
    0xff7f,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0123_4567_89ab_cdef,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0001,
    0xffff_ffff_ffff_ffff,
];

/// Immediates at which something changes.
const IMMEDIATES: [i32; 12] = [0, 1, 2, 7, 31, 32, 63, 0x80, 0x1234_5678, i32::MAX, i32::MIN, -1];

/// What the programs answer if the packet is long enough: `XDP_PASS`.
const DONE: u32 = 2;

/// Where a case's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// In the packet. No atomics there.
    Packet,
    /// On the stack.
    Stack,
    /// In the value of an array.
    Map,
}

/// What an instruction is given for one tuple.
struct Frame {
    /// Which of the program's tuples it is.
    k: usize,
    /// The packet.
    base: Reg,
    /// The operands, loaded.
    ins: Vec<Reg>,
    /// Registers that hold nothing.
    spare: Vec<Reg>,
    /// Where the operands lie in the packet.
    ins_at: i16,
    /// Where the results go.
    outs_at: i16,
}

/// Appends the instructions for one tuple.
type Emit = Box<dyn Fn(&Frame, &mut Vec<Insn>)>;

/// The results of a tuple, which is the program's so-and-so-manieth.
type Expect = Box<dyn Fn(usize, &[u64]) -> Vec<u64>>;

/// A program, its operands, and what must come out.
struct Case {
    name: String,
    /// How many words go in and come out.
    words: (usize, usize),
    /// How many tuples the program takes at once.
    unrolled: usize,
    tuples: Vec<Vec<u64>>,
    /// Registers that must stay free.
    reserved: Vec<Reg>,
    /// The instructions for one tuple.
    emit: Emit,
    /// The results of one tuple.
    expect: Expect,
}

impl Frame {
    /// Stores a result.
    fn put(&self, n: usize, reg: Reg) -> Insn {
        store(Size::DW, self.base, self.outs_at + word(n), Operand::Reg(reg))
    }
}

impl Case {
    /// The size of a tuple with its results, in bytes.
    fn stride(&self) -> usize {
        (self.words.0 + self.words.1) * 8
    }

    fn program(&self) -> Vec<Insn> {
        let len = i32::try_from(self.stride() * self.unrolled).unwrap();
        let mut code = vec![
            mov(Reg::R6, Operand::Reg(Reg::R1)),
            store(Size::W, Reg::FP, -4, Operand::Imm(0)),
            Insn::LoadImm64 { dst: Reg::R1, imm: Imm64::MapFd(0) },
            Insn::SecondSlot,
            mov(Reg::R2, Operand::Reg(Reg::FP)),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R2, src: Operand::Imm(-4) },
            Insn::Call(Call::Helper(1)),
            jump(JumpOp::Ne, Width::W64, Reg::R0, Operand::Imm(0), 1),
            Insn::Exit,
            mov(Reg::R7, Operand::Reg(Reg::R0)),
            load(Size::W, Extension::Unsigned, Reg::R2, Reg::R6, 4),
            load(Size::W, Extension::Unsigned, Reg::R9, Reg::R6, 0),
            mov(Reg::R3, Operand::Reg(Reg::R9)),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R3, src: Operand::Imm(len) },
            jump(JumpOp::Le, Width::W64, Reg::R3, Operand::Reg(Reg::R2), 2),
            mov(Reg::R0, Operand::Imm(1)),
            Insn::Exit,
        ];
        let mut base = Reg::R9;
        for k in 0..self.unrolled {
            if k == self.unrolled / 2 {
                // The other half of the program has another register for the packet.
                code.push(mov(Reg::R8, Operand::Reg(base)));
                base = Reg::R8;
            }
            self.tuple(k, base, &mut code);
        }
        code.extend([mov(Reg::R0, Operand::Imm(2)), Insn::Exit]);
        code
    }

    fn tuple(&self, k: usize, base: Reg, code: &mut Vec<Insn>) {
        let is_free = |reg: &Reg| *reg != base && *reg != Reg::FP && !self.reserved.contains(reg);
        let free: Vec<Reg> = Reg::ALL.into_iter().filter(is_free).collect();
        // First registers in turn, and the distance of the others from them in turn.
        let distance = 1 + (k / free.len()) % (free.len() - 2);
        let nth = |n: usize| free[(k + n * distance) % free.len()];
        let mut ins: Vec<Reg> = Vec::new();
        for n in 0..self.words.0 {
            let next = Some(nth(n)).filter(|reg| !ins.contains(reg));
            let other = || free.iter().copied().find(|reg| !ins.contains(reg));
            let reg = next.or_else(other).unwrap();
            ins.push(reg);
        }
        let spare = free.into_iter().filter(|reg| !ins.contains(reg)).collect();
        let ins_at = i16::try_from(self.stride() * k).unwrap();
        for (n, reg) in ins.iter().enumerate() {
            code.push(load(Size::DW, Extension::Unsigned, *reg, base, ins_at + word(n)));
        }
        let frame = Frame { k, base, spare, ins_at, outs_at: ins_at + word(ins.len()), ins };
        (self.emit)(&frame, code);
    }

    /// Runs the program on all tuples, everywhere.
    fn check(&self) {
        let mut spec = ObjectSpec { name: "case".to_owned(), ..ObjectSpec::default() };
        spec.license = "GPL".to_owned();
        spec.maps.push(MapSpec::new("memory", MapType::Array, 4, 256, 1));
        let slots = Program::new(self.program()).to_slots();
        spec.programs.push(ProgramSpec::new("case", ProgType::Xdp, slots));
        let places = Places::load(&spec).unwrap_or_else(|error| panic!("{}: {error}", self.name));

        for tuples in self.tuples.chunks(self.unrolled) {
            let (mut packet, mut expected) = (Vec::new(), Vec::new());
            // The last packet is filled up with the first tuples.
            let filled = tuples.iter().chain(&self.tuples).take(self.unrolled);
            for (k, tuple) in filled.enumerate() {
                let outs = (self.expect)(k, tuple);
                assert_eq!((tuple.len(), outs.len()), self.words);
                packet.extend(bytes(tuple));
                packet.extend(vec![0xa5; self.words.1 * 8]);
                expected.extend(bytes(tuple));
                expected.extend(bytes(&outs));
            }
            let ran = places.run("case", &packet).unwrap_or_else(|error| {
                panic!("{}: {error}\nexpected {expected:02x?}", self.name);
            });
            assert_eq!(ran.r0, DONE, "{}", self.name);
            for (k, (got, want)) in
                ran.data.chunks(self.stride()).zip(expected.chunks(self.stride())).enumerate()
            {
                assert_eq!(words(got), words(want), "{}: tuple {k} of a packet", self.name);
            }
        }
    }
}

/// Every pair of [`VALUES`].
fn pairs() -> Vec<Vec<u64>> {
    VALUES.iter().flat_map(|a| VALUES.iter().map(|b| vec![*a, *b])).collect()
}

/// Every one of [`VALUES`] at every one of `places` of a packet.
fn at_each(places: usize) -> Vec<Vec<u64>> {
    VALUES.iter().flat_map(|a| std::iter::repeat_n(vec![*a], places)).collect()
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words(bytes: &[u8]) -> Vec<String> {
    bytes.as_chunks().0.iter().map(|word| format!("{:#x}", u64::from_le_bytes(*word))).collect()
}

/// The offset of a word.
fn word(n: usize) -> i16 {
    i16::try_from(n * 8).unwrap()
}

const fn mov(dst: Reg, src: Operand) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src }
}

const fn load(size: Size, ext: Extension, dst: Reg, base: Reg, off: i16) -> Insn {
    Insn::Load { size, ext, dst, base, off }
}

const fn store(size: Size, base: Reg, off: i16, src: Operand) -> Insn {
    Insn::Store { size, base, off, src }
}

const fn jump(op: JumpOp, width: Width, dst: Reg, src: Operand, off: i16) -> Insn {
    Insn::JumpIf { op, width, dst, src, off }
}
