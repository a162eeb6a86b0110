//! Which programs may call which helpers.
//!
//! A helper that a program's hook does not have is refused before its arguments are looked at;
//! what a hook has may still be refused for the licence, or because it may sleep. Read off a
//! running kernel for every program type and attach type that it loads.

use super::HelperProto;
use super::protos::{PROTOS, ProtoRow};
use crate::prog::{AttachType, ProgType};

/// Where a program runs, as far as helpers depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// The program type.
    pub prog_type: ProgType,
    /// The attach type expected at load.
    pub attach_type: Option<AttachType>,
    /// Whether the program may sleep.
    pub sleepable: bool,
    /// What is attached to: an iterator's kind (`task`), `STRUCT.MEMBER` for `struct_ops`, a
    /// security hook (`file_open`), a function; else empty.
    pub target: &'a str,
}

/// What a hook says to a helper's number.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// There is no helper of this number.
    Unknown,
    /// Programs of this hook may not call it; its name.
    NotHere(&'static str),
    /// It may be called under this contract.
    Found(&'static HelperProto),
}

impl Hook<'_> {
    /// What this hook says to the helper with this number.
    pub fn helper(&self, id: u32) -> Lookup {
        if id == 0 {
            return Lookup::NotHere("unspec");
        }
        let from = PROTOS.partition_point(|row| row.proto.id < id);
        let rows: &[ProtoRow] = &PROTOS[from..];
        let count = rows.iter().take_while(|row| row.proto.id == id).count();
        let Some((first, others)) = rows[..count].split_first() else { return Lookup::Unknown };
        let Some(row) = self.row() else { return Lookup::NotHere(first.proto.name) };
        let name = first.proto.name;
        let here = row.extra.contains(&name) || (row.base && BASE.contains(&name));
        let here = self.sees_result(name).unwrap_or(here);
        if !here {
            return Lookup::NotHere(name);
        }
        let chosen = others.iter().find(|other| row.by.contains(&other.linux)).unwrap_or(first);
        Lookup::Found(&chosen.proto)
    }

    /// Whether the program may get and set what its control group's hook returns, if the helper
    /// with this name does that and the attach type alone decides: programs of these types are
    /// loaded with any.
    ///
    /// Linux: `cgroup_common_func_proto`.
    fn sees_result(&self, helper: &str) -> Option<bool> {
        use AttachType as A;
        let any = matches!(
            self.prog_type,
            ProgType::CgroupDevice | ProgType::CgroupSysctl | ProgType::SockOps
        );
        if !any || !matches!(helper, "get_retval" | "set_retval") {
            return None;
        }
        Some(!matches!(
            self.attach_type,
            Some(
                A::CgroupInetIngress
                    | A::CgroupInetEgress
                    | A::CgroupSockOps
                    | A::CgroupUdp4Recvmsg
                    | A::CgroupUdp6Recvmsg
                    | A::CgroupUnixRecvmsg
                    | A::CgroupInet4Getpeername
                    | A::CgroupInet6Getpeername
                    | A::CgroupUnixGetpeername
                    | A::CgroupInet4Getsockname
                    | A::CgroupInet6Getsockname
                    | A::CgroupUnixGetsockname
            )
        ))
    }

    /// The first row that fits: rows with more conditions stand before those with fewer.
    fn row(&self) -> Option<&'static Row> {
        ROWS.iter().find(|row| {
            row.prog_type == self.prog_type
                && (row.attach.is_empty()
                    || self.attach_type.is_some_and(|ty| row.attach.contains(&ty)))
                && (!row.sleepable || self.sleepable)
                && (row.targets.is_empty()
                    || row.targets.iter().any(|target| {
                        self.target == *target
                            || self.target.split_once('.').is_some_and(|(of, _)| of == *target)
                    }))
        })
    }
}

/// Programs of one hook, and what they may call.
struct Row {
    prog_type: ProgType,
    /// The attach types meant; empty for all.
    attach: &'static [AttachType],
    /// Whether only sleepable programs are meant.
    sleepable: bool,
    /// The targets meant; empty for all.
    targets: &'static [&'static str],
    /// Whether they may call what is in [`BASE`].
    base: bool,
    /// What else they may call.
    extra: &'static [&'static str],
    /// Which prototypes hold here, where a helper has several and it is not the first.
    by: &'static [&'static str],
}

/// The columns are: the program type, the attach types, `sleepable` or `any`, the targets,
/// whether [`BASE`] is theirs, what else is, and by which prototypes.
macro_rules! hooks {
    ($(
        $prog:ident [$($attach:ident)*] $sleep:ident [$($target:literal)*] $base:ident
        gets [$($extra:literal)*] by [$($by:literal)*];
    )+) => {
        static ROWS: &[Row] = &[ $(
            Row {
                prog_type: ProgType::$prog,
                attach: &[$(AttachType::$attach),*],
                sleepable: word!($sleep),
                targets: &[$($target),*],
                base: word!($base),
                extra: &[$($extra),*],
                by: &[$($by),*],
            },
        )+ ];
    };
}

/// The words of the table that mean yes and no.
macro_rules! word {
    (sleepable) => {
        true
    };
    (base) => {
        true
    };
    (any) => {
        false
    };
    (none) => {
        false
    };
}

/// What nearly every program may call.
static BASE: &[&str] = &[
    "cgrp_storage_delete",
    "cgrp_storage_get",
    "copy_from_user",
    "copy_from_user_task",
    "current_task_under_cgroup",
    "dynptr_data",
    "dynptr_from_mem",
    "dynptr_read",
    "dynptr_write",
    "find_vma",
    "for_each_map_elem",
    "get_branch_snapshot",
    "get_cgroup_classid",
    "get_current_ancestor_cgroup_id",
    "get_current_cgroup_id",
    "get_current_comm",
    "get_current_pid_tgid",
    "get_current_task",
    "get_current_task_btf",
    "get_current_uid_gid",
    "get_ns_current_pid_tgid",
    "get_numa_node_id",
    "get_prandom_u32",
    "get_smp_processor_id",
    "get_task_stack",
    "jiffies64",
    "kptr_xchg",
    "ktime_get_boot_ns",
    "ktime_get_ns",
    "ktime_get_tai_ns",
    "loop",
    "map_delete_elem",
    "map_lookup_elem",
    "map_lookup_percpu_elem",
    "map_peek_elem",
    "map_pop_elem",
    "map_push_elem",
    "map_update_elem",
    "per_cpu_ptr",
    "perf_event_read",
    "perf_event_read_value",
    "probe_read_kernel",
    "probe_read_kernel_str",
    "probe_read_user",
    "probe_read_user_str",
    "ringbuf_discard",
    "ringbuf_discard_dynptr",
    "ringbuf_output",
    "ringbuf_query",
    "ringbuf_reserve",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit",
    "ringbuf_submit_dynptr",
    "send_signal",
    "send_signal_thread",
    "snprintf",
    "snprintf_btf",
    "spin_lock",
    "spin_unlock",
    "strncmp",
    "strtol",
    "strtoul",
    "tail_call",
    "task_pt_regs",
    "task_storage_delete",
    "task_storage_get",
    "this_cpu_ptr",
    "timer_cancel",
    "timer_init",
    "timer_set_callback",
    "timer_start",
    "trace_printk",
    "trace_vprintk",
    "user_ringbuf_drain",
];

hooks! {
    SocketFilter [] any [] base
        gets [
            "perf_event_output" "skb_load_bytes" "get_socket_cookie" "get_socket_uid"
            "skb_load_bytes_relative" "get_netns_cookie" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by [];
    Kprobe [TraceUprobeMulti] sleepable [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id" "get_stack_sleepable" "get_task_stack_sleepable" "get_func_ip_kprobe_multi"];
    Kprobe [TraceKprobeMulti TraceKprobeSession TraceUprobeMulti TraceUprobeSession] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id" "get_func_ip_kprobe_multi"];
    Kprobe [] sleepable [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id" "get_stack_sleepable" "get_task_stack_sleepable"];
    Kprobe [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id"];
    SchedCls [] any [] base
        gets [
            "skb_store_bytes" "l3_csum_replace" "l4_csum_replace" "clone_redirect"
            "skb_vlan_push" "skb_vlan_pop" "skb_get_tunnel_key" "skb_set_tunnel_key"
            "redirect" "get_route_realm" "perf_event_output" "skb_load_bytes"
            "csum_diff" "skb_get_tunnel_opt" "skb_set_tunnel_opt" "skb_change_proto"
            "skb_change_type" "skb_under_cgroup" "get_hash_recalc" "skb_change_tail"
            "skb_pull_data" "csum_update" "set_hash_invalid" "skb_change_head"
            "get_socket_cookie" "get_socket_uid" "set_hash" "skb_adjust_room"
            "skb_get_xfrm_state" "skb_load_bytes_relative" "fib_lookup"
            "skb_cgroup_id" "skb_ancestor_cgroup_id" "sk_lookup_tcp" "sk_lookup_udp"
            "sk_release" "sk_fullsock" "tcp_sock" "skb_ecn_set_ce" "get_listener_sock"
            "skc_lookup_tcp" "tcp_check_syncookie" "sk_storage_get"
            "sk_storage_delete" "tcp_gen_syncookie" "get_netns_cookie" "sk_assign"
            "csum_level" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "skb_cgroup_classid" "redirect_neigh" "redirect_peer"
            "ktime_get_coarse_ns" "check_mtu" "skc_to_unix_sock" "skb_set_tstamp"
            "skc_to_mptcp_sock" "tcp_raw_gen_syncookie_ipv4"
            "tcp_raw_gen_syncookie_ipv6" "tcp_raw_check_syncookie_ipv4"
            "tcp_raw_check_syncookie_ipv6"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    SchedAct [] any [] base
        gets [
            "skb_store_bytes" "l3_csum_replace" "l4_csum_replace" "clone_redirect"
            "skb_vlan_push" "skb_vlan_pop" "skb_get_tunnel_key" "skb_set_tunnel_key"
            "redirect" "get_route_realm" "perf_event_output" "skb_load_bytes"
            "csum_diff" "skb_get_tunnel_opt" "skb_set_tunnel_opt" "skb_change_proto"
            "skb_change_type" "skb_under_cgroup" "get_hash_recalc" "skb_change_tail"
            "skb_pull_data" "csum_update" "set_hash_invalid" "skb_change_head"
            "get_socket_cookie" "get_socket_uid" "set_hash" "skb_adjust_room"
            "skb_get_xfrm_state" "skb_load_bytes_relative" "fib_lookup"
            "skb_cgroup_id" "skb_ancestor_cgroup_id" "sk_lookup_tcp" "sk_lookup_udp"
            "sk_release" "sk_fullsock" "tcp_sock" "skb_ecn_set_ce" "get_listener_sock"
            "skc_lookup_tcp" "tcp_check_syncookie" "sk_storage_get"
            "sk_storage_delete" "tcp_gen_syncookie" "get_netns_cookie" "sk_assign"
            "csum_level" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "skb_cgroup_classid" "redirect_neigh" "redirect_peer"
            "ktime_get_coarse_ns" "check_mtu" "skc_to_unix_sock" "skb_set_tstamp"
            "skc_to_mptcp_sock" "tcp_raw_gen_syncookie_ipv4"
            "tcp_raw_gen_syncookie_ipv6" "tcp_raw_check_syncookie_ipv4"
            "tcp_raw_check_syncookie_ipv6"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    Tracepoint [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id"];
    Xdp [] any [] base
        gets [
            "redirect" "perf_event_output" "csum_diff" "xdp_adjust_head"
            "redirect_map" "xdp_adjust_meta" "xdp_adjust_tail" "fib_lookup"
            "sk_lookup_tcp" "sk_lookup_udp" "sk_release" "skc_lookup_tcp"
            "tcp_check_syncookie" "tcp_gen_syncookie" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "check_mtu" "skc_to_unix_sock"
            "xdp_get_buff_len" "xdp_load_bytes" "xdp_store_bytes" "skc_to_mptcp_sock"
            "tcp_raw_gen_syncookie_ipv4" "tcp_raw_gen_syncookie_ipv6"
            "tcp_raw_check_syncookie_ipv4" "tcp_raw_check_syncookie_ipv6"
        ]
        by ["get_smp_processor_id"];
    PerfEvent [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "perf_prog_read_value" "get_stack" "read_branch_records" "get_func_ip"
            "get_attach_cookie"
        ]
        by ["get_smp_processor_id" "get_stackid_pe"];
    CgroupSkb [] any [] base
        gets [
            "perf_event_output" "skb_load_bytes" "get_socket_cookie" "get_socket_uid"
            "skb_load_bytes_relative" "skb_cgroup_id" "get_local_storage"
            "skb_ancestor_cgroup_id" "sk_lookup_tcp" "sk_lookup_udp" "sk_release"
            "sk_fullsock" "tcp_sock" "skb_ecn_set_ce" "get_listener_sock"
            "skc_lookup_tcp" "sk_storage_get" "sk_storage_delete" "get_netns_cookie"
            "sk_cgroup_id" "sk_ancestor_cgroup_id" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by [];
    CgroupSock [] any [] base
        gets [
            "perf_event_output" "get_socket_cookie" "get_local_storage"
            "sk_storage_get" "get_netns_cookie" "ktime_get_coarse_ns" "get_retval"
            "set_retval"
        ]
        by ["sk_storage_get_cg_sock"];
    LwtIn [] any [] base
        gets [
            "get_route_realm" "perf_event_output" "skb_load_bytes" "csum_diff"
            "skb_under_cgroup" "get_hash_recalc" "skb_pull_data" "lwt_push_encap"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    LwtOut [] any [] base
        gets [
            "get_route_realm" "perf_event_output" "skb_load_bytes" "csum_diff"
            "skb_under_cgroup" "get_hash_recalc" "skb_pull_data" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    LwtXmit [] any [] base
        gets [
            "skb_store_bytes" "l3_csum_replace" "l4_csum_replace" "clone_redirect"
            "skb_get_tunnel_key" "skb_set_tunnel_key" "redirect" "get_route_realm"
            "perf_event_output" "skb_load_bytes" "csum_diff" "skb_get_tunnel_opt"
            "skb_set_tunnel_opt" "skb_under_cgroup" "get_hash_recalc"
            "skb_change_tail" "skb_pull_data" "csum_update" "set_hash_invalid"
            "skb_change_head" "lwt_push_encap" "csum_level" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    LwtSeg6local [] any [] base
        gets [
            "get_route_realm" "perf_event_output" "skb_load_bytes" "csum_diff"
            "skb_under_cgroup" "get_hash_recalc" "skb_pull_data"
            "lwt_seg6_store_bytes" "lwt_seg6_adjust_srh" "lwt_seg6_action"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_cgroup_classid"];
    SockOps [] any [] base
        gets [
            "perf_event_output" "get_socket_cookie" "setsockopt" "sock_map_update"
            "getsockopt" "sock_ops_cb_flags_set" "sock_hash_update"
            "get_local_storage" "tcp_sock" "sk_storage_get" "sk_storage_delete"
            "get_netns_cookie" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "load_hdr_opt" "store_hdr_opt" "reserve_hdr_opt" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "skc_to_mptcp_sock"
        ]
        by [];
    SkSkb [] any [] base
        gets [
            "skb_store_bytes" "perf_event_output" "skb_load_bytes" "skb_change_tail"
            "skb_pull_data" "skb_change_head" "get_socket_cookie" "get_socket_uid"
            "skb_adjust_room" "sk_redirect_map" "sk_redirect_hash" "sk_lookup_tcp"
            "sk_lookup_udp" "sk_release" "skc_lookup_tcp" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by [];
    CgroupDevice [] any [] base
        gets [
            "perf_event_output" "get_local_storage" "get_retval" "set_retval"
        ]
        by [];
    SkMsg [] any [] base
        gets [
            "perf_event_output" "msg_redirect_map" "msg_apply_bytes" "msg_cork_bytes"
            "msg_pull_data" "msg_redirect_hash" "msg_push_data" "msg_pop_data"
            "sk_storage_get" "sk_storage_delete" "get_netns_cookie" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by [];
    RawTracepoint [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id"];
    CgroupSockAddr [CgroupInet4Bind CgroupInet6Bind CgroupUdp4Sendmsg CgroupUdp6Sendmsg CgroupUnixConnect CgroupUnixSendmsg] any [] base
        gets [
            "perf_event_output" "get_socket_cookie" "setsockopt" "getsockopt"
            "get_local_storage" "sk_lookup_tcp" "sk_lookup_udp" "sk_release"
            "skc_lookup_tcp" "sk_storage_get" "sk_storage_delete" "get_netns_cookie"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "get_retval" "set_retval" "skc_to_mptcp_sock"
        ]
        by ["sock_addr_sk_lookup_tcp" "sock_addr_sk_lookup_udp" "sock_addr_skc_lookup_tcp"];
    CgroupSockAddr [CgroupInet4Connect CgroupInet6Connect] any [] base
        gets [
            "perf_event_output" "get_socket_cookie" "setsockopt" "getsockopt" "bind"
            "get_local_storage" "sk_lookup_tcp" "sk_lookup_udp" "sk_release"
            "skc_lookup_tcp" "sk_storage_get" "sk_storage_delete" "get_netns_cookie"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "get_retval" "set_retval" "skc_to_mptcp_sock"
        ]
        by ["sock_addr_sk_lookup_tcp" "sock_addr_sk_lookup_udp" "sock_addr_skc_lookup_tcp"];
    CgroupSockAddr [CgroupInet4Getpeername CgroupInet4Getsockname CgroupInet6Getpeername CgroupInet6Getsockname CgroupUdp4Recvmsg CgroupUdp6Recvmsg CgroupUnixGetpeername CgroupUnixGetsockname CgroupUnixRecvmsg] any [] base
        gets [
            "perf_event_output" "get_socket_cookie" "setsockopt" "getsockopt"
            "get_local_storage" "sk_lookup_tcp" "sk_lookup_udp" "sk_release"
            "skc_lookup_tcp" "sk_storage_get" "sk_storage_delete" "get_netns_cookie"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "ktime_get_coarse_ns"
            "skc_to_unix_sock" "skc_to_mptcp_sock"
        ]
        by ["sock_addr_sk_lookup_tcp" "sock_addr_sk_lookup_udp" "sock_addr_skc_lookup_tcp"];
    SkReuseport [] any [] base
        gets [
            "skb_load_bytes" "get_socket_cookie" "skb_load_bytes_relative"
            "sk_select_reuseport" "ktime_get_coarse_ns"
        ]
        by ["get_socket_ptr_cookie"];
    FlowDissector [] any [] base
        gets [
            "skb_load_bytes" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "ktime_get_coarse_ns" "skc_to_unix_sock" "skc_to_mptcp_sock"
        ]
        by [];
    CgroupSysctl [] any [] base
        gets [
            "perf_event_output" "get_local_storage" "sysctl_get_name"
            "sysctl_get_current_value" "sysctl_get_new_value" "sysctl_set_new_value"
            "ktime_get_coarse_ns" "get_retval" "set_retval"
        ]
        by [];
    RawTracepointWritable [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_stack" "get_func_ip" "get_attach_cookie"
        ]
        by ["get_smp_processor_id"];
    CgroupSockopt [CgroupGetsockopt] any [] base
        gets [
            "perf_event_output" "get_local_storage" "tcp_sock" "sk_storage_get"
            "sk_storage_delete" "get_netns_cookie" "get_retval" "set_retval"
        ]
        by [];
    CgroupSockopt [CgroupSetsockopt] any [] base
        gets [
            "perf_event_output" "setsockopt" "getsockopt" "get_local_storage"
            "tcp_sock" "sk_storage_get" "sk_storage_delete" "get_netns_cookie"
            "get_retval" "set_retval"
        ]
        by ["sk_setsockopt" "sk_getsockopt"];
    Tracing [TraceIter] any ["tcp" "unix"] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "setsockopt" "getsockopt" "get_stack" "sk_storage_get"
            "sk_storage_delete" "skb_output" "xdp_output" "seq_printf" "seq_write"
            "skc_to_tcp6_sock" "skc_to_tcp_sock" "skc_to_tcp_timewait_sock"
            "skc_to_tcp_request_sock" "skc_to_udp6_sock" "d_path" "seq_printf_btf"
            "sock_from_file" "get_func_ip" "skc_to_unix_sock" "xdp_get_buff_len"
            "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_setsockopt" "sk_getsockopt" "sk_storage_get_tracing" "sk_storage_delete_tracing" "xdp_get_buff_len_trace"];
    Tracing [TraceIter] sleepable [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "seq_printf" "seq_write" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "d_path" "seq_printf_btf" "sock_from_file"
            "get_func_ip" "skc_to_unix_sock" "xdp_get_buff_len" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_storage_get_tracing" "sk_storage_delete_tracing" "get_task_stack_sleepable" "xdp_get_buff_len_trace"];
    Tracing [TraceRawTp] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "d_path" "sock_from_file" "get_func_ip" "get_attach_cookie"
            "skc_to_unix_sock" "xdp_get_buff_len" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_storage_get_tracing" "sk_storage_delete_tracing" "xdp_get_buff_len_trace"];
    Tracing [TraceIter] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "seq_printf" "seq_write" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "d_path" "seq_printf_btf" "sock_from_file"
            "get_func_ip" "skc_to_unix_sock" "xdp_get_buff_len" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_storage_get_tracing" "sk_storage_delete_tracing" "xdp_get_buff_len_trace"];
    Tracing [ModifyReturn TraceFentry TraceFexit] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "d_path" "sock_from_file" "get_func_ip" "get_attach_cookie"
            "skc_to_unix_sock" "get_func_arg" "get_func_ret" "get_func_arg_cnt"
            "xdp_get_buff_len" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_storage_get_tracing" "sk_storage_delete_tracing" "xdp_get_buff_len_trace"];
    StructOps [] any ["tcp_congestion_ops.release"] base
        gets [
            "sk_storage_get" "sk_storage_delete" "tcp_send_ack" "ktime_get_coarse_ns"
        ]
        by [];
    StructOps [] any ["tcp_congestion_ops"] base
        gets [
            "setsockopt" "getsockopt" "sk_storage_get" "sk_storage_delete"
            "tcp_send_ack" "ktime_get_coarse_ns"
        ]
        by ["sk_setsockopt" "sk_getsockopt"];
    StructOps [] any ["bpf_dummy_ops"] none gets [] by [];
    StructOps [] any [] base gets [] by [];
    SkLookup [] any [] base
        gets [
            "perf_event_output" "sk_release" "sk_assign" "skc_to_tcp6_sock"
            "skc_to_tcp_sock" "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock"
            "skc_to_udp6_sock" "ktime_get_coarse_ns" "skc_to_unix_sock"
            "skc_to_mptcp_sock"
        ]
        by ["sk_lookup_assign"];
    Syscall [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "d_path" "sock_from_file" "sys_bpf" "btf_find_by_name_kind" "sys_close"
            "get_func_ip" "skc_to_unix_sock" "kallsyms_lookup_name" "xdp_get_buff_len"
            "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "sk_storage_get_tracing" "sk_storage_delete_tracing" "get_task_stack_sleepable" "xdp_get_buff_len_trace"];
    Netfilter [] any [] base gets [] by [];
    Lsm [LsmCgroup] any ["sock_graft" "inet_csk_clone" "inet_conn_established" "socket_post_create" "socket_socketpair"] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "inode_storage_get" "inode_storage_delete" "d_path" "bprm_opts_set"
            "ima_inode_hash" "sock_from_file" "get_func_ip" "skc_to_unix_sock"
            "xdp_get_buff_len" "ima_file_hash" "skc_to_mptcp_sock" "get_local_storage"
            "get_retval" "set_retval"
            "setsockopt" "getsockopt"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "xdp_get_buff_len_trace" "sk_setsockopt" "sk_getsockopt"];
    Lsm [LsmCgroup] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "inode_storage_get" "inode_storage_delete" "d_path" "bprm_opts_set"
            "ima_inode_hash" "sock_from_file" "get_func_ip" "skc_to_unix_sock"
            "xdp_get_buff_len" "ima_file_hash" "skc_to_mptcp_sock" "get_local_storage"
            "get_retval" "set_retval"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "xdp_get_buff_len_trace"];
    Lsm [] any [] base
        gets [
            "probe_read" "perf_event_output" "get_stackid" "probe_read_str"
            "get_socket_cookie" "get_stack" "sk_storage_get" "sk_storage_delete"
            "skb_output" "xdp_output" "skc_to_tcp6_sock" "skc_to_tcp_sock"
            "skc_to_tcp_timewait_sock" "skc_to_tcp_request_sock" "skc_to_udp6_sock"
            "inode_storage_get" "inode_storage_delete" "d_path" "bprm_opts_set"
            "ima_inode_hash" "sock_from_file" "get_func_ip" "get_attach_cookie"
            "skc_to_unix_sock" "get_func_arg" "get_func_ret" "get_func_arg_cnt"
            "xdp_get_buff_len" "ima_file_hash" "skc_to_mptcp_sock"
        ]
        by ["get_smp_processor_id" "get_socket_ptr_cookie" "xdp_get_buff_len_trace"];
    Ext [] any [] none gets [] by [];
    LircMode2 [] any [] none
        gets [
            "map_lookup_elem" "map_update_elem" "map_delete_elem" "ktime_get_ns"
            "trace_printk" "get_prandom_u32" "tail_call" "rc_repeat" "rc_keydown"
            "map_push_elem" "map_pop_elem" "map_peek_elem" "rc_pointer_rel"
            "ktime_get_boot_ns"
        ]
        by [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_tables_is_a_helper() {
        let known = |name: &&str| PROTOS.iter().any(|row| row.proto.name == *name);
        assert!(BASE.iter().all(known));
        for row in ROWS {
            for name in row.extra {
                assert!(known(name), "{name}");
            }
            for linux in row.by {
                assert!(PROTOS.iter().any(|proto| proto.linux == *linux), "{linux}");
            }
        }
    }

    #[test]
    fn prototypes_stand_in_the_order_of_their_numbers() {
        assert!(PROTOS.is_sorted_by_key(|row| row.proto.id));
        assert_eq!(PROTOS.len(), 228);
    }

    #[test]
    fn xdp_may_move_its_head_and_a_socket_filter_may_not() {
        let hook = |prog_type| Hook { prog_type, attach_type: None, sleepable: false, target: "" };
        assert!(
            matches!(hook(ProgType::Xdp).helper(44), Lookup::Found(proto) if proto.name == "xdp_adjust_head")
        );
        assert!(matches!(
            hook(ProgType::SocketFilter).helper(44),
            Lookup::NotHere("xdp_adjust_head")
        ));
        assert!(matches!(hook(ProgType::Xdp).helper(212), Lookup::Unknown));
    }
}
