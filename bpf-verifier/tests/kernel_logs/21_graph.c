// Lists and trees of a program's own objects.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define contains(type, node) __attribute__((btf_decl_tag("contains:" #type ":" #node)))
#define kptr __attribute__((btf_type_tag("kptr")))
#define of(pointer, type, node) \
	((struct type *)((void *)(pointer) - __builtin_offsetof(struct type, node)))
#define make(type) ((struct type *)bpf_obj_new_impl(__builtin_btf_type_id(*(struct type *)0, 0), 0))
#define drop(object) bpf_obj_drop_impl(object, 0)

typedef _Bool bool;

void *bpf_obj_new_impl(__u64 type, void *meta) __ksym;
void bpf_obj_drop_impl(void *object, void *meta) __ksym;
void *bpf_refcount_acquire_impl(void *object, void *meta) __ksym;
int bpf_list_push_front_impl(struct bpf_list_head *, struct bpf_list_node *, void *, __u64) __ksym;
int bpf_list_push_back_impl(struct bpf_list_head *, struct bpf_list_node *, void *, __u64) __ksym;
struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *) __ksym;
struct bpf_list_node *bpf_list_back(struct bpf_list_head *) __ksym;
int bpf_rbtree_add_impl(struct bpf_rb_root *, struct bpf_rb_node *,
			bool (*)(struct bpf_rb_node *, const struct bpf_rb_node *), void *,
			__u64) __ksym;
struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *, struct bpf_rb_node *) __ksym;
struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *) __ksym;
struct bpf_rb_node *bpf_rbtree_root(struct bpf_rb_root *) __ksym;
struct bpf_rb_node *bpf_rbtree_left(struct bpf_rb_root *, struct bpf_rb_node *) __ksym;

struct job { int cost; struct bpf_list_node next; };
struct fact { int key; struct bpf_rb_node side; struct bpf_refcount owners; };
struct plain { int a; long b; };
struct kept { struct job kptr *job; struct fact kptr *fact; struct plain kptr *plain; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, struct kept);
} kept SEC(".maps");

#define hidden(name) SEC(".bss." name) __attribute__((visibility("hidden"), aligned(8)))
hidden("first") struct bpf_spin_lock lock;
hidden("first") struct bpf_list_head jobs contains(job, next);
hidden("first") struct bpf_rb_root facts contains(fact, side);
hidden("other") struct bpf_spin_lock other;

char _license[] SEC("license") = "GPL";

static bool before(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return of(a, fact, side)->key < of(b, fact, side)->key;
}

static bool asks_the_tree(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return bpf_rbtree_left(&facts, a) != 0;
}

static bool locks(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	bpf_spin_lock(&other);
	return 0;
}

#define put(less) \
	struct fact *fact = make(fact); \
	if (!fact) \
		return 0; \
	fact->key = 7; \
	bpf_spin_lock(&lock); \
	bpf_rbtree_add_impl(&facts, &fact->side, less, 0, 0); \
	bpf_spin_unlock(&lock);

SEC("tc") int add(void *skb) { put(before) return 0; }
SEC("tc") int rej_less_asks(void *skb) { put(asks_the_tree) return 0; }
SEC("tc") int rej_less_locks(void *skb) { put(locks) return 0; }
SEC("tc") int rej_looks_after_unlock(void *skb) { put(before) return fact->key; }

SEC("tc") int take_first(void *skb)
{
	struct bpf_rb_node *node;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_first(&facts);
	if (node)
		node = bpf_rbtree_remove(&facts, node);
	bpf_spin_unlock(&lock);
	if (node)
		drop(of(node, fact, side));
	return 0;
}

SEC("tc") int walk_down(void *skb)
{
	struct bpf_rb_node *node;
	int key = 0;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_root(&facts);
	if (node)
		node = bpf_rbtree_left(&facts, node);
	if (node)
		key = of(node, fact, side)->key;
	bpf_spin_unlock(&lock);
	return key;
}

SEC("tc") int rej_leaks_first(void *skb)
{
	struct bpf_rb_node *node;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_first(&facts);
	if (node)
		node = bpf_rbtree_remove(&facts, node);
	bpf_spin_unlock(&lock);
	return 0;
}

SEC("tc") int push_pop(void *skb)
{
	struct job *job = make(job);
	struct bpf_list_node *node;
	int cost = 0;

	if (!job)
		return 0;
	bpf_spin_lock(&lock);
	bpf_list_push_back_impl(&jobs, &job->next, 0, 0);
	job->cost = 3;
	node = bpf_list_pop_front(&jobs);
	bpf_spin_unlock(&lock);
	if (node) {
		cost = of(node, job, next)->cost;
		drop(of(node, job, next));
	}
	return cost;
}

SEC("tc") int rej_push_twice(void *skb)
{
	struct job *job = make(job);

	if (!job)
		return 0;
	bpf_spin_lock(&lock);
	bpf_list_push_back_impl(&jobs, &job->next, 0, 0);
	bpf_list_push_front_impl(&jobs, &job->next, 0, 0);
	bpf_spin_unlock(&lock);
	return 0;
}

SEC("tc") int rej_no_lock(void *skb)
{
	bpf_list_back(&jobs);
	return 0;
}

SEC("tc") int rej_other_lock(void *skb)
{
	bpf_spin_lock(&other);
	bpf_list_back(&jobs);
	bpf_spin_unlock(&other);
	return 0;
}

SEC("tc") int rej_wrong_element(void *skb)
{
	struct fact *fact = make(fact);

	if (!fact)
		return 0;
	bpf_spin_lock(&lock);
	bpf_list_push_back_impl(&jobs, (void *)&fact->side, 0, 0);
	bpf_spin_unlock(&lock);
	return 0;
}

SEC("tc") int rej_drops_node(void *skb)
{
	struct bpf_list_node *node;

	bpf_spin_lock(&lock);
	node = bpf_list_pop_front(&jobs);
	bpf_spin_unlock(&lock);
	if (node)
		drop(node);
	return 0;
}

SEC("tc") int rej_drops_borrowed(void *skb)
{
	struct bpf_list_node *node;

	bpf_spin_lock(&lock);
	node = bpf_list_back(&jobs);
	bpf_spin_unlock(&lock);
	if (node)
		drop(of(node, job, next));
	return 0;
}

SEC("tc") int share(void *skb)
{
	struct fact *fact = make(fact), *second, *old;
	struct kept *value;
	int key = 0;

	value = bpf_map_lookup_elem(&kept, &key);
	if (!fact)
		return 0;
	if (!value) {
		drop(fact);
		return 0;
	}
	second = bpf_refcount_acquire_impl(fact, 0);
	old = bpf_kptr_xchg(&value->fact, second);
	if (old)
		drop(old);
	bpf_spin_lock(&lock);
	bpf_rbtree_add_impl(&facts, &fact->side, before, 0, 0);
	bpf_spin_unlock(&lock);
	return 0;
}

SEC("tc") int looks_at_kept(void *skb)
{
	struct kept *value;
	struct job *job;
	int key = 0;

	value = bpf_map_lookup_elem(&kept, &key);
	if (!value)
		return 0;
	job = value->job;
	return job ? job->cost : 0;
}

SEC("tc") int rej_counts_uncounted(void *skb)
{
	struct job *job = make(job);

	if (!job)
		return 0;
	bpf_refcount_acquire_impl(job, 0);
	return 0;
}

SEC("tc") int rej_node_as_data(void *skb)
{
	struct job *job = make(job);

	if (!job)
		return 0;
	*(long *)&job->next = 1;
	drop(job);
	return 0;
}
