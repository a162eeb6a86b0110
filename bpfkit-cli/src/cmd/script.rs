//! `bpfkit run --script`: case scripts, compared with what a kernel did.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpf_script::{Case, Options, build, run_dir, run_file};

use super::{Engine, kernel_btf};
use crate::Outcome;
use crate::report::print;

/// What `bpfkit run` can be told of scripts.
#[derive(Debug, clap::Args)]
pub(crate) struct ScriptArgs {
    /// Run a case script, or every script of a folder
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["pcap", "data_in", "ctx_in"])]
    pub(crate) script: Option<PathBuf>,
    /// Of a folder, only scripts whose name contains this
    #[arg(long, value_name = "TEXT", requires = "script")]
    pub(crate) only: Option<String>,
    /// Compare the last line of the log of each refused load too
    #[arg(long, requires = "script")]
    pub(crate) messages: bool,
    /// Build the objects of the scripts anew with clang-22, and do nothing else
    #[arg(long, requires = "script")]
    pub(crate) build: bool,
}

/// Runs the scripts.
pub(crate) fn run(
    args: &ScriptArgs,
    path: &Path,
    engine: Engine,
    btf: Option<&PathBuf>,
) -> anyhow::Result<Outcome> {
    if args.build {
        return rebuild(path, args.only.as_deref().unwrap_or_default());
    }
    let options = Options {
        engine: engine.into(),
        kernel_btf: kernel_btf(btf),
        messages: args.messages,
        ..Options::default()
    };
    let passed = if path.is_dir() {
        let report = run_dir(path, args.only.as_deref().unwrap_or_default(), &options)?;
        print(&report.to_string())?;
        report.failed() == 0
    } else {
        let case = run_file(path, &options)?;
        for (step, outcome) in &case.steps {
            print(&format!("{step:<60} {outcome}\n"))?;
        }
        for failure in &case.failures {
            print(&format!("{failure}\n"))?;
        }
        for note in &case.notes {
            print(&format!("{note}\n"))?;
        }
        case.passed()
    };
    Ok(if passed { Outcome::Done } else { Outcome::Refused })
}

fn rebuild(path: &Path, only: &str) -> anyhow::Result<Outcome> {
    let mut sources = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        sources = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        sources.sort();
    }
    let mut built = 0;
    for source in sources {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".bpf.c") && name.contains(only) {
            built += build(&Case::read(&source)?)?;
        }
    }
    print(&format!("{built} objects built\n"))?;
    Ok(Outcome::Done)
}
