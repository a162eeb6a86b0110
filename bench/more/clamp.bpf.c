// SPDX-License-Identifier: MIT OR Apache-2.0
// Saturating sums, clamps and absolute differences of bytes that look random.
#include "../programs/bench.h"
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 sum = 0; int last = 0, max = 0, min = 1000;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 1000; i++) {
		int v = p[i], d = v - last;
		if (d < 0) d = -d;
		if (d > 200) d = 200;
		if (v > max) max = v;
		if (v < min) min = v;
		sum += d; last = v;
	}
	return sum * 7 + max * 3 + min;
}
