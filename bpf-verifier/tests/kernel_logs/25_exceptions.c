// Exceptions in loops, functions that nothing comes back from, and one that nothing calls.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))

void bpf_throw(__u64) __ksym;

/* A path that ends inside of a loop, where no state was kept. */
SEC("tc")
int rej_in_loop(struct __sk_buff *ctx)
{
	__u64 count = 0;

	do {
		KEEP(count);
		if (ctx->mark == 7)
			bpf_throw(count);
		count++;
	} while (count < 2);
	return 0;
}

static NOINLINE int repeats(__u64 mark)
{
	__u64 count = 0;

	do {
		KEEP(count);
		if (mark == 7)
			bpf_throw(count);
		count++;
	} while (count < 2);
	return 0;
}

SEC("tc")
int rej_in_loop_of_function(struct __sk_buff *ctx)
{
	__u64 mark = ctx->mark;

	KEEP(mark);
	return repeats(mark) + 1;
}

static NOINLINE int always(__u64 cookie)
{
	KEEP(cookie);
	bpf_throw(cookie);
	return 0;
}

SEC("tc")
int acc_never_back(struct __sk_buff *ctx)
{
	int found = always(ctx->mark);

	KEEP(found);
	return found + ctx->len;
}

static NOINLINE int nothing(__u64 number, void *ctx)
{
	KEEP(number);
	return 0;
}

static NOINLINE int twice(__u64 number)
{
	KEEP(number);
	return 2 * number;
}

/* The address of a function that is removed with all behind it. */
SEC("tc")
int rej_callback_of_no_call(struct __sk_buff *ctx)
{
	__u64 mark = twice(ctx->mark);

	bpf_loop(0, nothing, 0, 0);
	return mark / (ctx->len | 1);
}

char _license[] SEC("license") = "GPL";
