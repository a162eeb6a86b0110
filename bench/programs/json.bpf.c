// SPDX-License-Identifier: MIT OR Apache-2.0
// A field of a JSON document, found by its name at its depth; its number read.
#include "text.h"

/* The hash of the name that is looked for: "user_id". */
#define WANTED 0xee0f

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *text = packet(ctx), *end = packet_end(ctx);
	u32 at = ZERO(ctx), depth = ZERO(ctx), in_string = ZERO(ctx), escaped = ZERO(ctx);
	u32 hash = ZERO(ctx), last = ZERO(ctx), found = ZERO(ctx), strings = ZERO(ctx);
	u64 number = ZERO(ctx);
	u8 byte;

	ROLLED for (;;) {
		if (LIMIT || !TAKE(byte, text, at, end))
			break;
		if (in_string) {
			if (escaped) {
				escaped = 0;
			} else if (byte == '\\') {
				escaped = 1;
			} else if (byte == '"') {
				in_string = 0;
				last = hash;
				strings++;
			} else {
				hash = (hash * 31 + byte) & 0xffff;
			}
			continue;
		}
		if (byte == '"') {
			in_string = 1;
			hash = 0;
		} else if (byte == '{' || byte == '[') {
			depth++;
		} else if (byte == '}' || byte == ']') {
			found = 0;
			if (!--depth)
				break;
		} else if (byte == ':') {
			found = last == WANTED && depth == 2;
		} else if (byte == ',') {
			found = 0;
		} else if (found && byte >= '0' && byte <= '9') {
			number = number * 10 + (byte - '0');
		}
	}
	return FOLD(number) ^ strings << 16 ^ last;
}
