//! Helpers, functions of the program, callbacks, loads from the packet.

use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::{
    ArgKind, ArgProto, HelperFlags, HelperProto, LOAD_PACKET, LOAD_PACKET_FAILED, RetKind,
    RetProto, TypeFlags,
};
use bpf_abi::image::{BoundHelper, ImageParts, ImageSubprog};
use bpf_isa::{AluOp, Imm64, Insn, Operand, Pc, Reg, Size, Width};

use super::{
    add, add_imm, compile, goto, helper, jit, jump_if, load, local, mov, mov_imm, parts, run,
    run_in, store, vouch,
};

const ANY: ArgProto =
    ArgProto { kind: ArgKind::Anything, flags: TypeFlags::empty(), size: 0, btf: None };

/// The contract of a helper that takes so many arguments.
const fn proto(id: u32, args: &'static [ArgProto]) -> HelperProto {
    let ret = RetProto { kind: RetKind::Integer, flags: TypeFlags::empty(), btf: None };
    HelperProto { id, name: "test", flags: HelperFlags::empty(), ret, args }
}

static DIGITS: HelperProto = proto(1000, &[ANY; 5]);
static CPU: HelperProto = proto(1001, &[]);
static LOOP: HelperProto = proto(1002, &[ANY; 3]);
static PACKET: HelperProto = proto(LOAD_PACKET, &[ANY; 3]);

extern "C" fn digits(_: *mut RunCx, a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    [a, b, c, d, e].into_iter().fold(0, |sum, digit| sum * 10 + digit)
}

#[expect(unsafe_code, reason = "reads what it is given")]
extern "C" fn cpu(cx: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: [helper-args] the run is alive.
    u64::from(unsafe { (*cx).cpu })
}

/// Calls its second argument, with its third, as often as its first says.
#[expect(unsafe_code, reason = "calls the program back")]
extern "C" fn repeat(cx: *mut RunCx, times: u64, f: u64, with: u64, _: u64, _: u64) -> u64 {
    // SAFETY: [helper-args] the run is alive.
    let call_back = unsafe { (*cx).callback }.unwrap();
    // SAFETY: [callback-address] `f` is a function of the program.
    (0..times).map(|i| unsafe { call_back(cx, f, i, with, 0, 0, 0) }).sum()
}

extern "C" fn packet(_: *mut RunCx, skb: u64, off: u64, size: u64, _: u64, _: u64) -> u64 {
    let bytes = [1u8, 2, 3, 4, 5, 6, 7, 8];
    assert_ne!(skb, 0);
    let (Ok(off), Ok(size)) = (usize::try_from(off.cast_signed()), usize::try_from(size)) else {
        return LOAD_PACKET_FAILED;
    };
    let found = bytes.get(off..).and_then(|rest| rest.get(..size));
    found.map_or(LOAD_PACKET_FAILED, |found| {
        found.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    })
}

fn bound(proto: &'static HelperProto, entry: HelperFn) -> BoundHelper {
    BoundHelper { proto, entry, inline: None }
}

fn with_helpers(insns: Vec<Insn>) -> ImageParts {
    let mut parts = parts(insns);
    parts.helpers = vec![
        bound(&DIGITS, digits),
        bound(&CPU, cpu),
        bound(&LOOP, repeat),
        bound(&PACKET, packet),
    ];
    parts
}

#[test]
fn a_helper_gets_its_arguments_and_gives_r0() {
    let mut insns: Vec<Insn> = (1..=5).map(|n| mov_imm(Reg::new(n).unwrap(), n.into())).collect();
    insns.extend([helper(1000), Insn::Exit]);
    assert_eq!(run(&compile(with_helpers(insns)), &mut 0u64), 12345);
}

#[test]
fn registers_from_r6_survive_a_helper() {
    let insns = vec![
        mov_imm(Reg::R6, 1),
        mov_imm(Reg::R7, 20),
        mov_imm(Reg::R8, 300),
        mov_imm(Reg::R9, 4000),
        helper(1001),
        add(Reg::R0, Reg::R6),
        add(Reg::R0, Reg::R7),
        add(Reg::R0, Reg::R8),
        add(Reg::R0, Reg::R9),
        Insn::Exit,
    ];
    let compiled = compile(with_helpers(insns));
    assert_eq!(run_in(&compiled, &mut RunCx::new(50_000), &mut 0u64), 54321);
}

#[test]
fn the_cpu_is_the_runs() {
    let compiled = compile(parts(vec![helper(8), Insn::Exit]));
    assert_eq!(run_in(&compiled, &mut RunCx::new(7), &mut 0u64), 7);
}

#[test]
fn a_helper_that_is_not_bound_is_named_in_the_refusal() {
    let error = jit().compile(&vouch(parts(vec![helper(77), Insn::Exit]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "insn 0: helper #77, which the image does not bind, is not supported"
    );
}

#[test]
fn functions_take_and_return() {
    // main: r0 = f(1, 2) + f(3, 4); f: r0 = r1 * 10 + r2
    let by_ten =
        Insn::Alu { op: AluOp::Mul, width: Width::W64, dst: Reg::R0, src: Operand::Imm(10) };
    let insns = vec![
        mov_imm(Reg::R1, 1),
        mov_imm(Reg::R2, 2),
        local(6),
        mov(Reg::R6, Reg::R0),
        mov_imm(Reg::R1, 3),
        mov_imm(Reg::R2, 4),
        local(2),
        add(Reg::R0, Reg::R6),
        Insn::Exit,
        mov(Reg::R0, Reg::R1),
        by_ten,
        add(Reg::R0, Reg::R2),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0u64), 12 + 34);
}

#[test]
fn a_function_reaches_its_callers_frame_and_keeps_its_own() {
    let insns = vec![
        mov_imm(Reg::R2, 5),
        store(Size::DW, Reg::FP, -8, Reg::R2),
        mov(Reg::R1, Reg::FP),
        add_imm(Reg::R1, -8),
        local(3),
        load(Size::DW, Reg::R1, Reg::FP, -8),
        add(Reg::R0, Reg::R1),
        Insn::Exit,
        // *r1 += 100, by way of its own frame
        load(Size::DW, Reg::R2, Reg::R1, 0),
        store(Size::DW, Reg::FP, -8, Reg::R2),
        load(Size::DW, Reg::R3, Reg::FP, -8),
        add_imm(Reg::R3, 100),
        store(Size::DW, Reg::R1, 0, Reg::R3),
        load(Size::DW, Reg::R0, Reg::FP, -8),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0u64), 5 + 105);
}

#[test]
fn a_function_that_calls_helpers_gets_the_run() {
    let insns = vec![
        mov(Reg::R6, Reg::R1),
        local(2),
        add_imm(Reg::R0, 1),
        Insn::Exit,
        local(1),
        Insn::Exit,
        helper(1001),
        Insn::Exit,
    ];
    let compiled = compile(with_helpers(insns));
    assert_eq!(run_in(&compiled, &mut RunCx::new(6), &mut 0u64), 7);
}

#[test]
fn a_global_function_takes_all_its_prototype_has() {
    let insns = vec![local(1), Insn::Exit, mov_imm(Reg::R0, 9), Insn::Exit];
    let mut parts = parts(insns);
    let subprog = |start, end, is_global| ImageSubprog {
        name: format!("f{start}"),
        start: Pc(start),
        end: Pc(end),
        arity: 5,
        stack_depth: 0,
        tail_calls: false,
        is_callback: false,
        is_global,
        btf_id: 0,
    };
    parts.subprogs = vec![subprog(0, 2, true), subprog(2, 4, true)];
    assert_eq!(run(&compile(parts), &mut 0u64), 9);
}

#[test]
fn recursion_comes_to_an_end() {
    // f(n) = n ? n + f(n - 1) : 0
    let insns = vec![
        mov_imm(Reg::R1, 7),
        local(1),
        Insn::Exit,
        mov_imm(Reg::R0, 0),
        jump_if(bpf_isa::JumpOp::Eq, Reg::R1, 0, 4),
        mov(Reg::R6, Reg::R1),
        add_imm(Reg::R1, -1),
        local(-5),
        add(Reg::R0, Reg::R6),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(parts(insns)), &mut 0u64), 28);
}

#[test]
fn a_helper_calls_a_function_back() {
    let insns = vec![
        mov_imm(Reg::R1, 10),
        Insn::LoadImm64 { dst: Reg::R2, imm: Imm64::Func { off: 4 } },
        Insn::SecondSlot,
        mov_imm(Reg::R3, 1000),
        helper(1002),
        Insn::Exit,
        // f(i, with) = i + with
        mov(Reg::R0, Reg::R1),
        add(Reg::R0, Reg::R2),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(with_helpers(insns)), &mut 0u64), 45 + 10_000);
}

#[test]
fn loads_from_the_packet_swap_and_leave() {
    for (size, off, expected) in
        [(Size::B, 1, 2), (Size::H, 2, 0x0304), (Size::W, 3, 0x0405_0607), (Size::W, 6, 0)]
    {
        let absolute =
            vec![mov(Reg::R6, Reg::R1), Insn::LoadAbs { size, imm: off }, goto(0), Insn::Exit];
        assert_eq!(run(&compile(with_helpers(absolute)), &mut 0u64), expected);
        let indirect = vec![
            mov(Reg::R6, Reg::R1),
            mov_imm(Reg::R2, off + 2),
            Insn::LoadInd { size, src: Reg::R2, imm: -2 },
            Insn::Exit,
        ];
        assert_eq!(run(&compile(with_helpers(indirect)), &mut 0u64), expected);
    }
}

#[test]
fn a_load_past_the_packet_returns_zero_at_once() {
    let insns = vec![
        mov(Reg::R6, Reg::R1),
        Insn::LoadAbs { size: Size::W, imm: 100 },
        mov_imm(Reg::R0, 5),
        Insn::Exit,
    ];
    assert_eq!(run(&compile(with_helpers(insns)), &mut 0u64), 0);
}
