// Structures of functions that are programs.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct state {
	int value;
};

struct dummy_ops___of_ours {
	int number;
	int (*first)(struct state *);
	int (*second)(struct state *, int);
};

char license_text[] SEC("license") = "GPL";

SEC("struct_ops")
int one(unsigned long long *ctx)
{
	return 1;
}

SEC("struct_ops.s/any_name")
int two(unsigned long long *ctx)
{
	return ctx[1];
}

SEC("struct_ops")
int unused(unsigned long long *ctx)
{
	return 3;
}

SEC(".struct_ops.link")
struct dummy_ops___of_ours plain = { .number = 7, .second = (void *)two };

SEC(".struct_ops")
struct dummy_ops___of_ours other = { .first = (void *)one, .second = (void *)two };
