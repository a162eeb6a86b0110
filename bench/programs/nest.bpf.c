// SPDX-License-Identifier: MIT OR Apache-2.0
// A tree of calls, eight frames deep, with values that live across calls.
#include "bench.h"

static __noinline u64 level1(u64 a)
{
	FORGET(a);
	return a + 1;
}

#define LEVEL(name, left, right)                                                                   \
	static __noinline u64 name(u64 a)                                                          \
	{                                                                                          \
		u64 x, y;                                                                          \
                                                                                                   \
		FORGET(a);                                                                         \
		x = left(a);                                                                       \
		y = right(a ^ x);                                                                  \
		return x + y * 3;                                                                  \
	}

LEVEL(level2, level1, level1)
LEVEL(level3, level2, level1)
LEVEL(level4, level3, level2)
LEVEL(level5, level4, level3)
LEVEL(level6, level5, level4)
LEVEL(level7, level6, level5)

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 sum = ctx->rx_queue_index;

	ROLLED for (u64 i = 0; i < 30; i++)
		sum += level7(sum + i);
	return FOLD(sum);
}
