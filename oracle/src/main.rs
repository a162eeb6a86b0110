//! Puts raw documents before the running kernel and prints its answers.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask oracle raw FILE.json|- [--log-level N]... [--log] [--run]
       cargo xtask oracle available

raw        reads raw documents and prints a report a line; --log-level may be given
           more than once: one load each, the first decides (default: 4, then 1);
           --log puts the texts in, --run makes the documents' test runs
available  says whether this process may ask the kernel at all";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "bpf-oracle: {message}");
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn run(_: Vec<String>) -> Result<(), String> {
    Err("there is no bpf(2) on this system".to_owned())
}

#[cfg(target_os = "linux")]
fn run(args: Vec<String>) -> Result<(), String> {
    use bpf_oracle::document::Document;
    use bpf_oracle::judge::{Questions, judge};

    let mut args = args.into_iter();
    let command = args.next();
    let mut out = std::io::stdout().lock();
    if command.as_deref() == Some("available") {
        bpf_oracle::kernel::available().map_err(|errno| format!("not available here: {errno}"))?;
        return writeln!(out, "available").map_err(|error| error.to_string());
    }
    if command.as_deref() != Some("raw") {
        return Err(USAGE.to_owned());
    }
    let mut questions = Questions { levels: Vec::new(), text: false, runs: false };
    let mut file = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--log-level" => {
                let level = args.next().ok_or("--log-level needs a number")?;
                questions
                    .levels
                    .push(level.parse().map_err(|_| format!("--log-level {level}: no number"))?);
            }
            "--log" => questions.text = true,
            "--run" => questions.runs = true,
            "--json" => {}
            _ if file.is_none() => file = Some(arg),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if questions.levels.is_empty() {
        questions.levels = vec![4, 1];
    }
    let path = file.ok_or(USAGE)?;
    let mut text = String::new();
    if path == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| format!("standard input: {error}"))?;
    } else {
        text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    }
    let documents = Document::read_all(&text).map_err(|error| format!("{path}: {error}"))?;
    bpf_oracle::kernel::available()
        .map_err(|errno| format!("the kernel may not be asked here: {errno}"))?;
    for document in &documents {
        let report = serde_json::to_string(&judge(document, &questions))
            .map_err(|error| error.to_string())?;
        writeln!(out, "{report}").map_err(|error| error.to_string())?;
    }
    Ok(())
}
