// SPDX-License-Identifier: MIT OR Apache-2.0
// The packet into the value of an array, eight bytes at a time, four times.
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__uint(value_size, 4096);
} buffer SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u64 *from = (u64 *)bytes, *to;
	u32 zero = 0;

	to = bpf_map_lookup_elem(&buffer, &zero);
	if (!to || bytes + PACKET > end)
		return 0;
	for (int round = 0; round < 4; round++)
		ROLLED for (int i = 0; i < PACKET / 8; i++)
			to[i] = from[i];
	return (u32)to[100];
}
