//! Building the objects of a case with clang-22.

use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::parse::{Case, ObjectDecl};

/// The compiler of objects.
const CLANG: &str = "clang-22";
/// The tool that takes the types out of an object.
const OBJCOPY: &str = "llvm-objcopy-22";
/// The flags of every object.
const FLAGS: &[&str] = &["-g", "-O2", "-target", "bpf", "-mcpu=v3"];

/// Tags of arguments that libbpf's headers define since 1.4.
const TAGS: &[&str] = &["ctx", "nonnull", "nullable", "trusted", "untrusted", "arena"];

/// An object that was not built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A tool is missing.
    #[error("{tool} is missing, which builds the objects of {case}")]
    NoTool {
        /// The tool.
        tool: &'static str,
        /// The case.
        case: String,
        /// Why it could not be run.
        #[source]
        error: std::io::Error,
    },
    /// A tool refused.
    #[error("{}: {tool}: {output}", object.display())]
    Refused {
        /// The tool.
        tool: &'static str,
        /// The object.
        object: PathBuf,
        /// What it said.
        output: String,
    },
}

impl Case {
    /// The objects of the case; one of the case's own name if it names none.
    pub fn declared(&self) -> Vec<ObjectDecl> {
        if !self.objects.is_empty() {
            return self.objects.clone();
        }
        vec![ObjectDecl { name: String::new(), flags: Vec::new(), keeps_btf: true }]
    }

    /// Where the object of this name lies.
    pub fn object_path(&self, name: &str) -> PathBuf {
        let is_named = self.objects.iter().any(|object| object.name == name);
        let file = if is_named && !name.is_empty() {
            format!("{}.{name}.o", self.name)
        } else {
            format!("{}.o", self.name)
        };
        self.source.with_file_name(file)
    }
}

/// Builds the objects of a case that are not there; returns how many were built.
///
/// # Errors
///
/// Returns an error if a tool is missing or refuses.
pub fn build_missing(case: &Case) -> Result<usize, BuildError> {
    let mut built = 0;
    for object in case.declared() {
        if !case.object_path(&object.name).exists() {
            compile(case, &object)?;
            built += 1;
        }
    }
    Ok(built)
}

/// Builds all objects of a case anew; returns how many there are.
///
/// # Errors
///
/// Returns an error if a tool is missing or refuses.
pub fn build(case: &Case) -> Result<usize, BuildError> {
    let objects = case.declared();
    for object in &objects {
        compile(case, object)?;
    }
    Ok(objects.len())
}

fn compile(case: &Case, object: &ObjectDecl) -> Result<(), BuildError> {
    let path = case.object_path(&object.name);
    let folder = case.source.parent().unwrap_or(Path::new("."));
    let source = case.source.file_name().unwrap_or_default();
    let to = path.file_name().unwrap_or_default();
    let mut clang = Command::new(CLANG);
    // A newer header may define them otherwise, to the same end.
    clang.arg("-Wno-macro-redefined");
    for tag in TAGS {
        clang.arg(format!("-D__arg_{tag}=__attribute__((btf_decl_tag(\"arg:{tag}\")))"));
    }
    clang.args(FLAGS).arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    // Paths are relative, so that the objects do not name the machine they were built on.
    clang.current_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    clang.arg("-fdebug-compilation-dir=.");
    if !object.name.is_empty() {
        clang.arg(format!("-D{}", object.name));
    }
    clang.args(&object.flags).arg("-c").arg(source).arg("-o").arg(to);
    run(clang, CLANG, case, &path)?;
    // What is left are the code and its types: debug information for people is most of an object.
    let mut strip = Command::new(OBJCOPY);
    strip.arg("--strip-debug");
    if !object.keeps_btf {
        strip.args(["--remove-section=.BTF", "--remove-section=.BTF.ext"]);
        strip.args(["--remove-section=.rel.BTF", "--remove-section=.rel.BTF.ext"]);
    }
    strip.arg(&path);
    run(strip, OBJCOPY, case, &path)
}

fn run(
    mut command: Command,
    tool: &'static str,
    case: &Case,
    object: &Path,
) -> Result<(), BuildError> {
    let output = command.output();
    let output =
        output.map_err(|error| BuildError::NoTool { tool, case: case.name.clone(), error })?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BuildError::Refused { tool, object: object.to_owned(), output })
}
