// SPDX-License-Identifier: MIT OR Apache-2.0
// FNV-1a over the packet, 32 bits, each byte checked.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 hash = 2166136261u;

	for (int i = 0; i < PACKET; i++) {
		if (bytes + i + 1 > end)
			break;
		hash ^= bytes[i];
		hash *= 16777619u;
	}
	return hash;
}
