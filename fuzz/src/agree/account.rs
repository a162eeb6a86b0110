//! What came of running a family in one place.

use std::fmt::Write as _;

use bpf_runtime::{Counters, RawEntry};

/// What came of a run of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its result, or why there is none.
    pub result: Result<u32, String>,
    /// The packet as the program left it, metadata before it.
    pub data: Vec<u8>,
    /// The context as the program left it, if one was given.
    pub ctx: Vec<u8>,
    /// How many tail calls it took, where that is told.
    pub tail_calls: Option<u32>,
}

/// What a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The map.
    pub name: String,
    /// Keys and values in the order of keys; values in the order in which they come out; of a bloom
    /// filter the values that it has of those asked for. Where a value is a program or a map, its
    /// place in the family is.
    pub entries: Vec<RawEntry>,
}

/// The numbers by which a place knows programs and maps, in the family's order.
pub(super) struct Numbers {
    pub(super) maps: Vec<u32>,
    pub(super) programs: Vec<u32>,
}

impl Numbers {
    /// Entries whose values are numbers of programs, with places instead.
    pub(super) fn programs(&self, entries: Vec<RawEntry>) -> Vec<RawEntry> {
        places(&self.programs, entries)
    }

    /// Entries whose values are numbers of maps, with places instead.
    pub(super) fn maps(&self, entries: Vec<RawEntry>) -> Vec<RawEntry> {
        places(&self.maps, entries)
    }
}

fn places(numbers: &[u32], mut entries: Vec<RawEntry>) -> Vec<RawEntry> {
    for (_, value) in &mut entries {
        let number = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let place = numbers.iter().position(|it| Some(*it) == number);
        // What is nowhere in the family shows as what it is.
        if let Some(place) = place {
            *value = place.to_le_bytes().to_vec();
        }
    }
    entries.sort();
    entries
}

/// The values that a bloom filter is asked for at the end: small numbers, and those that programs
/// begin with.
pub(super) fn bloom_questions() -> impl Iterator<Item = [u8; 4]> {
    let edges = crate::family::EDGES.into_iter().map(i32::to_le_bytes);
    edges.chain((0..64_u32).map(u32::to_le_bytes))
}

/// All that came of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The runs of each program, in the order of its inputs.
    pub runs: Vec<Vec<Ran>>,
    /// What the maps hold when all is over.
    pub maps: Vec<Contents>,
    /// What each program counted, where programs count.
    pub counters: Vec<Option<Counters>>,
}

impl Account {
    /// How many tail calls the runs took.
    pub fn tail_calls(&self) -> u64 {
        let runs = self.runs.iter().flatten();
        runs.map(|run| u64::from(run.tail_calls.unwrap_or(0))).sum()
    }

    /// In what it differs from another; what only one of them tells is not compared.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (program, (ours, theirs)) in self.runs.iter().zip(&other.runs).enumerate() {
            for (input, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let mut differs = |what: &str, text: String| {
                    found.push(format!("program {program}, input {input}: {what}: {text}"));
                };
                if ours.result != theirs.result {
                    differs("result", format!("{:x?} and {:x?}", ours.result, theirs.result));
                }
                if ours.data != theirs.data {
                    differs("packet", bytes(&ours.data, &theirs.data));
                }
                if ours.ctx != theirs.ctx {
                    differs("context", bytes(&ours.ctx, &theirs.ctx));
                }
                if let (Some(ours), Some(theirs)) = (ours.tail_calls, theirs.tail_calls)
                    && ours != theirs
                {
                    differs("tail calls", format!("{ours} and {theirs}"));
                }
            }
        }
        if self.runs.iter().map(Vec::len).ne(other.runs.iter().map(Vec::len)) {
            found.push("not the same runs".to_owned());
        }
        for (ours, theirs) in self.maps.iter().zip(&other.maps) {
            if ours.entries != theirs.entries {
                let text = entries(&ours.entries, &theirs.entries);
                found.push(format!("map {}: {text}", ours.name));
            }
        }
        for (program, (ours, theirs)) in self.counters.iter().zip(&other.counters).enumerate() {
            if let (Some(ours), Some(theirs)) = (ours, theirs)
                && ours != theirs
            {
                found.push(format!("program {program}: counters: {ours:?} and {theirs:?}"));
            }
        }
        found
    }
}

/// Where bytes differ first.
fn bytes(ours: &[u8], theirs: &[u8]) -> String {
    let mut text = String::new();
    if ours.len() != theirs.len() {
        let _ = write!(text, "{} and {} bytes; ", ours.len(), theirs.len());
    }
    match ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs) {
        Some(at) => {
            let part = |bytes: &[u8]| {
                let end = bytes.len().min(at + 16);
                format!("{:02x?}", &bytes[at..end])
            };
            let _ = write!(text, "from byte {at} on {} and {}", part(ours), part(theirs));
        }
        None => text.push_str("the same as far as both go"),
    }
    text
}

fn entries(ours: &[RawEntry], theirs: &[RawEntry]) -> String {
    let only = |some: &[RawEntry], other: &[RawEntry]| -> Vec<String> {
        let missing = some.iter().filter(|entry| !other.contains(entry));
        missing.map(|(key, value)| format!("{key:02x?}: {value:02x?}")).collect()
    };
    let (one, another) = (only(ours, theirs), only(theirs, ours));
    format!(
        "{} and {} entries; only here {one:?}, only there {another:?}",
        ours.len(),
        theirs.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(result: u32, data: &[u8]) -> Ran {
        Ran { result: Ok(result), data: data.to_vec(), ctx: Vec::new(), tail_calls: None }
    }

    #[test]
    fn what_differs_is_named_and_what_is_not_told_is_not() {
        let one = Account { runs: vec![vec![ran(1, &[1, 2, 3])]], ..Account::default() };
        let mut other = one.clone();
        assert_eq!(one.differences(&other), Vec::<String>::new());
        other.runs[0][0].tail_calls = Some(3);
        assert_eq!(one.differences(&other), Vec::<String>::new());
        other.runs[0][0].data[1] = 9;
        let found = one.differences(&other);
        assert_eq!(found, ["program 0, input 0: packet: from byte 1 on [02, 03] and [09, 03]"]);
    }

    #[test]
    fn maps_are_compared_and_what_they_hold_is_known_by_its_place() {
        let with = |entries| Account {
            maps: vec![Contents { name: "m".to_owned(), entries }],
            ..Account::default()
        };
        let (one, other) = (with(vec![(vec![1], vec![2])]), with(vec![]));
        assert_eq!(one.differences(&one.clone()).len(), 0);
        assert!(one.differences(&other)[0].starts_with("map m: 1 and 0 entries"));

        let (here, there) = ([70_u32, 71], [5_u32, 9]);
        let of = |numbers: [u32; 2]| {
            let numbers = Numbers { maps: numbers.to_vec(), programs: Vec::new() };
            let entry = |key: u8, map: usize| (vec![key], numbers.maps[map].to_le_bytes().to_vec());
            numbers.maps(vec![entry(1, 1), entry(0, 0)])
        };
        assert_eq!(of(here), of(there));
        assert_ne!(of(here)[0].1, of(here)[1].1);
    }
}
