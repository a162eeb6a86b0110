//! How long verification takes, here and in the running kernel.
//!
//! Both judge the same programs in turns, at log level 4, which logs nothing but the closing
//! statistics. The kernel's time is the one it states itself (`verification time N usec`): it
//! leaves out copying the program, the tail of the load and the machine code. Ours is the wall
//! clock around [`bpf_verifier::check`], from the undecoded program to the verdict.

mod generated;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_btf::Btf;
use bpf_object::document;
use bpf_oracle::document::Document;
use bpf_oracle::judge::{Questions, judge};
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{Checked, LogOptions, Options, check};

use crate::stats::{Times, cell, geometric_mean};

/// A program to be verified, and the object it is of.
struct Heavy {
    object: Arc<ObjectSpec>,
    program: usize,
}

impl Heavy {
    fn program(&self) -> &ProgramSpec {
        &self.object.programs[self.program]
    }
}

/// Times both verifiers on the programs whose names are wanted, or on all.
pub(crate) fn run(rounds: u32, names: &[String]) -> anyhow::Result<()> {
    let kernel = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let kernel = kernel.and_then(|bytes| Btf::parse(&bytes).ok()).map(Arc::new);
    println!(
        "{:<12} {:>8} {:>7} {:>7} {:>10} {:>10} {:>6} {:>10} {:>10}",
        "verify",
        "insns",
        "states",
        "peak",
        "ours us",
        "kernel us",
        "ratio",
        "states KiB",
        "peak KiB"
    );
    let mut ratios = Vec::new();
    for heavy in programs(kernel.as_ref())? {
        let name = &heavy.program().name;
        if names.is_empty() || names.contains(name) {
            ratios.extend(race(&heavy, kernel.as_ref(), rounds)?);
        }
    }
    anyhow::ensure!(!ratios.is_empty() || bpf_oracle::kernel::available().is_err(), "no programs");
    if let Some(mean) = geometric_mean(&ratios) {
        println!("geometric mean ours/kernel: {mean:.2}");
    }
    Ok(())
}

/// Times both verifiers on one program, and prints a row. What the ratio is, if there is a kernel.
fn race(heavy: &Heavy, kernel: Option<&Arc<Btf>>, rounds: u32) -> anyhow::Result<Option<f64>> {
    let mut world = DescribedWorld::new(kernel.cloned());
    for map in &heavy.object.maps {
        world.add_map(map, heavy.object.btf.as_ref());
    }
    let text = document(&heavy.object, heavy.program());
    let program = &world.resolved(heavy.program());
    let document = Document::read_all(&text).map_err(anyhow::Error::msg)?.remove(0);
    let has_kernel = bpf_oracle::kernel::available().is_ok();

    forget_peak();
    let before = resident("VmRSS:");
    let checked = time_ours(program, &world).0;
    let peak = resident("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before));
    let said = match &checked.result {
        Ok(()) => "accept".to_owned(),
        Err(rejection) => rejection.to_string(),
    };
    anyhow::ensure!(checked.result.is_ok(), "{}: {said}", program.name);

    let (mut ours, mut theirs) = (Times::default(), Times::default());
    let begin = Instant::now();
    for round in 0..rounds {
        // Programs that take long have had enough turns after a while.
        if round >= 5 && begin.elapsed().as_secs() >= 3 {
            break;
        }
        ours.push(time_ours(program, &world).1);
        if has_kernel {
            theirs.push(time_kernel(&document, &checked)?);
        }
    }
    let ratio = ours.ratio_to(&theirs);
    println!(
        "{:<12} {:>8} {:>7} {:>7} {} {} {} {:>10} {}",
        program.name,
        checked.stats.insns_processed,
        checked.stats.total_states,
        checked.stats.peak_states,
        cell(ours.median(), 10, 0),
        cell(theirs.median(), 10, 0),
        cell(ratio, 6, 2),
        checked.stats.peak_state_bytes.div_ceil(1024),
        peak.map_or_else(|| format!("{:>10}", "-"), |peak| format!("{peak:>10}")),
    );
    Ok(ratio)
}

/// Verifies a program here; how many microseconds that took.
fn time_ours(program: &ProgramSpec, world: &DescribedWorld) -> (Checked, f64) {
    let log = LogOptions { level: 4, ..LogOptions::default() };
    let options = Options { log, ..Options::default() };
    let begin = Instant::now();
    let checked = check(program, world, &options);
    (checked, begin.elapsed().as_secs_f64() * 1e6)
}

/// Has the kernel verify a program; how many microseconds it says that took. It must have done
/// the same work.
fn time_kernel(document: &Document, ours: &Checked) -> anyhow::Result<f64> {
    let report = judge(document, &Questions { levels: vec![4], text: false, runs: false });
    let number = |name: &str| report.stats.get(name).and_then(serde_json::Value::as_u64);
    let name = document.name.as_deref().unwrap_or_default();
    anyhow::ensure!(report.verdict == "accept", "{name}: the kernel says {}", report.last);
    anyhow::ensure!(
        number("insns") == Some(u64::from(ours.stats.insns_processed)),
        "{name}: the kernel processes {:?} instructions",
        number("insns")
    );
    let time = number("time_us").context("the kernel states no time")?;
    Ok(f64::from(u32::try_from(time).unwrap_or(u32::MAX)))
}

/// All programs: those of the objects, by name, then the generated ones.
fn programs(kernel: Option<&Arc<Btf>>) -> anyhow::Result<Vec<Heavy>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("heavy");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "o") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path)?;
        let mut options = bpf_object::Options::default();
        if bpf_object::needs_target(&bytes)? {
            options.target = kernel.cloned();
        }
        let object = bpf_object::read_with(&bytes, "heavy", &options)
            .with_context(|| path.display().to_string())?;
        all.extend(heavies(object));
    }
    for object in generated::all()? {
        all.extend(heavies(object));
    }
    Ok(all)
}

fn heavies(object: ObjectSpec) -> impl Iterator<Item = Heavy> {
    let object = Arc::new(object);
    (0..object.programs.len()).map(move |program| Heavy { object: Arc::clone(&object), program })
}

/// Has the kernel forget how much memory this process once used, where it lets us.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A line of `/proc/self/status` about memory, in KiB.
fn resident(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
