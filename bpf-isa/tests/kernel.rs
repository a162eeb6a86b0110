//! Decoding and text, compared with what a Linux 6.18 kernel said of the same slots.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::borrow::Cow;

use bpf_isa::{Noticed, Pc, Slot, Symbols, Text, decode, slots};

const RECORDED: &str = include_str!("../testdata/linux-6.18-insns.txt");

struct Row {
    hex: &'static str,
    slots: Vec<Slot>,
    text: &'static str,
    when: &'static str,
    message: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    RECORDED.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split(" | ");
        let hex = columns.next().unwrap();
        let text = columns.next().unwrap();
        let when = columns.next().unwrap();
        let message = columns.next().unwrap();
        Row { hex, slots: slots(&unhex(hex)).unwrap(), text, when, message }
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    digits
        .iter()
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn decoding_refuses_what_the_kernel_refuses_in_its_words() {
    let mut wrong = Vec::new();
    for row in rows() {
        let decoded = decode(row.slots[0], row.slots.get(1).copied(), Pc(9));
        let (when, message) = match decoded {
            Ok(_) => ("-", "ok".to_owned()),
            Err(error) => match error.kind.noticed() {
                Noticed::UpFront => ("upfront", error.to_string()),
                Noticed::Walking => ("walk", error.to_string()),
            },
        };
        if (when, message.as_str()) != (row.when, row.message) {
            wrong.push(format!(
                "{} {message} ({when}), not {} ({})",
                row.hex, row.message, row.when
            ));
        }
    }
    assert!(rows().count() > 3000);
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The names that the recorded lines show; the ids between are unassigned or not asked for.
struct Names;

impl Symbols for Names {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let name = match id {
            0 => "unspec",
            1 => "map_lookup_elem",
            5 => "ktime_get_ns",
            6 => "trace_printk",
            7 => "get_prandom_u32",
            16 => "get_current_comm",
            32 => "skb_change_type",
            64 => "bind",
            181 => "loop",
            _ => return None,
        };
        Some(format!("bpf_{name}").into())
    }
}

#[test]
fn text_is_what_the_kernel_logs() {
    let mut wrong = Vec::new();
    for row in rows().filter(|row| row.text != "-") {
        let text = Text::new(row.slots[0], row.slots.get(1).copied(), &Names).to_string();
        if text != row.text {
            wrong.push(format!("{} {text}, not {}", row.hex, row.text));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}
