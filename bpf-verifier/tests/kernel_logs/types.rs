//! The kernel's types and functions that the logs name, in text, under the ids that the kernel of
//! the logs has them under.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bpf_btf::{Btf, Builder, FuncLinkage, Fwd, TypeId};

/// Structures: name and size in bytes. What is in them is of no interest.
const STRUCTURES: &[(&str, u32)] = &[
    ("bpf_iter_num", 8),
    ("bpf_list_head", 16),
    ("bpf_list_node", 24),
    ("bpf_rb_root", 16),
    ("bpf_rb_node", 32),
];

/// Functions: id and prototype; `fn` is any function, a star follows what it points to.
const FUNCTIONS: &[(u32, &str)] = &[
    (64211, "void bpf_iter_num_destroy(bpf_iter_num* it)"),
    (64214, "int bpf_iter_num_new(bpf_iter_num* it, int start, int end)"),
    (64217, "int* bpf_iter_num_next(bpf_iter_num* it)"),
    (64441, "bpf_list_node* bpf_list_back(bpf_list_head* head)"),
    (64449, "bpf_list_node* bpf_list_pop_front(bpf_list_head* head)"),
    (
        64452,
        "int bpf_list_push_back_impl(bpf_list_head* head, bpf_list_node* node, void* meta__ign, u64 off)",
    ),
    (
        64454,
        "int bpf_list_push_front_impl(bpf_list_head* head, bpf_list_node* node, void* meta__ign, u64 off)",
    ),
    (65189, "void bpf_obj_drop_impl(void* p__alloc, void* meta__ign)"),
    (65203, "void* bpf_obj_new_impl(u64 local_type_id__k, void* meta__ign)"),
    (
        65456,
        "int bpf_rbtree_add_impl(bpf_rb_root* root, bpf_rb_node* node, fn* less, void* meta__ign, u64 off)",
    ),
    (65459, "bpf_rb_node* bpf_rbtree_first(bpf_rb_root* root)"),
    (65462, "bpf_rb_node* bpf_rbtree_left(bpf_rb_root* root, bpf_rb_node* node)"),
    (65464, "bpf_rb_node* bpf_rbtree_remove(bpf_rb_root* root, bpf_rb_node* node)"),
    (65468, "bpf_rb_node* bpf_rbtree_root(bpf_rb_root* root)"),
    (65453, "void bpf_rcu_read_lock()"),
    (65455, "void bpf_rcu_read_unlock()"),
    (65485, "void* bpf_refcount_acquire_impl(void* p__refcounted_kptr, void* meta__ign)"),
];

/// All of them.
pub(crate) fn kernel() -> Arc<Btf> {
    static BTF: OnceLock<Arc<Btf>> = OnceLock::new();
    Arc::clone(BTF.get_or_init(|| Arc::new(build())))
}

fn build() -> Btf {
    let mut btf = Builder::new();
    let mut types = BTreeMap::from([("void", TypeId(0))]);
    types.insert("int", btf.int("int", 4, true));
    types.insert("u64", btf.int("u64", 8, false));
    types.insert("fn", btf.proto(TypeId(0), &[]));
    for (name, size) in STRUCTURES {
        let words = btf.array(types["u64"], types["int"], size / 8);
        types.insert(name, btf.structure(name, *size, &[("words", words, 0)]));
    }
    let mut functions: Vec<_> = FUNCTIONS
        .iter()
        .map(|(id, text)| {
            let (head, params) = text.strip_suffix(')').unwrap().split_once('(').unwrap();
            let (ret, name) = head.split_once(' ').unwrap();
            let params: Vec<_> = params
                .split_terminator(", ")
                .map(|param| param.split_once(' ').unwrap())
                .map(|(ty, name)| (name, type_of(&mut btf, &types, ty)))
                .collect();
            let ret = type_of(&mut btf, &types, ret);
            (*id, name, btf.proto(ret, &params))
        })
        .collect();
    functions.sort_unstable();
    let mut free = btf.fwd("filler", Fwd::Struct).0 + 1;
    for (id, name, proto) in functions {
        for _ in free..id {
            btf.fwd("filler", Fwd::Struct);
        }
        assert_eq!(btf.func(name, proto, FuncLinkage::Static), TypeId(id));
        free = id + 1;
    }
    btf.finish().unwrap()
}

fn type_of(btf: &mut Builder, types: &BTreeMap<&str, TypeId>, text: &str) -> TypeId {
    match text.strip_suffix('*') {
        Some(to) => {
            let to = type_of(btf, types, to);
            btf.ptr(to)
        }
        None => types[text],
    }
}
