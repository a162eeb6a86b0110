// SPDX-License-Identifier: MIT OR Apache-2.0
// First set bits of the words of a bitmap, and how many bits are set.
#include "../programs/bench.h"
static __always_inline u32 ffs64(u64 w)
{
	u32 n = 0;
	if (!(w & 0xffffffff)) { n += 32; w >>= 32; }
	if (!(w & 0xffff)) { n += 16; w >>= 16; }
	if (!(w & 0xff)) { n += 8; w >>= 8; }
	if (!(w & 0xf)) { n += 4; w >>= 4; }
	if (!(w & 3)) { n += 2; w >>= 2; }
	if (!(w & 1)) n += 1;
	return n;
}
static __always_inline u32 pop(u64 w)
{
	w -= w >> 1 & 0x5555555555555555; w = (w & 0x3333333333333333) + (w >> 2 & 0x3333333333333333);
	w = w + (w >> 4) & 0x0f0f0f0f0f0f0f0f; return w * 0x0101010101010101 >> 56;
}
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 128; i++) {
		u64 w = ((u64 *)p)[i];
		w &= w << (w & 31);
		sum = sum * 3 + ffs64(w) + pop(w);
	}
	return sum;
}
