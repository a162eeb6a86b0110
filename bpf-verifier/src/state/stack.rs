//! What is known of a frame's stack.

use crate::state::object::{DynptrSlot, IrqSlot, IterSlot};
use crate::state::value::{Number, Value};

/// An eight-byte piece of a stack: slot 0 is the eight bytes below the frame pointer, slot 1
/// those below it, and so on.
///
/// ```text
///   fp-16            fp-8             fp
///    | 0 1 2 3 4 5 6 7 | 0 1 2 3 4 5 6 7 |      addresses within a slot
///    |    SlotNo(1)    |    SlotNo(0)    |
/// ```
///
/// Linux: `spi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNo(pub u8);

impl SlotNo {
    /// The slot of the byte at `off` (negative, in bytes from the frame pointer).
    ///
    /// `None` if that is no address of a 512-byte stack.
    pub fn at(off: i32) -> Option<Self> {
        if !(-512..0).contains(&off) {
            return None;
        }
        u8::try_from((-off - 1) / 8).ok().map(Self)
    }

    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The offset of its lowest byte from the frame pointer.
    pub const fn off(self) -> i32 {
        -8 * (self.0 as i32 + 1)
    }
}

/// What kind of content one byte of a slot has.
///
/// Linux: `enum bpf_stack_slot_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ByteKind {
    /// Nothing was written. Linux: `STACK_INVALID`.
    #[default]
    Invalid,
    /// Part of a spilled register. Linux: `STACK_SPILL`.
    Spill,
    /// Something was written. Linux: `STACK_MISC`.
    Misc,
    /// A zero was written. Linux: `STACK_ZERO`.
    Zero,
    /// Part of a dynptr. Linux: `STACK_DYNPTR`.
    Dynptr,
    /// Part of an iterator. Linux: `STACK_ITER`.
    Iter,
    /// Part of saved interrupt flags. Linux: `STACK_IRQ_FLAG`.
    IrqFlag,
}

/// What a slot holds as a whole.
///
/// Linux: `spilled_ptr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// Nothing but bytes.
    #[default]
    Nothing,
    /// A register that was spilled, whole or its low bytes. What is left of it may stay here
    /// when its bytes are overwritten; the slot's kinds say whether it counts.
    Value(Value),
    /// One of the two slots of a dynptr.
    Dynptr(DynptrSlot),
    /// A slot of an iterator.
    Iter(IterSlot),
    /// Saved interrupt flags.
    Irq(IrqSlot),
}

/// Eight bytes of stack.
///
/// Linux: `struct bpf_stack_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What kind of content each byte has, counted down like the slots: index 7 is the byte at
    /// the lowest address, the least significant one of a spilled register.
    pub kinds: [ByteKind; 8],
    /// What the slot holds as a whole.
    pub held: Held,
}

impl Slot {
    /// Whether a register, or its low bytes, are spilled here.
    ///
    /// Linux: `is_spilled_reg`.
    pub const fn is_spill(&self) -> bool {
        matches!(self.kinds[7], ByteKind::Spill)
    }

    /// The register spilled here.
    pub const fn spilled(&self) -> Option<&Value> {
        match &self.held {
            Held::Value(value) if self.is_spill() => Some(value),
            Held::Value(_) | Held::Nothing | Held::Dynptr(_) | Held::Iter(_) | Held::Irq(_) => None,
        }
    }

    /// The register spilled here.
    pub const fn spilled_mut(&mut self) -> Option<&mut Value> {
        if !self.is_spill() {
            return None;
        }
        match &mut self.held {
            Held::Value(value) => Some(value),
            Held::Nothing | Held::Dynptr(_) | Held::Iter(_) | Held::Irq(_) => None,
        }
    }

    /// The number spilled here.
    ///
    /// Linux: `is_spilled_scalar_reg`.
    pub const fn spilled_scalar(&self) -> Option<&Number> {
        match self.spilled() {
            Some(value) => value.as_scalar(),
            None => None,
        }
    }

    /// Whether a whole 64-bit number is spilled here.
    ///
    /// Linux: `is_spilled_scalar_reg64`.
    pub const fn is_whole_scalar(&self) -> bool {
        matches!(self.kinds[0], ByteKind::Spill) && self.spilled_scalar().is_some()
    }

    /// Whether any byte was written.
    pub fn is_written(&self) -> bool {
        self.kinds.iter().any(|kind| *kind != ByteKind::Invalid)
    }
}

/// A frame's stack, as far as it was touched.
///
/// Linux: `state->stack`, `allocated_stack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    slots: Vec<Slot>,
}

impl Stack {
    /// Its size in bytes, a multiple of eight. Linux: `allocated_stack`.
    pub fn size(&self) -> usize {
        self.slots.len() * 8
    }

    /// How many bytes of memory its slots take.
    pub const fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// The touched slots, from the frame pointer downwards.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The touched slots, from the frame pointer downwards.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// A slot, if the stack reaches that far.
    pub fn get(&self, slot: SlotNo) -> Option<&Slot> {
        self.slots.get(slot.index())
    }

    /// A slot, if the stack reaches that far.
    pub fn get_mut(&mut self, slot: SlotNo) -> Option<&mut Slot> {
        self.slots.get_mut(slot.index())
    }

    /// A slot; the stack grows to it if needed.
    pub fn slot_mut(&mut self, slot: SlotNo) -> &mut Slot {
        if self.slots.len() <= slot.index() {
            self.slots.resize(slot.index() + 1, Slot::default());
        }
        &mut self.slots[slot.index()]
    }

    /// Makes it reach `bytes` (rounded up to a whole slot) below the frame pointer. What is new
    /// is unwritten.
    ///
    /// Linux: `grow_stack_state`, which also notes the function's depth:
    /// [`Env::note_stack_depth`](crate::env::Env::note_stack_depth).
    pub fn grow(&mut self, bytes: usize) {
        let slots = bytes.div_ceil(8);
        if self.slots.len() < slots {
            self.slots.resize(slots, Slot::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_down_from_the_frame_pointer() {
        assert_eq!(SlotNo::at(-1), Some(SlotNo(0)));
        assert_eq!(SlotNo::at(-8), Some(SlotNo(0)));
        assert_eq!(SlotNo::at(-9), Some(SlotNo(1)));
        assert_eq!(SlotNo::at(-512), Some(SlotNo(63)));
        assert_eq!(SlotNo::at(-513), None);
        assert_eq!(SlotNo::at(0), None);
        assert_eq!(SlotNo(1).off(), -16);
    }
}
