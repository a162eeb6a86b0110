// SPDX-License-Identifier: MIT OR Apache-2.0
// Records written into the packet through packed structures.
#include "../programs/bench.h"
#include <bpf/bpf_endian.h>
struct hdr { u8 kind; u32 seq; u16 len; u64 id; u8 flags; u32 ack; } __attribute__((packed));
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u64 x = 88172645463325252ull;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 64; i++) {
		struct hdr *h = (void *)p;
		x ^= x << 13; x ^= x >> 7; x ^= x << 17;
		h->kind = 1; h->seq = bpf_htonl((u32)x); h->len = bpf_htons(20); h->id = x; h->flags = 7; h->ack = x >> 32;
		p += sizeof(*h);
	}
	return FOLD(x);
}
