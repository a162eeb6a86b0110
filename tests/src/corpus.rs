//! What is committed and can be read: objects, texts, captures.

use std::fs;
use std::path::{Path, PathBuf};

use bpf_isa::{Slot, opcode};

use crate::mutants::Mutator;

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Every committed object: its path in the repository, and its bytes.
///
/// # Panics
///
/// Panics if a folder cannot be read.
pub fn objects() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["examples", "tests/objects", "bench/programs"] {
        for entry in fs::read_dir(file(folder)).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "o") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let bytes = fs::read(&path).expect("the object can be read");
                found.push((format!("{folder}/{name}"), bytes));
            }
        }
    }
    found.sort();
    found
}

/// The bytes of a section of an ELF file of ours.
pub fn section<'a>(elf: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = elf.get(at..at + len)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte))).ok()
    };
    let (headers, count, names) = (number(40, 8)?, number(60, 2)?, number(62, 2)?);
    let header = |n: usize| headers + n * 64;
    let bytes = |n: usize| {
        let (offset, size) = (number(header(n) + 24, 8)?, number(header(n) + 32, 8)?);
        elf.get(offset..offset.checked_add(size)?)
    };
    let strings = bytes(names)?;
    (0..count).find_map(|n| {
        let found = strings.get(number(header(n), 4)?..)?;
        let end = found.iter().position(|byte| *byte == 0)?;
        if &found[..end] == name.as_bytes() { bytes(n) } else { None }
    })
}

/// The packets of the example's capture.
///
/// # Panics
///
/// Panics if it cannot be read.
pub fn capture() -> Vec<Vec<u8>> {
    let bytes = fs::read(file("examples/mixed.pcap")).expect("the capture can be read");
    let mut packets = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len: [u8; 4] = header[8..12].try_into().expect("four bytes");
        let Some((packet, after)) = after.split_at_checked(u32::from_le_bytes(len) as usize) else {
            break;
        };
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}

/// Changes one field of one instruction to something that an instruction may well hold.
pub fn change(mutator: &mut Mutator, insns: &mut [Slot]) {
    const IMMEDIATES: [i32; 10] = [0, 1, -1, 7, 8, 16, 63, 512, i32::MAX, i32::MIN];
    let all: Vec<Slot> = insns.to_vec();
    let at = mutator.below(insns.len());
    let Some(other) = all.get(mutator.below(all.len())).copied() else { return };
    let small = i16::try_from(mutator.below(33)).unwrap_or(0) - 16;
    let slot = &mut insns[at];
    match mutator.below(8) {
        0 => slot.opcode = mutator.next().to_le_bytes()[0],
        1 => slot.opcode = other.opcode,
        2 => slot.opcode ^= opcode::SOURCE_IS_REGISTER,
        3 => slot.dst = other.dst,
        4 => slot.src = other.src,
        5 => slot.off = small,
        6 => slot.imm = IMMEDIATES[mutator.below(IMMEDIATES.len())],
        _ => *slot = other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_found() {
        let objects = objects();
        let (name, example) = objects.iter().find(|(name, _)| name.contains("dispatch")).unwrap();
        assert_eq!(name, "examples/dispatch.bpf.o");
        assert!(section(example, ".BTF.ext").is_some_and(|bytes| bytes.starts_with(&[0x9f, 0xeb])));
        assert_eq!(section(example, "nothing"), None);
        assert_eq!(capture().len(), 2796);
    }
}
