// SPDX-License-Identifier: MIT OR Apache-2.0
// Steps of MD5 over the packet.
#include "../programs/bench.h"
#define F(b,c,d) ((b & c) | (~b & d))
#define STEP(a,b,c,d,k,s,m) a += F(b,c,d) + k + m; a = b + ROTL32(a, s);
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 a = 0x67452301, b = 0xefcdab89, c = 0x98badcfe, d = 0x10325476;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 80; i++) {
		u32 *w = (u32 *)(p + i * 16);
		STEP(a,b,c,d,0xd76aa478,7,w[0]) STEP(d,a,b,c,0xe8c7b756,12,w[1]) STEP(c,d,a,b,0x242070db,17,w[2]) STEP(b,c,d,a,0xc1bdceee,22,w[3])
	}
	return a ^ b ^ c ^ d;
}
