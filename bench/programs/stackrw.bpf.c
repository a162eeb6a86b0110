// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads and writes of a table on the stack, at places that are computed.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u32 table[64], x = ctx->rx_queue_index;

	for (u32 i = 0; i < 64; i++)
		table[i] = i * 2654435761u;
	ROLLED for (u32 i = 0; i < 1000; i++) {
		x = x * 1664525u + table[(x >> 7) & 63];
		table[(x >> 9) & 63] ^= i;
	}
	return x;
}
