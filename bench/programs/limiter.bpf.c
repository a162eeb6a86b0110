// SPDX-License-Identifier: MIT OR Apache-2.0
// A rate limiter: a bucket of tokens for each source, filled as time goes by.
#include "headers.h"

struct bucket {
	u64 filled, tokens;
	u32 passed, dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

#define MOST 1000000000000ull
#define COST 1000

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *bytes = packet(ctx), *end = packet_end(ctx);
	u32 passed = 0;
	u64 now = bpf_ktime_get_ns();

	ROLLED for (int i = 0; i < HEADERS; i++) {
		struct bucket *bucket;
		struct flow flow;

		if (read_flow(bytes, end, &flow)) {
			bucket = bpf_map_lookup_elem(&buckets, &flow.saddr);
			if (!bucket) {
				struct bucket fresh = { .filled = now, .tokens = MOST };

				bpf_map_update_elem(&buckets, &flow.saddr, &fresh, BPF_NOEXIST);
				bucket = bpf_map_lookup_elem(&buckets, &flow.saddr);
				if (!bucket)
					return 0;
			}
			if (now > bucket->filled) {
				bucket->tokens += (now - bucket->filled) * 8;
				if (bucket->tokens > MOST)
					bucket->tokens = MOST;
				bucket->filled = now;
			}
			if (bucket->tokens >= COST) {
				bucket->tokens -= COST;
				bucket->passed += 1;
				passed += flow.sport;
			} else {
				bucket->dropped += 1;
			}
		}
		FORGET(bytes);
		bytes += APART;
		if (bytes > end)
			break;
	}
	return passed;
}
