//! Static functions are put into those that call them, and nobody can tell: who attaches to one is
//! called for every call of it, in all runs that begin from then on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bpf_abi::exec::Engine;
use bpf_runtime::{EngineChoice, JitMode, Link, Map, Program, Runtime};
use bpf_tests::corpus::file;
use bpfkit::OpenElf as _;

const PACKET: [u8; 64] = [0; 64];

/// What the program returns, whoever looks on.
const RESULT: u32 = 385_106;

/// Its functions, and how often a run calls each.
const FUNCTIONS: [(&str, u64); 4] = [("inner", 8), ("outer", 1), ("in_loop", 6), ("each", 4)];

/// The places in the map of counts.
const ENTERED: u32 = 0;
const LEFT: u32 = 1;
const WRONG: u32 = 2;

/// The program, and what its probes count.
struct Loaded {
    runtime: Runtime,
    program: Program,
    counts: Map,
}

impl Loaded {
    fn new(runtime: Runtime) -> Self {
        let mut open = runtime.open_file(file("tests/objects/inlined.bpf.o")).unwrap();
        open.choose(&["main_program"]).unwrap();
        let object = open.load().unwrap();
        let (program, counts) = ("main_program", "counts");
        let (program, counts) = (object.program(program).unwrap(), object.map(counts).unwrap());
        Self { runtime, program, counts }
    }

    /// The two probes of a function, attached.
    fn probe(&self, function: &str) -> [Link; 2] {
        ["before", "after"].map(|when| {
            let name = format!("{when}_{function}");
            let mut open = self.runtime.open_file(file("tests/objects/inlined.bpf.o")).unwrap();
            open.choose(&[&name]).unwrap();
            open.reuse_map("counts", &self.counts).unwrap();
            let id = self.program.function_id(function).unwrap();
            open.attach_target(Some(&self.program), id);
            open.load().unwrap().program(&name).unwrap().attach().unwrap()
        })
    }

    fn counts(&self) -> bpf_runtime::Array<u64> {
        self.counts.array().unwrap()
    }

    /// How often functions were entered and left while the program ran once.
    fn run(&self) -> [u64; 2] {
        let counts = self.counts();
        let now = || [ENTERED, LEFT].map(|place| counts.get(place).unwrap());
        let before = now();
        let mut packet = self.program.packet(&PACKET).unwrap();
        assert_eq!(self.program.run(&mut packet).unwrap(), RESULT);
        assert_eq!(counts.get(WRONG).unwrap(), 0);
        let after = now();
        [after[0] - before[0], after[1] - before[1]]
    }
}

/// Sets the flag when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn runtimes() -> Vec<Runtime> {
    let builder = Runtime::builder;
    [
        builder().engine(EngineChoice::Jit),
        builder().engine(EngineChoice::Jit).count(true),
        builder().engine(EngineChoice::Jit).optimize(false),
        builder().jit(JitMode::Background),
        builder().engine(EngineChoice::Interp),
    ]
    .into_iter()
    .filter_map(|builder| builder.inline(true).build().ok())
    .collect()
}

#[test]
fn probes_of_static_functions_see_every_call() {
    for runtime in runtimes() {
        for (function, calls) in FUNCTIONS {
            let loaded = Loaded::new(runtime.clone());
            assert_eq!(loaded.run(), [0, 0]);
            let probes = loaded.probe(function);
            assert_eq!(loaded.run(), [calls; 2], "{function}");
            // Another, too, and then one after the other lets go.
            let others = loaded.probe("inner");
            let inner = if function == "inner" { 16 } else { calls + 8 };
            assert_eq!(loaded.run(), [inner; 2], "{function} and inner");
            drop(probes);
            assert_eq!(loaded.run(), [8, 8], "{function} let go");
            drop(others);
            assert_eq!(loaded.run(), [0, 0], "{function} after all");
        }
    }
}

#[test]
fn runs_that_begin_when_a_probe_is_attached_meet_it_while_others_go_on() {
    let Ok(runtime) = Runtime::builder().engine(EngineChoice::Jit).inline(true).build() else {
        return;
    };
    let free = runtime.free_code_memory();
    for round in 0..8 {
        let loaded = Loaded::new(runtime.clone());
        assert_eq!(loaded.program.settle(), Engine::Jit);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut packet = loaded.program.packet(&PACKET).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(loaded.program.run(&mut packet).unwrap(), RESULT);
                    }
                });
            }
            // The others stop however this ends.
            let _stop = Stop(&stop);
            let (function, calls) = FUNCTIONS[round % 4];
            for _ in 0..6 {
                let probes = loaded.probe(function);
                // The others are counted too.
                let [entered, left] = loaded.run();
                assert!(entered >= calls && left >= calls, "{function}: {entered}, {left}");
                drop(probes);
            }
        });
        assert_eq!(loaded.run(), [0, 0]);
    }
    assert_eq!(runtime.free_code_memory(), free);
}
