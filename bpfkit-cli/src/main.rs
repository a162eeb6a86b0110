//! The command `bpfkit`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a command talks")]

mod cmd;
mod pcap;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The Linux BPF subsystem on any machine: verify, run, look into the objects that you ship.
#[derive(Debug, Parser)]
#[command(name = "bpfkit", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program on a capture, or on one packet
    Run(cmd::run::Args),
    /// Verify every program of objects, as veristat does
    Verify(cmd::verify::Args),
    /// Print a program's instructions, before or after the verifier, or its machine code
    Dump(cmd::dump::Args),
    /// Print the types of an object or of a kernel
    Btf(cmd::btf::Args),
    /// Verify raw documents and print a report a line
    Raw(cmd::raw::Args),
    /// Run one program in checked memory, as the public conformance suite calls it
    ConformancePlugin(cmd::conformance::Args),
}

/// How a command ended, if nothing hindered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All was done.
    Done,
    /// Some program was refused, or some input could not be read to its end.
    Refused,
    /// Some input could not be read at all, which has been said; the rest was done.
    Unreadable,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is printed on standard output and is no error.
            let code = u8::from(error.use_stderr()) * 2;
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Run(args) => cmd::run::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
        Command::Dump(args) => cmd::dump::run(&args),
        Command::Btf(args) => cmd::btf::run(&args),
        Command::Raw(args) => cmd::raw::run(&args),
        Command::ConformancePlugin(args) => cmd::conformance::run(&args),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Ok(Outcome::Unreadable) => ExitCode::from(2),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfkit: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether the reader of our output has gone: no failure of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_agrees_with_itself() {
        Cli::command().debug_assert();
    }
}
