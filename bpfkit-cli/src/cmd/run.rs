//! `bpfkit run`: a program on a capture, or on one packet.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bpfkit::abi::map::{MapInitValue, MapType};
use bpfkit::{CodeCache, Link, LoadError, Object, OpenObject, Program, Runtime, TestRun};
use serde_json::json;

use super::{Engine, Jit, kernel_btf, open, read, replay};
use crate::Outcome;
use crate::report::print;

/// Run a program on a capture, or on one packet
#[derive(Debug, clap::Args)]
#[command(after_help = "With --data-in or --ctx-in the program runs on that one packet, as \
`bpftool prog run` does, and `retval` and the average `duration` in nanoseconds are printed.")]
pub(crate) struct Args {
    /// The object
    #[arg(value_name = "OBJECT", required_unless_present = "script")]
    object_file: Option<PathBuf>,
    /// The program; needed if the object has several that nothing tail-calls
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    /// The capture: pcap or pcapng, Ethernet
    #[arg(long, value_name = "FILE", required_unless_present_any = ["data_in", "ctx_in", "script"])]
    pub(crate) pcap: Option<PathBuf>,
    /// Write the packets that pass, as the program left them
    #[arg(long, value_name = "FILE.pcap", requires = "pcap")]
    pub(crate) out: Option<PathBuf>,
    /// How often the capture is replayed, or the packet run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Which engine runs the programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: Engine,
    /// When programs are compiled
    #[arg(long, value_enum, default_value_t, conflicts_with = "script")]
    pub(crate) jit: Jit,
    /// Keep compiled code in this directory, and take it from there; nobody else may be able to
    /// write to it
    #[arg(long, value_name = "DIR")]
    pub(crate) code_cache: Option<PathBuf>,
    /// Put a program of the object into a slot of a program array; without PROG empty the slot
    #[arg(long, value_name = "MAP[I]=PROG")]
    pub(crate) tail: Vec<String>,
    /// Replace a function of the program by an extension
    #[arg(long, value_name = "FUNC=OBJ:PROG")]
    pub(crate) extend: Vec<String>,
    /// Have a program look on when a function of the program is called: fentry or fexit
    #[arg(long, value_name = "FUNC=OBJ:PROG")]
    pub(crate) trace: Vec<String>,
    /// Set a global variable before the object is loaded
    #[arg(long, value_name = "VARIABLE=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print JSON
    #[arg(long, short)]
    pub(crate) json: bool,
    /// How many entries of a map are printed
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) map_entries: usize,
    /// The kernel's types, if not the running kernel's
    #[arg(long, value_name = "VMLINUX")]
    pub(crate) btf: Option<PathBuf>,
    /// One packet
    #[arg(long, value_name = "FILE", conflicts_with = "pcap")]
    pub(crate) data_in: Option<PathBuf>,
    /// The context of the run
    #[arg(long, value_name = "FILE", conflicts_with = "pcap")]
    pub(crate) ctx_in: Option<PathBuf>,
    /// Write the packet as the program left it
    #[arg(long, value_name = "FILE", conflicts_with = "pcap")]
    pub(crate) data_out: Option<PathBuf>,
    /// Write the context as the program left it
    #[arg(long, value_name = "FILE", conflicts_with = "pcap")]
    pub(crate) ctx_out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) scripts: super::script::ScriptArgs,
}

impl Args {
    /// The object; empty if there is none, which only scripts may do.
    pub(crate) fn object(&self) -> &Path {
        self.object_file.as_deref().unwrap_or_else(|| Path::new(""))
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    if let Some(path) = &args.scripts.script {
        return super::script::run(&args.scripts, path, args.engine, args.btf.as_ref());
    }
    match &args.pcap {
        Some(pcap) => replay::run(args, pcap),
        None => test_run(args),
    }
}

/// An object loaded as the arguments say, and the program that packets are given to.
pub(crate) struct Loaded {
    pub(crate) object: Object,
    pub(crate) program: Program,
    pub(crate) runtime: Runtime,
    pub(crate) attached: Vec<Attached>,
}

/// An extension or a probe, as long as the program runs.
pub(crate) struct Attached {
    pub(crate) object: Object,
    _link: Link,
}

/// Whether engines count runs and tail calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    On,
    Off,
}

/// Loads the object; `None` if a program was refused, which then has been said.
pub(crate) fn load(args: &Args, counting: Counting) -> anyhow::Result<Option<Loaded>> {
    let cache = args.code_cache.as_deref().map(CodeCache::on_disk).transpose();
    let cache = cache.context("--code-cache")?;
    let runtime = Runtime::builder()
        .engine(args.engine.into())
        .jit(args.jit.into())
        .code_cache(cache)
        .kernel_btf(kernel_btf(args.btf.as_ref()))
        .count(counting == Counting::On)
        .on_print(|line| eprint!("{}", String::from_utf8_lossy(line)))
        .build()?;
    let mut open = open(&runtime, args.object())?;
    for assignment in &args.set {
        let (variable, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set {assignment}: not of the form VARIABLE=VALUE"))?;
        open.set_global_text(variable, value).with_context(|| format!("--set {assignment}"))?;
    }
    let name = choose(&open, args)?;
    let tails = tails(&open, &args.tail)?;
    only_what_runs(&mut open, &name, &tails)?;
    let object = match open.load() {
        Ok(object) => object,
        Err(error) => {
            explain(args.object(), &error);
            return Ok(None);
        }
    };
    for Tail { map, index, program } in &tails {
        let array = object.map(map)?.prog_array()?;
        match program {
            Some(program) => array.set(*index, &object.program(program)?)?,
            None => match array.delete(*index) {
                // An empty slot is as it should be.
                Err(error) if error.errno() == bpfkit::abi::Errno::ENOENT => {}
                result => result?,
            },
        }
    }
    let program = object.program(&name)?;
    let mut attached = Vec::new();
    let extensions = args.extend.iter().map(|text| ("--extend", text));
    for (option, text) in extensions.chain(args.trace.iter().map(|text| ("--trace", text))) {
        let attaching = attach(&runtime, &program, option, text);
        match attaching.with_context(|| format!("{option} {text}"))? {
            Some(link) => attached.push(link),
            None => return Ok(None),
        }
    }
    Ok(Some(Loaded { object, program, runtime, attached }))
}

/// Attaches what `--extend` or `--trace` names; `None` if it was refused, which then has been said.
fn attach(
    runtime: &Runtime,
    target: &Program,
    option: &str,
    text: &str,
) -> anyhow::Result<Option<Attached>> {
    let parts = text.split_once('=').and_then(|(function, place)| {
        let (object, program) = place.rsplit_once(':')?;
        Some((function, Path::new(object), program))
    });
    let (function, path, name) = parts.context("not of the form FUNC=OBJ:PROG")?;
    let opened = open(runtime, path)?.program(name)?;
    let mut opened = if option == "--extend" {
        opened.extend(target, function)?
    } else {
        opened.trace(target, function)?
    };
    let object = match opened.object().clone().load() {
        Ok(object) => object,
        Err(error) => {
            explain(path, &error);
            if error.log().is_some_and(|log| log.starts_with("Subprog")) {
                eprintln!(
                    "  {} has no code of {function}, which its types name: what its variables rule \
                     out is left away, and --set changes them",
                    target.name()
                );
            }
            return Ok(None);
        }
    };
    let link = object.program(name)?.attach()?;
    Ok(Some(Attached { object, _link: link }))
}

/// Says why an object was not loaded: a refusal with the end of its log.
pub(crate) fn explain(object: &Path, error: &LoadError) {
    eprintln!("bpfkit: {}: {:#}", object.display(), anyhow::Error::msg(chain(error)));
    if let LoadError::Rejected(rejected) = error {
        let lines: Vec<&str> = rejected.log().lines().collect();
        let skipped = lines.len().saturating_sub(20);
        if skipped > 0 {
            eprintln!("  ... {skipped} lines; `bpfkit verify --log-level 1` prints them");
        }
        for line in &lines[skipped..] {
            eprintln!("  {line}");
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The program that packets are given to: the one asked for, or the only one that is in no
/// program array.
fn choose(open: &OpenObject, args: &Args) -> anyhow::Result<String> {
    let spec = open.spec();
    let all = || spec.programs.iter().map(|program| program.name.as_str());
    if let Some(name) = &args.prog {
        if !all().any(|known| known == name) {
            bail!("no program {name:?} in {}; it has {}", args.object().display(), list(all()));
        }
        return Ok(name.clone());
    }
    let mut candidates = all().filter(|name| !is_tail_called(open, name));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (None, _) if spec.programs.is_empty() => {
            bail!("{} has no program", args.object().display())
        }
        (None, _) => bail!("every program is tail-called: choose with --prog: {}", list(all())),
        (Some(_), Some(_)) => {
            bail!(
                "choose a program with --prog: {}",
                list(all().filter(|n| !is_tail_called(open, n)))
            )
        }
    }
}

fn is_tail_called(open: &OpenObject, name: &str) -> bool {
    open.spec()
        .maps
        .iter()
        .flat_map(|map| &map.init)
        .any(|entry| matches!(&entry.value, MapInitValue::Program(program) if program == name))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&'a str> = names.collect();
    names.join(", ")
}

/// What `--tail` says.
struct Tail {
    map: String,
    index: u32,
    program: Option<String>,
}

fn tails(open: &OpenObject, args: &[String]) -> anyhow::Result<Vec<Tail>> {
    args.iter().map(|text| tail(open, text).with_context(|| format!("--tail {text}"))).collect()
}

fn tail(open: &OpenObject, text: &str) -> anyhow::Result<Tail> {
    let parts = text.split_once('=').and_then(|(slot, program)| {
        let (map, index) = slot.strip_suffix(']')?.split_once('[')?;
        Some((map, index, program))
    });
    let (map, index, program) = parts.context("not of the form MAP[INDEX]=PROG")?;
    let index = index.parse().with_context(|| format!("{index:?} is no index"))?;
    let known = open.spec().maps.iter().find(|known| known.name == map);
    let known = known.with_context(|| format!("no map {map:?}"))?;
    if known.map_type != MapType::ProgArray {
        bail!("map {map:?} is of type {}, not prog_array", known.map_type);
    }
    if index >= known.max_entries {
        bail!("map {map:?} has {} slots", known.max_entries);
    }
    let program = Some(program).filter(|program| !program.is_empty()).map(str::to_owned);
    if let Some(program) = &program
        && !open.spec().programs.iter().any(|known| known.name == *program)
    {
        bail!("no program {program:?}");
    }
    Ok(Tail { map: map.to_owned(), index, program })
}

/// Keeps programs of other types from being loaded: an object may hold some that this run has no
/// use for.
fn only_what_runs(open: &mut OpenObject, main: &str, tails: &[Tail]) -> anyhow::Result<()> {
    let wanted: Vec<String> = open
        .spec()
        .programs
        .iter()
        .filter(|program| {
            program.name == main
                || is_tail_called(open, &program.name)
                || tails.iter().any(|tail| tail.program.as_ref() == Some(&program.name))
        })
        .map(|program| program.name.clone())
        .collect();
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    open.choose(&names)?;
    Ok(())
}

/// One packet, as `bpftool prog run` does it.
fn test_run(args: &Args) -> anyhow::Result<Outcome> {
    let Some(loaded) = load(args, Counting::Off)? else { return Ok(Outcome::Refused) };
    let data = args.data_in.as_deref().map(read).transpose()?;
    let ctx = args.ctx_in.as_deref().map(read).transpose()?;
    let mut run = data.as_deref().map_or_else(TestRun::new, TestRun::packet).repeat(args.repeat);
    if let Some(ctx) = &ctx {
        run = run.ctx(ctx);
    }
    if args.ctx_out.is_some() {
        run = run.ctx_out(true);
    }
    let out = loaded.program.test_run(&run)?;
    for (path, bytes) in [(&args.data_out, &out.data), (&args.ctx_out, &out.ctx)] {
        if let Some(path) = path {
            std::fs::write(path, bytes).with_context(|| path.display().to_string())?;
        }
    }
    if args.json {
        let report = json!({"retval": out.return_value, "duration": out.duration});
        print(&format!("{report}\n"))?;
    } else {
        let average = if args.repeat > 1 { " (average)" } else { "" };
        print(&format!(
            "Return value: {}, duration{average}: {}ns\n",
            out.return_value, out.duration
        ))?;
    }
    Ok(Outcome::Done)
}
