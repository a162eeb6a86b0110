// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What programs tell the host: records of a ring buffer, perf events, printed lines.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u32 length;
	__u32 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 2);
} events SEC(".maps");

__u32 number;
__u64 seen[8];

SEC("xdp")
int reserve(struct xdp_md *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

	if (!event)
		return XDP_ABORTED;
	event->length = (long)ctx->data_end - (long)ctx->data;
	event->number = number++;
	if (event->number & 1)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

SEC("xdp")
int output(struct xdp_md *ctx)
{
	struct event event = {
		.length = (long)ctx->data_end - (long)ctx->data,
		.number = number++,
	};

	if (bpf_ringbuf_output(&ring, &event, sizeof(event), 0))
		return XDP_ABORTED;
	return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | 4ULL << 32, &event, sizeof(event))
		? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int print(struct xdp_md *ctx)
{
	bpf_printk("packet %d of %d bytes", number++, (int)((long)ctx->data_end - (long)ctx->data));
	bpf_printk("%d %d %d %d", 1, 2, 3, 4);
	return XDP_PASS;
}

SEC("xdp")
int clocks(struct xdp_md *ctx)
{
	seen[0] = bpf_ktime_get_ns();
	seen[1] = bpf_ktime_get_boot_ns();
	seen[2] = bpf_get_prandom_u32();
	seen[3] = bpf_get_smp_processor_id();
	seen[4] = bpf_get_current_pid_tgid();
	seen[5] = bpf_get_numa_node_id();
	return XDP_PASS;
}

SEC("xdp")
int missing(struct xdp_md *ctx)
{
	struct btf_ptr value = {};
	char text[16];

	return bpf_snprintf_btf(text, sizeof(text), &value, sizeof(value), 0);
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	skb->mark = skb->len;
	return number++ ? 2 : -1;
}

SEC("syscall")
int add(__u64 *ctx)
{
	ctx[1] += ctx[0];
	return 3;
}

SEC("raw_tp")
int difference(__u64 *ctx)
{
	return ctx[0] - ctx[1];
}

char _license[] SEC("license") = "GPL";
