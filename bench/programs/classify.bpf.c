// SPDX-License-Identifier: MIT OR Apache-2.0
// Words of a text, told apart by an automaton whose transitions are in a map, and counted by kind.
#include "text.h"

#define STATES 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u8[STATES * 32]);
} automaton SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STATES);
	__type(key, u32);
	__type(value, u64);
} kinds SEC(".maps");

/* What kind of byte it is. */
static __always_inline u32 class_of(u8 byte)
{
	if (byte >= 'a' && byte <= 'z')
		return byte - 'a';
	if (byte >= 'A' && byte <= 'Z')
		return byte - 'A';
	if (byte >= '0' && byte <= '9')
		return 26;
	switch (byte) {
	case '.':
	case ',':
		return 27;
	case '"':
	case '\'':
		return 28;
	case '/':
		return 29;
	}
	return byte <= ' ' ? 31 : 30;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *text = packet(ctx), *end = packet_end(ctx), *table, byte;
	u32 at = ZERO(ctx), zero = 0, state = ZERO(ctx), words = ZERO(ctx);
	u64 *count;

	table = bpf_map_lookup_elem(&automaton, &zero);
	if (!table)
		return 0;
	ROLLED for (;;) {
		u32 class;

		if (LIMIT || !TAKE(byte, text, at, end))
			break;
		class = class_of(byte) & 31;
		if (class == 31) {
			u32 key = state & (STATES - 1);

			count = bpf_map_lookup_elem(&kinds, &key);
			if (count)
				*count += 1;
			words = words * 31 + state;
			state = ZERO(ctx);
			continue;
		}
		class |= (state & (STATES - 1)) << 5;
		FORGET(class);
		state = table[class & (STATES * 32 - 1)];
	}
	return words;
}
