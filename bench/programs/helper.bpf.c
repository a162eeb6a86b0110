// SPDX-License-Identifier: MIT OR Apache-2.0
// Calls of a helper that does next to nothing.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u64 sum = 0;

	ROLLED for (int i = 0; i < 500; i++) {
		sum += i;
		sum ^= bpf_get_numa_node_id() & 0;
	}
	return (u32)sum;
}
