// Tail calls and what is attached: a program that is reached by a tail call, extensions of a function of it, and
// probes of both sides.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

// What probes saw: how often callers and callees began and ended, and the last result.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

enum { CALLER_BEGAN, CALLER_ENDED, RESULT, CALLEE_BEGAN, CALLEE_ENDED };

static __always_inline void see(__u32 place, __u64 value, int adds)
{
	__u64 *at = bpf_map_lookup_elem(&seen, &place);

	if (at)
		*at = adds ? *at + value : value;
}

NOINLINE int f(struct xdp_md *ctx)
{
	KEEP(ctx);
	int result = 30;
	KEEP(result);
	return result;
}

SEC("xdp") int callee(struct xdp_md *ctx)
{
	int result = f(ctx);
	KEEP(result);
	return result + 1;
}

SEC("xdp") int caller(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return 7;
}

SEC("freplace/f") int extension(struct xdp_md *ctx)
{
	return 500;
}

SEC("fentry/caller") int caller_begins(unsigned long long *ctx)
{
	see(CALLER_BEGAN, 1, 1);
	return 0;
}

SEC("fexit/caller") int caller_ends(unsigned long long *ctx)
{
	see(CALLER_ENDED, 1, 1);
	see(RESULT, ctx[1], 0);
	return 0;
}

SEC("fentry/callee") int callee_begins(unsigned long long *ctx)
{
	see(CALLEE_BEGAN, 1, 1);
	return 0;
}

SEC("fexit/callee") int callee_ends(unsigned long long *ctx)
{
	see(CALLEE_ENDED, 1, 1);
	return 0;
}

SEC("tc") int another(struct __sk_buff *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
