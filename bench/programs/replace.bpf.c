// SPDX-License-Identifier: MIT OR Apache-2.0
// A function that is called a thousand times, what may replace it, and what may look on.
#include "bench.h"

__noinline int replaced(int a, int b)
{
	FORGET(a);
	int sum = a * 3 + b;
	FORGET(sum);
	return sum;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u32 sum = ctx->rx_queue_index;

	ROLLED for (u32 i = 0; i < 1000; i++)
		sum = replaced(sum, i) + 1;
	return FOLD((u64)sum);
}

SEC("xdp") int once(struct xdp_md *ctx)
{
	return replaced(ctx->rx_queue_index, 1);
}

SEC("freplace/replaced") int extension(int a, int b)
{
	FORGET(a);
	int sum = a * 3 + b;
	FORGET(sum);
	return sum;
}

SEC("fentry/replaced") int before(u64 *ctx)
{
	return 0;
}

SEC("fexit/replaced") int after(u64 *ctx)
{
	return 0;
}
