// SPDX-License-Identifier: MIT OR Apache-2.0
// Lookups in an array that do not wait for each other.
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 sum = ctx->rx_queue_index;

	ROLLED for (u32 i = 0; i < 500; i++) {
		u32 key = i & 255;
		u64 *value = bpf_map_lookup_elem(&counters, &key);

		if (value)
			sum += *value + key;
	}
	return (u32)sum;
}
