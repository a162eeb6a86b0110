//! Sockets and what happens to them.
//!
//! One row a field: name, offset, size, how it may be read and written, what it yields, and
//! for pointers of four bytes where the host keeps the eight. Fields that may not be touched
//! have no row.

use super::pattern::{
    ADDRESS6, ADDRESS6_WRITE, FRONT4, HALF, HALVES4, NARROW4, NARROW16, NONE, PORT, SOURCE6,
    SOURCE6_WRITE, WHOLE4, WHOLE8, WORDS16,
};
use super::{Context, Field, Yields};

context! {
    /// For `cgroup_sock` programs.
    pub static CGROUP_SOCK = "bpf_sock", 80 bytes, 80 in the host;
    "bound_dev_if" 0 4 read WHOLE4 write WHOLE4 yields Scalar;
    "family" 4 4 read FRONT4 write NONE yields Scalar;
    "type" 8 4 read FRONT4 write NONE yields Scalar;
    "protocol" 12 4 read FRONT4 write NONE yields Scalar;
    "mark" 16 4 read WHOLE4 write WHOLE4 yields Scalar;
    "priority" 20 4 read WHOLE4 write WHOLE4 yields Scalar;
    "dst_port" 48 2 read PORT write NONE yields Scalar;
    "dst_ip4" 52 4 read NARROW4 write NONE yields Scalar;
    "dst_ip6" 56 16 read NARROW16 write NONE yields Scalar;
    "state" 72 4 read FRONT4 write NONE yields Scalar;
    "rx_queue_mapping" 76 4 read FRONT4 write NONE yields Scalar;
}

context! {
    /// For `cgroup_sock_post_bind4` programs.
    pub static CGROUP_SOCK_POST_BIND4 = "bpf_sock", 80 bytes, 80 in the host;
    "family" 4 4 read FRONT4 write NONE yields Scalar;
    "type" 8 4 read FRONT4 write NONE yields Scalar;
    "protocol" 12 4 read FRONT4 write NONE yields Scalar;
    "src_ip4" 24 4 read NARROW4 write NONE yields Scalar;
    "src_port" 44 4 read FRONT4 write NONE yields Scalar;
    "dst_port" 48 2 read PORT write NONE yields Scalar;
    "dst_ip4" 52 4 read NARROW4 write NONE yields Scalar;
    "dst_ip6" 56 16 read NARROW16 write NONE yields Scalar;
    "state" 72 4 read FRONT4 write NONE yields Scalar;
    "rx_queue_mapping" 76 4 read FRONT4 write NONE yields Scalar;
}

context! {
    /// For `cgroup_sock_post_bind6` programs.
    pub static CGROUP_SOCK_POST_BIND6 = "bpf_sock", 80 bytes, 80 in the host;
    "family" 4 4 read FRONT4 write NONE yields Scalar;
    "type" 8 4 read FRONT4 write NONE yields Scalar;
    "protocol" 12 4 read FRONT4 write NONE yields Scalar;
    "src_ip6" 28 16 read NARROW16 write NONE yields Scalar;
    "src_port" 44 4 read FRONT4 write NONE yields Scalar;
    "dst_port" 48 2 read PORT write NONE yields Scalar;
    "dst_ip4" 52 4 read NARROW4 write NONE yields Scalar;
    "dst_ip6" 56 16 read NARROW16 write NONE yields Scalar;
    "state" 72 4 read FRONT4 write NONE yields Scalar;
    "rx_queue_mapping" 76 4 read FRONT4 write NONE yields Scalar;
}

context! {
    /// For `sock_ops` programs.
    pub static SOCK_OPS = "bpf_sock_ops", 224 bytes, 224 in the host;
    "op" 0 4 read WHOLE4 write NONE yields Scalar;
    "args|replylong|reply" 4 16 read WORDS16 write WHOLE4 yields Scalar;
    "family" 20 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip4" 24 4 read WHOLE4 write NONE yields Scalar;
    "local_ip4" 28 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip6" 32 16 read WORDS16 write NONE yields Scalar;
    "local_ip6" 48 16 read WORDS16 write NONE yields Scalar;
    "remote_port" 64 4 read WHOLE4 write NONE yields Scalar;
    "local_port" 68 4 read WHOLE4 write NONE yields Scalar;
    "is_fullsock" 72 4 read WHOLE4 write NONE yields Scalar;
    "snd_cwnd" 76 4 read WHOLE4 write NONE yields Scalar;
    "srtt_us" 80 4 read WHOLE4 write NONE yields Scalar;
    "bpf_sock_ops_cb_flags" 84 4 read WHOLE4 write NONE yields Scalar;
    "state" 88 4 read WHOLE4 write NONE yields Scalar;
    "rtt_min" 92 4 read WHOLE4 write NONE yields Scalar;
    "snd_ssthresh" 96 4 read WHOLE4 write NONE yields Scalar;
    "rcv_nxt" 100 4 read WHOLE4 write NONE yields Scalar;
    "snd_nxt" 104 4 read WHOLE4 write NONE yields Scalar;
    "snd_una" 108 4 read WHOLE4 write NONE yields Scalar;
    "mss_cache" 112 4 read WHOLE4 write NONE yields Scalar;
    "ecn_flags" 116 4 read WHOLE4 write NONE yields Scalar;
    "rate_delivered" 120 4 read WHOLE4 write NONE yields Scalar;
    "rate_interval_us" 124 4 read WHOLE4 write NONE yields Scalar;
    "packets_out" 128 4 read WHOLE4 write NONE yields Scalar;
    "retrans_out" 132 4 read WHOLE4 write NONE yields Scalar;
    "total_retrans" 136 4 read WHOLE4 write NONE yields Scalar;
    "segs_in" 140 4 read WHOLE4 write NONE yields Scalar;
    "data_segs_in" 144 4 read WHOLE4 write NONE yields Scalar;
    "segs_out" 148 4 read WHOLE4 write NONE yields Scalar;
    "data_segs_out" 152 4 read WHOLE4 write NONE yields Scalar;
    "lost_out" 156 4 read WHOLE4 write NONE yields Scalar;
    "sacked_out" 160 4 read WHOLE4 write NONE yields Scalar;
    "sk_txhash" 164 4 read WHOLE4 write WHOLE4 yields Scalar;
    "bytes_received" 168 8 read WHOLE8 write NONE yields Scalar;
    "bytes_acked" 176 8 read WHOLE8 write NONE yields Scalar;
    "sk" 184 8 read WHOLE8 write NONE yields SocketOrNull;
    "skb_data" 192 8 read WHOLE8 write NONE yields Packet;
    "skb_data_end" 200 8 read WHOLE8 write NONE yields PacketEnd;
    "skb_len" 208 4 read WHOLE4 write NONE yields Scalar;
    "skb_tcp_flags" 212 4 read FRONT4 write NONE yields Scalar;
    "skb_hwtstamp" 216 8 read WHOLE8 write NONE yields Scalar;
}

context! {
    /// For `sk_msg` programs.
    pub static SK_MSG = "sk_msg_md", 80 bytes, 80 in the host;
    "data" 0 8 read WHOLE8 write NONE yields Packet;
    "data_end" 8 8 read WHOLE8 write NONE yields PacketEnd;
    "family" 16 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip4" 20 4 read WHOLE4 write NONE yields Scalar;
    "local_ip4" 24 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip6" 28 16 read WORDS16 write NONE yields Scalar;
    "local_ip6" 44 16 read WORDS16 write NONE yields Scalar;
    "remote_port" 60 4 read WHOLE4 write NONE yields Scalar;
    "local_port" 64 4 read WHOLE4 write NONE yields Scalar;
    "size" 68 4 read WHOLE4 write NONE yields Scalar;
    "sk" 72 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `cgroup_sock_addr_inet4_bind` programs.
    pub static CGROUP_SOCK_ADDR_INET4_BIND = "bpf_sock_addr", 72 bytes, 72 in the host;
    "user_family" 0 4 read WHOLE4 write NONE yields Scalar;
    "user_ip4" 4 4 read NARROW4 write WHOLE4 yields Scalar;
    "user_port" 24 4 read NARROW4 write WHOLE4 yields Scalar;
    "family" 28 4 read WHOLE4 write NONE yields Scalar;
    "type" 32 4 read WHOLE4 write NONE yields Scalar;
    "protocol" 36 4 read WHOLE4 write NONE yields Scalar;
    "sk" 64 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `cgroup_sock_addr_inet6_bind` programs.
    pub static CGROUP_SOCK_ADDR_INET6_BIND = "bpf_sock_addr", 72 bytes, 72 in the host;
    "user_family" 0 4 read WHOLE4 write NONE yields Scalar;
    "user_ip6" 8 16 read ADDRESS6 write ADDRESS6_WRITE yields Scalar;
    "user_port" 24 4 read NARROW4 write WHOLE4 yields Scalar;
    "family" 28 4 read WHOLE4 write NONE yields Scalar;
    "type" 32 4 read WHOLE4 write NONE yields Scalar;
    "protocol" 36 4 read WHOLE4 write NONE yields Scalar;
    "sk" 64 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `cgroup_sock_addr_udp4_sendmsg` programs.
    pub static CGROUP_SOCK_ADDR_UDP4_SENDMSG = "bpf_sock_addr", 72 bytes, 72 in the host;
    "user_family" 0 4 read WHOLE4 write NONE yields Scalar;
    "user_ip4" 4 4 read NARROW4 write WHOLE4 yields Scalar;
    "user_port" 24 4 read NARROW4 write WHOLE4 yields Scalar;
    "family" 28 4 read WHOLE4 write NONE yields Scalar;
    "type" 32 4 read WHOLE4 write NONE yields Scalar;
    "protocol" 36 4 read WHOLE4 write NONE yields Scalar;
    "msg_src_ip4" 40 4 read NARROW4 write WHOLE4 yields Scalar;
    "sk" 64 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `cgroup_sock_addr_udp6_sendmsg` programs.
    pub static CGROUP_SOCK_ADDR_UDP6_SENDMSG = "bpf_sock_addr", 72 bytes, 72 in the host;
    "user_family" 0 4 read WHOLE4 write NONE yields Scalar;
    "user_ip6" 8 16 read ADDRESS6 write ADDRESS6_WRITE yields Scalar;
    "user_port" 24 4 read NARROW4 write WHOLE4 yields Scalar;
    "family" 28 4 read WHOLE4 write NONE yields Scalar;
    "type" 32 4 read WHOLE4 write NONE yields Scalar;
    "protocol" 36 4 read WHOLE4 write NONE yields Scalar;
    "msg_src_ip6" 44 16 read SOURCE6 write SOURCE6_WRITE yields Scalar;
    "sk" 64 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `cgroup_sock_addr_unix_connect` programs.
    pub static CGROUP_SOCK_ADDR_UNIX_CONNECT = "bpf_sock_addr", 72 bytes, 72 in the host;
    "user_family" 0 4 read WHOLE4 write NONE yields Scalar;
    "user_port" 24 4 read NARROW4 write WHOLE4 yields Scalar;
    "family" 28 4 read WHOLE4 write NONE yields Scalar;
    "type" 32 4 read WHOLE4 write NONE yields Scalar;
    "protocol" 36 4 read WHOLE4 write NONE yields Scalar;
    "sk" 64 8 read WHOLE8 write NONE yields Socket;
}

context! {
    /// For `sk_reuseport` programs.
    pub static SK_REUSEPORT = "sk_reuseport_md", 56 bytes, 56 in the host;
    "data" 0 8 read WHOLE8 write NONE yields Packet;
    "data_end" 8 8 read WHOLE8 write NONE yields PacketEnd;
    "len" 16 4 read NARROW4 write NONE yields Scalar;
    "eth_protocol" 20 4 read HALVES4 write NONE yields Scalar;
    "ip_protocol" 24 4 read NARROW4 write NONE yields Scalar;
    "bind_inany" 28 4 read NARROW4 write NONE yields Scalar;
    "hash" 32 4 read WHOLE4 write NONE yields Scalar;
    "sk" 40 8 read WHOLE8 write NONE yields Socket;
    "migrating_sk" 48 8 read WHOLE8 write NONE yields SockCommonOrNull;
}

context! {
    /// For `sk_lookup` programs.
    pub static SK_LOOKUP = "bpf_sk_lookup", 72 bytes, 72 in the host;
    "sk|cookie" 0 8 read WHOLE8 write NONE yields SocketOrNull;
    "family" 8 4 read NARROW4 write NONE yields Scalar;
    "protocol" 12 4 read NARROW4 write NONE yields Scalar;
    "remote_ip4" 16 4 read NARROW4 write NONE yields Scalar;
    "remote_ip6" 20 16 read NARROW16 write NONE yields Scalar;
    "remote_port" 36 2 read PORT write NONE yields Scalar;
    "(padding)" 38 2 read HALF write NONE yields Scalar;
    "local_ip4" 40 4 read NARROW4 write NONE yields Scalar;
    "local_ip6" 44 16 read NARROW16 write NONE yields Scalar;
    "local_port" 60 4 read NARROW4 write NONE yields Scalar;
    "ingress_ifindex" 64 4 read NARROW4 write NONE yields Scalar;
}

context! {
    /// For `netfilter` programs.
    pub static NETFILTER = "bpf_nf_ctx", 16 bytes, 16 in the host;
    "state" 0 8 read WHOLE8 write NONE yields NfHookState;
    "skb" 8 8 read WHOLE8 write NONE yields SkBuff;
}
