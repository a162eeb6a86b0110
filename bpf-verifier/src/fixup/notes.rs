//! What the walk learnt, for engines.

use bpf_abi::image::{Facts, MemoryClass, Note};
use bpf_isa::{AluOp, Insn, Operand, Reg};

use super::bind::Bound;
use super::code::Line;
use super::context::touches_context;
use crate::env::{Agreed, Env};

/// What is known of an instruction on every path that reaches it.
///
/// `never_zero` is whether it divides by what is never zero.
pub(super) fn note(env: &Env<'_>, line: Line, never_zero: bool, bound: &Bound) -> Note {
    let learnt = env.note(line.from);
    let mut note = Note::default();
    #[expect(clippy::wildcard_enum_match_arm, reason = "of most there is nothing to know")]
    match line.insn {
        Insn::Load { base, .. }
        | Insn::Store { base, .. }
        | Insn::Atomic { base, .. }
        | Insn::LoadAcquire { base, .. }
        | Insn::StoreRelease { base, .. } => {
            if base == Reg::FP {
                note.memory = MemoryClass::Stack;
                note.facts |= Facts::OWN_FRAME;
            } else if touches_context(env, line.from) {
                note.memory = MemoryClass::Context;
            } else if let Agreed::One(class) = learnt.touched {
                note.memory = class;
            }
            if learnt.may_fault {
                note.facts |= Facts::MAY_FAULT;
            }
        }
        Insn::Alu { op: AluOp::Div | AluOp::Mod, src: Operand::Reg(_), .. }
        | Insn::AluSigned { src: Operand::Reg(_), .. } => {
            note.facts.set(Facts::NONZERO_DIVISOR, never_zero);
        }
        Insn::Call(_) => {
            note.map = learnt.call_map.one().and_then(|map| bound.place(map));
            note.key = learnt.call_key.one().and_then(|key| u32::try_from(key).ok());
        }
        _ => {}
    }
    note
}
