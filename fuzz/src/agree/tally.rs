//! Families one after the other, and what is counted of them.

use std::collections::BTreeMap;
use std::fmt;

use super::{Account, Engines, Place, report};
use crate::family::{Family, Types, Uses, family};

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many programs were made.
    pub programs: u64,
    /// How many of them were accepted, and run on every engine.
    pub accepted: u64,
    /// How many runs each engine made.
    pub runs: u64,
    /// How many runs took a tail call.
    pub with_tail_calls: u64,
    /// How many tail calls all runs took on one engine.
    pub tail_calls: u64,
    /// How many instructions the accepted programs have.
    pub insns: u64,
    /// How many runs had their instructions counted.
    pub counted_runs: u64,
    /// How many instructions those runs took.
    pub steps: u64,
    /// The most that one of them took.
    pub most_steps: u64,
    /// How many programs ran in the kernel too.
    pub kernel_programs: u64,
    /// How many programs the kernel was not asked about, though their turn it was.
    pub kernel_left_out: u64,
    /// How many accepted programs do a thing.
    uses: BTreeMap<&'static str, u64>,
    /// Why programs were refused, without numbers: how often, and the first seed.
    pub refusals: BTreeMap<String, (u64, u64)>,
    /// How many families places differed on.
    pub different: u64,
}

/// A family on which places differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What differs.
    pub found: Vec<String>,
    /// The family.
    pub family: Family,
    /// What came of it in each place.
    pub accounts: Vec<(&'static str, Account)>,
}

impl Tally {
    /// Makes the family of a seed and runs it on each engine, and in another place if there is one.
    ///
    /// # Errors
    ///
    /// Returns what places differ in.
    pub fn family(
        &mut self,
        seed: u64,
        types: &Types,
        engines: &Engines,
        kernel: Option<&Place<'_>>,
    ) -> Result<(), Box<Difference>> {
        let mut family = family(seed, types);
        self.programs += family.object.programs.len() as u64;
        let failed = |family: &Family, error: String| {
            Box::new(Difference {
                found: vec![error],
                family: family.clone(),
                accounts: Vec::new(),
            })
        };
        let accepted = engines.accept(&mut family).map_err(|error| {
            self.different += 1;
            failed(&family, error)
        })?;
        for refusal in accepted.refusals {
            self.refusals.entry(without_numbers(&refusal.reason)).or_insert((0, seed)).0 += 1;
        }
        if family.object.programs.is_empty() {
            return Ok(());
        }
        self.count(&family);
        let ran = engines.run(&family, accepted.object);
        let mut accounts = ran.map_err(|error| {
            self.different += 1;
            failed(&family, error)
        })?;
        if let Some((_, account)) = accounts.first() {
            let runs = || account.runs.iter().flatten();
            self.runs += runs().count() as u64;
            self.tail_calls += account.tail_calls();
            self.with_tail_calls +=
                runs().filter(|run| run.tail_calls.is_some_and(|calls| calls > 0)).count() as u64;
        }
        if let Some(kernel) = kernel {
            let programs = family.object.programs.len() as u64;
            if family.is_harmless() {
                self.kernel_programs += programs;
                let account = kernel(&family).map_err(|error| {
                    self.different += 1;
                    failed(&family, format!("kernel: {error}"))
                })?;
                accounts.push(("kernel", account));
            } else {
                self.kernel_left_out += programs;
            }
        }
        let found = report::differences(&accounts);
        if found.is_empty() {
            return Ok(());
        }
        self.different += 1;
        Err(Box::new(Difference { found, family, accounts }))
    }

    /// Counts what the programs of a family do.
    fn count(&mut self, family: &Family) {
        self.accepted += family.object.programs.len() as u64;
        for (program, uses) in family.object.programs.iter().zip(&family.uses) {
            self.insns += program.insns.len() as u64;
            for (name, flag) in Uses::all().iter_names() {
                *self.uses.entry(name).or_default() += u64::from(uses.contains(flag));
            }
        }
    }

    /// Counts the instructions of a family's runs.
    ///
    /// # Errors
    ///
    /// As of [`Engines::steps`].
    pub fn count_steps(
        &mut self,
        seed: u64,
        types: &Types,
        engines: &Engines,
    ) -> Result<(), String> {
        let mut family = family(seed, types);
        let accepted = engines.accept(&mut family)?;
        for steps in engines.steps(&family, &accepted.object)? {
            self.counted_runs += 1;
            self.steps += steps;
            self.most_steps = self.most_steps.max(steps);
        }
        Ok(())
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, part: Self) {
        self.programs += part.programs;
        self.accepted += part.accepted;
        self.runs += part.runs;
        self.with_tail_calls += part.with_tail_calls;
        self.tail_calls += part.tail_calls;
        self.insns += part.insns;
        self.counted_runs += part.counted_runs;
        self.steps += part.steps;
        self.most_steps = self.most_steps.max(part.most_steps);
        self.kernel_programs += part.kernel_programs;
        self.kernel_left_out += part.kernel_left_out;
        self.different += part.different;
        for (name, count) in part.uses {
            *self.uses.entry(name).or_default() += count;
        }
        for (reason, (count, seed)) in part.refusals {
            self.refusals.entry(reason).or_insert((0, seed)).0 += count;
        }
    }

    /// How many accepted programs do a thing.
    pub fn with(&self, uses: Uses) -> u64 {
        let names = uses.iter_names().map(|(name, _)| self.uses.get(name).copied().unwrap_or(0));
        names.sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = |part: u64, whole: u64| {
            // For people: what is lost of large numbers does not show.
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            let share = part as f64 / whole.max(1) as f64;
            share
        };
        writeln!(
            f,
            "{} programs, {} accepted ({:.1} %), {:.0} instructions each",
            self.programs,
            self.accepted,
            100.0 * per(self.accepted, self.programs),
            per(self.insns, self.accepted),
        )?;
        writeln!(
            f,
            "runs per engine: {}; {:.0} instructions each ({} runs counted, the longest {})",
            self.runs,
            per(self.steps, self.counted_runs),
            self.counted_runs,
            self.most_steps,
        )?;
        writeln!(f, "tail calls: {}, in {} runs", self.tail_calls, self.with_tail_calls)?;
        let uses = self.uses.iter().map(|(name, count)| {
            let name = name.to_lowercase().replace('_', " ");
            format!("{name} {:.1} %", 100.0 * per(*count, self.accepted))
        });
        writeln!(f, "programs with {}", uses.collect::<Vec<_>>().join(", "))?;
        writeln!(
            f,
            "in the kernel too: {} programs ({} more left out)",
            self.kernel_programs, self.kernel_left_out
        )?;
        write!(f, "families on which places differ: {}", self.different)
    }
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
