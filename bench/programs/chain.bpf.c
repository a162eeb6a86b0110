// SPDX-License-Identifier: MIT OR Apache-2.0
// A chain of hashes: the packet, 64 bytes at a time, is mixed into a state of sixteen words by
// additions, rotations and exclusive ors.
#include "bench.h"

#define QUARTER(a, b, c, d)                                                                        \
	do {                                                                                       \
		a += b, d ^= a, d = ROTL32(d, 16);                                                 \
		c += d, b ^= c, b = ROTL32(b, 12);                                                 \
		a += b, d ^= a, d = ROTL32(d, 8);                                                  \
		c += d, b ^= c, b = ROTL32(b, 7);                                                  \
	} while (0)

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 s[16];

	for (int i = 0; i < 16; i++)
		s[i] = 0x61707865 * (i + 1);
	ROLLED for (int block = 0; block < 20; block++) {
		if (bytes + 64 > end)
			break;
		for (int i = 0; i < 16; i++)
			s[i] ^= ((u32 *)bytes)[i];
		ROLLED for (int round = 0; round < 4; round++) {
			QUARTER(s[0], s[4], s[8], s[12]);
			QUARTER(s[1], s[5], s[9], s[13]);
			QUARTER(s[2], s[6], s[10], s[14]);
			QUARTER(s[3], s[7], s[11], s[15]);
			QUARTER(s[0], s[5], s[10], s[15]);
			QUARTER(s[1], s[6], s[11], s[12]);
			QUARTER(s[2], s[7], s[8], s[13]);
			QUARTER(s[3], s[4], s[9], s[14]);
		}
		bytes += 64;
	}
	return s[0] ^ s[3] ^ s[6] ^ s[9] ^ s[12] ^ s[15];
}
