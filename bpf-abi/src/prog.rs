//! Program types and attach types, and the flags of a load.

use bitflags::bitflags;

use crate::numbered::numbered;

numbered! {
    /// What a program is for: which context it gets, which helpers it may call.
    ///
    /// Linux: `enum bpf_prog_type`.
    pub enum ProgType {
        0 Unspec "unspec"
        1 SocketFilter "socket_filter"
        2 Kprobe "kprobe"
        3 SchedCls "sched_cls"
        4 SchedAct "sched_act"
        5 Tracepoint "tracepoint"
        6 Xdp "xdp"
        7 PerfEvent "perf_event"
        8 CgroupSkb "cgroup_skb"
        9 CgroupSock "cgroup_sock"
        10 LwtIn "lwt_in"
        11 LwtOut "lwt_out"
        12 LwtXmit "lwt_xmit"
        13 SockOps "sock_ops"
        14 SkSkb "sk_skb"
        15 CgroupDevice "cgroup_device"
        16 SkMsg "sk_msg"
        17 RawTracepoint "raw_tracepoint"
        18 CgroupSockAddr "cgroup_sock_addr"
        19 LwtSeg6local "lwt_seg6local"
        20 LircMode2 "lirc_mode2"
        21 SkReuseport "sk_reuseport"
        22 FlowDissector "flow_dissector"
        23 CgroupSysctl "cgroup_sysctl"
        24 RawTracepointWritable "raw_tracepoint_writable"
        25 CgroupSockopt "cgroup_sockopt"
        26 Tracing "tracing"
        27 StructOps "struct_ops"
        28 Ext "ext"
        29 Lsm "lsm"
        30 SkLookup "sk_lookup"
        31 Syscall "syscall"
        32 Netfilter "netfilter"
    }
}

numbered! {
    /// Where a program is attached. Linux: `enum bpf_attach_type`.
    pub enum AttachType {
        0 CgroupInetIngress "cgroup_inet_ingress"
        1 CgroupInetEgress "cgroup_inet_egress"
        2 CgroupInetSockCreate "cgroup_inet_sock_create"
        3 CgroupSockOps "cgroup_sock_ops"
        4 SkSkbStreamParser "sk_skb_stream_parser"
        5 SkSkbStreamVerdict "sk_skb_stream_verdict"
        6 CgroupDevice "cgroup_device"
        7 SkMsgVerdict "sk_msg_verdict"
        8 CgroupInet4Bind "cgroup_inet4_bind"
        9 CgroupInet6Bind "cgroup_inet6_bind"
        10 CgroupInet4Connect "cgroup_inet4_connect"
        11 CgroupInet6Connect "cgroup_inet6_connect"
        12 CgroupInet4PostBind "cgroup_inet4_post_bind"
        13 CgroupInet6PostBind "cgroup_inet6_post_bind"
        14 CgroupUdp4Sendmsg "cgroup_udp4_sendmsg"
        15 CgroupUdp6Sendmsg "cgroup_udp6_sendmsg"
        16 LircMode2 "lirc_mode2"
        17 FlowDissector "flow_dissector"
        18 CgroupSysctl "cgroup_sysctl"
        19 CgroupUdp4Recvmsg "cgroup_udp4_recvmsg"
        20 CgroupUdp6Recvmsg "cgroup_udp6_recvmsg"
        21 CgroupGetsockopt "cgroup_getsockopt"
        22 CgroupSetsockopt "cgroup_setsockopt"
        23 TraceRawTp "trace_raw_tp"
        24 TraceFentry "trace_fentry"
        25 TraceFexit "trace_fexit"
        26 ModifyReturn "modify_return"
        27 LsmMac "lsm_mac"
        28 TraceIter "trace_iter"
        29 CgroupInet4Getpeername "cgroup_inet4_getpeername"
        30 CgroupInet6Getpeername "cgroup_inet6_getpeername"
        31 CgroupInet4Getsockname "cgroup_inet4_getsockname"
        32 CgroupInet6Getsockname "cgroup_inet6_getsockname"
        33 XdpDevmap "xdp_devmap"
        34 CgroupInetSockRelease "cgroup_inet_sock_release"
        35 XdpCpumap "xdp_cpumap"
        36 SkLookup "sk_lookup"
        37 Xdp "xdp"
        38 SkSkbVerdict "sk_skb_verdict"
        39 SkReuseportSelect "sk_reuseport_select"
        40 SkReuseportSelectOrMigrate "sk_reuseport_select_or_migrate"
        41 PerfEvent "perf_event"
        42 TraceKprobeMulti "trace_kprobe_multi"
        43 LsmCgroup "lsm_cgroup"
        44 StructOps "struct_ops"
        45 Netfilter "netfilter"
        46 TcxIngress "tcx_ingress"
        47 TcxEgress "tcx_egress"
        48 TraceUprobeMulti "trace_uprobe_multi"
        49 CgroupUnixConnect "cgroup_unix_connect"
        50 CgroupUnixSendmsg "cgroup_unix_sendmsg"
        51 CgroupUnixRecvmsg "cgroup_unix_recvmsg"
        52 CgroupUnixGetpeername "cgroup_unix_getpeername"
        53 CgroupUnixGetsockname "cgroup_unix_getsockname"
        54 NetkitPrimary "netkit_primary"
        55 NetkitPeer "netkit_peer"
        56 TraceKprobeSession "trace_kprobe_session"
        57 TraceUprobeSession "trace_uprobe_session"
    }
}

bitflags! {
    /// Flags of a program load.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ProgFlags: u32 {
        /// Linux: `BPF_F_STRICT_ALIGNMENT`.
        const STRICT_ALIGNMENT = 1 << 0;
        /// Linux: `BPF_F_ANY_ALIGNMENT`.
        const ANY_ALIGNMENT = 1 << 1;
        /// Linux: `BPF_F_TEST_RND_HI32`.
        const TEST_RND_HI32 = 1 << 2;
        /// Linux: `BPF_F_TEST_STATE_FREQ`.
        const TEST_STATE_FREQ = 1 << 3;
        /// Linux: `BPF_F_SLEEPABLE`.
        const SLEEPABLE = 1 << 4;
        /// Linux: `BPF_F_XDP_HAS_FRAGS`.
        const XDP_HAS_FRAGS = 1 << 5;
        /// Linux: `BPF_F_XDP_DEV_BOUND_ONLY`.
        const XDP_DEV_BOUND_ONLY = 1 << 6;
        /// Linux: `BPF_F_TEST_REG_INVARIANTS`.
        const TEST_REG_INVARIANTS = 1 << 7;
        /// Bits that no kernel knows are kept, so that a load can refuse them.
        const _ = !0;
    }
}
