// CO-RE: questions of every kind about types that a target lays out otherwise.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task {
	int pid;
	char comm[16];
	struct task *parent;
	unsigned int waiting : 1;
	int gone;
};
struct task___old {
	long age;
};
struct missing {
	int a;
};
#pragma clang attribute pop

enum mode {
	FAST,
	SLOW,
};

SEC("raw_tp/sched_switch")
int program(void *ctx)
{
	struct task *task = (void *)bpf_get_current_task();
	struct task___old *old = (void *)task;
	long sum = BPF_CORE_READ(task, parent, pid);

	sum += BPF_CORE_READ_BITFIELD_PROBED(task, waiting);
	sum += BPF_CORE_READ(old, age);
	if (bpf_core_field_exists(task->gone))
		sum += BPF_CORE_READ(task, gone);
	sum += bpf_core_field_offset(task->comm[3]) + bpf_core_field_size(task->comm);
	sum += bpf_core_type_exists(struct missing) + bpf_core_type_size(struct task);
	sum += bpf_core_type_id_kernel(struct task) + bpf_core_type_id_local(struct task);
	sum += bpf_core_enum_value(enum mode, SLOW);
	return sum;
}

char _license[] SEC("license") = "GPL";
