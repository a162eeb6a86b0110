// Kernel functions: sections, locks, iterators, dynptrs, strings, work.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef _Bool bool;
struct bpf_res_spin_lock { __u32 val; } __attribute__((aligned(4)));
struct bpf_task_work { __u64 ctx; } __attribute__((aligned(8)));
struct bpf_iter_bits { __u64 words[2]; } __attribute__((aligned(8)));
struct bpf_iter_task { __u64 words[3]; } __attribute__((aligned(8)));
struct task_struct { int pid; };

void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;
void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;
void bpf_local_irq_save(unsigned long *) __ksym;
void bpf_local_irq_restore(unsigned long *) __ksym;
int bpf_res_spin_lock(struct bpf_res_spin_lock *) __ksym;
void bpf_res_spin_unlock(struct bpf_res_spin_lock *) __ksym;
int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *, unsigned long *) __ksym;
void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *, unsigned long *) __ksym;
void bpf_throw(__u64) __ksym;
int bpf_strcmp(const char *, const char *) __ksym;
int bpf_strlen(const char *) __ksym;
int bpf_copy_from_user_str(void *, __u32, const void *, __u64) __ksym;
int bpf_wq_init(struct bpf_wq *, void *, unsigned int) __ksym;
int bpf_wq_start(struct bpf_wq *, unsigned int) __ksym;
int bpf_wq_set_callback_impl(struct bpf_wq *, int (*)(void *, int *, void *), unsigned int, void *) __ksym;
int bpf_iter_bits_new(struct bpf_iter_bits *, const __u64 *, __u32) __ksym;
int *bpf_iter_bits_next(struct bpf_iter_bits *) __ksym;
void bpf_iter_bits_destroy(struct bpf_iter_bits *) __ksym;
__u32 bpf_dynptr_size(const struct bpf_dynptr *) __ksym;
int bpf_dynptr_clone(const struct bpf_dynptr *, struct bpf_dynptr *) __ksym;
void *bpf_dynptr_slice(const struct bpf_dynptr *, __u32, void *, __u32) __ksym;
struct task_struct *bpf_task_from_pid(int) __ksym;
struct task_struct *bpf_task_acquire(struct task_struct *) __ksym;
void bpf_task_release(struct task_struct *) __ksym;
void *bpf_rdonly_cast(const void *, __u32) __ksym;

struct locked { struct bpf_res_spin_lock lock; int count; };
struct worker { struct bpf_wq work; int count; };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct locked);
} locked SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct worker);
} workers SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct worker);
} others SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, __u64[8]);
} bytes SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

char _license[] SEC("license") = "GPL";

#define find(map, type) \
	int key = 0; \
	struct type *value = bpf_map_lookup_elem(&map, &key); \
	if (!value) \
		return 0;

SEC("tc") int lock_may_fail(void *skb)
{
	find(locked, locked)
	if (bpf_res_spin_lock(&value->lock))
		return 0;
	value->count++;
	bpf_res_spin_unlock(&value->lock);
	return 0;
}

SEC("tc") int rej_lock_taken_for_granted(void *skb)
{
	find(locked, locked)
	bpf_res_spin_lock(&value->lock);
	value->count++;
	bpf_res_spin_unlock(&value->lock);
	return 0;
}

SEC("tc") int rej_lock_twice(void *skb)
{
	find(locked, locked)
	if (bpf_res_spin_lock(&value->lock))
		return 0;
	if (!bpf_res_spin_lock(&value->lock))
		bpf_res_spin_unlock(&value->lock);
	bpf_res_spin_unlock(&value->lock);
	return 0;
}

SEC("tc") int lock_with_flags(void *skb)
{
	unsigned long flags;
	find(locked, locked)
	if (bpf_res_spin_lock_irqsave(&value->lock, &flags))
		return 0;
	bpf_res_spin_unlock_irqrestore(&value->lock, &flags);
	return 0;
}

SEC("tc") int rej_flags_of_a_lock(void *skb)
{
	unsigned long flags;
	find(locked, locked)
	if (bpf_res_spin_lock_irqsave(&value->lock, &flags))
		return 0;
	bpf_local_irq_restore(&flags);
	return 0;
}

SEC("tc") int rej_interrupts_out_of_order(void *skb)
{
	unsigned long a, b, c;

	bpf_local_irq_save(&a);
	bpf_local_irq_save(&b);
	bpf_local_irq_save(&c);
	bpf_local_irq_restore(&b);
	return 0;
}

SEC("tc") int rej_flags_overwritten(void *skb)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	*(volatile unsigned long *)&flags = 1;
	bpf_local_irq_restore(&flags);
	return 0;
}

SEC("tc") int rej_section_in_section(void *skb)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tc") int rej_not_preemptible(void *skb)
{
	bpf_preempt_disable();
	return 0;
}

SEC("syscall") int rej_sleeps(void *ctx)
{
	char text[16];

	bpf_rcu_read_lock();
	bpf_copy_from_user_str(text, 16, 0, 0);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall") int copies(void *ctx)
{
	char text[16];

	return bpf_copy_from_user_str(text, 16, 0, 0);
}

SEC("syscall") int rej_copies_too_much(void *ctx)
{
	char text[16];

	return bpf_copy_from_user_str(text, 17, 0, 0);
}

SEC("tc") int throws(void *skb)
{
	if (bpf_get_prandom_u32() > 3)
		bpf_throw(1);
	return 0;
}

SEC("tc") int rej_throws_in_section(void *skb)
{
	bpf_rcu_read_lock();
	bpf_throw(1);
	return 0;
}

SEC("tc") int text_of_anything(void *skb)
{
	return bpf_strlen((char *)8) + bpf_strlen(skb);
}

static int work(void *map, int *key, void *value)
{
	struct worker *worker = value;

	worker->count = *key;
	return 0;
}

static int answers(void *map, int *key, void *value)
{
	return 1;
}

SEC("tc") int queues(void *skb)
{
	find(workers, worker)
	bpf_wq_init(&value->work, &workers, 0);
	bpf_wq_set_callback_impl(&value->work, work, 0, 0);
	bpf_wq_start(&value->work, 0);
	return 0;
}

SEC("tc") int rej_work_answers(void *skb)
{
	find(workers, worker)
	bpf_wq_set_callback_impl(&value->work, answers, 0, 0);
	return 0;
}

SEC("tc") int rej_work_of_another_map(void *skb)
{
	find(workers, worker)
	bpf_wq_init(&value->work, &others, 0);
	return 0;
}

SEC("tc") int rej_no_work_there(void *skb)
{
	find(workers, worker)
	bpf_wq_init((void *)&value->count, &workers, 0);
	return 0;
}

SEC("tc") int counts_bits(void *skb)
{
	struct bpf_iter_bits bits;
	__u64 word = 5;
	int *bit, sum = 0;

	bpf_iter_bits_new(&bits, &word, 1);
	while ((bit = bpf_iter_bits_next(&bits)))
		sum += *bit;
	bpf_iter_bits_destroy(&bits);
	return sum;
}

SEC("tc") int rej_bits_leak(void *skb)
{
	struct bpf_iter_bits bits;
	__u64 word = 5;

	bpf_iter_bits_new(&bits, &word, 1);
	return 0;
}

SEC("tc") int rej_clone_given_back(void *skb)
{
	struct bpf_dynptr first, second;

	bpf_ringbuf_reserve_dynptr(&ring, 8, 0, &first);
	bpf_dynptr_clone(&first, &second);
	bpf_ringbuf_submit_dynptr(&first, 0);
	return bpf_dynptr_size(&second);
}

SEC("tc") int slices(void *skb)
{
	struct bpf_dynptr whole;
	char room[16], *part;
	int key = 0;
	void *value = bpf_map_lookup_elem(&bytes, &key);

	if (!value)
		return 0;
	bpf_dynptr_from_mem(value, 64, 0, &whole);
	part = bpf_dynptr_slice(&whole, 0, room, 16);
	return part ? part[15] : 0;
}

SEC("tc") int rej_slice_ends(void *skb)
{
	struct bpf_dynptr whole;
	char room[16], *part;
	int key = 0;
	void *value = bpf_map_lookup_elem(&bytes, &key);

	if (!value)
		return 0;
	bpf_dynptr_from_mem(value, 64, 0, &whole);
	part = bpf_dynptr_slice(&whole, 0, room, 16);
	return part ? part[16] : 0;
}

SEC("tc") int holds_a_task(void *skb)
{
	struct task_struct *task = bpf_task_from_pid(1), *again;

	if (!task)
		return 0;
	again = bpf_task_acquire(task);
	bpf_task_release(task);
	if (again)
		bpf_task_release(again);
	return 0;
}

SEC("tc") int rej_releases_nothing(void *skb)
{
	bpf_task_release(bpf_task_from_pid(1));
	return 0;
}

SEC("tc") int rej_keeps_a_task(void *skb)
{
	return bpf_task_from_pid(1) != 0;
}

SEC("tc") int reads_anything(void *skb)
{
	char *bytes = bpf_rdonly_cast((void *)8, 0);

	return bytes[123456];
}
