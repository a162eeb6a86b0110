//! Code that no path reached, branches that never go one way, jumps to the next instruction.
//!
//! The walk saw every path, so an instruction that it did not see is never executed: removing it
//! changes nothing. It must go, since nothing is known of what it would do.

use bpf_isa::{Insn, Pc};

use super::code::{Code, Line};
use crate::env::Env;

/// An instruction that does nothing.
pub(super) const NOP: Insn = Insn::Jump { off: 0, long: false };

/// Makes branches unconditional of which one side was never taken.
///
/// Linux: `opt_hard_wire_dead_code_branches`.
pub(super) fn hard_wire(env: &Env<'_>, code: &mut Code) {
    for line in &mut code.lines {
        let (Insn::JumpIf { off, .. } | Insn::MayGoto { off }) = line.insn else { continue };
        if !is_seen(env, line.from.offset(1)) {
            line.insn = Insn::Jump { off: i32::from(off), long: false };
        } else if !is_seen(env, line.insn.jump_target(line.from)) {
            line.insn = NOP;
        }
    }
}

fn is_seen(env: &Env<'_>, pc: Option<Pc>) -> bool {
    pc.and_then(|pc| env.notes.get(pc.index())).is_some_and(|note| note.seen)
}

/// Removes what no path reached. Linux: `opt_remove_dead_code`.
pub(super) fn remove_unseen(env: &Env<'_>, code: &mut Code) {
    code.lines.retain(|line| env.note(line.from).seen);
}

/// Removes jumps to the next instruction; a `may_goto` before one that went may be the next.
///
/// Linux: `opt_remove_nops`.
pub(super) fn remove_nops(code: &mut Code, len: usize) {
    let mut kept: Vec<Line> = Vec::with_capacity(code.lines.len());
    let places = code.places(len);
    let mut removed_behind = 0_i64;
    for line in std::mem::take(&mut code.lines) {
        let is_nop = |line: &Line, between: i64| {
            #[expect(clippy::wildcard_enum_match_arm, reason = "others are no jumps")]
            let off = match line.insn {
                Insn::MayGoto { off } => i64::from(off),
                Insn::Jump { off, long: false } => i64::from(off),
                _ => return false,
            };
            places.distance(line.from, off) == between
        };
        if !is_nop(&line, 0) {
            kept.push(line);
            removed_behind = 0;
            continue;
        }
        removed_behind += 1;
        let mut may_goto = matches!(line.insn, Insn::MayGoto { .. });
        while may_goto && kept.last().is_some_and(|before| is_nop(before, removed_behind)) {
            let before = kept.pop();
            removed_behind += 1;
            may_goto = matches!(before, Some(Line { insn: Insn::MayGoto { .. }, .. }));
        }
    }
    code.lines = kept;
}
