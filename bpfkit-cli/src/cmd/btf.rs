//! `bpfkit btf`: the types of an object or of a kernel.

use std::path::PathBuf;

use anyhow::Context as _;
use bpfkit::btf::dump::{self, CStyle};
use clap::ValueEnum;

use super::read;
use crate::Outcome;
use crate::report::print;

/// Print the types of an object or of a kernel
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An object, or a file of BTF such as /sys/kernel/btf/vmlinux
    file: PathBuf,
    /// In which form
    #[arg(long = "as", value_enum, default_value_t)]
    form: Form,
}

/// The forms of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A header that clang accepts
    #[default]
    C,
    /// A line for each type, with its number
    Raw,
    /// JSON
    Json,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let bytes = read(&args.file)?;
    let btf = bpfkit::btf_of(&bytes).with_context(|| args.file.display().to_string())?;
    print(&match args.form {
        Form::C => {
            let is_kernel = !bytes.starts_with(b"\x7fELF");
            dump::c(&btf, if is_kernel { CStyle::Vmlinux } else { CStyle::Bare })?
        }
        Form::Raw => dump::raw(&btf),
        Form::Json => dump::json(&btf),
    })?;
    Ok(Outcome::Done)
}
