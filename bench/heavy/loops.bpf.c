// SPDX-License-Identifier: MIT OR Apache-2.0
// Loops within loops, walked round by round.
#include "heavy.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64[64]);
	__uint(max_entries, 1);
} table SEC(".maps");

SEC("xdp") int triangle(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *values = bpf_map_lookup_elem(&table, &zero);
	u64 sum = 0;

	if (!values)
		return XDP_PASS;
	ROLLED for (u32 i = 0; i < 64; i++) {
		ROLLED for (u32 j = 0; j <= i; j++) {
			sum += values[i] * values[j];
			values[j] ^= sum;
		}
	}
	return sum & 1;
}

SEC("xdp") int bubble(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *values = bpf_map_lookup_elem(&table, &zero);

	if (!values)
		return XDP_PASS;
	ROLLED for (u32 i = 0; i < 40; i++) {
		ROLLED for (u32 j = 0; j < 39; j++) {
			u64 a = values[j], b = values[j + 1];

			if (a > b) {
				values[j] = b;
				values[j + 1] = a;
			}
		}
	}
	return XDP_PASS;
}

SEC("xdp") int search(struct xdp_md *ctx)
{
	u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
	u32 found = 0;

	ROLLED for (u32 i = 0; i < 700; i++) {
		u8 *at = data + i;

		if (at + 4 > end)
			break;
		if (at[0] == 'G' && at[1] == 'E' && at[2] == 'T' && at[3] == ' ')
			found++;
	}
	return found;
}
