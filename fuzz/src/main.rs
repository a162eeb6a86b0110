//! Puts random programs before the running kernel and our verifier, and tells where they differ.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod run;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return run::main(std::env::args().skip(1).collect());
    #[cfg(not(target_os = "linux"))]
    ExitCode::from(2)
}
