//! Verdicts in rows: for people, as CSV, and compared with earlier CSV.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, bail};

use super::Judged;
use crate::report::Table;

/// A column: how `-e` names it, its heading, its name in CSV, and what stands in it.
struct Column {
    name: &'static str,
    heading: &'static str,
    csv: &'static str,
    value: fn(&Judged) -> String,
}

/// All columns, in the order in which they are printed if none are chosen; the names are
/// veristat's.
const COLUMNS: &[Column] = &[
    Column { name: "file", heading: "File", csv: "file_name", value: |one| one.file.clone() },
    Column {
        name: "prog",
        heading: "Program",
        csv: "prog_name",
        value: |one| one.program.name.clone(),
    },
    Column {
        name: "verdict",
        heading: "Verdict",
        csv: "verdict",
        value: |one| if one.checked.result.is_ok() { "success" } else { "failure" }.to_owned(),
    },
    Column {
        name: "duration",
        heading: "Duration (us)",
        csv: "duration",
        value: |one| one.duration.as_micros().to_string(),
    },
    Column {
        name: "insns",
        heading: "Insns",
        csv: "total_insns",
        value: |one| one.checked.stats.insns_processed.to_string(),
    },
    Column {
        name: "states",
        heading: "States",
        csv: "total_states",
        value: |one| one.checked.stats.total_states.to_string(),
    },
    Column {
        name: "peak_states",
        heading: "Peak states",
        csv: "peak_states",
        value: |one| one.checked.stats.peak_states.to_string(),
    },
    Column {
        name: "max_states_per_insn",
        heading: "Max states per insn",
        csv: "max_states_per_insn",
        value: |one| one.checked.stats.max_states_per_insn.to_string(),
    },
    Column {
        name: "mark_read",
        heading: "Max mark read length",
        csv: "mark_read_max_len",
        value: |_| "0".to_owned(),
    },
    Column {
        name: "size",
        heading: "Program size",
        csv: "size",
        value: |one| one.program.insns.len().to_string(),
    },
    Column { name: "sec", heading: "Section", csv: "section", value: |one| one.section.clone() },
];

/// What is printed if nothing is chosen.
const USUAL: [&str; 7] = ["file", "prog", "verdict", "duration", "insns", "states", "size"];

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Column>> {
    let usual: Vec<String> = USUAL.iter().map(|&name| name.to_owned()).collect();
    let names = if names.is_empty() { &usual } else { names };
    names.iter().map(|name| column(name)).collect()
}

/// The column of this name.
fn column(name: &str) -> anyhow::Result<&'static Column> {
    let known = COLUMNS.iter().find(|column| column.name == name || column.csv == name);
    known.with_context(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        format!("no column {name:?}; there are {}", names.join(", "))
    })
}

/// A column to sort by.
#[derive(Clone, Copy)]
pub(super) struct Order {
    column: &'static Column,
    descends: bool,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.column.name, if self.descends { '>' } else { '<' })
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(column) = column(text) {
            return Ok(Self { column, descends: false });
        }
        let ascending = text.strip_suffix(['^', '<']);
        let name = ascending.or_else(|| text.strip_suffix(['v', 'V', '>'])).unwrap_or(text);
        Ok(Self { column: column(name)?, descends: ascending.is_none() })
    }
}

/// Sorts the verdicts by these columns, the first one first.
pub(super) fn sort(judged: &mut [Judged], orders: &[Order]) {
    judged.sort_by(|a, b| {
        orders.iter().fold(Ordering::Equal, |so_far, order| {
            let (a, b) = ((order.column.value)(a), (order.column.value)(b));
            let by = match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(&b),
            };
            so_far.then(if order.descends { by.reverse() } else { by })
        })
    });
}

/// The verdicts as a table.
pub(super) fn table(judged: &[Judged], names: &[String]) -> anyhow::Result<String> {
    let columns = chosen(names)?;
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    let mut table = Table::new(&headings);
    for one in judged {
        table.row(columns.iter().map(|column| (column.value)(one)).collect());
    }
    Ok(table.render())
}

/// The verdicts as CSV.
pub(super) fn csv(judged: &[Judged], names: &[String]) -> anyhow::Result<String> {
    let columns = chosen(names)?;
    let line = |cells: Vec<String>| {
        cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n"
    };
    let mut text = line(columns.iter().map(|column| column.csv.to_owned()).collect());
    for one in judged {
        text.push_str(&line(columns.iter().map(|column| (column.value)(one)).collect()));
    }
    Ok(text)
}

/// A cell, in quotation marks where CSV needs them.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// The verdicts beside those of an earlier CSV.
pub(super) fn comparison(judged: &[Judged], base: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(base).with_context(|| base.display().to_string())?;
    let mut before = read_csv(&text).with_context(|| base.display().to_string())?;
    let mut table = Table::new(&[
        "File",
        "Program",
        "Verdict (A)",
        "Verdict (B)",
        "Insns (A)",
        "Insns (B)",
        "Insns (DIFF)",
        "States (A)",
        "States (B)",
        "States (DIFF)",
    ]);
    for one in judged {
        let cell = |name: &str| {
            COLUMNS
                .iter()
                .find(|column| column.name == name)
                .map_or_else(String::new, |column| (column.value)(one))
        };
        let key = (one.file.clone(), one.program.name.clone());
        let old = before.remove(&key).unwrap_or_default();
        let mut row = vec![key.0, key.1, or_none(old.get("verdict")), cell("verdict")];
        for (csv, name) in [("total_insns", "insns"), ("total_states", "states")] {
            let (old, new) = (or_none(old.get(csv)), cell(name));
            row.extend([old.clone(), new.clone(), difference(&old, &new)]);
        }
        table.row(row);
    }
    for ((file, program), old) in before {
        let none = || "N/A".to_owned();
        table.row(vec![
            file,
            program,
            or_none(old.get("verdict")),
            none(),
            or_none(old.get("total_insns")),
            none(),
            none(),
            or_none(old.get("total_states")),
            none(),
            none(),
        ]);
    }
    Ok(table.render())
}

fn or_none(cell: Option<&String>) -> String {
    cell.cloned().unwrap_or_else(|| "N/A".to_owned())
}

/// `+3 (+10.00%)`, as veristat writes it.
fn difference(old: &str, new: &str) -> String {
    let (Ok(old), Ok(new)) = (old.parse::<i64>(), new.parse::<i64>()) else {
        return "N/A".to_owned();
    };
    let by = new - old;
    #[expect(clippy::cast_precision_loss, reason = "a percentage, printed with two digits")]
    let percent = if old == 0 { 0.0 } else { by as f64 / old as f64 * 100.0 };
    format!("{by:+} ({percent:+.2}%)")
}

/// Rows of a CSV, by file and program.
type Rows = BTreeMap<(String, String), BTreeMap<String, String>>;

fn read_csv(text: &str) -> anyhow::Result<Rows> {
    let mut lines = text.lines();
    let headings = cells(lines.next().unwrap_or(""));
    let (file, program) = ("file_name".to_owned(), "prog_name".to_owned());
    if !headings.contains(&file) || !headings.contains(&program) {
        bail!("line 1 names no columns file_name and prog_name");
    }
    let mut rows = Rows::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let row: BTreeMap<_, _> = headings.iter().cloned().zip(cells(line)).collect();
        let key = (row.get(&file).cloned(), row.get(&program).cloned());
        if let (Some(file), Some(program)) = key {
            rows.insert((file, program), row);
        }
    }
    Ok(rows)
}

/// The cells of a line of CSV.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut inside = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut cells, '"');
            }
            '"' => inside = !inside,
            ',' if !inside => cells.push(String::new()),
            other => push(&mut cells, other),
        }
    }
    cells
}

fn push(cells: &mut [String], c: char) {
    if let Some(last) = cells.last_mut() {
        last.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_they_were_written() {
        let row = ["plain", "with, comma", "with \"marks\"", ""];
        let line = row.map(quoted).join(",");
        assert_eq!(cells(&line), row);
    }

    #[test]
    fn differences_have_signs_and_percentages() {
        assert_eq!(difference("10", "11"), "+1 (+10.00%)");
        assert_eq!(difference("10", "5"), "-5 (-50.00%)");
        assert_eq!(difference("N/A", "5"), "N/A");
    }

    #[test]
    fn a_foreign_csv_is_refused() {
        assert!(read_csv("a,b\n1,2\n").is_err());
        assert_eq!(read_csv("file_name,prog_name,verdict\nf,p,success\n").unwrap().len(), 1);
    }
}
