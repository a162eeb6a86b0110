//! Running cases and comparing them with the facts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bpfkit::{EngineChoice, Error, JitMode, KernelBtf, Runtime};
use serde_json::Value;

use crate::build::build_missing;
use crate::differences::since;
use crate::facts::{Facts, is_incomplete};
use crate::parse::{Case, Step};
use crate::steps::Outcome;
use crate::world::World;

/// How cases are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which engine runs the programs.
    pub engine: EngineChoice,
    /// When they are compiled; in the background, as late as can be.
    pub jit: JitMode,
    /// Where the types of the kernel come from.
    pub kernel_btf: KernelBtf,
    /// Whether the last line of the log of a refused load must be the kernel's, besides the lines
    /// that the facts hold to be the important ones.
    pub messages: bool,
}

/// What came of some cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each case, in order.
    pub cases: Vec<CaseReport>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub desc: String,
    /// Each step that was done, and what came of it, as JSON.
    pub steps: Vec<(String, String)>,
    /// What was otherwise than in the facts.
    pub failures: Vec<Failure>,
    /// What is to be said of it besides.
    pub notes: Vec<String>,
}

/// A step that went otherwise than in the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The source.
    pub source: PathBuf,
    /// The line in it; 0 for the whole case.
    pub line: usize,
    /// The step.
    pub step: String,
    /// What the kernel did.
    pub expected: String,
    /// What came of it here.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, step, expected, got } = self;
        write!(f, "{}:{line}: {step}\n  expected {expected}\n  got      {got}", source.display())
    }
}

impl CaseReport {
    /// Whether nothing was otherwise.
    pub const fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Report {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|case| case.passed()).count()
    }

    /// How many did not.
    pub fn failed(&self) -> usize {
        self.cases.len() - self.passed()
    }
}

/// Failures, then how many there are of which.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in self.cases.iter().filter(|case| !case.passed()) {
            writeln!(f, "{}: {}", case.name, case.desc)?;
            for failure in &case.failures {
                writeln!(f, "{failure}")?;
            }
        }
        for case in &self.cases {
            for note in &case.notes {
                writeln!(f, "{}: {note}", case.name)?;
            }
        }
        writeln!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Runs every case of a folder whose name contains `only`, in the order of their names.
///
/// # Errors
///
/// Returns an error if the folder or its facts cannot be read, or there can be no runtime.
pub fn run_dir(dir: &Path, only: &str, options: &Options) -> Result<Report, RunError> {
    let unreadable = |error| RunError::Folder { path: dir.to_owned(), error };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".bpf.c") && name.contains(only) {
            sources.push(path);
        }
    }
    sources.sort();
    let facts = Facts::of_folder(dir).map_err(unreadable)?;
    let cases = sources.iter().map(|source| run_with(source, &facts, options));
    Ok(Report { cases: cases.collect::<Result<_, _>>()? })
}

/// Runs one case.
///
/// # Errors
///
/// As for [`run_dir`].
pub fn run_file(source: &Path, options: &Options) -> Result<CaseReport, RunError> {
    let dir = source.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let facts = Facts::of_folder(dir);
    let facts = facts.map_err(|error| RunError::Folder { path: dir.to_owned(), error })?;
    run_with(source, &facts, options)
}

/// Why cases could not be run at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder, or its facts.
    #[error("{}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        error: std::io::Error,
    },
    /// The runtime.
    #[error("no runtime")]
    Runtime(#[from] Error),
}

fn run_with(source: &Path, facts: &Facts, options: &Options) -> Result<CaseReport, RunError> {
    let whole = |name: String, desc: String, got: String| CaseReport {
        name,
        desc,
        steps: Vec::new(),
        failures: vec![Failure {
            source: source.to_owned(),
            line: 0,
            step: "the case".to_owned(),
            expected: "a case that can be run".to_owned(),
            got,
        }],
        notes: Vec::new(),
    };
    let case = match Case::read(source) {
        Ok(case) => case,
        Err(error) => {
            let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(whole(name, String::new(), error.to_string()));
        }
    };
    if let Err(error) = build_missing(&case) {
        return Ok(whole(case.name, case.desc, error.to_string()));
    }
    let builder = Runtime::builder().engine(options.engine).jit(options.jit);
    let runtime = builder.kernel_btf(options.kernel_btf.clone()).build()?;
    let _hold = runtime.hold_compiler();
    let compare = Compare { case: &case, options, ids: BTreeMap::new() };
    Ok(compare.run(World::new(runtime), facts.steps(&case.name)))
}

/// A case being run, and compared.
struct Compare<'a> {
    case: &'a Case,
    options: &'a Options,
    /// Numbers of the kernel's objects, and ours.
    ids: BTreeMap<u64, u64>,
}

/// What is compared as it is.
const PLAIN: &[&str] = &["rc", "errno", "retval", "next", "fdinfo", "type", "attach_type", "sent"];
/// Numbers of objects, which differ, but must be the same where the kernel's are.
const IDS: &[&str] = &["prog_id", "target_obj_id", "id"];
/// Numbers, which may be written signed or not.
const NUMBERS: &[&str] = &["value", "values"];

impl Compare<'_> {
    fn run(mut self, mut world: World, facts: Option<&[Value]>) -> CaseReport {
        let mut report = CaseReport {
            name: self.case.name.clone(),
            desc: self.case.desc.clone(),
            steps: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        };
        if facts.is_none() {
            report.notes.push("there are no facts".to_owned());
        }
        for (number, step) in self.case.steps.iter().enumerate() {
            let expected = facts.and_then(|facts| facts.get(number));
            let expected = expected.map(|expected| since(&self.case.name, expected));
            if expected.as_ref().is_some_and(is_incomplete) {
                report.notes.push(format!("line {}: the kernel fell over here", step.line));
                break;
            }
            let outcome = world.step(self.case, step);
            let words = Value::Object(outcome.words.clone()).to_string();
            report.steps.push((step.text.clone(), words));
            let Some(expected) = expected else { continue };
            if outcome.is_hole && expected.get("rc").is_some() {
                let note = "accepted by the kernel and refused here, which is right";
                report.notes.push(format!("line {}: {note}", step.line));
                break;
            }
            report.failures.extend(self.differ(step, &expected, &outcome));
        }
        report
    }

    /// What is otherwise, if anything is.
    fn differ(&mut self, step: &Step, expected: &Value, outcome: &Outcome) -> Option<Failure> {
        let failure = |expected: String, got: String| Failure {
            source: self.case.source.clone(),
            line: step.line,
            step: step.text.clone(),
            expected,
            got,
        };
        if expected.get("cmd").and_then(Value::as_str).is_some_and(|cmd| cmd != step.text) {
            return Some(failure(expected["cmd"].to_string(), "another step".to_owned()));
        }
        let got = |key: &str| outcome.words.get(key).cloned().unwrap_or(Value::Null);
        let last = || outcome.log.lines().rev().find(|line| !is_statistics(line)).unwrap_or("");
        let mut wrong: Vec<(String, Value, Value)> = Vec::new();
        for key in PLAIN.iter().chain(NUMBERS) {
            let (Some(want), have) = (expected.get(*key), got(key)) else { continue };
            let is_id = *key == "value" && expected.get("prog_id").is_some();
            let same = if is_id { self.pair(want, &have) } else { same(want, &have) };
            if !same {
                wrong.push(((*key).to_owned(), want.clone(), have));
            }
        }
        for key in IDS {
            let Some(want) = expected.get(*key) else { continue };
            let have = got(key);
            if !self.pair(want, &have) {
                wrong.push(((*key).to_owned(), want.clone(), have));
            }
        }
        if expected.get("harness").is_some() != outcome.words.contains_key("harness") {
            wrong.push(("target".into(), expected["harness"].clone(), got("harness")));
        }
        if !wrong.is_empty() {
            let write = |of: fn(&(String, Value, Value)) -> String| {
                wrong.iter().map(of).collect::<Vec<_>>().join(", ")
            };
            let mut have = write(|(key, _, have)| format!("{key} {have}"));
            let errno = outcome.words.get("errno").filter(|_| !have.contains("errno"));
            if let Some(errno) = errno {
                have += &format!(" (errno {errno})");
            }
            if !outcome.log.is_empty() {
                have += &format!(": {}", last());
            }
            return Some(failure(write(|(key, want, _)| format!("{key} {want}")), have));
        }
        let mut lines = outcome.log.lines();
        for line in texts(expected.get("keylog")) {
            if !lines.by_ref().any(|have| have == line) {
                return Some(failure(format!("log line {line:?}"), format!("{:?}", last())));
            }
        }
        if self.options.messages && expected.get("errno").is_some() {
            let log = texts(expected.get("log"));
            let want = log.iter().rev().find(|line| !is_statistics(line));
            if let Some(want) = want.filter(|want| **want != last()) {
                return Some(failure(format!("last line {want:?}"), format!("{:?}", last())));
            }
        }
        None
    }

    /// Whether a number of the kernel's stands for one of ours, as it did before.
    fn pair(&mut self, want: &Value, have: &Value) -> bool {
        let (Some(want), Some(have)) = (want.as_u64(), have.as_u64()) else { return false };
        *self.ids.entry(want).or_insert(have) == have
    }
}

fn is_statistics(line: &str) -> bool {
    line.starts_with("processed ") || line.is_empty()
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

/// Whether two values are equal, numbers by their bits.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Number(_), Value::Number(_)) => bits(a) == bits(b),
        // An address, whatever it is.
        (Value::String(a), Value::Number(b)) if a == "PTR" => b.as_u64() != Some(0),
        _ => a == b,
    }
}

fn bits(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_i64().map(i64::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_equal_by_their_bits() {
        assert!(same(&json!(-1), &json!(u64::MAX)));
        assert!(same(&json!([1, -2]), &json!([1, u64::MAX - 1])));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(&json!(1), &json!("1")));
    }
}
