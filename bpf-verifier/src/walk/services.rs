//! What the walk does for the rules: methods on [`StepCx`].

use bpf_abi::limits::MAX_PENDING_BRANCHES;
use bpf_isa::{Pc, Reg};
use smallvec::SmallVec;

use crate::cx::StepCx;
use crate::error::Reason;
use crate::log::Show;
use crate::state::{FrameNo, FrameRole, Id, LinkedRegs, SlotNo, State, SubprogId, Value};
use crate::walk::backtrack::Wanted;
use crate::walk::history::Track;
use crate::walk::kept::frame_pc;
use crate::walk::subsumes::widen;
use crate::walk::{Paths, Pending, StackOperands, StackTouch, WalkError, precise};

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
        let jumps = self.paths.pending.len() + 1;
        if jumps > MAX_PENDING_BRANCHES {
            return Err(WalkError::TooManyBranches { jumps }.into());
        }
        if let Some(parent) = self.paths.track.parent {
            self.paths.kept.get_mut(parent).branches += 1;
        }
        let (state, track) = (self.state.clone(), self.paths.track.clone());
        Ok(self.push(state, track, to))
    }

    fn push(&mut self, state: State, track: Track, to: Pc) -> &mut State {
        let mark = self.env.log.mark();
        let bytes = state.bytes() + track.bytes();
        let branch = Pending { state, track, pc: to, prev_pc: self.pc, mark, bytes };
        if let Some(tracer) = &mut self.env.tracer {
            tracer.put_aside();
        }
        self.paths.pending_bytes += bytes;
        self.paths.count_bytes(self.env);
        &mut self.paths.pending.push_mut(branch).state
    }

    /// Puts aside the next round of a loop that this instruction closes or continues: like
    /// [`push_branch`](Self::push_branch), but scalars that differ from those of the round
    /// before, and that no conclusion was drawn from, become unknown.
    ///
    /// Linux: `push_stack` and `widen_imprecise_scalars`, in `process_iter_next_call` and for
    /// `may_goto`.
    ///
    /// # Errors
    ///
    /// Returns an error if too many branches wait, or the instruction is not one before which
    /// states are kept.
    pub fn push_round(&mut self, to: Pc) -> Result<&mut State, Reason> {
        let parent = self.paths.track.parent.map(|parent| self.paths.kept.get(parent));
        let Some(parent) = parent.filter(|parent| parent.pc == self.pc) else {
            return Err(WalkError::Bug { what: "bad parent state for iter next call" }.into());
        };
        let depth = parent.track.depth;
        let previous = self.paths.previous_round(self.state, self.pc, depth);
        if self.paths.pending.len() >= MAX_PENDING_BRANCHES {
            let jumps = self.paths.pending.len() + 1;
            return Err(WalkError::TooManyRounds { jumps }.into());
        }
        self.push_branch(to)?;
        let Paths { pending, kept, ids, .. } = &mut *self.paths;
        let Some(branch) = pending.last_mut() else {
            return Err(WalkError::Bug { what: "no branch" }.into());
        };
        if let Some(previous) = previous {
            widen(self.env, ids, &kept.get(previous).state, &mut branch.state);
        }
        Ok(&mut branch.state)
    }

    /// Puts aside the round of a `may_goto` loop that goes on; the current path leaves it.
    ///
    /// Linux: the `BPF_JCOND` of `check_cond_jmp_op`.
    ///
    /// # Errors
    ///
    /// Returns an error if too many branches wait.
    pub fn push_may_goto(&mut self) -> Result<(), Reason> {
        let round = self.push_round(Pc(self.pc.0 + 1))?;
        round.may_goto_depth += 1;
        Ok(())
    }

    /// The branch that was put aside last.
    ///
    /// # Panics
    ///
    /// If none was put aside.
    pub fn pushed_branch(&mut self) -> &mut State {
        &mut self.paths.pending.last_mut().expect("called after a push").state
    }

    /// A callback has returned to the call at `to`, which may call it again: scalars that differ
    /// from those of the round before, and that no conclusion was drawn from, become unknown.
    ///
    /// Linux: `widen_imprecise_scalars`, in `prepare_func_exit`.
    pub fn widen_callback(&mut self, to: Pc) {
        let depth = self.paths.track.depth;
        if let Some(previous) = self.paths.previous_round(self.state, to, depth) {
            let old = &self.paths.kept.get(previous).state;
            widen(self.env, &mut self.paths.ids, old, self.state);
        }
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
        state.cur_mut().async_entries = self.state.cur().async_entries + 1;
        self.env.scratched.all();
        let jumps = self.paths.pending.len() + 1;
        if jumps > MAX_PENDING_BRANCHES {
            return Err(WalkError::TooManyAsync { jumps }.into());
        }
        Ok(self.push(state, Track::starting(Pc(0)), start))
    }

    /// A conclusion was drawn from the exact value of a register of the innermost frame: what
    /// it was computed from must be precise in all states on the way here.
    ///
    /// Linux: `mark_chain_precision`.
    ///
    /// # Errors
    ///
    /// Returns an error if the register holds no scalar, or the path's record does not lead
    /// back.
    pub fn mark_precise(&mut self, reg: Reg) -> Result<(), Reason> {
        if !matches!(self.state.reg(reg), Some(Value::Scalar(_))) {
            return Err(WalkError::Bug { what: "backtracking misuse" }.into());
        }
        let from = precise::here(self.state, &self.paths.track, self.pc);
        let mut wanted = Wanted::none(from.frame);
        wanted.want_reg(from.frame, reg);
        precise::mark(self.env, &mut self.paths.kept, &from, wanted)?;
        Ok(())
    }

    /// A conclusion was drawn from the exact value of a scalar spilled to a frame's stack.
    ///
    /// Linux: `mark_chain_precision_batch`, in `get_constant_map_key`.
    ///
    /// # Errors
    ///
    /// Returns an error if the path's record does not lead back.
    pub fn mark_slot_precise(&mut self, frame: FrameNo, slot: SlotNo) -> Result<(), Reason> {
        let from = precise::here(self.state, &self.paths.track, self.pc);
        let mut wanted = Wanted::none(from.frame);
        wanted.want_slot(frame, slot);
        precise::mark(self.env, &mut self.paths.kept, &from, wanted)?;
        Ok(())
    }

    /// The instruction touched a slot: goes into the path's record.
    ///
    /// Linux: `push_jmp_history` with `insn_stack_access_flags`.
    pub fn record_stack(&mut self, frame: FrameNo, slot: SlotNo) {
        self.paths.record(self.pc).stack = Some(StackTouch { frame, slot });
    }

    /// Adds to `linked` the places that hold members of group `id`.
    ///
    /// Linux: `collect_linked_regs`.
    pub fn collect_linked(&mut self, linked: &mut LinkedRegs, id: Id) {
        let mut live: SmallVec<[u16; 8]> = SmallVec::new();
        for frame in self.state.frames() {
            live.push(self.env.note(frame_pc(self.state, self.pc, frame.number)).live_regs);
        }
        linked.collect(self.state, |frame| live[frame.index()], id);
    }

    /// The instruction compared these linked scalars: goes into the path's record.
    ///
    /// Linux: `push_jmp_history` with `linked_regs_pack`.
    pub fn record_linked(&mut self, linked: LinkedRegs) {
        self.paths.record(self.pc).linked = Some(Box::new(linked));
    }

    /// The instruction compared stack pointers: goes into the path's record.
    pub fn record_stack_operands(&mut self, operands: StackOperands) {
        self.paths.record(self.pc).stack_operands |= operands;
    }

    /// Shows what the instruction touched, in the log, as it is now.
    ///
    /// Linux: `print_insn_state`, in `check_cond_jmp_op`.
    pub fn print_insn_state(&mut self) {
        if self.env.log.shows_paths() {
            self.env.print_insn_state(self.state, self.pc);
        }
    }

    /// Shows a whole frame in the log, and ends the line.
    ///
    /// Linux: `print_verifier_state`.
    pub fn print_frame(&mut self, frame: FrameNo) {
        if self.env.log.shows_paths() {
            self.env.print_state(self.state, frame, Show::All);
        }
    }

    /// The instruction reads slots of a frame's stack (a bit each): they were live before it.
    ///
    /// Linux: `bpf_mark_stack_read`.
    pub fn mark_stack_read(&mut self, frame: FrameNo, slots: u64) {
        self.env.mark_stack_read(self.state, self.pc, frame, slots);
    }

    /// The instruction overwrites whole slots of a frame's stack (a bit each) on every path.
    ///
    /// Linux: `bpf_mark_stack_write`.
    pub fn mark_stack_written(&mut self, frame: FrameNo, slots: u64) {
        self.env.mark_stack_written(frame, slots);
    }

    /// A function is about to be left: what was found about its stack is carried backwards.
    ///
    /// Linux: `bpf_update_live_stack`.
    pub fn leaving_function(&mut self) {
        self.env.update_live_stack(self.state);
    }

    /// The instruction touches the stack at `off`: if spills around calls that clobber little
    /// use that part of the stack, and this is not one of them, they must stay.
    ///
    /// Linux: `check_fastcall_stack_contract`.
    pub fn check_fastcall(&mut self, off: i32) {
        let id = self.state.cur().subprog;
        let is_spill = self.env.note(self.pc).fastcall_pattern;
        let subprog = self.env.subprog_mut(id);
        if subprog.fastcall_stack_off <= off || is_spill {
            return;
        }
        subprog.fastcall_stack_off = i32::from(i16::MIN);
        let (start, end) = (subprog.start.0, subprog.end.0);
        for pc in (start..end).map(Pc) {
            let note = self.env.note_mut(pc);
            note.fastcall_pattern = false;
            note.fastcall_spills = 0;
        }
    }
}
