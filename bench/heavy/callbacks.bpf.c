// SPDX-License-Identifier: MIT OR Apache-2.0
// Loops that helpers and iterators make: walked until a round adds nothing.
#include "heavy.h"

/* The iterator over numbers, as the kernel's types have it. */
struct bpf_iter_num {
	u64 __opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym __weak;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym __weak;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 256);
} counters SEC(".maps");

struct rounds {
	u64 sum, product;
	u32 left, kinds[8];
};

static int innermost(u32 i, struct rounds *rounds)
{
	u32 key = (rounds->sum + i) & 255;
	u64 *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return 1;
	rounds->product *= *counter | 1;
	rounds->kinds[i & 7]++;
	return rounds->product == 7;
}

static int inner(u32 i, struct rounds *rounds)
{
	rounds->sum += i;
	if (rounds->left > 100)
		rounds->left -= 2;
	else if (rounds->left > 10)
		rounds->left--;
	bpf_loop(20, innermost, rounds, 0);
	return rounds->sum > 1000;
}

static int each(void *map, u32 *key, u64 *value, struct rounds *rounds)
{
	if (*value > 9)
		rounds->kinds[*key & 7] += *value;
	else
		rounds->sum ^= *value;
	return 0;
}

SEC("tc") int callbacks(struct __sk_buff *skb)
{
	struct rounds rounds = { .left = skb->len };

	bpf_loop(skb->mark & 0xff, inner, &rounds, 0);
	bpf_for_each_map_elem(&counters, each, &rounds, 0);
	if (rounds.kinds[3] > 4)
		bpf_loop(10, inner, &rounds, 0);
	bpf_for_each_map_elem(&counters, each, &rounds, 0);
	return rounds.sum & 1;
}

#define EACH(name, from, to)                                                                        \
	for (struct bpf_iter_num name __attribute__((cleanup(bpf_iter_num_destroy))),               \
	     *started_##name = (bpf_iter_num_new(&name, from, to), &name);                          \
	     started_##name; started_##name = 0)                                                    \
		for (int *at_##name; (at_##name = bpf_iter_num_next(&name));)

SEC("tc") int iterators(struct __sk_buff *skb)
{
	u64 sum = 0, most = 0;
	u32 seed = skb->hash;

	EACH(rows, 0, 100) {
		u64 row = 0;

		EACH(columns, 0, 50) {
			u32 key = (seed + *at_rows * 50 + *at_columns) & 255;
			u64 *counter = bpf_map_lookup_elem(&counters, &key);

			if (!counter)
				continue;
			if (*counter & 1)
				row += *counter;
			else if (*counter > most)
				most = *counter;
			else
				seed = seed * 3 + key;
		}
		if (row > most)
			most = row;
		sum += row;
	}
	EACH(times, 0, seed & 31) {
		if (sum & 1)
			sum = sum * 3 + 1;
		else
			sum >>= 1;
	}
	return sum > most;
}
