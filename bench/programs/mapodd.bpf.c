// SPDX-License-Identifier: MIT OR Apache-2.0
// Lookups in an array whose values are 24 bytes.
#include "bench.h"

struct triple {
	u64 words[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, struct triple);
} triples SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 sum = ctx->rx_queue_index;

	ROLLED for (u32 i = 0; i < 500; i++) {
		u32 key = i & 255;
		struct triple *value = bpf_map_lookup_elem(&triples, &key);

		if (value)
			sum += value->words[1] + key;
	}
	return (u32)sum;
}
