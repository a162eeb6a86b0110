// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Objects that programs allocate, in lists, in trees, and behind pointers.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_list_head { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_list_node { __u64 opaque[3]; } __attribute__((aligned(8)));
struct bpf_rb_root { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_rb_node { __u64 opaque[4]; } __attribute__((aligned(8)));
struct bpf_refcount { __u32 opaque[1]; } __attribute__((aligned(4)));

#define __contains(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))
#define __kptr_of __attribute__((btf_type_tag("kptr")))
#define own_section(name) SEC(".data." #name) __hidden __attribute__((aligned(8)))

extern void *bpf_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *kptr, void *meta) __ksym;
extern void *bpf_refcount_acquire_impl(void *kptr, void *meta) __ksym;
extern int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta, __u64 off) __ksym;
extern int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta, __u64 off) __ksym;
extern struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_pop_back(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_front(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_back(struct bpf_list_head *head) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node,
			       _Bool (less)(struct bpf_rb_node *a, const struct bpf_rb_node *b),
			       void *meta, __u64 off) __ksym;
extern struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;
extern struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_root(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_left(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;
extern struct bpf_rb_node *bpf_rbtree_right(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;

#define new(type) ((type *)bpf_obj_new_impl(bpf_core_type_id_local(type), 0))
#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(typeof(type) *)0, 0)

__s64 args[4];
__s64 out[16];
__u8 buf[256];

struct item {
	__u64 key;
	struct bpf_list_node node;
	__u64 data[3];
};

struct leaf {
	struct bpf_rb_node node;
	struct bpf_list_node also;
	__u64 key;
	struct bpf_refcount owners;
};

struct plain {
	__u64 a, b;
};

struct value {
	__u64 count;
	struct plain __kptr_of *kept;
};

own_section(A) struct bpf_spin_lock lock;
own_section(A) struct bpf_list_head items __contains(item, node);

own_section(B) struct bpf_spin_lock tree_lock;
own_section(B) struct bpf_rb_root tree __contains(leaf, node);
own_section(B) struct bpf_list_head leaves __contains(leaf, also);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct value);
} array SEC(".maps");

static __always_inline int push(__u64 key, int front)
{
	struct item *item = new(struct item);

	if (!item)
		return -1;
	item->key = key;
	item->data[1] = key * 2;
	bpf_spin_lock(&lock);
	if (front)
		bpf_list_push_front_impl(&items, &item->node, 0, 0);
	else
		bpf_list_push_back_impl(&items, &item->node, 0, 0);
	bpf_spin_unlock(&lock);
	return 0;
}

static __always_inline __s64 pop(int front)
{
	struct bpf_list_node *node;
	struct item *item;
	__s64 found;

	bpf_spin_lock(&lock);
	node = front ? bpf_list_pop_front(&items) : bpf_list_pop_back(&items);
	bpf_spin_unlock(&lock);
	if (!node)
		return -1;
	item = container_of(node, struct item, node);
	found = item->key + item->data[1];
	bpf_obj_drop_impl(item, 0);
	return found;
}

static __always_inline __s64 peek(int front)
{
	struct bpf_list_node *node;
	__s64 found = -1;

	bpf_spin_lock(&lock);
	node = front ? bpf_list_front(&items) : bpf_list_back(&items);
	if (node)
		found = container_of(node, struct item, node)->key;
	bpf_spin_unlock(&lock);
	return found;
}

SEC("tc")
int lists(struct __sk_buff *ctx)
{
	__s64 found = 0;
	int i;

	/* What the run before left. */
	out[0] = peek(1);
	out[1] = peek(0);
	for (i = 0; i < 6; i++)
		push(args[0] + i, (args[1] >> i) & 1);
	out[2] = peek(1);
	out[3] = peek(0);
	for (i = 0; i < 5; i++) {
		found = found * 31 + pop((args[2] >> i) & 1);
		out[4 + i] = found;
	}
	if (args[3])
		for (i = 0; i < 4; i++)
			out[9 + i] = pop(i & 1);
	return found;
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct leaf, node)->key < container_of(b, struct leaf, node)->key;
}

static __always_inline int add(__u64 key)
{
	struct leaf *leaf = new(struct leaf);

	if (!leaf)
		return -1;
	leaf->key = key;
	bpf_spin_lock(&tree_lock);
	bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0);
	bpf_spin_unlock(&tree_lock);
	return 0;
}

/* The top of the tree and what is below it, as far as it matters. */
static __always_inline void look(int at)
{
	struct bpf_rb_node *root, *left, *right;

	bpf_spin_lock(&tree_lock);
	root = bpf_rbtree_root(&tree);
	if (root) {
		out[at & 15] = container_of(root, struct leaf, node)->key;
		left = bpf_rbtree_left(&tree, root);
		if (left) {
			out[(at + 1) & 15] = container_of(left, struct leaf, node)->key;
			left = bpf_rbtree_right(&tree, left);
			if (left)
				out[(at + 2) & 15] = container_of(left, struct leaf, node)->key;
		}
		right = bpf_rbtree_right(&tree, root);
		if (right) {
			out[(at + 3) & 15] = container_of(right, struct leaf, node)->key;
			right = bpf_rbtree_left(&tree, right);
			if (right)
				out[(at + 4) & 15] = container_of(right, struct leaf, node)->key;
		}
	}
	bpf_spin_unlock(&tree_lock);
}

/* Takes the first, or the top. */
static __always_inline __s64 take(int first)
{
	struct bpf_rb_node *node;
	__s64 found;

	bpf_spin_lock(&tree_lock);
	node = first ? bpf_rbtree_first(&tree) : bpf_rbtree_root(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return -1;
	}
	node = bpf_rbtree_remove(&tree, node);
	bpf_spin_unlock(&tree_lock);
	if (!node)
		return -2;
	found = container_of(node, struct leaf, node)->key;
	bpf_obj_drop_impl(container_of(node, struct leaf, node), 0);
	return found;
}

SEC("tc")
int trees(struct __sk_buff *ctx)
{
	__s64 found = 0;
	int i;

	for (i = 0; i < 12; i++)
		add((args[0] * (i + 1) * (i + args[1])) & 63);
	look(0);
	for (i = 0; i < 6; i++)
		found = found * 7 + take((args[2] >> i) & 1);
	out[5] = found;
	look(6);
	if (args[3])
		for (i = 0; i < 14; i++)
			found = found * 7 + take((i & 3) != 1);
	out[11] = found;
	return found;
}

/* One object in a tree and in a list. */
SEC("tc")
int shared(struct __sk_buff *ctx)
{
	struct leaf *leaf = new(struct leaf), *again;
	struct bpf_list_node *listed;
	struct bpf_rb_node *node;

	if (!leaf)
		return 1;
	leaf->key = args[0];
	again = bpf_refcount_acquire_impl(leaf, 0);
	if (!again) {
		bpf_obj_drop_impl(leaf, 0);
		return 2;
	}
	bpf_spin_lock(&tree_lock);
	out[0] = bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0);
	out[1] = bpf_list_push_back_impl(&leaves, &again->also, 0, 0);
	bpf_spin_unlock(&tree_lock);
	bpf_spin_lock(&tree_lock);
	listed = bpf_list_pop_front(&leaves);
	bpf_spin_unlock(&tree_lock);
	if (!listed)
		return 3;
	again = container_of(listed, struct leaf, also);
	out[2] = again->key;
	/* It is in the tree already. */
	bpf_spin_lock(&tree_lock);
	out[3] = bpf_rbtree_add_impl(&tree, &again->node, less, 0, 0);
	bpf_spin_unlock(&tree_lock);
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_first(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return 4;
	}
	out[4] = container_of(node, struct leaf, node)->key;
	node = bpf_rbtree_remove(&tree, node);
	bpf_spin_unlock(&tree_lock);
	if (!node)
		return 5;
	out[5] = container_of(node, struct leaf, node)->key;
	bpf_obj_drop_impl(container_of(node, struct leaf, node), 0);
	return 6;
}

static __always_inline __s64 stash(void *map, __u32 key, __u64 a)
{
	struct value *value = bpf_map_lookup_elem(map, &key);
	struct plain *plain, *old;
	__s64 found = -1;

	if (!value)
		return -2;
	plain = new(struct plain);
	if (!plain)
		return -3;
	plain->a = a;
	plain->b = ~a;
	value->count++;
	old = bpf_kptr_xchg(&value->kept, plain);
	if (old) {
		found = old->a + old->b + 1;
		found = found ? -4 : (__s64)old->a;
		bpf_obj_drop_impl(old, 0);
	}
	return found;
}

SEC("tc")
int pointers(struct __sk_buff *ctx)
{
	struct value empty = {};
	__u32 key = args[0] & 3;

	if (args[1] & 1)
		out[0] = bpf_map_update_elem(&hash, &key, &empty, 0);
	out[1] = stash(&hash, key, args[2]);
	out[2] = stash(&hash, key, args[3]);
	if (args[1] & 2)
		out[3] = bpf_map_delete_elem(&hash, &key);
	out[4] = stash(&array, key & 1, args[2]);
	if (args[1] & 4) {
		key &= 1;
		out[5] = bpf_map_update_elem(&array, &key, &empty, 0);
	}
	out[6] = stash(&array, key & 1, args[3]);
	return 0;
}

char _license[] SEC("license") = "GPL";
