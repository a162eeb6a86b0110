//! Lists of objects, under the lock that the program holds.
//!
//! ```text
//!   list                   node in an object
//!  +-------+------+       +------+----------+-------+
//!  | first | last |       | next | previous | owner |
//!  +-------+------+       +------+----------+-------+
//!   0       8              0      8          16
//! ```

use super::memory::Words;

const FIRST: u32 = 0;
const LAST: u32 = 8;
const NEXT: u32 = 0;
const PREVIOUS: u32 = 8;
/// Where a node says which list holds it.
pub(crate) const OWNER: u32 = 16;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

impl End {
    /// Where the list keeps this end, where a node keeps the way from this end on, and the way
    /// towards it.
    const fn links(self) -> (u32, u32, u32) {
        match self {
            Self::Front => (FIRST, NEXT, PREVIOUS),
            Self::Back => (LAST, PREVIOUS, NEXT),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

/// Puts a node at an end; returns whether it was in no list or tree before.
pub(crate) fn push(list: Words<'_>, node: Words<'_>, end: End) -> bool {
    if !node.word(OWNER).own(list.address()) {
        return false;
    }
    let (at, on, towards) = end.links();
    let before = list.word(at).swap(node.address());
    node.word(on).set(before);
    node.word(towards).set(0);
    match Words::node(before) {
        Some(before) => before.word(towards).set(node.address()),
        None => list.word(end.other().links().0).set(node.address()),
    }
    true
}

/// Takes the node at an end; 0 if there is none.
pub(crate) fn pop(list: Words<'_>, end: End) -> u64 {
    let (at, on, towards) = end.links();
    let Some(node) = Words::node(list.word(at).get()) else { return 0 };
    let next = node.word(on).get();
    list.word(at).set(next);
    match Words::node(next) {
        Some(next) => next.word(towards).set(0),
        None => list.word(end.other().links().0).set(0),
    }
    node.word(OWNER).disown();
    node.address()
}

/// The node at an end; 0 if there is none.
pub(crate) fn peek(list: Words<'_>, end: End) -> u64 {
    list.word(end.links().0).get()
}

/// Empties a list whose elements have their nodes at `offset`.
pub(crate) fn take_all(list: Words<'_>, offset: u32, objects: &mut Vec<u64>) {
    loop {
        match pop(list, End::Front) {
            0 => return,
            node => objects.push(node - u64::from(offset)),
        }
    }
}
