//! The programs.

use std::path::{Path, PathBuf};

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
const APART: &[&str] = &["empty", "helpers", "replace", "tail"];

/// The programs of the mean whose names are wanted, or all; by name.
pub(crate) fn wanted(names: &[String]) -> anyhow::Result<Vec<Source>> {
    wanted_in(&folder(), names)
}

/// The programs of a folder whose names are wanted, or all; by name.
pub(crate) fn wanted_in(folder: &Path, names: &[String]) -> anyhow::Result<Vec<Source>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".bpf.o") else { continue };
        let is_wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
        if is_wanted && !APART.contains(&name) {
            sources.push(Source { name: name.to_owned(), path: folder.join(&file) });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_three_programs() {
        let programs = wanted(&[]).expect("the folder is committed");
        assert_eq!(programs.len(), 33);
    }
}
