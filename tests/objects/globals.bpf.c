// Global variables with parts.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

enum mode { OFF, ON, LOUD };

struct rule {
	__u16 port;
	bool allowed;
	enum mode mode;
};

const volatile struct {
	__u8 version;
	union {
		__u32 address;
		__u8 octets[4];
	};
	__u32 small : 3;
	struct rule rules[3];
	char name[8];
} conf = {.version = 1};

SEC("xdp") int program(struct xdp_md *ctx)
{
	const volatile struct rule *rule = &conf.rules[2];

	if (conf.version != 1 || conf.small)
		return XDP_ABORTED;
	return rule->port + rule->allowed + rule->mode + conf.octets[1] + conf.name[1];
}

char _license[] SEC("license") = "GPL";
