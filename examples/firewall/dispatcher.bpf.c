// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A dispatcher for up to four filters: each `progN` is a global function that passes every packet
// until an extension takes its place. How many slots are used is fixed before the load, so that the
// verifier removes the others.
#include "firewall.h"

#define SLOTS 4

const volatile __u32 slots = SLOTS;

struct counts {
	__u64 passed;
	__u64 dropped;
	__u64 other;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct counts);
} verdicts SEC(".maps");

/* The result is volatile, so that clang does not think it knows what a slot returns. */
#define SLOT(name)                                     \
	__attribute__((noinline)) int name(struct xdp_md *ctx) \
	{                                              \
		volatile int ret = XDP_PASS;           \
						       \
		if (!ctx)                              \
			return XDP_ABORTED;            \
		return ret;                            \
	}

SLOT(prog0)
SLOT(prog1)
SLOT(prog2)
SLOT(prog3)

static __always_inline void count(__u32 slot, int verdict)
{
	struct counts *counts = bpf_map_lookup_elem(&verdicts, &slot);

	if (!counts)
		return;
	if (verdict == XDP_PASS)
		counts->passed++;
	else if (verdict == XDP_DROP)
		counts->dropped++;
	else
		counts->other++;
}

#define ASK(n)                          \
	if (slots > n) {                \
		int verdict = prog##n(ctx); \
					\
		count(n, verdict);      \
		if (verdict != XDP_PASS) \
			return verdict; \
	}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	ASK(0)
	ASK(1)
	ASK(2)
	ASK(3)
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
