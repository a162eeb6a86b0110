// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Kernel functions that syscall programs may call: sets of CPUs, copies from user space.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __kptr_of __attribute__((btf_type_tag("kptr")))
#define __core __attribute__((preserve_access_index))

struct cpumask { unsigned long bits[4]; } __core;
struct bpf_cpumask { struct cpumask cpumask; } __core;

extern struct bpf_cpumask *bpf_cpumask_create(void) __ksym __weak;
extern struct bpf_cpumask *bpf_cpumask_acquire(struct bpf_cpumask *mask) __ksym __weak;
extern void bpf_cpumask_release(struct bpf_cpumask *mask) __ksym __weak;
extern __u32 bpf_cpumask_first(const struct cpumask *mask) __ksym __weak;
extern __u32 bpf_cpumask_first_zero(const struct cpumask *mask) __ksym __weak;
extern __u32 bpf_cpumask_first_and(const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern void bpf_cpumask_set_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym __weak;
extern void bpf_cpumask_clear_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym __weak;
extern _Bool bpf_cpumask_test_cpu(__u32 cpu, const struct cpumask *mask) __ksym __weak;
extern _Bool bpf_cpumask_test_and_set_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym __weak;
extern _Bool bpf_cpumask_test_and_clear_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym __weak;
extern void bpf_cpumask_setall(struct bpf_cpumask *mask) __ksym __weak;
extern void bpf_cpumask_clear(struct bpf_cpumask *mask) __ksym __weak;
extern _Bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern void bpf_cpumask_or(struct bpf_cpumask *dst, const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern void bpf_cpumask_xor(struct bpf_cpumask *dst, const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern _Bool bpf_cpumask_equal(const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern _Bool bpf_cpumask_intersects(const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern _Bool bpf_cpumask_subset(const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern _Bool bpf_cpumask_empty(const struct cpumask *mask) __ksym __weak;
extern _Bool bpf_cpumask_full(const struct cpumask *mask) __ksym __weak;
extern void bpf_cpumask_copy(struct bpf_cpumask *dst, const struct cpumask *src) __ksym __weak;
extern __u32 bpf_cpumask_any_distribute(const struct cpumask *mask) __ksym __weak;
extern __u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b) __ksym __weak;
extern __u32 bpf_cpumask_weight(const struct cpumask *mask) __ksym __weak;
extern int bpf_cpumask_populate(struct cpumask *mask, void *src, unsigned long len) __ksym __weak;
extern int bpf_copy_from_user_str(void *dst, __u32 len, const void *from, __u64 flags) __ksym __weak;
extern int bpf_copy_from_user_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *from) __ksym __weak;
extern int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *from) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

__s64 args[4];
__s64 out[16];
__u8 buf[256];

struct kept {
	__u64 tag;
	struct bpf_cpumask __kptr_of *mask;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

#define plain(mask) ((const struct cpumask *)(mask))

static void fill(struct bpf_cpumask *mask, __u64 cpus)
{
	for (__u32 cpu = 0; cpu < 5; cpu++)
		if (cpus & (1 << cpu))
			bpf_cpumask_set_cpu(cpu, mask);
}

SEC("syscall")
int masks(void *ctx)
{
	struct bpf_cpumask *a = bpf_cpumask_create(), *b, *c;

	if (!a)
		return 1;
	b = bpf_cpumask_create();
	if (!b) {
		bpf_cpumask_release(a);
		return 1;
	}
	c = bpf_cpumask_create();
	if (!c) {
		bpf_cpumask_release(a);
		bpf_cpumask_release(b);
		return 1;
	}
	fill(a, args[0]);
	fill(b, args[1]);
	out[0] = bpf_cpumask_first(plain(a)) | bpf_cpumask_first_zero(plain(a)) << 8 |
		 bpf_cpumask_first_and(plain(a), plain(b)) << 16;
	out[1] = bpf_cpumask_test_cpu(args[2], plain(a)) | bpf_cpumask_test_and_set_cpu(args[2], a) << 1 |
		 bpf_cpumask_test_and_clear_cpu(args[2], b) << 2;
	out[2] = bpf_cpumask_and(c, plain(a), plain(b)) | bpf_cpumask_weight(plain(c)) << 8;
	out[3] = c->cpumask.bits[0];
	bpf_cpumask_or(c, plain(a), plain(b));
	out[4] = c->cpumask.bits[0];
	bpf_cpumask_xor(c, plain(a), plain(b));
	out[5] = c->cpumask.bits[0];
	out[6] = bpf_cpumask_equal(plain(a), plain(b)) | bpf_cpumask_intersects(plain(a), plain(b)) << 1 |
		 bpf_cpumask_subset(plain(a), plain(b)) << 2 | bpf_cpumask_empty(plain(a)) << 3 |
		 bpf_cpumask_full(plain(a)) << 4;
	bpf_cpumask_copy(c, plain(b));
	out[7] = c->cpumask.bits[0];
	bpf_cpumask_setall(c);
	out[8] = c->cpumask.bits[0];
	out[9] = c->cpumask.bits[3];
	bpf_cpumask_clear_cpu(args[2], c);
	out[10] = c->cpumask.bits[0];
	bpf_cpumask_or(b, plain(a), plain(c));
	out[11] = b->cpumask.bits[0];
	bpf_cpumask_and(c, plain(c), plain(c));
	out[12] = c->cpumask.bits[0] ^ c->cpumask.bits[2];
	bpf_cpumask_clear(c);
	out[13] = bpf_cpumask_any_distribute(plain(c));
	// Two answer in turn; one is always the same.
	bpf_cpumask_set_cpu(1, c);
	out[13] |= bpf_cpumask_any_distribute(plain(c)) << 8 | bpf_cpumask_any_and_distribute(plain(c), plain(b)) << 16;
	out[14] = bpf_cpumask_populate((struct cpumask *)c, buf, 8) | c->cpumask.bits[0] << 32;
	out[15] = (__u32)bpf_cpumask_populate((struct cpumask *)c, buf, 4);
	bpf_cpumask_release(a);
	bpf_cpumask_release(b);
	bpf_cpumask_release(c);
	return 0;
}

SEC("syscall")
int masks_in_maps(void *ctx)
{
	__u32 key = args[0] & 1;
	struct bpf_cpumask *mask = bpf_cpumask_create(), *old;
	struct kept *value = bpf_map_lookup_elem(&kept, &key);

	if (!mask)
		return 1;
	if (!value) {
		bpf_cpumask_release(mask);
		return 2;
	}
	fill(mask, args[1]);
	old = bpf_cpumask_acquire(mask);
	out[0] = bpf_cpumask_weight(plain(old));
	bpf_cpumask_release(old);
	old = bpf_kptr_xchg(&value->mask, mask);
	out[1] = old != 0;
	if (old)
		bpf_cpumask_release(old);
	bpf_rcu_read_lock();
	mask = value->mask;
	if (mask) {
		out[2] = mask->cpumask.bits[0];
		bpf_cpumask_test_and_set_cpu(args[2], mask);
		out[3] = bpf_cpumask_first(plain(mask));
		out[4] = bpf_cpumask_weight(plain(mask));
	}
	bpf_rcu_read_unlock();
	if (args[3]) {
		old = bpf_kptr_xchg(&value->mask, 0);
		if (old) {
			out[5] = bpf_cpumask_weight(plain(old));
			bpf_cpumask_release(old);
		}
	}
	return 0;
}

SEC("syscall")
int nothing_there(void *ctx)
{
	struct bpf_dynptr memory;

	bpf_dynptr_from_mem(buf + 128, 100, 0, &memory);
	out[0] = bpf_copy_from_user(buf + 64, args[0] & 31, (void *)8);
	out[1] = bpf_copy_from_user_str(buf + 32, args[0] & 31, (void *)8, args[1]);
	out[2] = bpf_copy_from_user_dynptr(&memory, args[2], args[0], (void *)8);
	out[3] = bpf_copy_from_user_str_dynptr(&memory, args[2], args[0], (void *)8);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
