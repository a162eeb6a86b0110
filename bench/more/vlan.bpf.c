// SPDX-License-Identifier: MIT OR Apache-2.0
// Stacked VLAN tags before IPv4 and IPv6.
#include "../programs/headers.h"
struct vlan { u16 tci, proto; };
static __always_inline int tagged(u16 p) { return p == bpf_htons(0x8100) || p == bpf_htons(0x88a8); }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx);
	u32 sum = 0;
	ROLLED for (int i = 0; i < 20; i++) {
		struct ethhdr *eth = (void *)p;
		u8 *next = (u8 *)(eth + 1); u16 proto, id = 0;
		if (next > end) break;
		proto = i & 3 ? eth->h_proto : bpf_htons(0x8100);
#pragma unroll
		for (int j = 0; j < 3; j++) {
			struct vlan *v = (void *)next;
			if (!tagged(proto)) break;
			if ((u8 *)(v + 1) > end) break;
			id = bpf_ntohs(v->tci) & 0xfff; proto = v->proto; next += 4;
		}
		if (proto == bpf_htons(ETH_P_IP)) sum += id + 1;
		else if (proto == bpf_htons(ETH_P_IPV6)) sum += id + 3;
		else sum = sum * 3 + id;
		p += 64; FORGET(p);
	}
	return sum;
}
