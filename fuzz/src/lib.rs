//! Random programs of all kinds, and what the running kernel and our verifier say of them.
//!
//! A program is made from a seed and nothing else: [`generate::program`]. It lives in a [`World`] of
//! maps and types that are made once. Most programs are nearly right, since a verifier says most
//! about those; some are then spoilt by [`mutate::spoil`].

pub mod random;
pub mod op;
pub mod hook;
pub mod world;
pub mod sample;
pub mod generate;
pub mod mutate;
pub mod family;
pub mod agree;
#[cfg(target_os = "linux")]
pub mod judge;

pub use random::Random;
pub use sample::Sample;
pub use world::World;

/// What a command ends with: success if all agree, failure if not; 2, and the reason in words, if
/// they could not be asked.
pub fn exit_code(agree: Result<bool, String>) -> std::process::ExitCode {
    use std::io::Write as _;
    match agree {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "bpf-fuzz: {message}");
            std::process::ExitCode::from(2)
        }
    }
}
