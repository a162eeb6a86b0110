//! Objects that programs allocate, and lists and trees of them.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::object::{NodeAt, ObjectAt, ObjectOrNull};
use crate::helpers::args::{Cx, Func, Int};
use crate::owned::list::{self, End};
use crate::owned::tree::{Side, Tree};

helper! {
    /// Allocates an object of one of the program's types; null if there is no memory.
    0x7ffe_0025 Any => fn bpf_obj_new_impl(cx, local_type_id: u64, types: u64) -> ObjectOrNull {
        let id = u32::try_from(local_type_id).ok();
        ObjectOrNull(id.and_then(|id| cx.env().shared.objects.allocate(types, id)))
    }
}

helper! {
    /// Lets an object go; it is freed if nobody else owns it.
    0x7ffe_0026 Any => fn bpf_obj_drop_impl(cx, object: ObjectAt<'a>) -> () {
        cx.env().shared.objects.release(object.address());
    }
}

helper! {
    /// One more owner of an object that counts them.
    0x7ffe_0027 Any => fn bpf_refcount_acquire_impl(cx, object: ObjectAt<'a>) -> ObjectOrNull {
        ObjectOrNull(cx.env().shared.objects.acquire(object.address()))
    }
}

helper! {
    /// Puts an object first in a list; if it is in one already, it is let go, and the result is
    /// `-EINVAL`.
    0x7ffe_0028 Any => fn bpf_list_push_front_impl(cx, head: NodeAt<'a>, node: NodeAt<'a>) -> Int {
        let pushed = list::push(head.words(), node.words(), End::Front);
        owned(cx, pushed, node, list::OWNER)
    }
}

helper! {
    /// Puts an object last in a list, as `bpf_list_push_front_impl` does first.
    0x7ffe_0029 Any => fn bpf_list_push_back_impl(cx, head: NodeAt<'a>, node: NodeAt<'a>) -> Int {
        let pushed = list::push(head.words(), node.words(), End::Back);
        owned(cx, pushed, node, list::OWNER)
    }
}

/// The result of handing a node over.
fn owned(cx: Cx<'_>, taken: bool, node: NodeAt<'_>, owner: u32) -> Int {
    if taken {
        return Ok(0);
    }
    let words = node.words();
    cx.env().shared.objects.release(words.word(owner).object(words.address()));
    Err(Errno::EINVAL)
}

helper! {
    /// Takes the first node of a list; null if there is none.
    0x7ffe_002a Any => fn bpf_list_pop_front(_cx, head: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(list::pop(head.words(), End::Front))
    }
}

helper! {
    /// Takes the last node of a list; null if there is none.
    0x7ffe_002b Any => fn bpf_list_pop_back(_cx, head: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(list::pop(head.words(), End::Back))
    }
}

helper! {
    /// The first node of a list, which stays there; null if there is none.
    0x7ffe_002c Any => fn bpf_list_front(_cx, head: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(list::peek(head.words(), End::Front))
    }
}

helper! {
    /// The last node of a list, which stays there; null if there is none.
    0x7ffe_002d Any => fn bpf_list_back(_cx, head: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(list::peek(head.words(), End::Back))
    }
}

helper! {
    /// Puts an object into a tree, before all that it is less than; if it is in one already, it is
    /// let go, and the result is `-EINVAL`.
    0x7ffe_002e Any => fn bpf_rbtree_add_impl(cx, root: NodeAt<'a>, node: NodeAt<'a>, less: Func) -> Int {
        let less = |a, b| cx.call(less, [a, b, 0, 0]).is_ok_and(|less| less != 0);
        let added = Tree::new(root.words()).add(node.words(), less);
        owned(cx, added, node, crate::owned::tree::OWNER)
    }
}

helper! {
    /// Takes a node out of a tree; null if it is not in it.
    0x7ffe_002f Any => fn bpf_rbtree_remove(_cx, root: NodeAt<'a>, node: NodeAt<'a>) -> ObjectOrNull {
        let removed = Tree::new(root.words()).remove(node.words());
        ObjectOrNull(removed.then(|| node.words().address()))
    }
}

helper! {
    /// The first node in a tree's order; null if there is none.
    0x7ffe_0030 Any => fn bpf_rbtree_first(_cx, root: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(Tree::new(root.words()).first())
    }
}

helper! {
    /// The node at a tree's top; null if there is none.
    0x7ffe_0031 Any => fn bpf_rbtree_root(_cx, root: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(Tree::new(root.words()).root())
    }
}

helper! {
    /// A node's left child; null if there is none, or the node is not in the tree.
    0x7ffe_0032 Any => fn bpf_rbtree_left(_cx, root: NodeAt<'a>, node: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(Tree::new(root.words()).child(node.words(), Side::Left))
    }
}

helper! {
    /// A node's right child, as `bpf_rbtree_left`.
    0x7ffe_0033 Any => fn bpf_rbtree_right(_cx, root: NodeAt<'a>, node: NodeAt<'a>) -> ObjectOrNull {
        ObjectOrNull::at(Tree::new(root.words()).child(node.words(), Side::Right))
    }
}
