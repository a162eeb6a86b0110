// SPDX-License-Identifier: MIT OR Apache-2.0
// Jenkins' hash over the packet, three words at a time.
#include "bench.h"

#define MIX(a, b, c)                                                                               \
	a -= c, a ^= ROTL32(c, 4), c += b, b -= a, b ^= ROTL32(a, 6), a += c, c -= b,             \
		c ^= ROTL32(b, 8), b += a, a -= c, a ^= ROTL32(c, 16), c += b, b -= a,            \
		b ^= ROTL32(a, 19), a += c, c -= b, c ^= ROTL32(b, 4), b += a

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 a = 0xdeadbeef + 1392, b = a, c = a;

	for (int i = 0; i < 116; i++) {
		u32 *words = (u32 *)(bytes + i * 12);

		if ((u8 *)(words + 3) > end)
			break;
		a += words[0];
		b += words[1];
		c += words[2];
		MIX(a, b, c);
	}
	c ^= b;
	c -= ROTL32(b, 14);
	a ^= c;
	a -= ROTL32(c, 11);
	b ^= a;
	b -= ROTL32(a, 25);
	c ^= b;
	c -= ROTL32(b, 16);
	return c;
}
