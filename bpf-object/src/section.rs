//! `SEC("…")`: what a section's name says of the programs in it.

use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::AttachTo;

/// What a section's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionMeaning {
    /// The program type.
    pub prog_type: ProgType,
    /// The attach type expected at load; `None` is one that Linux 6.18 does not know.
    pub attach_type: Option<AttachType>,
    /// The flags of the load.
    pub flags: ProgFlags,
    /// What the programs attach to, if the name says so.
    pub attach_to: Option<AttachTo>,
}

/// What follows the slash of a section's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// A type or function of the kernel.
    Kernel,
    /// A function of another program.
    Function,
    /// Something else.
    Other,
}

/// A row of the table.
struct Row {
    name: &'static str,
    /// Whether `name/REST` is meant too.
    is_prefix: bool,
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    flags: ProgFlags,
    rest: Rest,
}

/// The columns are: the name; `exact`, or `prefix` where `/REST` may follow; the program type; the
/// attach type (`CgroupInetIngress` is number 0, `Newer` is newer than Linux 6.18); the flags of the load; what REST is.
macro_rules! sections {
    ($( $name:literal $match:ident $prog:ident $attach:ident [$($flag:ident)*] $rest:ident; )+) => {
        /// Every name that libbpf 1.7 knows.
        static SECTIONS: &[Row] = &[ $(
            Row {
                name: $name,
                is_prefix: is_prefix!($match),
                prog_type: ProgType::$prog,
                attach_type: attach_type!($attach),
                flags: ProgFlags::from_bits_retain(0 $(| ProgFlags::$flag.bits())*),
                rest: Rest::$rest,
            },
        )+ ];
    };
}

/// The words of the fourth column.
macro_rules! attach_type {
    (Newer) => {
        None
    };
    ($attach:ident) => {
        Some(AttachType::$attach)
    };
}

/// The words of the second column.
macro_rules! is_prefix {
    (prefix) => {
        true
    };
    (exact) => {
        false
    };
}

sections! {
    "socket" exact SocketFilter CgroupInetIngress [] Other;
    "sk_reuseport/migrate" exact SkReuseport SkReuseportSelectOrMigrate [] Other;
    "sk_reuseport" exact SkReuseport SkReuseportSelect [] Other;
    "kprobe" prefix Kprobe CgroupInetIngress [] Other;
    "uprobe" prefix Kprobe CgroupInetIngress [] Other;
    "uprobe.s" prefix Kprobe CgroupInetIngress [SLEEPABLE] Other;
    "kretprobe" prefix Kprobe CgroupInetIngress [] Other;
    "uretprobe" prefix Kprobe CgroupInetIngress [] Other;
    "uretprobe.s" prefix Kprobe CgroupInetIngress [SLEEPABLE] Other;
    "kprobe.multi" prefix Kprobe TraceKprobeMulti [] Other;
    "kretprobe.multi" prefix Kprobe TraceKprobeMulti [] Other;
    "kprobe.session" prefix Kprobe TraceKprobeSession [] Other;
    "uprobe.multi" prefix Kprobe TraceUprobeMulti [] Other;
    "uretprobe.multi" prefix Kprobe TraceUprobeMulti [] Other;
    "uprobe.session" prefix Kprobe TraceUprobeSession [] Other;
    "uprobe.multi.s" prefix Kprobe TraceUprobeMulti [SLEEPABLE] Other;
    "uretprobe.multi.s" prefix Kprobe TraceUprobeMulti [SLEEPABLE] Other;
    "uprobe.session.s" prefix Kprobe TraceUprobeSession [SLEEPABLE] Other;
    "ksyscall" prefix Kprobe CgroupInetIngress [] Other;
    "kretsyscall" prefix Kprobe CgroupInetIngress [] Other;
    "usdt" prefix Kprobe TraceUprobeMulti [] Other;
    "usdt.s" prefix Kprobe TraceUprobeMulti [SLEEPABLE] Other;
    "tc/ingress" exact SchedCls TcxIngress [] Other;
    "tc/egress" exact SchedCls TcxEgress [] Other;
    "tcx/ingress" exact SchedCls TcxIngress [] Other;
    "tcx/egress" exact SchedCls TcxEgress [] Other;
    "tc" exact SchedCls CgroupInetIngress [] Other;
    "classifier" exact SchedCls CgroupInetIngress [] Other;
    "action" exact SchedAct CgroupInetIngress [] Other;
    "netkit/primary" exact SchedCls NetkitPrimary [] Other;
    "netkit/peer" exact SchedCls NetkitPeer [] Other;
    "tracepoint" prefix Tracepoint CgroupInetIngress [] Other;
    "tp" prefix Tracepoint CgroupInetIngress [] Other;
    "raw_tracepoint" prefix RawTracepoint CgroupInetIngress [] Other;
    "raw_tp" prefix RawTracepoint CgroupInetIngress [] Other;
    "raw_tracepoint.w" prefix RawTracepointWritable CgroupInetIngress [] Other;
    "raw_tp.w" prefix RawTracepointWritable CgroupInetIngress [] Other;
    "tp_btf" prefix Tracing TraceRawTp [] Kernel;
    "fentry" prefix Tracing TraceFentry [] Kernel;
    "fmod_ret" prefix Tracing ModifyReturn [] Kernel;
    "fexit" prefix Tracing TraceFexit [] Kernel;
    "fentry.s" prefix Tracing TraceFentry [SLEEPABLE] Kernel;
    "fmod_ret.s" prefix Tracing ModifyReturn [SLEEPABLE] Kernel;
    "fexit.s" prefix Tracing TraceFexit [SLEEPABLE] Kernel;
    "fsession" prefix Tracing Newer [] Kernel;
    "fsession.s" prefix Tracing Newer [SLEEPABLE] Kernel;
    "freplace" prefix Ext CgroupInetIngress [] Function;
    "lsm" prefix Lsm LsmMac [] Kernel;
    "lsm.s" prefix Lsm LsmMac [SLEEPABLE] Kernel;
    "lsm_cgroup" prefix Lsm LsmCgroup [] Kernel;
    "iter" prefix Tracing TraceIter [] Kernel;
    "iter.s" prefix Tracing TraceIter [SLEEPABLE] Kernel;
    "syscall" exact Syscall CgroupInetIngress [SLEEPABLE] Other;
    "xdp.frags/devmap" exact Xdp XdpDevmap [XDP_HAS_FRAGS] Other;
    "xdp/devmap" exact Xdp XdpDevmap [] Other;
    "xdp.frags/cpumap" exact Xdp XdpCpumap [XDP_HAS_FRAGS] Other;
    "xdp/cpumap" exact Xdp XdpCpumap [] Other;
    "xdp.frags" exact Xdp Xdp [XDP_HAS_FRAGS] Other;
    "xdp" exact Xdp Xdp [] Other;
    "perf_event" exact PerfEvent CgroupInetIngress [] Other;
    "lwt_in" exact LwtIn CgroupInetIngress [] Other;
    "lwt_out" exact LwtOut CgroupInetIngress [] Other;
    "lwt_xmit" exact LwtXmit CgroupInetIngress [] Other;
    "lwt_seg6local" exact LwtSeg6local CgroupInetIngress [] Other;
    "sockops" exact SockOps CgroupSockOps [] Other;
    "sk_skb/stream_parser" exact SkSkb SkSkbStreamParser [] Other;
    "sk_skb/stream_verdict" exact SkSkb SkSkbStreamVerdict [] Other;
    "sk_skb/verdict" exact SkSkb SkSkbVerdict [] Other;
    "sk_skb" exact SkSkb CgroupInetIngress [] Other;
    "sk_msg" exact SkMsg SkMsgVerdict [] Other;
    "lirc_mode2" exact LircMode2 LircMode2 [] Other;
    "flow_dissector" exact FlowDissector FlowDissector [] Other;
    "cgroup_skb/ingress" exact CgroupSkb CgroupInetIngress [] Other;
    "cgroup_skb/egress" exact CgroupSkb CgroupInetEgress [] Other;
    "cgroup/skb" exact CgroupSkb CgroupInetIngress [] Other;
    "cgroup/sock_create" exact CgroupSock CgroupInetSockCreate [] Other;
    "cgroup/sock_release" exact CgroupSock CgroupInetSockRelease [] Other;
    "cgroup/sock" exact CgroupSock CgroupInetSockCreate [] Other;
    "cgroup/post_bind4" exact CgroupSock CgroupInet4PostBind [] Other;
    "cgroup/post_bind6" exact CgroupSock CgroupInet6PostBind [] Other;
    "cgroup/bind4" exact CgroupSockAddr CgroupInet4Bind [] Other;
    "cgroup/bind6" exact CgroupSockAddr CgroupInet6Bind [] Other;
    "cgroup/connect4" exact CgroupSockAddr CgroupInet4Connect [] Other;
    "cgroup/connect6" exact CgroupSockAddr CgroupInet6Connect [] Other;
    "cgroup/connect_unix" exact CgroupSockAddr CgroupUnixConnect [] Other;
    "cgroup/sendmsg4" exact CgroupSockAddr CgroupUdp4Sendmsg [] Other;
    "cgroup/sendmsg6" exact CgroupSockAddr CgroupUdp6Sendmsg [] Other;
    "cgroup/sendmsg_unix" exact CgroupSockAddr CgroupUnixSendmsg [] Other;
    "cgroup/recvmsg4" exact CgroupSockAddr CgroupUdp4Recvmsg [] Other;
    "cgroup/recvmsg6" exact CgroupSockAddr CgroupUdp6Recvmsg [] Other;
    "cgroup/recvmsg_unix" exact CgroupSockAddr CgroupUnixRecvmsg [] Other;
    "cgroup/getpeername4" exact CgroupSockAddr CgroupInet4Getpeername [] Other;
    "cgroup/getpeername6" exact CgroupSockAddr CgroupInet6Getpeername [] Other;
    "cgroup/getpeername_unix" exact CgroupSockAddr CgroupUnixGetpeername [] Other;
    "cgroup/getsockname4" exact CgroupSockAddr CgroupInet4Getsockname [] Other;
    "cgroup/getsockname6" exact CgroupSockAddr CgroupInet6Getsockname [] Other;
    "cgroup/getsockname_unix" exact CgroupSockAddr CgroupUnixGetsockname [] Other;
    "cgroup/sysctl" exact CgroupSysctl CgroupSysctl [] Other;
    "cgroup/getsockopt" exact CgroupSockopt CgroupGetsockopt [] Other;
    "cgroup/setsockopt" exact CgroupSockopt CgroupSetsockopt [] Other;
    "cgroup/dev" exact CgroupDevice CgroupDevice [] Other;
    "struct_ops" prefix StructOps CgroupInetIngress [] Other;
    "struct_ops.s" prefix StructOps CgroupInetIngress [SLEEPABLE] Other;
    "sk_lookup" exact SkLookup SkLookup [] Other;
    "netfilter" exact Netfilter Netfilter [] Other;
}

/// What `name` says of the programs in its section, or `None` if it says nothing.
///
/// A question mark before the name, which keeps a program from being loaded by itself, does not
/// belong to it.
///
/// ```
/// use bpf_abi::prog::ProgType;
///
/// let meaning = bpf_object::section_meaning("kprobe/do_unlinkat").expect("libbpf knows it");
/// assert_eq!(meaning.prog_type, ProgType::Kprobe);
/// assert!(bpf_object::section_meaning("xdpx").is_none());
/// ```
pub fn section_meaning(name: &str) -> Option<SectionMeaning> {
    let (row, rest) = SECTIONS.iter().find_map(|row| {
        let rest = name.strip_prefix(row.name)?;
        let target = rest.strip_prefix('/').filter(|_| row.is_prefix);
        target.or(rest.is_empty().then_some("")).map(|target| (row, target))
    })?;
    let attach_to = if rest.is_empty() {
        None
    } else {
        Some(match row.rest {
            Rest::Kernel => AttachTo::Kernel(rest.to_owned()),
            Rest::Function => AttachTo::Function(rest.to_owned()),
            Rest::Other => AttachTo::Other(rest.to_owned()),
        })
    };
    let (prog_type, attach_type, flags) = (row.prog_type, row.attach_type, row.flags);
    Some(SectionMeaning { prog_type, attach_type, flags, attach_to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_libbpf_says() {
        let meaning = |name| {
            let meaning = section_meaning(name).unwrap();
            (meaning.prog_type, meaning.attach_type.unwrap().number(), meaning.flags.bits())
        };
        assert_eq!(meaning("xdp"), (ProgType::Xdp, 37, 0));
        assert_eq!(meaning("xdp.frags/devmap"), (ProgType::Xdp, 33, 32));
        assert_eq!(meaning("tc"), (ProgType::SchedCls, 0, 0));
        assert_eq!(meaning("tc/ingress"), (ProgType::SchedCls, 46, 0));
        assert_eq!(meaning("fexit.s/f"), (ProgType::Tracing, 25, 16));
        assert_eq!(meaning("cgroup/skb"), (ProgType::CgroupSkb, 0, 0));
        assert_eq!(meaning("sk_reuseport"), (ProgType::SkReuseport, 39, 0));
    }

    #[test]
    fn what_follows_the_slash_is_a_target_only_where_one_is_meant() {
        let target = |name| section_meaning(name).and_then(|meaning| meaning.attach_to);
        assert_eq!(target("tp_btf/sched_switch"), Some(AttachTo::Kernel("sched_switch".into())));
        assert_eq!(target("freplace/prog0"), Some(AttachTo::Function("prog0".into())));
        assert_eq!(target("freplace"), None);
        assert!(section_meaning("xdp/mine").is_none());
        assert!(section_meaning("xdp2").is_none());
        assert!(section_meaning(".text").is_none());
    }

    #[test]
    fn a_name_is_in_the_table_once() {
        for (n, row) in SECTIONS.iter().enumerate() {
            assert!(SECTIONS[..n].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
