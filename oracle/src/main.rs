//! Puts raw documents before the running kernel and prints its answers.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask oracle raw FILE.json|- [--log-level N]... [--log] [--run]
       cargo xtask oracle facts [--write] [TOPIC]...
       cargo xtask oracle available

raw        reads raw documents and prints a report a line; --log-level may be given
           more than once: one load each, the first decides (default: 4, then 1);
           --log puts the texts in, --run makes the documents' test runs
facts      asks the kernel again all that oracle/facts records, and prints what differs;
           --write records what it says now
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
    if command.as_deref() == Some("facts") {
        return facts(&args.collect::<Vec<_>>(), &mut out);
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

/// Asks the kernel again, and compares its answers with those that are recorded.
#[cfg(target_os = "linux")]
fn facts(args: &[String], out: &mut impl std::io::Write) -> Result<(), String> {
    use bpf_oracle::facts::{Record, TOPICS, ask};

    bpf_oracle::kernel::available()
        .map_err(|errno| format!("the kernel may not be asked here: {errno}"))?;
    let write = args.iter().any(|arg| arg == "--write");
    let names: Vec<&String> = args.iter().filter(|arg| *arg != "--write").collect();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("facts");
    let text = |error: std::io::Error| error.to_string();
    let mut differing = 0;
    for topic in
        TOPICS.iter().filter(|topic| names.is_empty() || names.contains(&&topic.name.to_owned()))
    {
        let path = folder.join(format!("{}.txt", topic.name));
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        let recorded =
            Record::parse(&recorded).map_err(|line| format!("{}: {line}", topic.name))?;
        let mut said = Record::default();
        let mut different = Vec::new();
        (topic.questions)(&mut |question| {
            let Some(answer) = ask(&question) else { return };
            if recorded.get(&question.group, &question.item) != Some(&answer) {
                different.push((question.group.clone(), question.item.clone(), answer.clone()));
            }
            said.add(&question.group, question.item, answer);
        });
        writeln!(out, "{}: {} questions, {} differ", topic.name, said.len(), different.len())
            .map_err(text)?;
        if write {
            let header = format!("# {}\n\n", topic.about);
            std::fs::write(&path, header + &said.to_text()).map_err(text)?;
            continue;
        }
        for (group, item, answer) in &different {
            let was = recorded.get(group, item).unwrap_or("(nothing)");
            writeln!(out, "  {group} {item:?}: {answer}; recorded: {was}").map_err(text)?;
        }
        differing += different.len();
    }
    if differing == 0 { Ok(()) } else { Err(format!("{differing} answers differ")) }
}
