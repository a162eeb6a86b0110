// SPDX-License-Identifier: MIT OR Apache-2.0
// Binary search in a sorted table of 1024 words, 32 times.
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__uint(value_size, 4096);
} table SEC(".maps");

static __always_inline u32 find(u32 *words, u32 wanted)
{
	u32 at = 0;

#pragma clang loop unroll(full)
	for (u32 step = 512; step; step >>= 1) {
		u32 next = (at + step) & 1023;

		FORGET(next);
		next &= 1023;
		if (words[next] <= wanted)
			at = next;
	}
	return at;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u32 zero = 0, sum = 0, wanted = 12345, *words;

	words = bpf_map_lookup_elem(&table, &zero);
	if (!words)
		return 0;
	ROLLED for (int i = 0; i < 32; i++) {
		wanted = wanted * 1103515245u + 12345u;
		sum += find(words, wanted >> 12);
	}
	return sum;
}
