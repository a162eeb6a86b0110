// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Helpers of programs in the network stack, one program each: arguments in `args`, results in
// `out`.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

__s64 args[4];
__s64 out[16];
__u8 buf[256];

static __always_inline void geometry(struct __sk_buff *skb)
{
	out[9] = skb->vlan_present;
	out[10] = skb->vlan_tci;
	out[11] = skb->vlan_proto;
	out[12] = skb->protocol;
	out[13] = skb->pkt_type;
	out[14] = skb->len;
}

SEC("tc")
int load_bytes(struct __sk_buff *skb)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_skb_load_bytes(skb, args[0], buf, len);
	geometry(skb);
	return TC_ACT_OK;
}

SEC("tc")
int load_bytes_relative(struct __sk_buff *skb)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_skb_load_bytes_relative(skb, args[0], buf, len, args[2]);
	return TC_ACT_OK;
}

SEC("cgroup_skb/ingress")
int load_bytes_relative_l3(struct __sk_buff *skb)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_skb_load_bytes_relative(skb, args[0], buf, len, args[2]);
	out[1] = bpf_skb_load_bytes(skb, args[0], buf + 128, 4);
	out[2] = skb->family;
	out[3] = skb->remote_ip4;
	out[4] = skb->local_ip4;
	out[5] = skb->remote_ip6[3];
	out[6] = skb->local_ip6[0];
	return 1;
}

SEC("tc")
int store_bytes(struct __sk_buff *skb)
{
	__u32 len = (args[1] & 127) + 1;

	out[0] = bpf_skb_store_bytes(skb, args[0], buf, len, args[2]);
	geometry(skb);
	return TC_ACT_OK;
}

SEC("tc")
int l3_csum_replace(struct __sk_buff *skb)
{
	out[0] = bpf_l3_csum_replace(skb, args[0], args[1], args[2], args[3]);
	return TC_ACT_OK;
}

SEC("tc")
int l4_csum_replace(struct __sk_buff *skb)
{
	out[0] = bpf_l4_csum_replace(skb, args[0], args[1], args[2], args[3]);
	return TC_ACT_OK;
}

SEC("tc")
int change_tail(struct __sk_buff *skb)
{
	out[0] = bpf_skb_change_tail(skb, args[0], args[1]);
	geometry(skb);
	return TC_ACT_OK;
}

SEC("tc")
int change_head(struct __sk_buff *skb)
{
	out[0] = bpf_skb_change_head(skb, args[0], args[1]);
	geometry(skb);
	out[1] = bpf_skb_load_bytes_relative(skb, 0, buf, 16, 0);
	out[2] = bpf_skb_load_bytes_relative(skb, 0, buf + 16, 16, 1);
	return TC_ACT_OK;
}

SEC("tc")
int change_type(struct __sk_buff *skb)
{
	out[0] = bpf_skb_change_type(skb, args[0]);
	geometry(skb);
	return TC_ACT_OK;
}

SEC("tc")
int vlan(struct __sk_buff *skb)
{
	int i;

	for (i = 0; i < 4; i++) {
		switch (args[i] & 3) {
		case 1:
			out[i] = bpf_skb_vlan_push(skb, args[i] >> 16, args[i] >> 32);
			break;
		case 2:
			out[i] = bpf_skb_vlan_pop(skb);
			break;
		}
	}
	geometry(skb);
	out[4] = bpf_skb_load_bytes_relative(skb, 0, buf, 18, 0);
	out[5] = bpf_skb_load_bytes_relative(skb, 0, buf + 32, 4, 1);
	return TC_ACT_OK;
}

SEC("tc")
int adjust_room(struct __sk_buff *skb)
{
	out[0] = bpf_skb_adjust_room(skb, args[0], args[1], args[2]);
	geometry(skb);
	out[1] = bpf_skb_load_bytes_relative(skb, 0, buf, 18, 0);
	out[2] = bpf_skb_load_bytes_relative(skb, 0, buf + 32, 4, 1);
	if (args[3])
		out[3] = bpf_skb_adjust_room(skb, args[3], args[1], args[2]);
	return TC_ACT_OK;
}

SEC("tc")
int change_proto(struct __sk_buff *skb)
{
	out[0] = bpf_skb_change_proto(skb, args[0], args[1]);
	geometry(skb);
	out[1] = bpf_skb_load_bytes_relative(skb, 0, buf, 18, 0);
	out[2] = bpf_skb_load_bytes_relative(skb, 0, buf + 32, 4, 1);
	out[3] = bpf_skb_change_proto(skb, args[2], 0);
	return TC_ACT_OK;
}

SEC("tc")
int pull_data(struct __sk_buff *skb)
{
	out[0] = bpf_skb_pull_data(skb, args[0]);
	geometry(skb);
	out[1] = (long)skb->data_end - (long)skb->data;
	return TC_ACT_OK;
}

SEC("tc")
int hashes(struct __sk_buff *skb)
{
	out[0] = bpf_set_hash(skb, args[0]);
	out[1] = bpf_get_hash_recalc(skb);
	out[2] = skb->hash;
	bpf_set_hash_invalid(skb);
	out[3] = skb->hash;
	return TC_ACT_OK;
}

SEC("tc")
int redirects(struct __sk_buff *skb)
{
	out[0] = bpf_redirect(args[0], args[1]);
	return TC_ACT_OK;
}

SEC("tc")
int contexts(struct __sk_buff *skb)
{
	geometry(skb);
	out[0] = skb->mark;
	out[1] = skb->priority;
	out[2] = skb->ingress_ifindex;
	out[3] = skb->ifindex;
	out[4] = skb->cb[2];
	out[5] = skb->tstamp;
	out[6] = skb->gso_segs;
	out[7] = skb->gso_size;
	out[8] = skb->wire_len;
	out[15] = skb->queue_mapping;
	if (args[0]) {
		skb->mark = args[0];
		skb->priority = args[1];
		skb->cb[2] = args[2];
		skb->tc_index = args[3];
		skb->queue_mapping = 5;
	}
	return args[3];
}

unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long off) asm("llvm.bpf.load.word");

SEC("socket")
int legacy_loads(struct __sk_buff *skb)
{
	__u32 off = args[0];

	out[0] = 1;
	buf[0] = load_byte(skb, off);
	out[0] = 2;
	out[1] = load_half(skb, off);
	out[0] = 3;
	out[2] = load_word(skb, off);
	out[0] = 4;
	return 5;
}

char _license[] SEC("license") = "GPL";
