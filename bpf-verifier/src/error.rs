//! Why a program is refused: one enum a room, gathered here.
//!
//! Each room has its own error type that implements [`Refusal`], and a row in the table below.
//! The `Display` of an error is what the kernel's log says, without the last newline; it may be
//! several lines, or nothing where the kernel says nothing.

use std::fmt;

use bpf_abi::errno::Errno;
use bpf_isa::Pc;

use crate::attach::{AttachError, KernelTargetError};
use crate::call::{CallError, KfuncError};
use crate::fixup::BindError;
use crate::memory::MemoryError;
use crate::program::ProgramError;
use crate::step::StepError;
use crate::told::{Told, told};
use crate::walk::WalkError;

/// What every room's error type says of itself, besides its text.
pub trait Refusal: fmt::Display + fmt::Debug {
    /// The error number `BPF_PROG_LOAD` returns for it.
    fn errno(&self) -> Errno;

    /// Whether the log line ends with a newline. Some of the kernel's do not.
    fn ends_line(&self) -> bool {
        true
    }

    /// The name of the variant.
    fn name(&self) -> &'static str;

    /// The fields of the variant, by their names.
    fn fields(&self) -> Vec<(&'static str, Told)>;
}

/// Defines [`Reason`] from the rooms' error types, which it boxes so that results stay small.
macro_rules! rooms {
    ($( $Room:ident($Error:ty) $doc:literal )+) => {
        /// What a program did wrong.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $( #[doc = $doc] $Room(Box<$Error>), )+
        }

        $(
            impl From<$Error> for Reason {
                fn from(error: $Error) -> Self {
                    Self::$Room(Box::new(error))
                }
            }
        )+

        impl Reason {
            /// The room's error.
            pub fn refusal(&self) -> &dyn Refusal {
                match self {
                    $( Self::$Room(error) => error.as_ref(), )+
                }
            }

            /// The name of the room.
            pub const fn room(&self) -> &'static str {
                match self {
                    $( Self::$Room(_) => stringify!($Room), )+
                }
            }
        }
    };
}

rooms! {
    Attach(AttachError) "Found in what the load says of the program as a whole."
    KernelTarget(KernelTargetError) "Found in the kernel's type or function that it attaches to."
    Program(ProgramError) "Found before any path was walked, or in the call graph."
    Bind(BindError) "Found when an accepted program was to be made ready for a host."
    Walk(WalkError) "Found while going from path to path."
    Step(StepError) "Found in what an instruction does."
    Memory(MemoryError) "Found in memory that would be touched."
    Call(CallError) "Found in a call."
    Kfunc(KfuncError) "Found in a call of a kernel function."
}

impl Reason {
    /// The error number `BPF_PROG_LOAD` returns for it.
    pub fn errno(&self) -> Errno {
        self.refusal().errno()
    }

    /// Its name: what went wrong, as a word.
    pub fn name(&self) -> &'static str {
        self.refusal().name()
    }

    /// What it holds, by name.
    pub fn fields(&self) -> Vec<(&'static str, Told)> {
        self.refusal().fields()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.refusal(), f)
    }
}

impl std::error::Error for Reason {}

impl Refusal for BindError {
    fn errno(&self) -> Errno {
        self.errno()
    }

    told! { Helper { at, name }, Kfunc { at, name }, Variable { at }, MapValue { at, map }, TooFar { at } }
}

/// A program, refused: `insn 3 (prog.c:17): R1 !read_ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The instruction it was refused at, if it was refused at one.
    pub at: Option<Pc>,
    /// The function that instruction is in; empty if unknown.
    pub function: String,
    /// The line that instruction was compiled from, if the program carries line info.
    pub line: Option<Place>,
    /// What it did wrong.
    pub reason: Reason,
}

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was compiled.
    pub file: String,
    /// The line's number.
    pub line: u32,
    /// The line, without indentation.
    pub text: String,
}

impl Rejection {
    /// The error number `BPF_PROG_LOAD` returns for it.
    pub fn errno(&self) -> Errno {
        self.reason.errno()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "insn {at}")?;
            match &self.line {
                Some(place) => write!(f, " ({}:{}): ", place.file, place.line)?,
                None if self.function.is_empty() => f.write_str(": ")?,
                None => write!(f, " ({}): ", self.function)?,
            }
        }
        let text = self.reason.to_string();
        let told = |line: &&str| !line.starts_with("cur state:") && !line.starts_with("old state:");
        match text.trim_end().lines().rfind(told) {
            Some(last) => f.write_str(last),
            None => write!(f, "refused with {}", self.errno()),
        }
    }
}

impl std::error::Error for Rejection {}
