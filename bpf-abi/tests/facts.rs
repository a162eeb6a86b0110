//! The tables of helpers and kernel functions, row by row against what a running kernel has.
//!
//! Where programs can tell, `cargo xtask oracle facts` asks the kernel again; what these records
//! say besides (sizes, names of types, flags of functions that no program here may call) was
//! found by reading it.

use std::collections::BTreeSet;

use bpf_abi::helper::protos::{PROTOS, ProtoRow};
use bpf_abi::helper::{ArgKind, HelperFlags, RetKind, TypeFlags};
use bpf_abi::kfunc::{KFUNCS, KfuncFlags};

/// The lines of a record.
fn lines(record: &str) -> impl Iterator<Item = &str> {
    record.lines().filter(|line| !line.starts_with('#'))
}

fn argument(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::Anything => "ARG_ANYTHING",
        ArgKind::Scalar => "ARG_SCALAR",
        ArgKind::ConstMapPtr => "ARG_CONST_MAP_PTR",
        ArgKind::MapKey => "ARG_PTR_TO_MAP_KEY",
        ArgKind::MapValue => "ARG_PTR_TO_MAP_VALUE",
        ArgKind::Mem => "ARG_PTR_TO_MEM",
        ArgKind::ConstSize => "ARG_CONST_SIZE",
        ArgKind::ConstSizeOrZero => "ARG_CONST_SIZE_OR_ZERO",
        ArgKind::ConstAllocSizeOrZero => "ARG_CONST_ALLOC_SIZE_OR_ZERO",
        ArgKind::Ctx => "ARG_PTR_TO_CTX",
        ArgKind::SpinLock => "ARG_PTR_TO_SPIN_LOCK",
        ArgKind::SockCommon => "ARG_PTR_TO_SOCK_COMMON",
        ArgKind::Socket => "ARG_PTR_TO_SOCKET",
        ArgKind::BtfId => "ARG_PTR_TO_BTF_ID",
        ArgKind::BtfIdSockCommon => "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
        ArgKind::PercpuBtfId => "ARG_PTR_TO_PERCPU_BTF_ID",
        ArgKind::RingbufMem => "ARG_PTR_TO_RINGBUF_MEM",
        ArgKind::Func => "ARG_PTR_TO_FUNC",
        ArgKind::Stack => "ARG_PTR_TO_STACK",
        ArgKind::ConstStr => "ARG_PTR_TO_CONST_STR",
        ArgKind::Timer => "ARG_PTR_TO_TIMER",
        ArgKind::KptrXchgDest => "ARG_KPTR_XCHG_DEST",
        ArgKind::Dynptr => "ARG_PTR_TO_DYNPTR",
    }
}

fn result(kind: RetKind) -> &'static str {
    match kind {
        RetKind::Integer => "RET_INTEGER",
        RetKind::Void => "RET_VOID",
        RetKind::MapValue => "RET_PTR_TO_MAP_VALUE",
        RetKind::Socket => "RET_PTR_TO_SOCKET",
        RetKind::TcpSock => "RET_PTR_TO_TCP_SOCK",
        RetKind::SockCommon => "RET_PTR_TO_SOCK_COMMON",
        RetKind::Mem => "RET_PTR_TO_MEM",
        RetKind::MemOrBtfId => "RET_PTR_TO_MEM_OR_BTF_ID",
        RetKind::BtfId => "RET_PTR_TO_BTF_ID",
    }
}

/// A type as the record has it: its kind and what qualifies it, its size, its structure.
fn written(kind: &str, flags: TypeFlags, size: u32, btf: Option<&str>) -> String {
    const NAMES: [(TypeFlags, &str); 11] = [
        (TypeFlags::DYNPTR_LOCAL, "DYNPTR_TYPE_LOCAL"),
        (TypeFlags::DYNPTR_RINGBUF, "DYNPTR_TYPE_RINGBUF"),
        (TypeFlags::ALIGNED, "MEM_ALIGNED"),
        (TypeFlags::FIXED_SIZE, "MEM_FIXED_SIZE"),
        (TypeFlags::RDONLY, "MEM_RDONLY"),
        (TypeFlags::RINGBUF, "MEM_RINGBUF"),
        (TypeFlags::UNINIT, "MEM_UNINIT"),
        (TypeFlags::WRITE, "MEM_WRITE"),
        (TypeFlags::RELEASE, "OBJ_RELEASE"),
        (TypeFlags::MAYBE_NULL, "PTR_MAYBE_NULL"),
        (TypeFlags::TRUSTED, "PTR_TRUSTED"),
    ];
    let mut text = kind.to_owned();
    for (_, name) in NAMES.iter().filter(|(flag, _)| flags.contains(*flag)) {
        text = format!("{text}|{name}");
    }
    if size != 0 {
        text = format!("{text}={size}");
    }
    btf.map_or_else(|| text.clone(), |btf| format!("{text}@{btf}"))
}

/// A row of our table as the record has it.
fn line_of(row: &ProtoRow) -> String {
    const NAMES: [(HelperFlags, &str); 12] = [
        (HelperFlags::ACQUIRES_REF, "acquires_ref"),
        (HelperFlags::ALLOW_FASTCALL, "allow_fastcall"),
        (HelperFlags::ASYNC_CALLBACK, "async_callback"),
        (HelperFlags::CHANGES_PKT_DATA, "changes_pkt_data"),
        (HelperFlags::GPL_ONLY, "gpl_only"),
        (HelperFlags::MIGHT_SLEEP, "might_sleep"),
        (HelperFlags::NEEDS_PERFMON, "needs_perfmon"),
        (HelperFlags::PKT_ACCESS, "pkt_access"),
        (HelperFlags::PTR_CAST, "ptr_cast"),
        (HelperFlags::RELEASES_REF, "releases_ref"),
        (HelperFlags::STORAGE_GET, "storage_get"),
        (HelperFlags::SYNC_CALLBACK, "sync_callback"),
    ];
    let proto = &row.proto;
    let flags = NAMES.iter().filter(|(flag, _)| proto.flags.contains(*flag));
    let flags: Vec<&str> = flags.map(|(_, name)| *name).collect();
    let args = proto.args.iter();
    let args = args.map(|arg| written(argument(arg.kind), arg.flags, arg.size, arg.btf));
    let args: Vec<String> = args.collect();
    let ret = written(result(proto.ret.kind), proto.ret.flags, 0, proto.ret.btf);
    let (id, name, linux) = (proto.id, proto.name, row.linux);
    format!("{id} {name} {linux} [{}] {ret} ({})", flags.join(" "), args.join(" "))
}

#[test]
fn helpers_have_the_kernels_prototypes() {
    let kernel: BTreeSet<&str> = lines(include_str!("facts/helpers.txt")).collect();
    let rows: Vec<String> = PROTOS.iter().map(line_of).collect();
    let ours: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    let missing: Vec<_> = kernel.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&kernel).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
    let numbers: BTreeSet<u32> = PROTOS.iter().map(|row| row.proto.id).collect();
    assert_eq!(numbers.len(), 211);
}

#[test]
fn kernel_functions_have_the_kernels_flags() {
    const NAMES: [(KfuncFlags, &str); 13] = [
        (KfuncFlags::ACQUIRE, "KF_ACQUIRE"),
        (KfuncFlags::ARENA_ARG2, "KF_ARENA_ARG2"),
        (KfuncFlags::ARENA_RET, "KF_ARENA_RET"),
        (KfuncFlags::FASTCALL, "KF_FASTCALL"),
        (KfuncFlags::ITER_DESTROY, "KF_ITER_DESTROY"),
        (KfuncFlags::ITER_NEW, "KF_ITER_NEW"),
        (KfuncFlags::ITER_NEXT, "KF_ITER_NEXT"),
        (KfuncFlags::RCU, "KF_RCU"),
        (KfuncFlags::RCU_PROTECTED, "KF_RCU_PROTECTED"),
        (KfuncFlags::RELEASE, "KF_RELEASE"),
        (KfuncFlags::RET_NULL, "KF_RET_NULL"),
        (KfuncFlags::SLEEPABLE, "KF_SLEEPABLE"),
        (KfuncFlags::TRUSTED_ARGS, "KF_TRUSTED_ARGS"),
    ];
    let rows = KFUNCS.iter().map(|kfunc| {
        let flags = NAMES.iter().filter(|(flag, _)| kfunc.flags.contains(*flag));
        let words = std::iter::once(kfunc.name).chain(flags.map(|(_, name)| *name));
        words.collect::<Vec<_>>().join(" ")
    });
    let ours: Vec<String> = rows.collect();
    let kernel: Vec<&str> = lines(include_str!("facts/kfuncs.txt")).collect();
    for (ours, kernel) in ours.iter().zip(&kernel) {
        assert_eq!(ours, kernel);
    }
    assert_eq!((ours.len(), kernel.len()), (203, 203));
}
