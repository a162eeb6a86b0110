//! Verified programs: helpers, maps, tail calls, callbacks.
//!
//! The programs here are vouched for by hand.

#![expect(unsafe_code, reason = "vouches for programs and enters them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Checked, Interp, Limits, Permission, Plain, PrepareErrorKind, Step};
use bpf_abi::exec::{HelperFn, ProgCounters, RunCx};
use bpf_abi::helper::{
    HelperFlags, HelperProto, LOAD_PACKET, LOAD_PACKET_FAILED, RetKind, RetProto, TypeFlags,
};
use bpf_abi::image::{BoundHelper, BoundMap, Facts, Image, ImageParts, ImageSubprog, Note};
use bpf_abi::map::{MapLayout, MapType};
use bpf_abi::prog::ProgType;
use bpf_isa::asm::assemble;
use bpf_isa::{Insn, Pc, Program, Slot, decode};

/// A program, vouched for, with what its tests need.
struct Maker {
    parts: ImageParts,
}

impl Maker {
    fn new(text: &str) -> Self {
        Self::of(assemble(text).unwrap())
    }

    fn of(program: Program) -> Self {
        let starts = program.functions();
        let ends =
            starts.iter().skip(1).copied().chain([Pc(u32::try_from(program.len()).unwrap())]);
        let subprogs = starts.iter().copied().zip(ends).map(|(start, end)| subprog(start, end));
        let parts = ImageParts {
            name: "test".into(),
            prog_type: ProgType::Xdp,
            subprogs: subprogs.collect(),
            maps: Vec::new(),
            helpers: Vec::new(),
            notes: vec![Note::default(); program.len()],
            exception_callback: None,
            lines: Vec::new(),
            program,
        };
        Self { parts }
    }

    fn helper(mut self, id: u32, entry: HelperFn) -> Self {
        self.parts.helpers.push(BoundHelper { proto: proto(id), entry, inline: None });
        self.parts.helpers.sort_by_key(|helper| helper.proto.id);
        self
    }

    fn map(mut self, map_type: MapType, layout: MapLayout, value: Option<u64>) -> Self {
        self.parts.maps.push(BoundMap {
            name: "m".into(),
            map_type,
            handle: 0xabcd,
            layout,
            value,
            key_size: 4,
            value_size: 8,
            keep: Arc::new(()),
        });
        self
    }

    fn image(self) -> Arc<Image> {
        // SAFETY: [verified-memory] these programs touch their stack and what a test hands them.
        Arc::new(unsafe { Image::vouch(self.parts) })
    }

    fn interp(self) -> Arc<Interp> {
        Interp::new(self.image()).unwrap()
    }
}

fn subprog(start: Pc, end: Pc) -> ImageSubprog {
    ImageSubprog {
        name: String::new(),
        start,
        end,
        arity: 5,
        stack_depth: 64,
        tail_calls: true,
        is_callback: false,
        is_global: false,
        btf_id: 0,
    }
}

/// A contract with this number; nobody looks at the rest of it here.
fn proto(id: u32) -> &'static HelperProto {
    let ret = RetProto { kind: RetKind::Integer, flags: TypeFlags::empty(), btf: None };
    let (name, flags) = ("test", HelperFlags::empty());
    Box::leak(Box::new(HelperProto { id, name, flags, ret, args: &[] }))
}

fn run(interp: &Interp, ctx: u64) -> (u64, RunCx) {
    let mut cx = RunCx::new(3);
    // SAFETY: [run-context] these programs take any number as their context.
    let result = unsafe { interp.run(&mut cx, ctx) }.unwrap();
    (result, cx)
}

unsafe extern "C" fn sum(cx: *mut RunCx, a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    // SAFETY: [helper-args] called by the interpreter with its run.
    u64::from(unsafe { (*cx).cpu }) + a + b + c + d + e
}

#[test]
fn helpers_get_the_run_and_five_arguments() {
    let interp = Maker::new("r1 = 1\nr2 = 20\nr3 = 300\nr4 = 4000\nr5 = 50000\ncall 7\nexit")
        .helper(9, sum)
        .helper(7, sum)
        .interp();
    assert_eq!(run(&interp, 0).0, 54324);
}

#[test]
fn a_map_is_its_handle_and_a_value_its_address() {
    let value = AtomicU64::new(40);
    let address = std::ptr::from_ref(&value).expose_provenance() as u64;
    let text = "r1 = map[fd:0][0]+0 ll\nlock *(u64 *)(r1 + 0) += r2\nr0 = map[fd:0] ll\nexit";
    let interp = Maker::new(&text.replace("r2", "r10").replace("+= r10", "+= r1"))
        .map(MapType::Array, MapLayout::Opaque, Some(address))
        .interp();
    assert_eq!(run(&interp, 0).0, 0xabcd);
    assert_eq!(value.load(Ordering::Relaxed), 40_u64.wrapping_add(address));
}

#[test]
fn what_the_image_does_not_bind_is_refused() {
    let refused = |text: &str| {
        let error = Interp::new(Maker::new(text).image()).unwrap_err();
        (error.at, error.kind)
    };
    assert_eq!(refused("r1 = map[fd:0] ll\nexit"), (Pc(0), PrepareErrorKind::NoMap));
    assert_eq!(refused("r0 = 0\ncall 1\nexit"), (Pc(1), PrepareErrorKind::NoHelper(1)));
    assert_eq!(refused("call kfunc#5\nexit"), (Pc(0), PrepareErrorKind::Unsupported));
    assert_eq!(refused("r0 = *(u8 *)skb[0]\nexit"), (Pc(0), PrepareErrorKind::Unsupported));
}

/// A program array with these slots.
struct Slots(Box<[AtomicU64]>);

impl Slots {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    fn layout(&self) -> MapLayout {
        let interp = self.0.as_ptr().expose_provenance() as u64;
        let max_entries = u32::try_from(self.0.len()).unwrap();
        MapLayout::ProgArray { native: 0, interp, max_entries }
    }

    fn maker(&self, text: &str) -> Maker {
        Maker::new(text).map(MapType::ProgArray, self.layout(), None)
    }
}

/// A tail call to slot `index`, then `r0 += 1000` if it falls through.
fn tail_call_to(index: &str) -> String {
    format!("r2 = map[fd:0] ll\nr3 = {index}\ncall 12\nr0 = 1000\nexit")
}

#[test]
fn empty_slots_and_slots_that_are_not_there_fall_through() {
    let slots = Slots::new(2);
    let target = slots.maker("r0 = 7\nexit").interp();
    slots.0[1].store(target.entry(), Ordering::Release);
    for (index, result, taken) in
        [("0", 1000, 0), ("1", 7, 1), ("2", 1000, 0), ("-1", 1000, 0), ("0x100000001 ll", 7, 1)]
    {
        let (found, cx) = run(&slots.maker(&tail_call_to(index)).interp(), 0);
        assert_eq!((found, cx.tail_calls), (result, taken), "slot {index}");
    }
}

#[test]
fn runs_and_tail_calls_are_counted_where_somebody_asks() {
    let slots = Slots::new(2);
    let [target_counts, caller_counts] = [(); 2].map(|()| Arc::new(ProgCounters::default()));
    let target = slots.maker("r0 = 7\nexit").image();
    let target = Interp::counted(target, Arc::clone(&target_counts)).unwrap();
    slots.0[1].store(target.entry(), Ordering::Release);
    let caller = slots.maker(&tail_call_to("r1")).image();
    let caller = Interp::counted(caller, Arc::clone(&caller_counts)).unwrap();
    for slot in [0, 1, 1, 1, 2] {
        run(&caller, slot);
    }
    let counts = |counts: &ProgCounters| {
        [&counts.runs, &counts.tail_calls, &counts.fallen_through]
            .map(|count| count.load(Ordering::Relaxed))
    };
    assert_eq!(counts(&caller_counts), [5, 3, 2]);
    assert_eq!(counts(&target_counts), [3, 0, 0]);
}

#[test]
fn thirty_three_tail_calls_are_taken_and_no_more() {
    // Every round adds one to the context; the last one falls through and returns it.
    let text = "
        r4 = *(u64 *)(r1 + 0)
        r4 += 1
        *(u64 *)(r1 + 0) = r4
        r2 = map[fd:0] ll
        r3 = 0
        call 12
        r0 = r4
        exit
    ";
    let slots = Slots::new(1);
    let rounds = AtomicU64::new(0);
    let ctx = std::ptr::from_ref(&rounds).expose_provenance() as u64;
    let interp = slots.maker(text).interp();
    slots.0[0].store(interp.entry(), Ordering::Release);
    for _ in 0..2 {
        rounds.store(0, Ordering::Relaxed);
        let (result, cx) = run(&interp, ctx);
        assert_eq!((result, cx.tail_calls), (34, 33));
    }
}

#[test]
fn functions_share_the_count_of_tail_calls() {
    // Each call of `f` takes tail calls until there are none left; the second gets none.
    let text = "
        r6 = r1
        call f
        r7 = r0
        r1 = r6
        call f
        r0 += r7
        exit
    f:  r2 = map[fd:0] ll
        r3 = 0
        call 12
        r0 = 1000000
        exit
    ";
    let slots = Slots::new(1);
    let again = "
        r4 = *(u64 *)(r1 + 0)
        r4 += 1
        *(u64 *)(r1 + 0) = r4
        r2 = map[fd:0] ll
        r3 = 0
        call 12
        r0 = r4
        exit
    ";
    let rounds = AtomicU64::new(0);
    let ctx = std::ptr::from_ref(&rounds).expose_provenance() as u64;
    let again = slots.maker(again).interp();
    slots.0[0].store(again.entry(), Ordering::Release);
    let (result, cx) = run(&slots.maker(text).interp(), ctx);
    assert_eq!((result, cx.tail_calls), (1_000_033, 33));
}

#[test]
fn a_tail_call_in_a_function_returns_to_its_caller() {
    let slots = Slots::new(1);
    let target = slots.maker("r6 = 9\nr0 = 7\n*(u64 *)(r10 - 8) = 1\nexit").interp();
    slots.0[0].store(target.entry(), Ordering::Release);
    let text = "
        r6 = 100
        *(u64 *)(r10 - 8) = 5000
        call f
        r0 += r6
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
    f:  r2 = map[fd:0] ll
        r3 = 0
        call 12
        r0 = 1
        exit
    ";
    assert_eq!(run(&slots.maker(text).interp(), 0).0, 5107);
}

#[test]
fn deep_chains_of_functions_and_tail_calls_do_not_run_out_of_stack() {
    // Seven functions deep, then a tail call from the last of them, until the count is used up.
    let text = "
        r6 = 7
        call f
        r0 += 1
        exit
    f:  r6 = r1
        r2 = map[fd:0] ll
        r3 = 0
        call 12
        r0 = 0
        exit
    ";
    let slots = Slots::new(1);
    let mut maker = slots.maker(text);
    for subprog in &mut maker.parts.subprogs {
        subprog.stack_depth = 248;
    }
    let interp = maker.interp();
    slots.0[0].store(interp.entry(), Ordering::Release);
    assert_eq!(run(&interp, 0).0, 34);
}

#[test]
fn a_function_begins_with_a_stack_of_zeros() {
    let text = "
        call fill
        call read
        exit
    fill:
        *(u64 *)(r10 - 64) = 77
        exit
    read:
        r0 = *(u64 *)(r10 - 64)
        exit
    ";
    assert_eq!(run(&Maker::new(text).interp(), 0).0, 0);
}

unsafe extern "C" fn apply(cx: *mut RunCx, times: u64, f: u64, arg: u64, _: u64, _: u64) -> u64 {
    // SAFETY: [helper-args] called by the interpreter with its run.
    let callback = unsafe { (*cx).callback }.unwrap();
    // SAFETY: [callback-target] `f` is the program's argument.
    (0..times).map(|i| unsafe { callback(cx, f, i, arg, 0, 0, 0) }).sum()
}

#[test]
fn a_helper_calls_a_function_of_the_program_back() {
    let text = "
        *(u64 *)(r10 - 8) = 3
        r1 = 5
        r2 = add ll
        r3 = r10
        r3 += -8
        call 181
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
    add:
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 100
        exit
    ";
    assert_eq!(run(&Maker::new(text).helper(181, apply).interp(), 0).0, 500 + 3 + 10);
}

unsafe extern "C" fn byte_of_ctx(
    _: *mut RunCx,
    ctx: u64,
    at: u64,
    size: u64,
    _: u64,
    _: u64,
) -> u64 {
    let at = at.cast_signed();
    if (0..4).contains(&at) {
        ctx * 1000 + at.cast_unsigned() * 10 + size
    } else {
        LOAD_PACKET_FAILED
    }
}

#[test]
fn a_load_outside_of_the_packet_ends_the_function_with_zero() {
    let maker = |load: &str| {
        let text = format!("r6 = 5\nr7 = -3\nr0 = 9\n{load}\nr0 += 1\nexit");
        Maker::new(&text).helper(LOAD_PACKET, byte_of_ctx).interp()
    };
    assert_eq!(run(&maker("r0 = *(u16 *)skb[3]"), 0).0, 5033);
    assert_eq!(run(&maker("r0 = *(u8 *)skb[r7 + 4]"), 0).0, 5012);
    assert_eq!(run(&maker("r0 = *(u32 *)skb[4]"), 0).0, 0);
    assert_eq!(run(&maker("r0 = *(u32 *)skb[r7 + 2]"), 0).0, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_load_from_an_address_that_is_gone_yields_zero() {
    let word = 0x8877_6655_4433_2211_u64;
    let address = std::ptr::from_ref(&word).expose_provenance() as u64;
    for (load, at, expected) in [
        ("r0 = *(u64 *)(r1 + 0)", address, word),
        ("r0 = *(u16 *)(r1 + 1)", address, 0x3322),
        ("r0 = *(s8 *)(r1 + 7)", address, 0xffff_ffff_ffff_ff88),
        ("r0 = *(u64 *)(r1 + 0)", 8, 0),
        ("r0 = *(u64 *)(r1 + 0)", 0xffff_ffff_8000_0000, 0),
    ] {
        let mut maker = Maker::new(&format!("{load}\nexit"));
        maker.parts.notes[0].facts = Facts::MAY_FAULT;
        assert_eq!(run(&maker.interp(), at).0, expected, "{load} at {at:#x}");
    }
}

#[test]
fn in_checked_memory_a_verified_program_faults_where_it_was_not_to_go() {
    let text = "r0 = *(u64 *)(r1 + 0)\nif r0 == 3 goto +1\nexit\nr0 = *(u64 *)(r1 + 8)\nexit";
    let interp = Maker::new(text).interp();
    let mut memory = Checked::default();
    let mut cx = RunCx::new(0);
    let mut checked = |word: u64| {
        let ctx = memory.add(&word.to_le_bytes(), Permission::Read);
        let mut steps = 0;
        let mut witness = |_: Step<'_>| steps += 1;
        // SAFETY: [run-context] the program calls no helper, and its memory is checked.
        let result = unsafe { interp.run_checked(&mut cx, ctx, &mut memory, &mut witness) };
        (result.map_err(|fault| fault.pc), steps)
    };
    assert_eq!(checked(2), (Ok(2), 3));
    assert_eq!(checked(3), (Err(Pc(3)), 3));
}

#[test]
fn many_threads_run_one_program_on_one_value() {
    let total = AtomicU64::new(0);
    let ctx = std::ptr::from_ref(&total).expose_provenance() as u64;
    let text = "r0 = 0\nr2 = 1\nagain: lock *(u64 *)(r1 + 0) += r2\nr0 += 1\nif r0 < 1000 goto again\nexit";
    let interp = Maker::new(text).interp();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(run(&interp, ctx).0, 1000));
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 4000);
}

/// What a program makes of R0 to R5, in checked memory where each instruction is a step of its own.
fn plainly(program: &Program, ctx: u64) -> u64 {
    let limits = Limits::new(10_000);
    Plain::new(program).run(&mut Checked::default(), [ctx, 0, 0, 0, 0], limits).unwrap()
}

#[test]
fn moves_joined_with_what_follows_change_nothing() {
    let operators = ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "=", "s>>="];
    let values = ["0x123456789abcdef0 ll", "-1", "0x80000000 ll", "3", "0x8000000000000000 ll"];
    for operator in operators {
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (a, b))) {
            for (first, second) in [("r", "r"), ("r", "w"), ("w", "w"), ("w", "r")] {
                for right in ["1", "2", "3"]
                    .map(|reg| format!("{second}{reg}"))
                    .into_iter()
                    .chain(["-7".into()])
                {
                    let text = format!(
                        "r1 = {a}\nr2 = {b}\nr3 = 77\n{first}3 = {first}2\n{second}3 {operator} {right}\n\
                         r0 = r3\nexit"
                    );
                    let maker = Maker::new(&text);
                    let expected = plainly(&maker.parts.program, 0);
                    assert_eq!(run(&maker.interp(), 0).0, expected, "{text}");
                }
            }
        }
    }
}

#[test]
fn a_jump_finds_the_second_of_two_joined_instructions() {
    let text = "r0 = 5\nif r1 == 0 goto second\nr0 = r1\nsecond: r0 += 3\nexit";
    let interp = Maker::new(text).interp();
    assert_eq!(run(&interp, 0).0, 8);
    assert_eq!(run(&interp, 40).0, 43);
}

/// A `switch` as compilers lay it out: a tree of comparisons over rows of them, and every case goes
/// on by a jump to a jump.
#[test]
fn a_switch_finds_its_case_by_every_kind_of_comparison() {
    for (above, width) in ["s>", ">"].iter().flat_map(|above| ["r", "w"].map(|w| (above, w))) {
        let text = format!(
            "r0 = 0\n\
             if {width}1 {above} 6 goto upper\nif {width}1 {above} 3 goto middle\n\
             if {width}1 == 1 goto one\nif {width}1 == 2 goto two\nif {width}1 == 3 goto three\n\
             r0 += 100\ngoto out\n\
             middle: if {width}1 {above} 4 goto five\nr0 += 4\ngoto on\n\
             one: r0 += 1\ngoto on\ntwo: r0 = r1\nr0 <<= 3\ngoto on\nthree: r0 -= 3\ngoto on\n\
             five: if {width}1 {above} 5 goto six\nr0 ^= 5\ngoto on\nsix: r0 |= 6\ngoto on\n\
             upper: if {width}1 {above} 8 goto out\nr0 += 7\n\
             on: goto out\nout: exit"
        );
        let maker = Maker::new(&text);
        let program = maker.parts.program.clone();
        let interp = maker.interp();
        let results: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, u64::MAX, 1 << 31, 1 << 32]
            .into_iter()
            .map(|ctx| {
                let result = run(&interp, ctx).0;
                assert_eq!(result, plainly(&program, ctx), "{ctx:#x}: {text}");
                result
            })
            .collect();
        let three = 3_u64.wrapping_neg();
        assert_eq!(results[..10], [100, 1, 16, three, 4, 5, 6, 7, 7, 0], "{text}");
    }
}

#[test]
fn a_ring_of_jumps_that_nobody_enters_does_no_harm() {
    let text = "r0 = 3\nif r1 == 1 goto ring\nif r1 == 2 goto ring\nexit\nring: goto there\nthere: goto ring";
    assert_eq!(run(&Maker::new(text).interp(), 0).0, 3);
}

proptest::proptest! {
    /// Straight code with short forward jumps: both ways of running it agree.
    #[test]
    fn joined_and_plain_code_compute_the_same(
        raw in proptest::collection::vec(
            (0_u8..=255, 0_u8..4, 0_u8..4, 0_i16..3, proptest::prelude::any::<i32>()),
            1..60,
        ),
        ctx: u64,
    ) {
        let is_register_work = |insn: &Insn| matches!(
            insn,
            Insn::Alu { .. } | Insn::AluSigned { .. } | Insn::Neg { .. } | Insn::MovSx { .. }
                | Insn::Endian { .. } | Insn::JumpIf { .. } | Insn::Jump { off: 0..3, .. }
        );
        let mut insns: Vec<Insn> = raw
            .into_iter()
            .flat_map(|(opcode, dst, src, off, imm)| {
                // With the fields as they are, or without those that the opcode does not use.
                let slot = Slot { opcode, dst, src, off, imm };
                let by_register = Slot { off: slot.off & 1, imm: 0, ..slot };
                let by_immediate = Slot { off: 0, src: 0, ..slot };
                [slot, by_register, Slot { off: 0, ..by_register }, by_immediate]
                    .into_iter()
                    .find_map(|slot| decode(slot, None, Pc(0)).ok())
            })
            .filter(is_register_work)
            .collect();
        insns.extend(std::iter::repeat_n(Insn::Exit, 4));
        let program = Program::new(insns);
        let plain = plainly(&program, ctx);
        proptest::prop_assert_eq!(run(&Maker::of(program).interp(), ctx).0, plain);
    }
}

#[test]
fn an_empty_image_is_refused_when_it_runs_not_before() {
    let mut maker = Maker::new("exit");
    maker.parts.program = Program::default();
    maker.parts.subprogs.clear();
    let interp = maker.interp();
    let mut cx = RunCx::new(0);
    // SAFETY: [run-context] there is no instruction.
    let fault = unsafe { interp.run(&mut cx, 0) }.unwrap_err();
    assert_eq!(fault.to_string(), "insn 0: ran past the end of the program");
}

#[test]
fn programs_return_what_the_kernel_returned() {
    let recorded = include_str!("../testdata/linux-6.18-results.txt");
    let mut count = 0;
    for line in recorded.lines().filter(|line| !line.starts_with('#')) {
        let (hex, result) = line.split_once(" | ").unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let program = Program::decode(&bytes).unwrap();
        let expected: u64 = result.parse().unwrap();
        assert_eq!(plainly(&program, 0) & 0xffff_ffff, expected, "{program:?}");
        let maker = Maker::of(program);
        assert_eq!(run(&maker.interp(), 0).0 & 0xffff_ffff, expected, "{hex}");
        count += 1;
    }
    assert!(count > 1000, "{count}");
}
