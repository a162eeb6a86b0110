// SPDX-License-Identifier: MIT OR Apache-2.0
// Address translation with a table of connections: known ones are counted and translated, new
// ones are given a port.
#include "headers.h"

struct translation {
	u32 address;
	u16 port, state;
	u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct translation);
} connections SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 result = 0;

	ROLLED for (int i = 0; i < HEADERS; i++) {
		struct translation *known;
		struct flow flow;

		if (read_flow(bytes, end, &flow)) {
			known = bpf_map_lookup_elem(&connections, &flow);
			if (known) {
				known->packets += 1;
				known->bytes += APART;
				if (known->state < 3)
					known->state += 1;
				result ^= known->address + known->port;
			} else {
				struct translation fresh = {
					.address = 0x0a000001 + i,
					.port = 1024 + (hash_flow(&flow) & 0x7fff),
					.packets = 1,
					.bytes = APART,
				};

				bpf_map_update_elem(&connections, &flow, &fresh, BPF_ANY);
				result += fresh.port;
			}
		}
		FORGET(bytes);
		bytes += APART;
		if (bytes > end)
			break;
	}
	return result;
}
