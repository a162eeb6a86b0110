// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Kernel functions: locks that notice deadlocks, objects of each CPU, reads into dynptrs, streams.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_map { int none; };
struct bpf_res_spin_lock { __u32 val; } __attribute__((aligned(4)));

#define __percpu_kptr_of __attribute__((btf_type_tag("percpu_kptr")))
#define __kptr_of __attribute__((btf_type_tag("kptr")))

extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym __weak;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym __weak;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags) __ksym __weak;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags) __ksym __weak;
extern void *bpf_percpu_obj_new_impl(__u64 local_type_id, void *meta) __ksym __weak;
extern void bpf_percpu_obj_drop_impl(void *kptr, void *meta) __ksym __weak;
extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym __weak;
extern int bpf_dynptr_from_xdp(struct xdp_md *x, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *p, __u32 start, __u32 end) __ksym;
extern int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *ptr) __ksym __weak;
extern int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *ptr) __ksym __weak;
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *ptr) __ksym __weak;
extern int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *ptr) __ksym __weak;
extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt, const void *args, __u32 len, void *aux) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(typeof(type) *)0, 0)

__s64 args[4];
__s64 out[16];
__u8 buf[256];

struct locked {
	__u64 before;
	struct bpf_res_spin_lock lock;
	__u32 behind;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct locked);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} lru SEC(".maps");

struct counters {
	__u64 packets, bytes;
};

struct kept {
	__u64 tag;
	struct counters __percpu_kptr_of *counters;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

// Two locks, which may be one.
SEC("xdp")
int two_locks(struct xdp_md *ctx)
{
	__u32 a = args[0], b = args[1];
	struct locked *one = bpf_map_lookup_elem(&locks, &a), *two = bpf_map_lookup_elem(&locks, &b);
	unsigned long flags;

	if (!one || !two)
		return 1;
	out[0] = bpf_res_spin_lock(&one->lock);
	if (out[0])
		return 2;
	if (bpf_res_spin_lock_irqsave(&two->lock, &flags)) {
		out[1] = 1;
		bpf_res_spin_unlock(&one->lock);
	} else {
		two->before += args[2];
		two->behind++;
		bpf_res_spin_unlock_irqrestore(&two->lock, &flags);
		bpf_res_spin_unlock(&one->lock);
	}
	// It is free again.
	out[2] = bpf_res_spin_lock(&two->lock);
	if (!out[2])
		bpf_res_spin_unlock(&two->lock);
	return 0;
}

SEC("xdp")
int entries(struct xdp_md *ctx)
{
	struct locked value = {};

	for (int i = 0; i < 10; i++) {
		__u32 key = i;

		bpf_map_delete_elem(&hash, &key);
		bpf_map_delete_elem(&lru, &key);
	}
	for (int i = 0; i < 10; i++) {
		__u32 key = i;
		__u64 number = i;

		if (i >= args[0])
			break;
		bpf_map_update_elem(&hash, &key, &value, BPF_ANY);
		bpf_map_update_elem(&lru, &key, &number, BPF_ANY);
	}
	out[0] = bpf_map_sum_elem_count((void *)&hash);
	out[1] = bpf_map_sum_elem_count((void *)&lru);
	out[2] = bpf_map_sum_elem_count((void *)&locks);
	return 0;
}

// An object of each CPU, kept in a map: on the first run it is made.
SEC("xdp")
int percpu(struct xdp_md *ctx)
{
	__u32 key = args[0] & 1, cpu;
	struct counters __percpu_kptr_of *made, *old;
	struct counters *mine;
	struct kept *value = bpf_map_lookup_elem(&kept, &key);
	__u64 sum = 0;

	if (!value)
		return 1;
	if (args[1] & 1) {
		made = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct counters), 0);
		if (!made)
			return 2;
		old = bpf_kptr_xchg(&value->counters, made);
		out[0] = old != 0;
		if (old)
			bpf_percpu_obj_drop_impl(old, 0);
	}
	bpf_rcu_read_lock();
	made = value->counters;
	if (!made) {
		bpf_rcu_read_unlock();
		return 3;
	}
	// Linux gives memory as it was left.
	for (cpu = 0; cpu < 2 && args[1] & 1; cpu++) {
		mine = bpf_per_cpu_ptr(made, cpu);
		if (!mine)
			break;
		mine->packets = mine->bytes = 0;
	}
	mine = bpf_this_cpu_ptr(made);
	mine->packets += 1;
	mine->bytes += args[2];
	for (cpu = 0; cpu < 2; cpu++) {
		mine = bpf_per_cpu_ptr(made, cpu);
		if (!mine) {
			out[1] = cpu;
			break;
		}
		sum += mine->bytes;
	}
	out[2] = sum;
	mine = bpf_per_cpu_ptr(made, args[3]);
	out[3] = mine != 0;
	bpf_rcu_read_unlock();
	if (args[1] & 2) {
		old = bpf_kptr_xchg(&value->counters, 0);
		out[4] = old != 0;
		if (old)
			bpf_percpu_obj_drop_impl(old, 0);
	}
	return 0;
}

SEC("xdp")
int reads(struct xdp_md *ctx)
{
	struct bpf_dynptr memory, packet;
	__u64 from = (__u64)buf + (args[2] & 127);

	bpf_dynptr_from_mem(buf + 128, 100, 0, &memory);
	bpf_dynptr_from_xdp(ctx, 0, &packet);
	out[0] = bpf_probe_read_kernel_dynptr(&memory, args[0], args[1], (void *)from);
	out[1] = bpf_probe_read_kernel_dynptr(&packet, args[0], args[1], (void *)from);
	out[2] = bpf_probe_read_kernel_str_dynptr(&memory, args[0], args[1], (void *)from);
	out[3] = bpf_probe_read_kernel_str_dynptr(&packet, args[0], args[1], (void *)from);
	bpf_dynptr_adjust(&packet, 4, 40);
	out[4] = bpf_probe_read_kernel_str_dynptr(&packet, args[0], args[1], (void *)from);
	out[5] = bpf_probe_read_kernel_dynptr(&packet, args[0], args[1], (void *)8);
	out[6] = bpf_probe_read_user_dynptr(&memory, args[0], args[1], (void *)8);
	out[7] = bpf_probe_read_user_str_dynptr(&memory, args[0], args[1], (void *)8);
	out[8] = bpf_probe_read_kernel_str_dynptr(&packet, args[0], args[1], (void *)8);
	out[9] = bpf_probe_read_kernel(buf + 64, args[1] & 7, (void *)8);
	out[10] = bpf_probe_read_kernel_str(buf + 64, args[1] & 7, (void *)8);
	out[12] = bpf_probe_read_user(buf + 64, args[1] & 7, (void *)8);
	out[13] = bpf_probe_read_user_str(buf + 64, args[1] & 7, (void *)8);
	out[15] = bpf_probe_read_kernel(buf + 64, args[1] & 7, (void *)0xffffffff00000000);
	return 0;
}

SEC("xdp")
int streams(struct xdp_md *ctx)
{
	__u64 data[2] = { args[1], (__u64)"text" };

	out[0] = bpf_stream_vprintk_impl(args[0], "%d of %s\n", data, 16, 0);
	out[1] = bpf_stream_vprintk_impl(args[0], "%d of %s\n", data, 8, 0);
	out[2] = bpf_stream_vprintk_impl(args[0], "%d of %s\n", data, 4, 0);
	out[3] = bpf_stream_vprintk_impl(args[0], "nothing\n", data, 0, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
