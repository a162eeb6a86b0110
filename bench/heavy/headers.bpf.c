// SPDX-License-Identifier: MIT OR Apache-2.0
// A packet's headers, with everything that may stand between them: tags, extensions, options.
#include "heavy.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u64);
	__type(value, u64);
	__uint(max_entries, 1024);
} flows SEC(".maps");

struct cursor {
	u8 *at;
	u8 *end;
};

static __always_inline int options(struct cursor *c, u32 len)
{
	u8 *stop;

	if (len > 40)
		return -1;
	stop = c->at + len;
	if (stop > c->end)
		return -1;
	UNROLLED for (int i = 0; i < 24; i++) {
		u8 kind, size;

		if (c->at + 2 > c->end)
			return -1;
		kind = c->at[0];
		if (kind == 0)
			return 0;
		if (kind == 1) {
			c->at++;
			continue;
		}
		size = c->at[1];
		if (size < 2 || size > 40)
			return -1;
		if (kind == 8 && size == 10) {
			if (c->at + 10 > c->end)
				return -1;
			return c->at[2] << 8 | c->at[3];
		}
		c->at += size;
	}
	return 0;
}

SEC("xdp") int headers(struct xdp_md *ctx)
{
	struct cursor c = { (u8 *)(long)ctx->data, (u8 *)(long)ctx->data_end };
	u8 next = 0, words;
	u64 key = 0, *count;
	u16 type;
	int stamp;

	if (c.at + 14 > c.end)
		return XDP_DROP;
	type = c.at[12] << 8 | c.at[13];
	c.at += 14;
	UNROLLED for (int i = 0; i < 4; i++) {
		if (type != 0x8100 && type != 0x88a8)
			break;
		if (c.at + 4 > c.end)
			return XDP_DROP;
		type = c.at[2] << 8 | c.at[3];
		c.at += 4;
	}
	if (type == 0x0800) {
		u8 len;

		if (c.at + 20 > c.end)
			return XDP_DROP;
		len = (c.at[0] & 15) * 4;
		if (len < 20)
			return XDP_DROP;
		next = c.at[9];
		key = c.at[12] << 8 | c.at[16];
		if (c.at + len > c.end)
			return XDP_DROP;
		c.at += len;
	} else if (type == 0x86dd) {
		if (c.at + 40 > c.end)
			return XDP_DROP;
		next = c.at[6];
		key = c.at[8] << 8 | c.at[24];
		c.at += 40;
		UNROLLED for (int i = 0; i < 8; i++) {
			if (next != 0 && next != 43 && next != 60)
				break;
			if (c.at + 8 > c.end)
				return XDP_DROP;
			next = c.at[0];
			c.at += 8 + c.at[1] * 8;
		}
	} else {
		return XDP_PASS;
	}
	if (next != 6 || c.at + 20 > c.end)
		return XDP_PASS;
	key = key << 32 | c.at[0] << 24 | c.at[1] << 16 | c.at[2] << 8 | c.at[3];
	words = c.at[12] >> 4;
	if (words < 5)
		return XDP_DROP;
	c.at += 20;
	stamp = options(&c, words * 4 - 20);
	count = bpf_map_lookup_elem(&flows, &key);
	if (count)
		__sync_fetch_and_add(count, stamp);
	return stamp < 0 ? XDP_DROP : XDP_PASS;
}
