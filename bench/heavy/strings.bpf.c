// SPDX-License-Identifier: MIT OR Apache-2.0
// Strings of a traced process, gathered into one buffer whose end is known less and less.
#include "heavy.h"

#define STRINGS 60
#define LONGEST 64

struct record {
	u64 id;
	u32 lengths[STRINGS];
	char payload[STRINGS * LONGEST];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct record);
	__uint(max_entries, 1);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u64[STRINGS]);
	__uint(max_entries, 128);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 16);
} events SEC(".maps");

SEC("raw_tracepoint/sched_switch") int strings(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, zero = 0;
	struct record *record = bpf_map_lookup_elem(&scratch, &zero);
	u64 *where = bpf_map_lookup_elem(&places, &pid);
	u64 filled = 0;

	if (!record || !where)
		return 0;
	record->id = bpf_get_current_task();
	UNROLLED for (int i = 0; i < STRINGS; i++) {
		u64 at = where[i];
		s64 len;

		record->lengths[i] = 0;
		if (!at)
			continue;
		if (at & 1) {
			if (bpf_probe_read_user(&at, sizeof(at), (void *)(at & ~1ull)))
				continue;
		}
		if (filled > sizeof(record->payload) - LONGEST)
			continue;
		len = bpf_probe_read_user_str(record->payload + filled, LONGEST, (void *)at);
		if (len < 0 || len > LONGEST)
			continue;
		record->lengths[i] = len;
		filled += len;
	}
	if (filled > sizeof(record->payload))
		return 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, record,
			      __builtin_offsetof(struct record, payload) + filled);
	return 0;
}
