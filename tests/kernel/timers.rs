//! Timers and work items: their answers, and what their functions do, as in the kernel.

use std::time::Duration;

use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::helpers::{case, compare, ipv4, offset_of, product};
use crate::{Both, file};

const OBJECT: &str = "tests/objects/timers.bpf.o";
/// In nanoseconds.
const MILLISECOND: i64 = 1_000_000;

#[test]
fn calls_answer_as_in_the_kernel() {
    let flags = [0, 1, 2, 3, 5, 6, 7, 8, 11, 16, 1 << 32, -1];
    let seconds = [1000 * MILLISECOND, i64::MAX, -1];
    let work_flags = [0, 1, 4, 1 << 32, -1];
    compare(
        OBJECT,
        &[
            case("codes", product(&flags, &seconds[..1], &[0, 2, 4], &[0, 1, 2, 3])),
            case("codes", product(&[1], &seconds[1..], &[0, 1, 2, 3, 4, 1 << 32], &[0, 1, 2, 3])),
            case("work_codes", product(&work_flags, &work_flags, &work_flags, &[0])),
        ],
    );
}

/// The global variables of the object, with these arguments.
fn globals(object: &Object, args: [i64; 4]) -> Vec<u8> {
    let bss = object.map(".bss").unwrap();
    let mut globals = bss.lookup(&[0; 4]).unwrap().unwrap();
    globals.fill(0);
    let at = offset_of(object, "args");
    globals[at..at + 32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
    globals
}

/// What programs and their functions told.
fn told(object: &Object, globals: &[u8]) -> Vec<i64> {
    let at = offset_of(object, "out");
    let words = globals[at..at + 128].chunks(8);
    words.map(|word| i64::from_le_bytes(word.try_into().unwrap())).collect()
}

fn run(object: &Object, program: &str) -> u32 {
    let packet = ipv4(64);
    object.program(program).unwrap().test_run(&TestRun::packet(&packet)).unwrap().return_value
}

/// What there is to be seen once all functions have run that a program started, here and in the
/// kernel.
fn compare_later(program: &str, args: &[[i64; 4]], rest: Duration) {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let both = Both::load(OBJECT, &[program]);
    assert!(both.kernel.refused.is_empty(), "{:?}", both.kernel.refused);
    let packet = ipv4(64);
    for args in args {
        // On a machine that has much to do, one may be late before the other has started.
        let mut last = (Vec::new(), Vec::new());
        let all_alike = (0..5).any(|_| {
            let start = globals(&both.ours[0], *args);
            let bss = both.kernel_bss();
            bss.update(&[0; 4], &start).unwrap();
            let theirs = both.kernel.program(program).unwrap();
            let test = linux::TestRun {
                data: Some(&packet),
                repeat: 1,
                room: 64,
                ..linux::TestRun::default()
            };
            assert_eq!(theirs.test_run(&test).unwrap().retval, 0);
            for object in &both.ours {
                object.map(".bss").unwrap().update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
                assert_eq!(run(object, program), 0);
            }
            std::thread::sleep(rest);
            let expected = told(&both.ours[0], &bss.lookup(&[0; 4]).unwrap());
            let ours = both.ours.iter().map(|object| {
                let globals = object.map(".bss").unwrap().lookup(&[0; 4]).unwrap().unwrap();
                told(object, &globals)
            });
            let ours: Vec<_> = ours.collect();
            let alike = ours.iter().all(|told| *told == expected);
            if !alike {
                last = (ours, expected);
            }
            alike
        });
        assert!(all_alike, "{program} {args:?}: {:?}, kernel {:?}", last.0, last.1);
    }
}

#[test]
fn timers_call_in_the_order_in_which_they_are_due() {
    let period = 20 * MILLISECOND;
    let args = product(&[0, 1, 3], &[period], &[5, 900], &[0]);
    compare_later("start", &args, Duration::from_millis(180));
    let args = product(&[2], &[period], &[5], &[1]);
    compare_later("start", &args, Duration::from_millis(300));
}

#[test]
fn work_is_done_once_each_time_it_is_started() {
    let args = product(&[0, 1, 5], &[0], &[1, 77], &[0]);
    compare_later("start_work", &args, Duration::from_millis(50));
}

/// An object in a runtime whose clock is the test's.
fn on_a_manual_clock(engine: EngineChoice) -> Option<(Runtime, Object, ManualClock)> {
    let clock = ManualClock::new(1_000_000_000);
    let builder = Runtime::builder().engine(engine).cpus(2);
    let runtime = builder.clock(Clock::Manual(clock.clone())).build().ok()?;
    let object = runtime.open_file(file(OBJECT)).unwrap().load().unwrap();
    Some((runtime, object, clock))
}

#[test]
fn a_host_with_its_own_clock_runs_what_is_due() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Some((runtime, object, clock)) = on_a_manual_clock(engine) else { continue };
        let bss = object.map(".bss").unwrap();
        let start = globals(&object, [1, 1000, 5, 0]);
        bss.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        assert_eq!(runtime.next_due(), None);
        assert_eq!(run(&object, "start"), 0);
        assert_eq!(runtime.run_due(), 0, "nothing is due");
        let mut times = Vec::new();
        while let Some(due) = runtime.next_due() {
            clock.set(due);
            times.push((due - 1_000_000_000, runtime.run_due()));
        }
        assert_eq!(times, [(250, 1), (1000, 1), (1500, 1), (2000, 1), (3000, 1)]);
        let told = told(&object, &bss.lookup(&[0; 4]).unwrap().unwrap());
        let dead = -35;
        assert_eq!(told[..10], [2006, dead, 5005, 8005, 0, 7005, dead, 0, 7005, dead]);
        // All at once, in the same order; what is started meanwhile is due a period later.
        assert_eq!(run(&object, "start"), 0);
        clock.set(1_000_000_000_000);
        assert_eq!((runtime.run_due(), runtime.run_due()), (4, 0));
        assert_eq!(runtime.next_due(), Some(1_000_000_001_000));
        // What is due at once waits for the next time too.
        let start = globals(&object, [2, 0, 5, 0]);
        bss.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        assert_eq!(run(&object, "start_work"), 0);
        assert_eq!([(); 4].map(|()| runtime.run_due()), [1, 1, 1, 0]);
    }
}

#[test]
fn timers_end_with_the_host_s_hold_on_their_map() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Some((runtime, object, _)) = on_a_manual_clock(engine) else { continue };
        let bss = object.map(".bss").unwrap();
        let start = globals(&object, [1, 1000, 5, 0]);
        bss.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        assert_eq!(run(&object, "start"), 0);
        assert!(runtime.next_due().is_some());
        let codes = object.program("codes").unwrap();
        let at = offset_of(&object, "out");
        drop(object);
        assert_eq!(runtime.next_due(), None);
        // The program keeps the map, but a timer would be nobody's.
        let packet = ipv4(64);
        assert_eq!(codes.test_run(&TestRun::packet(&packet)).unwrap().return_value, 0);
        let globals = bss.lookup(&[0; 4]).unwrap().unwrap();
        let out = |n: usize| i64::from_le_bytes(globals[at + 8 * n..][..8].try_into().unwrap());
        let (missing, not_permitted) = (-22, -1);
        assert_eq!([0, 1, 2, 4].map(out), [missing, not_permitted, not_permitted, missing]);
    }
}

#[test]
fn who_takes_a_timer_back_waits_for_its_function() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Ok(runtime) = Runtime::builder().engine(engine).cpus(2).build() else { continue };
        let object = runtime.open_file(file(OBJECT)).unwrap().load().unwrap();
        let bss = object.map(".bss").unwrap();
        let mut running = 0;
        for _ in 0..20 {
            assert_eq!(run(&object, "start_slow"), 0);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(run(&object, "stop_slow"), 0);
            let told = told(&object, &bss.lookup(&[0; 4]).unwrap().unwrap());
            // Seen while it ran, it has ended when it is taken back; else it never begins.
            assert!(matches!(told[..3], [_, 0, 2] | [0, 1, 0]), "{told:?}");
            running += i32::from(told[0] == 1);
        }
        assert!(running > 0, "no function was seen running");
    }
}

/// Programs on many threads start and take back timers that a thread of the runtime runs.
#[test]
fn timers_are_started_and_taken_back_by_programs_on_many_threads() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Ok(runtime) = Runtime::builder().engine(engine).cpus(3).build() else { continue };
        let object = runtime.open_file(file(OBJECT)).unwrap().load().unwrap();
        let bss = object.map(".bss").unwrap();
        let start = globals(&object, [1000, 10_000, 5, 0]);
        bss.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let object = &object;
                scope.spawn(move || {
                    let names = ["start", "codes", "start_work", "work_codes"];
                    for round in 0..200 {
                        // Another thread may take the entry away that this one just made.
                        run(object, names[(thread + round) % names.len()]);
                    }
                });
            }
        });
        drop((bss, object));
        assert_eq!(runtime.next_due(), None);
    }
}
