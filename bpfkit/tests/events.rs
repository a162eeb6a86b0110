//! What programs tell the host, and how they are called: ring buffers, prints, clocks, hooks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfkit::prelude::*;
use bpfkit::runtime::ManualClock;

const ENGINES: [EngineChoice; 2] = [EngineChoice::Interp, EngineChoice::Jit];

fn open(runtime: &Runtime) -> OpenObject {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    runtime.open_file(root.join("tests/objects/events.bpf.o")).unwrap()
}

/// Loads these programs of the object.
fn load(runtime: &Runtime, programs: &[&str]) -> Object {
    let mut open = open(runtime);
    open.choose(programs).unwrap();
    open.load().unwrap()
}

fn runtime(engine: EngineChoice) -> Runtime {
    Runtime::builder().engine(engine).cpus(2).seed(1).build().unwrap()
}

/// The two numbers of an event.
fn event(bytes: &[u8]) -> (u32, u32) {
    (u32::load(bytes), u32::load(&bytes[4..]))
}

#[test]
fn records_of_a_ring_buffer_come_in_order_and_discarded_ones_do_not() {
    for engine in ENGINES {
        let object = load(&runtime(engine), &["reserve", "output"]);
        let ring = object.map("ring").unwrap().ring_buffer().unwrap();
        assert!(!ring.wait(Duration::ZERO));
        let (reserve, output) =
            (object.program("reserve").unwrap(), object.program("output").unwrap());
        reserve.test_run(&TestRun::packet(&[0; 60]).repeat(4)).unwrap();
        output.test_run(&TestRun::packet(&[0; 70])).unwrap();
        let mut events = Vec::new();
        assert_eq!(ring.consume(|record| events.push(event(record))), 3);
        assert_eq!(events, [(60, 0), (60, 2), (70, 4)]);
        assert_eq!(ring.consume(|_| ()), 0);
    }
}

#[test]
fn a_full_ring_buffer_says_so_and_recovers() {
    let object = load(&runtime(EngineChoice::Auto), &["reserve"]);
    let reserve = object.program("reserve").unwrap();
    let mut packet = reserve.packet(&[0; 60]).unwrap();
    let verdicts: Vec<u32> = (0..400).map(|_| reserve.run(&mut packet).unwrap()).collect();
    assert_eq!((verdicts[0], verdicts[399]), (XDP_PASS, XDP_ABORTED));
    assert!(object.map("ring").unwrap().ring_buffer().unwrap().consume(|_| ()) > 100);
    assert_eq!(reserve.run(&mut packet).unwrap(), XDP_PASS);
}

#[test]
fn perf_events_carry_the_packet_they_were_asked_for() {
    for engine in ENGINES {
        let object = load(&runtime(engine), &["output"]);
        let events = object.map("events").unwrap().perf_events(1024).unwrap();
        let output = object.program("output").unwrap();
        let out = output.test_run(&TestRun::packet(&[9; 60])).unwrap();
        assert_eq!(out.return_value, XDP_PASS);
        let mut samples = Vec::new();
        events.consume(|cpu, sample| samples.push((cpu, sample.to_vec())));
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].1, [60, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]);
        assert_eq!(events.take_lost(), 0);
    }
}

#[test]
fn prints_go_where_the_host_wants_them() {
    for engine in ENGINES {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let print = move |line: &[u8]| {
            sink.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        };
        let runtime = Runtime::builder().engine(engine).on_print(print).build().unwrap();
        let object = load(&runtime, &["print"]);
        object.program("print").unwrap().test_run(&TestRun::packet(&[0; 60])).unwrap();
        assert_eq!(*lines.lock().unwrap(), ["packet 0 of 60 bytes", "1 2 3 4"]);
    }
}

#[test]
fn runs_are_repeatable_with_a_clock_and_a_seed_of_the_host_s() {
    let seen = |engine| {
        let clock = ManualClock::new(12_345);
        let builder = Runtime::builder().engine(engine).cpus(1).seed(7);
        let runtime = builder.clock(Clock::Manual(clock)).build().unwrap();
        let object = load(&runtime, &["clocks"]);
        object.program("clocks").unwrap().test_run(&TestRun::packet(&[0; 60])).unwrap();
        let globals = object.map(".bss").unwrap().dump().unwrap();
        let Some(Data::List(seen)) = globals[0].values[0].member("seen").cloned() else {
            return Vec::new();
        };
        seen.iter().filter_map(Data::number).collect()
    };
    let first = seen(EngineChoice::Interp);
    assert_eq!(first[..2], [12_345, 12_345]);
    assert_eq!(first[3], 0);
    assert_eq!(first[4] >> 32, i128::from(std::process::id()));
    let second = seen(EngineChoice::Jit);
    assert_eq!((first[2], first[5]), (second[2], second[5]));
}

#[test]
fn a_helper_that_is_not_provided_is_named() {
    let runtime = Runtime::new().unwrap();
    let mut open = open(&runtime);
    open.choose(&["missing"]).unwrap();
    let error = open.load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "events: xdp: missing: helper bpf_snprintf_btf is not provided for programs of type xdp"
    );
}

#[test]
fn a_refused_program_brings_the_kernel_s_log() {
    let runtime = Runtime::new().unwrap();
    let mut open = open(&runtime);
    open.choose(&["mark"]).unwrap();
    // The program writes to its context, which an XDP program may not.
    open.program_mut("mark").unwrap().set_type(ProgType::Xdp);
    let error = open.load().unwrap_err();
    assert!(error.to_string().starts_with("events: tc: mark: insn "), "{error}");
    assert!(error.log().unwrap().contains("invalid bpf_context access off=8 size=4"));
}

#[test]
fn programs_at_a_hook_run_in_order_until_their_links_go() {
    let runtime = runtime(EngineChoice::Auto);
    let object = load(&runtime, &["mark", "reserve"]);
    let (mark, reserve) = (object.program("mark").unwrap(), object.program("reserve").unwrap());
    let hook = runtime.hook("ingress", ProgType::SchedCls).unwrap();
    assert!(hook.attach(&reserve).is_err());
    let mut packet = mark.packet(&[0; 60]).unwrap();
    assert_eq!(hook.run(&mut packet).unwrap(), 0);
    let first = hook.attach(&mark).unwrap();
    let second = hook.attach(&mark).unwrap();
    assert_eq!(hook.len(), 2);
    // The first run passes the packet on, the second drops it.
    assert_eq!(hook.run(&mut packet).unwrap(), 2);
    drop(first);
    second.detach();
    assert!(hook.is_empty());
    let mut other = reserve.packet(&[0; 60]).unwrap();
    assert!(hook.run(&mut other).is_ok());
    assert!(mark.run(&mut other).is_err());
}

#[test]
fn a_runner_keeps_its_cpu_for_many_runs() {
    let runtime = runtime(EngineChoice::Auto);
    let object = load(&runtime, &["reserve"]);
    let reserve = object.program("reserve").unwrap();
    let mut packet = reserve.packet(&[0; 60]).unwrap();
    let runner = reserve.runner();
    assert!(runner.cpu() < 2);
    for _ in 0..10 {
        assert_eq!(runner.run(&mut packet).unwrap(), XDP_PASS);
    }
    drop(runner);
    assert_eq!(object.map("ring").unwrap().ring_buffer().unwrap().consume(|_| ()), 5);
}

#[test]
fn programs_without_packets_are_run_with_a_context() {
    for engine in ENGINES {
        let object = load(&runtime(engine), &["add", "difference"]);
        let add = object.program("add").unwrap();
        let ctx: Vec<u8> = [2_u64, 40].iter().flat_map(|word| word.to_le_bytes()).collect();
        let out = add.test_run(&TestRun::new().ctx(&ctx)).unwrap();
        assert_eq!((out.return_value, u64::load(&out.ctx[8..])), (3, 42));
        assert!(add.test_run(&TestRun::new().ctx(&ctx[..12])).is_err());
        assert!(add.test_run(&TestRun::packet(&[0; 60]).ctx(&ctx)).is_err());

        let difference = object.program("difference").unwrap();
        let run = TestRun::new().ctx(&ctx).ctx_out(false);
        assert_eq!(difference.test_run(&run).unwrap().return_value, 2_u32.wrapping_sub(40));
        assert!(difference.test_run(&TestRun::new().ctx(&ctx[..8])).is_err());
    }
}
