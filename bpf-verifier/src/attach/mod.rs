//! Does what the load says of the program as a whole go together?
//!
//! The first checks are made before a program is looked at; the kernel refuses without a word.
//! The second come between the passes over the program and the walk.

mod signature;
mod kernel;

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::limits::MAX_INSNS;
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::ProgramSpec;
use thiserror::Error;

use crate::env::Env;
use crate::error::{Reason, Refusal};

pub use kernel::KernelTargetError;
pub use signature::{Member, MemberArg, Signature, SignatureOf, Slot};

/// Why a load is refused whatever its instructions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// It has no instructions, or too many.
    #[error("")]
    Length,
    /// It has no type.
    #[error("")]
    NoType,
    /// Programs of its type do not attach so.
    #[error("")]
    AttachType,
    /// It has a flag that has no meaning.
    #[error("")]
    Flags,
    /// It wants to sleep where nothing may.
    #[error(
        "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
    )]
    Sleepable,
    /// It is a syscall program, but does not say that it sleeps.
    #[error("Syscall programs can only be sleepable")]
    NotSleepable,
    /// It attaches to a kernel type or function, which needs types that are not judged yet.
    #[error("programs of type {0} are not verified by this version")]
    Unsupported(ProgType),
}

impl Refusal for AttachError {
    fn errno(&self) -> Errno {
        match self {
            Self::Length => Errno::E2BIG,
            Self::NoType
            | Self::AttachType
            | Self::Flags
            | Self::Sleepable
            | Self::NotSleepable => Errno::EINVAL,
            Self::Unsupported(_) => Errno::ENOTSUPP,
        }
    }
}

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
pub(crate) fn check_load(spec: &ProgramSpec) -> Result<(), AttachError> {
    if spec.flags.bits() & !FLAGS.bits() != 0 {
        return Err(AttachError::Flags);
    }
    if spec.insns.is_empty() || spec.insns.len() > MAX_INSNS {
        return Err(AttachError::Length);
    }
    if let Some(types) = attach_types(spec.prog_type) {
        let is_known = |ty: AttachType| types.contains(&ty);
        if !spec.expected_attach_type.is_some_and(is_known) {
            return Err(AttachError::AttachType);
        }
    }
    // The reference kernel has no infrared receivers.
    if matches!(spec.prog_type, ProgType::Unspec | ProgType::LircMode2) {
        return Err(AttachError::NoType);
    }
    Ok(())
}

/// Checks what the program attaches to.
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
        return Err(AttachError::Unsupported(prog_type).into());
    }
    if BY_TYPE.contains(&prog_type) {
        env.signature = Some(Arc::new(kernel::find(env)?));
    }
    Ok(())
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
        assert_eq!(check_load(&spec(ProgType::Xdp, 1000)), Ok(()));
        assert_eq!(check_load(&spec(ProgType::CgroupSkb, 1)), Ok(()));
        assert_eq!(check_load(&spec(ProgType::CgroupSkb, 2)), Err(AttachError::AttachType));
        assert_eq!(check_load(&spec(ProgType::SkLookup, 1000)), Err(AttachError::AttachType));
    }

    #[test]
    fn flags_without_meaning_are_refused() {
        let mut spec = spec(ProgType::Xdp, 0);
        spec.flags = ProgFlags::from_bits_retain(1 << 8);
        assert_eq!(check_load(&spec), Err(AttachError::Flags));
    }
}
