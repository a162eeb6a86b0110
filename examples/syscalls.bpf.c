// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A filter of system calls, for a host that has a program type "syscall": `syscall_entry` jumps by
// the number of the call into the program for it; a call without a program is refused by default.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* What the host asks about. */
struct syscall {
	__u32 nr;
	__u32 pid;
	__u64 args[6];
};

enum {
	NR_READ = 0,
	NR_WRITE = 1,
	CALLS = 512,
};

enum verdict {
	ALLOW = 0,
	DENY = 1,
	LOG = 2,
};

/* The host's own helper: whether a file descriptor of a process is one that it may write to. */
static long (*host_may_write)(__u32 pid, __u32 fd) = (void *)1000;

int sys_read(struct syscall *ctx);
int sys_write(struct syscall *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALLS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct syscall *));
} calls SEC(".maps") = {
	.values = {
		[NR_READ] = (void *)&sys_read,
		[NR_WRITE] = (void *)&sys_write,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} written SEC(".maps");

__u64 denied;

SEC("syscall_filter/read")
int sys_read(struct syscall *ctx)
{
	/* Nobody reads more than a mebibyte at once. */
	return ctx->args[2] <= 1 << 20 ? ALLOW : LOG;
}

SEC("syscall_filter/write")
int sys_write(struct syscall *ctx)
{
	__u64 first = 0, *bytes;
	__u32 pid = ctx->pid;

	if (!host_may_write(pid, (__u32)ctx->args[0]))
		return DENY;
	bpf_map_update_elem(&written, &pid, &first, BPF_NOEXIST);
	bytes = bpf_map_lookup_elem(&written, &pid);
	if (bytes)
		__sync_fetch_and_add(bytes, ctx->args[2]);
	return ALLOW;
}

SEC("syscall_filter")
int syscall_entry(struct syscall *ctx)
{
	bpf_tail_call(ctx, &calls, ctx->nr);
	__sync_fetch_and_add(&denied, 1);
	return DENY;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
