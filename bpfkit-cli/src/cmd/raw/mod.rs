//! `bpfkit raw`: raw documents, verified and run.

mod runs;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bpf_oracle::document::{Document, Fixup, MapDocument};
use bpf_oracle::hex;
use bpf_oracle::report::Report;
use bpfkit::abi::Errno;
use bpfkit::abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};
use bpfkit::abi::prog::{AttachType, ProgFlags, ProgType};
use bpfkit::abi::spec::{AttachTo, InfoBlob, ProgramSpec};
use bpfkit::btf::{Btf, KindCode};
use bpfkit::isa::Slot;
use bpfkit::verifier::described::DescribedWorld;
use bpfkit::verifier::{LogOptions, Options, check};

use runs::Runs;

use super::Engine;
use super::verify::{FIRST_FD, LOG_CAP, Logs, report_of, types_of_kernel};
use crate::Outcome;
use crate::report::{print, progress};

/// Verify raw documents and print a report a line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One document, an array of them, or one a line; - is standard input
    file: PathBuf,
    /// The log levels: each verified for itself, the first decides; 4 and 1 if none is given
    #[arg(long, value_name = "N")]
    log_level: Vec<u32>,
    /// Put the logs' texts into the reports
    #[arg(long)]
    log: bool,
    /// How many bytes of a log are kept: those that came last
    #[arg(long, value_name = "BYTES", default_value_t = LOG_CAP)]
    log_cap: usize,
    /// The kernel's types, if not the running kernel's
    #[arg(long, value_name = "VMLINUX")]
    btf: Option<PathBuf>,
    /// Reports are JSON in any case
    #[arg(long, hide = true)]
    json: bool,
    /// Make the test runs of the documents that are accepted
    #[arg(long)]
    run: bool,
    /// The engine of the test runs
    #[arg(long, value_enum, default_value_t, requires = "run")]
    engine: Engine,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let name = args.file.display().to_string();
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(&args.file).with_context(|| name.clone())?;
    }
    let documents = Document::read_all(&text).map_err(|error| anyhow!("{name}: {error}"))?;
    let kernel = types_of_kernel(args.btf.as_ref())?;
    let runs = if args.run { Some(Runs::new(args.engine, kernel.as_ref())?) } else { None };
    let levels = if args.log_level.is_empty() { vec![4, 1] } else { args.log_level.clone() };
    let bar = progress("verifying", documents.len() as u64);
    let mut outcome = Outcome::Done;
    for document in &documents {
        let logs = Logs { levels: &levels, text: args.log, cap: args.log_cap };
        let mut report = judge(document, kernel.as_ref(), &logs);
        if report.verdict != "accept" {
            outcome = Outcome::Refused;
        } else if let Some(runs) = &runs {
            report.runs = runs.of(document);
        }
        print(&format!("{}\n", serde_json::to_string(&report)?))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(outcome)
}

/// What the verifier says of a document.
fn judge(document: &Document, kernel: Option<&Arc<Btf>>, logs: &Logs<'_>) -> Report {
    let mut report = match prepare(document, kernel) {
        Ok((program, world)) => report_of(&program, &world, logs),
        Err(early) => Report {
            prog_type: prog_type_name(document),
            verdict: early.verdict.to_owned(),
            stage: early.stage.map(str::to_owned),
            errno: early.errno.0,
            errno_name: early.errno.to_string(),
            last: early.text,
            ..Report::default()
        },
    };
    report.id = document.id.clone();
    report.file = document.file.clone();
    report.section = document.section.clone();
    report.name = document.name.clone();
    report
}

fn prog_type_name(document: &Document) -> String {
    let known = document.prog_type_number().ok().and_then(ProgType::new);
    known.map_or_else(|| document.prog_type.to_string(), |known| known.name().to_owned())
}

/// Why a program never came before the verifier, or was refused before it was looked at.
struct Early {
    verdict: &'static str,
    stage: Option<&'static str>,
    errno: Errno,
    text: String,
}

impl Early {
    fn at(stage: &'static str, errno: Errno, text: impl Into<String>) -> Self {
        Self { verdict: "error", stage: Some(stage), errno, text: text.into() }
    }

    fn format(text: impl Into<String>) -> Self {
        Self::at("format", Errno::EINVAL, text)
    }

    /// What the kernel refuses with an error number and not a word.
    const fn silent(errno: Errno) -> Self {
        Self { verdict: "reject", stage: None, errno, text: String::new() }
    }
}

/// A document as the verifier takes it.
fn prepare(
    document: &Document,
    kernel: Option<&Arc<Btf>>,
) -> Result<(ProgramSpec, DescribedWorld), Early> {
    let btf = types(&document.btf_bytes().map_err(Early::format)?)?;
    let mut world = DescribedWorld::new(kernel.cloned()).first_fd(FIRST_FD);
    let mut fds = Vec::new();
    for map in &document.maps {
        fds.push(world.next_fd());
        add_map(&mut world, document, map, btf.as_ref())?;
    }
    let mut program = program_of(document, &fds, None, btf, kernel)?;
    match &document.attach_prog {
        Some(target) => attach_to(&mut program, &mut world, document, target, kernel)?,
        None => program.attach_btf_id = attach_id(document, kernel)?,
    }
    Ok((program, world))
}

/// A document's program, whose maps have these numbers; `own` is the map that it is put into.
fn program_of(
    document: &Document,
    fds: &[i32],
    own: Option<i32>,
    btf: Option<Arc<Btf>>,
    kernel: Option<&Arc<Btf>>,
) -> Result<ProgramSpec, Early> {
    let mut bytes = document.insn_bytes().map_err(Early::format)?;
    for fixup in &document.fixups {
        apply(fixup, &mut bytes, fds, own, kernel)?;
    }
    let (slots, _) = bytes.as_chunks::<8>();
    let insns = slots.iter().map(|bytes| Slot::from_bytes(*bytes)).collect();

    let number = document.prog_type_number().map_err(Early::format)?;
    let prog_type = ProgType::new(number).ok_or(Early::silent(Errno::EINVAL))?;
    let mut program = ProgramSpec::new(document.name.as_deref().unwrap_or(""), prog_type, insns);
    program.expected_attach_type = AttachType::new(document.expected_attach_type);
    program.flags = ProgFlags::from_bits_retain(document.prog_flags);
    if let Some(license) = &document.license {
        program.license.clone_from(license);
    }
    program.attach_to = document.attach_btf.as_ref().and_then(|attach| {
        let (name, member) = (attach.name.clone(), attach.member.clone()?);
        Some(AttachTo::StructOps { name, member })
    });
    program.btf = btf;
    if program.btf.is_some() {
        program.func_info = info(&document.func_info, document.func_info_rec_size, 8)?;
        program.line_info = info(&document.line_info, document.line_info_rec_size, 16)?;
    }
    Ok(program)
}

/// Has a program attach to another, which is judged first.
fn attach_to(
    program: &mut ProgramSpec,
    world: &mut DescribedWorld,
    document: &Document,
    target: &Document,
    kernel: Option<&Arc<Btf>>,
) -> Result<(), Early> {
    let (spec, target_world) = prepare(target, kernel)?;
    let log = LogOptions { level: 0, ..LogOptions::default() };
    let checked = check(&spec, &target_world, &Options { log, ..Options::default() });
    let facts = match (checked.result, checked.facts) {
        (Ok(()), Some(facts)) => facts,
        (Err(rejection), _) => {
            let text = format!("the target is refused: {rejection}");
            return Err(Early::at("attach", rejection.errno(), text));
        }
        (Ok(()), None) => return Err(Early::at("attach", Errno::EINVAL, "nothing to attach to")),
    };
    program.attach_btf_id = match &document.attach_btf {
        None => document.attach_btf_id,
        Some(attach) => {
            let id = facts.function_id(&attach.name).ok_or_else(|| {
                let text = format!("nothing called {} to attach to", attach.name);
                Early::at("attach", Errno::ENOENT, text)
            })?;
            id.0
        }
    };
    program.attach_prog = Some(world.add_program(facts));
    Ok(())
}

/// What a program attaches to, as a number of the kernel's types; 0 for nothing.
fn attach_id(document: &Document, kernel: Option<&Arc<Btf>>) -> Result<u32, Early> {
    let Some(attach) = &document.attach_btf else { return Ok(document.attach_btf_id) };
    let attach_type = AttachType::new(document.expected_attach_type);
    let id = kernel.and_then(|kernel| {
        let find =
            |prefix: &str, kind| kernel.by_name_kind(&format!("{prefix}{}", attach.name), kind);
        match (attach.kind.as_str(), attach_type) {
            ("struct", _) => find("", KindCode::Struct),
            ("hook", Some(AttachType::TraceRawTp)) => find("btf_trace_", KindCode::Typedef),
            ("hook", Some(AttachType::LsmMac | AttachType::LsmCgroup)) => {
                find("bpf_lsm_", KindCode::Func)
            }
            ("hook", Some(AttachType::TraceIter)) => find("bpf_iter_", KindCode::Func),
            _ => find("", KindCode::Func).or_else(|| find("", KindCode::Typedef)),
        }
    });
    id.map(|id| id.0).ok_or_else(|| {
        let text = format!("nothing called {} to attach to", attach.name);
        Early::at("attach", Errno::ENOENT, text)
    })
}

fn info(text: &str, rec_size: Option<u32>, usual: u32) -> Result<InfoBlob, Early> {
    let bytes = hex::decode(text).map_err(Early::format)?;
    Ok(InfoBlob { rec_size: rec_size.unwrap_or(usual), bytes })
}

fn types(bytes: &[u8]) -> Result<Option<Arc<Btf>>, Early> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let btf =
        Btf::parse(bytes).map_err(|error| Early::at("btf", Errno::EINVAL, error.to_string()))?;
    Ok(Some(Arc::new(btf)))
}

fn add_map(
    world: &mut DescribedWorld,
    document: &Document,
    map: &MapDocument,
    program_btf: Option<&Arc<Btf>>,
) -> Result<(), Early> {
    let spec = map_spec(map)?;
    world.add_map(&spec, map_types(document, map, program_btf)?.as_ref());
    // The first program put in decides what all others must be.
    if let Some(first) = map.init.iter().find_map(|entry| entry.prog.as_deref())
        && let Some(prog_type) = first.prog_type_number().ok().and_then(ProgType::new)
    {
        world.set_owner(prog_type, AttachType::new(first.expected_attach_type));
    }
    Ok(())
}

/// The types of a map: the program's, or its own.
fn map_types(
    document: &Document,
    map: &MapDocument,
    program_btf: Option<&Arc<Btf>>,
) -> Result<Option<Arc<Btf>>, Early> {
    if map.btf == "prog" {
        return Ok(program_btf.cloned());
    }
    types(&document.blob(&map.btf).map_err(Early::format)?)
}

fn map_spec(map: &MapDocument) -> Result<MapSpec, Early> {
    let number = map.type_number().map_err(Early::format)?;
    let map_type = MapType::new(number)
        .ok_or_else(|| Early::at("map", Errno::EINVAL, format!("no map type {number}")))?;
    let name = map.name.as_deref().unwrap_or("");
    let mut spec = MapSpec::new(name, map_type, map.key_size, map.value_size, map.max_entries);
    spec.flags = MapFlags::from_bits_retain(map.map_flags);
    spec.map_extra = map.map_extra;
    spec.btf_key_type_id = map.btf_key_type_id;
    spec.btf_value_type_id = map.btf_value_type_id;
    spec.inner = map.inner.as_deref().map(map_spec).transpose()?.map(Box::new);
    spec.frozen = map.frozen;
    for entry in map.init.iter().filter(|entry| entry.prog.is_none()) {
        let bytes = |text: &str| hex::decode(text).map_err(Early::format);
        let value = MapInitValue::Bytes(bytes(&entry.value)?);
        spec.init.push(MapInit { key: bytes(&entry.key)?, value });
    }
    Ok(spec)
}

/// Fills in what an instruction refers to.
fn apply(
    fixup: &Fixup,
    insns: &mut [u8],
    fds: &[i32],
    own: Option<i32>,
    kernel: Option<&Arc<Btf>>,
) -> Result<(), Early> {
    let at = fixup.insn.saturating_mul(8);
    let Some(insn) = insns.get_mut(at..at.saturating_add(8)) else {
        let text = format!("fixup of instruction {}, past the end", fixup.insn);
        return Err(Early::format(text));
    };
    let map_fd = || {
        if fixup.map == "self" {
            return own.ok_or_else(|| Early::format("\"self\" outside of a map's entries"));
        }
        let index = fixup.map.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let fd = fds.get(index).copied();
        fd.ok_or_else(|| Early::format(format!("no map {}", fixup.map)))
    };
    let kernel_id = |stage, kinds: &[KindCode]| {
        let id = kernel
            .and_then(|btf| kinds.iter().find_map(|kind| btf.by_name_kind(&fixup.name, *kind)));
        match id.and_then(|id| i32::try_from(id.0).ok()) {
            Some(id) => Ok(id),
            None if fixup.or_zero => Ok(0),
            None => {
                let text = format!("the kernel's types do not know {}", fixup.name);
                Err(Early::at(stage, Errno::ENOENT, text))
            }
        }
    };
    let number = match fixup.kind.as_str() {
        "imm_map_fd" => map_fd()?,
        "map_fd" | "map_value" => {
            let source = if fixup.kind == "map_fd" { 1 } else { 2 };
            insn[1] = (insn[1] & 15) | source << 4;
            map_fd()?
        }
        "kfunc" => kernel_id("kfunc", &[KindCode::Func])?,
        "ksym" => kernel_id("ksym", &[KindCode::Var, KindCode::Func])?,
        other => return Err(Early::format(format!("a fixup of kind {other:?}"))),
    };
    insn[4..].copy_from_slice(&number.to_le_bytes());
    Ok(())
}
