//! Scalars that move together: what is learnt of one is learnt of all.

use bpf_isa::Reg;
use smallvec::SmallVec;

use crate::state::{FrameNo, Held, Id, SlotNo, State, Value};

/// A place that holds a linked scalar.
///
/// Linux: `struct linked_reg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedPlace {
    /// The frame.
    pub frame: FrameNo,
    /// Where in it.
    pub at: RegOrSlot,
}

/// A register or a slot of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegOrSlot {
    /// A register.
    Reg(Reg),
    /// A slot that holds a spilled register.
    Slot(SlotNo),
}

/// The places that hold members of one group, six at most: the others lose their membership.
///
/// Linux: `struct linked_regs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkedRegs {
    places: SmallVec<[LinkedPlace; 6]>,
}

impl LinkedRegs {
    /// How many places can be remembered. Linux: `LINKED_REGS_MAX`.
    pub const MAX: usize = 6;

    /// The places.
    pub fn places(&self) -> &[LinkedPlace] {
        &self.places
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// Adds the places in `state` that hold a member of group `id`: registers that are live
    /// (in each frame those of `live`, a bit each), and slots. Those for which there is no room
    /// leave their group.
    ///
    /// Linux: `collect_linked_regs`.
    pub fn collect(&mut self, state: &mut State, live: impl Fn(FrameNo) -> u16, id: Id) {
        for frame in state.frames_mut().iter_mut().rev() {
            let number = frame.number;
            let live = live(number);
            for reg in Reg::ALL {
                if reg == Reg::FP || live & (1 << reg.number()) == 0 {
                    continue;
                }
                if let Some(value) = frame.reg_mut(reg) {
                    self.add(value, id, LinkedPlace { frame: number, at: RegOrSlot::Reg(reg) });
                }
            }
            for (place, slot) in (0_u8..).zip(frame.stack.slots_mut()) {
                if let Some(value) = slot.spilled_mut() {
                    let at = RegOrSlot::Slot(SlotNo(place));
                    self.add(value, id, LinkedPlace { frame: number, at });
                }
            }
        }
    }

    fn add(&mut self, value: &mut Value, id: Id, place: LinkedPlace) {
        let Value::Scalar(number) = value else { return };
        if number.link.map(|link| link.id) != Some(id) {
            return;
        }
        if self.places.len() < Self::MAX {
            self.places.push(place);
        } else {
            number.link = None;
        }
    }
}

impl LinkedPlace {
    /// What the place holds in `state`.
    pub fn value(self, state: &State) -> Option<&Value> {
        let frame = state.frames().get(self.frame.index())?;
        match self.at {
            RegOrSlot::Reg(reg) => frame.reg(reg),
            RegOrSlot::Slot(slot) => match &frame.stack.get(slot)?.held {
                Held::Value(value) => Some(value),
                Held::Nothing | Held::Dynptr(_) | Held::Iter(_) | Held::Irq(_) => None,
            },
        }
    }

    /// What the place holds in `state`, to be changed.
    pub fn value_mut(self, state: &mut State) -> Option<&mut Value> {
        let frame = state.frames_mut().get_mut(self.frame.index())?;
        match self.at {
            RegOrSlot::Reg(reg) => frame.reg_mut(reg),
            RegOrSlot::Slot(slot) => match &mut frame.stack.get_mut(slot)?.held {
                Held::Value(value) => Some(value),
                Held::Nothing | Held::Dynptr(_) | Held::Iter(_) | Held::Irq(_) => None,
            },
        }
    }
}
