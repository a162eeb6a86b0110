// SPDX-License-Identifier: MIT OR Apache-2.0
// A machine with sixteen instructions, whose program is the packet.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *code = packet(ctx), *end = packet_end(ctx);
	u64 a = 1, b = 2;

	if (code + 512 > end)
		return 0;
	ROLLED for (int i = 0; i < 512; i++) {
		switch (code[i] & 15) {
		case 0:
			a += b;
			break;
		case 1:
			a -= b;
			break;
		case 2:
			a ^= b;
			break;
		case 3:
			b += a;
			break;
		case 4:
			a *= 3;
			break;
		case 5:
			b = ROTL64(b, 3);
			break;
		case 6:
			a |= 5;
			break;
		case 7:
			b ^= 0xff00ff;
			break;
		case 8:
			a >>= 1;
			break;
		case 9:
			b += 17;
			break;
		case 10:
			a = ~a;
			break;
		case 11:
			b -= a >> 3;
			break;
		case 12:
			a += 99;
			break;
		case 13:
			b *= 5;
			break;
		case 14:
			a ^= b << 2;
			break;
		case 15:
			b = b + a + 1;
			break;
		}
	}
	return FOLD(a ^ b);
}
