// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A filter: no ICMP.
#include "firewall.h"

JUDGED(judged);

SEC("freplace/prog0")
int filter(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);

	return VERDICT(judged, ctx, ip && ip->protocol == IPPROTO_ICMP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
