// SPDX-License-Identifier: MIT OR Apache-2.0
// RFC 1624: checksums after addresses and ports were rewritten.
#include "../programs/headers.h"
static __always_inline u16 fold(u32 s) { s = (s & 0xffff) + (s >> 16); return ~((s & 0xffff) + (s >> 16)); }
static __always_inline void fix4(u16 *c, u32 from, u32 to)
{
	u32 s = (u16)~*c; s += (u16)~(from & 0xffff); s += (u16)~(from >> 16); s += to & 0xffff; s += to >> 16; *c = fold(s);
}
static __always_inline void fix2(u16 *c, u16 from, u16 to) { u32 s = (u16)~*c; s += (u16)~from; s += to; *c = fold(s); }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 20; i++) {
		struct iphdr *ip = (void *)(p + 14); u16 *tcp = (void *)(p + 34);
		u32 to = 0x0a000001 + i; u16 c = ip->check, d = tcp[8];
		fix4(&c, ip->daddr, to); fix4(&d, ip->daddr, to); fix2(&d, tcp[1], 8080); fix2(&c, ip->ttl << 8, (ip->ttl - 1) << 8);
		sum = sum * 31 + c + (d << 1);
		p += 64;
	}
	return sum;
}
