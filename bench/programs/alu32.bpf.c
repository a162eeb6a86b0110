// SPDX-License-Identifier: MIT OR Apache-2.0
// Additions, exclusive ors and rotations of 32-bit words.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u32 a = ctx->rx_queue_index + 1, b = 2, c = 0x1234567, d = 3;

	for (int round = 0; round < 2000; round++) {
		a += b;
		c = ROTL32(c ^ a, 16);
		d += c;
		b = ROTL32(b ^ d, 12);
		a += b;
		c = ROTL32(c ^ a, 8);
		d += c;
		b = ROTL32(b ^ d, 7);
	}
	return a ^ b ^ c ^ d;
}
