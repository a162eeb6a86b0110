//! Instructions that can be removed: everything that counts slots, counted again.

use bpf_abi::helper::THROW;
use bpf_isa::{Call, Imm64, Insn, Pc, Reg};

use super::dead::NOP;
use crate::env::Env;

/// An instruction on its way into an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Where it stood in the program.
    pub(super) from: Pc,
    /// What it is now. Jumps and calls still count the slots of the program.
    pub(super) insn: Insn,
}

/// What the code of a callee finds in a register besides what the program gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gift {
    /// The call.
    pub(super) call: Pc,
    pub(super) reg: Reg,
    pub(super) value: u64,
}

/// A program on its way into an image. Second slots of immediates have no line.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    pub(super) lines: Vec<Line>,
}

impl Code {
    /// The instructions of the program; superfluous ones do nothing.
    pub(super) fn of(env: &Env<'_>) -> Self {
        let mut lines = Vec::with_capacity(env.program.len());
        let mut pc = Pc(0);
        while let Some(insn) = env.insn(pc) {
            let insn = if env.note(pc).superfluous { NOP } else { insn };
            lines.push(Line { from: pc, insn });
            pc = env.insn_after(pc);
        }
        Self { lines }
    }

    /// Puts before each of these calls, which are in order, what their code finds in a register
    /// besides what the program gives it.
    pub(super) fn give(&mut self, gifts: &[Gift]) {
        let mut lines = Vec::with_capacity(self.lines.len() + gifts.len());
        for line in std::mem::take(&mut self.lines) {
            if let Ok(at) = gifts.binary_search_by_key(&line.from, |gift| gift.call) {
                let Gift { reg: dst, value, .. } = gifts[at];
                let imm = Imm64::Value(value);
                lines.push(Line { from: line.from, insn: Insn::LoadImm64 { dst, imm } });
            }
            lines.push(line);
        }
        self.lines = lines;
    }

    /// Puts an `exit` behind each exception, and behind each call of a function that always throws
    /// one, since what stood there was removed, or is another function's.
    pub(super) fn leave_after_throws(&mut self, env: &Env<'_>) {
        let mut lines = Vec::with_capacity(self.lines.len());
        for line in std::mem::take(&mut self.lines) {
            lines.push(line);
            let throws = matches!(line.insn, Insn::Call(Call::Helper(THROW)));
            let is_call = matches!(line.insn, Insn::Call(Call::Local(_)));
            let behind = env.insn_after(line.from);
            let comes_back = env.insn(behind).is_some() && env.note(behind).seen;
            if throws || is_call && !comes_back {
                lines.push(Line { from: line.from, insn: Insn::Exit });
            }
        }
        self.lines = lines;
    }

    /// Where instructions are now.
    pub(super) fn places(&self, len: usize) -> Places {
        let mut to = vec![0; len + 1];
        let (mut now, mut filled) = (0, 0);
        for line in &self.lines {
            // What was removed before it has become this.
            to[filled..=line.from.index()].fill(now);
            filled = line.from.index() + 1;
            now += line.insn.slots();
        }
        to[filled..].fill(now);
        Places { to }
    }
}

/// Where each instruction of the program is now; if it was removed, what comes after it.
#[derive(Clone, Debug)]
pub(super) struct Places {
    to: Vec<u32>,
}

impl Places {
    pub(super) fn of(&self, pc: Pc) -> Pc {
        Pc(self.to.get(pc.index()).or(self.to.last()).copied().unwrap_or(0))
    }

    /// How far it is now from behind the instruction at `from` to what `distance` led to.
    pub(super) fn distance(&self, from: Pc, distance: i64) -> i64 {
        let target = from.offset(1 + distance).unwrap_or(from);
        i64::from(self.of(target).0) - i64::from(self.of(from).0) - 1
    }

    /// Whether the instruction's distance, counted by where instructions are now, is too large.
    pub(super) fn is_too_far(&self, line: Line) -> bool {
        #[expect(clippy::wildcard_enum_match_arm, reason = "others go as far as they must")]
        let off = match line.insn {
            Insn::JumpIf { off, .. } | Insn::MayGoto { off } => i64::from(off),
            Insn::Jump { off, long: false } => i64::from(off),
            _ => return false,
        };
        i16::try_from(self.distance(line.from, off)).is_err()
    }

    /// The instruction, its distances counted by where instructions are now. Those that jump know
    /// that it is [not too far](Self::is_too_far).
    pub(super) fn relocated(&self, line: Line) -> Insn {
        let moved = |distance: i64| self.distance(line.from, distance);
        let far = |off: i32| i32::try_from(moved(i64::from(off))).unwrap_or(off);
        let near = |off: i16| i16::try_from(moved(i64::from(off))).unwrap_or(off);
        #[expect(clippy::wildcard_enum_match_arm, reason = "others count no slots")]
        match line.insn {
            Insn::Jump { off, long } => Insn::Jump { off: far(off), long },
            Insn::JumpIf { op, width, dst, src, off } => {
                Insn::JumpIf { op, width, dst, src, off: near(off) }
            }
            Insn::MayGoto { off } => Insn::MayGoto { off: near(off) },
            Insn::Call(Call::Local(off)) => Insn::Call(Call::Local(far(off))),
            Insn::LoadImm64 { dst, imm: Imm64::Func { off } } => {
                Insn::LoadImm64 { dst, imm: Imm64::Func { off: far(off) } }
            }
            other => other,
        }
    }
}
