//! The command that runs random programs on every engine: options, workers, summary.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bpf_fuzz::agree::{Difference, Engines, Kernel, Tally, report};
use bpf_fuzz::family::{Family, Types, family};

const USAGE: &str = "\
usage: cargo xtask fuzz-engines [--programs N] [--seed S] [--threads N] [--kernel N] [--out DIR]
       cargo xtask fuzz-engines --show SEED

Makes families of random programs from seeds S, S+1, … and runs all that verify on the
interpreter, as compiled code and as compiled code that is not optimised; by turns also as code
that was kept in memory or on disk, and as code that is compiled amid the runs. Results,
packets, contexts, maps, records and counts of tail calls must be the same. It ends when N
programs have run. Each family on which places differ is saved in DIR (target/fuzz-engines).
--kernel N  how many programs run in the running kernel too (a fiftieth; 0 for none)
--reasons   says what programs were refused for, the most frequent first
--show SEED prints one family and what comes of it in each place, and saves it";

/// Of how many families one has its instructions counted.
const COUNTED: u64 = 32;

/// After how many programs something is said.
const PROGRESS: u64 = 50_000;

/// How many families a worker takes at a time.
const CHUNK: u64 = 16;

/// What the command was asked for.
struct Asked {
    programs: u64,
    seed: u64,
    threads: usize,
    kernel: Option<u64>,
    out: PathBuf,
    reasons: bool,
    show: Option<u64>,
}

impl Asked {
    fn read(args: &[String]) -> Option<Self> {
        let mut asked = Self {
            programs: 20_000,
            seed: 1,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: None,
            out: PathBuf::from("target/fuzz-engines"),
            reasons: false,
            show: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--programs" => asked.programs = args.next()?.parse().ok()?,
                "--seed" => asked.seed = args.next()?.parse().ok()?,
                "--threads" => asked.threads = args.next()?.parse().ok()?,
                "--kernel" => asked.kernel = Some(args.next()?.parse().ok()?),
                "--out" => asked.out = PathBuf::from(args.next()?),
                "--reasons" => asked.reasons = true,
                "--show" => asked.show = Some(args.next()?.parse().ok()?),
                _ => return None,
            }
        }
        Some(asked)
    }

    /// How many programs are to run in the kernel.
    fn sample(&self) -> u64 {
        self.kernel.unwrap_or(self.programs / 50)
    }

    /// Of how many families one runs in the kernel. A family has about four programs; those that the
    /// kernel is not asked about are made up for.
    fn every(&self) -> u64 {
        (self.programs * 17 / 20).checked_div(self.sample()).unwrap_or(0).max(1)
    }
}

pub(crate) fn main(args: &[String]) -> ExitCode {
    bpf_fuzz::exit_code(
        Asked::read(args).ok_or_else(|| format!("what is asked?\n{USAGE}")).and_then(|it| run(&it)),
    )
}

/// Whether all places agree on every family.
fn run(asked: &Asked) -> Result<bool, String> {
    let types = Types::new(bpf_fuzz::world::kernel_types());
    let kernel = match Kernel::new(&types) {
        Ok(kernel) => Some(kernel),
        Err(why) if asked.kernel.unwrap_or(0) == 0 => {
            let _ = writeln!(std::io::stderr(), "skipped: the kernel: {why}");
            None
        }
        Err(why) => return Err(why),
    };
    if let Some(seed) = asked.show {
        return show(asked, seed, &types, kernel.as_ref());
    }
    std::fs::create_dir_all(&asked.out).map_err(|error| format!("{error}"))?;
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let worked = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..asked.threads.max(1))
            .map(|_| scope.spawn(|| work(asked, &types, kernel.as_ref(), &next, &tally)))
            .collect();
        let joined =
            workers.into_iter().map(|it| it.join().map_err(|_| "a worker failed".to_owned()));
        joined.flatten().collect::<Result<(), String>>()
    });
    let tally = tally.into_inner().map_err(|_| "a worker failed".to_owned())?;
    worked?;
    let mut out = std::io::stdout().lock();
    if asked.reasons {
        let mut reasons: Vec<_> = tally.refusals.iter().collect();
        reasons.sort_by_key(|(_, (count, _))| u64::MAX - count);
        for (reason, (count, seed)) in reasons.iter().take(60) {
            let _ = writeln!(out, "{count:>7}, first with seed {seed}: {reason}");
        }
    }
    let families = next.load(Ordering::Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    let _ = writeln!(out, "seeds from {}, up to {families}; {seconds:.0} s", asked.seed);
    let _ = writeln!(out, "{tally}");
    Ok(tally.different == 0)
}

fn work(
    asked: &Asked,
    types: &Types,
    kernel: Option<&Kernel>,
    next: &AtomicU64,
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let engines = Engines::new(types)?;
    let place = |family: &Family| match kernel {
        Some(kernel) => kernel.run(family),
        None => Err("not to be had".to_owned()),
    };
    loop {
        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
        let mut part = Tally::default();
        for number in from..from + CHUNK {
            let seed = asked.seed.wrapping_add(number);
            let sampled = kernel.is_some() && asked.sample() > 0 && number % asked.every() == 0;
            let other: Option<&bpf_fuzz::agree::Place<'_>> =
                if sampled { Some(&place) } else { None };
            if let Err(difference) = part.family(seed, types, &engines, other) {
                tell(asked, seed, &difference);
            }
            if number % COUNTED == 0 {
                part.count_steps(seed, types, &engines)?;
            }
        }
        let Ok(mut all) = tally.lock() else { return Ok(()) };
        let before = all.accepted;
        all.add(part);
        if before / PROGRESS != all.accepted / PROGRESS {
            let (accepted, different) = (all.accepted, all.different);
            let mut err = std::io::stderr();
            let _ =
                writeln!(err, "{accepted} programs have run; families that differ: {different}");
        }
        if all.accepted >= asked.programs {
            return Ok(());
        }
    }
}

/// Says what differs, and saves the family.
fn tell(asked: &Asked, seed: u64, difference: &Difference) {
    let Difference { found, family, accounts } = difference;
    let mut out = std::io::stdout().lock();
    let first = found.first().map_or("", String::as_str);
    let first: String = first.chars().take(400).collect();
    let _ = writeln!(out, "seed {seed}: {} differences, the first: {first}", found.len());
    if let Err(error) = report::save(&asked.out, family, accounts, found) {
        let _ = writeln!(out, "it could not be saved: {error}");
    }
}

fn show(asked: &Asked, seed: u64, types: &Types, kernel: Option<&Kernel>) -> Result<bool, String> {
    let engines = Engines::new(types)?;
    let mut family = family(seed, types);
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", report::text(&family));
    std::fs::create_dir_all(&asked.out)
        .and_then(|()| report::save(&asked.out, &family, &[], &[]))
        .map_err(|error| format!("{}: {error}", asked.out.display()))?;
    let accepted = engines.accept(&mut family)?;
    for refusal in &accepted.refusals {
        let _ = writeln!(out, "{} is refused: {}", refusal.program, refusal.reason);
    }
    let mut accounts = engines.run(&family, accepted.object)?;
    if let Some(kernel) = kernel.filter(|_| family.is_harmless()) {
        accounts.push(("kernel", kernel.run(&family)?));
    }
    let _ = writeln!(out, "{}", report::outcomes(&accounts));
    let found = report::differences(&accounts);
    for what in &found {
        let _ = writeln!(out, "{what}");
    }
    Ok(found.is_empty())
}
