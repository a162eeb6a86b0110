// Functions: in which order they are appended, callbacks, hidden ones, several programs that share them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) static int leaf(int x)
{
	return x * 3;
}

__attribute__((noinline)) static int middle(int x)
{
	return leaf(x) + 1;
}

__attribute__((noinline)) int global(int x)
{
	return middle(x) + leaf(x);
}

__attribute__((noinline)) __hidden int hidden(int x)
{
	return x ^ leaf(x);
}

static long each(__u32 index, void *sum)
{
	*(int *)sum += index;
	return 0;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	int sum = 0;
	bpf_loop(10, each, &sum, 0);
	return (hidden(sum) + global(sum)) & 3;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return middle(ctx->ingress_ifindex) & 3;
}

SEC("?tc")
int third(struct __sk_buff *skb)
{
	return leaf(skb->len) & 1;
}

char _license[] SEC("license") = "GPL";
