//! Does what the load says of the program as a whole go together, and may it attach to what it
//! names?
//!
//! The first checks are made before a program is looked at; the kernel refuses without a word.
//! The second come between the passes over the program and the walk.

mod error;
mod signature;
mod kernel;
mod target;
mod types;

use std::sync::Arc;

use bpf_abi::limits::MAX_INSNS;
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::ProgramSpec;
use bpf_btf::TypeId;

use crate::env::Env;
use crate::error::Reason;
use crate::facts::ProgramFacts;

pub use error::AttachError;
pub use kernel::{KernelTargetError, traced_proto};
pub use signature::{Member, MemberArg, Signature, SignatureOf, Slot};
pub use target::check_link;

use target::{Attaching, check_function};

/// The attach types that a program type looks at; `None` if it takes any number.
///
/// Linux: `bpf_prog_load_check_attach`, after `bpf_prog_load_fixup_attach_type`.
const fn attach_types(prog_type: ProgType) -> Option<&'static [AttachType]> {
    use AttachType as A;
    Some(match prog_type {
        ProgType::CgroupSkb => &[A::CgroupInetIngress, A::CgroupInetEgress],
        ProgType::CgroupSock => &[
            // 0 is taken for a socket's creation.
            A::CgroupInetIngress,
            A::CgroupInetSockCreate,
            A::CgroupInet4PostBind,
            A::CgroupInet6PostBind,
            A::CgroupInetSockRelease,
        ],
        ProgType::CgroupSockAddr => &[
            A::CgroupInet4Bind,
            A::CgroupInet6Bind,
            A::CgroupInet4Connect,
            A::CgroupInet6Connect,
            A::CgroupUdp4Sendmsg,
            A::CgroupUdp6Sendmsg,
            A::CgroupUdp4Recvmsg,
            A::CgroupUdp6Recvmsg,
            A::CgroupInet4Getpeername,
            A::CgroupInet6Getpeername,
            A::CgroupInet4Getsockname,
            A::CgroupInet6Getsockname,
            A::CgroupUnixConnect,
            A::CgroupUnixSendmsg,
            A::CgroupUnixRecvmsg,
            A::CgroupUnixGetpeername,
            A::CgroupUnixGetsockname,
        ],
        ProgType::CgroupSockopt => &[A::CgroupGetsockopt, A::CgroupSetsockopt],
        ProgType::SkReuseport => {
            // 0 is taken for a selection.
            &[A::CgroupInetIngress, A::SkReuseportSelect, A::SkReuseportSelectOrMigrate]
        }
        ProgType::SkLookup => &[A::SkLookup],
        ProgType::Netfilter => &[A::Netfilter],
        ProgType::Syscall | ProgType::Ext => &[A::CgroupInetIngress],
        ProgType::Unspec
        | ProgType::SocketFilter
        | ProgType::Kprobe
        | ProgType::SchedCls
        | ProgType::SchedAct
        | ProgType::Tracepoint
        | ProgType::Xdp
        | ProgType::PerfEvent
        | ProgType::LwtIn
        | ProgType::LwtOut
        | ProgType::LwtXmit
        | ProgType::SockOps
        | ProgType::SkSkb
        | ProgType::CgroupDevice
        | ProgType::SkMsg
        | ProgType::RawTracepoint
        | ProgType::LwtSeg6local
        | ProgType::LircMode2
        | ProgType::FlowDissector
        | ProgType::CgroupSysctl
        | ProgType::RawTracepointWritable
        | ProgType::Tracing
        | ProgType::StructOps
        | ProgType::Lsm => return None,
    })
}

/// The flags that mean something.
const FLAGS: ProgFlags = ProgFlags::STRICT_ALIGNMENT
    .union(ProgFlags::ANY_ALIGNMENT)
    .union(ProgFlags::TEST_RND_HI32)
    .union(ProgFlags::TEST_STATE_FREQ)
    .union(ProgFlags::SLEEPABLE)
    .union(ProgFlags::XDP_HAS_FRAGS)
    .union(ProgFlags::XDP_DEV_BOUND_ONLY)
    .union(ProgFlags::TEST_REG_INVARIANTS);

/// Checks what the kernel checks before it looks at a program.
///
/// Linux: `bpf_prog_load`.
pub(crate) fn check_load(env: &Env<'_>) -> Result<(), AttachError> {
    check_spec(env.spec)?;
    // The reference kernel has no infrared receivers.
    let is_none = matches!(env.spec.prog_type, ProgType::Unspec | ProgType::LircMode2);
    if is_none && env.own_type.is_none() {
        return Err(AttachError::NoType);
    }
    match env.spec.attach_prog.map(|fd| env.host.program(fd)) {
        Some(Err(_)) => Err(AttachError::TargetUnexpected),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn check_spec(spec: &ProgramSpec) -> Result<(), AttachError> {
    if spec.flags.bits() & !FLAGS.bits() != 0 {
        return Err(AttachError::Flags);
    }
    if spec.insns.is_empty() || spec.insns.len() > MAX_INSNS {
        return Err(AttachError::Length);
    }
    check_target_named(spec)?;
    if let Some(types) = attach_types(spec.prog_type) {
        let is_known = |ty: AttachType| types.contains(&ty);
        if !spec.expected_attach_type.is_some_and(is_known) {
            return Err(AttachError::AttachType);
        }
    }
    Ok(())
}

/// The greatest number of a type. Linux: `BTF_MAX_TYPE`.
const MAX_TYPE: u32 = 0x000f_ffff;

/// Checks that only programs name a target that can have one.
///
/// Linux: the beginning of `bpf_prog_load_check_attach`.
fn check_target_named(spec: &ProgramSpec) -> Result<(), AttachError> {
    let by_id = matches!(
        spec.prog_type,
        ProgType::Tracing | ProgType::Lsm | ProgType::StructOps | ProgType::Ext
    );
    let by_program = matches!(spec.prog_type, ProgType::Tracing | ProgType::Ext);
    let id = spec.attach_btf_id;
    if id > MAX_TYPE || (id != 0 && !by_id) || (spec.attach_prog.is_some() && !by_program) {
        return Err(AttachError::TargetUnexpected);
    }
    Ok(())
}

/// Checks what the program attaches to; from here on, an extension is of its target's kind.
///
/// Linux: `check_attach_btf_id`.
pub(crate) fn check(env: &mut Env<'_>) -> Result<(), Reason> {
    let sleepable = env.spec.flags.contains(ProgFlags::SLEEPABLE);
    let prog_type = env.spec.prog_type;
    if prog_type == ProgType::Syscall {
        return if sleepable { Ok(()) } else { Err(AttachError::NotSleepable.into()) };
    }
    if sleepable && !may_sleep(env.spec) {
        return Err(AttachError::Sleepable.into());
    }
    if prog_type == ProgType::Ext {
        return extend(env).map_err(Reason::from);
    }
    if prog_type == ProgType::Tracing && env.spec.attach_prog.is_some() {
        return trace(env).map_err(Reason::from);
    }
    if BY_TYPE.contains(&prog_type) {
        env.signature = Some(Arc::new(kernel::find(env)?));
    }
    Ok(())
}

/// Checks which function of which program an extension replaces.
fn extend(env: &mut Env<'_>) -> Result<(), AttachError> {
    let id = TypeId(env.spec.attach_btf_id);
    if id.is_void() {
        return Err(AttachError::NoTargetId);
    }
    if env.spec.attach_prog.is_none() {
        return Err(AttachError::ReplacesKernel);
    }
    let target = find_target(env)?;
    env.kind = target.kind();
    env.target = Some(target);
    Ok(())
}

/// Checks which function of which program a probe is for, and what it sees of it.
fn trace(env: &mut Env<'_>) -> Result<(), AttachError> {
    env.target = Some(find_target(env)?);
    Ok(())
}

/// Finds the program that is attached to, and checks that its function may be.
///
/// Where the context is arguments, they are from here on the function's.
fn find_target(env: &mut Env<'_>) -> Result<Arc<ProgramFacts>, AttachError> {
    let fd = env.spec.attach_prog.ok_or(AttachError::TargetUnexpected)?;
    let target = env.host.program(fd).map_err(|_| AttachError::TargetUnexpected)?;
    let id = TypeId(env.spec.attach_btf_id);
    let function = check_function(&Attaching::of(env), &target, id, env.options.strict_holes)?;
    env.signature = target.signature(function).map(Arc::new);
    Ok(target)
}

/// The program types that attach to something the kernel's BTF describes.
const BY_TYPE: [ProgType; 3] = [ProgType::Tracing, ProgType::Lsm, ProgType::StructOps];

/// Linux: `can_be_sleepable`.
fn may_sleep(spec: &ProgramSpec) -> bool {
    let may = [
        AttachType::TraceFentry,
        AttachType::TraceFexit,
        AttachType::ModifyReturn,
        AttachType::TraceIter,
    ];
    match spec.expected_attach_type {
        Some(ty) if spec.prog_type == ProgType::Tracing => may.contains(&ty),
        Some(AttachType::LsmCgroup) if spec.prog_type == ProgType::Lsm => false,
        _ => [ProgType::Lsm, ProgType::Kprobe, ProgType::StructOps].contains(&spec.prog_type),
    }
}

#[cfg(test)]
mod tests {
    use bpf_isa::Slot;

    use super::*;

    fn spec(prog_type: ProgType, attach: u32) -> ProgramSpec {
        let mut spec = ProgramSpec::new("p", prog_type, vec![Slot::from_bytes([0; 8])]);
        spec.expected_attach_type = AttachType::new(attach);
        spec
    }

    #[test]
    fn few_program_types_look_at_the_attach_type() {
        assert_eq!(check_spec(&spec(ProgType::Xdp, 1000)), Ok(()));
        assert_eq!(check_spec(&spec(ProgType::CgroupSkb, 1)), Ok(()));
        assert_eq!(check_spec(&spec(ProgType::CgroupSkb, 2)), Err(AttachError::AttachType));
        assert_eq!(check_spec(&spec(ProgType::SkLookup, 1000)), Err(AttachError::AttachType));
    }

    #[test]
    fn flags_without_meaning_are_refused() {
        let mut spec = spec(ProgType::Xdp, 0);
        spec.flags = ProgFlags::from_bits_retain(1 << 8);
        assert_eq!(check_spec(&spec), Err(AttachError::Flags));
    }
}
