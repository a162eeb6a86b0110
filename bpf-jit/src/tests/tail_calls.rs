//! Tail calls: the limit, empty slots, arrays that change, and who shares the count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::exec::RunCx;
use bpf_abi::image::{ImageParts, ImageSubprog, Note};
use bpf_abi::map::{MapLayout, MapType};
use bpf_abi::prog::ProgType;
use bpf_isa::{Insn, JumpOp, Pc, Reg, Size};

use super::{
    add, add_imm, compile, helper, jump_if, load, load_map, local, map, mov, mov_imm, notes, parts,
    run, run_in, store, store_imm,
};

type Slots = [AtomicU64; 4];

fn with_slots(insns: Vec<Insn>, slots: &Slots) -> ImageParts {
    let mut parts = parts(insns);
    let native = slots.as_ptr().expose_provenance() as u64;
    let layout = MapLayout::ProgArray { native, interp: 0, max_entries: 4 };
    parts.maps = vec![map(MapType::ProgArray, layout)];
    parts
}

/// `bpf_tail_call(r6, map, key)`, four instructions of five slots.
fn tail_call(key: i32) -> Vec<Insn> {
    let mut insns = vec![mov(Reg::R1, Reg::R6)];
    insns.extend(load_map(Reg::R2, 0));
    insns.extend([mov_imm(Reg::R3, key), helper(12)]);
    insns
}

/// Counts itself in the context, tail-calls `key`, and returns `missed` if it comes back.
fn counting(key: i32, missed: i32) -> Vec<Insn> {
    let mut insns = vec![
        mov(Reg::R6, Reg::R1),
        load(Size::DW, Reg::R2, Reg::R6, 0),
        add_imm(Reg::R2, 1),
        store(Size::DW, Reg::R6, 0, Reg::R2),
    ];
    insns.extend(tail_call(key));
    insns.extend([mov_imm(Reg::R0, missed), Insn::Exit]);
    insns
}

#[test]
fn thirty_three_tail_calls_make_thirty_four_runs() {
    let slots = Slots::default();
    let compiled = compile(with_slots(counting(1, 13), &slots));
    slots[1].store(compiled.entry(), Ordering::Relaxed);
    let (mut cx, mut runs) = (RunCx::new(0), 0u64);
    for _ in 0..2 {
        runs = 0;
        assert_eq!(run_in(&compiled, &mut cx, &mut runs), 13);
        assert_eq!(cx.tail_calls, 33);
    }
    assert_eq!(runs, 34);
}

#[test]
fn a_key_known_at_load_finds_the_same_slot() {
    for (key, expected) in [(1, 34), (2, 1), (4, 1)] {
        let slots = Slots::default();
        let mut parts = with_slots(counting(key, 13), &slots);
        parts.notes = notes(&parts, Note::default());
        let key = u32::try_from(key).unwrap();
        parts.notes[8] = Note { map: Some(0), key: Some(key), ..Note::default() };
        let compiled = compile(parts);
        slots[1].store(compiled.entry(), Ordering::Relaxed);
        let mut runs = 0u64;
        assert_eq!(run(&compiled, &mut runs), 13);
        assert_eq!(runs, expected);
    }
}

#[test]
fn an_empty_slot_and_one_that_is_not_there_fall_through() {
    let slots = Slots::default();
    for key in [0, 4, -1] {
        let compiled = compile(with_slots(counting(key, 7), &slots));
        let (mut cx, mut runs) = (RunCx::new(0), 0u64);
        assert_eq!(run_in(&compiled, &mut cx, &mut runs), 7);
        assert_eq!((runs, cx.tail_calls), (1, 0));
    }
}

#[test]
fn the_index_is_the_low_half_of_r3() {
    let slots = Slots::default();
    let target = compile(parts(vec![mov_imm(Reg::R0, 42), Insn::Exit]));
    slots[1].store(target.entry(), Ordering::Relaxed);
    let mut insns = vec![mov(Reg::R6, Reg::R1), load(Size::DW, Reg::R3, Reg::R6, 0)];
    insns.extend(load_map(Reg::R2, 0));
    insns.extend([helper(12), mov_imm(Reg::R0, 1), Insn::Exit]);
    let compiled = compile(with_slots(insns, &slots));
    assert_eq!(run(&compiled, &mut 0x1_0000_0001u64), 42);
    assert_eq!(run(&compiled, &mut 0x1_0000_0004u64), 1);
}

#[test]
fn a_changed_slot_is_seen_by_the_next_tail_call() {
    let slots = Slots::default();
    let [one, two] = [1, 2].map(|r0| compile(parts(vec![mov_imm(Reg::R0, r0), Insn::Exit])));
    let compiled = compile(with_slots(counting(3, 0), &slots));
    for (entry, expected) in [(one.entry(), 1), (two.entry(), 2), (0, 0), (one.entry(), 1)] {
        slots[3].store(entry, Ordering::Relaxed);
        assert_eq!(run(&compiled, &mut 0u64), expected);
    }
}

#[test]
fn a_tail_call_in_a_function_returns_to_its_caller() {
    let slots = Slots::default();
    let target = compile(parts(vec![mov_imm(Reg::R0, 1), Insn::Exit]));
    slots[0].store(target.entry(), Ordering::Relaxed);
    let mut insns = vec![local(2), add_imm(Reg::R0, 1000), Insn::Exit, mov(Reg::R6, Reg::R1)];
    insns.extend(tail_call(0));
    insns.extend([mov_imm(Reg::R0, 7), Insn::Exit]);
    let compiled = compile(with_slots(insns, &slots));
    assert_eq!(run(&compiled, &mut 0u64), 1001);
    slots[0].store(0, Ordering::Relaxed);
    assert_eq!(run(&compiled, &mut 0u64), 1007);
}

/// Frames of all sizes follow each other, optimised or not, and who called the first finds its own.
#[test]
fn a_tail_call_leaves_its_frame_and_no_other() {
    let plain = crate::Jit::new(crate::JitOptions { optimize: false, ..Default::default() });
    for jit in [super::jit(), &plain.unwrap()] {
        let compile = |parts| jit.compile(&super::vouch(parts)).unwrap();
        let slots = Slots::default();
        // Fills its frame, tail-calls the next, or returns what it finds in its frame.
        let link = |depth: i16, next: i32| {
            let mut insns = vec![mov(Reg::R6, Reg::R1)];
            let places = (1..=depth / 8).map(|n| store_imm(Size::DW, Reg::FP, -8 * n, 100 * next));
            insns.extend(places);
            insns.extend(tail_call(next));
            insns.extend([load(Size::DW, Reg::R0, Reg::FP, -depth), add_imm(Reg::R0, 3)]);
            insns.push(Insn::Exit);
            insns
        };
        let chain = [(512, 1), (8, 2), (264, 3), (64, 4)];
        let chain = chain.map(|(depth, next)| compile(with_slots(link(depth, next), &slots)));
        for (slot, program) in slots.iter().zip(&chain) {
            slot.store(program.entry(), Ordering::Relaxed);
        }
        let mut insns = vec![
            store_imm(Size::DW, Reg::FP, -8, 5000),
            mov(Reg::R6, Reg::R1),
            mov_imm(Reg::R7, 70_000),
            local(4),
            load(Size::DW, Reg::R1, Reg::FP, -8),
            add(Reg::R0, Reg::R1),
            add(Reg::R0, Reg::R7),
            Insn::Exit,
        ];
        insns.extend(link(40, 0));
        let main = compile(with_slots(insns, &slots));
        for _ in 0..3 {
            assert_eq!(run(&main, &mut 0u64), 400 + 3 + 5000 + 70_000);
        }
    }
}

/// A global function of one argument.
fn global(range: std::ops::Range<usize>) -> ImageSubprog {
    let [start, end] = [range.start, range.end].map(|at| Pc(u32::try_from(at).unwrap()));
    ImageSubprog {
        name: format!("f{}", start.0),
        start,
        end,
        arity: 1,
        stack_depth: 0,
        tail_calls: true,
        is_callback: false,
        is_global: true,
        btf_id: 1,
    }
}

/// Adds up four numbers of the context, from that at `first`, and what its function returns, which
/// tail-calls `key`; 5 if that comes back.
fn waiting(key: i32, first: i16) -> Vec<Insn> {
    let places = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
    let mut insns: Vec<Insn> =
        (first..).zip(places).map(|(n, reg)| load(Size::DW, reg, Reg::R1, 8 * n)).collect();
    insns.push(local(5));
    insns.extend(places.map(|reg| add(Reg::R0, reg)));
    insns.extend([Insn::Exit, mov(Reg::R6, Reg::R1)]);
    insns.extend(tail_call(key));
    insns.extend([mov_imm(Reg::R0, 5), Insn::Exit]);
    insns
}

/// Programs that tail calls enter keep no registers; who waits for what they return has them all the
/// same.
#[test]
fn who_waits_for_a_tail_call_has_its_registers() {
    let plain = crate::Jit::new(crate::JitOptions { optimize: false, ..Default::default() });
    for jit in [super::jit(), &plain.unwrap()] {
        let slots = Slots::default();
        let compile = |insns| jit.compile(&super::vouch(with_slots(insns, &slots))).unwrap();
        let [last, main] = [(3, 4), (0, 0)].map(|(key, first)| compile(waiting(key, first)));
        let mut ctx = [1u64, 20, 300, 4000, 1001, 1020, 1300, 5000];
        assert_eq!(run(&main, &mut ctx), 4321 + 5);
        slots[0].store(last.entry(), Ordering::Relaxed);
        assert_eq!(run(&last, &mut ctx), 8321 + 5);
        assert_eq!(run(&main, &mut ctx), 4321 + 8321 + 5);
    }
}

/// What replaces a function and takes tail calls is called by code that keeps registers.
#[test]
fn who_calls_an_extension_that_takes_tail_calls_has_its_registers() {
    let slots = Slots::default();
    let jit = super::jit();
    let mut insns = waiting(3, 0);
    insns.truncate(10);
    insns.extend([mov_imm(Reg::R0, 7), Insn::Exit]);
    let mut parts = parts(insns);
    parts.subprogs = vec![global(0..10), global(10..12)];
    let main = compile(parts);
    let extension = Arc::new(compile(with_slots(waiting(3, 4), &slots)));
    let mut ctx = [1u64, 20, 300, 4000, 1001, 1020, 1300, 5000];
    assert_eq!(run(&main, &mut ctx), 4321 + 7);
    let thunk = jit.counting_afresh(&extension.callee()).unwrap();
    #[expect(unsafe_code, reason = "leads a slot to code that is called in the same way")]
    // SAFETY: [slot-target] both functions take the context, and the thunk outlives the run.
    let could = unsafe { main.slot(1).unwrap().jump(thunk.address()) };
    assert!(could);
    assert_eq!(run(&main, &mut ctx), 4321 + 8321 + 5);
}

/// Callers pass what its type says, and the run behind it.
#[test]
fn an_extension_that_tail_calls_takes_no_more_than_its_type_says() {
    let mut parts = with_slots(counting(1, 13), &Slots::default());
    parts.prog_type = ProgType::Ext;
    parts.subprogs = vec![global(0..parts.program.len())];
    assert_eq!(compile(parts).arity(0), Some(1));
}

#[test]
fn functions_share_the_count() {
    // Forty calls of a function that tail-calls a program returning 1, or returns 100.
    let slots = Slots::default();
    let target = compile(parts(vec![mov_imm(Reg::R0, 1), Insn::Exit]));
    slots[0].store(target.entry(), Ordering::Relaxed);
    let mut insns = vec![
        mov(Reg::R6, Reg::R1),
        mov_imm(Reg::R7, 40),
        mov_imm(Reg::R8, 0),
        mov(Reg::R1, Reg::R6),
        local(5),
        add(Reg::R8, Reg::R0),
        add_imm(Reg::R7, -1),
        jump_if(JumpOp::Ne, Reg::R7, 0, -5),
        mov(Reg::R0, Reg::R8),
        Insn::Exit,
        mov(Reg::R6, Reg::R1),
    ];
    insns.extend(tail_call(0));
    insns.extend([mov_imm(Reg::R0, 100), Insn::Exit]);
    let compiled = compile(with_slots(insns, &slots));
    let mut cx = RunCx::new(0);
    assert_eq!(run_in(&compiled, &mut cx, &mut 0u64), 33 + 7 * 100);
    assert_eq!(cx.tail_calls, 33);
}

#[test]
fn one_of_several_arrays_is_told_by_its_handle() {
    let (first, second) = (Slots::default(), Slots::default());
    let [one, two] = [1, 2].map(|r0| compile(parts(vec![mov_imm(Reg::R0, r0), Insn::Exit])));
    first[0].store(one.entry(), Ordering::Relaxed);
    second[0].store(two.entry(), Ordering::Relaxed);
    let insns = vec![
        load(Size::DW, Reg::R2, Reg::R1, 0),
        mov_imm(Reg::R3, 0),
        helper(12),
        mov_imm(Reg::R0, 9),
        Insn::Exit,
    ];
    let mut parts = with_slots(insns, &first);
    let other = with_slots(Vec::new(), &second).maps.remove(0);
    parts.maps.push(other);
    parts.maps[1].handle = 0xbeef_0000;
    let compiled = compile(parts);
    assert_eq!(run(&compiled, &mut 0xdead_0000u64), 1);
    assert_eq!(run(&compiled, &mut 0xbeef_0000u64), 2);
    assert_eq!(run(&compiled, &mut 5u64), 9);
}

/// What a program keeps in R6 to R9 and in its frame is not what the next one finds broken.
#[test]
fn callers_registers_survive_a_run() {
    let slots = Slots::default();
    let compiled = compile(with_slots(counting(1, 13), &slots));
    slots[1].store(compiled.entry(), Ordering::Relaxed);
    let mut sum = 0;
    for round in 0..100u64 {
        let mut runs = round;
        sum += run(&compiled, &mut runs) + runs - round;
    }
    assert_eq!(sum, 100 * (13 + 34));
}

#[test]
fn counted_code_counts() {
    let slots = Slots::default();
    let counters = Arc::new(bpf_abi::exec::ProgCounters::default());
    let image = super::vouch(with_slots(counting(1, 13), &slots));
    let compiled = super::jit().compile_counted(&image, counters.clone()).unwrap();
    slots[1].store(compiled.entry(), Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(run(&compiled, &mut 0u64), 13);
    }
    let counts = [&counters.runs, &counters.tail_calls, &counters.fallen_through];
    assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [68, 66, 2]);
}

/// The machine code of a program's only tail call, an instruction a line.
fn code_of_tail_call(parts: ImageParts) -> Vec<String> {
    let image = super::vouch(parts);
    let listing = super::jit().compile(&image).unwrap().listing(&image);
    let mut is_call = false;
    let mut code = Vec::new();
    for line in listing.lines() {
        match line.split_once(":   ") {
            Some((_, machine)) if is_call => code.push(machine.to_owned()),
            Some(_) => {}
            None => is_call = line.ends_with("call helper#12"),
        }
    }
    code
}

#[test]
fn a_known_slot_is_one_load_of_a_fixed_address() {
    let slots = Slots::default();
    let of = |code: &[String], what: &str| code.iter().filter(|insn| insn.contains(what)).count();

    // Nothing is compared but the count and what was loaded, both with zero.
    let mut parts = with_slots(counting(1, 13), &slots);
    parts.notes = notes(&parts, Note::default());
    parts.notes[8] = Note { map: Some(0), key: Some(3), ..Note::default() };
    let known = code_of_tail_call(parts);
    let tests = (of(&known, "test"), of(&known, "test %r15,%r15"), of(&known, "cmp"));
    assert_eq!(tests, (2, 1, 0), "{known:#?}");
    assert_eq!((of(&known, "movabs"), of(&known, "(%")), (1, 1), "{known:#?}");
    assert!(of(&known, "shl") + of(&known, "lea ") == 0, "{known:#?}");

    // Where the index is not known, it is compared too.
    let mut insns = vec![mov(Reg::R6, Reg::R1), load(Size::DW, Reg::R3, Reg::R6, 0)];
    insns.extend(load_map(Reg::R2, 0));
    insns.extend([helper(12), mov_imm(Reg::R0, 1), Insn::Exit]);
    let unknown = code_of_tail_call(with_slots(insns, &slots));
    assert_eq!((of(&unknown, "cmp"), of(&unknown, "test")), (1, 2), "{unknown:#?}");
}
