//! States seen at an instruction before: keep the current one, end its path, or call it a loop.
//!
//! Linux: `is_state_visited`.

use bpf_abi::prog::ProgFlags;
use bpf_isa::{Insn, Pc, Reg};

use crate::env::Env;
use crate::error::Reason;
use crate::log::Show;
use crate::state::{FrameRole, Held, IterState, Keep, PointerKind, Slot, SlotNo, State, Value};
use crate::walk::history::Track;
use crate::walk::kept::{KeptId, KeptState, frame_pc, same_callsites};
use crate::walk::subsumes::{Exactness, iterators_advanced, maybe_looping, subsumes};
use crate::walk::{Paths, WalkError, precise};

/// What came of looking at the states seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// None covers the current one: its path goes on.
    GoOn,
    /// One does: the path ends here.
    Covered,
}

/// What comparing with one old state said.
enum Compared {
    /// The old state covers the current one.
    Hit(Covering),
    /// It does not; `after` says whether it may be of use another time.
    Miss,
}

/// How an old state covers the current one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covering {
    /// All paths from it have ended.
    Done,
    /// It is in a loop with the current one.
    InLoop,
}

impl Paths {
    /// Compares `state`, about to walk `pc`, with those that came there before, and perhaps
    /// keeps it for those that come later.
    pub(super) fn visit(
        &mut self,
        env: &mut Env<'_>,
        state: &mut State,
        pc: Pc,
    ) -> Result<Visit, Reason> {
        let note = env.note(pc);
        let force_checkpoint = note.force_checkpoint;
        let often = env.spec.flags.contains(ProgFlags::TEST_STATE_FREQ);
        let force = often || force_checkpoint || self.track.steps.len() > 40;
        let (jumps, insns) = self.since_kept(env);
        let mut add = force || (jumps >= 2 && insns >= 8);
        let bucket = self.kept.bucket_of(pc, state.cur().callsite);
        self.clean(env, state, pc, bucket);

        let mut count = 0;
        let candidates: smallvec::SmallVec<[KeptId; 8]> =
            self.kept.bucket(bucket).iter().rev().copied().collect();
        for id in candidates {
            count += 1;
            if self.kept.get(id).pc != pc {
                continue;
            }
            let unfinished = self.kept.get(id).branches > 0;
            match self.compare(env, state, pc, id)? {
                Compared::Hit(covering) => {
                    return self.covered(env, state, pc, id, covering);
                }
                Compared::Miss => {
                    if unfinished && !force && jumps < 20 && insns < 100 {
                        add = false;
                    }
                }
            }
            let old = self.kept.get_mut(id);
            if add {
                old.misses += 1;
            }
            let patience = if force_checkpoint && old.branches > 0 { 64 } else { 3 };
            if old.misses > old.hits * patience + patience {
                self.kept.evict(bucket, id);
                self.drop_if_over(env, id);
            }
        }
        env.counts.max_states_per_insn = env.counts.max_states_per_insn.max(count);
        if add {
            self.keep(env, state, pc, bucket);
        }
        Ok(Visit::GoOn)
    }

    /// How many jumps and instructions were walked since a state was kept last.
    fn since_kept(&self, env: &Env<'_>) -> (u32, u32) {
        (self.jumps - self.jumps_when_kept, env.counts.insns - self.insns_when_kept)
    }

    fn compare(
        &mut self,
        env: &mut Env<'_>,
        state: &State,
        pc: Pc,
        id: KeptId,
    ) -> Result<Compared, Reason> {
        let old = self.kept.get(id);
        let mut covers = |exact| subsumes(env, &mut self.ids, old, state, exact);
        if old.branches == 0 {
            let open = self.loops.is_open(env, &old.state, old.pc);
            return Ok(match open {
                true if covers(Exactness::RangeWithin) => Compared::Hit(Covering::InLoop),
                false if covers(Exactness::Covered) => Compared::Hit(Covering::Done),
                true | false => Compared::Miss,
            });
        }
        let (old_frame, cur_frame) = (old.state.cur(), state.cur());
        if old_frame.role == FrameRole::AsyncCallback
            && old_frame.async_entries != cur_frame.async_entries
        {
            return Ok(Compared::Miss);
        }
        let note = env.note(pc);
        if note.is_iter_next {
            let hit = covers(Exactness::RangeWithin) && iterator_is_active(state);
            return Ok(if hit { Compared::Hit(Covering::InLoop) } else { Compared::Miss });
        }
        if matches!(env.insn(pc), Some(Insn::MayGoto { .. }))
            && old.state.may_goto_depth != state.may_goto_depth
            && covers(Exactness::RangeWithin)
        {
            return Ok(Compared::Hit(Covering::InLoop));
        }
        if note.calls_callback {
            let hit = covers(Exactness::RangeWithin);
            return Ok(if hit { Compared::Hit(Covering::Done) } else { Compared::Miss });
        }
        if maybe_looping(&old.state, state)
            && covers(Exactness::Same)
            && !iterators_advanced(&old.state, state)
            && old.state.may_goto_depth == state.may_goto_depth
            && old.state.callback_unroll_depth == state.callback_unroll_depth
        {
            return Err(self.infinite_loop(env, state, pc, id));
        }
        Ok(Compared::Miss)
    }

    /// Says which states are the same.
    fn infinite_loop(&self, env: &mut Env<'_>, state: &State, pc: Pc, id: KeptId) -> Reason {
        env.print_source(pc);
        let depth = state.depth();
        let cur = env.state_text(state, depth, Show::All);
        let old = env.state_text(&self.kept.get(id).state, depth, Show::All);
        WalkError::InfiniteLoop { pc, cur, old }.into()
    }

    /// An old state covers the current one: what it depends on, the current path does too.
    fn covered(
        &mut self,
        env: &mut Env<'_>,
        state: &State,
        pc: Pc,
        id: KeptId,
        covering: Covering,
    ) -> Result<Visit, Reason> {
        self.kept.get_mut(id).hits += 1;
        if env.note(pc).jump_point {
            self.record(pc);
        }
        self.trace_cover(env, id);
        let from = precise::here(state, &self.track, pc);
        precise::propagate(env, &mut self.kept, id, &from)?;
        if covering == Covering::InLoop {
            let from = precise::here(state, &self.track, pc);
            self.loops.add_backedge(env, &self.kept, id, &from)?;
            self.count_states(env);
        }
        Ok(Visit::Covered)
    }

    /// Records that a kept state covers the current one, and what it does not hold of it.
    fn trace_cover(&self, env: &mut Env<'_>, id: KeptId) {
        let Some(mut tracer) = env.tracer.take() else { return };
        let old = self.kept.get(id);
        let live = |number| env.note(frame_pc(&old.state, old.pc, number)).live_regs;
        let live: Vec<u16> = old.state.frames().iter().map(|frame| live(frame.number)).collect();
        let exact = old.branches > 0 || self.loops.is_open(env, &old.state, old.pc);
        tracer.cover(id.index(), &old.state, &live, exact);
        env.tracer = Some(tracer);
    }

    /// Keeps the current state: a later one may be covered by it.
    fn keep(&mut self, env: &mut Env<'_>, state: &mut State, pc: Pc, bucket: usize) {
        env.counts.total_states += 1;
        self.jumps_when_kept = self.jumps;
        self.insns_when_kept = env.counts.insns;
        forget_precision(state);
        let mut track = Track::starting(pc);
        std::mem::swap(&mut track, &mut self.track);
        let depth = track.depth;
        let id = self.kept.add(
            bucket,
            KeptState {
                state: state.clone(),
                pc,
                track,
                branches: 1,
                hits: 0,
                misses: 0,
                evicted: false,
                cleaned: false,
            },
        );
        if let Some(tracer) = &mut env.tracer {
            tracer.keep(id.index());
        }
        self.loops.enter(env, state, pc, id);
        self.track.parent = Some(id);
        self.track.depth = depth + 1;
        self.count_states(env);
    }

    /// Takes out of finished states what no later instruction reads, so that more states are
    /// covered by them.
    ///
    /// Linux: `clean_live_states`.
    fn clean(&mut self, env: &mut Env<'_>, state: &State, pc: Pc, bucket: usize) {
        for place in (0..self.kept.bucket(bucket).len()).rev() {
            let id = self.kept.bucket(bucket)[place];
            let old = self.kept.get(id);
            if old.branches == 0
                && old.pc == pc
                && !old.cleaned
                && same_callsites(&old.state, state)
                && !self.loops.is_open(env, &old.state, old.pc)
            {
                clean_state(env, self.kept.get_mut(id));
            }
        }
    }

    /// The state that a later round of a loop is compared with when it is widened: the one kept
    /// last at `pc`, through the same calls, on the current path before `depth`.
    ///
    /// Linux: `find_prev_entry`.
    pub(super) fn previous_round(&self, state: &State, pc: Pc, depth: u32) -> Option<KeptId> {
        let bucket = self.kept.bucket_of(pc, state.cur().callsite);
        self.kept.bucket(bucket).iter().rev().copied().find(|id| {
            let old = self.kept.get(*id);
            old.pc == pc
                && old.branches > 0
                && old.track.depth < depth
                && same_callsites(&old.state, state)
        })
    }
}

/// Whether the iterator that R1 points to may have more. The state was found to be the same as
/// one in which it was checked.
fn iterator_is_active(state: &State) -> bool {
    let Some(Value::Pointer(pointer)) = state.reg(Reg::R1) else { return false };
    let PointerKind::Stack { frame } = pointer.kind else { return false };
    let off = pointer.constant_off().and_then(|off| i32::try_from(off).ok());
    let slot = off.and_then(SlotNo::at).and_then(|slot| state.frame(frame).stack.get(slot));
    matches!(slot.map(|slot| slot.held), Some(Held::Iter(iter)) if iter.state == IterState::Active)
}

/// Linux: `clean_verifier_state`.
fn clean_state(env: &mut Env<'_>, kept: &mut KeptState) {
    kept.cleaned = true;
    let slots = env.query_live_stack(&kept.state, kept.pc);
    for number in 0..kept.state.frames().len() {
        let frame = kept.state.frames()[number].number;
        let live = env.note(frame_pc(&kept.state, kept.pc, frame)).live_regs;
        let live_slots = env.live_slots(&slots, frame);
        let frame = kept.state.frame_mut(frame);
        for reg in Reg::ALL {
            if reg != Reg::FP && live & (1 << reg.number()) == 0 {
                frame.set(reg, None);
            }
        }
        for (place, slot) in frame.stack.slots_mut().iter_mut().enumerate() {
            if live_slots & (1 << place) == 0 {
                *slot = Slot::default();
            }
        }
    }
}

/// Marks what the current path inherited belong to the states before; the new one starts
/// without.
///
/// Linux: `mark_all_scalars_imprecise`.
fn forget_precision(state: &mut State) {
    state.for_each_value(|value| {
        if let Value::Scalar(number) = value {
            number.precise = false;
        }
        Keep::Yes
    });
}
