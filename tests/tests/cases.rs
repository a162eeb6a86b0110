//! Every committed case script on both engines, against what a kernel did.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use bpf_runtime::{EngineChoice, JitMode};
use bpf_script::{Options, run_dir};

fn every_case_on(engine: EngineChoice, jit: JitMode) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let report =
        run_dir(&dir, "", &Options { engine, jit, messages: true, ..Options::default() }).unwrap();
    assert!(report.cases.len() >= 96, "{} cases", report.cases.len());
    let wrong: Vec<String> = report
        .cases
        .iter()
        .flat_map(|case| case.failures.iter().map(ToString::to_string))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compiled_programs_do_what_a_kernel_does() {
    every_case_on(EngineChoice::Jit, JitMode::Eager);
}

#[test]
fn programs_that_are_compiled_when_links_need_it_do_what_a_kernel_does() {
    every_case_on(EngineChoice::Jit, JitMode::Background);
}

#[test]
fn interpreted_programs_do_what_a_kernel_does() {
    every_case_on(EngineChoice::Interp, JitMode::Eager);
}
