//! The example object, end to end: from ELF to verdicts.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on should stop"
)]

use std::error::Error as _;
use std::path::Path;

use bpfkit::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn load(engine: EngineChoice) -> Object {
    let runtime = Runtime::builder().engine(engine).cpus(2).seed(1).count(true).build().unwrap();
    let open = runtime.open_file(root().join("examples/dispatch.bpf.o")).unwrap();
    open.load().unwrap_or_else(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        panic!("{error}: {cause}\n{}", error.log().unwrap_or_default())
    })
}

#[test]
fn the_example_loads_and_runs() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let object = load(engine);
        for program in object.programs() {
            eprintln!("{:?} {:?}", program.info(), program.verifier_stats());
        }
        for (name, map) in object.maps() {
            eprintln!("{name} {:?}", map.info());
        }
        let entry = object.program("dispatch").unwrap();
        let out = entry.test_run(&TestRun::packet(&[0; 64]).repeat(10)).unwrap();
        eprintln!("{out:?} {:?}", entry.counters());
    }
}
