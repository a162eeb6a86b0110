// What the torture of live chains runs: programs that go on in slots of program arrays, which are exchanged
// meanwhile, and write into the packet where they have been.
//
// Each program of this source is loaded many times, each time with a number of its own and other arrays.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(x) asm volatile("" : "+r"(x))

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

struct programs {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u32);
};

// Where a load goes on.
struct programs first SEC(".maps"), second SEC(".maps");

// For each number of a load, by its low bits, the number as long as the load may run.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, u32);
} alive SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

// The places in `counts`.
enum { RUNS, FELL, CAME_BACK };

// All four values of a route are the same number, whose low bits are an index.
struct route {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct route);
} named_routes SEC(".maps");

#define POISON 0xdeadbeefdeadbeefull

// What is wrong: the load runs after it was taken away, its own memory is another's, a route is torn, a route
// is read after it was taken away.
enum { LATE = 1, FOREIGN = 2, TORN = 4, LATE_ROUTE = 8 };

// A program's way: which array, which index of it, and what came of it. Of a function that was called, and of the
// program after it came back, there is a record each.
enum { FALLEN = 1, BACK = 2, LEAF = 4, CALLED = 8 };
struct record {
	u32 number;
	u32 result;
	u8 array;
	u8 flags;
	u8 index;
	u8 unused[5];
};

#define RECORDS 72
struct trail {
	u8 headers[16];
	u32 length;
	u32 wrong;
	u64 unused;
	u8 choices[96];
	struct record records[RECORDS];
};

// Which load this is, the names of its arrays, and the index that it knows.
const volatile u32 number = 1;
const volatile u8 first_name = 0;
const volatile u8 second_name = 1;
const volatile u32 known_index = 0;
// The number again, in memory that goes when the load goes.
u32 own_number = 1;

static __always_inline void count(u32 place)
{
	u64 *value = bpf_map_lookup_elem(&counts, &place);

	if (value)
		*value += 1;
}

static __always_inline struct trail *trail_of(struct xdp_md *ctx)
{
	struct trail *trail = (void *)(long)ctx->data;

	return (void *)(trail + 1) > (void *)(long)ctx->data_end ? 0 : trail;
}

// The next record of the trail, with the number in it.
static __always_inline struct record *next(struct xdp_md *ctx, struct trail *trail)
{
	u32 at = trail->length;
	struct record *record;

	if (at >= RECORDS)
		return 0;
	record = &trail->records[at];
	if ((void *)(record + 1) > (void *)(long)ctx->data_end)
		return 0;
	trail->length = at + 1;
	record->number = number;
	return record;
}

static __always_inline struct record *begin(struct xdp_md *ctx, struct trail *trail, u8 flags)
{
	u32 place = number & 8191, *now;
	struct record *record = next(ctx, trail);

	if (!record)
		return 0;
	record->flags = flags;
	count(RUNS);
	now = bpf_map_lookup_elem(&alive, &place);
	if (!now || *(volatile u32 *)now != number)
		trail->wrong |= LATE;
	if (*(volatile u32 *)&own_number != number)
		trail->wrong |= FOREIGN;
	return record;
}

static __always_inline u32 choice(struct xdp_md *ctx, struct trail *trail)
{
	u8 *at = &trail->choices[trail->length & 63];

	return (void *)(at + 1) > (void *)(long)ctx->data_end ? 0 : *at;
}

// After a tail call that was not taken.
static __always_inline int fell(struct record *record)
{
	record->flags |= FALLEN;
	count(FELL);
	return number;
}

#define BEGIN(flags)                                                                               \
	struct trail *trail = trail_of(ctx);                                                       \
	struct record *record = trail ? begin(ctx, trail, flags) : 0;                              \
	if (!record)                                                                               \
	return 0

// Ends a chain.
SEC("xdp") int leaf(struct xdp_md *ctx)
{
	BEGIN(LEAF);
	return number;
}

// Goes on at an index that is known when it is loaded.
SEC("xdp") int known(struct xdp_md *ctx)
{
	BEGIN(0);
	record->array = first_name;
	record->index = known_index;
	bpf_tail_call(ctx, &first, known_index);
	return fell(record);
}

// Goes on at an index that the packet names.
SEC("xdp") int chosen(struct xdp_md *ctx)
{
	u32 index;

	BEGIN(0);
	index = choice(ctx, trail);
	record->array = first_name;
	record->index = index;
	bpf_tail_call(ctx, &first, index);
	return fell(record);
}

// Goes on in one array or the other.
SEC("xdp") int either(struct xdp_md *ctx)
{
	void *array = &first;
	u8 name = first_name;
	u32 index;

	BEGIN(0);
	index = choice(ctx, trail);
	if (index & 8) {
		array = &second;
		name = second_name;
	}
	index &= 7;
	KEEP(array);
	record->array = name;
	record->index = index;
	bpf_tail_call(ctx, array, index);
	return fell(record);
}

// The index that a route names.
static __always_inline u32 follow(struct trail *trail, void *route)
{
	u32 zero = 0, three = 3;
	u64 *a = bpf_map_lookup_elem(route, &zero), *b = bpf_map_lookup_elem(route, &three);
	u64 one, other;

	if (!a || !b)
		return 0;
	one = *(volatile u64 *)a;
	other = *(volatile u64 *)b;
	if (one == POISON)
		trail->wrong |= LATE_ROUTE;
	else if (one != other)
		trail->wrong |= TORN;
	return one & 7;
}

// Goes on where an array says that lies in an array of maps.
SEC("xdp") int routed(struct xdp_md *ctx)
{
	u32 key, index = 0;
	void *route;

	BEGIN(0);
	key = choice(ctx, trail) & 3;
	route = bpf_map_lookup_elem(&routes, &key);
	if (route)
		index = follow(trail, route);
	record->array = first_name;
	record->index = index;
	bpf_tail_call(ctx, &first, index);
	return fell(record);
}

// The same with a hash of maps.
SEC("xdp") int named(struct xdp_md *ctx)
{
	u32 key, index = 0;
	void *route;

	BEGIN(0);
	key = choice(ctx, trail) & 3;
	route = bpf_map_lookup_elem(&named_routes, &key);
	if (route)
		index = follow(trail, route);
	record->array = second_name;
	record->index = index;
	bpf_tail_call(ctx, &second, index);
	return fell(record);
}

static NOINLINE int jump(struct xdp_md *ctx)
{
	u32 index;

	BEGIN(CALLED);
	index = choice(ctx, trail);
	record->array = first_name;
	record->index = index;
	bpf_tail_call(ctx, &first, index);
	return fell(record);
}

// Has a function go on in the first array; what comes back goes on in the second.
SEC("xdp") int branching(struct xdp_md *ctx)
{
	u32 result = jump(ctx), index;
	struct trail *trail = trail_of(ctx);
	struct record *record;

	KEEP(result);
	record = trail ? next(ctx, trail) : 0;
	if (!record)
		return 0;
	index = choice(ctx, trail);
	record->flags = BACK;
	record->result = result;
	record->array = second_name;
	record->index = index;
	count(CAME_BACK);
	bpf_tail_call(ctx, &second, index);
	return fell(record);
}

char _license[] SEC("license") = "GPL";
