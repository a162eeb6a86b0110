// SPDX-License-Identifier: MIT OR Apache-2.0
// Fields of packed structures in the machine's order: clang reads them byte by byte.
#include "../programs/bench.h"
struct hdr { u8 kind; u32 seq; u16 len; u64 id; u8 flags; u32 ack; } __attribute__((packed));
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u64 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 64; i++) {
		struct hdr *h = (void *)p;
		sum += h->seq; sum ^= h->len; sum += h->id ^ h->flags; sum += h->ack;
		p += sizeof(*h);
	}
	return FOLD(sum);
}
