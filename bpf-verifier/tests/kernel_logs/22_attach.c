// Programs that attach to the kernel's types: tracepoints, iterators, structures of functions.
// The kernel's structures are told as far as they are used.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define from_kernel __attribute__((preserve_access_index))

typedef _Bool bool;

struct inode { unsigned long i_ino; } from_kernel;
struct file { struct inode *f_inode; } from_kernel;
struct task_struct;
struct mm_struct { struct file *exe_file; struct task_struct *owner; unsigned long start_stack; } from_kernel;
struct task_struct {
	unsigned int __state;
	int pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct mm_struct *mm;
	char comm[16];
} from_kernel;
struct net_device { int ifindex; } from_kernel;
struct sock_common { unsigned short skc_family; } from_kernel;
struct sock { struct sock_common __sk_common; unsigned long sk_pacing_rate; } from_kernel;
struct sk_buff { struct net_device *dev; struct sock *sk; unsigned char *head; unsigned short network_header; } from_kernel;
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; __u64 seq_num; } from_kernel;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } from_kernel;
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key, *value; } from_kernel;
struct tcp_sock { __u32 snd_cwnd, snd_ssthresh, srtt_us; } from_kernel;
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *);
	void (*set_state)(struct sock *, __u8);
	void (*release)(struct sock *);
	void (*init)(struct sock *);
	__u32 (*undo_cwnd)(struct sock *);
} from_kernel;
struct bpf_dummy_ops_state { int val; } from_kernel;
struct bpf_dummy_ops {
	int (*test_1)(struct bpf_dummy_ops_state *);
	int (*test_2)(struct bpf_dummy_ops_state *, int, unsigned short, char, unsigned long);
} from_kernel;

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, int);
	__type(value, __u64);
} since SEC(".maps");

#define tp(name, ...) SEC("tp_btf/sched_switch") int BPF_PROG(name, bool preempt, struct task_struct *prev, struct task_struct *next, ##__VA_ARGS__)

tp(run_queue)
{
	__u64 now = bpf_ktime_get_ns(), *then;
	int pid = prev->pid;

	if (!prev->__state)
		bpf_map_update_elem(&since, &pid, &now, BPF_ANY);
	pid = next->pid;
	then = bpf_map_lookup_elem(&since, &pid);
	if (!then)
		return 0;
	bpf_printk("%d waited %llu", next->tgid, now - *then);
	bpf_map_delete_elem(&since, &pid);
	return 0;
}

tp(parents)
{
	struct task_struct *parent = next->real_parent;

	return parent->pid + parent->group_leader->tgid;
}

tp(executable)
{
	struct mm_struct *mm = next->mm;
	struct file *file = mm ? mm->exe_file : 0;

	return file ? file->f_inode->i_ino : 0;
}

tp(unchecked) { return next->mm->exe_file->f_inode->i_ino; }

tp(owner) { return next->mm->owner->pid; }

tp(letters)
{
	int sum = 0;

	for (int i = 0; i < 16; i++)
		sum += next->comm[i];
	return sum;
}

tp(rej_letter) { return next->comm[bpf_get_prandom_u32() & 15]; }

tp(rej_written)
{
	next->pid = 1;
	return 0;
}

tp(state, unsigned int state) { return state & 1 ? preempt : 2; }

tp(rej_fifth, unsigned int state, int more) { return more; }

static __attribute__((noinline)) int pid_of(struct task_struct *task) { return task->pid; }

tp(called) { return pid_of(prev) + pid_of(next); }

tp(same) { return prev == next ? 1 : next ? 2 : 3; }

tp(rej_path)
{
	char name[16];

	return bpf_d_path((void *)next, name, sizeof(name));
}

SEC("tp_btf/kfree_skb") int BPF_PROG(dropped, struct sk_buff *skb, void *place, int why, struct sock *by)
{
	int found = by ? by->__sk_common.skc_family : 0;

	if (skb->dev)
		found += skb->dev->ifindex;
	return found + skb->head[skb->network_header];
}

SEC("tp_btf/kfree_skb") int BPF_PROG(rej_dropped, struct sk_buff *skb, void *place, int why, struct sock *by)
{
	return by->__sk_common.skc_family;
}

SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(seq, "pid  name\n");
	BPF_SEQ_PRINTF(seq, "%4d %s\n", task->pid, task->comm);
	return 0;
}

SEC("iter/task") int rej_last_task(struct bpf_iter__task *ctx) { return ctx->task->pid == 1; }

SEC("iter/task") int rej_result(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? task->pid : 0;
}

SEC("iter.s/task") int sleeping(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	long word;

	if (!task || bpf_copy_from_user_task(&word, sizeof(word), (void *)0x1000, task, 0))
		return 0;
	return task->real_parent->pid == 1;
}

SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{
	int *key = ctx->key;
	__u64 *value = ctx->value;

	if (!key || !value)
		return 0;
	bpf_seq_write(ctx->meta->seq, key, sizeof(*key));
	*value += *key;
	return 0;
}

SEC("iter/bpf_map_elem") int rej_key_written(struct bpf_iter__bpf_map_elem *ctx)
{
	int *key = ctx->key;

	if (key)
		*key = 1;
	return 0;
}

SEC("iter/bpf_map_elem") int rej_somewhere(struct bpf_iter__bpf_map_elem *ctx)
{
	char *value = ctx->value;

	return value ? value[bpf_get_prandom_u32() & 7] & 1 : 0;
}

SEC("struct_ops") void BPF_PROG(cc_init, struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;

	if (tcp->srtt_us < 100)
		tcp->snd_ssthresh = 16;
	sk->sk_pacing_rate = 1 << 20;
}

SEC("struct_ops") __u32 BPF_PROG(cc_ssthresh, struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;

	return tcp->snd_cwnd > 4 ? tcp->snd_cwnd >> 1 : 2;
}

SEC("struct_ops") void BPF_PROG(cc_state, struct sock *sk, __u8 state)
{
	struct tcp_sock *tcp = (void *)sk;
	char name[] = "cubic";

	if (state == 4)
		tcp->snd_cwnd = 1;
	else
		bpf_setsockopt(sk, 6, 13, name, sizeof(name));
}

SEC("struct_ops") __u32 BPF_PROG(rej_cc_undo, struct sock *sk)
{
	((struct tcp_sock *)sk)->srtt_us = 1;
	return 1;
}

SEC("struct_ops") void BPF_PROG(rej_cc_release, struct sock *sk)
{
	int on = 1;

	bpf_setsockopt(sk, 6, 1, &on, sizeof(on));
}

SEC(".struct_ops") struct tcp_congestion_ops cc = {
	.init = (void *)cc_init, .ssthresh = (void *)cc_ssthresh, .set_state = (void *)cc_state,
	.undo_cwnd = (void *)rej_cc_undo, .release = (void *)rej_cc_release,
};

SEC("struct_ops") int BPF_PROG(dummy_1, struct bpf_dummy_ops_state *state)
{
	return state ? state->val++ : 1;
}

SEC("struct_ops") int BPF_PROG(rej_dummy_2, struct bpf_dummy_ops_state *state, int a, unsigned short b, char c, unsigned long d)
{
	return a + b + c + d + ((int *)state)[1];
}

SEC(".struct_ops") struct bpf_dummy_ops dummy = { .test_1 = (void *)dummy_1, .test_2 = (void *)rej_dummy_2 };
