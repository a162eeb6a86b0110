//! Trees of objects, under the lock that the program holds.
//!
//! Red-black trees: no red node has a red child, and all ways down from a node pass as many black
//! ones. So the longest way is at most twice the shortest.
//!
//! ```text
//!   tree            node in an object
//!  +------+        +-----------------+-------+------+-------+
//!  | root |        | parent, colour  | right | left | owner |
//!  +------+        +-----------------+-------+------+-------+
//!   0               0                 8       16     24
//! ```

use super::memory::Words;

const ROOT: u32 = 0;
const PARENT: u32 = 0;
const RIGHT: u32 = 8;
const LEFT: u32 = 16;
/// Where a node says which tree holds it.
pub(crate) const OWNER: u32 = 24;
/// In the word of the parent: the node is black.
const BLACK: u64 = 1;

/// A tree, by the field that owns its elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a>(Words<'a>);

/// Either child of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    const fn offset(self) -> u32 {
        match self {
            Self::Left => LEFT,
            Self::Right => RIGHT,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A node, or none: the address.
type Node = u64;

fn child(node: Node, side: Side) -> Node {
    Words::node(node).map_or(0, |node| node.word(side.offset()).get())
}

fn set_child(node: Node, side: Side, to: Node) {
    if let Some(node) = Words::node(node) {
        node.word(side.offset()).set(to);
    }
}

fn parent(node: Node) -> Node {
    Words::node(node).map_or(0, |node| node.word(PARENT).get() & !BLACK)
}

fn set_parent(node: Node, to: Node) {
    if let Some(node) = Words::node(node) {
        node.word(PARENT).set(to | node.word(PARENT).get() & BLACK);
    }
}

/// What is not there is black.
fn is_black(node: Node) -> bool {
    Words::node(node).is_none_or(|node| node.word(PARENT).get() & BLACK != 0)
}

fn paint(node: Node, black: bool) {
    if let Some(node) = Words::node(node) {
        let parent = node.word(PARENT).get() & !BLACK;
        node.word(PARENT).set(parent | if black { BLACK } else { 0 });
    }
}

impl<'a> Tree<'a> {
    pub(crate) const fn new(field: Words<'a>) -> Self {
        Self(field)
    }

    /// The node at the top; 0 if there is none.
    pub(crate) fn root(self) -> Node {
        self.0.word(ROOT).get()
    }

    /// The first in the order; 0 if there is none.
    pub(crate) fn first(self) -> Node {
        let mut node = self.root();
        while child(node, Side::Left) != 0 {
            node = child(node, Side::Left);
        }
        node
    }

    /// A child of a node, if the node is in this tree.
    pub(crate) fn child(self, node: Words<'_>, side: Side) -> Node {
        if node.word(OWNER).owner() == self.0.address() { child(node.address(), side) } else { 0 }
    }

    /// Puts a node in, before all that it is less than; returns whether it was in no list or tree
    /// before.
    pub(crate) fn add(self, node: Words<'_>, mut less: impl FnMut(Node, Node) -> bool) -> bool {
        if !node.word(OWNER).own(self.0.address()) {
            return false;
        }
        let new = node.address();
        let (mut above, mut side) = (0, Side::Left);
        let mut next = self.root();
        while next != 0 {
            above = next;
            side = if less(new, above) { Side::Left } else { Side::Right };
            next = child(above, side);
        }
        node.word(PARENT).set(above);
        node.word(LEFT).set(0);
        node.word(RIGHT).set(0);
        if above == 0 {
            self.0.word(ROOT).set(new);
        } else {
            set_child(above, side, new);
        }
        self.mend_added(new);
        true
    }

    /// Takes a node out; returns whether it was in this tree.
    pub(crate) fn remove(self, node: Words<'_>) -> bool {
        if node.word(OWNER).owner() != self.0.address() {
            return false;
        }
        self.unlink(node.address());
        node.word(OWNER).disown();
        true
    }

    /// Which child of its parent a node is.
    fn side_of(node: Node) -> Side {
        if child(parent(node), Side::Left) == node { Side::Left } else { Side::Right }
    }

    /// Puts `new` where `old` is below its parent.
    fn replace(self, old: Node, new: Node) {
        let above = parent(old);
        if above == 0 {
            self.0.word(ROOT).set(new);
        } else {
            set_child(above, Self::side_of(old), new);
        }
        set_parent(new, above);
    }

    /// A node goes down to `side`, and its other child takes its place.
    fn rotate(self, node: Node, side: Side) {
        let up = child(node, side.other());
        let moved = child(up, side);
        self.replace(node, up);
        set_child(node, side.other(), moved);
        set_parent(moved, node);
        set_child(up, side, node);
        set_parent(node, up);
    }

    /// After a red node came in.
    fn mend_added(self, added: Node) {
        let mut node = added;
        while !is_black(parent(node)) {
            let above = parent(node);
            let top = parent(above);
            let side = Self::side_of(above);
            let uncle = child(top, side.other());
            if !is_black(uncle) {
                paint(above, true);
                paint(uncle, true);
                paint(top, false);
                node = top;
                continue;
            }
            if Self::side_of(node) != side {
                self.rotate(above, side);
                node = above;
            }
            paint(parent(node), true);
            paint(top, false);
            self.rotate(top, side.other());
        }
        paint(self.root(), true);
    }

    fn unlink(self, node: Node) {
        let (left, right) = (child(node, Side::Left), child(node, Side::Right));
        let (lost_black, mut filled, mut above);
        if left == 0 || right == 0 {
            filled = if left == 0 { right } else { left };
            above = parent(node);
            lost_black = is_black(node);
            self.replace(node, filled);
        } else {
            // The next in the order takes its place and colour.
            let mut next = right;
            while child(next, Side::Left) != 0 {
                next = child(next, Side::Left);
            }
            lost_black = is_black(next);
            filled = child(next, Side::Right);
            above = next;
            if next != right {
                above = parent(next);
                self.replace(next, filled);
                set_child(next, Side::Right, right);
                set_parent(right, next);
            }
            self.replace(node, next);
            set_child(next, Side::Left, left);
            set_parent(left, next);
            paint(next, is_black(node));
        }
        if lost_black {
            self.mend_removed(&mut filled, &mut above);
        }
    }

    /// After a black node went: the ways through `filled`, below `above`, lack one.
    fn mend_removed(self, filled: &mut Node, above: &mut Node) {
        while *above != 0 && is_black(*filled) {
            let side = if child(*above, Side::Left) == *filled { Side::Left } else { Side::Right };
            let mut sibling = child(*above, side.other());
            if !is_black(sibling) {
                paint(sibling, true);
                paint(*above, false);
                self.rotate(*above, side);
                sibling = child(*above, side.other());
            }
            if is_black(child(sibling, side)) && is_black(child(sibling, side.other())) {
                paint(sibling, false);
                *filled = *above;
                *above = parent(*filled);
                continue;
            }
            if is_black(child(sibling, side.other())) {
                paint(child(sibling, side), true);
                paint(sibling, false);
                self.rotate(sibling, side.other());
                sibling = child(*above, side.other());
            }
            paint(sibling, is_black(*above));
            paint(*above, true);
            paint(child(sibling, side.other()), true);
            self.rotate(*above, side);
            *filled = self.root();
            *above = 0;
        }
        paint(*filled, true);
    }
}

/// Empties a tree whose elements have their nodes at `offset`.
pub(crate) fn take_all(field: Words<'_>, offset: u32, objects: &mut Vec<u64>) {
    let mut pending = vec![field.word(ROOT).swap(0)];
    while let Some(node) = pending.pop().and_then(Words::node) {
        pending.extend(
            [LEFT, RIGHT].map(|side| node.word(side).get()).into_iter().filter(|node| *node != 0),
        );
        node.word(OWNER).disown();
        objects.push(node.address() - u64::from(offset));
    }
}
