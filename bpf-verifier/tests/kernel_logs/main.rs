//! What Linux 6.18 says of the project's own small programs, we say: logs, byte for byte.
//!
//! Beside this file are raw documents (`NAME.jsonl`, programs and maps as the kernel is given
//! them) and what the kernel logged of each program at levels 1, 2 and 4 (`NAME.PROGRAM.log`).
//! Times and addresses, which differ from run to run, are left out of the comparison.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod document;
mod types;

use std::fs;
use std::path::Path;

use bpf_verifier::{LogOptions, Options, verify};
use document::Document;

/// The documents that are compared, and the programs in them that are known to differ.
const COMPARED: &[(&str, &[&str])] = &[
    ("01_straight", &[]),
    ("02_branches", &[]),
    ("03_map_null", &[]),
    ("04_loop", &[]),
    ("05_packet", &[]),
    ("06_call", &[]),
    ("07_global", &[]),
    ("08_tailcall", &[]),
    ("09_spinlock", &[]),
    ("10_spill", &[]),
    ("11_rejected", &[]),
    ("12_precision", &[]),
    ("13_refs", &[]),
    ("14_v4", &[]),
    ("15_arena", &[]),
    ("16_stack_private", &[]),
    ("20_helpers", &[]),
    ("21_graph", &[]),
    ("22_attach", &[]),
    ("23_kfuncs", &[]),
    ("24_tail_calls", &[]),
    ("25_exceptions", &[]),
];

#[test]
fn logs_are_the_kernels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel_logs");
    let mut report = String::new();
    let mut compared = 0;
    for (name, differing) in COMPARED {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
        for document in Document::read_all(&text) {
            let program = document.full_name().to_owned();
            let log = folder.join(format!("{name}.{program}.log"));
            let log = fs::read_to_string(log).unwrap();
            let differs = differences(&document, &log);
            let expected = differing.contains(&program.as_str());
            if differs.is_some() != expected {
                let said = differs.unwrap_or_else(|| "no longer differs".to_owned());
                report.push_str(&format!("{name}.{program}: {said}\n"));
            }
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} programs were found");
    assert!(report.is_empty(), "{report}");
}

/// The first difference of the logs of a program from the kernel's, level by level.
fn differences(document: &Document, kernel: &str) -> Option<String> {
    for section in kernel.split("==== log_level ").skip(1) {
        let (title, expected) = section.split_once('\n').unwrap();
        let level = title[..1].parse().unwrap();
        let options = Options {
            log: LogOptions { level, size: None },
            strict_holes: false,
            ..Options::default()
        };
        let world = document.world();
        let verdict = verify(&document.spec(&world), &world, &options);
        let (ours, expected) = (normal(&verdict.log), normal(expected));
        let difference = match expected.split_once("\n[...]\n") {
            None => first_difference(&expected, &ours),
            Some(ends) => ends_differ(ends, &ours),
        };
        if let Some(difference) = difference {
            return Some(format!("level {level}: {difference}"));
        }
    }
    None
}

/// The same for a log of which only both ends were kept.
fn ends_differ((head, tail): (&str, &str), ours: &str) -> Option<String> {
    let (head, tail) = (head.rsplit_once('\n').unwrap().0, tail.split_once('\n').unwrap().1);
    let own_head: Vec<&str> = ours.lines().take(head.lines().count()).collect();
    let count = tail.lines().count();
    let own_tail: Vec<&str> = ours.lines().rev().take(count).collect();
    let own_tail: Vec<&str> = own_tail.into_iter().rev().collect();
    first_difference(head, &own_head.join("\n"))
        .or_else(|| first_difference(tail, &own_tail.join("\n")))
}

fn first_difference(expected: &str, ours: &str) -> Option<String> {
    let mut ours_lines = ours.lines();
    for (number, line) in expected.lines().enumerate() {
        let own = ours_lines.next().unwrap_or("(nothing)");
        if own != line {
            return Some(format!("line {}\n  kernel: {line}\n  ours:   {own}", number + 1));
        }
    }
    ours_lines.next().map(|line| format!("too much\n  ours:   {line}"))
}

/// A log without what differs from run to run and from kernel to kernel: times, addresses in wide
/// immediates, numbers of the kernel's types.
fn normal(log: &str) -> String {
    let mut out = String::new();
    for line in log.lines().filter(|line| !line.starts_with("verification time ")) {
        let is_wide = line.contains("(18) r");
        let line = without_type_number(line);
        for word in line.split_inclusive(' ') {
            let is_address = is_wide && word.starts_with("0xffff");
            out.push_str(if is_address { "0xADDR" } else { word });
        }
        out.push('\n');
    }
    out
}

/// A line that names a kernel type by its number, without that.
fn without_type_number(line: &str) -> String {
    match line.split_once(" has btf_id ") {
        Some((argument, rest)) => {
            let ty = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{argument} has btf_id{ty}")
        }
        None => line.to_owned(),
    }
}
