// SPDX-License-Identifier: MIT OR Apache-2.0
// Multiplications, shifts and rotations of 64-bit words.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 x = 0x9e3779b97f4a7c15ull ^ ctx->rx_queue_index, sum = 0;

	for (u64 round = 0; round < 2000; round++) {
		x ^= x >> 33;
		x *= 0xff51afd7ed558ccdull;
		x ^= x >> 33;
		x *= 0xc4ceb9fe1a85ec53ull;
		x ^= x >> 33;
		sum += x ^ round;
		sum = ROTL64(sum, 7);
	}
	return FOLD(sum);
}
