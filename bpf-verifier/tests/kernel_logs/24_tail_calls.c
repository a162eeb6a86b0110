// Tail calls: where they may stand, what is left after one that was not taken, and how deep.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))
#define TAKES(bytes) char room[bytes]; char *place = room; asm volatile("*(u8 *)(%0 + 0) = 1" :: "r"(place) : "memory")

void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;
void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;
void bpf_local_irq_save(unsigned long *) __ksym;
void bpf_local_irq_restore(unsigned long *) __ksym;
struct bpf_res_spin_lock { __u32 val; } __attribute__((aligned(4)));
int bpf_res_spin_lock(struct bpf_res_spin_lock *) __ksym;
void bpf_res_spin_unlock(struct bpf_res_spin_lock *) __ksym;
void bpf_throw(__u64) __ksym;

struct locked { struct bpf_spin_lock lock; int count; };
struct resilient { struct bpf_res_spin_lock lock; int count; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct locked);
} locks SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct resilient);
} resilients SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
struct programs {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} jmp SEC(".maps"), other SEC(".maps");

SEC("tc") int rej_spin_lock(struct __sk_buff *ctx)
{
	int key = 0;
	struct locked *value = bpf_map_lookup_elem(&locks, &key);

	if (!value)
		return 0;
	bpf_spin_lock(&value->lock);
	bpf_tail_call(ctx, &jmp, 0);
	bpf_spin_unlock(&value->lock);
	return 1;
}

SEC("tc") int rej_res_spin_lock(struct __sk_buff *ctx)
{
	int key = 0;
	struct resilient *value = bpf_map_lookup_elem(&resilients, &key);

	if (!value || bpf_res_spin_lock(&value->lock))
		return 0;
	bpf_tail_call(ctx, &jmp, 0);
	bpf_res_spin_unlock(&value->lock);
	return 1;
}

SEC("tc") int rej_rcu(struct __sk_buff *ctx)
{
	bpf_rcu_read_lock();
	bpf_tail_call(ctx, &jmp, 0);
	bpf_rcu_read_unlock();
	return 1;
}

SEC("tc") int rej_preempt(struct __sk_buff *ctx)
{
	bpf_preempt_disable();
	bpf_tail_call(ctx, &jmp, 0);
	bpf_preempt_enable();
	return 1;
}

SEC("tc") int rej_irq(struct __sk_buff *ctx)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	bpf_tail_call(ctx, &jmp, 0);
	bpf_local_irq_restore(&flags);
	return 1;
}

SEC("tc") int rej_socket(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), 0, 0);

	bpf_tail_call(ctx, &jmp, 0);
	if (sk)
		bpf_sk_release(sk);
	return 1;
}

SEC("tc") int rej_reserved(struct __sk_buff *ctx)
{
	void *room = bpf_ringbuf_reserve(&events, 8, 0);

	if (!room)
		return 0;
	bpf_tail_call(ctx, &jmp, 0);
	bpf_ringbuf_discard(room, 0);
	return 1;
}

SEC("tc") int rej_dynptr(struct __sk_buff *ctx)
{
	struct bpf_dynptr room;

	bpf_ringbuf_reserve_dynptr(&events, 8, 0, &room);
	bpf_tail_call(ctx, &jmp, 0);
	bpf_ringbuf_discard_dynptr(&room, 0);
	return 1;
}

SEC("tc") int acc_released(struct __sk_buff *ctx)
{
	void *room;

	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	bpf_preempt_disable();
	bpf_preempt_enable();
	room = bpf_ringbuf_reserve(&events, 8, 0);
	if (room)
		bpf_ringbuf_discard(room, 0);
	bpf_tail_call(ctx, &jmp, 0);
	return 1;
}

// What the caller of the function that tail-calls holds: regions count, what it will release does not.
static NOINLINE int jump(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &jmp, 1);
	return 5;
}

SEC("tc") int rej_rcu_of_caller(struct __sk_buff *ctx)
{
	int result;

	bpf_rcu_read_lock();
	result = jump(ctx);
	KEEP(result);
	bpf_rcu_read_unlock();
	return result;
}

SEC("tc") int acc_socket_of_caller(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), 0, 0);
	int result = jump(ctx);

	KEEP(result);
	if (sk)
		bpf_sk_release(sk);
	return result;
}

NOINLINE int global_jump(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &jmp, 2);
	return 6;
}

SEC("tc") int acc_global(struct __sk_buff *ctx)
{
	int result = global_jump(ctx);

	KEEP(result);
	return result + 1;
}

SEC("tc") int rej_packet_after_global(struct __sk_buff *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int result;

	if (data + 1 > end)
		return 0;
	result = global_jump(ctx);
	KEEP(result);
	return data[0];
}

SEC("tc") int rej_packet_after_static(struct __sk_buff *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int result;

	if (data + 1 > end)
		return 0;
	result = jump(ctx);
	KEEP(result);
	return data[0];
}

SEC("tc") int acc_packet_after_own(struct __sk_buff *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 1 > end)
		return 0;
	bpf_tail_call(ctx, &jmp, 0);
	return data[0];
}

#define OF(name, call, bytes)                                                                      \
	static NOINLINE int name(struct __sk_buff *ctx)                                            \
	{                                                                                          \
		TAKES(bytes);                                                                      \
		int result = call(ctx);                                                            \
		KEEP(result);                                                                      \
		return result;                                                                     \
	}

static NOINLINE int jump_of_all(struct __sk_buff *ctx)
{
	TAKES(496);
	bpf_tail_call(ctx, &jmp, 1);
	return 5;
}

static NOINLINE int jump_of_some(struct __sk_buff *ctx)
{
	TAKES(240);
	bpf_tail_call(ctx, &jmp, 1);
	return 5;
}

OF(below_112, jump, 112)
OF(below_96, jump, 96)

SEC("tc") int acc_240_before(struct __sk_buff *ctx)
{
	TAKES(240);
	return jump_of_some(ctx) + room[0];
}

SEC("tc") int rej_256_before(struct __sk_buff *ctx)
{
	TAKES(241);
	return jump(ctx) + room[0];
}

SEC("tc") int acc_own_frame_is_not_before(struct __sk_buff *ctx)
{
	return jump_of_all(ctx) + 1;
}

SEC("tc") int acc_two_before(struct __sk_buff *ctx)
{
	TAKES(112);
	return below_112(ctx) + room[0];
}

SEC("tc") int rej_two_before(struct __sk_buff *ctx)
{
	TAKES(160);
	return below_96(ctx) + room[0];
}

// Only those on the way count: the second function's frame is large and calls nothing.
static NOINLINE int large(struct __sk_buff *ctx)
{
	TAKES(400);
	return room[0];
}

SEC("tc") int acc_large_beside(struct __sk_buff *ctx)
{
	int one = large(ctx), two = jump(ctx);

	KEEP(one);
	return one + two;
}

// The one that is called by main has no frames before it, and main's own tail call has none either.
SEC("tc") int acc_main_of_all(struct __sk_buff *ctx)
{
	TAKES(500);
	bpf_tail_call(ctx, &jmp, 0);
	return room[0];
}

// One array or the other, by what the packet says; which key, by what the branch says.
SEC("tc") int acc_two_arrays(struct __sk_buff *ctx)
{
	void *map = ctx->mark ? (void *)&jmp : (void *)&other;

	KEEP(map);
	bpf_tail_call(ctx, map, 3);
	return 1;
}

SEC("tc") int acc_two_keys(struct __sk_buff *ctx)
{
	__u32 key = ctx->mark ? 1 : 2;

	KEEP(key);
	bpf_tail_call(ctx, &jmp, key);
	return 1;
}

SEC("tc") int acc_beyond(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &jmp, 4);
	bpf_tail_call(ctx, &jmp, 0xffffffff);
	bpf_tail_call(ctx, &other, 0);
	return 1;
}

SEC("tc") int rej_context_moved(struct __sk_buff *ctx)
{
	bpf_tail_call((void *)ctx + 8, &jmp, 0);
	return 1;
}

SEC("tc") int rej_no_map(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, (void *)0, 0);
	return 1;
}

SEC("tc") int rej_map_value(struct __sk_buff *ctx)
{
	int key = 0;
	void *value = bpf_map_lookup_elem(&locks, &key);

	if (value)
		bpf_tail_call(ctx, value, 0);
	return 1;
}

SEC("tc") int rej_delete(struct __sk_buff *ctx)
{
	int key = 0;

	return bpf_map_delete_elem(&jmp, &key);
}

SEC("tc") int rej_update(struct __sk_buff *ctx)
{
	int key = 0, value = 3;

	return bpf_map_update_elem(&jmp, &key, &value, 0);
}

static int each(void *map, int *key, int *value, void *cx)
{
	return 0;
}

SEC("tc") int rej_for_each(struct __sk_buff *ctx)
{
	return bpf_for_each_map_elem(&jmp, each, 0, 0);
}

SEC("tc") int acc_throws_after(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &jmp, 0);
	bpf_throw(3);
	return 1;
}

char _license[] SEC("license") = "GPL";
