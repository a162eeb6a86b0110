// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Programs of a type that only a host knows.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct line {
	__u32 len;
	__u8 level;
	__u64 key;
	__u32 out;
	__u32 secret;
};

static long (*host_sum)(const void *text, __u32 len, __u64 salt) = (void *)1000;
static long (*host_fail)(int code) = (void *)1001;
static long (*host_unknown)(void) = (void *)1002;

const char text[4] = "abc";

/* A global function: it is judged by the name of the structure. */
__noinline int salted(struct line *ctx)
{
	return host_sum(text, 3, ctx->key >> 32);
}

SEC("line_filter")
int judge(struct line *ctx)
{
	ctx->out = salted(ctx);
	return ctx->level > 2;
}

SEC("line_filter")
int writes_len(struct line *ctx)
{
	ctx->len = 0;
	return 0;
}

SEC("line_filter")
int reads_secret(struct line *ctx)
{
	return ctx->secret > 1;
}

SEC("line_filter")
int reads_padding(struct line *ctx)
{
	return *((volatile __u8 *)ctx + 5) > 1;
}

SEC("line_filter/sub")
int returns_two(struct line *ctx)
{
	return 2;
}

SEC("line_filter")
int calls_unknown(struct line *ctx)
{
	return host_unknown() > 1;
}

SEC("line_filter")
int passes_number(struct line *ctx)
{
	return host_sum((void *)ctx->key, 3, 0) > 1;
}

SEC("line_filter")
int asks_to_fail(struct line *ctx)
{
	host_fail(ctx->len);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
