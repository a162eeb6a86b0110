//! All that a change must pass.

use std::time::Instant;

use xshell::{Shell, cmd};

/// Formatting, lints, layers, tidiness, all tests, docs, in that order; the first failure ends it.
pub(crate) fn run(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    if args.iter().any(|arg| arg == "--nightly") {
        sh.set_var("BPFKIT_MUTANTS", "100000");
    }
    step("format", || Ok(cmd!(sh, "cargo fmt --all --check").quiet().run()?))?;
    step("layers", || super::layers::run(sh))?;
    step("tidy", || super::tidy::run(sh))?;
    step("clippy", || {
        let lints = cmd!(sh, "cargo clippy --quiet --workspace --all-targets -- --deny warnings");
        Ok(lints.quiet().run()?)
    })?;
    step("test", || {
        let tests = cmd!(sh, "cargo test --workspace --no-fail-fast");
        Ok(tests.quiet().env("INSTA_UPDATE", "no").run()?)
    })?;
    step("docs", || {
        let docs = cmd!(sh, "cargo doc --quiet --workspace --no-deps --exclude xtask");
        Ok(docs.quiet().env("RUSTDOCFLAGS", "--deny warnings").run()?)
    })
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("=== {name}");
    let begin = Instant::now();
    work().map_err(|error| error.context(format!("`{name}` failed")))?;
    println!("=== {name}: {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Writes the snapshots anew.
pub(crate) fn bless(sh: &Shell, args: &[String]) -> anyhow::Result<()> {
    let which = if args.is_empty() { vec!["--workspace".to_owned()] } else { args.to_vec() };
    cmd!(sh, "cargo test {which...}").env("INSTA_UPDATE", "always").run()?;
    Ok(())
}

/// Runs the models of what threads do to each other, which are compiled in a way of their own.
pub(crate) fn models(sh: &Shell) -> anyhow::Result<()> {
    let _dir = sh.push_env("CARGO_TARGET_DIR", "target/loom");
    let _flags = sh.push_env("RUSTFLAGS", "--cfg loom");
    for package in ["bpf-maps", "bpf-trampoline"] {
        cmd!(sh, "cargo test --package {package} --lib models").run()?;
    }
    Ok(())
}
