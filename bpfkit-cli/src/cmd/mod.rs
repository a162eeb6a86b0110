//! One file a subcommand, and what they share.

pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod replay;
pub(crate) mod maps;
pub(crate) mod verify;
pub(crate) mod dump;
pub(crate) mod btf;
pub(crate) mod raw;
pub(crate) mod conformance;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpfkit::abi::spec::ObjectSpec;
use bpfkit::{EngineChoice, JitMode, KernelBtf, OpenObject, Runtime};
use clap::ValueEnum;

/// Which engine runs programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Compiled code where there can be any, else the interpreter
    #[default]
    Auto,
    /// Compiled code
    Jit,
    /// The interpreter
    Interp,
}

impl From<Engine> for EngineChoice {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Auto => Self::Auto,
            Engine::Jit => Self::Jit,
            Engine::Interp => Self::Interp,
        }
    }
}

/// When programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Jit {
    /// As they are loaded
    #[default]
    Eager,
    /// Beside the runs, which are interpreted until code is there
    Background,
    /// Never
    Off,
}

impl From<Jit> for JitMode {
    fn from(jit: Jit) -> Self {
        match jit {
            Jit::Eager => Self::Eager,
            Jit::Background => Self::Background,
            Jit::Off => Self::Off,
        }
    }
}

/// Where the kernel's types come from: a file, or the running kernel.
pub(crate) fn kernel_btf(file: Option<&PathBuf>) -> KernelBtf {
    file.map_or(KernelBtf::Running, |file| KernelBtf::File(file.clone()))
}

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Says what was left aside when an object was read.
pub(crate) fn tell_notes(path: &Path, object: &ObjectSpec) {
    for note in &object.notes {
        eprintln!("bpfkit: {}: {note}", path.display());
    }
}

/// Opens an object file in a runtime.
pub(crate) fn open(runtime: &Runtime, path: &Path) -> anyhow::Result<OpenObject> {
    use bpfkit::prelude::*;
    let open = runtime.open_file(path)?;
    tell_notes(path, open.spec());
    Ok(open)
}
