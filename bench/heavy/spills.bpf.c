// SPDX-License-Identifier: MIT OR Apache-2.0
// More live values than registers, most of them kept on the stack across branches.
#include "heavy.h"

#define VALUES 30

SEC("xdp") int spills(struct xdp_md *ctx)
{
	volatile u64 values[VALUES];
	u64 seed = ctx->rx_queue_index;

	UNROLLED for (int i = 0; i < VALUES; i++)
		values[i] = (seed >> i) & 0xff;
	UNROLLED for (int round = 0; round < 4; round++) {
		UNROLLED for (int i = 0; i < VALUES; i += 5) {
			u64 a = values[i], b = values[(i + 7 * round + 1) % VALUES];

			if (a > b + round) {
				values[i] = a - b;
				bpf_get_prandom_u32();
			} else if (a < b) {
				values[(i + round) % VALUES] = b & 0x3f;
			}
		}
	}
	seed = 0;
	UNROLLED for (int i = 0; i < VALUES; i++)
		seed += values[i];
	return seed & 3;
}

SEC("xdp") int offsets(struct xdp_md *ctx)
{
	u8 bytes[256] = {};
	u32 sum = 0, at = ctx->rx_queue_index;

	ROLLED for (int i = 0; i < 400; i++) {
		at = at * 5 + 1;
		bytes[at & 255] = i;
		sum += bytes[(at >> 8) & 255];
	}
	return sum & 1;
}
