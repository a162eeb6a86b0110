// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A filter: nothing to or from the ports in `blocked`.
#include "firewall.h"

JUDGED(judged);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16);
	__type(value, __u8);
} blocked SEC(".maps");

struct ports {
	__be16 source;
	__be16 dest;
};

static __always_inline int is_blocked(struct xdp_md *ctx, struct iphdr *ip)
{
	void *end = (void *)(long)ctx->data_end;
	struct ports *ports;
	__u16 source, dest;

	if (!ip || ip->ihl != 5 || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return 0;
	ports = (void *)(ip + 1);
	if ((void *)(ports + 1) > end)
		return 0;
	source = bpf_ntohs(ports->source);
	dest = bpf_ntohs(ports->dest);
	return bpf_map_lookup_elem(&blocked, &source) || bpf_map_lookup_elem(&blocked, &dest);
}

SEC("freplace/prog1")
int filter(struct xdp_md *ctx)
{
	return VERDICT(judged, ctx, is_blocked(ctx, ipv4(ctx)));
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
