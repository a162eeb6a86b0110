//! A family and what came of it, as text for people and as raw documents for tools.

use std::fmt::Write as _;
use std::path::Path;

use bpf_isa::{Program, Slot};
use bpf_oracle::hex;
use serde_json::{Value, json};

use super::Account;
use crate::family::Family;

/// What the accounts of a family say that differ from the first.
pub fn differences(accounts: &[(&'static str, Account)]) -> Vec<String> {
    let Some(((first, ours), others)) = accounts.split_first() else { return Vec::new() };
    let found = others.iter().flat_map(|(name, theirs)| {
        let found = ours.differences(theirs).into_iter();
        found.map(move |what| format!("{first} and {name}: {what}"))
    });
    found.collect()
}

/// The family: its maps, its programs, what they are run on.
pub fn text(family: &Family) -> String {
    let mut text = format!("family of seed {}\n", family.seed);
    for (number, map) in family.object.maps.iter().enumerate() {
        let _ = writeln!(text, "map {number}: {} ({})", map.name, map.map_type.name());
        for init in &map.init {
            let _ = writeln!(text, "    {:02x?}: {:02x?}", init.key, init.value);
        }
    }
    for (at, program) in family.object.programs.iter().enumerate() {
        let _ = writeln!(text, "program {at}: {}, {}", program.name, program.prog_type.name());
        text.push_str(&listing(&program.insns));
        for (number, input) in family.inputs.get(at).into_iter().flatten().enumerate() {
            let _ = writeln!(text, "input {number}: {}", hex::encode(&input.data));
            if let Some(ctx) = &input.ctx {
                let _ = writeln!(text, "    context {}", hex::encode(ctx));
            }
        }
    }
    text
}

fn listing(slots: &[Slot]) -> String {
    match Program::from_slots(slots) {
        Ok(program) => program.iter().map(|(pc, insn)| format!("{pc:>5}: {insn}\n")).collect(),
        Err(error) => format!("{error}\n"),
    }
}

/// Everything that came of it, place by place.
pub fn outcomes(accounts: &[(&'static str, Account)]) -> String {
    let mut text = String::new();
    for (name, account) in accounts {
        let _ = writeln!(text, "=== {name}");
        for (program, runs) in account.runs.iter().enumerate() {
            for (input, run) in runs.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "program {program}, input {input}: {:x?}, tail calls {:?}\n    packet {}\n    context {}",
                    run.result,
                    run.tail_calls,
                    hex::encode(&run.data),
                    hex::encode(&run.ctx),
                );
            }
        }
        for map in &account.maps {
            let _ = writeln!(text, "map {}: {:02x?}", map.name, map.entries);
        }
        for (program, counters) in account.counters.iter().enumerate() {
            let _ = writeln!(text, "program {program} counted {counters:?}");
        }
    }
    text
}

/// A program of the family as a raw document.
fn document(family: &Family, at: usize) -> Option<Value> {
    let program = family.object.programs.get(at)?;
    let mut fixups = Vec::new();
    let mut slots = program.insns.clone();
    for (insn, slot) in slots.iter_mut().enumerate() {
        if crate::family::names_map(slot) {
            let is_address = slot.src == bpf_isa::opcode::imm_source::MAP_FD;
            let kind = if is_address { "map_fd" } else { "map_value" };
            fixups.push(json!({"insn": insn, "kind": kind, "map": slot.imm}));
            slot.imm = 0;
        }
    }
    let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_bytes()).collect();
    let maps: Vec<Value> = family.object.maps.iter().map(crate::sample::map_document).collect();
    let mut document = json!({
        "id": format!("{}-{}", family.seed, program.name), "name": program.name,
        "prog_type": program.prog_type.name(), "expected_attach_type": 0, "prog_flags": 0,
        "license": "GPL", "insns": hex::encode(&bytes), "maps": maps, "fixups": fixups,
    });
    if let Some(btf) = &program.btf {
        document["blobs"] = json!([hex::encode(&btf.encode())]);
        document["btf"] = json!(0);
        document["func_info"] = json!(hex::encode(&program.func_info.bytes));
    }
    Some(document)
}

/// Saves a family on which places differ: all of it as text, each program as a raw document.
///
/// # Errors
///
/// Returns an error if the files cannot be written.
pub fn save(
    directory: &Path,
    family: &Family,
    accounts: &[(&'static str, Account)],
    found: &[String],
) -> std::io::Result<()> {
    let whole = format!("{}\n\n{}\n{}", found.join("\n"), text(family), outcomes(accounts));
    std::fs::write(directory.join(format!("family-{}.txt", family.seed)), whole)?;
    for at in 0..family.object.programs.len() {
        if let Some(document) = document(family, at) {
            let path = directory.join(format!("family-{}-{at}.json", family.seed));
            std::fs::write(path, format!("{document}\n"))?;
        }
    }
    Ok(())
}
