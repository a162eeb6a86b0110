//! What the walk does for the rules: methods on [`StepCx`].

use bpf_abi::limits::MAX_PENDING_BRANCHES;
use bpf_isa::{Pc, Reg};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::state::{FrameNo, FrameRole, LinkedRegs, SlotNo, State, SubprogId};
use crate::walk::{Pending, StackOperands, StackTouch, Step, WalkError};

impl StepCx<'_, '_> {
    /// Puts a branch aside: a copy of the state, to be walked from `to` on when the paths before
    /// it are done. The copy is returned, to be changed as the branch demands.
    ///
    /// Linux: `push_stack`.
    ///
    /// # Errors
    ///
    /// Returns an error if too many branches wait.
    pub fn push_branch(&mut self, to: Pc) -> Result<&mut State, Reason> {
        let branch = Pending {
            state: self.state.clone(),
            track: self.paths.track.clone(),
            pc: to,
            prev_pc: self.pc,
            mark: self.env.log.mark(),
        };
        self.paths.pending.push(branch);
        if self.paths.pending.len() > MAX_PENDING_BRANCHES {
            return Err(WalkError::TooManyBranches { limit: MAX_PENDING_BRANCHES }.into());
        }
        let branch = self.paths.pending.last_mut().expect("just pushed");
        Ok(&mut branch.state)
    }

    /// Puts aside the walk of a function that a helper has called at another time: a new state
    /// with one frame, whose registers the caller sets.
    ///
    /// Linux: `push_async_cb`.
    ///
    /// # Errors
    ///
    /// Returns an error if too many branches wait.
    pub fn push_async(
        &mut self,
        subprog: SubprogId,
        sleepable: bool,
    ) -> Result<&mut State, Reason> {
        let start = self.env.subprog(subprog).start;
        let mut state = State::new(subprog);
        state.in_sleepable = sleepable;
        state.cur_mut().role = FrameRole::AsyncCallback;
        let branch = self.push_branch(start)?;
        *branch = state;
        Ok(branch)
    }

    /// A conclusion was drawn from the exact value of a register of the innermost frame: what
    /// it was computed from must be precise in all states on the way here.
    ///
    /// Nothing happens if it holds no scalar.
    ///
    /// Linux: `mark_chain_precision`.
    ///
    /// # Errors
    ///
    /// Returns an error if the path's record does not lead back.
    pub fn mark_precise(&mut self, reg: Reg) -> Result<(), Reason> {
        let _ = reg;
        Ok(())
    }

    /// The instruction touched a slot: goes into the path's record.
    ///
    /// Linux: `push_jmp_history` with `insn_stack_access_flags`.
    pub fn record_stack(&mut self, frame: FrameNo, slot: SlotNo) {
        self.record_step().stack = Some(StackTouch { frame, slot });
    }

    /// The instruction compared these linked scalars: goes into the path's record.
    ///
    /// Linux: `push_jmp_history` with `linked_regs_pack`.
    pub fn record_linked(&mut self, linked: LinkedRegs) {
        self.record_step().linked = linked;
    }

    /// The instruction compared stack pointers: goes into the path's record.
    pub fn record_stack_operands(&mut self, operands: StackOperands) {
        self.record_step().stack_operands |= operands;
    }

    fn record_step(&mut self) -> &mut Step {
        let paths = &mut *self.paths;
        if !paths.recorded {
            paths.track.steps.push(Step {
                pc: self.pc,
                prev: paths.prev_pc,
                stack: None,
                stack_operands: StackOperands::empty(),
                linked: LinkedRegs::default(),
            });
            paths.recorded = true;
        }
        paths.track.steps.last_mut().expect("just pushed")
    }

    /// The instruction reads slots of a frame's stack (a bit each): they were live before it.
    ///
    /// Linux: `bpf_mark_stack_read`.
    pub fn mark_stack_read(&mut self, frame: FrameNo, slots: u64) {
        let _ = (frame, slots);
    }

    /// The instruction writes whole slots of a frame's stack (a bit each) on every path.
    ///
    /// Linux: `bpf_mark_stack_write`.
    pub fn mark_stack_written(&mut self, frame: FrameNo, slots: u64) {
        let _ = (frame, slots);
    }
}
