//! How a path came here: the instructions that are not simply the ones after the last.

use bitflags::bitflags;
use bpf_isa::Pc;

use crate::state::{FrameNo, LinkedRegs, SlotNo};
use crate::walk::kept::KeptId;

bitflags! {
    /// Which operands of a comparison are stack pointers, whose precision nothing depends on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StackOperands: u8 {
        /// The left one. Linux: `INSN_F_DST_REG_STACK`.
        const DST = 1;
        /// The right one. Linux: `INSN_F_SRC_REG_STACK`.
        const SRC = 2;
    }
}

/// The slot that a load or store touched.
///
/// Linux: `insn_stack_access_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackTouch {
    /// Whose stack.
    pub frame: FrameNo,
    /// Which slot.
    pub slot: SlotNo,
}

/// What is remembered of one instruction of a path.
///
/// Linux: `struct bpf_jmp_history_entry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instruction.
    pub pc: Pc,
    /// The one walked before it; none at the beginning.
    pub prev: Option<Pc>,
    /// The slot it touched, if it is a load or store.
    pub stack: Option<StackTouch>,
    /// Which operands are stack pointers, if it is a comparison.
    pub stack_operands: StackOperands,
    /// The scalars that moved together with those it compares. Few instructions have any.
    pub linked: Option<Box<LinkedRegs>>,
}

/// How a path came where it is since the last state that was kept on it.
///
/// Linux: the part of `struct bpf_verifier_state` that is about its place among others.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// The state kept last on this path.
    pub(super) parent: Option<KeptId>,
    /// The steps that are not simply to the next instruction, and those with more to remember.
    /// Linux: `jmp_history`.
    pub(super) steps: Vec<Step>,
    /// The first instruction after the parent. Linux: `first_insn_idx`.
    pub(super) first: Pc,
    /// The instruction walked last. Linux: `last_insn_idx`.
    pub(super) last: Option<Pc>,
    /// How many states were kept on this path. Linux: `dfs_depth`.
    pub(super) depth: u32,
}

impl Track {
    /// A path that begins at `first`.
    pub(super) const fn starting(first: Pc) -> Self {
        Self { parent: None, steps: Vec::new(), first, last: None, depth: 0 }
    }

    /// How many bytes its steps take.
    pub(super) fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>()
    }

    /// The instruction walked before the one at `pc`, and how many steps lead to it, `steps`
    /// being those that lead to `pc`. `None` if the path began at `pc`.
    ///
    /// Linux: `get_prev_insn_idx`.
    pub(super) fn before(&self, pc: Pc, steps: usize) -> Option<(Option<Pc>, usize)> {
        let last = steps.checked_sub(1).and_then(|last| self.steps.get(last));
        if pc == self.first {
            match last {
                None => return None,
                Some(step) if steps == 1 && step.pc == pc => return None,
                Some(_) => {}
            }
        }
        match last {
            Some(step) if step.pc == pc => Some((step.prev, steps - 1)),
            Some(_) | None => Some((pc.offset(-1), steps)),
        }
    }

    /// What is remembered of the instruction at `pc`, `steps` being those that lead to it.
    ///
    /// Linux: `get_jmp_hist_entry`.
    pub(super) fn step_at(&self, pc: Pc, steps: usize) -> Option<&Step> {
        self.steps.get(steps.checked_sub(1)?).filter(|step| step.pc == pc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(pc: u32, prev: u32) -> Step {
        Step {
            pc: Pc(pc),
            prev: Some(Pc(prev)),
            stack: None,
            stack_operands: StackOperands::empty(),
            linked: None,
        }
    }

    #[test]
    fn a_path_is_read_backwards_over_its_jumps() {
        let mut track = Track::starting(Pc(2));
        track.steps = vec![step(7, 3), step(2, 8)];
        let mut at = (Pc(3), track.steps.len());
        let mut seen = vec![at.0.0];
        while let Some((Some(pc), steps)) = track.before(at.0, at.1) {
            at = (pc, steps);
            seen.push(pc.0);
        }
        assert_eq!(seen, [3, 2, 8, 7, 3, 2]);
    }
}
