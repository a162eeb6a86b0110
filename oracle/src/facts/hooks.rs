//! Where programs run: each kind that the kernel tells apart, and some that it does not.

use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{AttachTo, ObjectSpec, ProgramSpec};
use bpf_isa::Slot;

use super::{Item, Question};

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name in the records.
    pub name: &'static str,
    /// The program type.
    pub prog_type: ProgType,
    /// The number of the attach type; for `struct_ops` the member's place.
    pub attach: u32,
    /// The flags of the load.
    pub flags: u32,
    /// What is attached to; empty if nothing.
    pub target: &'static str,
}

/// The columns are: the name, the program type, the attach type, the flags, the target.
macro_rules! hooks {
    ($( $name:literal $Type:ident $attach:literal $flags:literal $target:literal; )+) => {
        /// Every hook.
        pub(super) const HOOKS: &[Hook] = &[ $(
            Hook {
                name: $name,
                prog_type: ProgType::$Type,
                attach: $attach,
                flags: $flags,
                target: $target,
            },
        )+ ];
    };
}

hooks! {
    "socket_filter" SocketFilter 0 0 "";
    "kprobe" Kprobe 0 0 "";
    "kprobe/kprobe_multi" Kprobe 42 0 "";
    "kprobe/uprobe_multi" Kprobe 48 0 "";
    "kprobe/kprobe_session" Kprobe 56 0 "";
    "kprobe/uprobe_session" Kprobe 57 0 "";
    "kprobe/sleepable" Kprobe 0 16 "";
    "kprobe/uprobe_multi/sleepable" Kprobe 48 16 "";
    "sched_cls" SchedCls 0 0 "";
    "sched_cls/tcx_ingress" SchedCls 46 0 "";
    "sched_cls/tcx_egress" SchedCls 47 0 "";
    "sched_cls/netkit_primary" SchedCls 54 0 "";
    "sched_cls/netkit_peer" SchedCls 55 0 "";
    "sched_act" SchedAct 0 0 "";
    "tracepoint" Tracepoint 0 0 "";
    "xdp" Xdp 0 0 "";
    "xdp/xdp" Xdp 37 0 "";
    "xdp/devmap" Xdp 33 0 "";
    "xdp/cpumap" Xdp 35 0 "";
    "xdp/frags" Xdp 37 32 "";
    "xdp/devmap/frags" Xdp 33 32 "";
    "perf_event" PerfEvent 0 0 "";
    "perf_event/perf_event" PerfEvent 41 0 "";
    "cgroup_skb/ingress" CgroupSkb 0 0 "";
    "cgroup_skb/egress" CgroupSkb 1 0 "";
    "cgroup_sock/0" CgroupSock 0 0 "";
    "cgroup_sock/create" CgroupSock 2 0 "";
    "cgroup_sock/release" CgroupSock 34 0 "";
    "cgroup_sock/post_bind4" CgroupSock 12 0 "";
    "cgroup_sock/post_bind6" CgroupSock 13 0 "";
    "lwt_in" LwtIn 0 0 "";
    "lwt_out" LwtOut 0 0 "";
    "lwt_xmit" LwtXmit 0 0 "";
    "lwt_seg6local" LwtSeg6local 0 0 "";
    "sock_ops" SockOps 3 0 "";
    "sock_ops/0" SockOps 0 0 "";
    "sk_skb" SkSkb 0 0 "";
    "sk_skb/stream_parser" SkSkb 4 0 "";
    "sk_skb/stream_verdict" SkSkb 5 0 "";
    "sk_skb/verdict" SkSkb 38 0 "";
    "cgroup_device" CgroupDevice 6 0 "";
    "cgroup_device/0" CgroupDevice 0 0 "";
    "sk_msg" SkMsg 7 0 "";
    "sk_msg/0" SkMsg 0 0 "";
    "raw_tracepoint" RawTracepoint 0 0 "";
    "raw_tracepoint_writable" RawTracepointWritable 0 0 "";
    "cgroup_sock_addr/inet4_bind" CgroupSockAddr 8 0 "";
    "cgroup_sock_addr/inet6_bind" CgroupSockAddr 9 0 "";
    "cgroup_sock_addr/inet4_connect" CgroupSockAddr 10 0 "";
    "cgroup_sock_addr/inet6_connect" CgroupSockAddr 11 0 "";
    "cgroup_sock_addr/udp4_sendmsg" CgroupSockAddr 14 0 "";
    "cgroup_sock_addr/udp6_sendmsg" CgroupSockAddr 15 0 "";
    "cgroup_sock_addr/udp4_recvmsg" CgroupSockAddr 19 0 "";
    "cgroup_sock_addr/udp6_recvmsg" CgroupSockAddr 20 0 "";
    "cgroup_sock_addr/inet4_getpeername" CgroupSockAddr 29 0 "";
    "cgroup_sock_addr/inet6_getpeername" CgroupSockAddr 30 0 "";
    "cgroup_sock_addr/inet4_getsockname" CgroupSockAddr 31 0 "";
    "cgroup_sock_addr/inet6_getsockname" CgroupSockAddr 32 0 "";
    "cgroup_sock_addr/unix_connect" CgroupSockAddr 49 0 "";
    "cgroup_sock_addr/unix_sendmsg" CgroupSockAddr 50 0 "";
    "cgroup_sock_addr/unix_recvmsg" CgroupSockAddr 51 0 "";
    "cgroup_sock_addr/unix_getpeername" CgroupSockAddr 52 0 "";
    "cgroup_sock_addr/unix_getsockname" CgroupSockAddr 53 0 "";
    "sk_reuseport" SkReuseport 0 0 "";
    "sk_reuseport/select" SkReuseport 39 0 "";
    "sk_reuseport/select_or_migrate" SkReuseport 40 0 "";
    "flow_dissector" FlowDissector 17 0 "";
    "flow_dissector/0" FlowDissector 0 0 "";
    "cgroup_sysctl" CgroupSysctl 18 0 "";
    "cgroup_sysctl/0" CgroupSysctl 0 0 "";
    "cgroup_sockopt/getsockopt" CgroupSockopt 21 0 "";
    "cgroup_sockopt/setsockopt" CgroupSockopt 22 0 "";
    "sk_lookup" SkLookup 36 0 "";
    "syscall" Syscall 0 16 "";
    "netfilter" Netfilter 45 0 "";
    "tracing/tp_btf" Tracing 23 0 "sched_switch";
    "tracing/iter/task" Tracing 28 0 "task";
    "tracing/iter/tcp" Tracing 28 0 "tcp";
    "tracing/iter/udp" Tracing 28 0 "udp";
    "tracing/iter/unix" Tracing 28 0 "unix";
    "tracing/iter/bpf_map" Tracing 28 0 "bpf_map";
    "tracing/iter/cgroup" Tracing 28 0 "cgroup";
    "tracing/iter/task/sleepable" Tracing 28 16 "task";
    "struct_ops/tcp_congestion_ops.ssthresh" StructOps 0 0 "tcp_congestion_ops";
    "struct_ops/tcp_congestion_ops.init" StructOps 16 0 "tcp_congestion_ops";
    "struct_ops/bpf_dummy_ops.test_1" StructOps 0 0 "bpf_dummy_ops";
    "struct_ops/bpf_dummy_ops.test_sleepable" StructOps 2 16 "bpf_dummy_ops";
}

impl Hook {
    /// The first hook of a program type.
    ///
    /// # Panics
    ///
    /// Never: the questions name types that have one.
    pub(super) fn of(prog_type: ProgType) -> &'static Self {
        let found = HOOKS.iter().find(|hook| hook.prog_type == prog_type);
        found.expect("every type that is asked for has a hook")
    }

    /// A question: a program of this hook, under the GPL.
    pub(super) fn asks(&self, group: String, item: Item, insns: Vec<Slot>) -> Question {
        let mut program = ProgramSpec::new("question", self.prog_type, insns);
        program.expected_attach_type = AttachType::new(self.attach);
        program.flags = ProgFlags::from_bits_retain(self.flags);
        program.attach_to = match (self.target, self.prog_type) {
            ("", _) => None,
            (target, ProgType::StructOps) => Some(AttachTo::StructOps {
                name: target.to_owned(),
                member: self.name.rsplit('.').next().unwrap_or_default().to_owned(),
            }),
            (target, _) => Some(AttachTo::Kernel(target.to_owned())),
        };
        let object = ObjectSpec { programs: vec![program], ..ObjectSpec::default() };
        Question { group, item, object, attach: self.attach }
    }
}
