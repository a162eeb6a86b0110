// SPDX-License-Identifier: MIT OR Apache-2.0
// Primes below 480, on the stack.
#include "bench.h"

#define LIMIT 480
/* The primes are written out, so that no loop depends on what another found. */
#define STRIKE(prime) ROLLED for (u32 i = (prime) * (prime); i < LIMIT; i += (prime)) struck[i] = 1

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 words[LIMIT / 8];
	u8 *struck = (u8 *)words;
	u32 primes = 0;

	ROLLED for (int i = 0; i < LIMIT / 8; i++)
		words[i] = 0;
	STRIKE(2);
	STRIKE(3);
	STRIKE(5);
	STRIKE(7);
	STRIKE(11);
	STRIKE(13);
	STRIKE(17);
	STRIKE(19);
	ROLLED for (u32 i = 2; i < LIMIT; i++)
		primes += !struck[i];
	return primes;
}
