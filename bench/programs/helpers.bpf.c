// SPDX-License-Identifier: MIT OR Apache-2.0
// One helper or one operation on a map each, a hundred times over. They return how often it failed.
#include "bench.h"

#define TIMES 100
#define KEYS 512

#define ROOMY(Name, Type, Key, Value, Most, Flags)                                                 \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##Type);                                                 \
		__uint(max_entries, Most);                                                         \
		__uint(map_flags, Flags);                                                          \
		__type(key, Key);                                                                  \
		__type(value, Value);                                                              \
	} Name SEC(".maps")
#define KEYLESS(Name, Type, Value)                                                                 \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##Type);                                                 \
		__uint(max_entries, 1024);                                                         \
		__type(value, Value);                                                              \
	} Name SEC(".maps")

struct wide {
	u64 words[4];
};

struct value {
	u64 words[4];
};

struct prefix {
	u32 length;
	u8 address[4];
};

struct locked {
	struct bpf_spin_lock lock;
	u32 count;
};

ROOMY(array, ARRAY, u32, struct value, 1024, 0);
ROOMY(locked, ARRAY, u32, struct locked, 16, 0);
ROOMY(percpu_array, PERCPU_ARRAY, u32, struct value, 1024, 0);
ROOMY(hash, HASH, u32, struct value, 1024, 0);
ROOMY(hash_wide, HASH, struct wide, struct value, 1024, 0);
ROOMY(hash_lazy, HASH, u32, struct value, 1024, BPF_F_NO_PREALLOC);
ROOMY(hash_100, HASH, u32, struct value, TIMES, 0);
ROOMY(array_100, ARRAY, u32, struct value, TIMES, 0);
ROOMY(lru, LRU_HASH, u32, struct value, 1024, 0);
ROOMY(lru_full, LRU_HASH, u32, struct value, 1024, 0);
ROOMY(percpu_hash, PERCPU_HASH, u32, struct value, 1024, 0);
ROOMY(lru_percpu, LRU_PERCPU_HASH, u32, struct value, 1024, 0);
ROOMY(lpm, LPM_TRIE, struct prefix, u64, 1024, BPF_F_NO_PREALLOC);
KEYLESS(queue, QUEUE, struct value);
KEYLESS(stack, STACK, struct value);
KEYLESS(bloom, BLOOM_FILTER, struct value);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

static long fill_at(u32 i, u32 *failed)
{
	struct wide wide = { .words = { i, i, i, i } };
	struct prefix prefix = { .length = 24, .address = { 10, i >> 8, i, 0 } };
	struct value value = { .words = { i } };
	u64 hop = i;

	*failed += !!bpf_map_update_elem(&hash, &i, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&hash_wide, &wide, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&hash_lazy, &i, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&lru, &i, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&percpu_hash, &i, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&lru_percpu, &i, &value, BPF_ANY);
	*failed += !!bpf_map_update_elem(&lpm, &prefix, &hop, BPF_ANY);
	*failed += !!bpf_map_push_elem(&bloom, &value, 0);
	if (i < TIMES)
		*failed += !!bpf_map_update_elem(&hash_100, &i, &value, BPF_ANY);
	if (i < 16) {
		*failed += !!bpf_map_push_elem(&queue, &value, 0);
		*failed += !!bpf_map_push_elem(&stack, &value, 0);
	}
	return 0;
}

// What the programs find in the maps.
SEC("xdp") int fill(struct xdp_md *ctx)
{
	u32 failed = 0;

	return bpf_loop(KEYS, fill_at, &failed, 0) != KEYS || failed;
}

/* The program `name`, which does this a hundred times; `failed` counts. */
#define EACH(section, Context, name, ...)                                                          \
	SEC(section) int name(struct Context *ctx)                                                 \
	{                                                                                          \
		u32 failed = 0;                                                                    \
                                                                                                   \
		ROLLED for (u32 i = 0; i < TIMES; i++) {                                           \
			__VA_ARGS__                                                                \
		}                                                                                  \
		return failed;                                                                     \
	}
#define XDP(name, ...) EACH("xdp", xdp_md, name, __VA_ARGS__)
#define TC(name, ...) EACH("tc", __sk_buff, name, __VA_ARGS__)

#define LOOKUP(map, Key, ...)                                                                      \
	XDP(map##_lookup, Key key = __VA_ARGS__; struct value *value;                              \
	    value = bpf_map_lookup_elem(&map, &key);                                               \
	    if (value) value->words[1] += i; else failed++;)
#define UPDATE(map, Key, ...)                                                                      \
	XDP(map##_update, Key key = __VA_ARGS__; struct value value = { .words = { i } };          \
	    failed += !!bpf_map_update_elem(&map, &key, &value, BPF_ANY);)
#define INSERT(map, Key, ...)                                                                      \
	XDP(map##_insert, Key key = __VA_ARGS__; struct value value = { .words = { i } };          \
	    failed += !!bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST);                      \
	    failed += !!bpf_map_delete_elem(&map, &key);)

#define AT(i) ((i) * 5)
#define BEHIND(i) ((i) * 7 + 1000)

LOOKUP(array, u32, AT(i))
LOOKUP(percpu_array, u32, AT(i))
LOOKUP(hash, u32, AT(i))
LOOKUP(hash_wide, struct wide, { .words = { AT(i), AT(i), AT(i), AT(i) } })
LOOKUP(hash_lazy, u32, AT(i))
LOOKUP(lru, u32, AT(i))
LOOKUP(percpu_hash, u32, AT(i))
LOOKUP(lru_percpu, u32, AT(i))
XDP(hash_miss, u32 key = BEHIND(i); failed += !!bpf_map_lookup_elem(&hash, &key);)
XDP(lru_miss, u32 key = BEHIND(i); failed += !!bpf_map_lookup_elem(&lru, &key);)
XDP(array_percpu, u32 key = AT(i); failed += !bpf_map_lookup_percpu_elem(&percpu_array, &key, 0);)
XDP(lpm_lookup, struct prefix key = { .length = 32, .address = { 10, AT(i) >> 8, AT(i), i } };
    failed += !bpf_map_lookup_elem(&lpm, &key);)

UPDATE(array, u32, AT(i))
UPDATE(percpu_array, u32, AT(i))
UPDATE(hash, u32, AT(i))
UPDATE(hash_wide, struct wide, { .words = { AT(i), AT(i), AT(i), AT(i) } })
UPDATE(hash_lazy, u32, AT(i))
UPDATE(lru, u32, AT(i))
UPDATE(percpu_hash, u32, AT(i))
UPDATE(lru_percpu, u32, AT(i))
XDP(lpm_update, struct prefix key = { .length = 24, .address = { 10, AT(i) >> 8, AT(i), 0 } };
    u64 value = i; failed += !!bpf_map_update_elem(&lpm, &key, &value, BPF_ANY);)

INSERT(hash, u32, BEHIND(i))
INSERT(hash_wide, struct wide, { .words = { BEHIND(i), i, i, i } })
INSERT(hash_lazy, u32, BEHIND(i))
INSERT(lru, u32, BEHIND(i))
INSERT(percpu_hash, u32, BEHIND(i))
XDP(lpm_insert, struct prefix key = { .length = 24, .address = { 12, AT(i) >> 8, AT(i), 0 } };
    u64 value = i; failed += !!bpf_map_update_elem(&lpm, &key, &value, BPF_ANY);
    failed += !!bpf_map_delete_elem(&lpm, &key);)
XDP(hash_delete_no, u32 key = BEHIND(i); failed += !bpf_map_delete_elem(&hash, &key);)

// Keys that are never there, in a full map: each makes another go.
static u32 fresh;
XDP(lru_evict, u32 key = fresh++; struct value value = { .words = { i } };
    failed += !!bpf_map_update_elem(&lru_full, &key, &value, BPF_ANY);)

#define PUSH_POP(map)                                                                              \
	XDP(map##_push_pop, struct value value = { .words = { i } };                               \
	    failed += !!bpf_map_push_elem(&map, &value, 0);                                        \
	    failed += !!bpf_map_pop_elem(&map, &value);)                                           \
	XDP(map##_peek, struct value value; failed += !!bpf_map_peek_elem(&map, &value);)

PUSH_POP(queue)
PUSH_POP(stack)
XDP(bloom_push, struct value value = { .words = { i } };
    failed += !!bpf_map_push_elem(&bloom, &value, 0);)
XDP(bloom_peek, struct value value = { .words = { i } };
    failed += !!bpf_map_peek_elem(&bloom, &value);)

XDP(ring_reserve, u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);
    if (record) { record[0] = i; bpf_ringbuf_submit(record, 0); } else failed++;)
XDP(ring_discard, u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);
    if (record) { record[0] = i; bpf_ringbuf_discard(record, 0); } else failed++;)
XDP(ring_output, u64 record[2] = { i }; failed += !!bpf_ringbuf_output(&ring, record, 16, 0);)
XDP(ring_big, u8 record[256]; __builtin_memset(record, i, sizeof(record));
    failed += !!bpf_ringbuf_output(&ring, record, 256, 0);)
XDP(ring_dynptr, struct bpf_dynptr ptr; u64 *record;
    failed += !!bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &ptr);
    record = bpf_dynptr_data(&ptr, 0, 16);
    if (record) record[0] = i;
    bpf_ringbuf_submit_dynptr(&ptr, 0);)
XDP(ring_query, failed += bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) == 0;)

XDP(spin_lock, u32 key = i & 15; struct locked *value = bpf_map_lookup_elem(&locked, &key);
    if (value) {
	    bpf_spin_lock(&value->lock);
	    value->count++;
	    bpf_spin_unlock(&value->lock);
    })

XDP(ktime_get_ns, failed += bpf_ktime_get_ns() == 0;)
XDP(ktime_boot, failed += bpf_ktime_get_boot_ns() == 0;)
XDP(ktime_coarse, failed += bpf_ktime_get_coarse_ns() == 0;)
XDP(ktime_tai, failed += bpf_ktime_get_tai_ns() == 0;)
XDP(jiffies64, failed += bpf_jiffies64() == 0;)
XDP(prandom_u32, u32 a = bpf_get_prandom_u32(); FORGET(a);)
XDP(smp_processor_id, u32 a = bpf_get_smp_processor_id(); FORGET(a);)
XDP(numa_node_id, u32 a = bpf_get_numa_node_id(); FORGET(a);)

XDP(csum_diff_4, u32 to = i; __s64 sum = bpf_csum_diff(0, 0, (void *)&to, 4, 17); FORGET(sum);)
XDP(csum_diff_20, u32 to[5] = { i, i, i, i, i };
    __s64 sum = bpf_csum_diff(0, 0, to, sizeof(to), 17); FORGET(sum);)
XDP(csum_diff_both, u32 from[4] = { i, i, i, i }; u32 to[4] = { i, 2, 3, i };
    __s64 sum = bpf_csum_diff(from, sizeof(from), to, sizeof(to), 17); FORGET(sum);)

static long step(u32 index, void *sum)
{
	*(u64 *)sum += index;
	return 0;
}

SEC("xdp") int loop(struct xdp_md *ctx)
{
	u64 sum = 0;

	return bpf_loop(TIMES, step, &sum, 0) != TIMES;
}

static long element(void *map, u32 *key, struct value *value, u64 *sum)
{
	*sum += value->words[0];
	return 0;
}

SEC("xdp") int each_of_array(struct xdp_md *ctx)
{
	u64 sum = 0;

	return bpf_for_each_map_elem(&array_100, element, &sum, 0) != TIMES;
}

SEC("xdp") int each_of_hash(struct xdp_md *ctx)
{
	u64 sum = 0;

	return bpf_for_each_map_elem(&hash_100, element, &sum, 0) != TIMES;
}

XDP(dynptr_data, u32 key = 3; u64 *at; struct bpf_dynptr ptr;
    struct value *value = bpf_map_lookup_elem(&array, &key);
    if (value) {
	    failed += !!bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	    at = bpf_dynptr_data(&ptr, 8, 8);
	    if (at) *at = i; else failed++;
    })
XDP(dynptr_read, u32 key = 3; u64 to[2]; struct bpf_dynptr ptr;
    struct value *value = bpf_map_lookup_elem(&array, &key);
    if (value) {
	    failed += !!bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	    failed += !!bpf_dynptr_read(to, 16, &ptr, 8, 0);
    })
XDP(dynptr_write, u32 key = 3; u64 from[2] = { i, i }; struct bpf_dynptr ptr;
    struct value *value = bpf_map_lookup_elem(&array, &key);
    if (value) {
	    failed += !!bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	    failed += !!bpf_dynptr_write(&ptr, 8, from, 16, 0);
    })

XDP(str_to_l, char text[8] = "-123456"; long number;
    failed += bpf_strtol(text, sizeof(text), 0, &number) != 7;)
XDP(str_to_ul, char text[8] = "1234567"; unsigned long number;
    failed += bpf_strtoul(text, sizeof(text), 10, &number) != 7;)
XDP(str_ncmp, char text[8] = "abcdefg"; failed += !!bpf_strncmp(text, sizeof(text), "abcdefg");)
static const char FORMAT[] = "%d of %u: %llx";
XDP(str_printf, char text[64]; u64 args[3] = { i, TIMES, 0xabcdef };
    failed += bpf_snprintf(text, sizeof(text), FORMAT, args, sizeof(args)) < 10;)
XDP(probe_read, u32 key = AT(i); u64 to;
    struct value *value = bpf_map_lookup_elem(&array, &key);
    if (value) failed += !!bpf_probe_read_kernel(&to, 8, &value->words[1]);)

XDP(xdp_load_bytes, u64 to[2]; failed += !!bpf_xdp_load_bytes(ctx, i, to, 16);)
XDP(xdp_store_bytes, u64 from[2] = { i, i }; failed += !!bpf_xdp_store_bytes(ctx, i, from, 16);)
XDP(xdp_adjust_head, failed += !!bpf_xdp_adjust_head(ctx, i & 1 ? 16 : -16);)
XDP(xdp_adjust_meta, failed += !!bpf_xdp_adjust_meta(ctx, i & 1 ? 16 : -16);)
XDP(xdp_adjust_tail, failed += !!bpf_xdp_adjust_tail(ctx, i & 1 ? 16 : -16);)
XDP(xdp_buff_len, failed += bpf_xdp_get_buff_len(ctx) == 0;)
XDP(redirect, failed += bpf_redirect(1, 0) != XDP_REDIRECT;)

TC(skb_load_bytes, u64 to[2]; failed += !!bpf_skb_load_bytes(ctx, i, to, 16);)
TC(skb_load_rel, u64 to[2]; failed += !!bpf_skb_load_bytes_relative(ctx, i, to, 16, BPF_HDR_START_NET);)
TC(skb_store_bytes, u64 from[2] = { i, i }; failed += !!bpf_skb_store_bytes(ctx, i + 30, from, 16, 0);)
TC(l3_csum_replace, failed += !!bpf_l3_csum_replace(ctx, 24, i, i + 1, 2);)
TC(l4_csum_replace, failed += !!bpf_l4_csum_replace(ctx, 50, i, i + 1, 4 | BPF_F_PSEUDO_HDR);)
TC(skb_pull_data, failed += !!bpf_skb_pull_data(ctx, 64);)
TC(hash_recalc, failed += bpf_get_hash_recalc(ctx) == ~0u;)
TC(skb_change_tail, failed += !!bpf_skb_change_tail(ctx, i & 1 ? 1500 : 1400, 0);)
TC(skb_adjust_room, failed += !!bpf_skb_adjust_room(ctx, i & 1 ? -8 : 8, BPF_ADJ_ROOM_MAC, 0);)
TC(skb_vlan, failed += !!bpf_skb_vlan_push(ctx, 0x0081, 7); failed += !!bpf_skb_vlan_pop(ctx);)
