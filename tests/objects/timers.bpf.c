// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Timers and work items: what the calls answer, and what their functions do.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_wq { __u64 opaque[2]; } __attribute__((aligned(8)));

extern int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym __weak;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback)(void *map, int *key, void *value),
				    unsigned int flags, void *aux) __ksym __weak;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym __weak;

__s64 args[4];
__s64 out[16];
__u8 buf[256];
// How much was told. Not among the zeros, which are the arguments and results.
__u64 count = 16;

struct value {
	__u64 tag;
	__u64 again;
	struct bpf_timer timer;
	__u64 period;
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct value);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} array SEC(".maps");

static void note(__s64 what)
{
	__u64 at = __sync_fetch_and_add(&count, 1);

	if (at < 16)
		out[at] = what;
}

// Tells of the entry, tries to take its own timer back, and starts it again as often as the value says.
static int tick(void *map, __u32 *key, struct value *value)
{
	note(1000 * *key + value->tag);
	note(bpf_timer_cancel(&value->timer));
	if (value->again) {
		value->again--;
		note(bpf_timer_start(&value->timer, value->period, 0));
	}
	return 0;
}

static int tick_long(void *map, __u64 *key, struct value *value)
{
	note(1000 * *key + value->tag);
	return 0;
}

// Removes its own entry, and starts its timer all the same.
static int tick_gone(void *map, __u32 *key, struct value *value)
{
	__u32 other = *key;

	note(1000 * *key + value->tag);
	note(bpf_map_delete_elem(&hash, &other));
	return 0;
}

static int worked(void *map, int *key, void *value)
{
	struct value *val = value;

	note(2000 + 1000 * *(__u32 *)key + val->tag);
	if (val->again) {
		val->again--;
		note(bpf_wq_start(&val->work, 0));
	}
	return 0;
}

static struct value *fresh(__u32 key)
{
	struct value none = {};

	bpf_map_update_elem(&hash, &key, &none, BPF_ANY);
	return bpf_map_lookup_elem(&hash, &key);
}

SEC("xdp")
int codes(struct xdp_md *ctx)
{
	__u32 key = 3;
	struct value *value = fresh(key);

	if (!value)
		return 1;
	out[0] = bpf_timer_cancel(&value->timer);
	out[1] = bpf_timer_init(&value->timer, &hash, args[0]);
	out[2] = bpf_timer_init(&value->timer, &hash, args[0]);
	out[3] = bpf_timer_start(&value->timer, args[1], args[2]);
	out[4] = bpf_timer_set_callback(&value->timer, tick);
	out[5] = bpf_timer_start(&value->timer, args[1], args[2]);
	if (args[3] & 1)
		out[6] = bpf_timer_start(&value->timer, args[1], args[2]);
	if (args[3] & 2) {
		// A value that is set anew has no timer.
		value = fresh(key);
		if (!value)
			return 1;
	}
	out[7] = bpf_timer_cancel(&value->timer);
	out[8] = bpf_timer_cancel(&value->timer);
	out[9] = bpf_timer_start(&value->timer, args[1], args[2]);
	out[10] = bpf_timer_set_callback(&value->timer, tick);
	out[11] = bpf_timer_start(&value->timer, args[1], args[2]);
	out[12] = bpf_map_delete_elem(&hash, &key);
	return 0;
}

SEC("xdp")
int work_codes(struct xdp_md *ctx)
{
	__u32 key = 4;
	struct value *value = fresh(key);

	if (!value)
		return 1;
	out[0] = bpf_wq_start(&value->work, 0);
	out[1] = bpf_wq_set_callback_impl(&value->work, worked, 0, 0);
	out[2] = bpf_wq_init(&value->work, &hash, args[0]);
	out[3] = bpf_wq_init(&value->work, &hash, args[0]);
	out[4] = bpf_wq_start(&value->work, args[2]);
	out[5] = bpf_wq_set_callback_impl(&value->work, worked, args[1], 0);
	out[6] = bpf_wq_set_callback_impl(&value->work, worked, args[1], 0);
	out[7] = bpf_map_delete_elem(&hash, &key);
	return 0;
}

// args: how often again, the period, what the value says, 1: twice as long for one of them.
SEC("xdp")
int start(struct xdp_md *ctx)
{
	__u32 key;
	__u64 key_long = 5;
	struct value value_long = { .tag = args[2] };
	struct value *value;

	count = 0;
	key = 7;
	value = fresh(key);
	if (!value)
		return 1;
	value->tag = args[2];
	value->again = args[0];
	value->period = args[1];
	bpf_timer_init(&value->timer, &hash, 1);
	bpf_timer_set_callback(&value->timer, tick);
	bpf_timer_start(&value->timer, 2 * args[1], 0);

	key = 2;
	value = bpf_map_lookup_elem(&array, &key);
	if (!value)
		return 2;
	value->tag = args[2] + 1;
	value->again = 0;
	bpf_timer_init(&value->timer, &array, 7);
	bpf_timer_set_callback(&value->timer, tick);
	bpf_timer_start(&value->timer, args[1] / 4 + (args[3] ? 10 * args[1] : 0), 0);

	bpf_map_update_elem(&lru, &key_long, &value_long, BPF_ANY);
	value = bpf_map_lookup_elem(&lru, &key_long);
	if (!value)
		return 3;
	bpf_timer_init(&value->timer, &lru, 1);
	bpf_timer_set_callback(&value->timer, tick_long);
	bpf_timer_start(&value->timer, bpf_ktime_get_ns() + args[1], 1 /* BPF_F_TIMER_ABS */);

	key = 8;
	value = fresh(key);
	if (!value)
		return 4;
	value->tag = args[2];
	bpf_timer_init(&value->timer, &hash, 0);
	bpf_timer_set_callback(&value->timer, tick_gone);
	bpf_timer_start(&value->timer, args[1] * 3 / 2, 0);
	return 0;
}

SEC("xdp")
int start_work(struct xdp_md *ctx)
{
	struct value *value = fresh(9);

	count = 0;
	if (!value)
		return 1;
	value->tag = args[2];
	value->again = args[0];
	out[8] = bpf_wq_init(&value->work, &hash, 0);
	out[9] = bpf_wq_set_callback_impl(&value->work, worked, 0, 0);
	out[10] = bpf_wq_start(&value->work, 0);
	return 0;
}

static long is_over(__u32 i, void *begin)
{
	return bpf_ktime_get_ns() - *(__u64 *)begin > 20000000;
}

// A function that takes its time, for others that wait for its end.
static int slow(void *map, __u32 *key, struct value *value)
{
	__u64 begin = bpf_ktime_get_ns();

	value->tag = 1;
	bpf_loop(1 << 22, is_over, &begin, 0);
	value->tag = 2;
	return 0;
}

SEC("xdp")
int start_slow(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct value *value = bpf_map_lookup_elem(&array, &key);

	if (!value)
		return 1;
	value->tag = 0;
	bpf_timer_init(&value->timer, &array, 1);
	bpf_timer_set_callback(&value->timer, slow);
	return bpf_timer_start(&value->timer, 0, 0);
}

// What it finds when the function has ended.
SEC("xdp")
int stop_slow(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct value *value = bpf_map_lookup_elem(&array, &key);

	if (!value)
		return 1;
	out[0] = value->tag;
	out[1] = bpf_timer_cancel(&value->timer);
	out[2] = value->tag;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
