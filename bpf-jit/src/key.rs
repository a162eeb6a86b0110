//! What makes two pieces of code the same: a strong hash over all that they are made of.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::offset_of;
use std::sync::OnceLock;

use bpf_abi::exec::{ProgCounters, RandomLayout, RunCx};
use bpf_abi::helper::{LOAD_PACKET, LOAD_PACKET_FAILED};
use bpf_abi::limits::{MAX_MAY_GOTO, MAX_STACK, MAX_TAIL_CALLS};
use bpf_abi::map::HashLayout;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use sha2::{Digest, Sha256};

use crate::cache::entry;
use crate::input::Input;

/// What turns an [`Input`] into code: the rooms of this crate that have a part in it, as they are
/// written. The crate's version alone does not tell two states of it apart that lie between two
/// releases, and code of the one must not run with the other.
const TRANSLATION: &[&str] = &[
    include_str!("abi.rs"),
    include_str!("checked.rs"),
    include_str!("choice.rs"),
    include_str!("code.rs"),
    include_str!("combine/bytes.rs"),
    include_str!("combine/dead.rs"),
    include_str!("combine/loads.rs"),
    include_str!("combine/mod.rs"),
    include_str!("combine/stores.rs"),
    include_str!("finish.rs"),
    include_str!("inline.rs"),
    include_str!("input.rs"),
    include_str!("jit.rs"),
    include_str!("layout.rs"),
    include_str!("loops.rs"),
    include_str!("lower/alu.rs"),
    include_str!("lower/atomic.rs"),
    include_str!("lower/branch.rs"),
    include_str!("lower/call.rs"),
    include_str!("lower/checked.rs"),
    include_str!("lower/hash.rs"),
    include_str!("lower/inline.rs"),
    include_str!("lower/iter.rs"),
    include_str!("lower/map.rs"),
    include_str!("lower/memory.rs"),
    include_str!("lower/mod.rs"),
    include_str!("lower/repeat.rs"),
    include_str!("lower/stale.rs"),
    include_str!("lower/throw.rs"),
    include_str!("origin.rs"),
    include_str!("saves.rs"),
    include_str!("slot.rs"),
    include_str!("symbol.rs"),
    include_str!("tally.rs"),
    include_str!("thunk.rs"),
    include_str!("unplaced.rs"),
];

/// What the code of a program is kept by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl Key {
    /// The key of the code that `engine` makes of `input`.
    pub(crate) fn new(engine: &EngineId, input: &Input<'_>) -> Self {
        let mut recorder = Recorder { bytes: Vec::with_capacity(16 * input.program.len() + 256) };
        engine.0.hash(&mut recorder);
        input.hash(&mut recorder);
        Self(Sha256::digest(&recorder.bytes).into())
    }
}

/// A code generator for a processor, all of it that decides about code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineId([u8; 32]);

impl EngineId {
    /// This crate with this target of Cranelift's.
    pub(crate) fn new(isa: &OwnedTargetIsa) -> Self {
        Self::of(&**isa, env!("CARGO_PKG_VERSION"))
    }

    fn of(isa: &dyn TargetIsa, version: &str) -> Self {
        static ROOMS: OnceLock<[u8; 32]> = OnceLock::new();
        let rooms = ROOMS.get_or_init(|| {
            let mut hash = Sha256::new();
            for room in TRANSLATION {
                hash.update(room.len().to_le_bytes());
                hash.update(room);
            }
            hash.finalize().into()
        });
        let mut recorder = Recorder::default();
        entry::FORMAT.hash(&mut recorder);
        version.hash(&mut recorder);
        rooms.hash(&mut recorder);
        // What a kept address or offset means to the host.
        let layout = [
            RunCx::CPU_OFFSET,
            RunCx::TAIL_CALLS_OFFSET,
            offset_of!(ProgCounters, runs),
            offset_of!(ProgCounters, tail_calls),
            offset_of!(ProgCounters, fallen_through),
            size_of::<RunCx>(),
            size_of::<ProgCounters>(),
        ];
        layout.hash(&mut recorder);
        let constants = (MAX_TAIL_CALLS, MAX_MAY_GOTO, MAX_STACK, LOAD_PACKET, LOAD_PACKET_FAILED);
        constants.hash(&mut recorder);
        (HashLayout::KEY, HashLayout::LONGEST_KEY).hash(&mut recorder);
        let random = (RandomLayout::STEP, RandomLayout::FIRST, RandomLayout::SECOND);
        (RandomLayout::STRIDE, random).hash(&mut recorder);
        // The code generator's version, what it is asked for, and what the processor can.
        cranelift_frontend::VERSION.hash(&mut recorder);
        isa.name().hash(&mut recorder);
        isa.triple().to_string().hash(&mut recorder);
        isa.flags().to_string().hash(&mut recorder);
        isa.isa_flags_hash_key().hash(&mut recorder);
        for flag in isa.isa_flags() {
            flag.to_string().hash(&mut recorder);
        }
        Self(Sha256::digest(&recorder.bytes).into())
    }
}

/// Takes down what is hashed. Whatever decides about code derives [`Hash`], which names all of it.
#[derive(Debug, Default)]
struct Recorder {
    bytes: Vec<u8>,
}

impl Hasher for Recorder {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Which variant it is: nearly always one byte.
    fn write_isize(&mut self, number: isize) {
        match u8::try_from(number) {
            Ok(small) if small < u8::MAX => self.bytes.push(small),
            _ => {
                self.bytes.push(u8::MAX);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn finish(&self) -> u64 {
        let digest = Sha256::digest(&self.bytes);
        digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_of_the_translation_are_all_in_the_key() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // What neither makes code nor decides how made code is used.
        let others = ["absent.rs", "error.rs", "fault.rs", "key.rs", "lib.rs", "listing.rs"];
        for folder in ["", "lower"] {
            for file in std::fs::read_dir(source.join(folder)).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() || folder.is_empty() && others.contains(&name) {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(TRANSLATION.contains(&&*text), "{} is not in the key", path.display());
            }
        }
    }

    #[test]
    fn numbers_that_are_taken_down_stay_apart() {
        let taken_down = |numbers: &[isize]| {
            let mut recorder = Recorder::default();
            numbers.iter().for_each(|number| recorder.write_isize(*number));
            recorder.bytes
        };
        assert_eq!(taken_down(&[3, 4]), [3, 4]);
        let all = [&[255][..], &[254], &[-1], &[255, 0], &[0, 255], &[256], &[]];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(taken_down(a), taken_down(b));
            }
        }
    }
}
