// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A chain that is built while packets run through it. Each program goes on with the one that
// stands in its own slot of `next`; an empty slot ends the chain. To put B between A and C, the
// host first lets B go on with C and then, by one store, A with B.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum {
	COUNT,
	MARK,
	TRIM,
	LAST,
	PLACES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PLACES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void see(__u32 place)
{
	__u64 *packets = bpf_map_lookup_elem(&seen, &place);

	if (packets)
		*packets += 1;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	see(COUNT);
	bpf_tail_call(ctx, &next, COUNT);
	return XDP_PASS;
}

/* Sets the last bit of the destination address. */
SEC("xdp")
int mark(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	see(MARK);
	if (data + 14 > end)
		return XDP_DROP;
	data[5] |= 1;
	bpf_tail_call(ctx, &next, MARK);
	return XDP_PASS;
}

/* Cuts what is behind 64 bytes. */
SEC("xdp")
int trim(struct xdp_md *ctx)
{
	int len = ctx->data_end - ctx->data;

	see(TRIM);
	if (len > 64)
		bpf_xdp_adjust_tail(ctx, 64 - len);
	bpf_tail_call(ctx, &next, TRIM);
	return XDP_PASS;
}

SEC("xdp")
int last(struct xdp_md *ctx)
{
	see(LAST);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
