// SPDX-License-Identifier: MIT OR Apache-2.0
// Divisions and remainders, 64 and 32 bits, by what is not known.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 x = 0x123456789abcdefull, sum = 0;
	u32 base = ctx->rx_queue_index + 7;

	ROLLED for (u32 i = 1; i < 600; i++) {
		sum += x / (i + base);
		sum ^= x % (i * 3 + base);
		sum += (u32)x / (i | 1);
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	}
	return FOLD(sum);
}
