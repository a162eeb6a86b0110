// SPDX-License-Identifier: MIT OR Apache-2.0
// A load balancer in the manner of Maglev: a hash of the connection picks an entry of a large
// table, that a backend, which is counted and whose address would be written into the packet,
// with the checksum brought up to date.
#include "headers.h"

#define SERVICES 16

struct backend {
	u32 address;
	u16 port, pad;
	u8 mac[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65537);
	__type(key, u32);
	__type(value, u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64[2]);
} loads SEC(".maps");

/* The sum of the checksum after a word of it has changed. */
static __always_inline u16 replaced(u16 sum, u32 from, u32 to)
{
	u32 csum = (u16)~sum + (u16)~from + (u16)~(from >> 16) + (u16)to + (u16)(to >> 16);

	csum = (csum & 0xffff) + (csum >> 16);
	csum = (csum & 0xffff) + (csum >> 16);
	return ~csum;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 result = 0;

	ROLLED for (int i = 0; i < HEADERS; i++) {
		struct flow flow;
		struct backend *backend;
		u32 key, *chosen;
		u64 *load;

		if (read_flow(bytes, end, &flow)) {
			key = hash_flow(&flow) % 65537;
			chosen = bpf_map_lookup_elem(&ring, &key);
			if (!chosen)
				return 0;
			key = (*chosen + key) & 255;
			backend = bpf_map_lookup_elem(&backends, &key);
			load = bpf_map_lookup_elem(&loads, &key);
			if (!backend || !load)
				return 0;
			load[0] += 1;
			load[1] += end - bytes;
			result = result * 31 + replaced(flow.sport, flow.daddr, backend->address ^ key);
		}
		FORGET(bytes);
		bytes += APART;
		if (bytes > end)
			break;
	}
	return result;
}
