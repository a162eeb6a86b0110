//! The states that a verification walked, for those who hold them against what programs do.
//!
//! The walk is a graph: a [`Step`] is an instruction walked in a state, an [`Edge`] leads to what
//! was walked after it. Where a state was covered by one that had been kept, the edge leads to the
//! step of that one. The claim that accepted programs keep to:
//!
//! > Every run follows edges from the first step, and at each step a register that was not
//! > forgotten holds a member of what the step says of it.
//!
//! What is forgotten: a state covers another though scalars differ from which no conclusion was
//! drawn (they are not *precise*), and registers that nothing reads. An edge says which; what is
//! computed from something forgotten is forgotten too, and so is what is compared with it and what
//! is linked to what is compared. A run with forgotten registers still follows edges, which says
//! that none of them was needed.
//!
//! A global function is walked by itself: a call of it leads to its own first step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpf_isa::{Pc, Reg};

use crate::state::{Held, Id, State, Value};

/// More steps are not recorded.
const MOST: usize = 100_000;

/// A place for the trace of a verification.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Trace>>);

impl Recorder {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The trace of the last verification, which is no longer there afterwards.
    pub fn take(&self) -> Trace {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, trace: Trace) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trace;
    }

    /// Where the slots of the image stood in the program.
    pub(crate) fn place(&self, places: Vec<Pc>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).places = places;
    }
}

/// What was walked.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Every instruction walked, in every state.
    pub steps: Vec<Step>,
    /// The steps with which the main function and the global functions begin.
    pub starts: Vec<usize>,
    /// Where each slot of the image stood in the program.
    pub places: Vec<Pc>,
    /// Whether there were more steps than are recorded.
    pub is_cut: bool,
}

/// An instruction, walked in a state.
#[derive(Clone, Debug)]
pub struct Step {
    /// The instruction, counted in slots of the program.
    pub pc: Pc,
    /// What the registers of each frame hold, the outermost first.
    pub frames: Vec<[Option<Value>; 11]>,
    /// The slots that hold a scalar linked to others.
    pub linked: Vec<LinkedSlot>,
    /// What was walked after it.
    pub next: Vec<Edge>,
}

/// A slot of the stack that holds a scalar linked to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedSlot {
    /// The frame.
    pub frame: usize,
    /// The slot, counted downwards.
    pub slot: usize,
    /// The group.
    pub id: Id,
}

/// What was walked after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The step.
    pub to: usize,
    /// What it does not say, for each frame.
    pub forgotten: Vec<Forgotten>,
}

/// Registers and slots of a frame of which a step says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The registers, a bit each.
    pub regs: u16,
    /// The slots of the stack, a bit each, counted downwards.
    pub slots: u64,
}

/// Records while the walk goes on.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    trace: Trace,
    /// The step that the path came from.
    at: Option<usize>,
    /// The same, for branches that wait.
    waiting: Vec<Option<usize>>,
    /// The steps of states that were kept, by their numbers.
    kept: BTreeMap<usize, usize>,
}

impl Tracer {
    /// A walk begins.
    pub(crate) fn begin(&mut self) {
        self.at = None;
        self.waiting.clear();
        self.kept.clear();
        self.trace.starts.push(self.trace.steps.len());
    }

    /// An instruction is about to be walked in this state.
    pub(crate) fn step(&mut self, pc: Pc, state: &State) {
        if self.trace.steps.len() >= MOST {
            self.trace.is_cut = true;
            return;
        }
        let to = self.trace.steps.len();
        self.edge(Edge { to, forgotten: Vec::new() });
        let frames = state.frames().iter().map(|frame| *frame.regs()).collect();
        let mut linked = Vec::new();
        for (number, frame) in state.frames().iter().enumerate() {
            for (slot, content) in frame.stack.slots().iter().enumerate() {
                if let Held::Value(Value::Scalar(scalar)) = content.held
                    && let Some(link) = scalar.link
                {
                    linked.push(LinkedSlot { frame: number, slot, id: link.id });
                }
            }
        }
        self.trace.steps.push(Step { pc, frames, linked, next: Vec::new() });
        self.at = Some(to);
    }

    fn edge(&mut self, edge: Edge) {
        if let Some(from) = self.at.and_then(|at| self.trace.steps.get_mut(at)) {
            from.next.push(edge);
        }
    }

    /// The state that is about to be walked is kept under this number.
    pub(crate) fn keep(&mut self, kept: usize) {
        self.kept.insert(kept, self.trace.steps.len());
    }

    /// The path ends: a kept state covers it, but for what is forgotten. `live` are the registers
    /// that are read later, for each frame; `exact` says that ranges were compared everywhere.
    pub(crate) fn cover(&mut self, kept: usize, state: &State, live: &[u16], exact: bool) {
        let Some(&to) = self.kept.get(&kept) else {
            self.trace.is_cut = true;
            return;
        };
        let is_open = |value: &Value| matches!(value, Value::Scalar(it) if !exact && !it.precise);
        let frames = state.frames().iter().zip(live);
        let forgotten = frames.map(|(frame, live)| {
            let mut forgotten = Forgotten { regs: !live, slots: 0 };
            for reg in Reg::ALL {
                let open = frame.reg(reg).is_some_and(is_open);
                forgotten.regs |= u16::from(open) << reg.number();
            }
            for (slot, content) in frame.stack.slots().iter().enumerate() {
                if let Held::Value(value) = &content.held {
                    forgotten.slots |= u64::from(is_open(value)) << slot;
                }
            }
            forgotten
        });
        let forgotten = forgotten.collect();
        self.edge(Edge { to, forgotten });
    }

    /// A branch is put aside.
    pub(crate) fn put_aside(&mut self) {
        self.waiting.push(self.at);
    }

    /// The branch put aside last is taken up.
    pub(crate) fn take_up(&mut self) {
        self.at = self.waiting.pop().flatten();
    }

    /// What was recorded.
    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }
}
