//! Rebuilding the committed objects with clang-22.

use anyhow::{Context as _, bail, ensure};
use xshell::{Shell, cmd};

/// Where case scripts lie, which say themselves what they are built into.
const CASES: &str = "tests/cases";

/// Where sources of committed objects lie: every `*.bpf.c` there has its `*.bpf.o` beside it.
const FOLDERS: &[&str] = &[
    "examples",
    "examples/firewall",
    "tests/objects",
    "bench/programs",
    "bench/more",
    "bench/heavy",
];

/// The flags of every object, unless its first lines say otherwise by `// clang: FLAGS`.
const FLAGS: &[&str] = &["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall"];

/// Rebuilds all objects, or those whose path contains the argument.
pub(crate) fn run(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    let wanted = args.first().map_or("", String::as_str);
    if cmd!(sh, "clang-22 --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        bail!("clang-22 is not installed: see docs/testing.md");
    }
    let include = include_flag(sh)?;
    let mut built = 0;
    for folder in FOLDERS.iter().filter(|folder| sh.path_exists(folder)) {
        for path in sh.read_dir(folder)? {
            let source = path.to_string_lossy().into_owned();
            let Some(stem) = source.strip_suffix(".bpf.c") else { continue };
            if !source.contains(wanted) {
                continue;
            }
            let text = sh.read_file(&path)?;
            let extra = text.lines().take(20).find_map(|line| line.strip_prefix("// clang: "));
            let extra: Vec<&str> = extra.unwrap_or("").split_whitespace().collect();
            // Paths are relative, so that the objects do not name the machine they were built on.
            let dir = sh.push_dir(folder);
            let name = stem.rsplit('/').next().context("a path has a last part")?;
            let (from, to) = (format!("{name}.bpf.c"), format!("{name}.bpf.o"));
            let here = ["-fdebug-compilation-dir=."];
            cmd!(sh, "clang-22 {FLAGS...} {extra...} {include} {here...} -c {from} -o {to}")
                .run()?;
            drop(dir);
            built += 1;
        }
    }
    let cases = ["run", "--quiet", "--package", "bpfkit-cli", "--", "run", "--build"];
    if built == 0 || wanted.is_empty() {
        cmd!(sh, "cargo {cases...} --script {CASES} --only={wanted}").quiet().run()?;
        built += 1;
    }
    ensure!(built > 0, "no source named {wanted:?} in {}", FOLDERS.join(", "));
    println!("{built} objects built");
    Ok(())
}

/// Where Debian keeps the headers of its architecture, which clang does not look for when it
/// builds for BPF.
fn include_flag(sh: &Shell) -> anyhow::Result<String> {
    let machine = cmd!(sh, "uname -m").quiet().read()?;
    Ok(format!("-I/usr/include/{}-linux-gnu", machine.trim()))
}
