// SPDX-License-Identifier: MIT OR Apache-2.0
// Big-endian fields of packed structures, as clang reads them: byte by byte.
#include "../programs/bench.h"
struct hdr { u8 kind; u32 seq; u16 len; u64 id; u8 flags; u32 ack; } __attribute__((packed));
static __always_inline u32 be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
static __always_inline u16 be16(const u8 *p) { return p[0] << 8 | p[1]; }
static __always_inline u64 be64(const u8 *p) { return (u64)be32(p) << 32 | be32(p + 4); }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u64 sum = 0;
	if (p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 64; i++) {
		sum += be32(p + 1); sum ^= be16(p + 5); sum += be64(p + 7) ^ p[0];
		sum += be32(p + 16);
		p += 20;
	}
	return FOLD(sum);
}
