// SPDX-License-Identifier: MIT OR Apache-2.0
// Small functions called from everywhere: static ones walked at each call, global ones once.
#include "heavy.h"

struct key {
	u32 from, to;
	u16 ports[2];
	u32 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct key);
	__type(value, u64[4]);
	__uint(max_entries, 4096);
} states SEC(".maps");

static __noinline u32 mix(u32 a, u32 b)
{
	a ^= b;
	a = a << 7 | a >> 25;
	return a * 0x9e3779b1;
}

static __noinline u32 hash(const struct key *key, u32 seed)
{
	seed = mix(seed, key->from);
	seed = mix(seed, key->to);
	seed = mix(seed, key->ports[0] << 16 | key->ports[1]);
	return mix(seed, key->kind);
}

static __noinline int clamp(int value, int least, int most)
{
	if (value < least)
		return least;
	if (value > most)
		return most;
	return value;
}

static __noinline u64 touch(struct key *key, int by)
{
	u64 *state = bpf_map_lookup_elem(&states, key);
	u64 fresh[4] = { by };

	if (!state) {
		bpf_map_update_elem(&states, key, fresh, BPF_NOEXIST);
		return 0;
	}
	state[clamp(by, 0, 3)] += hash(key, by);
	return state[0];
}

__noinline u32 checksum(struct __sk_buff *skb, u32 from, u32 len)
{
	u32 sum = 0;

	if (!skb || len > 64)
		return 0;
	ROLLED for (u32 i = 0; i < 64; i += 4) {
		u32 word = 0;

		if (i >= len)
			break;
		if (bpf_skb_load_bytes(skb, from + i, &word, 4))
			break;
		sum = mix(sum, word);
	}
	return sum;
}

__noinline int decide(u32 a, u32 b, u32 c)
{
	u32 way = a % 7;

	UNROLLED for (int i = 0; i < 12; i++) {
		if (way & 1)
			way = mix(way, b) >> 1;
		else if (way & 2)
			way = mix(way, c) >> 2;
		else
			way += i;
	}
	return way & 1;
}

SEC("tc") int functions(struct __sk_buff *skb)
{
	struct key key = { .kind = skb->protocol };
	u64 all = 0;

	UNROLLED for (int i = 0; i < 16; i++) {
		if (bpf_skb_load_bytes(skb, 26 + i * 4, &key, 12))
			break;
		key.kind = hash(&key, i);
		all += touch(&key, clamp(key.kind & 255, i, 200));
		if (checksum(skb, i * 8, 32) & 1)
			all += touch(&key, i & 3);
		all ^= decide(all, key.kind, i);
	}
	return all & 1 ? 0 : 2;
}
