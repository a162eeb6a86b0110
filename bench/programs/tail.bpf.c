// SPDX-License-Identifier: MIT OR Apache-2.0
// Chains of 34 programs, each tail-calling the next: by an index that is known at load, and by
// one that is not.
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} known SEC(".maps"), unknown SEC(".maps");

#define LINK(n)                                                                                    \
	SEC("xdp") int known_##n(struct xdp_md *ctx)                                               \
	{                                                                                          \
		bpf_tail_call(ctx, &known, n + 1);                                                 \
		return n;                                                                          \
	}                                                                                          \
	SEC("xdp") int unknown_##n(struct xdp_md *ctx)                                             \
	{                                                                                          \
		bpf_tail_call(ctx, &unknown, n + 1 + ctx->rx_queue_index);                         \
		return n;                                                                          \
	}

LINK(0) LINK(1) LINK(2) LINK(3) LINK(4) LINK(5) LINK(6) LINK(7) LINK(8) LINK(9)
LINK(10) LINK(11) LINK(12) LINK(13) LINK(14) LINK(15) LINK(16) LINK(17) LINK(18) LINK(19)
LINK(20) LINK(21) LINK(22) LINK(23) LINK(24) LINK(25) LINK(26) LINK(27) LINK(28) LINK(29)
LINK(30) LINK(31) LINK(32) LINK(33)
