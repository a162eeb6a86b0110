//! Files that are tests: programs in text, with directives in comments.
//!
//! `tests/filetests/README.bpf` says what the directives mean.

use std::fs;
use std::path::{Path, PathBuf};

use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::ObjectSpec;

use crate::{text, types};

/// A file, read: an object of one program, `test`.
#[derive(Clone, Debug)]
pub struct Filetest {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// What that describes.
    pub object: ObjectSpec,
}

/// The folder of the files.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests")
}

/// Every `.bpf` file below `folder`, in order.
///
/// # Panics
///
/// Panics if the folder cannot be read.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "bpf") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The directives of a text: what stands one space behind the semicolon that begins a line.
pub fn directives(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("; "));
    lines.filter(|line| !line.starts_with(' ')).map(str::trim_end)
}

impl Filetest {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// Returns the directive or the line that is wrong.
    pub fn read(path: PathBuf, text: String) -> Result<Self, String> {
        let mut maps = Vec::new();
        let mut prog_type = ProgType::Xdp;
        let mut attach = None;
        for directive in directives(&text) {
            let words: Vec<&str> = directive.split_whitespace().collect();
            match words.as_slice() {
                ["prog_type", name] => prog_type = ProgType::by_name(name).ok_or(*name)?,
                ["attach", number] => attach = AttachType::new(number.parse().map_err(said)?),
                ["map", name, map_type, key, value, entries, flags @ ..] => {
                    let map_type = MapType::by_name(map_type).ok_or(*map_type)?;
                    let (key, value) = (key.parse().map_err(said)?, value.parse().map_err(said)?);
                    let mut map =
                        MapSpec::new(name, map_type, key, value, entries.parse().map_err(said)?);
                    for flag in flags {
                        map.flags |= MapFlags::from_name(flag).ok_or(*flag)?;
                    }
                    maps.push(map);
                }
                ["value", name, key, value] => {
                    let value = MapInitValue::Bytes(hex(value)?);
                    named(&mut maps, name)?.init.push(MapInit { key: hex(key)?, value });
                }
                ["slot", name, index] => {
                    let key = index.parse::<u32>().map_err(said)?.to_le_bytes().to_vec();
                    let value = MapInitValue::Program("test".to_owned());
                    named(&mut maps, name)?.init.push(MapInit { key, value });
                }
                ["extra", name, number] => {
                    named(&mut maps, name)?.map_extra = number.parse().map_err(said)?;
                }
                ["frozen", name] => named(&mut maps, name)?.frozen = true,
                _ => {}
            }
        }
        let mut object = text::object(prog_type, maps, &[("test", &text)])?;
        if let Some(attach) = attach {
            object.programs[0].expected_attach_type = Some(attach);
        }
        if directives(&text).any(|directive| directive == "types") {
            text::add_types(&mut object)?;
        }
        let declares = |line: &&str| {
            line.split_whitespace().next().is_some_and(|word| types::WORDS.contains(&word))
        };
        let declarations: Vec<&str> = directives(&text).filter(declares).collect();
        if !declarations.is_empty() {
            types::declare(&mut object.programs[0], &declarations)?;
            object.btf.clone_from(&object.programs[0].btf);
        }
        Ok(Self { path, text, object })
    }

    /// What follows `name` in the directives that begin with it.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        directives(&self.text).filter_map(move |line| line.strip_prefix(name)).map(str::trim)
    }
}

fn said(error: std::num::ParseIntError) -> String {
    error.to_string()
}

fn named<'a>(maps: &'a mut [MapSpec], name: &str) -> Result<&'a mut MapSpec, String> {
    maps.iter_mut().find(|map| map.name == name).ok_or_else(|| format!("there is no map {name}"))
}

/// Bytes in hexadecimal digits.
///
/// # Errors
///
/// Returns what is no digit.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    bpf_oracle::hex::decode(text)
}
