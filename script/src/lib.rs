//! Case scripts: BPF sources that say in `//@` lines what is to be done with them.
//!
//! A case is a C source, `NAME.bpf.c`. Beside it lie the objects it is built into and, in
//! `facts.json`, what a kernel did at each step. Running a case does the same steps in a runtime and
//! compares, step by step.
//!
//! ```text
//!   //@ obj T                                  built with -DT into NAME.T.o
//!   //@ load T T xdp_main                      opened as T, this program loaded
//!   //@ load E E e attach=T.xdp_main:f         an extension of a function of it
//!   //@ link L E.e
//!   //@ run T.xdp_main
//! ```
//!
//! The language is described in `tests/cases/README.md`.
#![forbid(unsafe_code)]

mod parse;
mod build;
mod world;
mod steps;
mod attach;
mod globals;
mod facts;
mod differences;
mod cases;

pub use build::{BuildError, build, build_missing};
pub use cases::{CaseReport, Failure, Options, Report, RunError, run_dir, run_file};
pub use facts::Facts;
pub use parse::{
    Case, Ending, FunctionRef, Load, ObjectDecl, ParseError, ProgramRef, Step, StepKind, TargetRef,
    Value,
};
pub use world::World;
