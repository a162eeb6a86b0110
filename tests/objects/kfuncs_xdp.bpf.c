// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Kernel functions in XDP programs, one program a group: arguments in `args`, results in `out`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__s64 args[4];
__s64 out[16];
__u8 buf[256];

struct bpf_iter_num {
	__u64 __opaque[1];
} __attribute__((aligned(8)));

struct bpf_iter_bits {
	__u64 __opaque[2];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
extern int bpf_iter_bits_new(struct bpf_iter_bits *it, const __u64 *unsafe_ptr__ign, __u32 nr_words) __ksym;
extern int *bpf_iter_bits_next(struct bpf_iter_bits *it) __ksym;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits *it) __ksym;

extern int bpf_dynptr_from_xdp(struct xdp_md *ctx, __u64 flags, struct bpf_dynptr *ptr) __ksym;
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

extern int bpf_strcmp(const char *s1__ign, const char *s2__ign) __ksym;
extern int bpf_strcasecmp(const char *s1__ign, const char *s2__ign) __ksym;
extern int bpf_strchr(const char *s__ign, char c) __ksym;
extern int bpf_strchrnul(const char *s__ign, char c) __ksym;
extern int bpf_strnchr(const char *s__ign, unsigned long count, char c) __ksym;
extern int bpf_strrchr(const char *s__ign, int c) __ksym;
extern int bpf_strlen(const char *s__ign) __ksym;
extern int bpf_strnlen(const char *s__ign, unsigned long count) __ksym;
extern int bpf_strspn(const char *s__ign, const char *accept__ign) __ksym;
extern int bpf_strcspn(const char *s__ign, const char *reject__ign) __ksym;
extern int bpf_strstr(const char *s1__ign, const char *s2__ign) __ksym;
extern int bpf_strnstr(const char *s1__ign, const char *s2__ign, unsigned long len) __ksym;

SEC("xdp")
int from_packet(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	out[0] = bpf_dynptr_from_xdp(ctx, args[0], &packet);
	look(&packet, 1);
	return 0;
}

SEC("xdp")
int read_and_write(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 bytes[24] = {};

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	out[0] = bpf_dynptr_read(bytes, sizeof(bytes), &packet, args[0], args[3]);
	__builtin_memcpy(buf, bytes, sizeof(bytes));
	bytes[0] ^= 0x55;
	out[1] = bpf_dynptr_write(&packet, args[1], bytes, sizeof(bytes), args[3]);
	out[2] = bpf_dynptr_write(&packet, args[1], bytes, 1, args[2]);
	out[3] = bpf_dynptr_data(&packet, args[0], 8) != 0;
	return 0;
}

SEC("xdp")
int slices(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 room[20] = {};
	__u8 *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
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

SEC("xdp")
int writable_slices(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 room[20] = {};
	__u8 *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
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

SEC("xdp")
int adjusted(struct xdp_md *ctx)
{
	struct bpf_dynptr packet, other;
	__u8 bytes[4] = {};

	bpf_dynptr_from_xdp(ctx, 0, &packet);
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

SEC("xdp")
int copies(struct xdp_md *ctx)
{
	struct bpf_dynptr packet, memory, other;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
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
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	struct bpf_dynptr packet, other;
	__u8 bytes[4] = {};

	out[0] = bpf_dynptr_from_xdp(ctx, 1, &packet);
	out[1] = bpf_dynptr_clone(&packet, &other);
	look(&packet, 2);
	out[5] = bpf_dynptr_adjust(&packet, args[0], args[1]);
	out[6] = bpf_dynptr_read(bytes, 4, &packet, 0, 0);
	out[7] = bpf_dynptr_write(&packet, 0, bytes, 4, 0);
	out[8] = bpf_dynptr_slice(&packet, 0, bytes, 4) != 0;
	out[9] = bpf_dynptr_memset(&packet, args[0], args[1], 1);
	bpf_dynptr_from_xdp(ctx, 0, &other);
	out[10] = bpf_dynptr_copy(&packet, args[0], &other, args[0], args[1]);
	out[11] = bpf_dynptr_copy(&other, args[0], &packet, args[0], args[1]);
	return 0;
}

/* The packet in pieces: what lies across two of them is copied. */
SEC("xdp.frags")
int in_pieces(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 room[20] = {};
	__u8 *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	look(&packet, 0);
	bytes = bpf_dynptr_slice_rdwr(&packet, args[0], room, sizeof(room));
	out[3] = bytes != 0;
	out[4] = bytes == room;
	if (bytes) {
		out[5] = bytes[0] + 256 * bytes[19];
		bytes[0] = 0xaa;
		if (bytes == room)
			out[6] = bpf_dynptr_write(&packet, args[0], room, sizeof(room), 0);
	}
	out[7] = bpf_dynptr_slice(&packet, args[0], 0, 20) != 0;
	out[8] = bpf_dynptr_copy(&packet, args[1], &packet, args[0], args[2]);
	out[9] = bpf_dynptr_memset(&packet, args[1], args[2], 9);
	return 0;
}

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	__s64 sum = 0, many = 0;
	int *number;

	out[0] = bpf_iter_num_new(&it, args[0], args[1]);
	while ((number = bpf_iter_num_next(&it))) {
		if (!many)
			out[1] = *number;
		many++;
		sum += *number;
		if (many == args[2])
			break;
	}
	out[2] = many;
	out[3] = sum;
	out[4] = bpf_iter_num_next(&it) != 0;
	bpf_iter_num_destroy(&it);
	return many;
}

/* An iterator of the caller's. */
static __noinline int next_of(struct bpf_iter_num *it)
{
	int *number = bpf_iter_num_next(it);

	return number ? *number : -1;
}

#define bpf_for(i, start, end) \
	for (struct bpf_iter_num it_ __attribute__((cleanup(bpf_iter_num_destroy))), \
	     *p_ = (bpf_iter_num_new(&it_, (start), (end)), &it_); \
	     ({ int *n_ = bpf_iter_num_next(p_); n_ ? ((i) = *n_, 1) : 0; });)

SEC("xdp")
int nested(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int i, j;

	bpf_for(i, args[0], args[1]) {
		bpf_for(j, i, args[2]) {
			if (j == args[3])
				break;
			out[(i + j) & 15] += i * 7 + j;
		}
	}
	bpf_for(i, 0, args[1])
		out[3]++;
	bpf_iter_num_new(&it, args[0], args[1]);
	out[0] = next_of(&it);
	out[1] = next_of(&it);
	bpf_iter_num_destroy(&it);
	return 0;
}

SEC("xdp")
int bits(struct xdp_md *ctx)
{
	struct bpf_iter_bits it;
	__u64 words[4] = { args[0], args[1], 0, args[3] };
	int *bit;

	out[0] = bpf_iter_bits_new(&it, words, args[2]);
	while ((bit = bpf_iter_bits_next(&it))) {
		out[8 + (*bit & 7)] += *bit + 1;
		out[1]++;
	}
	out[2] = bpf_iter_bits_next(&it) != 0;
	bpf_iter_bits_destroy(&it);
	/* The same in a map. */
	out[3] = bpf_iter_bits_new(&it, (__u64 *)args, args[2] & 3);
	while ((bit = bpf_iter_bits_next(&it)))
		out[4] += *bit;
	bpf_iter_bits_destroy(&it);
	out[5] = bpf_iter_bits_new(&it, 0, 1);
	bpf_iter_bits_destroy(&it);
	return 0;
}

SEC("xdp")
int strings(struct xdp_md *ctx)
{
	const char *s = (const char *)&buf[args[0] & 63];
	const char *t = (const char *)&buf[args[1] & 63];

	out[0] = bpf_strcmp(s, t);
	out[1] = bpf_strcasecmp(s, t);
	out[2] = bpf_strchr(s, args[2]);
	out[3] = bpf_strchrnul(s, args[2]);
	out[4] = bpf_strnchr(s, args[3], args[2]);
	out[5] = bpf_strrchr(s, args[2]);
	out[6] = bpf_strlen(s);
	out[7] = bpf_strnlen(s, args[3]);
	out[8] = bpf_strspn(s, t);
	out[9] = bpf_strcspn(s, t);
	out[10] = bpf_strstr(s, t);
	out[11] = bpf_strnstr(s, t, args[3]);
	out[12] = bpf_strlen(0);
	out[13] = bpf_strcmp(s, 0);
	out[14] = bpf_strlen((const char *)args);
	return 0;
}

/* Strings and reads of the program's own stack. */
SEC("xdp")
int on_the_stack(struct xdp_md *ctx)
{
	char text[16] = "some text";
	__u64 word = 0;

	text[args[0] & 15] = args[1];
	out[0] = bpf_strlen(text);
	out[1] = bpf_strchr(text, 'x');
	out[2] = bpf_strcmp(text, "some text");
	out[3] = bpf_probe_read_kernel(&word, sizeof(word), text);
	out[4] = word;
	out[5] = bpf_probe_read_kernel_str(buf, sizeof(buf), text);
	return 0;
}

char _license[] SEC("license") = "GPL";
