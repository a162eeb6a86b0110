// SPDX-License-Identifier: MIT OR Apache-2.0
// FNV-1a over the packet, 64 bits, checked once.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u64 hash = 0xcbf29ce484222325ull;

	if (bytes + PACKET > end)
		return 0;
	ROLLED for (int i = 0; i < PACKET; i++) {
		hash ^= bytes[i];
		hash *= 0x100000001b3ull;
	}
	return FOLD(hash);
}
