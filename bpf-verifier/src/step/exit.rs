//! Leaving a frame: what R0 may hold, and what must be released.

use std::fmt::Write as _;
use std::sync::Arc;

use bpf_abi::attach::lsm;
use bpf_abi::prog::{AttachType, ProgType};
use bpf_btf::TypeId;
use bpf_isa::{Pc, Reg};

use crate::attach::{Signature, SignatureOf};
use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::memory::type_name;
use crate::state::{FrameRole, Number, PointerKind, RefKind, ReturnRange, Value};
use crate::step::StepError;

/// The end of a function, or of the program. Linux: `process_bpf_exit_full`.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>) -> Result<Next, Reason> {
    let inner = cx.state.depth().0 > 0;
    let check = if inner { Check::References } else { Check::Locks };
    check_resources(cx, check, "BPF_EXIT instruction in main prog")?;
    if inner {
        return leave_function(cx).map(Next::Return);
    }
    check_result(cx, Reg::R0, "R0")?;
    Ok(Next::Done)
}

/// What must not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// References, if this is the outermost frame.
    References,
    /// References, if this is the outermost frame; and no locks or sections.
    Locks,
    /// Everything, wherever this is: the program is left from all frames at once.
    Everything,
}

/// Checks that nothing is left to be given back.
///
/// Linux: `check_resource_leak`.
pub(crate) fn check_resources(
    cx: &mut StepCx<'_, '_>,
    check: Check,
    place: &str,
) -> Result<(), Reason> {
    let locks = check != Check::References;
    let refs = &cx.state.refs;
    let place = || place.to_owned();
    if locks && refs.active_locks > 0 {
        return Err(StepError::LockHeld { place: place() }.into());
    }
    if check == Check::Everything || cx.state.depth().0 == 0 {
        let returned = match cx.state.reg(Reg::R0) {
            Some(Value::Pointer(pointer)) => pointer.ref_id,
            Some(Value::Scalar(_)) | None => None,
        };
        // A function of the kernel may be given an object back.
        let gives = cx.env.spec.prog_type == ProgType::StructOps && check != Check::Everything;
        let mut held = String::new();
        for reference in refs.held() {
            let RefKind::Object = reference.kind else { continue };
            if gives && reference.id == returned {
                continue;
            }
            let id = reference.id.map_or(0, crate::state::Id::number);
            writeln!(held, "Unreleased reference id={id} alloc_insn={}", reference.pc)
                .expect("a String takes everything");
        }
        if !held.is_empty() {
            return Err(StepError::ReferenceLeak { held, place: place() }.into());
        }
    }
    if locks && refs.irq_id.is_some() {
        return Err(StepError::InterruptsOff { place: place() }.into());
    }
    if locks && refs.rcu_locks > 0 {
        return Err(StepError::RcuHeld { place: place() }.into());
    }
    if locks && refs.preempt_locks > 0 {
        return Err(StepError::PreemptionOff { place: place() }.into());
    }
    Ok(())
}

/// Goes back to the caller; says where the path goes on.
///
/// Linux: `prepare_func_exit`.
pub(crate) fn leave_function(cx: &mut StepCx<'_, '_>) -> Result<Pc, Reason> {
    cx.leaving_function();
    let callee = cx.state.cur();
    let result = callee.reg(Reg::R0).copied();
    if let Some(Value::Pointer(pointer)) = &result
        && let PointerKind::Stack { .. } = pointer.kind
    {
        return Err(StepError::ReturnStack.into());
    }
    let callback = callee.role == FrameRole::Callback;
    let range = callee.callback_range;
    let callsite = callee.callsite.unwrap_or_default();
    let number = callee.number;
    if callback {
        let Some(Value::Scalar(number)) = result else {
            return Err(StepError::ReturnScalar.into());
        };
        cx.mark_precise(Reg::R0)?;
        check_range(&number, range, "At callback return", "R0")?;
    } else if let Some(caller) = cx.state.caller_mut() {
        caller.set(Reg::R0, result);
    }
    let to = if callback { callsite } else { callsite.offset(1).unwrap_or(callsite) };
    if cx.env.log.shows_paths() {
        cx.env.log.print(format_args!("returning from callee:\n"));
        cx.print_frame(number);
        cx.env.log.print(format_args!("to caller at {to}:\n"));
        let caller = crate::state::FrameNo(number.0.saturating_sub(1));
        cx.print_frame(caller);
    }
    cx.state.pop_frame();
    if callback {
        cx.widen_callback(to);
    }
    Ok(to)
}

/// Checks what the program, or a function that is verified alone, returns.
///
/// Linux: `check_return_code`.
pub(crate) fn check_result(
    cx: &mut StepCx<'_, '_>,
    reg: Reg,
    name: &'static str,
) -> Result<(), Reason> {
    let frame = cx.state.cur();
    let exceptional = frame.role == FrameRole::ExceptionCallback;
    let inner = frame.subprog != crate::state::SubprogId::MAIN;
    let asynchronous = frame.role == FrameRole::AsyncCallback;
    let callback_range = frame.callback_range;
    if (!inner || exceptional) && returns_nothing(cx) {
        return Ok(());
    }
    if !inner && gives_back(cx, reg) {
        return Ok(());
    }
    let value = cx.read(reg)?;
    let (allowed, place) = if asynchronous {
        (Allowed::Range(callback_range), "At async callback return")
    } else if inner && !exceptional {
        let Value::Pointer(_) = value else { return Ok(()) };
        let ty = type_name(Some(&value));
        return Err(StepError::SubprogReturn { reg: name, ty }.into());
    } else {
        (program_range(cx)?, "At program exit")
    };
    let Some(range) = allowed.range() else { return Ok(()) };
    let Value::Scalar(number) = value else {
        let ty = type_name(Some(&value));
        return Err(if asynchronous {
            StepError::AsyncReturn { reg: name, ty }
        } else {
            StepError::ProgramReturn { reg: name, ty }
        }
        .into());
    };
    cx.mark_precise(reg)?;
    match allowed {
        Allowed::HalfRange(_) if in_half_range(&number, range) => Ok(()),
        Allowed::Nothing => check_range(&number, range, place, name).map_err(|error| {
            let note =
                "Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!";
            StepError::VoidReturn { text: format!("{error}\n{note}") }.into()
        }),
        Allowed::Anything | Allowed::Range(_) | Allowed::HalfRange(_) => {
            Ok(check_range(&number, range, place, name)?)
        }
    }
}

/// What R0 may be at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Anything.
    Anything,
    /// These numbers.
    Range(ReturnRange),
    /// Numbers whose lower half is one of these.
    HalfRange(ReturnRange),
    /// 1: that is, no other result than that there is none.
    Nothing,
}

impl Allowed {
    const fn range(self) -> Option<ReturnRange> {
        match self {
            Self::Anything => None,
            Self::Range(range) | Self::HalfRange(range) => Some(range),
            Self::Nothing => Some(ReturnRange { min: 1, max: 1 }),
        }
    }

    const fn of(min: i32, max: i32) -> Self {
        Self::Range(ReturnRange { min, max })
    }
}

/// Whether the program stands for a function that returns nothing.
fn returns_nothing(cx: &StepCx<'_, '_>) -> bool {
    let Some(signature) = &cx.env.signature else { return false };
    match cx.env.spec.prog_type {
        ProgType::StructOps => signature.returns_nothing(),
        ProgType::Lsm => {
            cx.env.spec.expected_attach_type != Some(AttachType::LsmCgroup)
                && signature.returns_nothing()
        }
        _ => false,
    }
}

/// Whether what a member of a structure returns is an object that it was given, as it was given.
fn gives_back(cx: &StepCx<'_, '_>, reg: Reg) -> bool {
    let Some(to) = returned_object(cx) else { return false };
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg) else { return false };
    let PointerKind::Btf { ty } = pointer.kind else { return false };
    let same = cx.env.btf(ty.btf).is_some_and(|btf| {
        cx.env.signature.as_ref().is_some_and(|signature| Arc::ptr_eq(btf, &signature.btf))
    });
    same && ty.id == to && pointer.ref_id.is_some() && pointer.constant_off() == Some(0)
}

/// What a member of a structure returns a pointer to, if it does.
fn returned_object(cx: &StepCx<'_, '_>) -> Option<TypeId> {
    let signature = cx.env.signature.as_ref()?;
    if cx.env.spec.prog_type != ProgType::StructOps {
        return None;
    }
    let ret = signature.func_proto()?.ret;
    let to = signature.btf.resolve(ret)?.pointee()?;
    signature.btf.resolve(to).map(|ty| ty.id)
}

/// What a security hook may return; `None` if it returns nothing.
///
/// Linux: `bpf_lsm_get_retval_range`.
pub(crate) fn hook_range(signature: &Signature) -> Option<ReturnRange> {
    const MAX_ERRNO: i32 = 4095;
    let SignatureOf::Hook(hook) = &signature.of else { return None };
    if signature.returns_nothing() {
        return None;
    }
    Some(if lsm::is_bool(hook) {
        ReturnRange { min: 0, max: 1 }
    } else {
        ReturnRange { min: -MAX_ERRNO, max: 0 }
    })
}

fn in_half_range(number: &Number, range: ReturnRange) -> bool {
    range.min <= number.set.smin32() && number.set.smax32() <= range.max
}

/// Linux: `retval_range_within`, `verbose_invalid_scalar`.
pub(crate) fn check_range(
    number: &Number,
    range: ReturnRange,
    place: &'static str,
    reg: &'static str,
) -> Result<(), StepError> {
    let (smin, smax) = (number.set.smin(), number.set.smax());
    let ReturnRange { min, max } = range;
    if i64::from(min) <= smin && smax <= i64::from(max) {
        return Ok(());
    }
    let what = match (smin > i64::MIN, smax < i64::MAX) {
        (true, true) => format!("smin={smin} smax={smax}"),
        (true, false) => format!("smin={smin}"),
        (false, true) => format!("smax={smax}"),
        (false, false) => "unknown scalar value".to_owned(),
    };
    Err(StepError::ReturnRange { place, reg, what, min, max })
}

/// What a program of this type may return.
fn program_range(cx: &StepCx<'_, '_>) -> Result<Allowed, StepError> {
    use AttachType as A;
    let range = Allowed::of;
    if let Some(own) = &cx.env.own_type {
        let returns = own.returns.as_ref();
        return Ok(
            returns.map_or(Allowed::Anything, |returns| range(*returns.start(), *returns.end()))
        );
    }
    let attach = cx.env.kind.expected_attach_type;
    let is = |types: &[AttachType]| attach.is_some_and(|ty| types.contains(&ty));
    let extends = cx.env.spec.prog_type == ProgType::Ext;
    Ok(match cx.env.kind.prog_type {
        ProgType::CgroupSockAddr => {
            if is(&[
                A::CgroupUdp4Recvmsg,
                A::CgroupUdp6Recvmsg,
                A::CgroupUnixRecvmsg,
                A::CgroupInet4Getpeername,
                A::CgroupInet6Getpeername,
                A::CgroupUnixGetpeername,
                A::CgroupInet4Getsockname,
                A::CgroupInet6Getsockname,
                A::CgroupUnixGetsockname,
            ]) {
                range(1, 1)
            } else if is(&[A::CgroupInet4Bind, A::CgroupInet6Bind]) {
                range(0, 3)
            } else {
                range(0, 1)
            }
        }
        ProgType::CgroupSkb if is(&[A::CgroupInetEgress]) => range(0, 3),
        ProgType::CgroupSkb
        | ProgType::CgroupSock
        | ProgType::SockOps
        | ProgType::CgroupDevice
        | ProgType::CgroupSysctl
        | ProgType::CgroupSockopt
        | ProgType::SkLookup
        | ProgType::Netfilter => range(0, 1),
        ProgType::Kprobe if is(&[A::TraceKprobeSession, A::TraceUprobeSession]) => range(0, 1),
        ProgType::Tracing if is(&[A::TraceFentry, A::TraceFexit]) => range(0, 0),
        ProgType::Tracing if is(&[A::TraceIter]) => range(0, 1),
        ProgType::Tracing if !is(&[A::TraceRawTp, A::ModifyReturn]) => {
            return Err(StepError::NoResult);
        }
        ProgType::Lsm => hook_allows(cx),
        // It names what it attaches to, as typed tracepoints do.
        ProgType::RawTracepoint if extends => range(0, 0),
        ProgType::StructOps if returned_object(cx).is_some() => range(0, 0),
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
        | ProgType::SkSkb
        | ProgType::SkMsg
        | ProgType::RawTracepoint
        | ProgType::LwtSeg6local
        | ProgType::LircMode2
        | ProgType::SkReuseport
        | ProgType::FlowDissector
        | ProgType::RawTracepointWritable
        | ProgType::Tracing
        | ProgType::StructOps
        | ProgType::Ext
        | ProgType::Syscall => Allowed::Anything,
    })
}

/// What a security hook's program may return.
fn hook_allows(cx: &StepCx<'_, '_>) -> Allowed {
    let Some(signature) = &cx.env.signature else { return Allowed::Anything };
    if cx.env.spec.expected_attach_type != Some(AttachType::LsmCgroup) {
        return hook_range(signature).map_or(Allowed::Anything, Allowed::HalfRange);
    }
    if signature.returns_nothing() { Allowed::Nothing } else { Allowed::of(0, 1) }
}
