// SPDX-License-Identifier: MIT OR Apache-2.0
// Structures of 14, 16, 20 and 40 bytes copied from the packet to a map, and through the stack.
#include "../programs/bench.h"
struct s40 { u32 b[10]; }; struct s16 { u32 b[4]; }; struct s20 { u32 b[5]; }; struct s14 { u16 b[7]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __uint(value_size, 256); } store SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *p = packet(ctx), *end = packet_end(ctx); u32 zero = 0, sum = 0; u8 *v = bpf_map_lookup_elem(&store, &zero);
	if (!v || p + PACKET > end) return 0;
	ROLLED for (int i = 0; i < 12; i++) {
		*(struct s40 *)v = *(struct s40 *)p; *(struct s16 *)(v + 40) = *(struct s16 *)(p + 40);
		*(struct s20 *)(v + 56) = *(struct s20 *)(p + 56); *(struct s14 *)(v + 76) = *(struct s14 *)(p + 76);
		sum += v[3] + v[39] + v[80];
		p += 100;
	}
	return sum;
}
