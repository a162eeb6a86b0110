// SPDX-License-Identifier: MIT OR Apache-2.0
// SipHash-2-4 over the packet.
#include "bench.h"

#define ROUND(a, b, c, d)                                                                          \
	a += b, b = ROTL64(b, 13), b ^= a, a = ROTL64(a, 32), c += d, d = ROTL64(d, 16), d ^= c,  \
		a += d, d = ROTL64(d, 21), d ^= a, c += b, b = ROTL64(b, 17), b ^= c,             \
		c = ROTL64(c, 32)

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u64 a = 0x736f6d6570736575ull, b = 0x646f72616e646f6dull;
	u64 c = 0x6c7967656e657261ull, d = 0x7465646279746573ull, hash;

	if (bytes + PACKET > end)
		return 0;
	ROLLED for (int i = 0; i < PACKET / 8; i++) {
		u64 word = *(u64 *)(bytes + i * 8);

		d ^= word;
		ROUND(a, b, c, d);
		ROUND(a, b, c, d);
		a ^= word;
	}
	c ^= 0xff;
	ROUND(a, b, c, d);
	ROUND(a, b, c, d);
	ROUND(a, b, c, d);
	ROUND(a, b, c, d);
	hash = a ^ b ^ c ^ d;
	return FOLD(hash);
}
