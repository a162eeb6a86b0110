//! Chains of tail calls rebuilt while programs run through them. `BPFKIT_TORTURE` says for how many
//! seconds, on each engine; seventeen in all if it does not.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "says what it did, or stops")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bpf_runtime::{Builder, EngineChoice, JitMode, Runtime};
use bpf_tests::torture::chains::{Report, chains};

/// One after the other: each looks at how much memory the process has.
static TURN: Mutex<()> = Mutex::new(());

fn torture(name: &str, builder: Builder, default: u64) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = std::env::var("BPFKIT_TORTURE").ok().and_then(|text| text.parse().ok());
    let report = chains(builder, Duration::from_secs(asked.unwrap_or(default))).unwrap();
    drop(turn);
    println!("{name}: {report:#?}");
    let Report { packets, counts, updates, loads, abandoned, routes, .. } = report;
    assert!(packets > 1_000 && updates > 1_000 && loads > 20 && abandoned > 5 && routes > 100);
    assert!(counts.taken > packets && counts.fallen > 0 && counts.back > 0 && counts.at_limit > 0);
    assert!(counts.forgotten < counts.taken / 10, "too little was judged");
}

#[test]
fn chains_of_compiled_programs_are_rebuilt() {
    torture("jit", Runtime::builder().engine(EngineChoice::Jit), 8);
}

#[test]
fn chains_of_interpreted_programs_are_rebuilt() {
    torture("interpreter", Runtime::builder().engine(EngineChoice::Interp), 5);
}

#[test]
fn chains_of_programs_that_are_compiled_later_are_rebuilt() {
    let builder = Runtime::builder().engine(EngineChoice::Jit).jit(JitMode::Background);
    torture("jit in the background", builder, 4);
}
