//! Identities: numbers that tell one object from another, and how those of two states correspond.

use std::fmt;
use std::num::NonZeroU32;

use bpf_isa::Width;
use smallvec::SmallVec;

use crate::state::value::{Delta, Link};

/// An identity, given out once in a verification.
///
/// One counter serves everything that needs telling apart: pointers that become non-null
/// together, scalars that move together, references, dynptrs, map lookups. The log shows the
/// numbers, so the order in which they are given out is part of the behaviour.
///
/// Linux: `reg->id`, `ref_obj_id`, `dynptr_id`, `map_uid`; `env->id_gen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU32);

impl Id {
    /// The identity with this number; 0 is none.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives out identities, counting from 1.
///
/// Linux: `env->id_gen`.
#[derive(Clone, Debug, Default)]
pub struct IdSource {
    last: u32,
}

impl IdSource {
    /// An identity that nothing has had before.
    pub fn fresh(&mut self) -> Id {
        let next = NonZeroU32::new(self.last.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.last = next.get();
        Id(next)
    }

    /// The number of the identity given out last; 0 if there was none.
    pub const fn last(&self) -> u32 {
        self.last
    }
}

/// A one-to-one correspondence between the identities of an old state and of the current one,
/// found while the two are compared.
///
/// Invariant: no identity stands twice on one side.
///
/// Linux: `struct bpf_idmap`.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    pairs: SmallVec<[(u32, u32); 16]>,
    scratch: u32,
}

impl IdMap {
    /// Forgets the pairs; identities made up for lone scalars count on from `last`.
    pub fn reset(&mut self, last: u32) {
        self.pairs.clear();
        self.scratch = last;
    }

    /// Whether `old` may correspond to `cur`, which it then does from now on.
    ///
    /// Linux: `check_ids`.
    pub fn correspond(&mut self, old: Option<Id>, cur: Option<Id>) -> bool {
        match (old, cur) {
            (None, None) => true,
            (Some(old), Some(cur)) => self.pair(old.number(), cur.number()),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The same for members of groups of scalars. A member that was moved from its group's base
    /// does not stand for one that was not.
    pub fn links_correspond(&mut self, old: Option<Link>, cur: Option<Link>) -> bool {
        match (old, cur) {
            (None, None) => true,
            (Some(old), Some(cur)) => self.pair(Self::member(old), Self::member(cur)),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The same for a scalar of a group, however it was moved. The current one, if it is in none,
    /// counts as being alone in one.
    ///
    /// Linux: `check_scalar_ids`.
    pub fn scalars_correspond(&mut self, old: Link, cur: Option<Link>) -> bool {
        let cur = cur.map_or_else(|| self.lone(), |link| link.id.number());
        self.pair(old.id.number(), cur)
    }

    /// Linux: an `id` with `BPF_ADD_CONST64` or `BPF_ADD_CONST32`.
    const fn member(link: Link) -> u32 {
        let moved = match link.delta {
            None => 0,
            Some(Delta { width: Width::W64, .. }) => 1 << 31,
            Some(Delta { width: Width::W32, .. }) => 1 << 30,
        };
        link.id.number() | moved
    }

    /// The number of an identity that nothing else has.
    fn lone(&mut self) -> u32 {
        self.scratch = self.scratch.wrapping_add(1);
        self.scratch
    }

    fn pair(&mut self, old: u32, cur: u32) -> bool {
        for &(o, c) in &self.pairs {
            if o == old {
                return c == cur;
            }
            if c == cur {
                return false;
            }
        }
        self.pairs.push((old, cur));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correspondence_is_one_to_one() {
        let [a, b] = [1, 2].map(|n| Id::new(n).unwrap());
        let mut map = IdMap::default();
        assert!(map.correspond(Some(a), Some(b)));
        assert!(map.correspond(Some(a), Some(b)));
        assert!(!map.correspond(Some(a), Some(a)));
        assert!(!map.correspond(Some(b), Some(b)));
        assert!(!map.correspond(None, Some(a)));
        assert!(map.correspond(Some(b), Some(a)));
    }

    #[test]
    fn free_scalars_are_not_one_linked_scalar() {
        let old = Link { id: Id::new(1).unwrap(), delta: None };
        let mut map = IdMap::default();
        map.reset(5);
        assert!(map.scalars_correspond(old, None));
        assert!(!map.scalars_correspond(old, None), "they may differ, the linked ones do not");
    }
}
