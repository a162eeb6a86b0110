// Static functions that are probed: called, in each other, and by helpers.
//
// Objects of this source: the program, probes of its functions; told apart by their sections.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, __u64);
} elements SEC(".maps");

// The places in `counts`.
enum { ENTERED, LEFT, WRONG };

static __always_inline void count(__u32 place)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &place);
	if (value)
		__sync_fetch_and_add(value, 1);
}

struct sums {
	long rounds;
	long keys;
};

static NOINLINE long inner(long a, long b)
{
	KEEP(a);
	KEEP(b);
	return a * 3 + b;
}

static NOINLINE long outer(long a, long b)
{
	long first = inner(a, b);
	KEEP(first);
	return inner(first, b);
}

static long in_loop(__u32 number, struct sums *sums)
{
	sums->rounds += inner(number, 1);
	return 0;
}

static long each(void *map, __u32 *key, __u64 *value, struct sums *sums)
{
	sums->keys += *key;
	*value += 1;
	return *key == 3;
}

SEC("xdp") int main_program(struct xdp_md *ctx)
{
	struct sums sums = {};
	long a = 2, b = 5;
	KEEP(a);
	KEEP(b);
	long result = outer(a, b);

	if (bpf_loop(6, in_loop, &sums, 0) != 6)
		return -1;
	if (bpf_for_each_map_elem(&elements, each, &sums, 0) != 4)
		return -2;
	// 38, 6 + 3 * 15, and the keys up to 3
	return result * 10000 + sums.rounds * 100 + sums.keys;
}

// Both see the arguments in the words that begin at `ctx`; the result is behind them.
SEC("fentry/inner") int before_inner(unsigned long long *ctx)
{
	count(ENTERED);
	return 0;
}

SEC("fexit/inner") int after_inner(unsigned long long *ctx)
{
	count(LEFT);
	if (ctx[2] != ctx[0] * 3 + ctx[1])
		count(WRONG);
	return 0;
}

SEC("fentry/outer") int before_outer(unsigned long long *ctx)
{
	count(ENTERED);
	if (ctx[0] != 2 || ctx[1] != 5)
		count(WRONG);
	return 0;
}

SEC("fexit/outer") int after_outer(unsigned long long *ctx)
{
	count(LEFT);
	if (ctx[2] != 38)
		count(WRONG);
	return 0;
}

SEC("fentry/in_loop") int before_in_loop(unsigned long long *ctx)
{
	count(ENTERED);
	return 0;
}

SEC("fexit/in_loop") int after_in_loop(unsigned long long *ctx)
{
	count(LEFT);
	if (ctx[2])
		count(WRONG);
	return 0;
}

SEC("fentry/each") int before_each(unsigned long long *ctx)
{
	count(ENTERED);
	return 0;
}

SEC("fexit/each") int after_each(unsigned long long *ctx)
{
	count(LEFT);
	if (ctx[4] > 1)
		count(WRONG);
	return 0;
}

char _license[] SEC("license") = "GPL";
