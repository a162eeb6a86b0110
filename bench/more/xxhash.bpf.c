// SPDX-License-Identifier: MIT OR Apache-2.0
// XXH32 over the packet.
#include "../programs/bench.h"
#define P1 2654435761u
#define P2 2246822519u
#define P3 3266489917u
#define P4 668265263u
#define P5 374761393u
static __always_inline u32 rnd(u32 a, u32 in) { a += in * P2; a = ROTL32(a, 13); return a * P1; }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 a = P1 + P2, b = P2, c = 0, d = -P1, h;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 1024; i += 16) {
		u32 *w = (u32 *)(p + i);
		a = rnd(a, w[0]); b = rnd(b, w[1]); c = rnd(c, w[2]); d = rnd(d, w[3]);
	}
	h = ROTL32(a, 1) + ROTL32(b, 7) + ROTL32(c, 12) + ROTL32(d, 18) + 1024;
	h ^= h >> 15; h *= P2; h ^= h >> 13; h *= P3; h ^= h >> 16;
	return h;
}
