// SPDX-License-Identifier: MIT OR Apache-2.0
// Lookups in an array, each key made of the one before; counters.
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u32 x = ctx->rx_queue_index + 1;
	u64 sum = 0;

	ROLLED for (int i = 0; i < 500; i++) {
		u32 key = x & 255;
		u64 *value = bpf_map_lookup_elem(&counters, &key);

		if (value) {
			*value += 1;
			sum += key;
		}
		x = x * 1664525u + 1013904223u;
		x ^= x >> 15;
	}
	return (u32)sum;
}
