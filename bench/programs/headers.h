/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The headers in the packet, and a hash of what identifies a connection. */
#pragma once
#include "bench.h"
#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

/* How many headers there are, and how far apart. */
#define HEADERS 20
#define APART 64

/* Which connection a packet belongs to. */
struct flow {
	u32 saddr, daddr;
	u16 sport, dport;
	u8 protocol, pad[3];
};

/* Reads the headers at `bytes`; says whether they are of TCP or UDP over IPv4. */
static __always_inline int read_flow(u8 *bytes, u8 *end, struct flow *flow)
{
	struct ethhdr *eth = (void *)bytes;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp;

	if ((u8 *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4)
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	tcp = (void *)((u8 *)ip + ip->ihl * 4);
	if ((u8 *)(tcp + 1) > end)
		return 0;
	flow->saddr = ip->saddr;
	flow->daddr = ip->daddr;
	flow->sport = tcp->source;
	flow->dport = tcp->dest;
	flow->protocol = ip->protocol;
	flow->pad[0] = flow->pad[1] = flow->pad[2] = 0;
	return 1;
}

/* A multiplicative hash of a connection. */
static __always_inline u32 hash_flow(const struct flow *flow)
{
	u64 a = (u64)flow->saddr << 32 | flow->daddr;
	u64 b = (u64)flow->sport << 32 | (u64)flow->dport << 16 | flow->protocol;

	a = (a ^ b >> 7) * 0x9e3779b97f4a7c15ull;
	a ^= ROTL64(b, 21);
	a *= 0xc2b2ae3d27d4eb4full;
	return a >> 32;
}
