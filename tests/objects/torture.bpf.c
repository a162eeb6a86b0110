// What the torture of replaced functions runs: a program whose functions are replaced and probed while it runs.
//
// Objects of this source: the program, extensions of `f`, probes of `g`; told apart by their sections.
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

// The places in `counts`.
enum { OLD, NEW, PROBED, WRONG };

const volatile __u32 number = 7;

static __always_inline void count(__u32 place)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &place);
	if (value)
		__sync_fetch_and_add(value, 1);
}

NOINLINE int f(struct xdp_md *ctx)
{
	KEEP(ctx);
	count(OLD);
	int result = 0;
	KEEP(result);
	return result;
}

NOINLINE int g(int a, long b)
{
	KEEP(a);
	KEEP(b);
	int sum = a + (int)b;
	KEEP(sum);
	return sum;
}

SEC("xdp") int main_program(struct xdp_md *ctx)
{
	int first = f(ctx);
	KEEP(first);
	int sum = g(first, 3);
	KEEP(sum);
	// Whatever runs around or in place of the functions, this holds.
	if (sum != first + 3)
		count(WRONG);
	return first;
}

SEC("freplace/f") int extension(struct xdp_md *ctx)
{
	count(NEW);
	return (int)number;
}

SEC("fentry/g") int before(unsigned long long *ctx)
{
	count(PROBED);
	if ((long)ctx[1] != 3)
		count(WRONG);
	return 0;
}

SEC("fexit/g") int after(unsigned long long *ctx)
{
	count(PROBED);
	if ((int)ctx[2] != (int)ctx[0] + (int)ctx[1])
		count(WRONG);
	return 0;
}

char _license[] SEC("license") = "GPL";
