// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Helpers of XDP programs, one program each: arguments in `args`, results in `out`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__s64 args[4];
__s64 out[16];
__u8 buf[256];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2);
	__type(value, __u64);
} queue SEC(".maps");

struct locked {
	struct bpf_spin_lock lock;
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} locked SEC(".maps");

static __always_inline void geometry(struct xdp_md *ctx)
{
	out[13] = (long)ctx->data_end - (long)ctx->data;
	out[14] = (long)ctx->data - (long)ctx->data_meta;
	out[15] = bpf_xdp_get_buff_len(ctx);
}

SEC("xdp")
int adjust_head(struct xdp_md *ctx)
{
	out[0] = bpf_xdp_adjust_head(ctx, args[0]);
	geometry(ctx);
	out[1] = bpf_xdp_adjust_head(ctx, args[1]);
	return XDP_PASS;
}

SEC("xdp")
int adjust_meta(struct xdp_md *ctx)
{
	out[0] = bpf_xdp_adjust_meta(ctx, args[0]);
	geometry(ctx);
	out[1] = bpf_xdp_adjust_head(ctx, args[1]);
	out[2] = bpf_xdp_adjust_meta(ctx, args[2]);
	return XDP_TX;
}

SEC("xdp")
int adjust_tail(struct xdp_md *ctx)
{
	out[0] = bpf_xdp_adjust_tail(ctx, args[0]);
	geometry(ctx);
	out[1] = bpf_xdp_adjust_tail(ctx, args[1]);
	return XDP_DROP;
}

SEC("xdp.frags")
int adjust_tail_frags(struct xdp_md *ctx)
{
	out[0] = bpf_xdp_adjust_tail(ctx, args[0]);
	geometry(ctx);
	out[1] = bpf_xdp_adjust_tail(ctx, args[1]);
	return XDP_DROP;
}

SEC("xdp.frags")
int load_bytes(struct xdp_md *ctx)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_xdp_load_bytes(ctx, args[0], buf, len);
	geometry(ctx);
	return XDP_PASS;
}

SEC("xdp.frags")
int store_bytes(struct xdp_md *ctx)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_xdp_store_bytes(ctx, args[0], buf, len);
	geometry(ctx);
	return XDP_PASS;
}

SEC("xdp")
int csum_diff(struct xdp_md *ctx)
{
	__u32 from = args[0], to = args[1];

	if (from > 128 || to > 128)
		return XDP_ABORTED;
	out[0] = bpf_csum_diff((__be32 *)buf, from, (__be32 *)(buf + 128), to, args[2]);
	out[1] = bpf_csum_diff(0, 0, (__be32 *)(buf + 128), to, args[2]);
	out[2] = bpf_csum_diff((__be32 *)buf, from, 0, 0, args[2]);
	return XDP_PASS;
}

SEC("xdp")
int hash_map(struct xdp_md *ctx)
{
	__u32 key = args[0];
	__u64 value = args[1], *found;

	out[0] = bpf_map_update_elem(&hash, &key, &value, args[2]);
	found = bpf_map_lookup_elem(&hash, &key);
	out[1] = found ? *found : -1;
	key = args[3];
	out[2] = bpf_map_delete_elem(&hash, &key);
	return XDP_PASS;
}

SEC("xdp")
int array_map(struct xdp_md *ctx)
{
	__u32 key = args[0];
	__u64 value = args[1], *found;

	out[0] = bpf_map_update_elem(&array, &key, &value, args[2]);
	found = bpf_map_lookup_elem(&array, &key);
	out[1] = found ? *found : -1;
	out[2] = bpf_map_delete_elem(&array, &key);
	found = bpf_map_lookup_elem(&percpu, &key);
	if (found)
		*found += value;
	found = bpf_map_lookup_percpu_elem(&percpu, &key, args[3]);
	out[3] = found != 0;
	return XDP_PASS;
}

SEC("xdp")
int queue_map(struct xdp_md *ctx)
{
	__u64 value = args[0];

	out[0] = bpf_map_push_elem(&queue, &value, args[1]);
	out[1] = bpf_map_peek_elem(&queue, &value);
	out[2] = value;
	if (args[2]) {
		out[3] = bpf_map_pop_elem(&queue, &value);
		out[4] = value;
	}
	return XDP_PASS;
}

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	long value = 7;
	unsigned long positive = 7;
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_strtol((char *)buf, len, args[0], &value);
	out[1] = value;
	out[2] = bpf_strtoul((char *)buf, len, args[0], &positive);
	out[3] = positive;
	out[4] = bpf_strncmp((char *)buf, len, "0x12z");
	return XDP_PASS;
}

#define FORMAT(at, text, ...) \
	out[at] = BPF_SNPRINTF((char *)buf + (at) * 32, args[3] & 31, text, ##__VA_ARGS__)

SEC("xdp")
int formats(struct xdp_md *ctx)
{
	FORMAT(0, "%d %i %u", (int)args[0], (int)args[1], (int)args[0]);
	FORMAT(1, "%ld|%5d|%-5d|", (long)args[0], (int)args[1], (int)args[1]);
	FORMAT(2, "%x %X %lx", (int)args[0], (int)args[1], (long)args[0]);
	FORMAT(3, "%llu %lli", args[0], args[1]);
	FORMAT(4, "%05d %5x %08llx", (int)args[1], (int)args[1], args[1]);
	FORMAT(5, "%c%c %% end", (int)args[0], (int)args[1]);
	FORMAT(6, "%+d % d %-5x|", (int)args[1], (int)args[1], (int)args[1]);
	return XDP_PASS;
}

static int count_up(__u32 i, void *data)
{
	long *sum = data;

	*sum += i;
	return i >= (__u32)args[1];
}

SEC("xdp")
int loops(struct xdp_md *ctx)
{
	long sum = 0;

	out[0] = bpf_loop(args[0], count_up, &sum, args[2]);
	out[1] = sum;
	return XDP_PASS;
}

static long each(void *map, __u32 *key, __u64 *value, long *sum)
{
	*sum += *key * 1000 + *value;
	return *key >= (__u32)args[1];
}

SEC("xdp")
int for_each(struct xdp_md *ctx)
{
	__u64 value = args[0];
	__u32 key = 1;
	long sum = 0;

	bpf_map_update_elem(&array, &key, &value, 0);
	out[0] = bpf_for_each_map_elem(&array, each, &sum, args[2]);
	out[1] = sum;
	return XDP_PASS;
}

SEC("xdp")
int lock(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct locked *value = bpf_map_lookup_elem(&locked, &key);

	if (!value)
		return XDP_ABORTED;
	bpf_spin_lock(&value->lock);
	value->value += args[0];
	out[0] = value->value;
	bpf_spin_unlock(&value->lock);
	return XDP_PASS;
}

SEC("xdp")
int redirects(struct xdp_md *ctx)
{
	out[0] = bpf_redirect(args[0], args[1]);
	return XDP_PASS;
}

SEC("xdp")
int contexts(struct xdp_md *ctx)
{
	out[0] = ctx->ingress_ifindex;
	out[1] = ctx->rx_queue_index;
	geometry(ctx);
	return args[0];
}

SEC("xdp")
int reads(struct xdp_md *ctx)
{
	__u64 value = 7;

	out[0] = bpf_probe_read_kernel(&value, sizeof(value), (void *)args[0]);
	out[1] = value;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
