// SPDX-License-Identifier: MIT OR Apache-2.0
// Addresses copied byte by byte, as from packed structures.
#include "../programs/bench.h"
struct mac { u8 b[6]; }; struct ip6 { u8 b[16]; };
struct key { struct ip6 a, b; struct mac m; u8 p; } __attribute__((packed));
static __attribute__((noinline)) u32 mix(struct key *k) { u32 s = 0; ROLLED for (int i = 0; i < 36; i += 4) s = s * 31 + *(u32 *)((u8 *)k + i); return s; }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx); u32 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 20; i++) {
		struct key k; k.a = *(struct ip6 *)(p + 22); k.b = *(struct ip6 *)(p + 38); k.m = *(struct mac *)(p + 6); k.p = p[20];
		sum += mix(&k); p += 64;
	}
	return sum;
}
