//! What type a program may have whose section names none: its context tells, as it does for
//! veristat.

use bpfkit::abi::prog::{AttachType, ProgType};
use bpfkit::abi::spec::ProgramSpec;
use bpfkit::btf::{Kind, KindCode};

/// The contexts that are of one program type alone, or mostly.
const BY_CONTEXT: &[(&str, ProgType)] = &[
    ("__sk_buff", ProgType::SchedCls),
    ("bpf_cgroup_dev_ctx", ProgType::CgroupDevice),
    ("bpf_nf_ctx", ProgType::Netfilter),
    ("bpf_perf_event_data", ProgType::PerfEvent),
    ("bpf_raw_tracepoint_args", ProgType::RawTracepoint),
    ("bpf_sk_lookup", ProgType::SkLookup),
    ("bpf_sock", ProgType::CgroupSock),
    ("bpf_sock_ops", ProgType::SockOps),
    ("bpf_sysctl", ProgType::CgroupSysctl),
    ("pt_regs", ProgType::Kprobe),
    ("sk_msg_md", ProgType::SkMsg),
    ("sk_reuseport_md", ProgType::SkReuseport),
    ("xdp_md", ProgType::Xdp),
];

/// Gives a program without a type the one that its context is of; returns whether it did.
pub(super) fn guess(program: &mut ProgramSpec) -> bool {
    if program.prog_type != ProgType::Unspec {
        return false;
    }
    let Some(context) = context(program) else { return false };
    let guessed = BY_CONTEXT.iter().find(|(name, _)| *name == context);
    if let Some((_, prog_type)) = guessed {
        program.prog_type = *prog_type;
        program.expected_attach_type = AttachType::new(0);
    }
    guessed.is_some()
}

/// The name of the structure that the program's only parameter points to.
fn context(program: &ProgramSpec) -> Option<String> {
    let btf = program.btf.as_ref()?;
    let function = btf.get(btf.by_name_kind(&program.name, KindCode::Func)?)?.func()?;
    let parameter = btf.func_proto(function.proto)?.params().next()?;
    let Kind::Ptr(target) = btf.resolve(parameter.ty)?.kind else { return None };
    let target = btf.resolve(target)?;
    matches!(target.code(), KindCode::Struct | KindCode::Union).then(|| target.name().to_owned())
}
