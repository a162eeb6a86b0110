//! The contracts of all helpers of Linux 6.18: one row a prototype.
//!
//! The columns are: the number, the name, the kernel's name of the prototype (without `bpf_` and
//! `_proto`), what else is to be known, the arguments, the result. A helper whose contract
//! depends on the program's type has several rows; [`hooks`](super::hooks) tells which is whose.
//! Read off a running kernel.

use super::{ArgKind, ArgProto, HelperFlags, HelperProto, RetKind, RetProto, TypeFlags};

/// A prototype and the kernel's name for it.
#[derive(Clone, Copy, Debug)]
pub struct ProtoRow {
    /// The contract.
    pub proto: HelperProto,
    /// The kernel's name of the prototype, without `bpf_` and `_proto`.
    pub linux: &'static str,
}

macro_rules! protos {
    ($(
        $id:literal $name:literal $linux:literal [$($flag:ident)*]
        ($([$arg:ident $($argflag:ident)* $(= $size:literal)? $(@ $btf:literal)?]),*)
        -> [$ret:ident $($retflag:ident)* $(@ $retbtf:literal)?];
    )+) => {
        /// Every prototype, in the order of the helpers' numbers.
        pub static PROTOS: &[ProtoRow] = &[ $(
            ProtoRow {
                proto: HelperProto {
                    id: $id,
                    name: $name,
                    flags: HelperFlags::from_bits_retain(0 $(| HelperFlags::$flag.bits())*),
                    args: &[ $(
                        ArgProto {
                            kind: ArgKind::$arg,
                            flags: TypeFlags::from_bits_retain(
                                0 $(| TypeFlags::$argflag.bits())*
                            ),
                            size: 0 $(+ $size)?,
                            btf: btf!($($btf)?),
                        },
                    )* ],
                    ret: RetProto {
                        kind: RetKind::$ret,
                        flags: TypeFlags::from_bits_retain(0 $(| TypeFlags::$retflag.bits())*),
                        btf: btf!($($retbtf)?),
                    },
                },
                linux: $linux,
            },
        )+ ];
    };
}

/// An optional name.
macro_rules! btf {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

protos! {
    1 "map_lookup_elem" "map_lookup_elem" [PKT_ACCESS ACQUIRES_REF] ([ConstMapPtr], [MapKey]) -> [MapValue MAYBE_NULL];
    2 "map_update_elem" "map_update_elem" [PKT_ACCESS] ([ConstMapPtr], [MapKey], [MapValue], [Anything]) -> [Integer];
    3 "map_delete_elem" "map_delete_elem" [PKT_ACCESS] ([ConstMapPtr], [MapKey]) -> [Integer];
    4 "probe_read" "probe_read_compat" [GPL_ONLY] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    5 "ktime_get_ns" "ktime_get_ns" [] () -> [Integer];
    6 "trace_printk" "trace_printk" [GPL_ONLY NEEDS_PERFMON] ([Mem RDONLY], [ConstSize]) -> [Integer];
    7 "get_prandom_u32" "get_prandom_u32" [] () -> [Integer];
    8 "get_smp_processor_id" "get_raw_smp_processor_id" [] () -> [Integer];
    8 "get_smp_processor_id" "get_smp_processor_id" [ALLOW_FASTCALL] () -> [Integer];
    9 "skb_store_bytes" "skb_store_bytes" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Mem RDONLY], [ConstSize], [Anything]) -> [Integer];
    10 "l3_csum_replace" "l3_csum_replace" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything], [Anything]) -> [Integer];
    11 "l4_csum_replace" "l4_csum_replace" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything], [Anything]) -> [Integer];
    12 "tail_call" "tail_call" [CHANGES_PKT_DATA] ([Ctx], [ConstMapPtr], [Anything]) -> [Void];
    13 "clone_redirect" "clone_redirect" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    14 "get_current_pid_tgid" "get_current_pid_tgid" [] () -> [Integer];
    15 "get_current_uid_gid" "get_current_uid_gid" [] () -> [Integer];
    16 "get_current_comm" "get_current_comm" [NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    17 "get_cgroup_classid" "get_cgroup_classid_curr" [] () -> [Integer];
    17 "get_cgroup_classid" "get_cgroup_classid" [] ([Ctx]) -> [Integer];
    18 "skb_vlan_push" "skb_vlan_push" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    19 "skb_vlan_pop" "skb_vlan_pop" [CHANGES_PKT_DATA] ([Ctx]) -> [Integer];
    20 "skb_get_tunnel_key" "skb_get_tunnel_key" [] ([Ctx], [Mem UNINIT WRITE], [ConstSize], [Anything]) -> [Integer];
    21 "skb_set_tunnel_key" "skb_set_tunnel_key" [] ([Ctx], [Mem RDONLY], [ConstSize], [Anything]) -> [Integer];
    22 "perf_event_read" "perf_event_read" [GPL_ONLY NEEDS_PERFMON] ([ConstMapPtr], [Anything]) -> [Integer];
    23 "redirect" "redirect" [] ([Anything], [Anything]) -> [Integer];
    24 "get_route_realm" "get_route_realm" [] ([Ctx]) -> [Integer];
    25 "perf_event_output" "skb_event_output" [GPL_ONLY] ([Ctx], [ConstMapPtr], [Anything], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    26 "skb_load_bytes" "skb_load_bytes" [] ([Ctx], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    27 "get_stackid" "get_stackid" [GPL_ONLY] ([Ctx], [ConstMapPtr], [Anything]) -> [Integer];
    27 "get_stackid" "get_stackid_pe" [] ([Ctx], [ConstMapPtr], [Anything]) -> [Integer];
    28 "csum_diff" "csum_diff" [PKT_ACCESS] ([Mem RDONLY MAYBE_NULL], [ConstSizeOrZero], [Mem RDONLY MAYBE_NULL], [ConstSizeOrZero], [Anything]) -> [Integer];
    29 "skb_get_tunnel_opt" "skb_get_tunnel_opt" [] ([Ctx], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    30 "skb_set_tunnel_opt" "skb_set_tunnel_opt" [] ([Ctx], [Mem RDONLY], [ConstSize]) -> [Integer];
    31 "skb_change_proto" "skb_change_proto" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    32 "skb_change_type" "skb_change_type" [] ([Ctx], [Anything]) -> [Integer];
    33 "skb_under_cgroup" "skb_under_cgroup" [] ([Ctx], [ConstMapPtr], [Anything]) -> [Integer];
    34 "get_hash_recalc" "get_hash_recalc" [] ([Ctx]) -> [Integer];
    35 "get_current_task" "get_current_task" [GPL_ONLY NEEDS_PERFMON] () -> [Integer];
    36 "probe_write_user" "probe_write_user" [GPL_ONLY] ([Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    37 "current_task_under_cgroup" "current_task_under_cgroup" [] ([ConstMapPtr], [Anything]) -> [Integer];
    38 "skb_change_tail" "skb_change_tail" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    39 "skb_pull_data" "skb_pull_data" [CHANGES_PKT_DATA] ([Ctx], [Anything]) -> [Integer];
    40 "csum_update" "csum_update" [] ([Ctx], [Anything]) -> [Integer];
    41 "set_hash_invalid" "set_hash_invalid" [] ([Ctx]) -> [Integer];
    42 "get_numa_node_id" "get_numa_node_id" [] () -> [Integer];
    43 "skb_change_head" "skb_change_head" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    44 "xdp_adjust_head" "xdp_adjust_head" [CHANGES_PKT_DATA] ([Ctx], [Anything]) -> [Integer];
    45 "probe_read_str" "probe_read_compat_str" [GPL_ONLY] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    46 "get_socket_cookie" "get_socket_cookie" [] ([Ctx]) -> [Integer];
    46 "get_socket_cookie" "get_socket_ptr_cookie" [] ([BtfIdSockCommon MAYBE_NULL]) -> [Integer];
    47 "get_socket_uid" "get_socket_uid" [] ([Ctx]) -> [Integer];
    48 "set_hash" "set_hash" [] ([Ctx], [Anything]) -> [Integer];
    49 "setsockopt" "sock_ops_setsockopt" [] ([Ctx], [Anything], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    49 "setsockopt" "sk_setsockopt" [] ([BtfIdSockCommon], [Anything], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    50 "skb_adjust_room" "skb_adjust_room" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything]) -> [Integer];
    51 "redirect_map" "xdp_redirect_map" [] ([ConstMapPtr], [Anything], [Anything]) -> [Integer];
    52 "sk_redirect_map" "sk_redirect_map" [] ([Ctx], [ConstMapPtr], [Anything], [Anything]) -> [Integer];
    53 "sock_map_update" "sock_map_update" [PKT_ACCESS] ([Ctx], [ConstMapPtr], [MapKey], [Anything]) -> [Integer];
    54 "xdp_adjust_meta" "xdp_adjust_meta" [CHANGES_PKT_DATA] ([Ctx], [Anything]) -> [Integer];
    55 "perf_event_read_value" "perf_event_read_value" [GPL_ONLY NEEDS_PERFMON] ([ConstMapPtr], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    56 "perf_prog_read_value" "perf_prog_read_value" [GPL_ONLY] ([Ctx], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    57 "getsockopt" "sock_ops_getsockopt" [] ([Ctx], [Anything], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    57 "getsockopt" "sk_getsockopt" [] ([BtfIdSockCommon], [Anything], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    58 "override_return" "override_return" [GPL_ONLY] ([Ctx], [Anything]) -> [Integer];
    59 "sock_ops_cb_flags_set" "sock_ops_cb_flags_set" [] ([Ctx], [Anything]) -> [Integer];
    60 "msg_redirect_map" "msg_redirect_map" [] ([Ctx], [ConstMapPtr], [Anything], [Anything]) -> [Integer];
    61 "msg_apply_bytes" "msg_apply_bytes" [] ([Ctx], [Anything]) -> [Integer];
    62 "msg_cork_bytes" "msg_cork_bytes" [] ([Ctx], [Anything]) -> [Integer];
    63 "msg_pull_data" "msg_pull_data" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything]) -> [Integer];
    64 "bind" "bind" [] ([Ctx], [Mem RDONLY], [ConstSize]) -> [Integer];
    65 "xdp_adjust_tail" "xdp_adjust_tail" [CHANGES_PKT_DATA] ([Ctx], [Anything]) -> [Integer];
    66 "skb_get_xfrm_state" "skb_get_xfrm_state" [] ([Ctx], [Anything], [Mem UNINIT WRITE], [ConstSize], [Anything]) -> [Integer];
    67 "get_stack" "get_stack" [GPL_ONLY] ([Ctx], [Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    67 "get_stack" "get_stack_sleepable" [GPL_ONLY MIGHT_SLEEP] ([Ctx], [Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    68 "skb_load_bytes_relative" "skb_load_bytes_relative" [] ([Ctx], [Anything], [Mem UNINIT WRITE], [ConstSize], [Anything]) -> [Integer];
    69 "fib_lookup" "skb_fib_lookup" [GPL_ONLY] ([Ctx], [Mem WRITE], [ConstSize], [Anything]) -> [Integer];
    70 "sock_hash_update" "sock_hash_update" [PKT_ACCESS] ([Ctx], [ConstMapPtr], [MapKey], [Anything]) -> [Integer];
    71 "msg_redirect_hash" "msg_redirect_hash" [] ([Ctx], [ConstMapPtr], [MapKey], [Anything]) -> [Integer];
    72 "sk_redirect_hash" "sk_redirect_hash" [] ([Ctx], [ConstMapPtr], [MapKey], [Anything]) -> [Integer];
    73 "lwt_push_encap" "lwt_in_push_encap" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    74 "lwt_seg6_store_bytes" "lwt_seg6_store_bytes" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    75 "lwt_seg6_adjust_srh" "lwt_seg6_adjust_srh" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything]) -> [Integer];
    76 "lwt_seg6_action" "lwt_seg6_action" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    77 "rc_repeat" "rc_repeat" [GPL_ONLY] ([Ctx]) -> [Integer];
    78 "rc_keydown" "rc_keydown" [GPL_ONLY] ([Ctx], [Anything], [Anything], [Anything]) -> [Integer];
    79 "skb_cgroup_id" "skb_cgroup_id" [] ([Ctx]) -> [Integer];
    80 "get_current_cgroup_id" "get_current_cgroup_id" [] () -> [Integer];
    81 "get_local_storage" "get_local_storage" [] ([ConstMapPtr], [Anything]) -> [MapValue];
    82 "sk_select_reuseport" "sk_select_reuseport" [] ([Ctx], [ConstMapPtr], [MapKey], [Anything]) -> [Integer];
    83 "skb_ancestor_cgroup_id" "skb_ancestor_cgroup_id" [] ([Ctx], [Anything]) -> [Integer];
    84 "sk_lookup_tcp" "tc_sk_lookup_tcp" [PKT_ACCESS ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [Socket MAYBE_NULL];
    84 "sk_lookup_tcp" "sock_addr_sk_lookup_tcp" [ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [Socket MAYBE_NULL];
    85 "sk_lookup_udp" "tc_sk_lookup_udp" [PKT_ACCESS ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [Socket MAYBE_NULL];
    85 "sk_lookup_udp" "sock_addr_sk_lookup_udp" [ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [Socket MAYBE_NULL];
    86 "sk_release" "sk_release" [RELEASES_REF] ([BtfIdSockCommon RELEASE]) -> [Integer];
    87 "map_push_elem" "map_push_elem" [PKT_ACCESS] ([ConstMapPtr], [MapValue], [Anything]) -> [Integer];
    88 "map_pop_elem" "map_pop_elem" [] ([ConstMapPtr], [MapValue UNINIT WRITE]) -> [Integer];
    89 "map_peek_elem" "map_peek_elem" [] ([ConstMapPtr], [MapValue UNINIT WRITE]) -> [Integer];
    90 "msg_push_data" "msg_push_data" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything]) -> [Integer];
    91 "msg_pop_data" "msg_pop_data" [CHANGES_PKT_DATA] ([Ctx], [Anything], [Anything], [Anything]) -> [Integer];
    92 "rc_pointer_rel" "rc_pointer_rel" [GPL_ONLY] ([Ctx], [Anything], [Anything]) -> [Integer];
    93 "spin_lock" "spin_lock" [] ([SpinLock @ "(dynamic)"]) -> [Void];
    94 "spin_unlock" "spin_unlock" [] ([SpinLock @ "(dynamic)"]) -> [Void];
    95 "sk_fullsock" "sk_fullsock" [PTR_CAST] ([SockCommon]) -> [Socket MAYBE_NULL];
    96 "tcp_sock" "tcp_sock" [PTR_CAST] ([SockCommon]) -> [TcpSock MAYBE_NULL];
    97 "skb_ecn_set_ce" "skb_ecn_set_ce" [] ([Ctx]) -> [Integer];
    98 "get_listener_sock" "get_listener_sock" [] ([SockCommon]) -> [Socket MAYBE_NULL];
    99 "skc_lookup_tcp" "tc_skc_lookup_tcp" [PKT_ACCESS ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [SockCommon MAYBE_NULL];
    99 "skc_lookup_tcp" "sock_addr_skc_lookup_tcp" [ACQUIRES_REF] ([Ctx], [Mem RDONLY], [ConstSizeOrZero], [Anything], [Anything]) -> [SockCommon MAYBE_NULL];
    100 "tcp_check_syncookie" "tcp_check_syncookie" [GPL_ONLY PKT_ACCESS] ([BtfIdSockCommon], [Mem RDONLY], [ConstSize], [Mem RDONLY], [ConstSize]) -> [Integer];
    101 "sysctl_get_name" "sysctl_get_name" [] ([Ctx], [Mem WRITE], [ConstSize], [Anything]) -> [Integer];
    102 "sysctl_get_current_value" "sysctl_get_current_value" [] ([Ctx], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    103 "sysctl_get_new_value" "sysctl_get_new_value" [] ([Ctx], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    104 "sysctl_set_new_value" "sysctl_set_new_value" [] ([Ctx], [Mem RDONLY], [ConstSize]) -> [Integer];
    105 "strtol" "strtol" [] ([Mem RDONLY], [ConstSize], [Anything], [Mem ALIGNED FIXED_SIZE UNINIT WRITE = 8]) -> [Integer];
    106 "strtoul" "strtoul" [] ([Mem RDONLY], [ConstSize], [Anything], [Mem ALIGNED FIXED_SIZE UNINIT WRITE = 8]) -> [Integer];
    107 "sk_storage_get" "sk_storage_get" [STORAGE_GET] ([ConstMapPtr], [BtfIdSockCommon], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    107 "sk_storage_get" "sk_storage_get_cg_sock" [STORAGE_GET] ([ConstMapPtr], [Ctx], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    107 "sk_storage_get" "sk_storage_get_tracing" [STORAGE_GET] ([ConstMapPtr], [BtfId MAYBE_NULL @ "sock_common"], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    108 "sk_storage_delete" "sk_storage_delete" [] ([ConstMapPtr], [BtfIdSockCommon]) -> [Integer];
    108 "sk_storage_delete" "sk_storage_delete_tracing" [] ([ConstMapPtr], [BtfId MAYBE_NULL @ "sock_common"]) -> [Integer];
    109 "send_signal" "send_signal" [NEEDS_PERFMON] ([Anything]) -> [Integer];
    110 "tcp_gen_syncookie" "tcp_gen_syncookie" [GPL_ONLY PKT_ACCESS] ([BtfIdSockCommon], [Mem RDONLY], [ConstSize], [Mem RDONLY], [ConstSize]) -> [Integer];
    111 "skb_output" "skb_output" [GPL_ONLY] ([BtfId @ "sk_buff"], [ConstMapPtr], [Anything], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    112 "probe_read_user" "probe_read_user" [GPL_ONLY NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    113 "probe_read_kernel" "probe_read_kernel" [GPL_ONLY NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    114 "probe_read_user_str" "probe_read_user_str" [GPL_ONLY NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    115 "probe_read_kernel_str" "probe_read_kernel_str" [GPL_ONLY NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    116 "tcp_send_ack" "tcp_send_ack" [] ([BtfId @ "tcp_sock"], [Anything]) -> [Integer];
    117 "send_signal_thread" "send_signal_thread" [NEEDS_PERFMON] ([Anything]) -> [Integer];
    118 "jiffies64" "jiffies64" [] () -> [Integer];
    119 "read_branch_records" "read_branch_records" [GPL_ONLY] ([Ctx], [Mem WRITE MAYBE_NULL], [ConstSizeOrZero], [Anything]) -> [Integer];
    120 "get_ns_current_pid_tgid" "get_ns_current_pid_tgid" [] ([Anything], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    121 "xdp_output" "xdp_output" [GPL_ONLY] ([BtfId @ "xdp_buff"], [ConstMapPtr], [Anything], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    122 "get_netns_cookie" "get_netns_cookie" [] ([Ctx MAYBE_NULL]) -> [Integer];
    123 "get_current_ancestor_cgroup_id" "get_current_ancestor_cgroup_id" [] ([Anything]) -> [Integer];
    124 "sk_assign" "sk_assign" [] ([Ctx], [BtfIdSockCommon], [Anything]) -> [Integer];
    124 "sk_assign" "sk_lookup_assign" [] ([Ctx], [Socket MAYBE_NULL], [Anything]) -> [Integer];
    125 "ktime_get_boot_ns" "ktime_get_boot_ns" [] () -> [Integer];
    126 "seq_printf" "seq_printf" [GPL_ONLY] ([BtfId @ "seq_file"], [Mem RDONLY], [ConstSize], [Mem RDONLY MAYBE_NULL], [ConstSizeOrZero]) -> [Integer];
    127 "seq_write" "seq_write" [GPL_ONLY] ([BtfId @ "seq_file"], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    128 "sk_cgroup_id" "sk_cgroup_id" [] ([BtfIdSockCommon]) -> [Integer];
    129 "sk_ancestor_cgroup_id" "sk_ancestor_cgroup_id" [] ([BtfIdSockCommon], [Anything]) -> [Integer];
    130 "ringbuf_output" "ringbuf_output" [] ([ConstMapPtr], [Mem RDONLY], [ConstSizeOrZero], [Anything]) -> [Integer];
    131 "ringbuf_reserve" "ringbuf_reserve" [ACQUIRES_REF] ([ConstMapPtr], [ConstAllocSizeOrZero], [Anything]) -> [Mem RINGBUF MAYBE_NULL];
    132 "ringbuf_submit" "ringbuf_submit" [RELEASES_REF] ([RingbufMem RELEASE], [Anything]) -> [Void];
    133 "ringbuf_discard" "ringbuf_discard" [RELEASES_REF] ([RingbufMem RELEASE], [Anything]) -> [Void];
    134 "ringbuf_query" "ringbuf_query" [] ([ConstMapPtr], [Anything]) -> [Integer];
    135 "csum_level" "csum_level" [] ([Ctx], [Anything]) -> [Integer];
    136 "skc_to_tcp6_sock" "skc_to_tcp6_sock" [PTR_CAST NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "tcp6_sock"];
    137 "skc_to_tcp_sock" "skc_to_tcp_sock" [PTR_CAST NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "tcp_sock"];
    138 "skc_to_tcp_timewait_sock" "skc_to_tcp_timewait_sock" [PTR_CAST NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "tcp_timewait_sock"];
    139 "skc_to_tcp_request_sock" "skc_to_tcp_request_sock" [PTR_CAST NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "tcp_request_sock"];
    140 "skc_to_udp6_sock" "skc_to_udp6_sock" [PTR_CAST NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "udp6_sock"];
    141 "get_task_stack" "get_task_stack" [NEEDS_PERFMON] ([BtfId @ "task_struct"], [Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    141 "get_task_stack" "get_task_stack_sleepable" [MIGHT_SLEEP NEEDS_PERFMON] ([BtfId @ "task_struct"], [Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    142 "load_hdr_opt" "sock_ops_load_hdr_opt" [] ([Ctx], [Mem WRITE], [ConstSize], [Anything]) -> [Integer];
    143 "store_hdr_opt" "sock_ops_store_hdr_opt" [CHANGES_PKT_DATA] ([Ctx], [Mem RDONLY], [ConstSize], [Anything]) -> [Integer];
    144 "reserve_hdr_opt" "sock_ops_reserve_hdr_opt" [] ([Ctx], [Anything], [Anything]) -> [Integer];
    145 "inode_storage_get" "inode_storage_get" [STORAGE_GET] ([ConstMapPtr], [BtfId MAYBE_NULL @ "inode"], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    146 "inode_storage_delete" "inode_storage_delete" [] ([ConstMapPtr], [BtfId MAYBE_NULL @ "inode"]) -> [Integer];
    147 "d_path" "d_path" [] ([BtfId @ "path"], [Mem WRITE], [ConstSizeOrZero]) -> [Integer];
    148 "copy_from_user" "copy_from_user" [MIGHT_SLEEP NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything]) -> [Integer];
    149 "snprintf_btf" "snprintf_btf" [NEEDS_PERFMON] ([Mem WRITE], [ConstSize], [Mem RDONLY], [ConstSize], [Anything]) -> [Integer];
    150 "seq_printf_btf" "seq_printf_btf" [GPL_ONLY] ([BtfId @ "seq_file"], [Mem RDONLY], [ConstSizeOrZero], [Anything]) -> [Integer];
    151 "skb_cgroup_classid" "skb_cgroup_classid" [] ([Ctx]) -> [Integer];
    152 "redirect_neigh" "redirect_neigh" [] ([Anything], [Mem RDONLY MAYBE_NULL], [ConstSizeOrZero], [Anything]) -> [Integer];
    153 "per_cpu_ptr" "per_cpu_ptr" [] ([PercpuBtfId], [Anything]) -> [MemOrBtfId RDONLY MAYBE_NULL];
    154 "this_cpu_ptr" "this_cpu_ptr" [] ([PercpuBtfId]) -> [MemOrBtfId RDONLY];
    155 "redirect_peer" "redirect_peer" [] ([Anything], [Anything]) -> [Integer];
    156 "task_storage_get" "task_storage_get" [STORAGE_GET] ([ConstMapPtr], [BtfId MAYBE_NULL @ "task_struct"], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    157 "task_storage_delete" "task_storage_delete" [] ([ConstMapPtr], [BtfId MAYBE_NULL @ "task_struct"]) -> [Integer];
    158 "get_current_task_btf" "get_current_task_btf" [GPL_ONLY NEEDS_PERFMON] () -> [BtfId TRUSTED @ "task_struct"];
    159 "bprm_opts_set" "bprm_opts_set" [] ([BtfId @ "linux_binprm"], [Anything]) -> [Integer];
    160 "ktime_get_coarse_ns" "ktime_get_coarse_ns" [] () -> [Integer];
    161 "ima_inode_hash" "ima_inode_hash" [MIGHT_SLEEP] ([BtfId @ "inode"], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    162 "sock_from_file" "sock_from_file" [] ([BtfId @ "file"]) -> [BtfId MAYBE_NULL @ "socket"];
    163 "check_mtu" "skb_check_mtu" [GPL_ONLY] ([Ctx], [Anything], [Mem ALIGNED FIXED_SIZE WRITE = 4], [Anything], [Anything]) -> [Integer];
    164 "for_each_map_elem" "for_each_map_elem" [SYNC_CALLBACK] ([ConstMapPtr], [Func], [Stack MAYBE_NULL], [Anything]) -> [Integer];
    165 "snprintf" "snprintf" [GPL_ONLY NEEDS_PERFMON] ([Mem WRITE MAYBE_NULL], [ConstSizeOrZero], [ConstStr], [Mem RDONLY MAYBE_NULL], [ConstSizeOrZero]) -> [Integer];
    166 "sys_bpf" "sys_bpf" [] ([Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    167 "btf_find_by_name_kind" "btf_find_by_name_kind" [] ([Mem RDONLY], [ConstSize], [Anything], [Anything]) -> [Integer];
    168 "sys_close" "sys_close" [] ([Anything]) -> [Integer];
    169 "timer_init" "timer_init" [GPL_ONLY] ([Timer], [ConstMapPtr], [Anything]) -> [Integer];
    170 "timer_set_callback" "timer_set_callback" [GPL_ONLY ASYNC_CALLBACK] ([Timer], [Func]) -> [Integer];
    171 "timer_start" "timer_start" [GPL_ONLY] ([Timer], [Anything], [Anything]) -> [Integer];
    172 "timer_cancel" "timer_cancel" [GPL_ONLY] ([Timer]) -> [Integer];
    173 "get_func_ip" "get_func_ip_kprobe" [GPL_ONLY] ([Ctx]) -> [Integer];
    173 "get_func_ip" "get_func_ip_kprobe_multi" [] ([Ctx]) -> [Integer];
    174 "get_attach_cookie" "get_attach_cookie_trace" [] ([Ctx]) -> [Integer];
    175 "task_pt_regs" "task_pt_regs" [GPL_ONLY NEEDS_PERFMON] ([BtfId @ "task_struct"]) -> [BtfId @ "pt_regs"];
    176 "get_branch_snapshot" "get_branch_snapshot" [GPL_ONLY NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero]) -> [Integer];
    177 "trace_vprintk" "trace_vprintk" [GPL_ONLY NEEDS_PERFMON] ([Mem RDONLY], [ConstSize], [Mem RDONLY MAYBE_NULL], [ConstSizeOrZero]) -> [Integer];
    178 "skc_to_unix_sock" "skc_to_unix_sock" [NEEDS_PERFMON] ([BtfIdSockCommon]) -> [BtfId MAYBE_NULL @ "unix_sock"];
    179 "kallsyms_lookup_name" "kallsyms_lookup_name" [] ([Mem RDONLY], [ConstSizeOrZero], [Anything], [Mem ALIGNED FIXED_SIZE UNINIT WRITE = 8]) -> [Integer];
    180 "find_vma" "find_vma" [SYNC_CALLBACK NEEDS_PERFMON] ([BtfId @ "task_struct"], [Anything], [Func], [Stack MAYBE_NULL], [Anything]) -> [Integer];
    181 "loop" "loop" [SYNC_CALLBACK] ([Anything], [Func], [Stack MAYBE_NULL], [Anything]) -> [Integer];
    182 "strncmp" "strncmp" [] ([Mem RDONLY], [ConstSize], [ConstStr]) -> [Integer];
    183 "get_func_arg" "get_func_arg" [] ([Ctx], [Anything], [Mem ALIGNED FIXED_SIZE UNINIT WRITE = 8]) -> [Integer];
    184 "get_func_ret" "get_func_ret" [] ([Ctx], [Mem ALIGNED FIXED_SIZE UNINIT WRITE = 8]) -> [Integer];
    185 "get_func_arg_cnt" "get_func_arg_cnt" [] ([Ctx]) -> [Integer];
    186 "get_retval" "get_retval" [] () -> [Integer];
    187 "set_retval" "set_retval" [] ([Anything]) -> [Integer];
    188 "xdp_get_buff_len" "xdp_get_buff_len" [] ([Ctx]) -> [Integer];
    188 "xdp_get_buff_len" "xdp_get_buff_len_trace" [] ([BtfId @ "xdp_buff"]) -> [Integer];
    189 "xdp_load_bytes" "xdp_load_bytes" [] ([Ctx], [Anything], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    190 "xdp_store_bytes" "xdp_store_bytes" [] ([Ctx], [Anything], [Mem RDONLY], [ConstSize]) -> [Integer];
    191 "copy_from_user_task" "copy_from_user_task" [GPL_ONLY MIGHT_SLEEP NEEDS_PERFMON] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything], [BtfId @ "task_struct"], [Anything]) -> [Integer];
    192 "skb_set_tstamp" "skb_set_tstamp" [] ([Ctx], [Anything], [Anything]) -> [Integer];
    193 "ima_file_hash" "ima_file_hash" [MIGHT_SLEEP] ([BtfId @ "file"], [Mem UNINIT WRITE], [ConstSize]) -> [Integer];
    194 "kptr_xchg" "kptr_xchg" [ACQUIRES_REF] ([KptrXchgDest], [BtfId RELEASE MAYBE_NULL @ "(dynamic)"]) -> [BtfId MAYBE_NULL @ "(dynamic)"];
    195 "map_lookup_percpu_elem" "map_lookup_percpu_elem" [PKT_ACCESS] ([ConstMapPtr], [MapKey], [Anything]) -> [MapValue MAYBE_NULL];
    196 "skc_to_mptcp_sock" "skc_to_mptcp_sock" [PTR_CAST NEEDS_PERFMON] ([SockCommon]) -> [BtfId MAYBE_NULL @ "mptcp_sock"];
    197 "dynptr_from_mem" "dynptr_from_mem" [] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Anything], [Dynptr DYNPTR_LOCAL UNINIT WRITE]) -> [Integer];
    198 "ringbuf_reserve_dynptr" "ringbuf_reserve_dynptr" [] ([ConstMapPtr], [Anything], [Anything], [Dynptr DYNPTR_RINGBUF UNINIT WRITE]) -> [Integer];
    199 "ringbuf_submit_dynptr" "ringbuf_submit_dynptr" [RELEASES_REF] ([Dynptr DYNPTR_RINGBUF RELEASE], [Anything]) -> [Void];
    200 "ringbuf_discard_dynptr" "ringbuf_discard_dynptr" [RELEASES_REF] ([Dynptr DYNPTR_RINGBUF RELEASE], [Anything]) -> [Void];
    201 "dynptr_read" "dynptr_read" [] ([Mem UNINIT WRITE], [ConstSizeOrZero], [Dynptr], [Anything], [Anything]) -> [Integer];
    202 "dynptr_write" "dynptr_write" [] ([Dynptr], [Anything], [Mem RDONLY], [ConstSizeOrZero], [Anything]) -> [Integer];
    203 "dynptr_data" "dynptr_data" [] ([Dynptr], [Anything], [ConstAllocSizeOrZero]) -> [Mem MAYBE_NULL];
    204 "tcp_raw_gen_syncookie_ipv4" "tcp_raw_gen_syncookie_ipv4" [GPL_ONLY PKT_ACCESS] ([Mem FIXED_SIZE RDONLY = 20], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    205 "tcp_raw_gen_syncookie_ipv6" "tcp_raw_gen_syncookie_ipv6" [GPL_ONLY PKT_ACCESS] ([Mem FIXED_SIZE RDONLY = 40], [Mem RDONLY], [ConstSizeOrZero]) -> [Integer];
    206 "tcp_raw_check_syncookie_ipv4" "tcp_raw_check_syncookie_ipv4" [GPL_ONLY PKT_ACCESS] ([Mem FIXED_SIZE RDONLY = 20], [Mem FIXED_SIZE RDONLY = 20]) -> [Integer];
    207 "tcp_raw_check_syncookie_ipv6" "tcp_raw_check_syncookie_ipv6" [GPL_ONLY PKT_ACCESS] ([Mem FIXED_SIZE RDONLY = 40], [Mem FIXED_SIZE RDONLY = 20]) -> [Integer];
    208 "ktime_get_tai_ns" "ktime_get_tai_ns" [] () -> [Integer];
    209 "user_ringbuf_drain" "user_ringbuf_drain" [SYNC_CALLBACK] ([ConstMapPtr], [Func], [Stack MAYBE_NULL], [Anything]) -> [Integer];
    210 "cgrp_storage_get" "cgrp_storage_get" [STORAGE_GET] ([ConstMapPtr], [BtfId MAYBE_NULL @ "cgroup"], [MapValue MAYBE_NULL], [Anything]) -> [MapValue MAYBE_NULL];
    211 "cgrp_storage_delete" "cgrp_storage_delete" [] ([ConstMapPtr], [BtfId MAYBE_NULL @ "cgroup"]) -> [Integer];
}
