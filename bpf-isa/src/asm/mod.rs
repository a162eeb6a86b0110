//! Text → program.
//!
//! One instruction a line, in the dialect of clang and of the kernel's log:
//!
//! ```text
//! entry:
//!     r1 = 7 ll                       ; comments: ; # //
//!     w2 = *(u8 *)(r1 + 0)
//!     if r2 s> 3 goto out             // a label, +3 or pc+3
//!     lock *(u64 *)(r10 - 8) += r2
//!     r1 = map[counts] ll             # a symbol, told to the caller
//!     call bpf_map_lookup_elem
//! out:
//!     exit
//! ```
//!
//! A line of the log, `12: (b7) r0 = 0`, is read as the instruction in it.
//!
//! ```
//! let program = bpf_isa::asm::assemble("r0 = 0\nif r1 > 64 goto out\nr0 += 2\nout: exit")?;
//! assert_eq!(program.insns()[1].to_string(), "if r1 > 0x40 goto pc+1");
//! # Ok::<(), bpf_isa::asm::AsmError>(())
//! ```

mod lexer;
mod parser;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::insn::{Call, Imm64, Insn, Pc};
use crate::program::Program;

use parser::{Parser, Pending, Statement, Target};

/// What the assembler asks about names that the text does not define.
pub trait Names {
    /// What `name` calls, if it is a helper or a kernel function.
    fn call(&self, name: &str) -> Option<Call>;
}

/// Knows no name.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn call(&self, _: &str) -> Option<Call> {
        None
    }
}

/// A program as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembled {
    /// The instructions.
    pub program: Program,
    /// The line each slot came from, counted from one.
    pub lines: Vec<u32>,
    /// Where the labels stand.
    pub labels: BTreeMap<String, Pc>,
    /// The wide immediates that name something outside the text, in order. In the program they
    /// are `MapFd(0)`, or `MapValue` with the right offset.
    pub relocations: Vec<Relocation>,
}

/// A wide immediate that names something outside the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The instruction.
    pub at: Pc,
    /// The name.
    pub symbol: String,
    /// The line, counted from one.
    pub line: u32,
}

/// Assembles a program that names nothing outside itself.
///
/// # Errors
///
/// Returns the first line that is no instruction or names something unknown.
pub fn assemble(text: &str) -> Result<Program, AsmError> {
    let assembled = assemble_with(text, &NoNames)?;
    match assembled.relocations.into_iter().next() {
        None => Ok(assembled.program),
        Some(Relocation { symbol, line, .. }) => {
            Err(AsmError { line, column: 1, kind: AsmErrorKind::Unknown(symbol) })
        }
    }
}

/// Assembles a program, asking `names` what calls by name mean.
///
/// # Errors
///
/// Returns the first line that is no instruction or calls something unknown.
pub fn assemble_with(text: &str, names: &dyn Names) -> Result<Assembled, AsmError> {
    let mut assembled = Assembled::default();
    let mut insns = Vec::new();
    let mut pending = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words = lexer::words(line, number)?;
        let mut parser = Parser::new(&words, number);
        while let Some(label) = parser.label() {
            let at = pc(insns.len());
            if assembled.labels.insert(label.word.to_owned(), at).is_some() {
                let kind = AsmErrorKind::Twice(label.word.into());
                return Err(AsmError { line: number, column: label.column, kind });
            }
        }
        let Some(Statement { insn, open }) = parser.statement()? else { continue };
        if let Some(open) = open {
            pending.push((pc(insns.len()), number, open));
        }
        insns.push(insn);
        assembled.lines.push(number);
        if insn.slots() == 2 {
            insns.push(Insn::SecondSlot);
            assembled.lines.push(number);
        }
    }
    for (at, line, open) in pending {
        let insn = &mut insns[at.index()];
        close(insn, at, line, open, names, &mut assembled)?;
    }
    assembled.program = Program::new(insns);
    Ok(assembled)
}

fn pc(index: usize) -> Pc {
    Pc(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Fills in what was open when the line was read, labels below it being unknown.
fn close(
    insn: &mut Insn,
    at: Pc,
    line: u32,
    open: Pending<'_>,
    names: &dyn Names,
    assembled: &mut Assembled,
) -> Result<(), AsmError> {
    let Pending { name, column, target } = open;
    let distance = assembled.labels.get(name).map(|to| i64::from(to.0) - i64::from(at.0) - 1);
    let error = |kind| AsmError { line, column, kind };
    let too_far = || error(AsmErrorKind::TooFar(name.into()));
    let short = || -> Result<i16, AsmError> {
        let distance = distance.ok_or_else(|| error(AsmErrorKind::Unknown(name.into())))?;
        i16::try_from(distance).map_err(|_| too_far())
    };
    let long = |distance: i64| i32::try_from(distance).map_err(|_| too_far());
    match (target, insn, distance) {
        (Target::Jump, Insn::Jump { off, long: true }, Some(distance)) => *off = long(distance)?,
        (Target::Jump, Insn::Jump { off, .. }, _) => *off = short()?.into(),
        (Target::Jump, Insn::JumpIf { off, .. } | Insn::MayGoto { off }, _) => *off = short()?,
        (Target::Call, Insn::Call(call), Some(distance)) => *call = Call::Local(long(distance)?),
        (Target::Call, Insn::Call(call), None) => {
            *call = names.call(name).ok_or_else(|| error(AsmErrorKind::Unknown(name.into())))?;
        }
        (Target::Symbol, Insn::LoadImm64 { imm, .. }, Some(distance)) => {
            *imm = Imm64::Func { off: long(distance)? };
        }
        (Target::Function, Insn::LoadImm64 { imm, .. }, Some(distance)) => {
            *imm = Imm64::Func { off: long(distance)? };
        }
        (Target::Symbol | Target::Map, Insn::LoadImm64 { .. }, _) => {
            assembled.relocations.push(Relocation { at, symbol: name.into(), line });
        }
        _ => return Err(error(AsmErrorKind::Unknown(name.into()))),
    }
    Ok(())
}

/// A line that is no instruction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct AsmError {
    /// The line, counted from one.
    pub line: u32,
    /// The column, counted in characters from one.
    pub column: u32,
    /// What is wrong there.
    pub kind: AsmErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AsmErrorKind {
    /// No word of the dialect begins so.
    #[error("`{0}` has no place in an instruction")]
    Character(char),
    /// Digits that are no number.
    #[error("`{0}` is no number of 64 bits")]
    Number(Box<str>),
    /// Another word was expected.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What was.
        expected: &'static str,
        /// What is there.
        found: Box<str>,
    },
    /// The number does not fit where it stands.
    #[error("{value} does not fit in {bits} bits")]
    Range {
        /// The number.
        value: i128,
        /// How many bits there are.
        bits: u32,
    },
    /// Registers of different widths, or a width the instruction does not have.
    #[error("the width of `{0}` does not fit here")]
    Width(Box<str>),
    /// The operand must be the same as the destination.
    #[error("the operand must be `{0}`, which the result goes to")]
    SameRegister(Box<str>),
    /// A name that neither the text nor the caller knows.
    #[error("`{0}` is not known")]
    Unknown(String),
    /// A label that stands in two places.
    #[error("the label `{0}` stands twice")]
    Twice(Box<str>),
    /// A label that is out of the instruction's reach.
    #[error("`{0}` is too far away")]
    TooFar(Box<str>),
}
