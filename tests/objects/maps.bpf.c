// Maps: every way of declaring one, initial values, sections of variables.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct value {
	struct bpf_spin_lock lock;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 3 * 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 8);
	__uint(value_size, 4);
	__uint(map_extra, 3);
} bloom SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [0] = &two, [3] = &one } };

int target(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&target } };

const volatile int limit = 7;
const volatile static char name[4] = "abc";
int counter = 5;
static int hits;
__hidden __u64 total;
int custom SEC(".data.custom") = 9;

SEC("xdp")
int target(struct xdp_md *ctx)
{
	return counter;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *seen = bpf_map_lookup_elem(&one, &key);

	if (seen)
		*seen += name[ctx->rx_queue_index & 3];
	if (bpf_map_lookup_elem(&flows, &key) || bpf_map_lookup_elem(&outer, &key))
		total += custom;
	bpf_map_peek_elem(&bloom, &key);
	bpf_ringbuf_output(&ring, &key, 4, 0);
	hits++;
	bpf_tail_call(ctx, &jumps, limit);
	return hits;
}

char _license[] SEC("license") = "Dual MIT/GPL";
__u32 _version SEC("version") = 0x01020304;
