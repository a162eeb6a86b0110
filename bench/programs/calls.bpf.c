// SPDX-License-Identifier: MIT OR Apache-2.0
// Calls of a small function.
#include "bench.h"

static __noinline u64 leaf(u64 a, u64 b, u64 c)
{
	FORGET(a);
	return a * 3 + (b ^ c);
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 sum = ctx->rx_queue_index;

	ROLLED for (u64 i = 0; i < 1000; i++)
		sum = leaf(sum, i, 7) + 1;
	return FOLD(sum);
}
