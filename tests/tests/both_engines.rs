//! Chains of programs of which some are compiled and some are not yet: what comes of them does not
//! depend on how far the compiler is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bpf_abi::exec::Engine;
use bpf_abi::map::{MapInit, MapInitValue, MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ObjectSpec;
use bpf_fuzz::random::Random;
use bpf_runtime::{CodeCache, EngineChoice, JitMode, Object, Program, Runtime};
use bpf_tests::corpus::file;
use bpf_tests::text;
use bpfkit::OpenElf as _;

const PACKET: [u8; 64] = [0; 64];

/// How many programs a chain has: one more than can run.
const LINKS: u32 = 35;

/// How a program of a chain comes to the next one.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By a number that is known when it is loaded.
    Known,
    /// By one that is not.
    Computed,
    /// From a function, to which the next program returns.
    Function,
    /// So too, and then a helper calls a function of the program.
    FunctionThenLoop,
}

const WAYS: [Way; 4] = [Way::Known, Way::Computed, Way::Function, Way::FunctionThenLoop];

/// The program at place `n`: counts, mixes its place into what the programs before it left, and goes
/// on with the next one.
fn link(n: u32, way: Way) -> String {
    let mut text = format!(
        "
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r1 = map[path] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto none
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
        r1 = *(u64 *)(r0 +8)
        r1 *= 31
        r1 += {n}
        *(u64 *)(r0 +8) = r1
        none: r1 = r6
        "
    );
    let (next, missed) = (n + 1, 100 + n);
    let jump = format!(
        "r2 = map[jumps] ll
         r3 = {next}
         call bpf_tail_call
         r0 = {missed}
         exit"
    );
    let end = match way {
        Way::Known => jump,
        // The interface's queue, which is 0.
        Way::Computed => {
            let computed = format!("r3 = *(u32 *)(r1 +16)\nr3 += {next}");
            jump.replace(&format!("r3 = {next}"), &computed)
        }
        Way::Function => format!("call jump\nr0 += 1000\nexit\njump: {jump}"),
        Way::FunctionThenLoop => format!(
            "call jump
             r7 = r0
             *(u64 *)(r10 -16) = 0
             r1 = 5
             r2 = body ll
             r3 = r10
             r3 += -16
             r4 = 0
             call bpf_loop
             r0 = *(u64 *)(r10 -16)
             r0 += r7
             exit
             jump: {jump}
             body:
             r3 = *(u64 *)(r2 +0)
             r3 += 1
             *(u64 *)(r2 +0) = r3
             r0 = 0
             exit"
        ),
    };
    text.push_str(&end);
    text
}

fn name(n: u32) -> String {
    format!("link{n}")
}

/// Chains of these ways, in their array when they are loaded.
fn chain(way: impl Fn(u32) -> Way) -> ObjectSpec {
    let mut jumps = MapSpec::new("jumps", MapType::ProgArray, 4, 4, LINKS + 1);
    let init =
        |n: u32| MapInit { key: n.to_le_bytes().to_vec(), value: MapInitValue::Program(name(n)) };
    jumps.init = (0..LINKS).map(init).collect();
    let maps = vec![jumps, MapSpec::new("path", MapType::Array, 4, 16, 1)];
    let links: Vec<_> = (0..LINKS).map(|n| (name(n), link(n, way(n)))).collect();
    let links: Vec<_> = links.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut object = text::object(ProgType::Xdp, maps, &links).unwrap();
    text::add_types(&mut object).unwrap();
    object
}

/// What came of a chain: the result, the tail calls, what the programs counted and left.
fn run(object: &Object) -> (u32, u32, Vec<u8>) {
    let path = object.map("path").unwrap();
    path.update(&[0; 4], &[0; 16], UpdateFlags::empty()).unwrap();
    let first = object.program("link0").unwrap();
    let mut packet = first.packet(&PACKET).unwrap();
    let result = first.run(&mut packet).unwrap();
    (result, packet.tail_calls(), path.lookup(&[0; 4]).unwrap().unwrap())
}

fn runs(object: &Object) -> u64 {
    let path = object.map("path").unwrap().lookup(&[0; 4]).unwrap().unwrap();
    u64::from_le_bytes(path[..8].try_into().unwrap())
}

fn in_the_background() -> Option<Runtime> {
    // Code that was kept would be there at once.
    let builder = Runtime::builder().engine(EngineChoice::Jit).code_cache(None);
    builder.jit(JitMode::Background).cpus(4).code_memory(64 << 10).build().ok()
}

/// Programs that take all memory there is for code: what is compiled while they are there cannot be.
fn fill(runtime: &Runtime) -> Vec<Object> {
    let mut all = Vec::new();
    for pairs in [500, 50, 1] {
        let ballast = "r0 *= 31\nr0 ^= 5\n".repeat(pairs);
        let text = format!("r0 = *(u32 *)(r1 +16)\n{ballast}exit");
        loop {
            let spec = text::object(ProgType::Xdp, vec![], &[("ballast", &text)]).unwrap();
            let object = runtime.open(spec).load().unwrap();
            if object.program("ballast").unwrap().settle() == Engine::Interp {
                break;
            }
            all.push(object);
        }
    }
    all
}

/// Has programs be compiled, or has that fail.
fn settle(runtime: &Runtime, programs: &[&Program], engine: Engine) {
    let fillers = if engine == Engine::Interp { fill(runtime) } else { Vec::new() };
    for program in programs {
        assert_eq!(program.settle(), engine);
    }
    drop(fillers);
}

/// What the chain comes to where every program is compiled as it is loaded.
fn eagerly(spec: &ObjectSpec) -> (u32, u32, Vec<u8>) {
    let runtime = Runtime::builder().engine(EngineChoice::Jit).build().unwrap();
    let object = runtime.open(spec.clone()).load().unwrap();
    let ran = run(&object);
    assert_eq!((ran.1, runs(&object)), (33, 34));
    ran
}

#[test]
fn a_chain_of_both_engines_in_any_order_is_the_same_chain() {
    let Some(runtime) = in_the_background() else { return };
    let mut random = Random::new(7);
    for round in 0..24 {
        // First each way alone, then all of them.
        let alone = WAYS.get(round % 8).copied();
        let ways: Vec<Way> =
            (0..LINKS).map(|_| alone.unwrap_or_else(|| random.pick(&WAYS))).collect();
        let spec = chain(|n| ways[n as usize]);
        let expected = eagerly(&spec);
        let hold = runtime.hold_compiler();
        let object = runtime.open(spec).load().unwrap();
        assert_eq!(run(&object), expected, "interpreted, {ways:?}");
        let mut order = String::new();
        for n in 0..LINKS {
            let compiled = match round / 8 {
                0 => n % 2 == 0,
                1 => n % 2 == 1,
                _ => random.chance(50),
            };
            if compiled {
                assert_eq!(object.program(&name(n)).unwrap().settle(), Engine::Jit);
            }
            write!(order, "{}", if compiled { 'N' } else { 'I' }).unwrap();
        }
        assert_eq!(run(&object), expected, "{order}, {ways:?}");
        drop(hold);
        for n in 0..LINKS {
            object.program(&name(n)).unwrap().settle();
            assert_eq!(run(&object), expected, "{order}, {n} compiled, {ways:?}");
        }
    }
}

#[test]
fn the_interpreter_leaves_for_code_that_was_kept_and_comes_back() {
    if Runtime::builder().engine(EngineChoice::Jit).build().is_err() {
        return;
    }
    let mut random = Random::new(3);
    for round in 0..12 {
        let alone = WAYS.get(round % 6).copied();
        let ways: Vec<Way> =
            (0..LINKS).map(|_| alone.unwrap_or_else(|| random.pick(&WAYS))).collect();
        let spec = chain(|n| ways[n as usize]);
        let expected = eagerly(&spec);
        let kept: Vec<bool> = (0..LINKS).map(|_| random.chance(50)).collect();
        // Some of the programs are compiled in another runtime, alone, so that the cache has them.
        let cache = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
        let builder = || Runtime::builder().engine(EngineChoice::Jit).code_cache(cache.clone());
        let mut some = spec.clone();
        some.maps.iter_mut().for_each(|map| map.init.clear());
        let mut open = builder().build().unwrap().open(some);
        let names: Vec<_> = (0..LINKS).filter(|n| kept[*n as usize]).map(name).collect();
        open.choose(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        drop(open.load().unwrap());

        let runtime = builder().jit(JitMode::Background).cpus(2).build().unwrap();
        let hold = runtime.hold_compiler();
        let object = runtime.open(spec).load().unwrap();
        for (n, kept) in (0..LINKS).zip(&kept) {
            let engine = if *kept { Engine::Jit } else { Engine::Interp };
            assert_eq!(object.program(&name(n)).unwrap().info().engine, engine, "{n} of {kept:?}");
        }
        for _ in 0..3 {
            assert_eq!(run(&object), expected, "{kept:?}, {ways:?}");
        }
        drop(hold);
        object.programs().iter().for_each(|program| assert_eq!(program.settle(), Engine::Jit));
        assert_eq!(run(&object), expected, "{kept:?}, {ways:?}");
    }
}

#[test]
fn programs_are_inserted_before_they_are_compiled_and_no_run_is_lost() {
    let Some(runtime) = in_the_background() else { return };
    let spec = chain(|n| WAYS[n as usize % 4]);
    let (expected, ..) = eagerly(&spec);
    let hold = runtime.hold_compiler();
    let object = runtime.open(spec).load().unwrap();
    let array = object.map("jumps").unwrap().prog_array().unwrap();
    for n in 0..LINKS {
        array.set(n, &object.program(&name(n)).unwrap()).unwrap();
    }
    let first = object.program("link0").unwrap();
    let rounds = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut packet = first.packet(&PACKET).unwrap();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(first.run(&mut packet).unwrap(), expected);
                    assert_eq!(packet.tail_calls(), 33);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_for(&rounds, 100);
        assert_eq!(first.info().engine, Engine::Interp);
        drop(hold);
        for n in 0..LINKS {
            assert_eq!(object.program(&name(n)).unwrap().settle(), Engine::Jit);
        }
        let settled = rounds.load(Ordering::Relaxed);
        wait_for(&rounds, settled + 100);
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(runs(&object), 34 * rounds.load(Ordering::Relaxed));
}

fn wait_for(rounds: &AtomicU64, count: u64) {
    let begun = Instant::now();
    while rounds.load(Ordering::Relaxed) < count && begun.elapsed() < Duration::from_secs(20) {
        thread::yield_now();
    }
}

#[test]
fn programs_that_cannot_be_compiled_are_interpreted_beside_others() {
    let Some(runtime) = in_the_background() else { return };
    let spec = chain(|n| WAYS[n as usize % 4]);
    let expected = eagerly(&spec);
    let hold = runtime.hold_compiler();
    let object = runtime.open(spec).load().unwrap();
    let programs: Vec<_> = (0..LINKS).map(|n| object.program(&name(n)).unwrap()).collect();
    for program in programs.iter().step_by(3) {
        assert_eq!(program.settle(), Engine::Jit);
    }
    let fillers = fill(&runtime);
    drop(hold);
    let engines: Vec<_> = programs.iter().map(Program::settle).collect();
    assert_eq!(engines.iter().filter(|engine| **engine == Engine::Interp).count(), 23);
    assert_eq!(run(&object), expected);
    drop(fillers);
    // One that was in no slot until now, and one that finds its slot again.
    let array = object.map("jumps").unwrap().prog_array().unwrap();
    array.set(LINKS, &programs[4]).unwrap();
    array.delete(5).unwrap();
    assert_ne!(run(&object), expected);
    array.set(5, &programs[5]).unwrap();
    assert_eq!(run(&object), expected);
}

#[test]
fn extensions_and_probes_are_attached_whatever_engine_runs_them_and_their_target() {
    const CALLED: u32 = 7;
    let Some(runtime) = in_the_background() else { return };
    let source = runtime.open_file(file("tests/objects/torture.bpf.o")).unwrap();
    let hold = runtime.hold_compiler();
    let both = [Engine::Jit, Engine::Interp];
    for (targets, own) in both.into_iter().flat_map(|one| both.map(|other| (one, other))) {
        let mut open = source.clone();
        open.choose(&["main_program"]).unwrap();
        let object = open.load().unwrap();
        let main = object.program("main_program").unwrap();
        settle(&runtime, &[&main], targets);
        let counts = object.map("counts").unwrap();
        let load = |name, function| {
            let mut open = source.clone();
            open.choose(&[name]).unwrap();
            open.reuse_map("counts", &counts).unwrap();
            open.attach_target(Some(&main), main.function_id(function).unwrap());
            open.load().unwrap().program(name).unwrap()
        };
        let mut packet = main.packet(&PACKET).unwrap();
        let mut run = || main.run(&mut packet).unwrap();
        let [extension, before, after] =
            [load("extension", "f"), load("before", "g"), load("after", "g")];
        settle(&runtime, &[&extension, &before, &after], own);
        assert_eq!(run(), 0);
        let extended = extension.attach().unwrap();
        assert_eq!(run(), CALLED, "{targets:?} calls {own:?}");
        let probes = [before.attach().unwrap(), after.attach().unwrap()];
        assert_eq!(run(), CALLED, "{targets:?} calls {own:?}");
        drop(extended);
        assert_eq!(run(), 0, "{targets:?} calls {own:?}");
        drop(probes);
        assert_eq!(run(), 0, "{targets:?} calls {own:?}");
        let counts = counts.array::<u64>().unwrap();
        let counted = [0, 1, 2, 3].map(|place| counts.get(place).unwrap());
        // The old function, the extension, the probes twice two times, and nothing wrong.
        assert_eq!(counted, [3, 2, 4, 0], "{targets:?} calls {own:?}");
    }
    drop(hold);
}

#[test]
fn attaching_does_not_wait_for_the_programs_before_it() {
    let Some(runtime) = in_the_background() else { return };
    let source = runtime.open_file(file("tests/objects/torture.bpf.o")).unwrap();
    let hold = runtime.hold_compiler();
    let mut open = source.clone();
    open.choose(&["main_program"]).unwrap();
    let object = open.load().unwrap();
    let main = object.program("main_program").unwrap();
    let mut open = source.clone();
    open.choose(&["extension"]).unwrap();
    open.attach_target(Some(&main), main.function_id("f").unwrap());
    let extension = open.load().unwrap().program("extension").unwrap();
    assert_eq!((main.info().engine, extension.info().engine), (Engine::Interp, Engine::Interp));
    let link = extension.attach().unwrap();
    assert_eq!((main.info().engine, extension.info().engine), (Engine::Jit, Engine::Jit));
    let mut packet = main.packet(&PACKET).unwrap();
    assert_eq!(main.run(&mut packet).unwrap(), 7);
    drop((link, hold));
}
