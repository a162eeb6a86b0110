// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Exceptions: thrown here and there, caught by the program's callback, or by nobody.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __catch(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

extern void bpf_throw(__u64 cookie) __ksym;

__s64 args[4];
__s64 out[16];
__u8 buf[256];

int throws(struct __sk_buff *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} thrower SEC(".maps") = {
	.values = { (void *)&throws },
};

/* Exceptions without a callback are the result themselves. */
SEC("tc")
int plain(struct __sk_buff *ctx)
{
	out[0] = 1;
	if (args[0] == 1)
		bpf_throw(args[1] & 0xff);
	out[1] = 2;
	return 77;
}

static __noinline int deep(int depth)
{
	volatile int room[8] = { depth };

	out[2]++;
	if (args[0] == 3)
		bpf_throw(33);
	return room[args[1] & 7] + 1;
}

static __noinline int middle(int depth)
{
	volatile __u64 kept = depth + args[1];
	int found;

	if (args[0] == 2)
		bpf_throw(22);
	found = deep(depth + 1);
	out[3]++;
	return found + kept;
}

SEC("tc")
int nested(struct __sk_buff *ctx)
{
	int found = middle(5);

	out[4] = found;
	found += middle(6);
	out[5]++;
	if (args[0] == 1)
		bpf_throw(11);
	return found;
}

static __noinline __u64 caught(__u64 cookie)
{
	volatile __u64 room[4] = { cookie };

	out[8]++;
	out[9] = cookie;
	return room[0];
}

__noinline int handler(__u64 cookie)
{
	out[10]++;
	return caught(cookie) == 22 ? 1 : 2;
}

SEC("tc")
__catch(handler)
int with_handler(struct __sk_buff *ctx)
{
	int found = middle(1);

	out[4] = found;
	if (args[0] == 1)
		bpf_throw(-5);
	return 3;
}

/* A program that throws takes the place of a function, whose caller goes on. */
SEC("tc")
__catch(handler)
int throws(struct __sk_buff *ctx)
{
	out[6]++;
	if (args[0])
		middle(9);
	bpf_throw(args[2]);
	return 0;
}

static __noinline int goes_on(struct __sk_buff *ctx)
{
	volatile int kept = 4;

	bpf_tail_call(ctx, &thrower, 0);
	return kept;
}

SEC("tc")
int jumps(struct __sk_buff *ctx)
{
	int found = goes_on(ctx);

	out[7] = found;
	return found + 10;
}

/* What always throws never comes back: nothing is left of what stands behind its calls. */
static __noinline int always(__u64 cookie)
{
	out[11]++;
	bpf_throw(cookie & 0x7f);
	return 0;
}

static __noinline int often(__u64 cookie)
{
	int found;

	if (cookie == 1)
		return 5;
	found = always(cookie);
	out[12] = found;
	return found + 1;
}

SEC("tc")
int never_back(struct __sk_buff *ctx)
{
	int found;

	if (args[0] == 1)
		return often(args[1]);
	found = always(args[1]);
	out[13] = found;
	return found + 1;
}

char _license[] SEC("license") = "GPL";
