//! Functions whose code is part of others, and helpers that are loops.

use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::{
    ArgKind, ArgProto, HelperFlags, HelperProto, LOAD_PACKET, LOAD_PACKET_FAILED, RetKind,
    RetProto, THROW, TypeFlags,
};
use bpf_abi::image::{BoundHelper, Image, ImageParts, ImageSubprog, Note};
use bpf_abi::map::{MapLayout, MapType};
use bpf_isa::{AluOp, Imm64, Insn, JumpOp, Operand, Pc, Reg, Size, Width};

use super::{
    add, add_imm, goto, helper, jump_if, load, load_map, local, map, mov, mov_imm, parts, run,
    run_in, store, store_imm, vouch,
};
use crate::{Compiled, Jit, JitOptions, SlotMode, SlotState};

const ANY: ArgProto =
    ArgProto { kind: ArgKind::Anything, flags: TypeFlags::empty(), size: 0, btf: None };

const fn proto(id: u32, name: &'static str, args: &'static [ArgProto]) -> HelperProto {
    let ret = RetProto { kind: RetKind::Integer, flags: TypeFlags::empty(), btf: None };
    HelperProto { id, name, flags: HelperFlags::empty(), ret, args }
}

static LOOP: HelperProto = proto(181, "loop", &[ANY; 4]);
static EACH: HelperProto = proto(164, "for_each_map_elem", &[ANY; 4]);
static PACKET: HelperProto = proto(LOAD_PACKET, "packet", &[ANY; 3]);

/// What no program gets to whose loops are its own.
extern "C" fn never(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0xbad
}

extern "C" fn no_packet(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    LOAD_PACKET_FAILED
}

fn in_mode(inline: bool, slots: SlotMode) -> Jit {
    Jit::new(JitOptions { inline, slots, check: true, reserve: 1 << 20, ..JitOptions::default() })
        .unwrap()
}

/// A program of functions: each with how deep its frame is, and its instructions.
fn functions(functions: &[(u16, Vec<Insn>)]) -> ImageParts {
    let mut parts = parts(functions.iter().flat_map(|(_, insns)| insns.clone()).collect());
    let mut start = 0;
    for (stack_depth, insns) in functions {
        let end = start + u32::try_from(insns.len()).unwrap();
        parts.subprogs.push(ImageSubprog {
            name: format!("f{start}"),
            start: Pc(start),
            end: Pc(end),
            arity: 0,
            stack_depth: *stack_depth,
            tail_calls: false,
            is_callback: false,
            is_global: start == 0,
            btf_id: 0,
        });
        start = end;
    }
    let bound = |proto, entry: HelperFn| BoundHelper { proto, entry, inline: None };
    parts.helpers = vec![bound(&LOOP, never), bound(&EACH, never), bound(&PACKET, no_packet)];
    parts
}

/// What the program returns, whether or not functions are part of others; also set apart.
fn result_of(program: &dyn Fn() -> ImageParts) -> u64 {
    let image = vouch(program());
    let jit = in_mode(true, SlotMode::Word);
    let compiled = jit.compile(&image).unwrap();
    assert!((0..compiled.functions()).any(|number| compiled.is_inlined(number)));
    let result = run(&compiled, &mut 0u64);
    jit.set_apart(&compiled, &image, None).unwrap();
    let calls = in_mode(false, SlotMode::Word).compile(&image).unwrap();
    assert!(!calls.is_inlined(1));
    // What these helpers do where they are called is in a runtime.
    if !image.program.insns().iter().any(|insn| [helper(181), helper(164)].contains(insn)) {
        assert_eq!(run(&compiled, &mut 0u64), result, "apart");
        assert_eq!(run(&calls, &mut 0u64), result, "by calls");
    }
    result
}

fn mul(dst: Reg, imm: i32) -> Insn {
    Insn::Alu { op: AluOp::Mul, width: Width::W64, dst, src: Operand::Imm(imm) }
}

#[test]
fn a_function_takes_and_returns_where_it_is() {
    // r0 = f(1, 2) * 1000 + f(3, 4), and what is in R6 stays.
    let program = || {
        functions(&[
            (
                0,
                vec![
                    mov_imm(Reg::R1, 1),
                    mov_imm(Reg::R2, 2),
                    local(8),
                    mov(Reg::R6, Reg::R0),
                    mul(Reg::R6, 1000),
                    mov_imm(Reg::R1, 3),
                    mov_imm(Reg::R2, 4),
                    local(3),
                    add(Reg::R0, Reg::R6),
                    Insn::Exit,
                    Insn::Exit,
                ],
            ),
            (
                0,
                vec![
                    mov(Reg::R6, Reg::R1),
                    mul(Reg::R6, 10),
                    jump_if(JumpOp::Gt, Reg::R1, 2, 2),
                    mov(Reg::R0, Reg::R6),
                    Insn::Exit,
                    mov(Reg::R0, Reg::R6),
                    add(Reg::R0, Reg::R2),
                    Insn::Exit,
                ],
            ),
        ])
    };
    assert_eq!(result_of(&program), 10 * 1000 + 34);
}

#[test]
fn frames_lie_below_each_other() {
    // main keeps 5 and passes its address to f, which keeps 7 and passes both addresses to g.
    let program = || {
        functions(&[
            (
                8,
                vec![
                    store_imm(Size::DW, Reg::FP, -8, 5),
                    mov(Reg::R1, Reg::FP),
                    add_imm(Reg::R1, -8),
                    local(3),
                    load(Size::DW, Reg::R1, Reg::FP, -8),
                    add(Reg::R0, Reg::R1),
                    Insn::Exit,
                ],
            ),
            (
                16,
                vec![
                    store_imm(Size::DW, Reg::FP, -8, 7),
                    store_imm(Size::DW, Reg::FP, -16, 9),
                    mov(Reg::R6, Reg::R1),
                    mov(Reg::R2, Reg::FP),
                    add_imm(Reg::R2, -8),
                    local(8),
                    mov(Reg::R1, Reg::R6),
                    mov(Reg::R2, Reg::FP),
                    add_imm(Reg::R2, -16),
                    local(4),
                    load(Size::DW, Reg::R0, Reg::FP, -8),
                    load(Size::DW, Reg::R1, Reg::FP, -16),
                    add(Reg::R0, Reg::R1),
                    Insn::Exit,
                ],
            ),
            (
                8,
                vec![
                    // *r2 += *r1; *r1 *= 10, by way of its own frame
                    load(Size::DW, Reg::R3, Reg::R1, 0),
                    store(Size::DW, Reg::FP, -8, Reg::R3),
                    load(Size::DW, Reg::R4, Reg::R2, 0),
                    add(Reg::R4, Reg::R3),
                    store(Size::DW, Reg::R2, 0, Reg::R4),
                    load(Size::DW, Reg::R3, Reg::FP, -8),
                    mul(Reg::R3, 10),
                    store(Size::DW, Reg::R1, 0, Reg::R3),
                    mov_imm(Reg::R0, 0),
                    Insn::Exit,
                ],
            ),
        ])
    };
    assert_eq!(result_of(&program), (5 + 7) + (50 + 9) + 500);
}

#[test]
fn a_place_that_is_known_in_one_function_only_is_one_place() {
    // f takes the address in main's frame out of main's frame, and stores there.
    let program = || {
        functions(&[
            (
                24,
                vec![
                    store_imm(Size::DW, Reg::FP, -8, 1),
                    mov(Reg::R3, Reg::FP),
                    add_imm(Reg::R3, -8),
                    store(Size::DW, Reg::FP, -16, Reg::R3),
                    mov(Reg::R1, Reg::FP),
                    add_imm(Reg::R1, -16),
                    local(3),
                    load(Size::DW, Reg::R1, Reg::FP, -8),
                    add(Reg::R0, Reg::R1),
                    Insn::Exit,
                ],
            ),
            (
                0,
                vec![
                    load(Size::DW, Reg::R2, Reg::R1, 0),
                    load(Size::DW, Reg::R0, Reg::R2, 0),
                    store_imm(Size::DW, Reg::R2, 0, 40),
                    Insn::Exit,
                ],
            ),
        ])
    };
    assert_eq!(result_of(&program), 41);
}

#[test]
fn each_call_has_a_budget_of_its_own() {
    // f counts how often may_goto falls through.
    let program = || {
        functions(&[
            (
                0,
                vec![
                    local(5),
                    mov(Reg::R6, Reg::R0),
                    local(3),
                    mul(Reg::R0, 2),
                    add(Reg::R0, Reg::R6),
                    Insn::Exit,
                ],
            ),
            (
                0,
                vec![
                    mov_imm(Reg::R0, 0),
                    Insn::MayGoto { off: 2 },
                    add_imm(Reg::R0, 1),
                    goto(-3),
                    Insn::Exit,
                ],
            ),
        ])
    };
    let most = bpf_abi::limits::MAX_MAY_GOTO;
    assert_eq!(result_of(&program), 3 * most);
}

#[test]
fn a_load_past_the_packet_leaves_the_function_that_it_is_in() {
    let program = || {
        functions(&[
            (0, vec![local(2), add_imm(Reg::R0, 3), Insn::Exit]),
            (
                0,
                vec![
                    mov(Reg::R6, Reg::R1),
                    Insn::LoadAbs { size: Size::W, imm: 100 },
                    mov_imm(Reg::R0, 5),
                    Insn::Exit,
                ],
            ),
        ])
    };
    assert_eq!(result_of(&program), 3);
}

#[test]
fn an_exception_goes_through_functions_in_functions() {
    let thrower = vec![mov_imm(Reg::R1, 77), helper(THROW), mov_imm(Reg::R0, 1), Insn::Exit];
    let program = || {
        functions(&[
            (0, vec![local(2), mov_imm(Reg::R0, 4), Insn::Exit]),
            (0, vec![local(2), mov_imm(Reg::R0, 3), Insn::Exit]),
            (0, thrower.clone()),
        ])
    };
    assert_eq!(result_of(&program), 77);
}

#[test]
fn global_functions_and_those_that_call_themselves_are_called() {
    let mut parts = functions(&[
        (0, vec![mov_imm(Reg::R1, 4), local(5), mov(Reg::R6, Reg::R0), local(1), Insn::Exit]),
        (0, vec![mov_imm(Reg::R0, 9), Insn::Exit]),
        (
            0,
            vec![
                mov_imm(Reg::R0, 0),
                jump_if(JumpOp::Eq, Reg::R1, 0, 2),
                add_imm(Reg::R1, -1),
                local(-4),
                Insn::Exit,
            ],
        ),
    ]);
    parts.subprogs[1].is_global = true;
    let compiled = in_mode(true, SlotMode::Word).compile(&vouch(parts)).unwrap();
    assert_eq!([1, 2].map(|number| compiled.is_inlined(number)), [false, true]);
    assert_eq!(run(&compiled, &mut 0u64), 9);
}

/// Returns what a function returns that is part of it.
fn returning(number: i32) -> Image {
    let callee = vec![mov_imm(Reg::R0, number), Insn::Exit];
    vouch(functions(&[(0, vec![local(1), Insn::Exit]), (0, callee)]))
}

#[expect(unsafe_code, reason = "both functions take and return the same")]
fn point(from: &Compiled, to: &Compiled) -> bool {
    // SAFETY: [slot-target] both are functions of `returning`, and both outlive the runs.
    unsafe { from.slot(1).unwrap().jump(to.slot(1).unwrap().body()) }
}

#[test]
fn a_function_that_is_part_of_others_is_set_apart_before_its_slot_leads_elsewhere() {
    for slots in [SlotMode::Word, SlotMode::Displacement] {
        let jit = in_mode(true, slots);
        let images = [returning(1), returning(2)];
        let [old, new] = images.each_ref().map(|image| jit.compile(image).unwrap());
        assert!(!point(&old, &new), "calls do not go through the slot");
        assert_eq!(old.slot(1).unwrap().state(), SlotState::Idle);
        let error = jit.set_apart(&old, &images[1], None).unwrap_err();
        assert_eq!(error.to_string(), "insn 0: another program");
        for _ in 0..2 {
            jit.set_apart(&old, &images[0], None).unwrap();
        }
        assert_eq!(run(&old, &mut 0u64), 1);
        assert!(point(&old, &new));
        assert_eq!((run(&old, &mut 0u64), run(&new, &mut 0u64)), (2, 2));
        old.slot(1).unwrap().reset();
        assert_eq!(run(&old, &mut 0u64), 1);
    }
}

#[test]
fn memory_of_code_that_was_set_apart_is_given_back() {
    let jit = in_mode(true, SlotMode::Word);
    let free = jit.free_memory();
    let image = returning(1);
    let compiled = jit.compile(&image).unwrap();
    jit.set_apart(&compiled, &image, None).unwrap();
    assert!(jit.free_memory() < free);
    drop(compiled);
    assert_eq!(jit.free_memory(), free);
}

/// `bpf_loop(times, f, the address of the frame's last word, flags)`, where `f` adds the number of
/// the round to that word, and says `enough` after so many rounds.
fn looping(times: i32, enough: i32, flags: i32) -> ImageParts {
    functions(&[
        (
            8,
            vec![
                store_imm(Size::DW, Reg::FP, -8, 0),
                mov_imm(Reg::R1, times),
                Insn::LoadImm64 { dst: Reg::R2, imm: Imm64::Func { off: 9 } },
                Insn::SecondSlot,
                mov(Reg::R3, Reg::FP),
                add_imm(Reg::R3, -8),
                mov_imm(Reg::R4, flags),
                helper(181),
                load(Size::DW, Reg::R1, Reg::FP, -8),
                mul(Reg::R1, 1000),
                add(Reg::R0, Reg::R1),
                Insn::Exit,
            ],
        ),
        (
            0,
            vec![
                load(Size::DW, Reg::R3, Reg::R2, 0),
                add(Reg::R3, Reg::R1),
                store(Size::DW, Reg::R2, 0, Reg::R3),
                mov_imm(Reg::R0, 0),
                jump_if(JumpOp::Ne, Reg::R1, enough - 1, 1),
                mov_imm(Reg::R0, 1),
                Insn::Exit,
            ],
        ),
    ])
}

#[test]
fn a_loop_ends_after_all_rounds_or_when_the_function_says_so() {
    for (times, enough, rounds) in [(0, 1, 0), (1, 9, 1), (10, 100, 10), (10, 4, 4), (10, 10, 10)] {
        let sum = (0..rounds).sum::<u64>();
        assert_eq!(result_of(&|| looping(times, enough, 0)), sum * 1000 + rounds);
    }
    let error = |errno: i64| errno.cast_unsigned();
    assert_eq!(result_of(&|| looping(10, 100, 1)), error(-22));
    assert_eq!(result_of(&|| looping((8 << 20) + 1, 1, 0)), error(-7));
    assert_eq!(result_of(&|| looping(8 << 20, 1, 0)), 1);
    assert_eq!(result_of(&|| looping(-1, 1, 0)), error(-7));
}

#[test]
fn a_loop_whose_function_may_take_tail_calls_is_the_helpers() {
    let mut parts = looping(3, 100, 0);
    parts.subprogs[1].tail_calls = true;
    extern "C" fn seven(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
        7
    }
    parts.helpers[0].entry = seven;
    let compiled = in_mode(true, SlotMode::Word).compile(&vouch(parts)).unwrap();
    assert_eq!(run(&compiled, &mut 0u64), 7);
}

/// Adds the elements of an array, each times its key; `f` says enough at the key `enough`.
fn adding(map_type: MapType, layout: MapLayout, enough: i32) -> ImageParts {
    let [load_low, load_high] = load_map(Reg::R1, 0);
    let mut parts = functions(&[
        (
            8,
            vec![
                store_imm(Size::DW, Reg::FP, -8, 0),
                load_low,
                load_high,
                Insn::LoadImm64 { dst: Reg::R2, imm: Imm64::Func { off: 9 } },
                Insn::SecondSlot,
                mov(Reg::R3, Reg::FP),
                add_imm(Reg::R3, -8),
                mov_imm(Reg::R4, 0),
                helper(164),
                load(Size::DW, Reg::R1, Reg::FP, -8),
                mul(Reg::R1, 1000),
                add(Reg::R0, Reg::R1),
                Insn::Exit,
            ],
        ),
        (
            0,
            vec![
                load(Size::W, Reg::R1, Reg::R2, 0),
                load(Size::DW, Reg::R3, Reg::R3, 0),
                Insn::Alu {
                    op: AluOp::Mul,
                    width: Width::W64,
                    dst: Reg::R3,
                    src: Operand::Reg(Reg::R1),
                },
                load(Size::DW, Reg::R2, Reg::R4, 0),
                add(Reg::R2, Reg::R3),
                store(Size::DW, Reg::R4, 0, Reg::R2),
                mov_imm(Reg::R0, 0),
                jump_if(JumpOp::Ne, Reg::R1, enough, 1),
                mov_imm(Reg::R0, 1),
                Insn::Exit,
            ],
        ),
    ]);
    parts.maps = vec![map(map_type, layout)];
    let about_map = Note { map: Some(0), ..Note::default() };
    parts.notes = vec![about_map; parts.program.len()];
    parts
}

#[test]
fn the_elements_of_an_array_are_gone_through() {
    let values: [u64; 12] = std::array::from_fn(|n| 3 * n as u64 + 1);
    let address = values.as_ptr().expose_provenance() as u64;
    let array = MapLayout::Array { values: address, stride: 16, max_entries: 5 };
    let sum = |count: usize| (0..count).map(|n| n as u64 * values[2 * n]).sum::<u64>();
    assert_eq!(result_of(&|| adding(MapType::Array, array, 100)), sum(5) * 1000 + 5);
    assert_eq!(result_of(&|| adding(MapType::Array, array, 2)), sum(3) * 1000 + 3);

    let (stride, cpu_stride, cpus, max_entries) = (8, 32, 3, 4);
    let percpu = MapLayout::PercpuArray { values: address, stride, cpu_stride, cpus, max_entries };
    let image = vouch(adding(MapType::PercpuArray, percpu, 100));
    let compiled = in_mode(true, SlotMode::Word).compile(&image).unwrap();
    for cpu in 0..3 {
        let own = &values[4 * cpu..4 * cpu + 4];
        let sum: u64 = (0..).zip(own).map(|(n, value)| n * value).sum();
        let mut cx = RunCx::new(u32::try_from(cpu).unwrap());
        assert_eq!(run_in(&compiled, &mut cx, &mut 0u64), sum * 1000 + 4);
    }
}

#[test]
fn tail_calls_are_counted_in_code_that_was_set_apart() {
    // It has a function count the run, and goes on with itself.
    let slots = [AtomicU64::new(0), AtomicU64::new(0)];
    let native = slots.as_ptr().expose_provenance() as u64;
    let [load_low, load_high] = load_map(Reg::R2, 0);
    let mut parts = functions(&[
        (
            0,
            vec![
                mov(Reg::R6, Reg::R1),
                local(8),
                mov(Reg::R7, Reg::R0),
                mov(Reg::R1, Reg::R6),
                load_low,
                load_high,
                mov_imm(Reg::R3, 1),
                helper(12),
                mov(Reg::R0, Reg::R7),
                Insn::Exit,
            ],
        ),
        (
            0,
            vec![
                load(Size::DW, Reg::R0, Reg::R1, 0),
                add_imm(Reg::R0, 1),
                store(Size::DW, Reg::R1, 0, Reg::R0),
                Insn::Exit,
            ],
        ),
    ]);
    let layout = MapLayout::ProgArray { native, interp: 0, max_entries: 2 };
    parts.maps = vec![map(MapType::ProgArray, layout)];
    let image = vouch(parts);
    let jit = in_mode(true, SlotMode::Word);
    let compiled = jit.compile(&image).unwrap();
    slots[1].store(compiled.entry(), Ordering::Relaxed);
    for apart in [false, true] {
        if apart {
            jit.set_apart(&compiled, &image, None).unwrap();
        }
        let mut cx = RunCx::new(0);
        for _ in 0..2 {
            let mut runs = 0u64;
            assert_eq!(run_in(&compiled, &mut cx, &mut runs), 34, "apart: {apart}");
            assert_eq!((runs, cx.tail_calls), (34, 33));
        }
    }
}
