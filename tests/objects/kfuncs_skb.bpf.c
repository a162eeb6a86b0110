// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Kernel functions in programs of the network stack: arguments in `args`, results in `out`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__s64 args[4];
__s64 out[16];
__u8 buf[256];

extern int bpf_dynptr_from_skb(struct __sk_buff *ctx, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *p, __u32 offset, void *buffer, __u32 buffer__szk) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *p, __u32 offset, void *buffer, __u32 buffer__szk) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *p, __u32 start, __u32 end) __ksym;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr *p) __ksym;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *p) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__init) __ksym;
extern int bpf_dynptr_copy(struct bpf_dynptr *dst, __u32 dst_off, struct bpf_dynptr *src, __u32 src_off, __u32 size) __ksym;
extern int bpf_dynptr_memset(struct bpf_dynptr *p, __u32 off, __u32 size, __u8 val) __ksym;

/* What there is to be known of a dynptr. */
static __always_inline void look(const struct bpf_dynptr *p, int at)
{
	out[at & 15] = bpf_dynptr_size(p);
	out[(at + 1) & 15] = bpf_dynptr_is_null(p);
	out[(at + 2) & 15] = bpf_dynptr_is_rdonly(p);
}

extern int bpf_dynptr_from_skb_meta(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;

SEC("tc")
int from_packet(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet;

	out[0] = bpf_dynptr_from_skb(ctx, args[0], &packet);
	look(&packet, 1);
	return 0;
}

SEC("tc")
int read_and_write(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet;
	__u8 bytes[24] = {};

	bpf_dynptr_from_skb(ctx, 0, &packet);
	out[0] = bpf_dynptr_read(bytes, sizeof(bytes), &packet, args[0], args[3]);
	__builtin_memcpy(buf, bytes, sizeof(bytes));
	bytes[0] ^= 0x55;
	out[1] = bpf_dynptr_write(&packet, args[1], bytes, sizeof(bytes), args[3]);
	out[2] = bpf_dynptr_write(&packet, args[1], bytes, 1, args[2]);
	out[3] = bpf_dynptr_data(&packet, args[0], 8) != 0;
	return 0;
}

SEC("tc")
int slices(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet;
	__u8 room[20] = {};
	__u8 *bytes;

	bpf_dynptr_from_skb(ctx, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, args[0], room, sizeof(room));
	out[0] = bytes != 0;
	if (bytes)
		out[1] = bytes[0] + 256 * bytes[19];
	out[2] = bytes && bytes == room;
	bytes = bpf_dynptr_slice(&packet, args[0], 0, 16);
	out[3] = bytes != 0;
	if (bytes)
		out[4] = bytes[15];
	return 0;
}

SEC("tc")
int writable_slices(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet;
	__u8 room[20] = {};
	__u8 *bytes;

	bpf_dynptr_from_skb(ctx, 0, &packet);
	if (args[1])
		bpf_dynptr_adjust(&packet, args[1], args[2]);
	bytes = bpf_dynptr_slice_rdwr(&packet, args[0], room, sizeof(room));
	out[0] = bytes != 0;
	if (!bytes)
		return 1;
	bytes[0] = 0xaa;
	bytes[19] = 0xbb;
	if (bytes == room)
		out[1] = bpf_dynptr_write(&packet, args[0], room, sizeof(room), 0);
	return 0;
}

SEC("tc")
int adjusted(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet, other;
	__u8 bytes[4] = {};

	bpf_dynptr_from_skb(ctx, 0, &packet);
	out[0] = bpf_dynptr_clone(&packet, &other);
	out[1] = bpf_dynptr_adjust(&packet, args[0], args[1]);
	look(&packet, 2);
	out[5] = bpf_dynptr_read(bytes, 4, &packet, args[2], 0);
	out[6] = *(__u32 *)bytes;
	out[7] = bpf_dynptr_adjust(&packet, args[2], args[3]);
	look(&packet, 8);
	out[11] = bpf_dynptr_read(bytes, 4, &packet, 0, 0);
	out[12] = *(__u32 *)bytes;
	look(&other, 13);
	return 0;
}

SEC("tc")
int copies(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet, memory, other;

	bpf_dynptr_from_skb(ctx, 0, &packet);
	bpf_dynptr_from_mem(buf, sizeof(buf), 0, &memory);
	bpf_dynptr_clone(&packet, &other);
	out[0] = bpf_dynptr_copy(&memory, args[0], &packet, args[1], args[2]);
	out[1] = bpf_dynptr_copy(&packet, args[1], &memory, args[3], args[2]);
	out[2] = bpf_dynptr_copy(&other, args[3], &packet, args[0], args[2]);
	out[3] = bpf_dynptr_memset(&packet, args[3], args[2], 0xfe);
	out[4] = bpf_dynptr_memset(&memory, args[0], args[1], 7);
	return 0;
}

/* What could not be made is of nothing. */
SEC("tc")
int nothing(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet, other;
	__u8 bytes[4] = {};

	out[0] = bpf_dynptr_from_skb(ctx, 1, &packet);
	out[1] = bpf_dynptr_clone(&packet, &other);
	look(&packet, 2);
	out[5] = bpf_dynptr_adjust(&packet, args[0], args[1]);
	out[6] = bpf_dynptr_read(bytes, 4, &packet, 0, 0);
	out[7] = bpf_dynptr_write(&packet, 0, bytes, 4, 0);
	out[8] = bpf_dynptr_slice(&packet, 0, bytes, 4) != 0;
	out[9] = bpf_dynptr_memset(&packet, args[0], args[1], 1);
	bpf_dynptr_from_skb(ctx, 0, &other);
	out[10] = bpf_dynptr_copy(&packet, args[0], &other, args[0], args[1]);
	out[11] = bpf_dynptr_copy(&other, args[0], &packet, args[0], args[1]);
	return 0;
}

SEC("tc")
int metadata(struct __sk_buff *ctx)
{
	struct bpf_dynptr meta;
	__u8 byte = 0;

	out[0] = bpf_dynptr_from_skb_meta(ctx, args[0], &meta);
	look(&meta, 1);
	out[4] = bpf_dynptr_read(&byte, 1, &meta, 0, 0);
	return 0;
}

/* A packet that programs of this type may only read. */
SEC("cgroup_skb/ingress")
int only_read(struct __sk_buff *ctx)
{
	struct bpf_dynptr packet;
	__u8 bytes[8] = {};
	__u8 *slice;

	out[0] = bpf_dynptr_from_skb(ctx, args[0], &packet);
	look(&packet, 1);
	out[4] = bpf_dynptr_read(bytes, 8, &packet, args[1], 0);
	out[5] = *(__u64 *)bytes;
	out[6] = bpf_dynptr_write(&packet, args[1], bytes, 8, 0);
	slice = bpf_dynptr_slice(&packet, args[1], bytes, 8);
	out[7] = slice ? slice[7] : -1;
	out[8] = bpf_dynptr_memset(&packet, args[1], 2, 1);
	return 1;
}

char _license[] SEC("license") = "GPL";
