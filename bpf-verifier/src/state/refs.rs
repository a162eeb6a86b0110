//! What must be given back: references, locks, disabled interrupts.

use bpf_isa::Pc;
use smallvec::SmallVec;

use crate::state::ids::Id;

/// Something that must be given back before the program ends.
///
/// Linux: `struct bpf_reference_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What it is.
    pub kind: RefKind,
    /// Its identity. A lock's is that of the register it was taken through, possibly none.
    pub id: Option<Id>,
    /// The instruction that acquired it.
    pub pc: Pc,
}

/// What kind of thing must be given back.
///
/// Linux: `enum ref_state_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKind {
    /// An object. Linux: `REF_TYPE_PTR`.
    Object,
    /// Disabled interrupts. Linux: `REF_TYPE_IRQ`.
    Irq,
    /// A spin lock. Linux: `REF_TYPE_LOCK`.
    Lock {
        /// Where it is.
        place: LockPlace,
    },
    /// A resilient spin lock. Linux: `REF_TYPE_RES_LOCK`.
    ResilientLock {
        /// Where it is.
        place: LockPlace,
    },
    /// A resilient spin lock taken with interrupts disabled. Linux: `REF_TYPE_RES_LOCK_IRQ`.
    ResilientLockIrq {
        /// Where it is.
        place: LockPlace,
    },
}

impl RefKind {
    /// The place of the lock, if it is one.
    pub const fn lock_place(self) -> Option<LockPlace> {
        match self {
            Self::Object | Self::Irq => None,
            Self::Lock { place }
            | Self::ResilientLock { place }
            | Self::ResilientLockIrq { place } => Some(place),
        }
    }
}

/// What a lock is part of: a map, or an object of a BTF type.
///
/// Linux: `reference_state.ptr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPlace {
    /// A value of this map.
    Map(crate::state::pointer::MapNo),
    /// An object of a type of this BTF.
    Btf(crate::state::pointer::BtfNo),
}

/// What is held at a point of a path, and the sections it is in.
///
/// Linux: the `refs` and `active_…` of `struct bpf_verifier_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    held: SmallVec<[Reference; 2]>,
    /// How many locks are held.
    pub active_locks: u32,
    /// The identity of the lock taken last. Linux: `active_lock_id`.
    pub lock_id: Option<Id>,
    /// The place of the lock taken last. Linux: `active_lock_ptr`.
    pub lock_place: Option<LockPlace>,
    /// How often preemption was disabled.
    pub preempt_locks: u32,
    /// The innermost section with disabled interrupts. Linux: `active_irq_id`.
    pub irq_id: Option<Id>,
    /// How often the RCU read lock was taken.
    pub rcu_locks: u32,
}

impl Refs {
    /// Everything held, oldest first.
    pub fn held(&self) -> &[Reference] {
        &self.held
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds an object, known as `id`, acquired at `pc`.
    ///
    /// Linux: `acquire_reference`.
    pub fn acquire(&mut self, id: Id, pc: Pc) {
        self.held.push(Reference { kind: RefKind::Object, id: Some(id), pc });
    }

    /// Holds a lock.
    ///
    /// Linux: `acquire_lock_state`.
    pub fn acquire_lock(&mut self, kind: RefKind, id: Option<Id>, pc: Pc) {
        self.held.push(Reference { kind, id, pc });
        self.active_locks += 1;
        self.lock_id = id;
        self.lock_place = kind.lock_place();
    }

    /// Holds disabled interrupts.
    ///
    /// Linux: `acquire_irq_state`.
    pub fn acquire_irq(&mut self, id: Id, pc: Pc) {
        self.held.push(Reference { kind: RefKind::Irq, id: Some(id), pc });
        self.irq_id = Some(id);
    }

    /// Gives back the object known as `id`; says whether it was held.
    ///
    /// Those acquired later move up, which shows in the log.
    ///
    /// Linux: `release_reference_nomark`.
    pub fn release(&mut self, id: Id) -> bool {
        let place =
            self.held.iter().position(|held| held.kind == RefKind::Object && held.id == Some(id));
        match place {
            Some(place) => {
                self.held.remove(place);
                true
            }
            None => false,
        }
    }

    /// Gives back a lock; says whether it was held.
    ///
    /// The lock taken last before it becomes the last one.
    ///
    /// Linux: `release_lock_state`.
    pub fn release_lock(&mut self, kind: RefKind, id: Option<Id>) -> bool {
        let mut before: Option<Reference> = None;
        for place in 0..self.held.len() {
            let held = self.held[place];
            if held.kind == kind && held.id == id {
                self.lock_id = before.and_then(|lock| lock.id);
                self.lock_place = before.and_then(|lock| lock.kind.lock_place());
                self.held.remove(place);
                self.active_locks -= 1;
                return true;
            }
            if held.kind.lock_place().is_some() {
                before = Some(held);
            }
        }
        false
    }

    /// Gives back disabled interrupts.
    ///
    /// # Errors
    ///
    /// Returns the innermost section's identity if `id` is not the innermost.
    ///
    /// Linux: `release_irq_state`.
    pub fn release_irq(&mut self, id: Id) -> Result<bool, Option<Id>> {
        if self.irq_id != Some(id) {
            return Err(self.irq_id);
        }
        let mut before = None;
        for place in 0..self.held.len() {
            let held = self.held[place];
            if held.kind == RefKind::Irq {
                if held.id == Some(id) {
                    self.held.remove(place);
                    self.irq_id = before;
                    return Ok(true);
                }
                before = held.id;
            }
        }
        Ok(false)
    }

    /// The lock of this kind, identity and place, if it is held.
    ///
    /// Linux: `find_lock_state`.
    pub fn find_lock(&self, kind: RefKind, id: Option<Id>) -> Option<&Reference> {
        self.held.iter().find(|held| held.kind == kind && held.id == id)
    }

    /// Whether an object known as `id` is held.
    ///
    /// Linux: `find_reference_state`.
    pub fn holds(&self, id: Id) -> bool {
        self.held.iter().any(|held| held.kind == RefKind::Object && held.id == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> Id {
        Id::new(number).unwrap()
    }

    #[test]
    fn later_references_move_up() {
        let mut refs = Refs::default();
        for n in 1..=3 {
            refs.acquire(id(n), Pc(n));
        }
        assert!(refs.release(id(1)));
        assert!(!refs.release(id(1)));
        let left: Vec<_> = refs.held().iter().filter_map(|held| held.id).collect();
        assert_eq!(left, [id(2), id(3)]);
    }

    #[test]
    fn interrupts_are_restored_innermost_first() {
        let mut refs = Refs::default();
        refs.acquire_irq(id(1), Pc(0));
        refs.acquire_irq(id(2), Pc(1));
        assert_eq!(refs.release_irq(id(1)), Err(Some(id(2))));
        assert_eq!(refs.release_irq(id(2)), Ok(true));
        assert_eq!(refs.release_irq(id(1)), Ok(true));
        assert_eq!(refs.irq_id, None);
    }
}
