//! Why a program could not be compiled, or its code not be kept.

use std::path::PathBuf;

use bpf_isa::Pc;
use thiserror::Error;

/// Why a program could not be compiled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Code is made for x86-64 Linux alone.
    #[error("no JIT on this target")]
    NoJit,

    /// The instruction asks for something that compiled code cannot do.
    #[error("insn {pc}: {what}")]
    Unsupported {
        /// The instruction.
        pc: Pc,
        /// What it asks for.
        what: String,
    },

    /// The image is not what an image must be.
    #[error("insn {pc}: {what}")]
    Malformed {
        /// The instruction.
        pc: Pc,
        /// What is wrong with it.
        what: &'static str,
    },

    /// The code generator failed.
    #[error("function {function}: {what}")]
    Codegen {
        /// The function, counted in the order of their places.
        function: usize,
        /// What the code generator says.
        what: String,
    },

    /// There is no room for more code.
    #[error("no room for {bytes} bytes of code")]
    OutOfCodeMemory {
        /// How much was asked for.
        bytes: usize,
    },

    /// The machine gives no memory for code.
    #[error("no memory for code: {what}")]
    NoCodeMemory {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },

    /// The code generator does not know this processor.
    #[error("no code generator for this processor: {what}")]
    NoTarget {
        /// What it says.
        what: String,
    },
}

/// Why there can be no cache in a directory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The directory cannot be made or opened.
    #[error("no code can be kept in {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },

    /// Somebody else could put code there, which would then be run.
    #[error("code in {} cannot be trusted: {why}", .path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },

    /// Code is made for x86-64 Linux alone.
    #[error("no JIT on this target, so no code to be kept")]
    NoJit,
}
