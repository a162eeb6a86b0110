// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Protocol parsing by tail calls: `dispatch` finds the transport protocol of a packet and jumps
// into the parser of that protocol; TCP and UDP jump once more, by port. An empty slot falls
// through to the code behind the tail call.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_TAGS 2
#define EXTENSION_HEADERS 6
#define PORTS 1024
#define DSCP_AF11 0x28

enum bucket {
	BUCKET_OTHER,
	BUCKET_TCP,
	BUCKET_UDP,
	BUCKET_ICMP,
	BUCKET_ICMP6,
	BUCKET_DNS,
	BUCKET_HTTP,
	BUCKET_FRAGMENT,
	BUCKET_UNKNOWN,
	BUCKET_MALFORMED,
	BUCKETS,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct flow {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 family;
	__u16 vlan;
};

struct flow_stats {
	__u64 packets;
	__u64 bytes;
	__u8 tcp_flags;
};

/* The beginning of ICMP and ICMPv6 alike. */
struct icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

/* What one program tells the next. */
struct parsed {
	struct flow flow;
	__u32 network;   /* offset of the IP header */
	__u32 transport; /* offset of what follows it */
	__u32 fragment;
};

int parse_tcp(struct xdp_md *ctx);
int parse_udp(struct xdp_md *ctx);
int parse_icmp(struct xdp_md *ctx);
int parse_icmp6(struct xdp_md *ctx);
int dns(struct xdp_md *ctx);
int http(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__array(values, int(struct xdp_md *));
} protocols SEC(".maps") = {
	.values = {
		[IPPROTO_ICMP] = (void *)&parse_icmp,
		[IPPROTO_TCP] = (void *)&parse_tcp,
		[IPPROTO_UDP] = (void *)&parse_udp,
		[IPPROTO_ICMPV6] = (void *)&parse_icmp6,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PORTS);
	__type(key, __u32);
	__array(values, int(struct xdp_md *));
} ports SEC(".maps") = {
	.values = {
		[53] = (void *)&dns,
		[80] = (void *)&http,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, struct flow_stats);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parsed);
} scratch SEC(".maps");

/* The IP protocol to drop; 255 drops none. */
const volatile __u8 drop_protocol = IPPROTO_ICMP;

__u64 total_packets;
__u64 total_bytes;

static __always_inline void count(enum bucket bucket, __u64 bytes)
{
	__u32 key = bucket;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return;
	counter->packets += 1;
	counter->bytes += bytes;
}

static __always_inline struct parsed *scratchpad(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline __u64 length(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

static __noinline int account(const struct flow *flow, __u64 bytes, __u8 tcp_flags)
{
	struct flow_stats *known;

	if (!flow)
		return 0;
	known = bpf_map_lookup_elem(&flows, flow);
	if (known) {
		known->packets += 1;
		known->bytes += bytes;
		known->tcp_flags |= tcp_flags;
	} else {
		struct flow_stats first = { .packets = 1, .bytes = bytes, .tcp_flags = tcp_flags };

		bpf_map_update_elem(&flows, flow, &first, BPF_ANY);
	}
	return 0;
}

static __always_inline int verdict(struct xdp_md *ctx, struct parsed *parsed, enum bucket bucket,
				   __u8 tcp_flags)
{
	__u64 bytes = length(ctx);

	count(bucket, bytes);
	account(&parsed->flow, bytes, tcp_flags);
	return parsed->flow.protocol == drop_protocol ? XDP_DROP : XDP_PASS;
}

static __always_inline int malformed(struct xdp_md *ctx)
{
	count(BUCKET_MALFORMED, length(ctx));
	return XDP_ABORTED;
}

/* Steps over extension headers; the protocol behind them, or -1. */
static __always_inline int skip_extensions(void *data, void *data_end, __u32 *offset, __u8 next,
					   __u32 *fragment)
{
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 *header = data + (*offset & 0x7ff);

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return next;
		if ((void *)(header + 8) > data_end)
			return -1;
		if (next == IPPROTO_FRAGMENT) {
			if (((header[2] << 8) | header[3]) & 0xfff8)
				*fragment = 1;
			*offset += 8;
		} else {
			*offset += (header[1] + 1) * 8;
		}
		next = header[0];
	}
	return -1;
}

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct parsed *parsed = scratchpad();
	__u32 offset = sizeof(*eth);
	__u16 proto;

	if (!parsed)
		return XDP_ABORTED;
	__builtin_memset(parsed, 0, sizeof(*parsed));
	__sync_fetch_and_add(&total_packets, 1);
	__sync_fetch_and_add(&total_bytes, length(ctx));

	if ((void *)(eth + 1) > data_end)
		return malformed(ctx);
	proto = eth->h_proto;
	for (int i = 0; i < VLAN_TAGS; i++) {
		__be16 *tag = data + offset;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 2) > data_end)
			return malformed(ctx);
		parsed->flow.vlan = bpf_ntohs(tag[0]) & 0xfff;
		proto = tag[1];
		offset += 4;
	}

	parsed->network = offset;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + offset;

		if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5)
			return malformed(ctx);
		__builtin_memcpy(parsed->flow.source, &ip->saddr, 4);
		__builtin_memcpy(parsed->flow.destination, &ip->daddr, 4);
		parsed->flow.family = 4;
		parsed->flow.protocol = ip->protocol;
		parsed->fragment = (ip->frag_off & bpf_htons(0x1fff)) != 0;
		parsed->transport = offset + ip->ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + offset;
		int next;

		if ((void *)(ip + 1) > data_end || ip->version != 6)
			return malformed(ctx);
		__builtin_memcpy(parsed->flow.source, &ip->saddr, 16);
		__builtin_memcpy(parsed->flow.destination, &ip->daddr, 16);
		parsed->flow.family = 6;
		offset += sizeof(*ip);
		next = skip_extensions(data, data_end, &offset, ip->nexthdr, &parsed->fragment);
		if (next < 0)
			return malformed(ctx);
		parsed->flow.protocol = next;
		parsed->transport = offset;
	} else {
		count(BUCKET_OTHER, length(ctx));
		return XDP_PASS;
	}

	if (parsed->fragment)
		return verdict(ctx, parsed, BUCKET_FRAGMENT, 0);
	bpf_tail_call(ctx, &protocols, parsed->flow.protocol);

	/* No parser for this protocol. */
	parsed = scratchpad();
	return parsed ? verdict(ctx, parsed, BUCKET_UNKNOWN, 0) : XDP_ABORTED;
}

SEC("xdp")
int parse_tcp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();
	struct tcphdr *tcp;
	__u16 source, destination;
	__u8 flags;

	if (!parsed)
		return XDP_ABORTED;
	tcp = data + (parsed->transport & 0x7ff);
	if ((void *)(tcp + 1) > data_end)
		return malformed(ctx);
	source = bpf_ntohs(tcp->source);
	destination = bpf_ntohs(tcp->dest);
	flags = ((__u8 *)tcp)[13];
	parsed->flow.source_port = source;
	parsed->flow.destination_port = destination;
	bpf_tail_call(ctx, &ports, source < destination ? source : destination);
	return verdict(ctx, parsed, BUCKET_TCP, flags);
}

SEC("xdp")
int parse_udp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();
	struct udphdr *udp;
	__u16 source, destination;

	if (!parsed)
		return XDP_ABORTED;
	udp = data + (parsed->transport & 0x7ff);
	if ((void *)(udp + 1) > data_end)
		return malformed(ctx);
	source = bpf_ntohs(udp->source);
	destination = bpf_ntohs(udp->dest);
	parsed->flow.source_port = source;
	parsed->flow.destination_port = destination;
	bpf_tail_call(ctx, &ports, source < destination ? source : destination);
	return verdict(ctx, parsed, BUCKET_UDP, 0);
}

SEC("xdp")
int parse_icmp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();
	struct icmp *icmp;

	if (!parsed)
		return XDP_ABORTED;
	icmp = data + (parsed->transport & 0x7ff);
	if ((void *)(icmp + 1) > data_end)
		return malformed(ctx);
	parsed->flow.source_port = icmp->type;
	parsed->flow.destination_port = icmp->code;
	return verdict(ctx, parsed, BUCKET_ICMP, 0);
}

SEC("xdp")
int parse_icmp6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();
	struct icmp *icmp;

	if (!parsed)
		return XDP_ABORTED;
	icmp = data + (parsed->transport & 0x7ff);
	if ((void *)(icmp + 1) > data_end)
		return malformed(ctx);
	parsed->flow.source_port = icmp->type;
	parsed->flow.destination_port = icmp->code;
	return verdict(ctx, parsed, BUCKET_ICMP6, 0);
}

SEC("xdp")
int dns(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();
	__u16 *header;

	if (!parsed)
		return XDP_ABORTED;
	header = data + (parsed->transport & 0x7ff) + sizeof(struct udphdr);
	if ((void *)(header + 6) > data_end)
		return malformed(ctx);
	return verdict(ctx, parsed, BUCKET_DNS, 0);
}

/* Marks web traffic over IPv4 as AF11 and mends the header's checksum. */
SEC("xdp")
int http(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct parsed *parsed = scratchpad();

	if (!parsed)
		return XDP_ABORTED;
	if (parsed->flow.family == 4) {
		struct iphdr *ip = data + (parsed->network & 0x7ff);
		__u32 sum;

		if ((void *)(ip + 1) > data_end)
			return malformed(ctx);
		sum = (__u16)~bpf_ntohs(ip->check);
		sum += (__u16)~(__u16)ip->tos;
		ip->tos = (ip->tos & 3) | DSCP_AF11;
		sum += ip->tos;
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		ip->check = bpf_htons(~sum);
	}
	return verdict(ctx, parsed, BUCKET_HTTP, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
