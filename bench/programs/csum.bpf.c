// SPDX-License-Identifier: MIT OR Apache-2.0
// The internet checksum of the packet.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u16 *words = (u16 *)bytes;
	u64 sum = 0;

	if (bytes + PACKET > end)
		return 0;
	ROLLED for (int i = 0; i < PACKET / 2; i++)
		sum += words[i];
	for (int i = 0; i < 3; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}
