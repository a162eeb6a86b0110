/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Programs that read text: loops whose end is not known when they are verified. */
#pragma once
#include "bench.h"

/* As `break`, if the loop has run for a very long time. */
#define LIMIT                                                                                      \
	({                                                                                         \
		__label__ over, next;                                                              \
		int limited = 0;                                                                   \
		asm goto("may_goto %l[over]" ::: : over);                                          \
		goto next;                                                                         \
	over:                                                                                      \
		limited = 1;                                                                       \
	next:                                                                                      \
		limited;                                                                           \
	})

/* Zero, which the verifier does not know: a loop's state is the same after every round. */
#define ZERO(ctx) (*(volatile u32 *)&(ctx)->rx_queue_index)

/* Takes the byte at `at` of a text; says whether there was one. */
#define TAKE(byte, text, at, end)                                                                  \
	({                                                                                         \
		u8 *place = (text) + ((at) & 2047);                                                \
		int is_there = place + 1 <= (end);                                                 \
		if (is_there)                                                                      \
			(byte) = *place, (at)++;                                                   \
		is_there;                                                                          \
	})
