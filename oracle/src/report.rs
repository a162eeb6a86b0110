//! Reports: what was said of a program, in a form that two verifiers' answers can be compared in.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// What was said of one program.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The document's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The document's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Value>,
    /// The document's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<Value>,
    /// The program's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The program type.
    pub prog_type: String,
    /// How many instructions were loaded.
    pub insns_loaded: usize,
    /// A hash of the instructions, without what differs from load to load.
    pub insns_sha: String,
    /// `accept`, `reject`, or `error` if it never came to a verdict.
    pub verdict: String,
    /// Where it failed, if it never came to a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The error number; 0 if it was accepted.
    pub errno: i32,
    /// The error number's name.
    pub errno_name: String,
    /// The last message of the log.
    pub last: String,
    /// The closing statistics.
    pub stats: Map<String, Value>,
    /// Why and where it was refused, in detail, if the verifier tells: `reason` is a name, `fields`
    /// what goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Value>,
    /// What is known of the loaded program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Value>,
    /// The logs, by level.
    pub logs: Map<String, Value>,
    /// The test runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Value>,
}

/// A log at one level, as a report tells it. If it did not fit, `true_size` is the size that would
/// have held it; what is left of it has no hash.
pub fn log_entry(log: &str, true_size: Option<usize>, with_text: bool) -> Value {
    let mut entry = json!({ "lines": log.lines().count(), "bytes": log.len() });
    match true_size {
        Some(true_size) => {
            entry["truncated"] = json!(true);
            entry["true_size"] = json!(true_size);
        }
        None => entry["sha"] = json!(short_sha(normal(log).as_bytes())),
    }
    if with_text {
        entry["text"] = json!(log);
    }
    entry
}

/// The first sixteen digits of the SHA-256 of `bytes`.
pub fn short_sha(bytes: &[u8]) -> String {
    let mut digits = hex::encode(&Sha256::digest(bytes));
    digits.truncate(16);
    digits
}

/// Whether a line is one of the closing statistics.
fn is_statistic(line: &str) -> bool {
    (line.starts_with("processed ") && line.contains(" insns (limit "))
        || line.starts_with("verification time ")
        || line.starts_with("stack depth ")
}

/// A log without what differs from run to run: the time, addresses in 64-bit immediates, file
/// descriptors.
pub fn normal(log: &str) -> String {
    let mut out = String::with_capacity(log.len());
    for line in log.lines().filter(|line| !line.starts_with("verification time ")) {
        push_normal(&mut out, line);
        out.push('\n');
    }
    out
}

fn push_normal(out: &mut String, line: &str) {
    let digits = |text: &str, is: fn(&u8) -> bool| text.bytes().take_while(is).count();
    let mut rest = line;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("0xffff")
            && line.contains("(18) r")
            && digits(&rest[2..], u8::is_ascii_hexdigit) == 16
        {
            out.push_str("0xADDR");
            rest = &rest[18..];
            before = 'R';
            continue;
        }
        if before == ' '
            && let Some(number) = rest.strip_prefix("fd ")
            && let count @ 1.. = digits(number, u8::is_ascii_digit)
        {
            out.push_str("fd N");
            rest = &number[count..];
            before = 'N';
            continue;
        }
        out.push(c);
        before = c;
        rest = &rest[c.len_utf8()..];
    }
}

/// The last line of a log that is no statistic, no source line and no state.
pub fn last_message(log: &str) -> String {
    let noise = |line: &str| {
        line.trim().is_empty()
            || is_statistic(line)
            || ["old state:", "cur state:", "; "].iter().any(|start| line.starts_with(start))
    };
    let line = log.lines().rev().find(|line| !noise(line)).unwrap_or("");
    // Some messages end without a new line, and the statistics follow on the same.
    let cut = ["verification time ", "processed "]
        .iter()
        .filter_map(|word| line.rfind(word))
        .filter(|at| *at > 0 && is_statistic(&line[*at..]))
        .min();
    normal(&line[..cut.unwrap_or(line.len())]).trim_end().to_owned()
}

/// The closing statistics of a log.
pub fn statistics(log: &str) -> Map<String, Value> {
    let mut found = Map::new();
    let number = |word: &str| word.trim_end_matches([',', ')']).parse::<u64>().ok();
    for line in log.lines().rev().take(8) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            number(words.get(at + 1)?)
        };
        if line.starts_with("processed ") {
            found.insert("insns".to_owned(), json!(after("processed")));
            for name in ["max_states_per_insn", "total_states", "peak_states", "mark_read"] {
                found.insert(name.to_owned(), json!(after(name)));
            }
        } else if line.starts_with("verification time ") {
            found.insert("time_us".to_owned(), json!(after("time")));
        } else if line.starts_with("stack depth ") {
            found.insert("stack".to_owned(), json!(words.get(2)));
        }
    }
    found
}

/// A hash of instructions without what differs from load to load: the descriptors of maps and
/// the ids of the kernel's BTF.
pub fn insns_sha(insns: &[u8]) -> String {
    let mut bytes = insns.to_vec();
    let mut at = 0;
    while let Some(insn) = bytes.get_mut(at..at + 8) {
        let source = insn[1] >> 4;
        let wide = insn[0] == 0x18;
        let of_this_kernel =
            (wide && source != 0 && source != 4) || (insn[0] == 0x85 && source == 2);
        if of_this_kernel {
            insn[4..8].fill(0);
        }
        at += if wide { 16 } else { 8 };
    }
    short_sha(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_times_and_descriptors_do_not_count() {
        let log = "5: (18) r1 = 0xffff888402a0d200       ; R1\nfd 12 is not pointing to x\nverification time 3 usec\n";
        assert_eq!(normal(log), "5: (18) r1 = 0xADDR       ; R1\nfd N is not pointing to x\n");
        assert_eq!(normal("1: r0 = 0xffff888402a0d200"), "1: r0 = 0xffff888402a0d200\n");
    }

    #[test]
    fn the_last_message_is_found_before_the_statistics() {
        let log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";
        assert_eq!(last_message(log), "R0 !read_ok");
        assert_eq!(statistics(log)["insns"], 1);
        let glued = "expected prog array map for tail callprocessed 3 insns (limit 1000000) max";
        assert_eq!(last_message(glued), "expected prog array map for tail call");
    }

    #[test]
    fn the_hash_of_instructions_ignores_descriptors_and_nothing_else() {
        let load = |source: u8, fd: u8| {
            let mut bytes = vec![0x18, 1 | source << 4, 0, 0, fd, 0, 0, 0];
            bytes.extend([0; 8]);
            insns_sha(&bytes)
        };
        assert_eq!(load(1, 3), load(1, 4));
        assert_ne!(load(0, 3), load(0, 4));
    }
}
