//! What a run has written into its packet, and whether that can have been.

use std::ops::AddAssign;

use bpf_abi::limits::MAX_TAIL_CALLS;

use crate::torture::chains::arrays::Arrays;
use crate::torture::chains::history::Answer;

// As `struct trail` of the object.
const LENGTH: usize = 16;
const WRONG: usize = 20;
const CHOICES: usize = 32;
const RECORDS: usize = 128;
const RECORD: usize = 16;
/// How many bytes a packet has.
pub(super) const PACKET: usize = RECORDS + 72 * RECORD;

const FALLEN: u8 = 1;
const BACK: u8 = 2;
const LEAF: u8 = 4;
const CALLED: u8 = 8;

/// A packet for a run that chooses so.
pub(super) fn packet(choices: &[u8; 96]) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[CHOICES..CHOICES + 96].copy_from_slice(choices);
    packet
}

/// What runs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many programs ran.
    pub runs: u64,
    /// How many tail calls were taken.
    pub taken: u64,
    /// How many were not.
    pub fallen: u64,
    /// How often a program went on after a function that had taken tail calls, or had not.
    pub back: u64,
    /// How many runs came to the limit.
    pub at_limit: u64,
    /// How many tail calls were too long ago to be judged.
    pub forgotten: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.taken += other.taken;
        self.fallen += other.fallen;
        self.back += other.back;
        self.at_limit += other.at_limit;
        self.forgotten += other.forgotten;
    }
}

/// How a run ended, and when it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) verdict: u32,
    pub(super) tail_calls: u32,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A program that ran, or went on.
#[derive(Clone, Copy, Debug)]
struct Record {
    number: u32,
    result: u32,
    array: u8,
    flags: u8,
    index: u8,
}

impl Record {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u32::MAX, u32::from_le_bytes)
}

fn records(packet: &[u8]) -> Vec<Record> {
    let records = packet[RECORDS..].chunks_exact(RECORD).take(word(packet, LENGTH) as usize);
    let record = |bytes: &[u8]| Record {
        number: word(bytes, 0),
        result: word(bytes, 4),
        array: bytes[8],
        flags: bytes[9],
        index: bytes[10],
    };
    records.map(record).collect()
}

/// Counts what a run did; an error if it cannot have been.
pub(super) fn check(packet: &[u8], ended: Ended, arrays: &Arrays) -> Result<Counts, String> {
    let records = records(packet);
    let wrong = |what: &str| Err(format!("{what}: {ended:?} {records:?}"));
    match word(packet, WRONG) {
        0 => {}
        bits if bits & 1 != 0 => return wrong("a program ran after it was taken away"),
        bits if bits & 2 != 0 => return wrong("a program found memory of another"),
        bits if bits & 4 != 0 => return wrong("a route is torn"),
        _ => return wrong("a route was read after it was taken away"),
    }
    let mut counts = Counts::default();
    // Programs whose function is running.
    let mut waiting: Vec<u32> = Vec::new();
    // What the last chain came to.
    let mut result = None;
    for (at, record) in records.iter().copied().enumerate() {
        if record.has(BACK) {
            if result.take() != Some(record.result) || waiting.pop() != Some(record.number) {
                return wrong("a function came back to another program, or with another's result");
            }
            counts.back += 1;
        } else {
            if result.is_some() {
                return wrong("a program ran that nobody called");
            }
            counts.runs += 1;
            if record.has(CALLED) {
                waiting.push(record.number);
            }
        }
        let next = records.get(at + 1).filter(|_| !record.has(FALLEN | LEAF));
        if record.has(LEAF) {
            result = Some(record.number);
            continue;
        }
        let Some(array) = arrays.get(record.array) else {
            return wrong("a program named an array that there is not");
        };
        let history = array.history(record.index);
        if record.has(FALLEN) {
            counts.fallen += 1;
            result = Some(record.number);
            if counts.taken == u64::from(MAX_TAIL_CALLS) {
                counts.at_limit += 1;
                continue;
            }
            // An index that the array has not, or one of an empty slot.
            match history.map(|history| history.may_have_been(0, ended.from, ended.to)) {
                None | Some(Answer::Yes) => {}
                Some(Answer::Forgotten) => counts.forgotten += 1,
                Some(Answer::No) => return wrong("a slot was empty that was full all the time"),
            }
            continue;
        }
        counts.taken += 1;
        let (Some(next), Some(history)) = (next, history) else {
            return wrong("a tail call was taken that led nowhere");
        };
        if counts.taken > u64::from(MAX_TAIL_CALLS) || next.has(BACK) {
            return wrong("a tail call was taken beyond the limit, or went on elsewhere");
        }
        match history.may_have_been(next.number, ended.from, ended.to) {
            Answer::Yes => {}
            Answer::Forgotten => counts.forgotten += 1,
            Answer::No => return wrong("a program ran that was not in the slot"),
        }
    }
    if !waiting.is_empty() || result != Some(ended.verdict) {
        return wrong("the run ended early, or with another result than its last program's");
    }
    if counts.taken != u64::from(ended.tail_calls) {
        return wrong("the run's count of tail calls is another");
    }
    Ok(counts)
}
