//! States whose verdict waits for a loop to close.
//!
//! Inside a strongly connected component of the control flow graph, a state can cover another
//! before all paths from the first have ended. What the first depends on, its precision marks,
//! is then not known yet. Such coverings are remembered as *back edges* of the visit to the
//! component; when the visit ends, marks travel along the back edges until nothing changes.
//!
//! A component inside a function is visited anew for each chain of calls that leads to it.
//!
//! Linux: `struct bpf_scc_visit`, `maybe_enter_scc`, `maybe_exit_scc`.

use std::fmt;

use bpf_isa::Pc;
use smallvec::SmallVec;

use crate::env::Env;
use crate::error::Reason;
use crate::state::{FrameNo, State};
use crate::walk::WalkError;
use crate::walk::history::Track;
use crate::walk::kept::{Kept, KeptId, frame_pc};
use crate::walk::precise::{self, From};

/// How often marks travel around a loop before everything is marked.
///
/// Linux: `MAX_BACKEDGE_ITERS`.
const MAX_ROUNDS: u32 = 64;

/// A component, and the calls that lead to it.
///
/// Linux: `struct bpf_scc_callchain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallChain {
    calls: SmallVec<[Pc; 7]>,
    scc: u32,
}

impl CallChain {
    /// The outermost component that a state is in, if any.
    ///
    /// Linux: `compute_scc_callchain`.
    pub(super) fn of(env: &Env<'_>, state: &State, pc: Pc) -> Option<Self> {
        let mut calls = SmallVec::new();
        for frame in 0..=state.depth().0 {
            let at = frame_pc(state, pc, FrameNo(frame));
            let scc = env.note(at).scc;
            if scc != 0 {
                return Some(Self { calls, scc });
            }
            calls.push(at);
        }
        None
    }
}

impl fmt::Display for CallChain {
    /// Linux: `format_callchain`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        // The kernel takes a call at instruction 0 for the end of the chain.
        for call in self.calls.iter().take_while(|call| call.0 != 0) {
            write!(f, "{call},")?;
        }
        write!(f, "{})", self.scc)
    }
}

/// A visit to a component.
#[derive(Debug)]
struct Visit {
    chain: CallChain,
    /// The first state in it on the current path.
    entry: Option<KeptId>,
    /// The oldest first.
    backedges: Vec<Backedge>,
}

/// A state that another covers, in a loop that has not closed.
///
/// Linux: `struct bpf_scc_backedge`.
#[derive(Debug)]
struct Backedge {
    track: Track,
    pc: Pc,
    frame: FrameNo,
    covered_by: KeptId,
}

/// The visits to all components.
#[derive(Debug, Default)]
pub(super) struct Loops {
    visits: Vec<Visit>,
    /// How many back edges wait; they count as states. Linux: `num_backedges`.
    pub(super) backedges: u32,
}

impl Loops {
    fn find(&self, chain: &CallChain) -> Option<usize> {
        self.visits.iter().position(|visit| visit.chain == *chain)
    }

    /// A state was kept: it may be the first in a component.
    ///
    /// Linux: `maybe_enter_scc`.
    pub(super) fn enter(&mut self, env: &mut Env<'_>, state: &State, pc: Pc, id: KeptId) {
        let Some(chain) = CallChain::of(env, state, pc) else { return };
        let at = self.find(&chain).unwrap_or_else(|| {
            self.visits.push(Visit { chain, entry: None, backedges: Vec::new() });
            self.visits.len() - 1
        });
        let visit = &mut self.visits[at];
        if visit.entry.is_none() {
            visit.entry = Some(id);
            if env.log.shows_everything() {
                env.log.print(format_args!("SCC enter {}\n", visit.chain));
            }
        }
    }

    /// Whether what a kept state depends on may not be known yet.
    ///
    /// Linux: `incomplete_read_marks`.
    pub(super) fn is_open(&self, env: &Env<'_>, state: &State, pc: Pc) -> bool {
        CallChain::of(env, state, pc)
            .and_then(|chain| self.find(&chain))
            .is_some_and(|at| !self.visits[at].backedges.is_empty())
    }

    /// Remembers that the current path was ended by `covered_by` in a loop.
    ///
    /// Linux: `add_scc_backedge`.
    pub(super) fn add_backedge(
        &mut self,
        env: &mut Env<'_>,
        kept: &Kept,
        covered_by: KeptId,
        from: &From<'_>,
    ) -> Result<(), Reason> {
        let old = kept.get(covered_by);
        let chain = CallChain::of(env, &old.state, old.pc);
        let Some(at) = chain.as_ref().and_then(|chain| self.find(chain)) else {
            let chain = chain.map_or_else(String::new, |chain| chain.to_string());
            return Err(WalkError::NoVisit { what: "add backedge", chain }.into());
        };
        let visit = &mut self.visits[at];
        if env.log.shows_everything() {
            env.log.print(format_args!("SCC backedge {}\n", visit.chain));
        }
        visit.backedges.push(Backedge {
            track: from.track.clone(),
            pc: from.pc,
            frame: from.frame,
            covered_by,
        });
        self.backedges += 1;
        Ok(())
    }

    /// All paths from a state have ended: if it was the first in a component, marks travel
    /// around its loops.
    ///
    /// Linux: `maybe_exit_scc`.
    pub(super) fn exit(
        &mut self,
        env: &mut Env<'_>,
        kept: &mut Kept,
        state: Exiting<'_>,
    ) -> Result<(), Reason> {
        let chain = match state {
            Exiting::Kept(id) => {
                let kept = kept.get(id);
                CallChain::of(env, &kept.state, kept.pc)
            }
            Exiting::Current(state, pc) => CallChain::of(env, state, pc),
        };
        let Some(chain) = chain else { return Ok(()) };
        let Some(at) = self.find(&chain) else {
            let chain = chain.to_string();
            return Err(WalkError::NoVisit { what: "scc exit", chain }.into());
        };
        let visit = &mut self.visits[at];
        match state {
            Exiting::Kept(id) if visit.entry == Some(id) => {}
            Exiting::Kept(_) | Exiting::Current(..) => return Ok(()),
        }
        if env.log.shows_everything() {
            env.log.print(format_args!("SCC exit {}\n", visit.chain));
        }
        visit.entry = None;
        let backedges = std::mem::take(&mut visit.backedges);
        self.backedges -= u32::try_from(backedges.len()).unwrap_or(u32::MAX);
        propagate(env, kept, &backedges)
    }

    /// Forgets all visits.
    pub(super) fn clear(&mut self) {
        self.visits.clear();
    }
}

/// A state all of whose paths have ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exiting<'a> {
    /// A kept one.
    Kept(KeptId),
    /// The current one, at its last instruction.
    Current(&'a State, Pc),
}

/// Linux: `propagate_backedges`.
fn propagate(env: &mut Env<'_>, kept: &mut Kept, edges: &[Backedge]) -> Result<(), Reason> {
    fn from(edge: &Backedge) -> From<'_> {
        From { track: &edge.track, pc: edge.pc, frame: edge.frame }
    }
    for round in 0.. {
        if round > MAX_ROUNDS {
            if env.log.shows_everything() {
                env.log.print(format_args!("propagate_backedges: too many iterations\n"));
            }
            for edge in edges.iter().rev() {
                precise::mark_all(env, kept, &from(edge));
            }
            break;
        }
        let mut changed = false;
        for edge in edges.iter().rev() {
            if kept.find(edge.covered_by).is_some() {
                changed |= precise::propagate(env, kept, edge.covered_by, &from(edge))?;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}
