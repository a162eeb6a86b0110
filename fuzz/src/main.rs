//! Random programs: put to the running kernel and our verifier, or run on every engine.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod engines;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((what, rest)) if what == "engines" => engines::main(rest),
        Some(_) | None => run::main(args),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
