//! Functions replaced and probed while programs run. `BPFKIT_TORTURE` says for how many seconds, on
//! each of the ways in which entries are changed; twenty-four in all if it does not.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "says what it did, or stops")]

use std::time::Duration;

use bpf_jit::SlotMode;
use bpf_runtime::{Builder, EngineChoice, JitMode, Runtime};
use bpf_tests::torture::{Report, replace};

/// For how long, of so many parts of twenty seconds.
fn seconds(default: u64) -> Duration {
    let asked = std::env::var("BPFKIT_TORTURE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(default))
}

fn torture(name: &str, builder: Builder, default: u64) {
    let report = replace(builder, seconds(default)).unwrap();
    println!("{name}: {report:?}");
    let Report { calls, replaced, probed, exchanges, loads } = report;
    assert!(calls > 1_000 && replaced > 0 && probed > 0 && exchanges > 100 && loads > 10);
}

#[test]
fn functions_are_replaced_while_programs_run() {
    torture("one word", Runtime::builder().engine(EngineChoice::Jit), 10);
}

#[test]
fn functions_are_replaced_by_displacements_alone() {
    let builder = Runtime::builder().engine(EngineChoice::Jit).slots(SlotMode::Displacement);
    torture("displacement", builder, 5);
}

#[test]
fn interpreted_functions_are_replaced_while_programs_run() {
    torture("interpreter", Runtime::builder().engine(EngineChoice::Interp), 5);
}

#[test]
fn functions_are_replaced_by_programs_that_are_compiled_beside() {
    let builder = Runtime::builder().engine(EngineChoice::Jit).jit(JitMode::Background);
    torture("jit in the background", builder, 4);
}
