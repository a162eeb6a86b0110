//! What compiled programs compute, against formulas written for these tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::wildcard_enum_match_arm, reason = "tests say what they are about")]

mod alu;
mod branches;
mod memory;
mod pieces;
mod calls;
mod maps;
mod tail_calls;
mod slots;
mod inline;
mod checked;
mod cache;

use std::sync::{Arc, OnceLock};

use bpf_abi::exec::RunCx;
use bpf_abi::image::{BoundMap, Image, ImageParts, Note};
use bpf_abi::map::{MapLayout, MapType};
use bpf_abi::prog::ProgType;
use bpf_isa::{AluOp, Call, Extension, Imm64, Insn, JumpOp, Operand, Program, Reg, Size, Width};

use crate::{Compiled, Jit, JitOptions};

/// Numbers at which operations change their minds.
const BOUNDARIES: [u64; 14] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

/// The immediates among them, and some more.
const IMMEDIATES: [i32; 15] =
    [0, 1, -1, 2, 3, 5, 7, 9, 31, 32, 63, 0x7fff, -0x8000, i32::MAX, i32::MIN];

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

/// One JIT for all tests, checking what it generates.
fn jit() -> &'static Jit {
    static JIT: OnceLock<Jit> = OnceLock::new();
    JIT.get_or_init(|| Jit::new(JitOptions { check: true, ..JitOptions::default() }).unwrap())
}

/// An image of these instructions and nothing else.
fn parts(insns: Vec<Insn>) -> ImageParts {
    ImageParts {
        name: "test".to_owned(),
        prog_type: ProgType::Xdp,
        program: Program::new(insns),
        subprogs: Vec::new(),
        maps: Vec::new(),
        helpers: Vec::new(),
        notes: Vec::new(),
        exception_callback: None,
        lines: Vec::new(),
    }
}

#[expect(unsafe_code, reason = "tests vouch for their programs")]
fn vouch(parts: ImageParts) -> Image {
    // SAFETY: [verified-memory] the programs of these tests behave.
    unsafe { Image::vouch(parts) }
}

fn compile(parts: ImageParts) -> Compiled {
    jit().compile(&vouch(parts)).unwrap()
}

/// Runs with the address of `ctx` in R1.
#[expect(unsafe_code, reason = "runs a program of a test")]
fn run_in<T>(compiled: &Compiled, cx: &mut RunCx, ctx: &mut T) -> u64 {
    let ctx = std::ptr::from_mut(ctx).expose_provenance() as u64;
    // SAFETY: [run-context] the programs of these tests touch nothing beyond `ctx`.
    unsafe { compiled.run(cx, ctx) }
}

fn run<T>(compiled: &Compiled, ctx: &mut T) -> u64 {
    run_in(compiled, &mut RunCx::new(0), ctx)
}

/// What a program of these instructions returns.
fn result_of(insns: Vec<Insn>) -> u64 {
    run(&compile(parts(insns)), &mut 0u64)
}

const fn mov(dst: Reg, src: Reg) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Reg(src) }
}

const fn mov_imm(dst: Reg, imm: i32) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Imm(imm) }
}

const fn add(dst: Reg, src: Reg) -> Insn {
    Insn::Alu { op: AluOp::Add, width: Width::W64, dst, src: Operand::Reg(src) }
}

const fn add_imm(dst: Reg, imm: i32) -> Insn {
    Insn::Alu { op: AluOp::Add, width: Width::W64, dst, src: Operand::Imm(imm) }
}

const fn load(size: Size, dst: Reg, base: Reg, off: i16) -> Insn {
    Insn::Load { size, ext: Extension::Unsigned, dst, base, off }
}

const fn store(size: Size, base: Reg, off: i16, src: Reg) -> Insn {
    Insn::Store { size, base, off, src: Operand::Reg(src) }
}

const fn store_imm(size: Size, base: Reg, off: i16, imm: i32) -> Insn {
    Insn::Store { size, base, off, src: Operand::Imm(imm) }
}

const fn jump_if(op: JumpOp, dst: Reg, imm: i32, off: i16) -> Insn {
    Insn::JumpIf { op, width: Width::W64, dst, src: Operand::Imm(imm), off }
}

const fn goto(off: i32) -> Insn {
    Insn::Jump { off, long: false }
}

const fn helper(id: i32) -> Insn {
    Insn::Call(Call::Helper(id))
}

const fn local(off: i32) -> Insn {
    Insn::Call(Call::Local(off))
}

/// `dst = map`, both slots.
const fn load_map(dst: Reg, map: i32) -> [Insn; 2] {
    [Insn::LoadImm64 { dst, imm: Imm64::MapFd(map) }, Insn::SecondSlot]
}

/// A map of this layout with keys of four bytes.
fn map(map_type: MapType, layout: MapLayout) -> BoundMap {
    BoundMap {
        name: "m".to_owned(),
        map_type,
        handle: 0xdead_0000,
        layout,
        value: None,
        key_size: 4,
        value_size: 8,
        keep: Arc::new(()),
    }
}

/// The same note for every slot of a program.
fn notes(parts: &ImageParts, note: Note) -> Vec<Note> {
    vec![note; parts.program.len()]
}

#[test]
fn a_program_returns_r0() {
    assert_eq!(result_of(vec![mov_imm(Reg::R0, 2), Insn::Exit]), 2);
}

#[test]
fn an_image_that_runs_out_of_its_function_is_refused() {
    let image = vouch(parts(vec![mov_imm(Reg::R0, 2)]));
    let error = jit().compile(&image).unwrap_err();
    assert_eq!(error.to_string(), "insn 1: control leaves its function");
}

#[test]
fn an_empty_image_is_refused() {
    let error = jit().compile(&vouch(parts(Vec::new()))).unwrap_err();
    assert_eq!(error.to_string(), "insn 0: a program of no instruction");
}

#[test]
fn a_kernel_function_is_named_in_the_refusal() {
    let call = Insn::Call(Call::Kfunc { btf_id: 77, btf_fd_idx: 0 });
    let error = jit().compile(&vouch(parts(vec![call, Insn::Exit]))).unwrap_err();
    assert_eq!(error.to_string(), "insn 0: a call of kernel function #77 is not supported");
}
