// SPDX-License-Identifier: MIT OR Apache-2.0
// A DNS message: the names of its questions, hashed label by label, are looked up in a filter.
#include "text.h"
#include <bpf/bpf_endian.h>

struct header {
	u16 id, flags, questions, answers, authorities, additionals;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u64);
} filter SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *text = packet(ctx), *end = packet_end(ctx);
	struct header *header = (void *)text;
	u32 at = ZERO(ctx) + sizeof(*header), left = ZERO(ctx), hash = ZERO(ctx), labels = ZERO(ctx);
	u32 hits = ZERO(ctx), questions, key;
	u64 *bits;
	u8 byte;

	if ((u8 *)(header + 1) > end)
		return 0;
	questions = bpf_ntohs(header->questions);
	if (bpf_ntohs(header->flags) & 0x8000 || questions > 16)
		return 1;
	ROLLED for (;;) {
		if (LIMIT || !TAKE(byte, text, at, end))
			break;
		if (left) {
			left--;
			if (byte >= 'A' && byte <= 'Z')
				byte |= 0x20;
			hash = (hash ^ byte) * 16777619u;
			continue;
		}
		if (byte >= 0xc0)
			break;
		labels++;
		key = hash >> 22;
		bits = bpf_map_lookup_elem(&filter, &key);
		if (bits)
			hits += (*bits >> (hash & 63) & 1) + 1;
		left = byte;
		if (!byte) {
			if (!--questions)
				break;
			at += 4;
			hash = ZERO(ctx);
		}
	}
	return hash ^ labels << 8 ^ hits << 16;
}
