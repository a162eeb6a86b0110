// SPDX-License-Identifier: MIT OR Apache-2.0
// Chains of 34 programs, each tail-calling the next: by an index that is known at load, and by
// one that is not; with nothing else, with four values to keep, and with a helper called before.
#include "bench.h"

struct programs {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
};

#define KNOWN(n) (n)
#define UNKNOWN(n) ((n) + ctx->rx_queue_index)

/* Program `n` of the chain that goes through `array`. */
#define PLAIN(array, index, n)                                                                     \
	SEC("xdp") int array##_##n(struct xdp_md *ctx)                                             \
	{                                                                                          \
		bpf_tail_call(ctx, &array, index(n + 1));                                          \
		return n;                                                                          \
	}

#define LIVE(array, index, n)                                                                      \
	SEC("xdp") int array##_##n(struct xdp_md *ctx)                                             \
	{                                                                                          \
		u32 a = ctx->ingress_ifindex, b = ctx->rx_queue_index;                             \
		u32 c = a * 7, d = b + 13;                                                         \
                                                                                                   \
		FORGET(c);                                                                         \
		FORGET(d);                                                                         \
		bpf_tail_call(ctx, &array, index(n + 1));                                          \
		return n + ((a | b | c | d) == ~0u);                                               \
	}

#define CALLING(array, index, n)                                                                   \
	SEC("xdp") int array##_##n(struct xdp_md *ctx)                                             \
	{                                                                                          \
		long node = bpf_get_numa_node_id();                                                \
                                                                                                   \
		bpf_tail_call(ctx, &array, index(n + 1));                                          \
		return n + (node < 0);                                                             \
	}

#define CHAIN(KIND, array, index)                                                                  \
	struct programs array SEC(".maps");                                                        \
	KIND(array, index, 0) KIND(array, index, 1) KIND(array, index, 2) KIND(array, index, 3)    \
	KIND(array, index, 4) KIND(array, index, 5) KIND(array, index, 6) KIND(array, index, 7)    \
	KIND(array, index, 8) KIND(array, index, 9) KIND(array, index, 10) KIND(array, index, 11)  \
	KIND(array, index, 12) KIND(array, index, 13) KIND(array, index, 14)                       \
	KIND(array, index, 15) KIND(array, index, 16) KIND(array, index, 17)                       \
	KIND(array, index, 18) KIND(array, index, 19) KIND(array, index, 20)                       \
	KIND(array, index, 21) KIND(array, index, 22) KIND(array, index, 23)                       \
	KIND(array, index, 24) KIND(array, index, 25) KIND(array, index, 26)                       \
	KIND(array, index, 27) KIND(array, index, 28) KIND(array, index, 29)                       \
	KIND(array, index, 30) KIND(array, index, 31) KIND(array, index, 32)                       \
	KIND(array, index, 33)

CHAIN(PLAIN, known, KNOWN)
CHAIN(PLAIN, unknown, UNKNOWN)
CHAIN(LIVE, known_live, KNOWN)
CHAIN(LIVE, unknown_live, UNKNOWN)
CHAIN(CALLING, known_calling, KNOWN)
CHAIN(CALLING, unknown_calling, UNKNOWN)
