// SPDX-License-Identifier: MIT OR Apache-2.0
// A sorting network of eight words: minima and maxima.
#include "../programs/bench.h"
#define CMP(i, j) { u32 lo = a##i < a##j ? a##i : a##j, hi = a##i < a##j ? a##j : a##i; a##i = lo; a##j = hi; }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 40; i++) {
		u32 *w = (u32 *)(p + i * 32), a0 = w[0], a1 = w[1], a2 = w[2], a3 = w[3];
		CMP(0, 1) CMP(2, 3) CMP(0, 2) CMP(1, 3) CMP(1, 2)
		sum = sum * 31 + a0 + 3 * a1 + 5 * a2 + 7 * a3;
	}
	return sum;
}
