//! `__sk_buff`: a packet as the network stack holds it.
//!
//! One row a field: name, offset, size, how it may be read and written, what it yields, and
//! for pointers of four bytes where the host keeps the eight. Fields that may not be touched
//! have no row.

use super::pattern::{BYTE, CB, NARROW4, NONE, WHOLE4, WHOLE8, WORDS16};
use super::{Context, Field, Yields};

context! {
    /// For socket filters.
    pub static SOCKET_FILTER = "__sk_buff", 192 bytes, 192 in the host;
    "len" 0 4 read NARROW4 write NONE yields Scalar;
    "pkt_type" 4 4 read NARROW4 write NONE yields Scalar;
    "mark" 8 4 read NARROW4 write NONE yields Scalar;
    "queue_mapping" 12 4 read NARROW4 write NONE yields Scalar;
    "protocol" 16 4 read NARROW4 write NONE yields Scalar;
    "vlan_present" 20 4 read NARROW4 write NONE yields Scalar;
    "vlan_tci" 24 4 read NARROW4 write NONE yields Scalar;
    "vlan_proto" 28 4 read NARROW4 write NONE yields Scalar;
    "priority" 32 4 read NARROW4 write NONE yields Scalar;
    "ingress_ifindex" 36 4 read NARROW4 write NONE yields Scalar;
    "ifindex" 40 4 read NARROW4 write NONE yields Scalar;
    "tc_index" 44 4 read NARROW4 write NONE yields Scalar;
    "cb" 48 20 read CB write CB yields Scalar;
    "hash" 68 4 read NARROW4 write NONE yields Scalar;
    "napi_id" 84 4 read NARROW4 write NONE yields Scalar;
    "gso_segs" 164 4 read NARROW4 write NONE yields Scalar;
    "sk" 168 8 read WHOLE8 write NONE yields SockCommonOrNull;
    "gso_size" 176 4 read NARROW4 write NONE yields Scalar;
}

context! {
    /// For traffic control.
    pub static SCHED = "__sk_buff", 192 bytes, 216 in the host;
    "len" 0 4 read NARROW4 write NONE yields Scalar;
    "pkt_type" 4 4 read NARROW4 write NONE yields Scalar;
    "mark" 8 4 read NARROW4 write WHOLE4 yields Scalar;
    "queue_mapping" 12 4 read NARROW4 write WHOLE4 yields Scalar;
    "protocol" 16 4 read NARROW4 write NONE yields Scalar;
    "vlan_present" 20 4 read NARROW4 write NONE yields Scalar;
    "vlan_tci" 24 4 read NARROW4 write NONE yields Scalar;
    "vlan_proto" 28 4 read NARROW4 write NONE yields Scalar;
    "priority" 32 4 read NARROW4 write WHOLE4 yields Scalar;
    "ingress_ifindex" 36 4 read NARROW4 write NONE yields Scalar;
    "ifindex" 40 4 read NARROW4 write NONE yields Scalar;
    "tc_index" 44 4 read NARROW4 write WHOLE4 yields Scalar;
    "cb" 48 20 read CB write CB yields Scalar;
    "hash" 68 4 read NARROW4 write NONE yields Scalar;
    "tc_classid" 72 4 read NARROW4 write WHOLE4 yields Scalar;
    "data" 76 4 read WHOLE4, unsigned write NONE yields Packet at 192;
    "data_end" 80 4 read WHOLE4, unsigned write NONE yields PacketEnd at 200;
    "napi_id" 84 4 read NARROW4 write NONE yields Scalar;
    "data_meta" 140 4 read WHOLE4, unsigned write NONE yields PacketMeta at 208;
    "tstamp" 152 8 read WHOLE8 write WHOLE8 yields Scalar;
    "wire_len" 160 4 read NARROW4 write NONE yields Scalar;
    "gso_segs" 164 4 read NARROW4 write NONE yields Scalar;
    "sk" 168 8 read WHOLE8 write NONE yields SockCommonOrNull;
    "gso_size" 176 4 read NARROW4 write NONE yields Scalar;
    "tstamp_type" 180 1 read BYTE write NONE yields Scalar;
    "hwtstamp" 184 8 read WHOLE8 write NONE yields Scalar;
}

context! {
    /// For a cgroup's packets.
    pub static CGROUP_SKB = "__sk_buff", 192 bytes, 208 in the host;
    "len" 0 4 read NARROW4 write NONE yields Scalar;
    "pkt_type" 4 4 read NARROW4 write NONE yields Scalar;
    "mark" 8 4 read NARROW4 write WHOLE4 yields Scalar;
    "queue_mapping" 12 4 read NARROW4 write NONE yields Scalar;
    "protocol" 16 4 read NARROW4 write NONE yields Scalar;
    "vlan_present" 20 4 read NARROW4 write NONE yields Scalar;
    "vlan_tci" 24 4 read NARROW4 write NONE yields Scalar;
    "vlan_proto" 28 4 read NARROW4 write NONE yields Scalar;
    "priority" 32 4 read NARROW4 write WHOLE4 yields Scalar;
    "ingress_ifindex" 36 4 read NARROW4 write NONE yields Scalar;
    "ifindex" 40 4 read NARROW4 write NONE yields Scalar;
    "tc_index" 44 4 read NARROW4 write NONE yields Scalar;
    "cb" 48 20 read CB write CB yields Scalar;
    "hash" 68 4 read NARROW4 write NONE yields Scalar;
    "data" 76 4 read WHOLE4, unsigned write NONE yields Packet at 192;
    "data_end" 80 4 read WHOLE4, unsigned write NONE yields PacketEnd at 200;
    "napi_id" 84 4 read NARROW4 write NONE yields Scalar;
    "family" 88 4 read NARROW4 write NONE yields Scalar;
    "remote_ip4" 92 4 read WHOLE4 write NONE yields Scalar;
    "local_ip4" 96 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip6" 100 16 read WORDS16 write NONE yields Scalar;
    "local_ip6" 116 16 read WORDS16 write NONE yields Scalar;
    "remote_port" 132 4 read NARROW4 write NONE yields Scalar;
    "local_port" 136 4 read NARROW4 write NONE yields Scalar;
    "tstamp" 152 8 read WHOLE8 write WHOLE8 yields Scalar;
    "gso_segs" 164 4 read NARROW4 write NONE yields Scalar;
    "sk" 168 8 read WHOLE8 write NONE yields SockCommonOrNull;
    "gso_size" 176 4 read NARROW4 write NONE yields Scalar;
    "hwtstamp" 184 8 read WHOLE8 write NONE yields Scalar;
}

context! {
    /// For lightweight tunnels.
    pub static LWT = "__sk_buff", 192 bytes, 208 in the host;
    "len" 0 4 read NARROW4 write NONE yields Scalar;
    "pkt_type" 4 4 read NARROW4 write NONE yields Scalar;
    "mark" 8 4 read NARROW4 write WHOLE4 yields Scalar;
    "queue_mapping" 12 4 read NARROW4 write NONE yields Scalar;
    "protocol" 16 4 read NARROW4 write NONE yields Scalar;
    "vlan_present" 20 4 read NARROW4 write NONE yields Scalar;
    "vlan_tci" 24 4 read NARROW4 write NONE yields Scalar;
    "vlan_proto" 28 4 read NARROW4 write NONE yields Scalar;
    "priority" 32 4 read NARROW4 write WHOLE4 yields Scalar;
    "ingress_ifindex" 36 4 read NARROW4 write NONE yields Scalar;
    "ifindex" 40 4 read NARROW4 write NONE yields Scalar;
    "tc_index" 44 4 read NARROW4 write NONE yields Scalar;
    "cb" 48 20 read CB write CB yields Scalar;
    "hash" 68 4 read NARROW4 write NONE yields Scalar;
    "data" 76 4 read WHOLE4, unsigned write NONE yields Packet at 192;
    "data_end" 80 4 read WHOLE4, unsigned write NONE yields PacketEnd at 200;
    "napi_id" 84 4 read NARROW4 write NONE yields Scalar;
    "gso_segs" 164 4 read NARROW4 write NONE yields Scalar;
    "sk" 168 8 read WHOLE8 write NONE yields SockCommonOrNull;
    "gso_size" 176 4 read NARROW4 write NONE yields Scalar;
}

context! {
    /// For stream parsers and verdicts.
    pub static SK_SKB = "__sk_buff", 192 bytes, 208 in the host;
    "len" 0 4 read NARROW4 write NONE yields Scalar;
    "pkt_type" 4 4 read NARROW4 write NONE yields Scalar;
    "queue_mapping" 12 4 read NARROW4 write NONE yields Scalar;
    "protocol" 16 4 read NARROW4 write NONE yields Scalar;
    "vlan_present" 20 4 read NARROW4 write NONE yields Scalar;
    "vlan_tci" 24 4 read NARROW4 write NONE yields Scalar;
    "vlan_proto" 28 4 read NARROW4 write NONE yields Scalar;
    "priority" 32 4 read NARROW4 write WHOLE4 yields Scalar;
    "ingress_ifindex" 36 4 read NARROW4 write NONE yields Scalar;
    "ifindex" 40 4 read NARROW4 write NONE yields Scalar;
    "tc_index" 44 4 read NARROW4 write WHOLE4 yields Scalar;
    "cb" 48 20 read CB write NONE yields Scalar;
    "hash" 68 4 read NARROW4 write NONE yields Scalar;
    "data" 76 4 read WHOLE4, unsigned write NONE yields Packet at 192;
    "data_end" 80 4 read WHOLE4, unsigned write NONE yields PacketEnd at 200;
    "napi_id" 84 4 read NARROW4 write NONE yields Scalar;
    "family" 88 4 read NARROW4 write NONE yields Scalar;
    "remote_ip4" 92 4 read WHOLE4 write NONE yields Scalar;
    "local_ip4" 96 4 read WHOLE4 write NONE yields Scalar;
    "remote_ip6" 100 16 read WORDS16 write NONE yields Scalar;
    "local_ip6" 116 16 read WORDS16 write NONE yields Scalar;
    "remote_port" 132 4 read NARROW4 write NONE yields Scalar;
    "local_port" 136 4 read NARROW4 write NONE yields Scalar;
    "gso_segs" 164 4 read NARROW4 write NONE yields Scalar;
    "sk" 168 8 read WHOLE8 write NONE yields SockCommonOrNull;
    "gso_size" 176 4 read NARROW4 write NONE yields Scalar;
}

context! {
    /// For flow dissectors.
    pub static FLOW_DISSECTOR = "__sk_buff", 192 bytes, 208 in the host;
    "data" 76 4 read WHOLE4, unsigned write NONE yields Packet at 192;
    "data_end" 80 4 read WHOLE4, unsigned write NONE yields PacketEnd at 200;
    "flow_keys" 144 8 read WHOLE8 write NONE yields FlowKeys;
}
