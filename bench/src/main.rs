//! Speed, side by side: our engines, the running kernel, and the peers.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks")]

mod stats;
mod verify;
#[cfg(feature = "engines")]
mod programs;
#[cfg(feature = "engines")]
mod inputs;
#[cfg(feature = "engines")]
mod contender;
#[cfg(feature = "engines")]
mod kernel;
#[cfg(feature = "engines")]
mod ours;
#[cfg(feature = "engines")]
mod peers;
#[cfg(feature = "engines")]
mod jit;
#[cfg(feature = "engines")]
mod tail;
#[cfg(feature = "engines")]
mod pending;
#[cfg(feature = "engines")]
mod entry;
#[cfg(feature = "engines")]
mod replace;
#[cfg(feature = "engines")]
mod load;
#[cfg(feature = "engines")]
mod helpers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

/// What can be measured.
const HELP: &str = "\
usage: bpf-bench [all | verify | jit | list | tail | entry | replace | load | helpers] [--rounds N]
                 [--folder DIR] [PROGRAM...]

all     everything below; the default
entry   entering an empty program
tail    a tail call, in chains of 34 programs, and changing one, the last line being the worst of our
        compiled code's times over the kernel's; chains that are being compiled, and a program that
        comes into a chain that runs
replace idle entry slots, replaced and probed functions, attaching while threads call
jit     the programs of bench/programs on our engines, rbpf's, solana-sbpf's and the kernel's;
        the last line is the geometric mean of our compiled code's time over the kernel's;
        with --folder, objects NAME.bpf.o of another folder, an XDP program each
list    our machine code of these programs
load    from an object's bytes to the first result, beside the kernel, and what compiling takes by
        size; the last line is the geometric mean of our time over the kernel's, our compiler
        working in the background
helpers what helpers and operations on maps take, each in a loop, beside the kernel's
verify  how long verifying heavy programs takes us and the kernel; the last line is the
        geometric mean of our time over the kernel's
";

/// How often each contender has its turn, if nobody says.
const ROUNDS: u32 = 41;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpf-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Vec<String>) -> anyhow::Result<()> {
    let mut rounds = ROUNDS;
    if let Some(at) = args.iter().position(|arg| arg == "--rounds") {
        let number = args.get(at + 1).context("--rounds wants a number")?;
        rounds = number.parse().with_context(|| format!("--rounds {number}"))?;
        args.drain(at..at + 2);
    }
    let mut folder = None;
    if let Some(at) = args.iter().position(|arg| arg == "--folder") {
        folder = Some(PathBuf::from(args.get(at + 1).context("--folder wants a folder")?));
        args.drain(at..at + 2);
    }
    let what = if args.is_empty() { "all".to_owned() } else { args.remove(0) };
    if let Err(errno) = bpf_oracle::kernel::available() {
        println!("the kernel takes no part: bpf() says {errno}");
    }
    match what.as_str() {
        "verify" => verify::run(rounds, &args),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        what => engines(what, rounds, folder.as_deref(), &args),
    }
}

/// Measures what runs programs.
#[cfg(feature = "engines")]
fn engines(what: &str, rounds: u32, folder: Option<&Path>, args: &[String]) -> anyhow::Result<()> {
    match what {
        "all" => {
            verify::run(rounds, args)?;
            entry::run(rounds)?;
            tail::run(rounds)?;
            replace::run(rounds)?;
            load::run(rounds, args)?;
            helpers::run(rounds, args)?;
            jit::run(rounds, None, args)
        }
        "jit" => jit::run(rounds, folder, args),
        "list" => jit::list(folder, args),
        "tail" => tail::run(rounds),
        "load" => load::run(rounds, args),
        "helpers" => helpers::run(rounds, args),
        "entry" => entry::run(rounds),
        "replace" => replace::run(rounds),
        _ => anyhow::bail!("nothing is called {what:?}\n\n{HELP}"),
    }
}

/// Says that this build runs no programs.
#[cfg(not(feature = "engines"))]
fn engines(what: &str, _: u32, _: Option<&Path>, _: &[String]) -> anyhow::Result<()> {
    anyhow::bail!("{what}: this build can only verify; the feature `engines` is off\n\n{HELP}")
}
