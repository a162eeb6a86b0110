//! The command: options, workers, summary.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bpf_fuzz::judge::{Answer, Kernel, Ours};
use bpf_fuzz::{Random, Sample, World, generate, mutate};

const USAGE: &str = "\
usage: cargo xtask fuzz-kernel [--programs N] [--seed S] [--threads N] [--out DIR]
       cargo xtask fuzz-kernel --show SEED

Makes random programs from seeds S, S+1, … and puts each to the running kernel and to
our verifier. Each that they differ on is saved in DIR (target/fuzz) as a raw document.
--log N     compares the logs of every N-th program as well, at level 2
--reasons   says what programs were refused for, the most frequent first
--show SEED prints one program as a raw document, and what both say of it";

/// What the command was asked for.
struct Asked {
    programs: u64,
    seed: u64,
    threads: usize,
    out: PathBuf,
    log: Option<u64>,
    reasons: bool,
    show: Option<u64>,
}

impl Asked {
    fn read(args: Vec<String>) -> Option<Self> {
        let mut asked = Self {
            programs: 20_000,
            seed: 1,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            out: PathBuf::from("target/fuzz"),
            log: None,
            reasons: false,
            show: None,
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--programs" => asked.programs = args.next()?.parse().ok()?,
                "--seed" => asked.seed = args.next()?.parse().ok()?,
                "--threads" => asked.threads = args.next()?.parse().ok()?,
                "--out" => asked.out = PathBuf::from(args.next()?),
                "--log" => asked.log = Some(args.next()?.parse().ok()?),
                "--reasons" => asked.reasons = true,
                "--show" => asked.show = Some(args.next()?.parse().ok()?),
                _ => return None,
            }
        }
        Some(asked)
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Summary {
    programs: u64,
    left_out: u64,
    accepted: u64,
    insns: u64,
    logs: u64,
    /// How often a thing differs.
    differences: BTreeMap<&'static str, u64>,
    /// What differs, without numbers, with how often and the first seed.
    kinds: BTreeMap<String, (u64, u64)>,
    reasons: BTreeMap<String, u64>,
}

pub(crate) fn main(args: Vec<String>) -> ExitCode {
    bpf_fuzz::exit_code(
        Asked::read(args).ok_or_else(|| format!("what is asked?\n{USAGE}")).and_then(|it| run(&it)),
    )
}

/// The program of a seed: as it was made, or spoilt.
fn sample(seed: u64, world: &World) -> Sample {
    let mut sample = generate::program(seed, world);
    let mut random = Random::new(!seed);
    if random.chance(25) {
        mutate::spoil(&mut random, &mut sample.slots);
    }
    sample
}

/// Whether the two agree on every verdict.
fn run(asked: &Asked) -> Result<bool, String> {
    bpf_oracle::kernel::available()
        .map_err(|errno| format!("the kernel may not be asked here: {errno}"))?;
    let world = World::new(bpf_fuzz::world::kernel_types());
    let kernel = Kernel::new(&world)?;
    if let Some(seed) = asked.show {
        return show(seed, &world, &kernel);
    }
    std::fs::create_dir_all(&asked.out).map_err(|error| format!("{error}"))?;
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..asked.threads.max(1) {
            scope.spawn(|| work(asked, &world, &kernel, &next, &summary));
        }
    });
    let summary = summary.into_inner().map_err(|_| "a worker failed".to_owned())?;
    print(asked, &summary, begin.elapsed().as_secs_f64());
    Ok(!summary.differences.contains_key("verdict"))
}

fn work(asked: &Asked, world: &World, kernel: &Kernel, next: &AtomicU64, summary: &Mutex<Summary>) {
    const CHUNK: u64 = 64;
    let ours = Ours::new(world);
    loop {
        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
        if from >= asked.programs {
            return;
        }
        let mut part = Summary::default();
        for seed in from..asked.programs.min(from + CHUNK) {
            compare(asked, asked.seed.wrapping_add(seed), world, kernel, &ours, &mut part);
        }
        let Ok(mut all) = summary.lock() else { return };
        all.add(part);
    }
}

fn compare(
    asked: &Asked,
    seed: u64,
    world: &World,
    kernel: &Kernel,
    ours: &Ours,
    part: &mut Summary,
) {
    let sample = sample(seed, world);
    if !sample.is_harmless() || !sample.is_closed(world) {
        part.left_out += 1;
        return;
    }
    part.programs += 1;
    let theirs = kernel.ask(&sample, world, 0);
    let own = ours.ask(&sample, world, 0);
    part.accepted += u64::from(theirs.verdict.is_ok());
    part.insns += theirs.insns.unwrap_or(0);
    if asked.reasons && theirs.verdict.is_err() {
        *part.reasons.entry(without_numbers(&theirs.last)).or_default() += 1;
    }
    let mut differs = Vec::new();
    if theirs.verdict.is_ok() != own.verdict.is_ok() {
        differs.push("verdict");
    } else if theirs.verdict != own.verdict {
        differs.push("error number");
    }
    if theirs.last != own.last {
        differs.push("last message");
    }
    if theirs.insns != own.insns {
        differs.push("instructions processed");
    }
    if theirs.states != own.states {
        differs.push("total states");
    }
    let short = theirs.insns.unwrap_or(0) < 5000;
    let mut line = None;
    if short && asked.log.is_some_and(|nth| seed.is_multiple_of(nth.max(1))) {
        part.logs += 1;
        let (theirs, own) = (kernel.ask(&sample, world, 2), ours.ask(&sample, world, 2));
        if theirs.log != own.log {
            differs.push("log");
            line = first_difference(&theirs.log, &own.log);
        }
    }
    if differs.is_empty() {
        return;
    }
    for what in &differs {
        *part.differences.entry(what).or_default() += 1;
    }
    let kind = format!("{}: {}", differs.join(", "), kind(&theirs, &own, line.as_deref()));
    part.kinds.entry(kind).or_insert((0, seed)).0 += 1;
    let path = asked.out.join(format!("{seed}.json"));
    let document = sample.document(&seed.to_string(), world);
    let _ = std::fs::write(path, format!("{document}\n"));
}

fn first_difference(theirs: &str, own: &str) -> Option<String> {
    let theirs = theirs.lines().chain(std::iter::repeat("(nothing)"));
    let found = theirs.zip(own.lines()).find(|(theirs, own)| theirs != own);
    found.map(|(theirs, own)| format!("\n    kernel: {theirs}\n    ours:   {own}"))
}

fn kind(theirs: &Answer, own: &Answer, line: Option<&str>) -> String {
    let text = |answer: &Answer| match answer.verdict {
        Ok(()) => "accepts".to_owned(),
        Err(errno) => format!("{errno} {:?}", answer.last),
    };
    let both = format!("\n    kernel: {}\n    ours:   {}", text(theirs), text(own));
    without_numbers(&line.map_or(both, str::to_owned))
}

fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

impl Summary {
    fn add(&mut self, part: Self) {
        self.programs += part.programs;
        self.left_out += part.left_out;
        self.accepted += part.accepted;
        self.insns += part.insns;
        self.logs += part.logs;
        for (what, count) in part.differences {
            *self.differences.entry(what).or_default() += count;
        }
        for (kind, (count, seed)) in part.kinds {
            self.kinds.entry(kind).or_insert((0, seed)).0 += count;
        }
        for (reason, count) in part.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

fn print(asked: &Asked, summary: &Summary, seconds: f64) {
    let mut out = std::io::stdout().lock();
    let mut kinds: Vec<_> = summary.kinds.iter().collect();
    kinds.sort_by_key(|(kind, (count, _))| (!kind.starts_with("verdict"), u64::MAX - count));
    for (kind, (count, seed)) in kinds.iter().take(60) {
        let _ = writeln!(out, "{count} times, first with seed {seed}: {kind}");
    }
    if asked.reasons {
        let mut reasons: Vec<_> = summary.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| u64::MAX - **count);
        for (reason, count) in reasons.iter().take(80) {
            let _ = writeln!(out, "{count:>7} {reason}");
        }
    }
    let Summary { programs, left_out, accepted, insns, logs, .. } = summary;
    let _ = writeln!(
        out,
        "{programs} programs in {seconds:.0} s ({left_out} more left out), seeds from {}",
        asked.seed
    );
    let _ = writeln!(out, "accepted by the kernel: {accepted}; instructions walked: {insns}");
    for what in
        ["verdict", "error number", "last message", "instructions processed", "total states"]
    {
        let count = summary.differences.get(what).copied().unwrap_or(0);
        let _ = writeln!(out, "{what} differs: {count}");
    }
    if *logs > 0 {
        let count = summary.differences.get("log").copied().unwrap_or(0);
        let _ = writeln!(out, "logs compared: {logs}; log differs: {count}");
    }
}

fn show(seed: u64, world: &World, kernel: &Kernel) -> Result<bool, String> {
    let sample = sample(seed, world);
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", sample.document(&seed.to_string(), world));
    if !sample.is_harmless() || !sample.is_closed(world) {
        return Err("the kernel is not asked about this one".to_owned());
    }
    let ours = Ours::new(world);
    let (theirs, own) = (kernel.ask(&sample, world, 2), ours.ask(&sample, world, 2));
    for (who, answer) in [("kernel", &theirs), ("ours", &own)] {
        let _ = writeln!(out, "=== {who}: {:?}\n{}", answer.verdict, answer.log);
    }
    Ok(theirs == own)
}
