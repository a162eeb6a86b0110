//! `bpfkit verify`: every program of objects, as veristat does.

mod select;
mod table;
mod guess;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpf_oracle::report::{self, Report};
use bpfkit::abi::Errno;
use bpfkit::abi::map::MapType;
use bpfkit::abi::prog::ProgType;
use bpfkit::abi::spec::{ObjectSpec, ProgramSpec};
use bpfkit::btf::Btf;
use bpfkit::verifier::described::DescribedWorld;
use bpfkit::verifier::{Checked, LogOptions, Options, Rejection, check};
use bpfkit::{Error, JitMode, Runtime};
use clap::ValueEnum;

use select::Filter;
use table::Order;
use target::{Named, Target, misses_target};

use super::{read, tell_notes};
use crate::Outcome;
use crate::report::{print, progress};

/// Verify every program of objects, as veristat does
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The objects; of a folder, all files in it that end in `.o`
    #[arg(required = true, value_name = "OBJECT|DIR")]
    objects: Vec<PathBuf>,
    /// Only the program with this name
    #[arg(long, value_name = "NAME")]
    prog: Option<String>,
    /// Only what fits: the name of a file or a program, or FILE/PROGRAM, with `*` for anything;
    /// with `!` before it, not what fits
    #[arg(short = 'f', long = "filter", value_name = "[!]GLOB")]
    filters: Vec<Filter>,
    /// Set a global variable, or a part of one, as in `conf.ports[2]`, of every object that has it
    #[arg(short = 'G', long = "set", value_name = "VARIABLE=VALUE")]
    set: Vec<String>,
    /// What extensions and probes are judged for: a program and, if their sections do not name
    /// it, its function
    #[arg(long, value_name = "OBJ[:PROG[:FUNC]]")]
    target: Option<Named>,
    /// Print the log: 1 the path of a refusal, 2 everything, 4 statistics
    #[arg(long, short, value_name = "N")]
    log_level: Vec<u32>,
    /// The kernel's types, if not the running kernel's
    #[arg(long, value_name = "VMLINUX")]
    btf: Option<PathBuf>,
    /// The columns, of: file, prog, verdict, duration, insns, states, peak_states,
    /// max_states_per_insn, mark_read, size
    #[arg(short = 'e', long = "emit", value_name = "COLUMNS", value_delimiter = ',')]
    emit: Vec<String>,
    /// Sort by these columns, ascending; descending with a `v` or `>` behind the name
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',')]
    sort: Vec<Order>,
    /// Print the first N rows only
    #[arg(short = 'n', long = "top-n", value_name = "N")]
    top: Option<usize>,
    /// In which form
    #[arg(short, long = "output-format", value_enum, default_value_t)]
    output: Format,
    /// The same as `-o json`: the report that `bpfkit raw` prints, a line a program
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Put the logs' texts into the JSON
    #[arg(long)]
    log: bool,
    /// Compare with what an earlier `-o csv` wrote
    #[arg(short = 'C', long = "compare", value_name = "BASE.csv")]
    compare: Option<PathBuf>,
}

/// Where a kernel publishes its types.
const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The forms of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For veristat and spreadsheets
    Csv,
    /// A report a line
    Json,
}

/// What came of one program.
pub(crate) struct Judged {
    file: String,
    section: String,
    program: ProgramSpec,
    checked: Checked,
    duration: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let format = if args.json { Format::Json } else { args.output };
    let kernel = types_of_kernel(args.btf.as_ref())?;
    let read_for = Kernel { types: kernel.as_ref(), is_running: args.btf.is_none() };
    let paths = select::objects(&args.objects)?;
    let (mut objects, mut unreadable) = (Vec::new(), 0);
    for path in &paths {
        // One file that cannot be read does not keep the others from being judged.
        match open(path, read_for) {
            Ok(object) => {
                tell_notes(path, &object);
                objects.push((path.as_path(), object));
            }
            Err(error) => {
                eprintln!("bpfkit: {error:#}");
                unreadable += 1;
            }
        }
    }
    for assignment in &args.set {
        set_global(&mut objects, assignment).with_context(|| format!("--set {assignment}"))?;
    }
    let programs = objects.iter().flat_map(|(path, object)| {
        object.programs.iter().map(move |program| (*path, object, program))
    });
    let programs: Vec<_> = programs
        .filter(|(_, _, program)| args.prog.as_ref().is_none_or(|name| *name == program.name))
        .filter(|(path, _, program)| select::pass(&args.filters, path, &program.name))
        .collect();
    anyhow::ensure!(!programs.is_empty() || unreadable > 0, "no such program in these objects");
    let target = args.target.as_ref().map(|named| Target::new(named, read_for)).transpose()?;
    let level = args.log_level.iter().fold(0, |all, level| all | level);
    let bar = progress("verifying", programs.len() as u64);
    let mut judged = Vec::new();
    for (path, object, program) in programs {
        let (program, world) = prepared(path, object, program, kernel.as_ref(), target.as_ref())?;
        let begin = Instant::now();
        let options = Options {
            log: LogOptions { level: level | 4, ..LogOptions::default() },
            ..Options::default()
        };
        let checked = check(&program, &world, &options);
        let duration = begin.elapsed();
        if format == Format::Json {
            let report = json_report(args, path, &program, &world)?;
            print(&format!("{}\n", serde_json::to_string(&report)?))?;
        } else if level != 0 {
            let log = log_at(&program, &world, level);
            print(&format!("{}: {}:\n{log}", path.display(), program.name))?;
        }
        let (file, section) = (file_name(path), program.section.clone());
        judged.push(Judged { file, section, program, checked, duration });
        bar.inc(1);
    }
    bar.finish_and_clear();
    table::sort(&mut judged, &args.sort);
    let shown = &judged[..args.top.unwrap_or(judged.len()).min(judged.len())];
    match (&args.compare, format) {
        (_, Format::Json) => {}
        (Some(base), _) => print(&table::comparison(shown, base)?)?,
        (None, Format::Csv) => print(&table::csv(shown, &args.emit)?)?,
        (None, Format::Table) => print(&table::table(shown, &args.emit)?)?,
    }
    let mut outcome = Outcome::Done;
    for one in &judged {
        if let Err(rejection) = &one.checked.result {
            outcome = Outcome::Refused;
            if format == Format::Table {
                eprint!("{}", explain(one, rejection));
                if one.program.prog_type == ProgType::Unspec {
                    eprintln!("  section {:?} names no program type", one.program.section);
                }
                if let Some(does) = misses_target(&one.program) {
                    eprintln!("  it {does} a function: say of which program with --target");
                }
            }
        }
    }
    Ok(if unreadable > 0 { Outcome::Unreadable } else { outcome })
}

/// Sets a global variable in every object that has it; one must.
fn set_global(objects: &mut [(&Path, ObjectSpec)], assignment: &str) -> anyhow::Result<()> {
    let (variable, value) = assignment.split_once('=').context("not of the form VARIABLE=VALUE")?;
    let runtime = Runtime::builder().jit(JitMode::Off).build()?;
    let mut missing = None;
    let mut is_set = false;
    for (path, object) in objects {
        let mut open = runtime.open(object.clone());
        match open.set_global_text(variable.trim(), value.trim()) {
            Ok(()) => {
                *object = open.spec().clone();
                is_set = true;
            }
            Err(error @ Error::NoSuchGlobal { .. }) => missing = Some(error),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    match missing.filter(|_| !is_set) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A program as it is put before the verifier, and what it may refer to there.
fn prepared(
    path: &Path,
    object: &ObjectSpec,
    program: &ProgramSpec,
    kernel: Option<&Arc<Btf>>,
    target: Option<&Target>,
) -> anyhow::Result<(ProgramSpec, DescribedWorld)> {
    let mut world = world(object, kernel);
    let mut program = world.resolved(program);
    if guess::guess(&mut program) {
        eprintln!(
            "bpfkit: {}: {}: section {:?} names no program type, its context is that of {}",
            path.display(),
            program.name,
            program.section,
            program.prog_type
        );
    }
    if let Some(target) = target {
        target.apply(&mut program, &mut world)?;
    }
    Ok((program, world))
}

/// A refusal, with its source line.
fn explain(judged: &Judged, rejection: &Rejection) -> String {
    use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
    let title = format!("{}: {}: {rejection}", judged.file, judged.program.name);
    let primary = Level::ERROR.primary_title(&title);
    let Some(place) = &rejection.line else {
        return format!("{}\n", Renderer::plain().render(&[Group::with_title(primary)]));
    };
    let line = usize::try_from(place.line).unwrap_or(1);
    let source = Snippet::source(&place.text)
        .line_start(line)
        .path(&place.file)
        .annotation(AnnotationKind::Primary.span(0..place.text.len()));
    format!("{}\n", Renderer::plain().render(&[primary.element(source)]))
}

/// The log at one level, exactly.
fn log_at(program: &ProgramSpec, world: &DescribedWorld, level: u32) -> String {
    let log = LogOptions { level, ..LogOptions::default() };
    check(program, world, &Options { log, ..Options::default() }).log
}

fn json_report(
    args: &Args,
    path: &Path,
    program: &ProgramSpec,
    world: &DescribedWorld,
) -> anyhow::Result<Report> {
    let levels = if args.log_level.is_empty() { vec![4, 1] } else { args.log_level.clone() };
    let logs = Logs { levels: &levels, text: args.log, cap: LOG_CAP };
    let mut report = report_of(program, world, &logs);
    report.file = Some(path.display().to_string().into());
    report.section = Some(program.section.clone().into());
    Ok(report)
}

/// How many bytes of a log a report is made of, if nobody says.
pub(crate) const LOG_CAP: usize = 64 << 20;

/// Which logs a report tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logs<'a> {
    /// The levels, each verified for itself.
    pub(crate) levels: &'a [u32],
    /// Whether their texts are in the report.
    pub(crate) text: bool,
    /// How large one may be, the final zero included. Linux: `log_size`.
    pub(crate) cap: usize,
}

/// What the verifier says of a program, in the form of a report. The first level decides.
pub(crate) fn report_of(program: &ProgramSpec, world: &DescribedWorld, logs: &Logs<'_>) -> Report {
    let bytes: Vec<u8> = program.insns.iter().flat_map(|slot| slot.to_bytes()).collect();
    let mut report = Report {
        name: Some(program.name.clone()),
        prog_type: program.prog_type.name().to_owned(),
        insns_loaded: program.insns.len(),
        insns_sha: report::insns_sha(&bytes),
        ..Report::default()
    };
    for (n, level) in logs.levels.iter().enumerate() {
        let log = LogOptions { level: *level, size: Some(logs.cap) };
        let checked = check(program, world, &Options { log, ..Options::default() });
        if n == 0 {
            let errno = checked.result.as_ref().err().map(Rejection::errno);
            // A log that does not fit is the load's last word, whatever the verdict was.
            let errno = if checked.log_truncated { Some(Errno::ENOSPC) } else { errno };
            report.verdict = if errno.is_none() { "accept" } else { "reject" }.to_owned();
            report.errno = errno.map_or(0, |errno| errno.0);
            report.errno_name =
                errno.map_or_else(|| "0".to_owned(), |errno: Errno| errno.to_string());
            report.info = checked.result.is_ok().then(|| {
                serde_json::json!({
                    "xlated_insns": checked.stats.xlated_insns,
                    "verified_insns": checked.stats.insns_processed,
                })
            });
            report.rejection =
                checked.result.as_ref().err().and_then(|why| serde_json::to_value(why).ok());
            report.last = report::last_message(&checked.log);
            report.stats = report::statistics(&checked.log);
        }
        let true_size = checked.log_truncated.then_some(checked.log_size);
        let entry = report::log_entry(&checked.log, true_size, logs.text);
        report.logs.insert(level.to_string(), entry);
    }
    report
}

/// The number of an object's first map: high enough that no immediate is taken for a map that the
/// object did not mean.
pub(crate) const FIRST_FD: i32 = 0x4000_0000;

/// Where a loader maps an arena that does not say where it wants to be.
const ARENA: u64 = 0x7f00_0000_0000;

/// The world of an object's programs: its maps, described.
fn world(object: &ObjectSpec, kernel: Option<&Arc<Btf>>) -> DescribedWorld {
    let mut world = DescribedWorld::new(kernel.cloned()).first_fd(FIRST_FD);
    for map in &object.maps {
        let mut map = map.clone();
        if map.map_type == MapType::Arena && map.map_extra == 0 {
            map.map_extra = ARENA;
        }
        world.add_map(&map, object.btf.as_ref());
    }
    world
}

/// The kernel's types: those of a file, which must be readable, or the running kernel's, if they
/// are.
pub(crate) fn types_of_kernel(file: Option<&PathBuf>) -> anyhow::Result<Option<Arc<Btf>>> {
    if let Some(path) = file {
        let types = bpfkit::btf_of(&read(path)?).with_context(|| path.display().to_string())?;
        return Ok(Some(Arc::new(types)));
    }
    let bytes = std::fs::read(RUNNING_KERNEL).ok();
    Ok(bytes.and_then(|bytes| Btf::parse(&bytes).ok()).map(Arc::new))
}

/// The kernel that objects are read for.
#[derive(Clone, Copy, Debug)]
struct Kernel<'a> {
    types: Option<&'a Arc<Btf>>,
    /// Whether it is the one that runs, whose configuration can be read.
    is_running: bool,
}

fn open(path: &Path, kernel: Kernel<'_>) -> anyhow::Result<ObjectSpec> {
    let bytes = read(path)?;
    // As libbpf names objects: by the file, up to the first dot.
    let name = file_name(path);
    let name = name.split('.').next().unwrap_or(&name);
    let config = || kernel.is_running.then(bpfkit::running_config).flatten();
    bpfkit::object_of(&bytes, name, || kernel.types.cloned(), config)
        .with_context(|| path.display().to_string())
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
