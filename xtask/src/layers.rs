//! Who may depend on whom.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

/// Each crate with the crates of ours it may use, from the foundation up.
///
/// A crate may use only crates above it in this list, and only those it names: adding to a
/// row is a decision about the architecture, so it shows in the diff of this file.
const LAYERS: &[(&str, &[&str])] = &[
    ("bpf-isa", &[]),
    ("bpf-btf", &["bpf-isa"]),
    ("bpf-abi", &["bpf-isa", "bpf-btf"]),
    ("bpf-verifier", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    ("bpf-maps", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    ("bpf-interp", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    ("bpf-jit", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    ("bpf-trampoline", &["bpf-isa", "bpf-btf", "bpf-abi", "bpf-interp", "bpf-jit"]),
    ("bpf-object", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    (
        "bpf-runtime",
        &[
            "bpf-isa",
            "bpf-btf",
            "bpf-abi",
            "bpf-verifier",
            "bpf-maps",
            "bpf-interp",
            "bpf-jit",
            "bpf-trampoline",
        ],
    ),
    (
        "bpfkit",
        &[
            "bpf-isa",
            "bpf-btf",
            "bpf-abi",
            "bpf-verifier",
            "bpf-maps",
            "bpf-interp",
            "bpf-jit",
            "bpf-trampoline",
            "bpf-object",
            "bpf-runtime",
        ],
    ),
    ("bpf-script", &["bpfkit"]),
    ("bpf-oracle", &["bpf-isa", "bpf-btf", "bpf-abi"]),
    ("bpf-fuzz", &["bpf-isa", "bpf-btf", "bpf-abi", "bpf-verifier", "bpf-runtime", "bpf-oracle"]),
    (
        "bpf-bench",
        &[
            "bpfkit",
            "bpf-abi",
            "bpf-btf",
            "bpf-interp",
            "bpf-isa",
            "bpf-jit",
            "bpf-object",
            "bpf-oracle",
            "bpf-runtime",
            "bpf-verifier",
        ],
    ),
    (
        "bpf-tests",
        &[
            "bpfkit",
            "bpf-fuzz",
            "bpf-isa",
            "bpf-btf",
            "bpf-abi",
            "bpf-verifier",
            "bpf-maps",
            "bpf-interp",
            "bpf-jit",
            "bpf-object",
            "bpf-oracle",
            "bpf-runtime",
            "bpf-script",
        ],
    ),
    ("bpfkit-cli", &["bpfkit", "bpf-oracle", "bpf-script", "bpf-tests"]),
    ("xtask", &[]),
];

/// Each room of the verifier with the rooms it may use.
const ROOMS: &[(&str, &[&str])] = &[("scalar", &[])];

/// Checks the manifests against [`LAYERS`] and the verifier's rooms against [`ROOMS`].
pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    let metadata =
        cmd!(sh, "cargo metadata --format-version 1 --no-deps --offline").quiet().read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    for package in array(&metadata["packages"])? {
        let name = string(&package["name"])?;
        let (_, allowed) = LAYERS
            .iter()
            .find(|(layer, _)| *layer == name)
            .with_context(|| format!("{name} has no place in LAYERS"))?;
        for dependency in array(&package["dependencies"])? {
            let used = string(&dependency["name"])?;
            let is_ours = !dependency["path"].is_null() && used != name;
            ensure!(!is_ours || allowed.contains(&used), "{name} may not use {used}");
        }
    }
    for (room, allowed) in ROOMS {
        rooms(sh, room, allowed)?;
    }
    Ok(())
}

/// Checks that the files of a room of the verifier use only the rooms they may.
fn rooms(sh: &Shell, room: &str, allowed: &[&str]) -> anyhow::Result<()> {
    for path in crate::tidy::sources(sh, &format!("bpf-verifier/src/{room}/"))? {
        let text = sh.read_file(&path)?;
        for (_, after) in
            text.match_indices("use crate::").map(|(at, word)| text.split_at(at + word.len()))
        {
            let used = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
            ensure!(used == room || allowed.contains(&used), "{path}: {room} may not use {used}");
        }
    }
    Ok(())
}

fn array(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().context("cargo metadata has changed its form")
}

fn string(value: &Value) -> anyhow::Result<&str> {
    value.as_str().context("cargo metadata has changed its form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_uses_only_what_stands_below_it() {
        for (i, (name, uses)) in LAYERS.iter().enumerate() {
            for used in *uses {
                assert!(LAYERS[..i].iter().any(|(layer, _)| layer == used), "{name} uses {used}");
            }
        }
    }

    #[test]
    fn siblings_of_the_verifier_do_not_know_each_other() {
        let siblings = ["bpf-verifier", "bpf-maps", "bpf-interp", "bpf-jit"];
        for (name, uses) in LAYERS.iter().filter(|(name, _)| siblings.contains(name)) {
            assert!(uses.iter().all(|used| !siblings.contains(used)), "{name}");
        }
    }

    #[test]
    fn the_manifests_agree() {
        run(&crate::in_the_root().unwrap()).unwrap();
    }
}
