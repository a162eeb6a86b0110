//! The chores of this workspace: `cargo xtask COMMAND`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks")]

mod layers;
mod objects;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Context as _;
use xshell::{Shell, cmd};

/// A chore: its name, what it takes, what it is for, and the function that does it.
struct Command {
    name: &'static str,
    takes: &'static str,
    what: &'static str,
    run: fn(&Shell, &[String]) -> anyhow::Result<()>,
}

/// Every chore. This table is the dispatch and the help.
const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        takes: "[--nightly]",
        what: "formatting, lints, layers, tidiness, all tests, docs; --nightly: more mutants",
        run: test::run,
    },
    Command {
        name: "bless",
        takes: "",
        what: "accept what the snapshot tests now print",
        run: test::bless,
    },
    Command {
        name: "layers",
        takes: "",
        what: "which crate may use which",
        run: |sh, _| layers::run(sh),
    },
    Command {
        name: "tidy",
        takes: "",
        what: "rules that clippy does not know",
        run: |sh, _| tidy::run(sh),
    },
    Command {
        name: "objects",
        takes: "[NAME]",
        what: "rebuild the committed objects with clang-22",
        run: objects::run,
    },
    Command {
        name: "cases",
        takes: "DIR [--only TEXT] [--engine interp]",
        what: "run a folder of case scripts; objects that are missing are built with clang-22",
        run: cases,
    },
    Command {
        name: "torture",
        takes: "replace|chains [--seconds N] [--interp|...]",
        what: "exchange functions, or programs of chains, at full speed while threads run them",
        run: torture,
    },
    Command {
        name: "models",
        takes: "",
        what: "loom's models: every interleaving of entering, leaving, attaching, detaching",
        run: |sh, _| test::models(sh),
    },
    Command {
        name: "bench",
        takes: "[WHAT]",
        what: "our engines, the kernel and the peers, side by side",
        run: bench,
    },
    Command {
        name: "oracle",
        takes: "raw FILE.json|- | facts",
        what: "what the running kernel says of raw documents; whether the recorded facts still hold",
        run: |sh, args| release(sh, "bpf-oracle", args),
    },
    Command {
        name: "fuzz-kernel",
        takes: "[--programs N] [--seed S]",
        what: "random programs, put to the running kernel and to our verifier",
        run: |sh, args| release(sh, "bpf-fuzz", args),
    },
    Command {
        name: "fuzz-engines",
        takes: "[--programs N] [--seed S] [--kernel N]",
        what: "random programs, run on every engine, and a sample of them in the running kernel",
        run: |sh, args| release(sh, "bpf-fuzz", &[&["engines".to_owned()], args].concat()),
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> anyhow::Result<()> {
    let chosen = args.split_first().and_then(|(name, rest)| {
        let command = COMMANDS.iter().find(|command| command.name == name)?;
        Some((command, rest))
    });
    let Some((command, rest)) = chosen else {
        println!("usage: cargo xtask COMMAND\n");
        for Command { name, takes, what, .. } in COMMANDS {
            println!("  {:<26} {what}", format!("{name} {takes}"));
        }
        anyhow::ensure!(args.is_empty(), "no such command: {}", args.join(" "));
        return Ok(());
    };
    (command.run)(&in_the_root()?, rest)
}

/// A shell in the workspace's root.
fn in_the_root() -> anyhow::Result<Shell> {
    let sh = Shell::new()?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    sh.change_dir(root.context("xtask lies in the workspace's root")?);
    Ok(sh)
}

/// Measures. What only verifies is built without the engines and the peers.
fn bench(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    if args.iter().any(|arg| arg == "verify") {
        let package = ["--package", "bpf-bench", "--no-default-features"];
        cmd!(sh, "cargo run --quiet --release {package...} -- {args...}").quiet().run()?;
        return Ok(());
    }
    release(sh, "bpf-bench", args)
}

/// What is tortured: the binary of its tests, and its tests by the options that choose them; without
/// an option those that are not special.
struct Torture {
    name: &'static str,
    binary: &'static str,
    tests: &'static [(&'static str, &'static str, Asked)],
}

/// When a test of a torture runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// If it is asked for, or nothing is.
    OrNot,
    /// If it is asked for.
    Only,
}

const TORTURES: &[Torture] = &[
    Torture {
        name: "replace",
        binary: "torture",
        tests: &[
            ("--word", "functions_are_replaced_while_programs_run", Asked::OrNot),
            ("--careful", "functions_are_replaced_by_displacements_alone", Asked::Only),
            ("--interp", "interpreted_functions_are_replaced_while_programs_run", Asked::Only),
        ],
    },
    Torture {
        name: "chains",
        binary: "torture_chains",
        tests: &[
            ("--jit", "chains_of_compiled_programs_are_rebuilt", Asked::OrNot),
            ("--interp", "chains_of_interpreted_programs_are_rebuilt", Asked::OrNot),
            (
                "--background",
                "chains_of_programs_that_are_compiled_later_are_rebuilt",
                Asked::OrNot,
            ),
        ],
    },
];

/// Runs one of the tortures for as long as is said, built for speed.
fn torture(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    let known = || TORTURES.iter().map(|torture| torture.name).collect::<Vec<_>>().join(" and ");
    let (what, rest) =
        args.split_first().with_context(|| format!("torture what? There are {}", known()))?;
    let torture = TORTURES.iter().find(|torture| torture.name == what);
    let torture =
        torture.with_context(|| format!("no such torture: {what}. There are {}", known()))?;
    let (mut seconds, mut asked) = ("20", Vec::new());
    let mut rest = rest.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        match torture.tests.iter().find(|(option, ..)| *option == arg) {
            Some((_, test, _)) => asked.push(*test),
            None if arg == "--seconds" => {
                seconds = rest.next().context("--seconds wants a number")?;
            }
            None => anyhow::bail!("not understood: {arg}"),
        }
    }
    let seconds: u64 = seconds.parse().with_context(|| format!("{seconds:?} is no number"))?;
    if asked.is_empty() {
        let by_default = torture.tests.iter().filter(|(.., asked)| *asked == Asked::OrNot);
        asked.extend(by_default.map(|(_, test, _)| *test));
    }
    // One after the other, the time divided among them.
    let each = (seconds / asked.len() as u64).max(1);
    let binary = torture.binary;
    let run = ["test", "--quiet", "--release", "--package", "bpf-tests", "--test", binary];
    cmd!(sh, "cargo {run...} -- --nocapture --exact {asked...}")
        .env("BPFKIT_TORTURE", each.to_string())
        .quiet()
        .run()?;
    Ok(())
}

/// Runs a folder of case scripts.
fn cases(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    let (folder, rest) = args.split_first().context("which folder?")?;
    // Where the user stands, not the workspace's root.
    let folder = std::env::current_dir()?.join(folder);
    let run = ["run", "--quiet", "--package", "bpfkit-cli", "--", "run", "--script"];
    cmd!(sh, "cargo {run...} {folder} {rest...}").quiet().run()?;
    Ok(())
}

/// Builds a tool of this workspace for speed and runs it.
fn release(sh: &Shell, package: &str, args: &[String]) -> anyhow::Result<()> {
    cmd!(sh, "cargo run --quiet --release --package {package} -- {args...}").quiet().run()?;
    Ok(())
}
