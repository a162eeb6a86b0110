// Probes that print, and probes of a function that an exception passes through.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))

extern void bpf_throw(__u64 cookie) __ksym;

// How often the function ran, the probe before it, and the probe behind it.
__u64 worked, entered, left;

NOINLINE int work(int a)
{
	KEEP(a);
	worked++;
	return a + 1;
}

SEC("xdp") int program(struct xdp_md *ctx)
{
	int result = work(4);
	KEEP(result);
	return result;
}

// Prints, so that whoever takes the lines may run the program again.
SEC("fentry/work") int before(unsigned long long *ctx)
{
	entered++;
	bpf_printk("before");
	return 0;
}

static NOINLINE int once_more(int a)
{
	KEEP(a);
	left++;
	return a;
}

SEC("fexit/work") int behind(unsigned long long *ctx)
{
	once_more(1);
	bpf_printk("behind");
	return 0;
}

NOINLINE int may_throw(__u32 cookie)
{
	KEEP(cookie);
	if (cookie)
		bpf_throw(cookie);
	return 1;
}

SEC("xdp") int thrower(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index;
	int result = may_throw(queue ? 0 : 9);
	KEEP(result);
	return result;
}

// Does not see a function return that was left by an exception.
SEC("fexit/may_throw") int behind_throw(unsigned long long *ctx)
{
	left++;
	return 0;
}

SEC("fentry/may_throw") int before_throw(unsigned long long *ctx)
{
	entered++;
	once_more(1);
	return 0;
}

char _license[] SEC("license") = "GPL";
