//! What can go wrong, said in one line, and the error number Linux has for it.

use std::fmt;

use bpf_abi::errno::Errno;
use bpf_abi::map::MapType;
use bpf_abi::prog::ProgType;
use bpf_maps::MapError;
use bpf_verifier::Rejection;
use thiserror::Error;

use crate::engine::EngineError;

/// Why something was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The object has no such program.
    #[error("{object} has no program {name:?}; it has {}", list(.known))]
    NoSuchProgram {
        /// The object.
        object: String,
        /// What was asked for.
        name: String,
        /// The programs it has.
        known: Vec<String>,
    },

    /// The object has no such map.
    #[error("{object} has no map {name:?}; it has {}", list(.known))]
    NoSuchMap {
        /// The object.
        object: String,
        /// What was asked for.
        name: String,
        /// The maps it has.
        known: Vec<String>,
    },

    /// The object has no such global variable.
    #[error("{object} has no global variable {name:?}; it has {}", list(.known))]
    NoSuchGlobal {
        /// The object.
        object: String,
        /// What was asked for.
        name: String,
        /// The variables it has, of which types tell.
        known: Vec<String>,
    },

    /// A value of another size than the variable's, or not a value of its type.
    #[error("global variable {name:?}: {reason}")]
    BadGlobal {
        /// The variable.
        name: String,
        /// What is wrong.
        reason: String,
    },

    /// A program or map of another runtime: its values have room for the CPUs of that one.
    #[error("{what} {name:?} is of another runtime")]
    OtherRuntime {
        /// A program, or a map.
        what: &'static str,
        /// Its name.
        name: String,
    },

    /// A map of another type than what it was taken for.
    #[error("map {name:?} is of type {map_type}, not {wanted}")]
    WrongMapType {
        /// The map.
        name: String,
        /// Its type.
        map_type: MapType,
        /// What it was taken for.
        wanted: &'static str,
    },

    /// Keys or values of another size than the Rust type they were taken for.
    #[error("map {name:?} has {what}s of {size} bytes, not of {wanted}")]
    WrongSize {
        /// The map.
        name: String,
        /// Which of the two.
        what: &'static str,
        /// Their size, in bytes.
        size: usize,
        /// That of the Rust type.
        wanted: usize,
    },

    /// A map refused an operation.
    #[error("map {name:?}: {error}")]
    Map {
        /// The map.
        name: String,
        /// Why.
        error: MapError,
    },

    /// A program was not run as asked.
    #[error("program {program:?} was not run: {reason}")]
    TestRun {
        /// The program.
        program: String,
        /// Why.
        reason: String,
        /// The error number `BPF_PROG_TEST_RUN` returns.
        errno: Errno,
    },

    /// A packet that is too short for the headers that it must have.
    #[error("a packet of {len} bytes is too short for its headers")]
    ShortPacket {
        /// How many bytes it has.
        len: usize,
        /// The error number `BPF_PROG_TEST_RUN` returns.
        errno: Errno,
    },

    /// A packet made for programs of another type.
    #[error("program {program:?} is of type {prog_type}, and the packet is not for those")]
    WrongPacket {
        /// The program.
        program: String,
        /// Its type.
        prog_type: ProgType,
    },

    /// A packet of a batch could not be run; those before it were.
    #[error("packets[{at}]: {error}")]
    InBatch {
        /// Its place in the batch, counted from 0.
        at: usize,
        /// Why.
        error: Box<Self>,
    },

    /// A program did what no verified program can do: the verifier was wrong about it.
    #[error("program {program:?} was stopped: {fault}")]
    Fault {
        /// The program.
        program: String,
        /// What it did.
        fault: Box<bpf_interp::Fault>,
    },

    /// Compiled code was asked for, and there can be none here.
    #[error("no compiled code here: {0}")]
    NoJit(Box<bpf_jit::CompileError>),

    /// A hook takes programs of another type.
    #[error(
        "hook {hook:?} takes programs of type {wanted}, and {program:?} is of type {prog_type}"
    )]
    WrongHook {
        /// The hook.
        hook: String,
        /// What it takes.
        wanted: ProgType,
        /// The program.
        program: String,
        /// The program's type.
        prog_type: ProgType,
    },

    /// A link cannot be changed so.
    #[error("the link at {hook:?} cannot {what}")]
    Link {
        /// The hook or function.
        hook: String,
        /// What it cannot.
        what: &'static str,
        /// The error number `bpf(2)` returns.
        errno: Errno,
    },

    /// Something is pinned under a name.
    #[error("something is pinned under {name:?}")]
    Pinned {
        /// The name.
        name: String,
    },

    /// A program was not attached to a function.
    #[error("program {program:?} was not attached: {reason}")]
    Attach {
        /// The program.
        program: String,
        /// Why.
        reason: String,
        /// The error number `bpf(2)` returns.
        errno: Errno,
    },

    /// A program type of the host's own is not as it should be.
    #[error("program type {name:?}: {reason}")]
    ProgramType {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },

    /// What is asked for does not exist yet.
    #[error("{0} is not supported")]
    Unsupported(String),

    /// A program or an object was not loaded.
    #[error(transparent)]
    Load(Box<LoadError>),
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

impl Error {
    /// The error number `bpf(2)` returns for it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoSuchProgram { .. } | Self::NoSuchMap { .. } | Self::NoSuchGlobal { .. } => {
                Errno::ENOENT
            }
            Self::BadGlobal { .. }
            | Self::OtherRuntime { .. }
            | Self::WrongMapType { .. }
            | Self::WrongSize { .. }
            | Self::WrongPacket { .. }
            | Self::WrongHook { .. }
            | Self::ProgramType { .. } => Errno::EINVAL,
            Self::Fault { .. } => Errno::EFAULT,
            Self::Map { error, .. } => error.errno(),
            Self::TestRun { errno, .. }
            | Self::ShortPacket { errno, .. }
            | Self::Link { errno, .. }
            | Self::Attach { errno, .. } => *errno,
            Self::Pinned { .. } => Errno::EEXIST,
            Self::NoJit(_) | Self::Unsupported(_) => Errno::EOPNOTSUPP,
            Self::InBatch { error, .. } => error.errno(),
            Self::Load(error) => error.errno(),
        }
    }
}

/// Names, for a message.
fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Where in an object a load failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The object; empty for a program that was loaded without one.
    pub object: String,
    /// The ELF section; empty if none is known.
    pub section: String,
    /// The program; empty if it is not about one.
    pub program: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.object, &self.section, &self.program];
        let named: Vec<&str> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| part.as_str()).collect();
        if named.is_empty() { f.write_str("program") } else { f.write_str(&named.join(": ")) }
    }
}

/// Why a program, or an object with programs, was not loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The verifier refused a program.
    #[error("{}: {}", .0.place, .0.rejection)]
    Rejected(Box<Rejected>),

    /// A map was not made, or not filled.
    #[error("{object}: map {name:?}: {error}")]
    Map {
        /// The object.
        object: String,
        /// The map.
        name: String,
        /// Why.
        error: MapError,
    },

    /// A map's first contents name something that is not there.
    #[error("{object}: map {name:?} begins with {what}, which is not loaded")]
    MissingInit {
        /// The object.
        object: String,
        /// The map.
        name: String,
        /// What is missing.
        what: String,
    },

    /// The program calls a helper that this runtime does not provide for its type.
    #[error("{place}: helper bpf_{helper} is not provided for programs of type {prog_type}")]
    MissingHelper {
        /// Where.
        place: Box<Place>,
        /// The helper's name, without `bpf_`.
        helper: String,
        /// The program's type.
        prog_type: ProgType,
    },

    /// The program uses a kernel function or variable that is not there.
    #[error("{place}: {what} {name:?}: {reason}")]
    MissingSymbol {
        /// Where.
        place: Box<Place>,
        /// A kernel function, or a kernel variable.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why it is not there.
        reason: &'static str,
    },

    /// The description of the program contradicts itself.
    #[error("{place}: {reason}")]
    BadProgram {
        /// Where.
        place: Box<Place>,
        /// How.
        reason: String,
    },

    /// The program's type needs what does not exist yet.
    #[error("{place}: {what} is not supported")]
    Unsupported {
        /// Where.
        place: Box<Place>,
        /// What is missing.
        what: String,
    },

    /// The program was accepted, and no code could be made of it.
    #[error("{place}: no engine can run it: {error}")]
    Engine {
        /// Where.
        place: Box<Place>,
        /// Why.
        error: Box<EngineError>,
    },
}

impl LoadError {
    /// The error number `bpf(2)` returns for it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Rejected(rejected) => rejected.errno(),
            Self::Map { error, .. } => error.errno(),
            Self::MissingInit { .. } | Self::MissingSymbol { .. } => Errno::ENOENT,
            Self::MissingHelper { .. } | Self::BadProgram { .. } => Errno::EINVAL,
            Self::Unsupported { .. } | Self::Engine { .. } => Errno::ENOTSUPP,
        }
    }

    /// The verifier's log, if it was the verifier who refused.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Rejected(rejected) => Some(rejected.log()),
            Self::Map { .. }
            | Self::MissingInit { .. }
            | Self::MissingHelper { .. }
            | Self::MissingSymbol { .. }
            | Self::BadProgram { .. }
            | Self::Unsupported { .. }
            | Self::Engine { .. } => None,
        }
    }
}

/// A program that the verifier refused, and what it said.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Where the program comes from.
    pub place: Place,
    /// The instruction, the line and the reason.
    pub rejection: Rejection,
    pub(crate) log: String,
}

impl Rejected {
    /// The verifier's log, in the kernel's words.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The error number `BPF_PROG_LOAD` returns.
    pub fn errno(&self) -> Errno {
        self.rejection.errno()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_names_the_place() {
        let place = Box::new(Place {
            object: "fw".into(),
            section: "xdp".into(),
            program: "filter".into(),
        });
        let error = LoadError::MissingHelper {
            place,
            helper: "sk_release".into(),
            prog_type: ProgType::Xdp,
        };
        assert_eq!(
            error.to_string(),
            "fw: xdp: filter: helper bpf_sk_release is not provided for programs of type xdp"
        );
        let error = Error::NoSuchMap { object: "fw".into(), name: "m".into(), known: vec![] };
        assert_eq!(error.to_string(), "fw has no map \"m\"; it has none");
    }
}
