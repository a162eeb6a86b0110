// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the dispatcher and the filters share.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* What a filter counts: packets that came, and what became of them. */
struct judged {
	__u64 seen;
	__u64 passed;
	__u64 dropped;
};

#define JUDGED(name)                                       \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);   \
		__uint(max_entries, 1);                    \
		__type(key, __u32);                        \
		__type(value, struct judged);              \
	} name SEC(".maps")

/* The IPv4 header, if the packet has one. */
static __always_inline struct iphdr *ipv4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	return ip;
}

/* Counts the verdict, in two steps with the packet's arrival: they must add up. */
#define VERDICT(map, ctx, drop)                                       \
	({                                                            \
		__u32 zero = 0;                                       \
		struct judged *found;                                \
		int verdict = XDP_ABORTED;                            \
								      \
		found = bpf_map_lookup_elem(&map, &zero);            \
		if (found) {                                          \
			found->seen++;                               \
			verdict = (drop) ? XDP_DROP : XDP_PASS;       \
			if (verdict == XDP_DROP)                      \
				found->dropped++;                    \
			else                                          \
				found->passed++;                     \
		}                                                     \
		verdict;                                              \
	})
