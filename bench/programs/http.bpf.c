// SPDX-License-Identifier: MIT OR Apache-2.0
// An HTTP/1 request: its method, a hash of its path, and the value of one of its headers.
#include "text.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *text = packet(ctx), *end = packet_end(ctx);
	u32 at = ZERO(ctx) + 4, method = ZERO(ctx), path = ZERO(ctx), host = ZERO(ctx);
	u32 headers = ZERO(ctx), column = ZERO(ctx), name = ZERO(ctx), value = ZERO(ctx);
	u8 byte;

	if (text + 4 > end)
		return 0;
	if (text[0] == 'G' && text[1] == 'E' && text[2] == 'T')
		method = 1;
	else if (text[0] == 'P' && text[1] == 'U' && text[2] == 'T')
		method = 2;
	else if (text[0] == 'P' && text[1] == 'O' && text[2] == 'S')
		method = 3, at++;
	else if (text[0] == 'H' && text[1] == 'E' && text[2] == 'A')
		method = 4, at++;
	else
		return 1;
	ROLLED for (;;) {
		if (LIMIT || !TAKE(byte, text, at, end))
			return 2;
		if (byte == ' ' || byte == '?')
			break;
		path = (path ^ byte) * 16777619u;
	}
	ROLLED for (;;) {
		if (LIMIT || !TAKE(byte, text, at, end))
			break;
		if (byte == '\n') {
			if (!column)
				break;
			if (name == 0xf5a8)
				host = value;
			headers++;
			column = ZERO(ctx);
			name = ZERO(ctx);
			value = ZERO(ctx);
			continue;
		}
		if (byte == '\r')
			continue;
		column++;
		if (byte == ':' && !value) {
			value = 1;
		} else if (value) {
			value = value * 33 + byte;
		} else {
			if (byte >= 'A' && byte <= 'Z')
				byte |= 0x20;
			name = (name * 31 + byte) & 0xffff;
		}
	}
	return path ^ host ^ headers << 8 ^ method ^ name;
}
