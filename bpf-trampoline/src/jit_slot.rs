//! The entry slots of compiled functions.

use std::sync::Arc;

use bpf_jit::{Compiled, EntrySlot};

use crate::switch::SlotWriter;

/// The entry slot of a function of a compiled program, which it keeps.
#[derive(Clone, Debug)]
pub struct JitSlot {
    compiled: Arc<Compiled>,
    function: usize,
}

impl JitSlot {
    /// The slot of this function, counted in the order of their places; `None` if there is no
    /// such function.
    pub fn new(compiled: Arc<Compiled>, function: usize) -> Option<Self> {
        compiled.slot(function)?;
        Some(Self { compiled, function })
    }

    fn slot(&self) -> EntrySlot<'_> {
        self.compiled.slot(self.function).expect("asked for when this was made")
    }
}

#[expect(unsafe_code, reason = "hands the contract on")]
// SAFETY: [entry-slot] it is what the JIT's entry slots are for: every call of a function goes
// through its slot, and is led by one store.
unsafe impl SlotWriter for JitSlot {
    fn address(&self) -> u64 {
        self.slot().address()
    }

    fn body(&self) -> u64 {
        self.slot().body()
    }

    unsafe fn jump(&self, target: u64) -> bool {
        // SAFETY: [slot-target] as the caller promises.
        unsafe { self.slot().jump(target) }
    }

    fn reset(&self) {
        self.slot().reset();
    }
}
