//! What is known at one point of one path: data, without judgement.
//!
//! ```text
//!   State ── Frame 0 ── registers: Option<Value>
//!     │        │           Value ── Scalar(Number { set, link, precise })
//!     │        │                └── Pointer(Pointer { kind, flags, off, delta, id, ref_id })
//!     │        └────── Stack ── Slot ── eight ByteKinds, and what is Held
//!     ├── Frame 1 …
//!     └── Refs: references, locks, sections
//! ```

mod ids;
mod value;
mod pointer;
mod object;
mod stack;
mod frame;
mod refs;
mod linked;

use bpf_isa::{Pc, Reg};
use smallvec::SmallVec;

pub use frame::{Frame, FrameRole, ReturnRange};
pub use ids::{Id, IdMap, IdSource};
pub use linked::{LinkedPlace, LinkedRegs, RegOrSlot};
pub use object::{DynptrPart, DynptrSlot, IrqClass, IrqSlot, IterSlot, IterState};
pub use pointer::{
    BtfNo, BtfType, DynptrKind, FrameNo, MapNo, PacketRange, Pointer, PointerKind, PtrFlags,
    SubprogId,
};
pub use refs::{LockPlace, RefKind, Reference, Refs};
pub use stack::{ByteKind, Held, Slot, SlotNo, Stack};
pub use value::{Delta, Link, Number, Value};

/// What is known at one point of one path.
///
/// Linux: `struct bpf_verifier_state`, without its place among others (which is
/// [`walk`](crate::walk)'s affair).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    frames: SmallVec<[Frame; 1]>,
    /// What is held, and the sections the path is in.
    pub refs: Refs,
    /// Whether the code at this point may sleep.
    pub in_sleepable: bool,
    /// How many times callbacks were unrolled on this path. Linux: `callback_unroll_depth`.
    pub callback_unroll_depth: u32,
    /// How many times `may_goto` was passed on this path.
    pub may_goto_depth: u32,
}

impl State {
    /// A state at the beginning of `subprog`: one frame, nothing held.
    pub fn new(subprog: SubprogId) -> Self {
        let mut frames = SmallVec::new();
        frames.push(Frame::new(None, FrameNo(0), subprog));
        Self {
            frames,
            refs: Refs::default(),
            in_sleepable: false,
            callback_unroll_depth: 0,
            may_goto_depth: 0,
        }
    }

    /// The frames, the outermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The frames, the outermost first.
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        &mut self.frames
    }

    /// A frame.
    ///
    /// # Panics
    ///
    /// If the path has no such frame; frame numbers in a state's values always name frames of
    /// that state.
    pub fn frame(&self, frame: FrameNo) -> &Frame {
        &self.frames[frame.index()]
    }

    /// A frame, to be changed.
    ///
    /// # Panics
    ///
    /// If the path has no such frame.
    pub fn frame_mut(&mut self, frame: FrameNo) -> &mut Frame {
        &mut self.frames[frame.index()]
    }

    /// The number of the innermost frame. Linux: `curframe`.
    pub fn depth(&self) -> FrameNo {
        self.cur().number
    }

    /// The innermost frame. Linux: `cur_func`.
    ///
    /// # Panics
    ///
    /// Never: a state has a frame.
    pub fn cur(&self) -> &Frame {
        self.frames.last().expect("a state has a frame")
    }

    /// The innermost frame, to be changed.
    ///
    /// # Panics
    ///
    /// Never: a state has a frame.
    pub fn cur_mut(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a state has a frame")
    }

    /// The frame that called the innermost one.
    pub fn caller(&self) -> Option<&Frame> {
        self.frames.len().checked_sub(2).map(|place| &self.frames[place])
    }

    /// The frame that called the innermost one, to be changed.
    pub fn caller_mut(&mut self) -> Option<&mut Frame> {
        self.frames.len().checked_sub(2).map(|place| &mut self.frames[place])
    }

    /// What a register of the innermost frame holds.
    pub fn reg(&self, reg: Reg) -> Option<&Value> {
        self.cur().reg(reg)
    }

    /// What a register of the innermost frame holds, to be changed.
    pub fn reg_mut(&mut self, reg: Reg) -> Option<&mut Value> {
        self.cur_mut().reg_mut(reg)
    }

    /// Sets a register of the innermost frame.
    pub fn set(&mut self, reg: Reg, value: Option<Value>) {
        self.cur_mut().set(reg, value);
    }

    /// Enters a function: a new innermost frame with unwritten registers.
    ///
    /// The caller has checked that there are fewer than eight.
    pub fn push_frame(&mut self, callsite: Pc, subprog: SubprogId) -> &mut Frame {
        let number = FrameNo(self.depth().0 + 1);
        self.frames.push(Frame::new(Some(callsite), number, subprog));
        self.cur_mut()
    }

    /// Leaves the innermost frame, if it is not the only one.
    pub fn pop_frame(&mut self) -> Option<Frame> {
        if self.frames.len() < 2 {
            return None;
        }
        self.frames.pop()
    }

    /// How many bytes it takes, its frames and their stacks included.
    pub fn bytes(&self) -> usize {
        let stacks: usize = self.frames.iter().map(|frame| frame.stack.bytes()).sum();
        let frames = if self.frames.spilled() { self.frames.capacity() } else { 0 };
        size_of::<Self>() + frames * size_of::<Frame>() + stacks
    }

    /// Every register and every spilled register of every frame.
    ///
    /// Linux: `bpf_for_each_reg_in_vstate`.
    pub fn for_each_value(&mut self, mut visit: impl FnMut(&mut Value) -> Keep) {
        for frame in &mut self.frames {
            frame.for_each_value(&mut visit);
        }
    }
}

/// Whether a value that was visited stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays, as the visitor left it.
    Yes,
    /// Its place becomes unwritten. Linux: `mark_reg_not_init`.
    No,
}

impl Frame {
    /// Every register and every spilled register of this frame: R0 to R10, then the slots from
    /// the frame pointer downwards. A slot whose value is not kept stays marked as a spill, but
    /// of nothing.
    pub fn for_each_value(&mut self, visit: &mut impl FnMut(&mut Value) -> Keep) {
        for place in self.regs_mut() {
            if let Some(value) = place
                && visit(value) == Keep::No
            {
                *place = None;
            }
        }
        for slot in self.stack.slots_mut() {
            if slot.is_spill()
                && let Held::Value(value) = &mut slot.held
                && visit(value) == Keep::No
            {
                slot.held = Held::Nothing;
            }
        }
    }
}
