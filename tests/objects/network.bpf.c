// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Questions to the network: routes.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__s64 args[4];
__s64 out[16];
__u8 buf[256];

// args: family and the length that is asked about, interface, flags, how long the question is.
static int ask(void *ctx)
{
	struct bpf_fib_lookup *params = (void *)buf;
	__u32 len = 40 + (args[3] & 63);

	params->family = args[0];
	params->tot_len = args[0] >> 16;
	params->ifindex = args[1];
	out[0] = bpf_fib_lookup(ctx, params, len, args[2]);
	out[1] = params->ifindex;
	return 0;
}

SEC("xdp")
int fib_xdp(struct xdp_md *ctx)
{
	return ask(ctx);
}

SEC("tc")
int fib_tc(struct __sk_buff *ctx)
{
	return ask(ctx);
}

char LICENSE[] SEC("license") = "GPL";
