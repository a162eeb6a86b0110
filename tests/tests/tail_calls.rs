//! Tail calls: how many there may be, what they jump through, and what may be jumped to; on both
//! engines and in the kernel.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInit, MapInitValue, MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::ObjectSpec;
use bpf_oracle::kernel;
use bpf_runtime::{LoadError, Object, Runtime, TestRun};
use bpf_tests::kernel::{KernelObject, may_ask};
use bpf_tests::places::{Places, engines};
use bpf_tests::text;

const PACKET: [u8; 64] = [0; 64];

/// Counts in `count` how often it comes here.
const COUNT: &str = "
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r1 = map[count] ll
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto none
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    none: r1 = r6
";

/// Tail-calls the slot that the packet's first eight bytes name.
const BY_PACKET: &str = "
    r2 = *(u32 *)(r1 +4)
    r3 = *(u32 *)(r1 +0)
    r4 = r3
    r4 += 8
    if r4 > r2 goto short
    r3 = *(u64 *)(r3 +0)
    r2 = map[jumps] ll
    call bpf_tail_call
    short: r0 = 7
    exit
";

/// Tail-calls slot 0, which is known when the program is loaded.
const FIRST: &str = "
    r2 = map[jumps] ll
    r3 = 0
    call bpf_tail_call
    r0 = 7
    exit
";

fn answer(number: u32) -> String {
    format!("r0 = {number}\nexit")
}

fn jumps(entries: u32, slots: &[(u32, &str)]) -> MapSpec {
    let mut map = MapSpec::new("jumps", MapType::ProgArray, 4, 4, entries);
    map.init = slots
        .iter()
        .map(|(index, program)| MapInit {
            key: index.to_le_bytes().to_vec(),
            value: MapInitValue::Program((*program).to_owned()),
        })
        .collect();
    map
}

fn count() -> MapSpec {
    MapSpec::new("count", MapType::Array, 4, 8, 1)
}

fn object(maps: Vec<MapSpec>, programs: &[(&str, &str)]) -> ObjectSpec {
    let mut object = text::object(ProgType::Xdp, maps, programs).unwrap();
    text::add_types(&mut object).unwrap();
    object
}

fn everywhere(spec: &ObjectSpec) -> Places {
    Places::load(spec).unwrap_or_else(|error| panic!("{error}"))
}

fn counted(places: &Places) -> u64 {
    let contents = places.contents("count").unwrap();
    u64::from_le_bytes(contents[0].1.as_slice().try_into().unwrap())
}

#[test]
fn a_program_that_calls_itself_runs_34_times() {
    for index in ["r3 = 0", "r3 = *(u32 *)(r1 +12)"] {
        // Known when it is loaded, and not: the interface's queue, which is 0.
        let index = index.replace("+12", "+16");
        let text = format!(
            "{COUNT}
             {index}
             r2 = map[jumps] ll
             call bpf_tail_call
             r0 = 13
             exit"
        );
        let maps = vec![count(), jumps(2, &[(0, "again")])];
        let places = everywhere(&object(maps, &[("again", &text)]));
        for runs in 1..=3 {
            assert_eq!(places.run("again", &PACKET).unwrap().r0, 13);
            assert_eq!(counted(&places), 34 * runs, "each entry has a count of its own");
        }
    }
}

#[test]
fn the_count_is_shared_with_functions() {
    // The tail call of a function ends that function alone; both calls draw on one count.
    let text = format!(
        "{COUNT}
         call jump
         r1 = r6
         call jump
         r0 = 5
         exit
         jump:
         r2 = map[jumps] ll
         r3 = 0
         call bpf_tail_call
         r0 = 6
         exit"
    );
    let maps = vec![count(), jumps(1, &[(0, "main")])];
    let places = everywhere(&object(maps, &[("main", &text)]));
    assert_eq!(places.run("main", &PACKET).unwrap().r0, 5);
    assert_eq!(counted(&places), 34);
}

#[test]
fn a_tail_call_in_a_function_returns_to_the_functions_caller() {
    let main = "
        call jump
        r0 += 1
        exit
        jump:
        r2 = map[jumps] ll
        r3 = 1
        call bpf_tail_call
        r0 = 6
        exit";
    let maps = || vec![jumps(2, &[(1, "target")])];
    let places = everywhere(&object(maps(), &[("main", main), ("target", &answer(1000))]));
    assert_eq!(places.run("main", &PACKET).unwrap().r0, 1001);
}

#[test]
fn a_chain_of_34_programs_runs_to_its_end_and_the_35th_does_not() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let texts: Vec<String> = (0..40)
        .map(|n| {
            let next = n + 1;
            format!("r2 = map[jumps] ll\nr3 = {next}\ncall bpf_tail_call\nr0 = {n}\nexit")
        })
        .collect();
    for length in [2, 33, 34, 35, 40] {
        let programs: Vec<(&str, &str)> =
            names.iter().zip(&texts).take(length).map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let slots: Vec<(u32, &str)> = (0..).zip(programs.iter().map(|(name, _)| *name)).collect();
        let places = everywhere(&object(vec![jumps(64, &slots)], &programs));
        let last = u32::try_from(length.min(34) - 1).unwrap();
        assert_eq!(places.run("p0", &PACKET).unwrap().r0, last, "of {length}");
    }
}

#[test]
fn stacks_of_a_chain_are_not_summed_and_its_programs_may_have_functions() {
    // Each has a stack as large as one can be, the last one three functions that share it.
    let text = |n: u32| {
        let next = n + 1;
        format!(
            "r2 = {n}
             *(u64 *)(r10 -512) = r2
             r2 = map[jumps] ll
             r3 = {next}
             call bpf_tail_call
             r0 = *(u64 *)(r10 -512)
             exit"
        )
    };
    let last = "
        r1 = 1
        call f
        r0 += 40
        exit
        f:
        *(u64 *)(r10 -240) = r1
        call g
        r1 = *(u64 *)(r10 -240)
        r0 += r1
        exit
        g:
        r0 = 1
        *(u64 *)(r10 -240) = r0
        exit";
    let names: Vec<String> = (0..33).map(|n| format!("p{n}")).collect();
    let texts: Vec<String> = (0..33).map(text).collect();
    let mut programs: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    programs.push(("last", last));
    let slots: Vec<(u32, &str)> = (0..).zip(programs.iter().map(|(name, _)| *name)).collect();
    let places = everywhere(&object(vec![jumps(40, &slots)], &programs));
    assert_eq!(places.run("p0", &PACKET).unwrap().r0, 42);
}

#[test]
fn functions_wait_for_their_chains_33_deep() {
    // Each level waits with 240 bytes of stack for a function that tail-calls the next; each adds
    // what it kept there.
    let main = "
        r2 = 1
        *(u64 *)(r10 -240) = r2
        call jump
        r1 = *(u64 *)(r10 -240)
        r0 += r1
        exit
        jump:
        r2 = 2
        *(u64 *)(r10 -272) = r2
        r2 = map[jumps] ll
        r3 = 0
        call bpf_tail_call
        r0 = *(u64 *)(r10 -272)
        exit";
    let spec = object(vec![jumps(1, &[(0, "main")])], &[("main", main)]);
    for (name, runtime) in engines() {
        let object = runtime.open(spec.clone()).load().unwrap();
        let out = object.program("main").unwrap().test_run(&TestRun::packet(&PACKET)).unwrap();
        assert_eq!(out.return_value, 34 + 2, "{name}");
    }
}

#[test]
fn empty_and_missing_slots_fall_through_and_the_index_is_the_low_half() {
    let maps = vec![jumps(4, &[(0, "one"), (3, "two")])];
    let programs = [("main", BY_PACKET), ("one", &answer(1001)), ("two", &answer(1002))];
    let places = everywhere(&object(maps, &programs));
    let rows: [(u64, u32); 9] = [
        (0, 1001),
        (3, 1002),
        (1, 7),
        (2, 7),
        (4, 7),
        (0x7fff_ffff, 7),
        (0xffff_ffff, 7),
        (0x1_0000_0000, 1001),
        (0xffff_ffff_0000_0003, 1002),
    ];
    for (index, expected) in rows {
        let packet = [&index.to_le_bytes()[..], &[0; 32]].concat();
        assert_eq!(places.run("main", &packet).unwrap().r0, expected, "index {index:#x}");
    }
}

#[test]
fn what_is_put_into_a_slot_is_called_from_then_on() {
    for main in [FIRST, BY_PACKET] {
        let programs = [("main", main), ("one", &answer(1)), ("two", &answer(2))];
        let places = everywhere(&object(vec![jumps(1, &[])], &programs));
        let run = |expected| assert_eq!(places.run("main", &PACKET).unwrap().r0, expected);
        let key = [0; 4];
        run(7);
        for (name, expected) in [("one", 1), ("two", 2), ("one", 1)] {
            for (_, object) in &places.ours {
                let array = object.map("jumps").unwrap().prog_array().unwrap();
                array.set(0, &object.program(name).unwrap()).unwrap();
            }
            if let Some(kernel) = &places.kernel {
                let program = kernel.program(name).unwrap();
                kernel.map("jumps").unwrap().update_program(&key, program).unwrap();
            }
            run(expected);
        }
        for (_, object) in &places.ours {
            object.map("jumps").unwrap().delete(&key).unwrap();
        }
        if let Some(kernel) = &places.kernel {
            kernel.map("jumps").unwrap().delete(&key).unwrap();
        }
        run(7);
    }
}

#[test]
fn runs_see_the_old_program_or_the_new_one_and_nothing_else() {
    let programs = [("main", FIRST), ("one", &answer(1)), ("two", &answer(2))];
    let spec = object(vec![jumps(1, &[(0, "one")])], &programs);
    for (name, runtime) in engines() {
        let object = runtime.open(spec.clone()).load().unwrap();
        let main = object.program("main").unwrap();
        let over = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            scope.spawn(|| flip(&object, &over));
            let seen = watch(|| main.test_run(&TestRun::packet(&PACKET)).unwrap().return_value);
            over.store(true, Ordering::Relaxed);
            seen
        });
        assert_eq!(seen, [true, true, true], "{name}: empty, one, two");
    }
}

/// Fills the slot with one program and the other, and empties it.
fn flip(object: &Object, over: &AtomicBool) {
    let array = object.map("jumps").unwrap().prog_array().unwrap();
    let programs = [object.program("one").unwrap(), object.program("two").unwrap()];
    while !over.load(Ordering::Relaxed) {
        for program in &programs {
            array.set(0, program).unwrap();
            thread::yield_now();
        }
        array.delete(0).unwrap();
        thread::yield_now();
    }
}

/// Runs until an empty slot and both programs were seen, at most for ten seconds.
fn watch(run: impl Fn() -> u32) -> [bool; 3] {
    let begun = Instant::now();
    let mut seen = [false; 3];
    while seen != [true; 3] && begun.elapsed() < Duration::from_secs(10) {
        for _ in 0..1000 {
            match run() {
                7 => seen[0] = true,
                1 => seen[1] = true,
                2 => seen[2] = true,
                other => panic!("{other} is no program's answer"),
            }
        }
    }
    seen
}

#[test]
fn an_update_is_seen_by_a_program_that_began_before_it() {
    // Says that it has begun, waits for a sign, and only then calls.
    let main = "
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r1 = map[signs] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto late
        *(u64 *)(r0 +0) = 1
        again: may_goto late
        r1 = *(u64 *)(r0 +8)
        if r1 == 0 goto again
        r1 = r6
        r2 = map[jumps] ll
        r3 = 0
        call bpf_tail_call
        late: r0 = 9
        exit";
    let signs = MapSpec::new("signs", MapType::Array, 4, 16, 1);
    let programs = [("main", main), ("one", &answer(1)), ("two", &answer(2))];
    let spec = object(vec![jumps(1, &[]), signs], &programs);
    for (name, runtime) in engines() {
        let object = runtime.open(spec.clone()).load().unwrap();
        let main = object.program("main").unwrap();
        let signs = object.map("signs").unwrap();
        let array = object.map("jumps").unwrap().prog_array().unwrap();
        let set_signs = |signs_value: [u8; 16]| {
            signs.update(&[0; 4], &signs_value, UpdateFlags::empty()).unwrap();
        };
        let attempt = || {
            array.set(0, &object.program("one").unwrap()).unwrap();
            set_signs([0; 16]);
            thread::scope(|scope| {
                let run = || main.test_run(&TestRun::packet(&PACKET)).unwrap().return_value;
                let running = scope.spawn(run);
                while signs.lookup(&[0; 4]).unwrap().unwrap()[0] == 0 {
                    thread::yield_now();
                }
                array.set(0, &object.program("two").unwrap()).unwrap();
                set_signs([1; 16]);
                running.join().unwrap()
            })
        };
        // A program whose budget ends before the sign comes tells nothing.
        let answer = (0..100).map(|_| attempt()).find(|answer| *answer != 9);
        assert_eq!(answer, Some(2), "{name}");
    }
}

/// What `bpf(2)` answers to what is done with program arrays, by us and by the kernel.
#[test]
#[expect(clippy::too_many_lines, reason = "one table, asked twice")]
fn what_is_refused_is_refused_with_the_kernels_number() {
    let spec = object(vec![jumps(2, &[(0, "one")])], &[("main", FIRST), ("one", &answer(1))]);
    let mut other = text::object(ProgType::SchedCls, vec![], &[("tc", "r0 = 0\nexit")]).unwrap();
    let cpumap = text::program("cpumap", ProgType::Xdp, "r0 = 0\nexit", &[]).unwrap();
    other.programs.push(cpumap);
    other.programs[1].expected_attach_type = Some(AttachType::XdpCpumap);

    let (empty, beyond, full) = ([1, 0, 0, 0], [2, 0, 0, 0], [0; 4]);
    let expected = [
        ("a program of another type", Err(Errno::EINVAL)),
        ("a program for another place", Err(Errno::EINVAL)),
        ("update beyond the end", Err(Errno::E2BIG)),
        ("update, only if empty", Err(Errno::EINVAL)),
        ("update, only if full", Err(Errno::EINVAL)),
        ("look up an empty slot", Err(Errno::ENOENT)),
        ("look up beyond the end", Err(Errno::ENOENT)),
        ("delete an empty slot", Err(Errno::ENOENT)),
        ("delete beyond the end", Err(Errno::E2BIG)),
        ("delete a full slot", Ok(())),
        ("still a program of another type", Err(Errno::EINVAL)),
        ("freeze", Ok(())),
        ("update when frozen", Err(Errno::EPERM)),
        ("delete when frozen", Err(Errno::EPERM)),
    ];
    let check = |place: &str, got: Vec<Result<(), Errno>>| {
        for ((what, expected), got) in expected.iter().zip(got) {
            assert_eq!(got, *expected, "{place}: {what}");
        }
    };
    for (name, runtime) in engines() {
        let ours = runtime.open(spec.clone()).load().unwrap();
        let others = runtime.open(other.clone()).load().unwrap();
        let map = ours.map("jumps").unwrap();
        let array = map.prog_array().unwrap();
        let (one, tc) = (ours.program("one").unwrap(), others.program("tc").unwrap());
        let cpumap = others.program("cpumap").unwrap();
        let set_with = |flags| {
            let raw = map.raw().as_prog_array().unwrap();
            raw.set(0, one.as_runnable(), flags).map_err(|error| error.errno())
        };
        let errno = |result: Result<(), bpf_runtime::Error>| result.map_err(|error| error.errno());
        let look = |key: &[u8]| match map.lookup(key) {
            Ok(None) => Err(Errno::ENOENT),
            other => errno(other.map(drop)),
        };
        assert_eq!(map.lookup(&full).unwrap().unwrap(), one.id().0.to_le_bytes());
        let got = vec![
            errno(array.set(1, &tc)),
            errno(array.set(1, &cpumap)),
            errno(array.set(2, &one)),
            set_with(UpdateFlags::NOEXIST),
            set_with(UpdateFlags::EXIST),
            look(&empty),
            look(&beyond),
            errno(array.delete(1)),
            errno(array.delete(2)),
            errno(array.delete(0)),
            errno(array.set(0, &tc)),
            errno(map.freeze()),
            errno(array.set(0, &one)),
            errno(array.delete(0)),
        ];
        check(name, got);
    }
    if !may_ask() {
        return;
    }
    let (ours, others) = (KernelObject::load(&spec).unwrap(), KernelObject::load(&other).unwrap());
    assert!(others.refused.is_empty(), "{:?}", others.refused);
    let map = ours.map("jumps").unwrap();
    let (one, tc) = (ours.program("one").unwrap(), others.program("tc").unwrap());
    let cpumap = others.program("cpumap").unwrap();
    let one_fd = one.fd().to_ne_bytes();
    let got = vec![
        map.update_program(&empty, tc),
        map.update_program(&empty, cpumap),
        map.update_program(&beyond, one),
        map.update_with(&full, &one_fd, 1),
        map.update_with(&full, &one_fd, 2),
        map.lookup(&empty).map(drop),
        map.lookup(&beyond).map(drop),
        map.delete(&empty),
        map.delete(&beyond),
        map.delete(&full),
        map.update_program(&full, tc),
        map.freeze(),
        map.update_program(&full, one),
        map.delete(&full),
    ];
    check("kernel", got);
}

#[test]
fn the_first_user_of_an_array_settles_what_it_holds() {
    // Nothing was ever put in, and yet the array is XDP's: a program of another type that uses
    // it is refused after it was verified.
    let spec = object(vec![jumps(1, &[])], &[("main", FIRST)]);
    let other = text::object(ProgType::SchedCls, vec![jumps(1, &[])], &[("tc", FIRST)]).unwrap();
    for (name, runtime) in engines() {
        let first = runtime.open(spec.clone()).load().unwrap();
        let mut second = runtime.open(other.clone());
        second.reuse_map("jumps", &first.map("jumps").unwrap()).unwrap();
        let error = second.load().unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL, "{name}: {error}");
        assert!(matches!(error, LoadError::Rejected(_)), "{name}: {error}");
    }
}

#[test]
fn the_last_handle_of_an_array_empties_it_though_programs_hold_it() {
    let spec = object(vec![jumps(1, &[(0, "one")])], &[("main", FIRST), ("one", &answer(1))]);
    for (name, runtime) in engines() {
        let object = runtime.open(spec.clone()).load().unwrap();
        let main = object.program("main").unwrap();
        let run = || main.test_run(&TestRun::packet(&PACKET)).unwrap().return_value;
        let handle = object.map("jumps").unwrap().clone();
        let id = handle.id();
        drop(object);
        assert_eq!(run(), 1, "{name}: a handle is left");
        drop(handle);
        assert_eq!(run(), 7, "{name}");
        refill(&runtime, id, &spec);
        assert_eq!(run(), 7, "{name}: the new handle is gone too");
    }
    if may_ask() {
        in_the_kernel();
    }
}

/// By its number the array can be had again, empty and usable.
fn refill(runtime: &Runtime, id: bpf_abi::id::MapId, spec: &ObjectSpec) {
    let map = runtime.map(id).unwrap();
    assert_eq!(map.lookup(&[0; 4]).unwrap(), None);
    let other = runtime.open(spec.clone()).load().unwrap();
    map.prog_array().unwrap().set(0, &other.program("one").unwrap()).unwrap();
    assert!(map.lookup(&[0; 4]).unwrap().is_some());
}

fn in_the_kernel() {
    let array = kernel::Map::create(&kernel::MapAttr {
        name: "jumps",
        map_type: MapType::ProgArray.number(),
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..kernel::MapAttr::default()
    })
    .unwrap();
    let load = |text: &str| {
        let mut spec = text::program("p", ProgType::Xdp, text, &[jumps(1, &[])]).unwrap();
        for slot in spec.insns.iter_mut().filter(|slot| slot.opcode == 0x18) {
            slot.imm = array.fd();
        }
        let insns: Vec<u8> = spec.insns.into_iter().flat_map(bpf_isa::Slot::to_bytes).collect();
        let number = ProgType::Xdp.number();
        let attr = kernel::ProgAttr {
            prog_type: number,
            license: "GPL",
            insns: &insns,
            ..kernel::ProgAttr::default()
        };
        kernel::Program::load(&attr, 1).result.unwrap()
    };
    let (main, one) = (load(FIRST), load(&answer(1)));
    array.update_program(&[0; 4], &one).unwrap();
    let run = || {
        let run = kernel::TestRun { data: Some(&PACKET), ..kernel::TestRun::default() };
        main.test_run(&run).unwrap().retval
    };
    assert_eq!(run(), 1);
    drop(array);
    // The kernel empties it soon after, on a thread of its own.
    let begun = Instant::now();
    while run() != 7 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never emptied");
        thread::yield_now();
    }
}
