// SPDX-License-Identifier: MIT OR Apache-2.0
// Running extremes of bytes that rarely change: branches that are easily predicted.
#include "../programs/bench.h"
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u64 max = 0, min = ~0ull;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 340; i++) {
		u32 v = ((u32 *)p)[i];
		if (v > max) max = v;
		if (v < min) min = v;
	}
	return max * 3 + min;
}
