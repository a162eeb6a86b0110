//! `bpfkit dump`: a program's instructions, before or after the verifier, or its machine code.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bpfkit::Runtime;
use bpfkit::abi::helper::protos::PROTOS;
use bpfkit::abi::spec::ProgramSpec;
use bpfkit::isa::{Imm64, Slot, Symbols, Text};
use bpfkit::jit::{Jit, JitOptions};
use clap::ValueEnum;

use super::run::explain;
use super::{Engine, kernel_btf, open};
use crate::Outcome;
use crate::report::print;

/// Print a program's instructions, before or after the verifier, or its machine code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object
    object: PathBuf,
    /// Only the program with this name
    #[arg(long, value_name = "NAME")]
    prog: Option<String>,
    /// In which form
    #[arg(long = "as", value_enum, default_value_t)]
    form: Form,
    /// The kernel's types, if not the running kernel's
    #[arg(long, value_name = "VMLINUX")]
    btf: Option<PathBuf>,
}

/// The forms of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// As the compiler made it
    #[default]
    Disasm,
    /// As the verifier rewrote it for the engines
    Xlated,
    /// As the processor runs it, with the instructions it was made of
    #[value(alias = "asm")]
    Jited,
    /// As Cranelift is given it
    Clif,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let engine = match args.form {
        Form::Jited | Form::Clif => Engine::Jit,
        Form::Disasm | Form::Xlated => Engine::Interp,
    };
    let runtime = Runtime::builder()
        .engine(engine.into())
        .kernel_btf(kernel_btf(args.btf.as_ref()))
        .build()?;
    let mut open = open(&runtime, &args.object)?;
    let all: Vec<String> =
        open.spec().programs.iter().map(|program| program.name.clone()).collect();
    let names: Vec<&str> = match &args.prog {
        Some(name) if all.contains(name) => vec![name],
        Some(name) => {
            bail!("no program {name:?} in {}; it has {}", args.object.display(), all.join(", "))
        }
        None => all.iter().map(String::as_str).collect(),
    };
    if args.form == Form::Disasm {
        for program in &open.spec().programs {
            if names.contains(&program.name.as_str()) {
                print(&disassembled(program, &open.spec().maps))?;
            }
        }
        return Ok(Outcome::Done);
    }
    open.choose(&names)?;
    let object = match open.load() {
        Ok(object) => object,
        Err(error) => {
            explain(&args.object, &error);
            return Ok(Outcome::Refused);
        }
    };
    for name in names {
        let program = object.program(name)?;
        let text = match args.form {
            Form::Xlated => rewritten(&program),
            Form::Jited => program.listing().context("there is no machine code")?,
            Form::Clif => Jit::new(JitOptions::default())?.clif(program.image())?,
            Form::Disasm => String::new(),
        };
        print(&format!("{name}:\n{text}"))?;
    }
    Ok(Outcome::Done)
}

/// What immediates and calls refer to, by name.
struct Names<'a> {
    maps: Vec<&'a str>,
}

impl Symbols for Names<'_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let id = u32::try_from(id).ok()?;
        let row = PROTOS.iter().find(|row| row.proto.id == id)?;
        Some(format!("bpf_{}", row.proto.name).into())
    }

    fn imm64(&self, imm: Imm64) -> Option<Cow<'_, str>> {
        let name = |fd: i32| {
            let at = usize::try_from(fd).ok()?;
            self.maps.get(at).copied()
        };
        match imm {
            Imm64::MapFd(fd) => Some(format!("map[{}]", name(fd)?).into()),
            Imm64::MapValue { fd, off } => Some(format!("map[{}][0]+{off}", name(fd)?).into()),
            Imm64::Value(_)
            | Imm64::MapIdx(_)
            | Imm64::MapIdxValue { .. }
            | Imm64::BtfId { .. }
            | Imm64::Func { .. } => None,
        }
    }
}

fn disassembled(program: &ProgramSpec, maps: &[bpfkit::abi::map::MapSpec]) -> String {
    let names = Names { maps: maps.iter().map(|map| map.name.as_str()).collect() };
    format!("{} {}:\n{}", program.section, program.name, lines(&program.insns, &names))
}

fn rewritten(program: &bpfkit::Program) -> String {
    let image = program.image();
    let names = Names { maps: image.maps.iter().map(|map| map.name.as_str()).collect() };
    lines(&image.program.to_slots(), &names)
}

/// Instructions as `bpftool prog dump xlated` prints them.
fn lines(insns: &[Slot], names: &Names<'_>) -> String {
    let mut text = String::new();
    let mut second = false;
    for (at, slot) in insns.iter().enumerate() {
        if !second {
            let insn = Text::new(*slot, insns.get(at + 1).copied(), names);
            text.push_str(&format!("{at:>4}: {insn}\n"));
        }
        second = !second && slot.opcode == 0x18;
    }
    text
}
