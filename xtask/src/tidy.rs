//! Rules that clippy does not know.

use anyhow::ensure;
use xshell::{Shell, cmd};

/// How long a source file may be, in lines.
const LINES: usize = 800;

/// The files that may hold `unsafe`; each promise is named in `docs/unsafe.md`.
const UNSAFE: &[&str] = &[
    "bpf-verifier/src/fixup/image.rs",
    "bpf-maps/src/bytes.rs",
    "bpf-maps/src/cpu.rs",
    "bpf-maps/src/handle.rs",
    "bpf-maps/src/mirror.rs",
    "bpf-maps/src/models.rs",
    "bpf-maps/src/types/ringbuf.rs",
    "bpf-interp/src/atomic.rs",
    "bpf-interp/src/call.rs",
    "bpf-interp/src/detour.rs",
    "bpf-interp/src/memory/checked.rs",
    "bpf-interp/src/memory/host.rs",
    "bpf-interp/src/native.rs",
    "bpf-jit/src/abi.rs",
    "bpf-jit/src/checked.rs",
    "bpf-jit/src/code.rs",
    "bpf-jit/src/jit.rs",
    "bpf-jit/src/listing.rs",
    "bpf-trampoline/src/interp_slot.rs",
    "bpf-trampoline/src/jit_slot.rs",
    "bpf-trampoline/src/models.rs",
    "bpf-trampoline/src/switch.rs",
    "bpf-trampoline/src/target.rs",
    "bpf-runtime/src/attach/function.rs",
    "bpf-runtime/src/enter.rs",
    "bpf-runtime/src/helpers/args/bytes.rs",
    "bpf-runtime/src/helpers/args/dynptr.rs",
    "bpf-runtime/src/helpers/args/iter.rs",
    "bpf-runtime/src/helpers/args/later.rs",
    "bpf-runtime/src/helpers/args/object.rs",
    "bpf-runtime/src/helpers/args/mod.rs",
    "bpf-runtime/src/helpers/args/number.rs",
    "bpf-runtime/src/own/helper.rs",
    "bpf-runtime/src/memory.rs",
    "bpf-runtime/src/owned/memory.rs",
    "oracle/src/sys.rs",
    "bench/src/peers.rs",
];

/// The sources that git knows, below `prefix`.
pub(crate) fn sources(sh: &Shell, prefix: &str) -> anyhow::Result<Vec<String>> {
    let files =
        cmd!(sh, "git ls-files --cached --others --exclude-standard -- *.rs").quiet().read()?;
    let here = |path: &&str| path.starts_with(prefix) && sh.path_exists(path);
    Ok(files.lines().filter(here).map(str::to_owned).collect())
}

/// Checks every source file; reports all that is wrong, then fails.
pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for path in sources(sh, "")? {
        let text = sh.read_file(&path)?;
        wrong.extend(complaints(&path, &text).into_iter().map(|what| format!("{path}: {what}")));
    }
    for (promise, path) in promises(sh)? {
        let known = sh.read_file("docs/unsafe.md")?.contains(&format!("[{promise}]"));
        if !known {
            wrong.push(format!("{path}: docs/unsafe.md does not know [{promise}]"));
        }
    }
    for line in &wrong {
        eprintln!("tidy: {line}");
    }
    ensure!(wrong.is_empty(), "{} complaints", wrong.len());
    Ok(())
}

/// What is wrong with one file.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_test = ["/benches/", "/tests/", "/tests.rs"].iter().any(|part| path.contains(part));
    // A crate's first page may be its README.
    let says = text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
    if !says {
        wrong.push("the first line does not say what the file is for (`//! …`)".to_owned());
    }
    let lines = text.lines().count();
    if lines > LINES {
        wrong.push(format!("{lines} lines; at most {LINES}"));
    }
    if text.contains(concat!("TO", "DO")) || text.contains(concat!("FIX", "ME")) {
        wrong.push("an unfinished matter: finish it or file it".to_owned());
    }
    if text.contains(concat!("#[igno", "re]")) {
        wrong.push("an ignored test".to_owned());
    }
    let uses_unsafe = text.lines().any(|line| {
        let code = line.trim_start();
        let block = [concat!("unsa", "fe {"), concat!("unsa", "fe impl")];
        !code.starts_with("//") && block.iter().any(|word| code.contains(word))
    });
    if uses_unsafe && !is_test && !UNSAFE.contains(&path) {
        wrong.push("`unsafe` outside of the files that may hold it".to_owned());
    }
    wrong
}

/// The promises that `SAFETY` comments cite, with the file that does.
fn promises(sh: &Shell) -> anyhow::Result<Vec<(String, String)>> {
    let mut cited = Vec::new();
    for path in sources(sh, "")? {
        let text = sh.read_file(&path)?;
        for line in text.lines() {
            let Some((_, after)) = line.split_once(concat!("// SAFE", "TY: [")) else { continue };
            if let Some((promise, _)) = after.split_once(']') {
                cited.push((promise.to_owned(), path.clone()));
            }
        }
    }
    Ok(cited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        assert!(complaints("a/src/a.rs", "//! A room.\n").is_empty());
        assert_eq!(complaints("a/src/a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(complaints("a/src/a.rs", &"//! A\n".repeat(801)).len(), 1);
        let unsafe_code = format!("//! A room.\nfn a() {{ {} {{}} }}\n", "unsafe");
        assert_eq!(complaints("bpf-isa/src/a.rs", &unsafe_code).len(), 1);
        assert!(complaints("bpf-jit/src/code.rs", &unsafe_code).is_empty());
    }

    #[test]
    fn the_workspace_is_tidy() {
        run(&crate::in_the_root().unwrap()).unwrap();
    }
}
