//! Facts about the kernel: small questions, one program each, and what it answers.
//!
//! A question is of a topic, in a group, about an item: *helpers* in *xdp* about *12*. What the
//! running kernel answered is committed, a file a topic, in `oracle/facts`; a test puts the same
//! questions to our verifier, and `cargo xtask oracle facts` asks the kernel again.
//!
//! ```text
//! xdp read 4
//!   RN type=pkt expected=map_ptr: 0
//!   EACCES invalid bpf_context access off=N size=N: -4--1 1-3 …
//! ```

mod code;
mod hooks;
mod access;
mod calls;
mod loads;
#[cfg(target_os = "linux")]
mod ask;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bpf_abi::Errno;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};

#[cfg(target_os = "linux")]
pub use ask::ask;
pub use hooks::Hook;

use crate::report;

/// A question: one program, and the maps it uses.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the question is one of.
    pub group: String,
    /// What it is about.
    pub item: Item,
    /// The program, alone, and its maps.
    pub object: ObjectSpec,
    /// The number of the attach type expected at load, which may be one that nobody knows.
    pub attach: u32,
}

impl Question {
    /// The program.
    ///
    /// # Panics
    ///
    /// Never: a question has a program.
    pub fn program(&self) -> &ProgramSpec {
        self.object.programs.first().expect("a question has a program")
    }
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A number: an offset, a helper, a flag.
    Number(i64),
    /// A name without spaces.
    Name(String),
}

/// A topic: its name, what it is about, and its questions, handed to a function one by one.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name: the file's in `oracle/facts`.
    pub name: &'static str,
    /// What its groups, items and answers are.
    pub about: &'static str,
    /// Hands every question to a function.
    pub questions: fn(&mut dyn FnMut(Question)),
}

/// All topics.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "helpers",
        about: "which helper a hook's programs may call, by number; called with R1 alone",
        questions: calls::helpers,
    },
    Topic {
        name: "helpers-by-attach-type",
        about: "which helper, by number, a program type may call if it is loaded for an attach type",
        questions: calls::helpers_by_attach_type,
    },
    Topic {
        name: "licences",
        about: "which helper a program under another licence than the GPL may call, by number",
        questions: calls::licences,
    },
    Topic {
        name: "kfuncs",
        about: "which kernel function a hook's programs may call; called with five zeros",
        questions: calls::kfuncs,
    },
    Topic {
        name: "maps",
        about: "which map, by its type's number, a helper takes",
        questions: calls::maps,
    },
    Topic {
        name: "contexts",
        about: "what an access of the context at an offset yields: the register's type, if any",
        questions: access::contexts,
    },
    Topic {
        name: "sockets",
        about: "what an access of a socket, or of something else found in a context, yields",
        questions: access::sockets,
    },
    Topic {
        name: "packets",
        about: "what a hook's programs may do to packets, by hook",
        questions: access::packets,
    },
    Topic {
        name: "returns",
        about: "what a hook's programs may return",
        questions: loads::returns,
    },
    Topic {
        name: "attach",
        about: "which attach type, by number, a program type is loaded with",
        questions: loads::attach_types,
    },
    Topic {
        name: "flags",
        about: "which flag, by its bit, a program type is loaded with",
        questions: loads::flags,
    },
    Topic {
        name: "limits",
        about: "what is accepted up to which number",
        questions: loads::limits,
    },
    Topic {
        name: "references",
        about: "which map, by its type's number, a hook's programs may refer to",
        questions: loads::references,
    },
];

/// An answer as the record has it: `ok`, or the error's name and the log's last message, in
/// which numbers and names that follow from the question are left out.
pub fn answer(errno: Option<Errno>, log: &str) -> String {
    match errno {
        None => "ok".to_owned(),
        Some(errno) => format!("{errno} {}", shape(&report::last_message(log))).trim().to_owned(),
    }
}

/// A message without its numbers, and without the names of functions.
fn shape(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for word in message.split(' ') {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.starts_with("bpf_") && word.contains('#') {
            out.push_str("bpf_X#N");
            continue;
        }
        let mut in_number = false;
        for c in word.chars() {
            if !c.is_ascii_digit() {
                out.push(c);
            } else if !in_number {
                out.push('N');
            }
            in_number = c.is_ascii_digit();
        }
    }
    out
}

/// The answers to a topic's questions, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    groups: BTreeMap<String, BTreeMap<Item, String>>,
}

impl Record {
    /// Adds an answer.
    pub fn add(&mut self, group: &str, item: Item, answer: String) {
        self.groups.entry(group.to_owned()).or_default().insert(item, answer);
    }

    /// What was answered about an item.
    pub fn get(&self, group: &str, item: &Item) -> Option<&str> {
        self.groups.get(group)?.get(item).map(String::as_str)
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The record as text: groups with the same answers stand together.
    pub fn to_text(&self) -> String {
        let mut bodies: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (group, answers) in &self.groups {
            let mut by_answer: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
            for (item, answer) in answers {
                by_answer.entry(answer).or_default().push(item);
            }
            let mut body = String::new();
            for (answer, items) in by_answer {
                let _ = writeln!(body, "  {answer}: {}", list(&items));
            }
            bodies.entry(body).or_default().push(group);
        }
        let mut blocks: Vec<(Vec<&str>, String)> =
            bodies.into_iter().map(|(body, groups)| (groups, body)).collect();
        blocks.sort();
        let mut text = String::new();
        for (groups, body) in blocks {
            let _ = writeln!(text, "{}\n{body}", groups.join(", "));
        }
        text
    }

    /// Reads what [`to_text`](Self::to_text) writes; lines that begin with `#` do not count.
    ///
    /// # Errors
    ///
    /// Returns the first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut record = Self::default();
        let mut groups: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let Some(body) = line.strip_prefix("  ") else {
                groups = line.split(", ").map(str::to_owned).collect();
                continue;
            };
            let (answer, items) = body.rsplit_once(": ").ok_or_else(|| line.to_owned())?;
            for item in items.split(' ').map(range) {
                for item in item.ok_or_else(|| line.to_owned())? {
                    for group in &groups {
                        record.add(group, item.clone(), answer.to_owned());
                    }
                }
            }
        }
        Ok(record)
    }
}

/// Items in a row, numbers that follow one another as `from..to`.
fn list(items: &[&Item]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut run: Option<(i64, i64)> = None;
    let close = |run: Option<(i64, i64)>, words: &mut Vec<String>| match run {
        Some((from, to)) if from == to => words.push(from.to_string()),
        Some((from, to)) => words.push(format!("{from}..{to}")),
        None => {}
    };
    for item in items {
        match item {
            Item::Number(number) => match &mut run {
                Some((_, to)) if *to + 1 == *number => *to = *number,
                _ => {
                    close(run.take(), &mut words);
                    run = Some((*number, *number));
                }
            },
            Item::Name(name) => {
                close(run.take(), &mut words);
                words.push(name.clone());
            }
        }
    }
    close(run, &mut words);
    words.join(" ")
}

/// The items that a word of a list stands for.
fn range(word: &str) -> Option<Vec<Item>> {
    if let Some((from, to)) = word.split_once("..") {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        return Some((from..=to).map(Item::Number).collect());
    }
    if word.is_empty() {
        return None;
    }
    Some(vec![word.parse().map_or_else(|_| Item::Name(word.to_owned()), Item::Number)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::default();
        for group in ["xdp", "sched_cls"] {
            for number in [-3, -2, -1, 7] {
                record.add(group, Item::Number(number), "ok".to_owned());
            }
            record.add(group, Item::Number(0), "EACCES R1: no".to_owned());
        }
        record.add("other", Item::Name("x".to_owned()), "ok".to_owned());
        let text = record.to_text();
        assert!(text.contains("sched_cls, xdp\n  EACCES R1: no: 0\n  ok: -3..-1 7\n"), "{text}");
        assert_eq!(Record::parse(&text), Ok(record));
        assert!(Record::parse("g\n  nothing").is_err());
    }

    #[test]
    fn answers_leave_out_what_the_question_says() {
        let log = "0: R1=ctx() R10=fp0\ncannot use helper bpf_skb_x#12\n";
        assert_eq!(answer(Some(Errno::EINVAL), log), "EINVAL cannot use helper bpf_X#N");
        assert_eq!(answer(None, log), "ok");
    }
}
