//! Probes that run where they run already, and probes that an exception passes by.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use bpf_runtime::{EngineChoice, JitMode, Link, Object, OpenObject, Program, Runtime};
use bpf_tests::corpus::file;
use bpf_tests::places::engines;
use bpfkit::OpenElf as _;

const OBJECT: &str = "tests/objects/probes.bpf.o";
const PACKET: [u8; 64] = [0; 64];

/// The object with these programs alone.
fn open(runtime: &Runtime, programs: &[&str]) -> OpenObject {
    let mut open = runtime.open_file(file(OBJECT)).unwrap();
    open.choose(programs).unwrap();
    open
}

/// A probe of a function of this program, which counts in the program's variables.
fn probe(object: &Object, target: &Program, function: &str, name: &str) -> (Program, Link) {
    let mut open = open(object.runtime(), &[name]);
    open.reuse_map(".bss", &object.map(".bss").unwrap()).unwrap();
    open.attach_target(Some(target), target.function_id(function).unwrap());
    let program = open.load().unwrap().program(name).unwrap();
    let link = program.attach().unwrap();
    (program, link)
}

/// How often the function ran, the probe before it, and the probe behind it.
fn counted(object: &Object) -> [u64; 3] {
    ["worked", "entered", "left"].map(|name| object.global(name).unwrap())
}

fn run(program: &Program) -> u32 {
    program.run(&mut program.packet(&PACKET).unwrap()).unwrap()
}

/// What is done with a line that a program prints.
type OnLine = Box<dyn Fn(&str) + Send + Sync>;

/// The engines, and who gets the lines that programs print in each.
fn printing_engines() -> Vec<(&'static str, Runtime, Arc<OnceLock<OnLine>>)> {
    let modes = [
        ("interpreter", EngineChoice::Interp, JitMode::Eager),
        ("jit", EngineChoice::Auto, JitMode::Eager),
        ("jit in the background", EngineChoice::Auto, JitMode::Background),
    ];
    let built = modes.map(|(name, engine, mode)| {
        let on_line = Arc::new(OnceLock::<OnLine>::new());
        let printer = {
            let on_line = Arc::clone(&on_line);
            move |line: &[u8]| {
                if let Some(on_line) = on_line.get() {
                    on_line(&String::from_utf8_lossy(line));
                }
            }
        };
        let builder = Runtime::builder().engine(engine).jit(mode).cpus(2);
        (name, builder.on_print(printer).build().unwrap(), on_line)
    });
    built.into()
}

#[test]
fn a_probe_that_runs_already_is_passed_over_and_that_is_counted() {
    for (engine, runtime, on_line) in printing_engines() {
        let object = open(&runtime, &["program"]).load().unwrap();
        let program = object.program("program").unwrap();
        let (before, before_link) = probe(&object, &program, "work", "before");
        let (behind, behind_link) = probe(&object, &program, "work", "behind");
        assert_eq!((run(&program), counted(&object)), (5, [1, 1, 1]), "{engine}");
        assert_eq!(before.info().recursion_misses, 0, "{engine}");

        // Whoever gets a line runs the program again, on this thread, so on this CPU.
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (again, seen) = (program.clone(), Arc::clone(&lines));
        let on_line = on_line.set(Box::new(move |line| {
            seen.lock().unwrap().push(line.to_owned());
            assert_eq!(run(&again), 5);
        }));
        assert!(on_line.is_ok());
        // Once from here, and once while each probe prints: of the second runs, the one in `before`
        // passes over `before`, the one in `behind` passes over `behind`.
        assert_eq!(run(&program), 5, "{engine}");
        assert_eq!(counted(&object), [4, 3, 3], "{engine}");
        let misses = [&before, &behind].map(|probe| probe.info().recursion_misses);
        assert_eq!(misses, [1, 1], "{engine}");
        // What the second runs print is refused: the printer is busy with them.
        assert_eq!(*lines.lock().unwrap(), ["before", "behind"], "{engine}");
        assert_eq!(program.info().recursion_misses, 0, "{engine}");

        // On other CPUs a probe is another probe.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(run(&program), 5)));
            }
        });
        assert_eq!(counted(&object), [4 + 300, 3 + 200, 3 + 200], "{engine}");
        drop((before_link, behind_link));
        assert_eq!(run(&program), 5, "{engine}");
        assert_eq!(counted(&object), [305, 203, 203], "{engine}");
        // The program holds the runtime that has the printer that holds the program.
    }
}

#[test]
fn a_printer_that_panics_does_so_where_the_program_was_run() {
    for (engine, runtime, on_line) in printing_engines() {
        let object = open(&runtime, &["program"]).load().unwrap();
        let program = object.program("program").unwrap();
        let (before, link) = probe(&object, &program, "work", "before");
        let on_line = on_line.set(Box::new(|line| assert_ne!(line, "before", "not this line")));
        assert!(on_line.is_ok());
        for _ in 0..2 {
            let panic = catch_unwind(AssertUnwindSafe(|| run(&program))).unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert!(text.contains("not this line"), "{engine}: {text}");
        }
        // The probe is not thought to be running still.
        assert_eq!(counted(&object), [2, 2, 0], "{engine}");
        assert_eq!(before.info().recursion_misses, 0, "{engine}");
        drop(link);
        assert_eq!(run(&program), 5, "{engine}");
    }
}

#[test]
fn an_exception_that_passes_through_a_function_passes_by_the_probes_behind_it() {
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        println!("skipped: bpf_throw needs the types of a kernel");
        return;
    }
    for (engine, runtime) in engines() {
        let object = open(&runtime, &["thrower"]).load().unwrap();
        let thrower = object.program("thrower").unwrap();
        assert_eq!(run(&thrower), 9, "{engine}");
        let (_, behind) = probe(&object, &thrower, "may_throw", "behind_throw");
        assert_eq!(run(&thrower), 9, "{engine}");
        let (_, before) = probe(&object, &thrower, "may_throw", "before_throw");
        assert_eq!(run(&thrower), 9, "{engine}");
        // `before_throw` counts itself twice.
        assert_eq!(counted(&object), [0, 1, 1], "{engine}");
        drop((behind, before));
    }
}
