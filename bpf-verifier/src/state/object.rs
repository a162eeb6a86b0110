//! Objects that programs keep on their stack but may not look into: dynptrs, iterators, saved
//! interrupt flags.

use crate::state::ids::Id;
use crate::state::pointer::{BtfType, DynptrKind};

/// A slot of a dynptr. A dynptr takes two.
///
/// Linux: `reg->dynptr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynptrSlot {
    /// What it refers to.
    pub kind: DynptrKind,
    /// Which of the two slots this is.
    pub part: DynptrPart,
    /// Tells it from other dynptrs; slices point back to it by this. Linux: `reg->id`.
    pub id: Option<Id>,
    /// The reference it holds. Linux: `reg->ref_obj_id`.
    pub ref_id: Option<Id>,
}

/// One of the two slots of a dynptr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynptrPart {
    /// The slot at the lower address, which the dynptr's address is. Linux: `first_slot`.
    First,
    /// The slot at the higher address.
    Second,
}

/// A slot of an iterator. How many it takes depends on its type.
///
/// Linux: `reg->iter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterSlot {
    /// Its type.
    pub ty: BtfType,
    /// Whether there may be more.
    pub state: IterState,
    /// How many times it was advanced on this path.
    pub depth: u32,
    /// The reference it holds; only the slot at the lowest address has it.
    pub ref_id: Option<Id>,
    /// Whether it is valid only while the RCU read lock is held. Linux: `MEM_RCU`.
    pub rcu: bool,
    /// Whether its RCU section has ended since it was made. Linux: `PTR_UNTRUSTED`.
    pub untrusted: bool,
}

/// How far an iterator is.
///
/// Linux: `enum bpf_iter_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterState {
    /// There may be more.
    Active,
    /// There is no more.
    Drained,
}

impl IterState {
    /// How the log names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drained => "drained",
        }
    }
}

/// Saved interrupt flags.
///
/// Linux: `reg->irq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqSlot {
    /// The reference that the disabled section holds.
    pub ref_id: Id,
    /// Which pair of functions it belongs to.
    pub class: IrqClass,
}

/// Which pair of functions saves and restores interrupt flags.
///
/// Linux: `IRQ_NATIVE_KFUNC`, `IRQ_LOCK_KFUNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqClass {
    /// `bpf_local_irq_save` and `bpf_local_irq_restore`.
    Native,
    /// The functions of resilient spin locks.
    Lock,
}
