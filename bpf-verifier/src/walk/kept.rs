//! States that were kept, for later ones to be compared with.

use bpf_isa::Pc;

use crate::state::{Frame, FrameNo, State};
use crate::walk::history::Track;

/// A state that was kept, by its place in [`Kept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeptId(u32);

impl KeptId {
    /// As an index.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A state that was kept.
///
/// Linux: `struct bpf_verifier_state_list`.
#[derive(Debug)]
pub(super) struct KeptState {
    /// What was known.
    pub(super) state: State,
    /// The instruction it was kept before.
    pub(super) pc: Pc,
    /// How the path came there since the state kept before.
    pub(super) track: Track,
    /// How many paths from here have not come to their end.
    pub(super) branches: u32,
    /// How often a later state was found to be covered by it.
    pub(super) hits: u32,
    /// How often a later state was not.
    pub(super) misses: u32,
    /// Whether it is compared with no more, and goes when its paths have come to their end.
    /// Linux: `in_free_list`.
    pub(super) evicted: bool,
    /// Whether what no later instruction reads was taken out of it.
    pub(super) cleaned: bool,
}

impl KeptState {
    /// How many bytes it takes.
    fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<State>() + self.state.bytes() + self.track.bytes()
    }
}

/// All states that were kept.
///
/// They are found by instruction and call site, through as many buckets as the program has
/// slots; how many share a bucket is part of the statistics.
///
/// Linux: `explored_states`, `free_list`.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Places are not used again: what is gone must not be taken for something else.
    states: Vec<Option<Box<KeptState>>>,
    /// States that are over, but that a back edge of a loop may still lead to.
    over: Vec<KeptId>,
    /// In each bucket, the oldest first.
    buckets: Vec<Vec<KeptId>>,
    /// How many bytes all of them take.
    pub(super) bytes: usize,
    /// How many can be found. Linux: `explored_states_size`.
    pub(super) findable: u32,
    /// How many cannot be found any more, but are needed. Linux: `free_list_size`.
    pub(super) lingering: u32,
}

impl Kept {
    /// Nothing, for a program of `len` slots.
    pub(super) fn new(len: usize) -> Self {
        Self { buckets: vec![Vec::new(); len.max(1)], ..Self::default() }
    }

    /// The bucket of states before `pc` in a frame with this call site.
    ///
    /// Linux: `explored_state`; the main function's call site is -1.
    pub(super) fn bucket_of(&self, pc: Pc, callsite: Option<Pc>) -> usize {
        let key = pc.0 ^ callsite.map_or(u32::MAX, |site| site.0);
        usize::try_from(key).unwrap_or(0) % self.buckets.len()
    }

    /// The states in a bucket, the oldest first.
    pub(super) fn bucket(&self, bucket: usize) -> &[KeptId] {
        &self.buckets[bucket]
    }

    /// A state.
    pub(super) fn get(&self, id: KeptId) -> &KeptState {
        self.states[id.0 as usize].as_ref().expect("ids name states that are there")
    }

    /// A state, to be changed.
    pub(super) fn get_mut(&mut self, id: KeptId) -> &mut KeptState {
        self.states[id.0 as usize].as_mut().expect("ids name states that are there")
    }

    /// A state, if it is still there.
    pub(super) fn find(&self, id: KeptId) -> Option<&KeptState> {
        self.states.get(id.0 as usize)?.as_deref()
    }

    /// Keeps a state.
    pub(super) fn add(&mut self, bucket: usize, state: KeptState) -> KeptId {
        let id = KeptId(u32::try_from(self.states.len()).expect("fewer than instructions walked"));
        self.bytes += state.bytes();
        self.states.push(Some(Box::new(state)));
        self.buckets[bucket].push(id);
        self.findable += 1;
        id
    }

    /// Stops comparing with a state, which may [go](Self::drop_if_over) once its paths have ended.
    pub(super) fn evict(&mut self, bucket: usize, id: KeptId) {
        self.buckets[bucket].retain(|other| *other != id);
        self.get_mut(id).evicted = true;
        self.findable -= 1;
        self.lingering += 1;
    }

    /// Counts a state no more if it is over: compared with no more, and without paths to walk.
    /// The caller knows that no loop is open that it is in.
    ///
    /// Linux: `maybe_free_verifier_state`.
    pub(super) fn drop_if_over(&mut self, id: KeptId) {
        let kept = self.get(id);
        if kept.evicted && kept.branches == 0 {
            self.over.push(id);
            self.lingering -= 1;
        }
    }

    /// Drops the states that are over. No back edge may be waiting.
    pub(super) fn sweep(&mut self) {
        for id in self.over.drain(..) {
            if let Some(state) = self.states[id.0 as usize].take() {
                self.bytes = self.bytes.saturating_sub(state.bytes());
            }
        }
    }

    /// Drops all states; what was counted stays counted.
    ///
    /// Linux: `free_states`.
    pub(super) fn clear(&mut self) {
        self.states.clear();
        self.bytes = 0;
        self.over.clear();
        for bucket in &mut self.buckets {
            bucket.clear();
        }
    }
}

/// The instruction at which a frame of a state stands: the state's own for the innermost, the
/// call for the others.
///
/// Linux: `frame_insn_idx`.
pub(super) fn frame_pc(state: &State, pc: Pc, frame: FrameNo) -> Pc {
    let callee = state.frames().get(frame.index() + 1);
    callee.and_then(|callee| callee.callsite).unwrap_or(pc)
}

/// Whether two states came through the same calls.
///
/// Linux: `same_callsites`.
pub(super) fn same_callsites(a: &State, b: &State) -> bool {
    let sites = |state: &State, frame: usize| state.frames().get(frame).map(Frame::site);
    a.frames().len() == b.frames().len()
        && (0..a.frames().len()).all(|frame| sites(a, frame) == sites(b, frame))
}

impl Frame {
    fn site(&self) -> Option<Pc> {
        self.callsite
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SubprogId;

    fn kept(branches: u32) -> KeptState {
        KeptState {
            state: State::new(SubprogId::MAIN),
            pc: Pc(1),
            track: Track::starting(Pc(0)),
            branches,
            hits: 0,
            misses: 0,
            evicted: false,
            cleaned: false,
        }
    }

    #[test]
    fn a_state_stays_while_paths_from_it_are_walked() {
        let mut all = Kept::new(4);
        let bucket = all.bucket_of(Pc(1), None);
        let id = all.add(bucket, kept(1));
        all.evict(bucket, id);
        all.drop_if_over(id);
        assert!(all.find(id).is_some());
        assert_eq!((all.findable, all.lingering), (0, 1));
        all.get_mut(id).branches = 0;
        all.drop_if_over(id);
        all.sweep();
        assert!(all.find(id).is_none());
        assert_eq!((all.findable, all.lingering), (0, 0));
    }
}
