// SPDX-License-Identifier: MIT OR Apache-2.0
// A token bucket over times in the packet: nanoseconds to tokens by division, caps by minima.
#include "../programs/bench.h"
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u64 tokens = 1000, now = 0, last = 0; u32 passed = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 300; i++) {
		u32 len = *(u16 *)(p + i * 4) & 2047; u64 add;
		now += *(u32 *)(p + i * 4) & 0xfffff;
		add = (now - last) * 1500 / 1000000; if (add) last = now;
		tokens += add; if (tokens > 4000) tokens = 4000;
		if (tokens >= len) { tokens -= len; passed++; }
	}
	return passed + (u32)tokens;
}
