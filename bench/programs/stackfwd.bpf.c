// SPDX-License-Identifier: MIT OR Apache-2.0
// Values that are stored to the stack and loaded at once.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	volatile u64 a, b;
	u64 sum = ctx->rx_queue_index;

	ROLLED for (u32 i = 0; i < 1000; i++) {
		a = sum;
		b = a + i;
		sum = b * 3;
	}
	return FOLD(sum);
}
