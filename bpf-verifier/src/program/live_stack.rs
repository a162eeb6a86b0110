//! Stack slots that a later instruction may read.
//!
//! What an instruction reads and writes of stacks is only found by walking it: pointers to a
//! caller's stack are passed around. So the walk reports it as it goes, and this room carries it
//! backwards whenever a path ends.
//!
//! A function may be entered by different chains of calls, and a pointer argument points to
//! another frame each time, so marks are kept by [`Chain`]: each chain of calls has an *instance*
//! of the function, with two facts per instruction and frame of the chain,
//!
//! - `may_read`, the slots that it reads on some path so far (a union),
//! - `must_write`, the slots that it overwrites on every path so far (an intersection),
//!
//! and two conclusions, the least solution of
//!
//! ```text
//!   live(i)    = may_read(i) ∪ (⋃ live(next) − must_write(i))
//!   written(i) = must_write(i) ∪ ⋂ written(next)
//! ```
//!
//! over the flow of the function. What is live and written at its first instruction is then read
//! and written by the call in the caller's instance. A slot that is not live is not read on any
//! path walked so far from there; since every path from a kept state has been walked before that
//! state is compared with another, states that differ only in such slots are the same.

use std::fmt;

use bpf_abi::limits::MAX_CALL_FRAMES;
use bpf_isa::Pc;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::env::Env;
use crate::log::Log;
use crate::program::flow::Flow;
use crate::state::{FrameNo, SlotNo, State, SubprogId};

/// A chain of calls: the calls, then the function that the last one enters.
///
/// `Display` is as in the log: `(12,30)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Chain {
    calls: SmallVec<[Pc; MAX_CALL_FRAMES]>,
    subprogs: SmallVec<[SubprogId; MAX_CALL_FRAMES]>,
    start: Pc,
}

impl Chain {
    /// The chain of the frames of `state` up to `depth`. Linux: `compute_callchain`.
    fn of(env: &Env<'_>, state: &State, depth: usize) -> Self {
        let frames = &state.frames()[..=depth];
        let start = frames.last().map_or(Pc(0), |frame| env.subprog(frame.subprog).start);
        Self {
            calls: frames.iter().skip(1).filter_map(|frame| frame.callsite).collect(),
            subprogs: frames.iter().map(|frame| frame.subprog).collect(),
            start,
        }
    }

    /// How many frames it has before the last.
    fn depth(&self) -> usize {
        self.subprogs.len() - 1
    }

    fn subprog(&self) -> usize {
        self.subprogs.last().map_or(0, |subprog| subprog.index())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for call in &self.calls {
            write!(f, "{call},")?;
        }
        write!(f, "{})", self.start)
    }
}

/// Sets of slots of one frame's stack, a bit each, at one instruction.
///
/// Linux: `struct per_frame_masks`.
#[derive(Clone, Copy, Debug, Default)]
struct Masks {
    may_read: u64,
    must_write: u64,
    /// Linux: `must_write_acc`.
    written: u64,
    /// Linux: `live_before`.
    live: u64,
}

/// A function, entered by one chain of calls.
///
/// Linux: `struct func_instance`.
#[derive(Debug)]
struct Instance {
    chain: Chain,
    /// The instance that calls it.
    caller: Option<usize>,
    /// One for each frame of the chain whose stack was touched; in it, one for each slot of the
    /// program from the function's first.
    frames: [Option<Box<[Masks]>>; MAX_CALL_FRAMES],
    /// Which instructions have reported what they write.
    reported: Box<[bool]>,
    /// Whether something was reported that the conclusions do not know of.
    updated: bool,
    /// Whether something turned out not to be written on every path.
    must_write_dropped: bool,
}

impl Instance {
    fn at(&self, pc: Pc) -> usize {
        (pc.0 - self.chain.start.0) as usize
    }

    fn masks(&self, frame: usize, pc: Pc) -> Option<&Masks> {
        self.frames[frame].as_ref().map(|masks| &masks[self.at(pc)])
    }

    fn masks_mut(&mut self, frame: usize, pc: Pc) -> &mut Masks {
        let at = self.at(pc);
        let len = self.reported.len();
        let masks = self.frames[frame].get_or_insert_with(|| vec![Masks::default(); len].into());
        &mut masks[at]
    }

    /// Linux: `mark_stack_read`.
    fn mark_read(&mut self, frame: usize, pc: Pc, slots: u64) {
        let masks = self.masks_mut(frame, pc);
        let new = slots & !masks.may_read;
        masks.may_read |= slots;
        let is_news = new != 0 && masks.may_read & !masks.live != 0;
        self.updated |= is_news;
    }

    /// What was written at `pc`, by frame. Linux: `commit_stack_write_marks`.
    fn mark_written(&mut self, pc: Pc, slots: &[u64; MAX_CALL_FRAMES]) {
        let at = self.at(pc);
        let is_first = !self.reported[at];
        let frames = self.chain.depth() + 1;
        for (frame, &slots) in slots.iter().enumerate().take(frames) {
            if slots == 0 && is_first {
                continue;
            }
            let masks = self.masks_mut(frame, pc);
            let old = masks.must_write;
            let new = if is_first { slots } else { slots & old };
            masks.must_write = new;
            self.updated |= new != old;
            self.must_write_dropped |= old & !new != 0;
        }
        self.reported[at] = true;
    }
}

/// What is known of the stack's liveness.
///
/// Linux: `struct bpf_liveness`.
#[derive(Debug, Default)]
pub struct LiveStack {
    instances: Vec<Instance>,
    by_chain: HashMap<Chain, usize>,
    /// Of those, the instances of functions that nothing called, by the function.
    outermost: Vec<Option<usize>>,
    /// The instance of the function being walked, while it is.
    current: Option<usize>,
    /// What the instruction being walked was found to write, by frame.
    writes: [u64; MAX_CALL_FRAMES],
    /// That instruction.
    pc: Pc,
}

impl LiveStack {
    /// The place of the instance for the frames of `state` up to `depth`, made if there is none.
    ///
    /// Linux: `lookup_instance`.
    fn instance(&mut self, env: &Env<'_>, state: &State, depth: usize) -> usize {
        let root = state.frames().first().map_or(0, |frame| frame.subprog.index());
        if depth == 0
            && let Some(Some(known)) = self.outermost.get(root)
        {
            return *known;
        }
        let chain = Chain::of(env, state, depth);
        if let Some(&known) = self.by_chain.get(&chain) {
            return known;
        }
        let caller = depth.checked_sub(1).map(|depth| self.instance(env, state, depth));
        let subprog = &env.subprogs[chain.subprog()];
        let len = (subprog.end.0 - subprog.start.0) as usize;
        let place = self.instances.len();
        if depth == 0 {
            self.outermost.resize(env.subprogs.len(), None);
            self.outermost[root] = Some(place);
        }
        self.by_chain.insert(chain.clone(), place);
        self.instances.push(Instance {
            chain,
            caller,
            frames: [const { None }; MAX_CALL_FRAMES],
            reported: vec![false; len].into(),
            updated: false,
            must_write_dropped: false,
        });
        place
    }
}

/// What the walk calls. The room is taken out of [`Env`] for the time of a call that reads both.
impl Env<'_> {
    /// The place of the instance of the function being walked. Linux: `ensure_cur_instance`.
    fn current_instance(&mut self, state: &State) -> usize {
        if let Some(current) = self.live_stack.current {
            return current;
        }
        let mut live = std::mem::take(&mut self.live_stack);
        let current = live.instance(self, state, state.depth().index());
        live.current = Some(current);
        self.live_stack = live;
        current
    }

    /// The function being walked changes: by a call, a return, or another path.
    ///
    /// Linux: `bpf_reset_live_stack_callchain`.
    pub fn stack_chain_changed(&mut self) {
        self.live_stack.current = None;
    }

    /// The instruction at `pc` is about to be walked.
    ///
    /// Linux: `bpf_reset_stack_write_marks`.
    pub fn begin_stack_writes(&mut self, state: &State, pc: Pc) {
        self.current_instance(state);
        self.live_stack.pc = pc;
        self.live_stack.writes = [0; MAX_CALL_FRAMES];
    }

    /// The instruction at `pc` reads slots of a frame's stack, a bit each.
    ///
    /// Linux: `bpf_mark_stack_read`.
    pub fn mark_stack_read(&mut self, state: &State, pc: Pc, frame: FrameNo, slots: u64) {
        let current = self.current_instance(state);
        self.live_stack.instances[current].mark_read(frame.index(), pc, slots);
    }

    /// The instruction being walked overwrites slots of a frame's stack, a bit each.
    ///
    /// Linux: `bpf_mark_stack_write`.
    pub fn mark_stack_written(&mut self, frame: FrameNo, slots: u64) {
        self.live_stack.writes[frame.index()] |= slots;
    }

    /// The instruction was walked. If it was a call or a return, it counts for the function it
    /// was in, unless [`stack_chain_changed`](Self::stack_chain_changed) was called since.
    ///
    /// Linux: `bpf_commit_stack_write_marks`.
    pub fn end_stack_writes(&mut self) {
        let live = &mut self.live_stack;
        if let Some(current) = live.current {
            live.instances[current].mark_written(live.pc, &live.writes);
        }
    }

    /// A function is about to be left, or another path is taken up: what was reported of the
    /// functions on the way here is carried backwards, from the innermost on.
    ///
    /// Linux: `bpf_update_live_stack`.
    pub fn update_live_stack(&mut self, state: &State) {
        let mut live = std::mem::take(&mut self.live_stack);
        live.current = None;
        for depth in (0..state.frames().len()).rev() {
            let place = live.instance(self, state, depth);
            if !live.instances[place].updated {
                continue;
            }
            live.update(self, place);
            let instance = &mut live.instances[place];
            instance.updated = false;
            instance.must_write_dropped = false;
        }
        self.live_stack = live;
    }

    /// Makes ready to ask which slots are live in `state` before `pc`.
    ///
    /// Linux: `bpf_live_stack_query_init`.
    pub fn query_live_stack(&mut self, state: &State, pc: Pc) -> SlotsQuery {
        let mut live = std::mem::take(&mut self.live_stack);
        let mut points = SmallVec::new();
        for depth in 0..state.frames().len() {
            let place = live.instance(self, state, depth);
            let at = match state.frames().get(depth + 1).and_then(|inner| inner.callsite) {
                None => pc,
                Some(call) if self.note(call).calls_callback => call,
                Some(call) => Pc(call.0 + 1),
            };
            points.push((place, at));
        }
        self.live_stack = live;
        SlotsQuery { points }
    }

    /// The slots of a frame's stack that may still be read, a bit each.
    ///
    /// A slot is live if the function in the innermost frame may read it from here on, or one
    /// between that and its own after the call it is in (before, if it may call again).
    ///
    /// Linux: `bpf_stack_slot_alive`, for all slots.
    pub fn live_slots(&self, query: &SlotsQuery, frame: FrameNo) -> u64 {
        let live = &self.live_stack;
        let points = query.points.iter().skip(frame.index());
        points.fold(0, |slots, (place, pc)| {
            let masks = live.instances[*place].masks(frame.index(), *pc);
            slots | masks.map_or(0, |masks| masks.live)
        })
    }
}

/// Where a state stands, in each of its frames.
#[derive(Clone, Debug)]
pub struct SlotsQuery {
    points: SmallVec<[(usize, Pc); 2]>,
}

impl LiveStack {
    /// Concludes from what was reported of an instance, and reports to its caller's.
    ///
    /// Linux: `update_instance`.
    fn update(&mut self, env: &mut Env<'_>, place: usize) {
        let instance = &mut self.instances[place];
        if instance.must_write_dropped {
            for masks in instance.frames.iter_mut().flatten().flatten() {
                masks.written = 0;
            }
        }
        let mut rounds = 0;
        let mut changed = true;
        while changed {
            rounds += 1;
            changed = false;
            for frame in 0..=instance.chain.depth() {
                if instance.frames[frame].is_none() {
                    continue;
                }
                for &pc in env.flow.postorder_of(instance.chain.subprog()) {
                    let shown = env.log.shows_everything().then_some(&mut env.log);
                    let always = pc == instance.chain.start || env.notes[pc.index()].prune_point;
                    changed |= instance.conclude(&env.flow, frame, pc, shown, always);
                }
            }
        }
        if env.log.shows_everything() {
            let chain = &instance.chain;
            env.log.print(format_args!("{chain} live stack update done in {rounds} iterations\n"));
        }
        self.report_to_caller(place);
    }

    /// What a function reads and writes of its callers' stacks, its call does.
    ///
    /// Linux: `propagate_to_outer_instance`.
    fn report_to_caller(&mut self, place: usize) {
        let instance = &self.instances[place];
        let (Some(caller), Some(&call)) = (instance.caller, instance.chain.calls.last()) else {
            return;
        };
        let mut writes = [0; MAX_CALL_FRAMES];
        let mut reads = [None; MAX_CALL_FRAMES];
        for frame in 0..instance.chain.depth() {
            if let Some(masks) = instance.masks(frame, instance.chain.start) {
                writes[frame] = masks.written;
                reads[frame] = Some(masks.live);
            }
        }
        let caller = &mut self.instances[caller];
        for (frame, slots) in reads.into_iter().enumerate() {
            if let Some(slots) = slots {
                caller.mark_read(frame, call, slots);
            }
        }
        caller.mark_written(call, &writes);
    }
}

impl Instance {
    /// Concludes for one instruction and one frame; says whether anything is new.
    ///
    /// Linux: `update_insn`.
    fn conclude(
        &mut self,
        flow: &Flow,
        frame: usize,
        pc: Pc,
        log: Option<&mut Log>,
        always: bool,
    ) -> bool {
        let successors = flow.successors(pc);
        if successors.is_empty() {
            return false;
        }
        let (mut after, mut written) = (0, u64::MAX);
        for next in successors.iter() {
            if let Some(masks) = self.masks(frame, next) {
                after |= masks.live;
                written &= masks.written;
            }
        }
        let old = *self.masks_mut(frame, pc);
        written |= old.must_write;
        let live = after & !old.must_write | old.may_read;
        if let Some(log) = log
            && (always || old.may_read != 0 || old.must_write != 0)
        {
            let place = format_args!("{} frame {frame} insn {pc} ", self.chain).to_string();
            show_change(log, &place, "live", old.live, live);
            show_change(log, &place, "written", old.written, written);
        }
        let masks = self.masks_mut(frame, pc);
        masks.live = live;
        masks.written = written;
        live != old.live || written != old.written
    }
}

/// Linux: `log_mask_change`.
fn show_change(log: &mut Log, place: &str, what: &str, old: u64, new: u64) {
    if old == new {
        return;
    }
    log.print(format_args!("{place}"));
    if new & !old != 0 {
        log.print(format_args!("+{what} {} ", Slots(new & !old)));
    }
    if old & !new != 0 {
        log.print(format_args!("-{what} {}", Slots(old & !new)));
    }
    log.print(format_args!("\n"));
}

/// A set of slots, as in the log: `-8,-16`. Linux: `bpf_fmt_stack_mask`.
struct Slots(u64);

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = (0..64).filter(|slot| self.0 & 1 << slot != 0);
        for (index, slot) in slots.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", SlotNo(slot).off())?;
        }
        Ok(())
    }
}
