// SPDX-License-Identifier: MIT OR Apache-2.0
// A word looked for in the packet, byte by byte, leaving early.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 found = 0;

	ROLLED for (int i = 0; i < 1000; i++) {
		u8 *at = bytes + i;

		if (at + 4 > end)
			break;
		if (at[0] == 'G' && at[1] == 'E' && at[2] == 'T' && at[3] == ' ')
			found += i;
		else if (at[0] == 'P')
			found++;
	}
	return found;
}
