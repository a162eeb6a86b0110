//! The programs, the packet they run on, and what is in their maps.

use std::path::PathBuf;

use anyhow::Context as _;

/// A benchmark program.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name: the file's, without its endings.
    pub(crate) name: String,
    /// The object.
    pub(crate) path: PathBuf,
}

/// Where the objects are.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// One object.
pub(crate) fn named(name: &str) -> Source {
    Source { name: name.to_owned(), path: folder().join(format!("{name}.bpf.o")) }
}

/// Programs that are no part of the mean: they have benchmarks of their own.
const APART: &[&str] = &["empty", "tail"];

/// The programs of the mean whose names are wanted, or all; by name.
pub(crate) fn wanted(names: &[String]) -> anyhow::Result<Vec<Source>> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".bpf.o") else { continue };
        let is_wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
        if is_wanted && !APART.contains(&name) {
            sources.push(named(name));
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

/// The packet: bytes that look random, twenty small headers among them, and one word to find.
pub(crate) fn packet() -> Vec<u8> {
    let mut state = 0x0123_4567u32;
    let mut bytes: Vec<u8> = (0..1500)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    for (n, header) in bytes.chunks_mut(64).take(20).enumerate() {
        let is_v6 = n % 7 == 3;
        let has_options = n % 5 == 4;
        header[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        header[14] = if has_options { 0x46 } else { 0x45 };
        header[22] = 64;
        header[23] = if n % 6 == 5 { 17 } else { 6 };
        if n % 3 == 0 {
            let ports = if has_options { 38 } else { 34 };
            header[ports + 2..ports + 4].copy_from_slice(&80u16.to_be_bytes());
        }
    }
    bytes[300..304].copy_from_slice(b"GET ");
    bytes
}

/// What is in the elements of a map before a run: zeros, but for the table that is searched.
pub(crate) fn element(map: &str, value_size: u32) -> Vec<u8> {
    if map != "table" {
        return vec![0; value_size as usize];
    }
    let words = 0..value_size / 4;
    words.flat_map(|i| (i * 1024 + (i * 37) % 1000).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        let bytes = element("table", 4096);
        let words: Vec<u32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        assert!(words.is_sorted() && words.len() == 1024);
    }

    #[test]
    fn there_are_twenty_three_programs() {
        let programs = wanted(&[]).expect("the folder is committed");
        assert_eq!(programs.len(), 23);
    }
}
