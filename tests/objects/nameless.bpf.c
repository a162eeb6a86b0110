// A parameter without a name, which the kernel does not take.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int nameless(struct xdp_md *)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
