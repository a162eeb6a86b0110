// SPDX-License-Identifier: MIT OR Apache-2.0
// What a tracer does with latencies: a histogram by powers of two, each CPU its own, with sum,
// least and most.
#include "bench.h"

struct summary {
	u64 count, sum, least, most;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct summary);
} summaries SEC(".maps");

static __always_inline u32 log2_of(u64 value)
{
	u32 log = (value > 0xffffffff) << 5, shift;

	value >>= log;
	shift = (value > 0xffff) << 4;
	value >>= shift, log |= shift;
	shift = (value > 0xff) << 3;
	value >>= shift, log |= shift;
	shift = (value > 0xf) << 2;
	value >>= shift, log |= shift;
	shift = (value > 0x3) << 1;
	value >>= shift, log |= shift;
	return log | value >> 1;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	struct summary *summary;
	u32 zero = 0, result = 0;

	summary = bpf_map_lookup_elem(&summaries, &zero);
	if (!summary)
		return 0;
	ROLLED for (int i = 0; i < 150; i++) {
		u64 value, *bucket;
		u32 key;

		if (bytes + 8 > end)
			break;
		value = *(u64 *)bytes >> (bytes[0] & 63);
		key = log2_of(value);
		bucket = bpf_map_lookup_elem(&buckets, &key);
		if (bucket)
			*bucket += 1;
		summary->count += 1;
		summary->sum += value;
		if (value > summary->most)
			summary->most = value;
		if (!summary->least || value < summary->least)
			summary->least = value;
		result = result * 31 + key;
		bytes += 8;
	}
	return result;
}
