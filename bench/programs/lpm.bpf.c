// SPDX-License-Identifier: MIT OR Apache-2.0
// A router: the longest prefix that matches each address decides where it goes.
#include "headers.h"

struct prefix {
	u32 length;
	u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} hops SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 result = 0;

	ROLLED for (int i = 0; i < HEADERS; i++) {
		struct ethhdr *eth = (void *)bytes;
		struct iphdr *ip = (void *)(eth + 1);
		struct prefix prefix;
		u32 *route, hop;
		u64 *count;

		if ((u8 *)(ip + 1) > end)
			break;
		if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->ttl > 1) {
			prefix.length = 32;
			__builtin_memcpy(prefix.address, &ip->daddr, 4);
			route = bpf_map_lookup_elem(&routes, &prefix);
			hop = route ? *route & 63 : 0;
			count = bpf_map_lookup_elem(&hops, &hop);
			if (count)
				*count += 1;
			result = result * 31 + hop;
		}
		FORGET(bytes);
		bytes += APART;
		if (bytes > end)
			break;
	}
	return result;
}
