// SPDX-License-Identifier: MIT OR Apache-2.0
// Nothing: what entering a program costs.
#include "bench.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	return XDP_PASS;
}
