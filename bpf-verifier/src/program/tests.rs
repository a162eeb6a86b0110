//! Passes before the walk, by their words. What is expected was said by a running kernel.

use bpf_abi::map::MapType;
use bpf_abi::prog::ProgType;
use bpf_isa::{Pc, Slot};

use super::*;
use crate::env::Env;
use crate::state::{FrameNo, State, SubprogId};
use crate::testing::{World, everything, map, program, slots};

/// What the passes say of a program: the log, then why it is refused.
fn log_of(spec: &bpf_abi::spec::ProgramSpec, world: &World) -> String {
    let options = everything();
    let mut env = Env::new(spec, world, &options);
    match before_attach(&mut env) {
        Ok(()) => {
            before_walk(&mut env);
            env.log.text().to_owned()
        }
        Err(reason) => format!("{}{reason} [{}]", env.log.text(), reason.errno()),
    }
}

fn last_line(text: &str) -> String {
    let spec = program(ProgType::SocketFilter, text);
    log_of(&spec, &World::default()).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn functions_loops_and_live_registers_are_shown_in_a_table() {
    let spec = program(
        ProgType::SocketFilter,
        r"
            r6 = 0
            r7 = r1
        outer:
            r8 = 0
        inner:
            r8 += 1
            if r8 < 4 goto inner
            r6 += 1
            if r6 < 4 goto outer
            r1 = 0x1234 ll
            call twice
            r0 += r7
            exit
        twice:
            r0 = r1
            r0 += r1
            exit
        ",
    );
    insta::assert_snapshot!("table", log_of(&spec, &World::default()));
}

#[test]
fn control_stays_in_functions() {
    for (text, last) in [
        ("goto +1\nexit", "jump out of range from insn 0 to 2 [EINVAL]"),
        ("r0 = 0\ngoto -3\nexit", "jump out of range from insn 1 to -1 [EINVAL]"),
        ("r0 = 0", "last insn is not an exit or jmp [EINVAL]"),
        ("call f\nexit\nr1 = 1\nf: r0 = 0\nexit", "last insn is not an exit or jmp [EINVAL]"),
        ("exit\nr0 = 0\nexit", "unreachable insn 1 [EINVAL]"),
        ("call pc-3\nexit", "call to invalid destination [EINVAL]"),
        (
            "r0 = 0\nif r0 == 0 goto +1\nr1 = 1 ll\nexit",
            "jump into the middle of ldimm64 insn 2 [EINVAL]",
        ),
        (
            "call f\nexit\nf: r3 = 0\ncall 12\nr0 = 0\nexit",
            "tail_call is not allowed in subprogs without BTF [EINVAL]",
        ),
        (
            "call f\nexit\nf: r0 = *(u8 *)skb[0]\nexit",
            "LD_ABS is not allowed in subprogs without BTF [EINVAL]",
        ),
    ] {
        assert_eq!(last_line(text), last, "{text}");
    }
}

#[test]
fn slots_that_are_no_instructions_are_refused_before_the_walk_or_in_it() {
    let exit = Slot { opcode: 0x95, ..Slot::default() };
    let unknown = Slot { opcode: 0xff, ..Slot::default() };
    let reserved = Slot { opcode: 0xb7, off: 1, ..Slot::default() };
    let world = World::default();
    let log = log_of(&slots(ProgType::SocketFilter, &[unknown, exit]), &world);
    assert_eq!(log.lines().last(), Some("unknown opcode ff [EINVAL]"));

    let spec = slots(ProgType::SocketFilter, &[reserved, exit]);
    let options = everything();
    let mut env = Env::new(&spec, &world, &options);
    before_attach(&mut env).unwrap();
    let state = State::new(SubprogId::MAIN);
    let reason = check_walking(&env, &state, Pc(0)).unwrap_err();
    assert_eq!(reason.to_string(), "BPF_MOV uses reserved fields");
    assert_eq!(check_walking(&env, &state, Pc(1)), Ok(()));
}

#[test]
fn maps_are_asked_of_the_host_and_only_single_values_have_addresses() {
    let world =
        World { maps: vec![map(0, "one", MapType::Array, 1), map(1, "two", MapType::Array, 2)] };
    let load = |src, map, off| {
        let first = Slot { opcode: 0x18, dst: 1, src, imm: map, ..Slot::default() };
        let exit = Slot { opcode: 0x95, ..Slot::default() };
        let spec =
            slots(ProgType::SocketFilter, &[first, Slot { imm: off, ..Slot::default() }, exit]);
        log_of(&spec, &world).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(load(1, 1, 0), "      2: 0......... (95) exit");
    assert_eq!(load(2, 0, 3), "      2: 0......... (95) exit");
    assert_eq!(load(1, 7, 0), "fd 7 is not pointing to valid bpf_map [EBADF]");
    assert_eq!(load(2, 0, 4), "invalid access to map value pointer, value_size=4 off=4 [EINVAL]");
    assert_eq!(load(2, 1, 0), "invalid access to map value pointer, value_size=4 off=0 [ENOTSUPP]");
    assert_eq!(load(5, 0, 0), "fd_idx without fd_array is invalid [EPROTO]");
    assert_eq!(load(1, 0, 1), "unrecognized bpf_ld_imm64 insn [EINVAL]");
}

#[test]
fn spills_around_a_call_that_clobbers_little_are_found_from_the_inside_out() {
    let spec = program(
        ProgType::Xdp,
        r"
            *(u64 *)(r10 - 8) = r2
            *(u64 *)(r10 - 16) = r1
            call 8
            r1 = *(u64 *)(r10 - 16)
            r2 = *(u64 *)(r10 - 8)
            exit
        ",
    );
    let (world, options) = (World::default(), everything());
    let mut env = Env::new(&spec, &world, &options);
    before_attach(&mut env).unwrap();
    before_walk(&mut env);
    let marked: Vec<bool> = env.notes.iter().map(|note| note.fastcall_pattern).collect();
    assert_eq!(marked, [true, true, false, true, true, false]);
    assert_eq!(env.note(Pc(2)).fastcall_spills, 2);
    assert_eq!(env.subprogs[0].fastcall_stack_off, 0);
}

/// The depth check of functions with these stacks, each called by the one before.
fn depth_check(prog_type: ProgType, stacks: &[u32]) -> String {
    let calls: String =
        (1..stacks.len()).map(|callee| format!("call f{callee}\nexit\nf{callee}:\n")).collect();
    let spec = program(prog_type, &format!("{calls}r0 = 0\nexit"));
    let (world, options) = (World::default(), everything());
    let mut env = Env::new(&spec, &world, &options);
    before_attach(&mut env).unwrap();
    for (subprog, stack) in env.subprogs.iter_mut().zip(stacks) {
        subprog.stack_depth = *stack;
    }
    match check_stack_depth(&mut env) {
        Ok(()) => "ok".to_owned(),
        Err(reason) => format!("{reason} [{}]", reason.errno()),
    }
}

#[test]
fn a_chain_of_calls_has_one_stack_unless_each_may_have_its_own() {
    assert_eq!(depth_check(ProgType::Xdp, &[256, 256]), "ok");
    assert_eq!(
        depth_check(ProgType::Xdp, &[256, 256, 8]),
        "combined stack size of 3 calls is 528. Too large [EACCES]"
    );
    assert_eq!(depth_check(ProgType::Kprobe, &[256, 256, 192]), "ok");
    assert_eq!(depth_check(ProgType::Xdp, &[8; 8]), "ok");
    assert_eq!(
        depth_check(ProgType::Xdp, &[8; 9]),
        "the call stack of 8 frames is too deep ! [E2BIG]"
    );
}

#[test]
fn what_is_read_later_is_live_and_what_is_written_before_is_not() {
    let spec = program(
        ProgType::SocketFilter,
        r"
            r6 = *(u32 *)(r1 + 0)
            r7 = -1
            if r6 > 5 goto +1
            r7 = -2
            r8 = r10
            r8 += -8
            *(u64 *)(r10 - 8) = 0
            *(u64 *)(r10 - 16) = 0
            r8 += r7
            r0 = *(u8 *)(r8 + 0)
            exit
        ",
    );
    let (world, options) = (World::default(), everything());
    let mut env = Env::new(&spec, &world, &options);
    before_attach(&mut env).unwrap();
    before_walk(&mut env);
    let mark = env.log.text().len();
    let state = State::new(SubprogId::MAIN);
    let slot = |number: u8| 1_u64 << number;
    for pc in (0..10).map(Pc) {
        env.begin_stack_writes(&state, pc);
        match pc.0 {
            6 => env.mark_stack_written(FrameNo(0), slot(0)),
            7 => env.mark_stack_written(FrameNo(0), slot(1)),
            9 => env.mark_stack_read(&state, pc, FrameNo(0), slot(1)),
            _ => {}
        }
        env.end_stack_writes();
    }
    env.update_live_stack(&state);
    let expected = [
        "(0) frame 0 insn 9 +live -16 ",
        "(0) frame 0 insn 7 +written -16 ",
        "(0) frame 0 insn 6 +written -8,-16 ",
        "(0) frame 0 insn 4 +written -8,-16 ",
        "(0) frame 0 insn 2 +written -8,-16 ",
        "(0) frame 0 insn 0 +written -8,-16 ",
        "(0) live stack update done in 2 iterations",
    ];
    assert_eq!(env.log.text()[mark..].lines().collect::<Vec<_>>(), expected);

    let mut live_before = |pc| {
        let query = env.query_live_stack(&state, Pc(pc));
        env.live_slots(&query, FrameNo(0))
    };
    assert_eq!([live_before(9), live_before(8), live_before(7)], [slot(1), slot(1), 0]);
}

#[test]
fn what_a_function_does_to_its_callers_stack_its_call_does() {
    let spec = program(
        ProgType::SocketFilter,
        r"
            r1 = r10
            call f
            r0 = *(u64 *)(r10 - 16)
            exit
        f:  r0 = *(u64 *)(r1 - 8)
            *(u64 *)(r1 - 16) = r0
            exit
        ",
    );
    let (world, options) = (World::default(), everything());
    let mut env = Env::new(&spec, &world, &options);
    before_attach(&mut env).unwrap();
    before_walk(&mut env);
    let mut state = State::new(SubprogId::MAIN);
    state.push_frame(Pc(1), SubprogId(1));
    for pc in [Pc(4), Pc(5)] {
        env.begin_stack_writes(&state, pc);
        match pc.0 {
            4 => env.mark_stack_read(&state, pc, FrameNo(0), 1),
            _ => env.mark_stack_written(FrameNo(0), 2),
        }
        env.end_stack_writes();
    }
    env.update_live_stack(&state);
    state.pop_frame();
    env.stack_chain_changed();
    env.begin_stack_writes(&state, Pc(2));
    env.mark_stack_read(&state, Pc(2), FrameNo(0), 2);
    env.end_stack_writes();
    env.update_live_stack(&state);
    let mut live_before = |pc| {
        let query = env.query_live_stack(&state, Pc(pc));
        env.live_slots(&query, FrameNo(0))
    };
    // The call reads fp-8 and overwrites fp-16, which is read after it.
    assert_eq!([live_before(0), live_before(1), live_before(2)], [1, 1, 2]);
}
