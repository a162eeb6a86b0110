//! From path to path.
//!
//! One path is walked at a time, instruction by instruction, changing one [`State`]. A
//! conditional jump puts one side aside ([`StepCx::push_branch`]); when a path ends, the branch
//! put aside last is taken up. At certain instructions the state is compared with those that
//! came there before; if one of them was at least as general, the path ends there.
//!
//! What the rules see of this room are the methods on [`StepCx`] in `services`.

mod error;
mod kept;
mod history;
mod services;
mod visited;
mod subsumes;
mod precise;
mod backtrack;
mod loops;

use bpf_isa::{Insn, Pc};

use crate::cx::{Next, StepCx};
use crate::env::Env;
use crate::error::Reason;
use crate::log::{LogMark, Show};
use crate::program;
use crate::state::{IdMap, State};

use history::Track;
use kept::{Kept, KeptId};
use loops::{Exiting, Loops};
use visited::Visit;

pub use error::WalkError;
pub use history::{StackOperands, StackTouch, Step};

/// Walks one instruction: the rules' front door.
pub type StepFn = fn(&mut StepCx<'_, '_>, Insn) -> Result<Next, Reason>;

/// The current path's record, the branches that wait, and the states that were kept.
#[derive(Debug)]
pub struct Paths {
    /// How the current path came here since its last kept state.
    track: Track,
    /// Whether the current instruction is in the record already. Linux: `cur_hist_ent`.
    recorded: bool,
    /// The instruction walked before the current one.
    prev_pc: Option<Pc>,
    /// Branches still to be walked; the last first.
    pending: Vec<Pending>,
    /// How many bytes they took when they were put aside.
    pending_bytes: usize,
    kept: Kept,
    loops: Loops,
    ids: IdMap,
    /// Jumps, calls and exits walked. Linux: `jmps_processed`.
    jumps: u32,
    /// Jumps walked when a state was kept last.
    jumps_when_kept: u32,
    /// Instructions walked when a state was kept last.
    insns_when_kept: u32,
}

/// A branch still to be walked.
///
/// Linux: `struct bpf_verifier_stack_elem`.
#[derive(Debug)]
struct Pending {
    state: State,
    track: Track,
    pc: Pc,
    prev_pc: Pc,
    mark: LogMark,
    /// How many bytes it took when it was put aside.
    bytes: usize,
}

/// Where a path is refused.
#[derive(Debug)]
pub struct Refused {
    /// The instruction.
    pub at: Pc,
    /// Why.
    pub reason: Reason,
}

impl Paths {
    /// No path yet, for a program of `len` slots.
    pub fn new(len: usize) -> Self {
        Self {
            track: Track::starting(Pc(0)),
            recorded: false,
            prev_pc: None,
            pending: Vec::new(),
            pending_bytes: 0,
            kept: Kept::new(len),
            loops: Loops::default(),
            ids: IdMap::default(),
            jumps: 0,
            jumps_when_kept: 0,
            insns_when_kept: 0,
        }
    }

    /// Walks all paths from `start`, where `state` holds.
    ///
    /// Linux: `do_check`.
    ///
    /// # Errors
    ///
    /// Returns the first instruction that is refused on the first path that meets one.
    pub fn walk(
        &mut self,
        env: &mut Env<'_>,
        start: Pc,
        state: State,
        step: StepFn,
    ) -> Result<(), Refused> {
        self.track = Track::starting(start);
        if let Some(tracer) = &mut env.tracer {
            tracer.begin();
        }
        let mut walk = Walk { env, paths: self, state, pc: start, prev: None, show: false, step };
        let result = walk.run();
        let at = walk.pc;
        result.map_err(|reason| Refused { at, reason })?;
        self.pending.clear();
        self.pending_bytes = 0;
        self.kept.clear();
        self.loops.clear();
        Ok(())
    }

    /// The current instruction's entry in the path's record, made if it is not there.
    ///
    /// Linux: `push_jmp_history`.
    fn record(&mut self, pc: Pc) -> &mut Step {
        if !self.recorded {
            self.track.steps.push(Step {
                pc,
                prev: self.prev_pc,
                stack: None,
                stack_operands: StackOperands::empty(),
                linked: None,
            });
            self.recorded = true;
        }
        self.track.steps.last_mut().expect("just pushed")
    }

    /// Linux: `update_peak_states`.
    fn count_states(&self, env: &mut Env<'_>) {
        let now = self.kept.findable + self.kept.lingering + self.loops.backedges;
        env.counts.peak_states = env.counts.peak_states.max(now);
        self.count_bytes(env);
    }

    /// Notes how much memory kept states and branches put aside take now, if that is most.
    fn count_bytes(&self, env: &mut Env<'_>) {
        let now = self.kept.bytes + self.pending_bytes;
        env.counts.peak_state_bytes = env.counts.peak_state_bytes.max(now);
    }

    /// Drops a kept state that nothing needs any more. What a back edge may lead to stays.
    ///
    /// Linux: `maybe_free_verifier_state`.
    fn drop_if_over(&mut self, env: &Env<'_>, id: KeptId) {
        let kept = self.kept.get(id);
        if !self.loops.is_open(env, &kept.state, kept.pc) {
            self.kept.drop_if_over(id);
        }
    }

    /// The current path has ended, and with it perhaps all paths from the states it came by.
    ///
    /// Linux: `update_branch_counts`.
    fn end_path(&mut self, env: &mut Env<'_>, state: &State, pc: Pc) -> Result<(), Reason> {
        self.loops.exit(env, &mut self.kept, Exiting::Current(state, pc))?;
        let mut at = self.track.parent;
        while let Some(id) = at {
            let kept = self.kept.get_mut(id);
            kept.branches -= 1;
            if kept.branches > 0 {
                break;
            }
            let parent = kept.track.parent;
            self.loops.exit(env, &mut self.kept, Exiting::Kept(id))?;
            self.drop_if_over(env, id);
            at = parent;
        }
        if self.loops.backedges == 0 {
            self.kept.sweep();
        }
        Ok(())
    }
}

/// A walk, between two instructions.
struct Walk<'w, 'e> {
    env: &'w mut Env<'e>,
    paths: &'w mut Paths,
    state: State,
    pc: Pc,
    /// The instruction walked before.
    prev: Option<Pc>,
    /// Whether the whole state is to be shown before the next instruction.
    show: bool,
    step: StepFn,
}

/// Whether a path goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    GoesOn,
    Ended,
}

impl Walk<'_, '_> {
    fn run(&mut self) -> Result<(), Reason> {
        loop {
            if self.walk_insn()? == Path::Ended && !self.next_path()? {
                return Ok(());
            }
        }
    }

    /// Walks the instruction at `pc`, unless the state was covered before.
    fn walk_insn(&mut self) -> Result<Path, Reason> {
        self.paths.recorded = false;
        self.paths.prev_pc = self.prev;
        let len = self.env.program.len();
        let Some(insn) = self.env.insn(self.pc) else {
            return Err(WalkError::OutOfProgram { pc: self.pc, len }.into());
        };
        self.count_insn()?;
        self.paths.track.last = self.prev;
        if self.env.note(self.pc).prune_point
            && self.paths.visit(self.env, &mut self.state, self.pc)? == Visit::Covered
        {
            self.print_safe();
            return Ok(Path::Ended);
        }
        if self.env.note(self.pc).jump_point {
            self.paths.record(self.pc);
        }
        if let Some(tracer) = &mut self.env.tracer {
            tracer.step(self.pc, &self.state);
        }
        self.print_before();
        program::check_walking(self.env, &self.state, self.pc)?;
        self.prev = Some(self.pc);
        self.env.note_mut(self.pc).seen = true;
        self.env.begin_stack_writes(&self.state, self.pc);
        if matches!(
            insn,
            Insn::Jump { .. }
                | Insn::JumpIf { .. }
                | Insn::MayGoto { .. }
                | Insn::Call(_)
                | Insn::Exit
        ) {
            self.paths.jumps += 1;
        }
        let mut cx = StepCx {
            env: &mut *self.env,
            state: &mut self.state,
            paths: &mut *self.paths,
            pc: self.pc,
        };
        let depth = cx.state.depth();
        let next = (self.step)(&mut cx, insn)?;
        if self.state.depth() != depth {
            self.env.stack_chain_changed();
        }
        if self.state.depth() > depth {
            self.env.scratched.all();
        }
        self.env.end_stack_writes();
        match next {
            Next::Fallthrough => self.pc = Pc(self.pc.0 + 1),
            Next::Jump(to) => self.pc = to,
            Next::Return(to) => {
                self.pc = to;
                self.show = true;
            }
            Next::Done => return Ok(Path::Ended),
        }
        Ok(Path::GoesOn)
    }

    fn count_insn(&mut self) -> Result<(), Reason> {
        let counts = &mut self.env.counts;
        counts.insns += 1;
        if counts.insns > self.env.options.max_insns {
            return Err(WalkError::TooManyInsns { processed: counts.insns }.into());
        }
        if counts.peak_state_bytes > self.env.options.max_state_bytes {
            let most = self.env.options.max_state_bytes;
            return Err(WalkError::TooMuchMemory { most }.into());
        }
        if counts.insns.is_multiple_of(1024)
            && self.env.options.cancel.as_ref().is_some_and(crate::Cancel::is_set)
        {
            return Err(WalkError::Cancelled.into());
        }
        Ok(())
    }

    /// Takes up the branch that was put aside last; says whether there was one.
    ///
    /// Linux: `process_bpf_exit` in `do_check`, `pop_stack`.
    fn next_path(&mut self) -> Result<bool, Reason> {
        self.env.scratched.all();
        self.paths.end_path(self.env, &self.state, self.pc)?;
        self.env.update_live_stack(&self.state);
        let Some(pending) = self.paths.pending.pop() else { return Ok(false) };
        self.paths.pending_bytes -= pending.bytes;
        if !self.env.log.shows_everything() {
            self.env.log.rewind(pending.mark);
        }
        if let Some(tracer) = &mut self.env.tracer {
            tracer.take_up();
        }
        self.state = pending.state;
        self.env.stack_chain_changed();
        self.paths.track = pending.track;
        self.pc = pending.pc;
        self.prev = Some(pending.prev_pc);
        self.show = true;
        Ok(true)
    }

    fn print_safe(&mut self) {
        if !self.env.log.shows_paths() {
            return;
        }
        let pc = self.pc;
        match self.prev.filter(|_| self.show) {
            Some(prev) => self.env.log.print(format_args!("\nfrom {prev} to {pc}: safe\n")),
            None => self.env.log.print(format_args!("{pc}: safe\n")),
        }
    }

    /// Shows the state, if it is not simply what the last instruction left, and the instruction.
    fn print_before(&mut self) {
        let pc = self.pc;
        if self.env.log.shows_everything()
            && self.show
            && let Some(prev) = self.prev
        {
            self.env.log.print(format_args!("\nfrom {prev} to {pc}:"));
            self.env.print_state(&self.state, self.state.depth(), Show::All);
            self.show = false;
        }
        if self.env.log.shows_paths() {
            if !self.env.scratched.is_clear() {
                self.env.print_insn_state(&self.state, pc);
            }
            self.env.print_source(pc);
            self.env.print_insn_line(pc);
        }
    }
}
