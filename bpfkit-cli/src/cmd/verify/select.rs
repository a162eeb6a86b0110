//! Which objects and programs are verified: files, folders, filters as veristat has them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};

/// The objects that are named: files, and of folders what is in them and ends in `.o`, by name.
pub(super) fn objects(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for path in named {
        if !path.is_dir() {
            objects.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inside = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| path.display().to_string())?.path();
            if entry.extension().is_some_and(|end| end == "o") && entry.is_file() {
                inside.push(entry);
            }
        }
        ensure!(!inside.is_empty(), "{}: no file there ends in .o", path.display());
        inside.sort();
        objects.append(&mut inside);
    }
    Ok(objects)
}

/// A filter: `NAME` of a file or a program, or `FILE/PROGRAM`, with `*` for anything; behind a `!`
/// what is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    excludes: bool,
    names: Names,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    Either(String),
    Both { file: String, program: String },
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (excludes, names) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        if names.is_empty() {
            return Err("it names nothing".to_owned());
        }
        let names = match names.split_once('/') {
            Some((file, program)) => {
                Names::Both { file: file.to_owned(), program: program.to_owned() }
            }
            None => Names::Either(names.to_owned()),
        };
        Ok(Self { excludes, names })
    }
}

impl Filter {
    fn matches(&self, file: &str, program: &str) -> bool {
        match &self.names {
            Names::Either(glob) => fits(glob, file) || fits(glob, program),
            Names::Both { file: files, program: programs } => {
                (files.is_empty() || fits(files, file))
                    && (programs.is_empty() || fits(programs, program))
            }
        }
    }
}

/// Whether a program passes: no filter excludes it, and one takes it if any takes something.
pub(super) fn pass(filters: &[Filter], file: &Path, program: &str) -> bool {
    let file = super::file_name(file);
    let matched = |filter: &&Filter| filter.matches(&file, program);
    let (excluding, taking): (Vec<&Filter>, Vec<&Filter>) =
        filters.iter().partition(|filter| filter.excludes);
    !excluding.iter().any(matched) && (taking.is_empty() || taking.iter().any(matched))
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn fits(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (glob, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abd", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*a", "a", false),
            ("**b", "ab", true),
        ] {
            assert_eq!(fits(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn filters_take_and_exclude_by_file_and_program() {
        let passes = |filters: &[&str], file: &str, program: &str| {
            let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
            pass(&filters, Path::new(file), program)
        };
        assert!(passes(&[], "d/a.o", "p"));
        assert!(passes(&["a.*"], "d/a.o", "p") && passes(&["p"], "d/a.o", "p"));
        assert!(!passes(&["b.*"], "d/a.o", "p"));
        assert!(passes(&["a.o/p"], "a.o", "p") && !passes(&["a.o/q"], "a.o", "p"));
        assert!(passes(&["/p*"], "a.o", "pq") && passes(&["a*/"], "a.o", "x"));
        assert!(!passes(&["!p"], "a.o", "p") && passes(&["!p"], "a.o", "q"));
        assert!(!passes(&["a*", "!a.o/p"], "a.o", "p") && passes(&["a*", "!a.o/p"], "a.o", "q"));
        assert!("!".parse::<Filter>().is_err());
    }
}
