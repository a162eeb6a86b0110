// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A filter: no packets longer than `most` bytes. It could be an XDP program of its own: the host makes
// it an extension.
#include "firewall.h"

const volatile __u32 most = 1000;

JUDGED(judged);

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	__u32 len = ctx->data_end - ctx->data;

	return VERDICT(judged, ctx, len > most);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
