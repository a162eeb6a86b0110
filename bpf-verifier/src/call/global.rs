//! Global functions: judged alone, by what BTF says of their arguments.

use std::sync::Arc;

use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};
use bpf_abi::prog::ProgType;
use bpf_btf::{Btf, TypeId};
use bpf_isa::{Pc, Reg};

use crate::attach::SignatureOf;
use crate::call::prototype::{Argument, Function, kind_text};
use crate::call::{CallError, args, clobber, forget_packets, objects, sizes};
use crate::cx::{Next, StepCx};
use crate::env::Env;
use crate::error::Reason;
use crate::memory::stack::Way;
use crate::memory::{MemoryError, btf};
use crate::scalar::Tnum;
use crate::state::{
    BtfType, DynptrKind, FrameRole, Pointer, PointerKind, PtrFlags, State, SubprogId, Value,
};
use crate::step::null;

/// What a function expects in an argument register.
///
/// Linux: `struct bpf_subprog_arg_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    /// Any number.
    Number,
    /// The context.
    Context,
    /// Memory of this size.
    Mem {
        /// The size in bytes.
        size: u32,
        /// Whether it may be null, read only, and not to be trusted.
        flags: PtrFlags,
    },
    /// A kernel object.
    Object {
        /// Its type.
        ty: BtfType,
        /// Whether it may be null, and whether it is trusted.
        flags: PtrFlags,
    },
    /// A dynptr that is only read.
    Dynptr,
    /// An address in the arena.
    Arena,
}

/// A call of a function of the program, as far as its BTF type goes. Global functions are done
/// with after that; `None` is a static one, which is to be walked into.
///
/// Linux: the first half of `check_func_call`.
pub(crate) fn call(cx: &mut StepCx<'_, '_>, subprog: SubprogId) -> Result<Option<Next>, Reason> {
    let checked = check_arguments(cx, subprog);
    let facts = cx.env.subprog(subprog);
    if !facts.is_global {
        note_static(cx, checked);
        return Ok(None);
    }
    let name = facts.name.clone();
    let (sleeps, moves_packet) = (facts.might_sleep, facts.changes_packet);
    let refs = &cx.state.refs;
    if refs.active_locks > 0 {
        note_static(cx, checked);
        return Err(CallError::GlobalLocked.into());
    }
    let atomic = refs.rcu_locks > 0 || refs.preempt_locks > 0 || refs.irq_id.is_some();
    if sleeps && (atomic || !crate::call::helper::may_sleep(cx)) {
        note_static(cx, checked);
        return Err(CallError::GlobalSleeps.into());
    }
    if let Err(reason) = checked {
        let text = reason.to_string();
        let cause = if text.is_empty() { text } else { format!("{text}\n") };
        let errno = reason.errno();
        return Err(CallError::GlobalArgs { errno, cause, subprog: subprog.0, name }.into());
    }
    let number = subprog.0;
    cx.env.log.print(format_args!("Func#{number} ('{name}') is global and assumed valid.\n"));
    if moves_packet {
        forget_packets(cx);
    }
    cx.env.subprog_mut(subprog).called = true;
    clobber(cx);
    cx.set_unknown(Reg::R0);
    Ok(Some(Next::Fallthrough))
}

/// A static function whose BTF type does not describe the call is walked all the same; the log
/// says why. It also does where something else is said to be wrong.
pub(crate) fn note_static(cx: &mut StepCx<'_, '_>, checked: Result<(), Reason>) {
    if let Err(reason) = checked {
        let text = reason.to_string();
        if !text.is_empty() {
            cx.env.log.print(format_args!("{text}\n"));
        }
    }
}

/// Checks the argument registers against the function's BTF type.
///
/// Linux: `btf_check_subprog_call`.
pub(crate) fn check_arguments(cx: &mut StepCx<'_, '_>, subprog: SubprogId) -> Result<(), Reason> {
    let facts = cx.env.subprog(subprog);
    if facts.btf_id.is_none() || facts.unreliable {
        return Err(CallError::ArgType { text: String::new() }.into());
    }
    let checked = expected(cx.env, subprog).and_then(|expected| {
        for (arg, (reg, expects)) in (0_u32..).zip(Reg::ARGS.into_iter().zip(expected)) {
            check_argument(cx, arg, reg, expects)?;
        }
        Ok(())
    });
    if checked.is_err() {
        cx.env.subprog_mut(subprog).unreliable = true;
    }
    checked
}

/// Linux: the loop of `btf_check_func_arg_match`.
fn check_argument(
    cx: &mut StepCx<'_, '_>,
    arg: u32,
    reg: Reg,
    expects: Expects,
) -> Result<(), Reason> {
    let value = cx.state.reg(reg).copied();
    let pointer = value.and_then(|value| value.as_pointer().copied());
    let is_moved = match expects {
        Expects::Context | Expects::Dynptr => true,
        Expects::Mem { flags, .. } => !flags.contains(PtrFlags::UNTRUSTED),
        Expects::Number | Expects::Object { .. } | Expects::Arena => false,
    };
    if value.is_none() && is_moved {
        let (ty, var) = ("?".to_owned(), Tnum::UNKNOWN);
        return Err(MemoryError::Variable { ty, var }.into());
    }
    match expects {
        Expects::Number => match value {
            Some(Value::Scalar(_)) => Ok(()),
            Some(Value::Pointer(_)) | None => Err(CallError::NotScalar { reg }.into()),
        },
        Expects::Mem { flags, .. } | Expects::Object { flags, .. }
            if flags.contains(PtrFlags::UNTRUSTED) =>
        {
            Ok(())
        }
        Expects::Context => {
            if let Some(pointer) = &pointer {
                args::check_pointer_offset(reg, pointer)?;
            }
            match pointer {
                Some(pointer) if pointer.kind == PointerKind::Ctx && !pointer.maybe_null() => {
                    Ok(())
                }
                Some(_) | None => Err(CallError::NotContext { arg }.into()),
            }
        }
        Expects::Mem { size, flags } => {
            if let Some(pointer) = &pointer {
                args::check_pointer_offset(reg, pointer)?;
            }
            check_memory(cx, reg, size)
                .map_err(|reason| CallError::NotMemory { cause: reason.to_string() })?;
            let maybe = pointer.is_some_and(|pointer| pointer.maybe_null());
            if maybe && !flags.contains(PtrFlags::MAYBE_NULL) {
                return Err(CallError::MaybeNullArg { arg }.into());
            }
            let null = value.is_some_and(|value| value.is_null());
            if null && !flags.contains(PtrFlags::MAYBE_NULL) && cx.env.options.strict_holes {
                return Err(CallError::MaybeNullArg { arg }.into());
            }
            Ok(())
        }
        Expects::Arena => match (value, pointer) {
            (Some(Value::Scalar(_)), _) => Ok(()),
            (_, Some(Pointer { kind: PointerKind::Arena, .. })) => Ok(()),
            _ => Err(CallError::NotArena { reg }.into()),
        },
        Expects::Dynptr => objects::check_read_only(cx, reg),
        Expects::Object { ty, flags } => {
            let Some(value) = value else { return Err(CallError::NotScalar { reg }.into()) };
            let maybe = flags.contains(PtrFlags::MAYBE_NULL);
            if maybe && value.is_null() {
                return Ok(());
            }
            let mut proto =
                ArgProto { kind: ArgKind::BtfId, flags: TypeFlags::TRUSTED, size: 0, btf: None };
            if maybe {
                proto.flags |= TypeFlags::MAYBE_NULL;
            }
            args::check_type(cx, None, reg, &value, &proto)?;
            if let Some(pointer) = &pointer
                && let PointerKind::Btf { ty: held } = pointer.kind
            {
                if !btf::matches(cx, held, pointer.off, ty, btf::Match::Embedded) {
                    let name = btf::name_of(cx.env, held);
                    let expected = btf::name_of(cx.env, ty);
                    return Err(CallError::OtherObject { reg, name, expected }.into());
                }
                args::check_pointer_offset(reg, pointer)?;
            }
            Ok(())
        }
    }
}

/// Memory that the function may read and write. Linux: `check_mem_reg`.
pub(crate) fn check_memory(cx: &mut StepCx<'_, '_>, reg: Reg, size: u32) -> Result<(), Reason> {
    let saved = cx.state.reg(reg).copied();
    if saved.is_some_and(|value| value.is_null()) {
        return Ok(());
    }
    let maybe = matches!(saved, Some(Value::Pointer(pointer)) if pointer.maybe_null());
    if maybe && let Some(Value::Pointer(mut pointer)) = saved {
        null::set_not_null(cx.env, &mut pointer);
        cx.state.set(reg, Some(Value::Pointer(pointer)));
    }
    // Linux takes it for an `int`: huge sizes are negative ones, which no memory has.
    let size = i64::from(size.cast_signed());
    let memory = |way| sizes::Memory { reg, size, way, zero_allowed: true, raw: false };
    let checked = sizes::check_memory(cx, memory(Way::Read))
        .and_then(|_| sizes::check_memory(cx, memory(Way::Write)));
    if maybe {
        cx.state.set(reg, saved);
    }
    checked.map(|_| ())
}

/// The state in which a function is entered that is verified alone.
///
/// Linux: the beginning of `do_check_common`.
///
/// # Errors
///
/// Returns an error if its type is none that a global function may have.
pub(crate) fn entry(env: &mut Env<'_>, subprog: SubprogId) -> Result<State, Reason> {
    let mut state = State::new(subprog);
    let facts = env.subprog(subprog).clone();
    if subprog == SubprogId::MAIN && env.spec.prog_type != ProgType::Ext {
        if facts.btf_id.is_some() {
            let described = match expected(env, subprog) {
                Ok(expected) => expected == [Expects::Context],
                Err(reason) => {
                    let text = reason.to_string();
                    if !text.is_empty() {
                        env.log.print(format_args!("{text}\n"));
                    }
                    false
                }
            };
            env.subprog_mut(subprog).unreliable |= !described;
        }
        state.set(Reg::R1, Some(Value::Pointer(Pointer::to(PointerKind::Ctx))));
        own_arguments(env, &mut state);
        return Ok(state);
    }
    env.log.print(format_args!("Validating {}() func#{}...\n", facts.name, subprog.0));
    let expected = expected(env, subprog)?;
    if facts.is_exception_callback {
        state.cur_mut().role = FrameRole::ExceptionCallback;
        if expected != [Expects::Number] {
            let text = "exception cb only supports single integer argument".to_owned();
            return Err(CallError::ArgType { text }.into());
        }
    }
    for (reg, expects) in Reg::ARGS.into_iter().zip(expected) {
        let value = received(env, expects);
        state.set(reg, Some(value));
    }
    Ok(state)
}

/// Takes the references that a member of a structure of functions is called with.
fn own_arguments(env: &mut Env<'_>, state: &mut State) {
    let ids = &mut env.ids;
    let Some(signature) = env.signature.as_mut().map(Arc::make_mut) else { return };
    let SignatureOf::Member(member) = &mut signature.of else { return };
    for arg in member.args.iter_mut().filter(|arg| arg.owned) {
        let id = ids.fresh();
        state.refs.acquire(id, Pc(0));
        arg.ref_id = Some(id);
    }
}

/// What is known of an argument at the function's beginning.
fn received(env: &mut Env<'_>, expects: Expects) -> Value {
    let mut pointer = match expects {
        Expects::Number | Expects::Arena => return Value::UNKNOWN,
        Expects::Context => Pointer::to(PointerKind::Ctx),
        Expects::Mem { size, flags } => {
            Pointer::to(PointerKind::Mem { size, dynptr: None }).with(flags)
        }
        Expects::Object { ty, flags } => Pointer::to(PointerKind::Btf { ty }).with(flags),
        Expects::Dynptr => Pointer::to(PointerKind::Dynptr { kind: DynptrKind::Local }),
    };
    let object = matches!(expects, Expects::Object { .. } | Expects::Dynptr);
    if object || pointer.maybe_null() {
        pointer.id = Some(env.fresh_id());
    }
    Value::Pointer(pointer)
}

/// What the function's BTF type says of its arguments.
///
/// Linux: `btf_prepare_func_args`.
fn expected(env: &mut Env<'_>, subprog: SubprogId) -> Result<Vec<Expects>, Reason> {
    let nothing = || CallError::ArgType { text: String::new() };
    let facts = env.subprog(subprog);
    let own = env.spec.btf.clone().ok_or_else(nothing)?;
    let id = facts.btf_id.ok_or_else(nothing)?;
    let function = Function { btf: &own, id, kind: env.kind, global: facts.is_global };
    let mut expected = Vec::new();
    for (arg, param) in (0_u32..).zip(function.params()?) {
        let argument = function.argument(arg, param)?;
        expected.push(expects(env, &own, argument, arg)?);
    }
    Ok(expected)
}

/// What has to be in an argument register that is for this.
fn expects(env: &mut Env<'_>, own: &Btf, argument: Argument, arg: u32) -> Result<Expects, Reason> {
    Ok(match argument {
        Argument::Number => Expects::Number,
        Argument::Context => Expects::Context,
        Argument::Memory { size, nullable, .. } => {
            let mut flags = PtrFlags::empty();
            flags.set(PtrFlags::MAYBE_NULL, nullable);
            Expects::Mem { size, flags }
        }
        Argument::Trusted { ty, nullable } => {
            let mut flags = PtrFlags::TRUSTED;
            flags.set(PtrFlags::MAYBE_NULL, nullable);
            Expects::Object { ty: object(env, own, ty, arg)?, flags }
        }
        Argument::UntrustedObject { ty } => {
            Expects::Object { ty: object(env, own, ty, arg)?, flags: PtrFlags::UNTRUSTED }
        }
        Argument::UntrustedMemory => {
            Expects::Mem { size: 0, flags: PtrFlags::RDONLY | PtrFlags::UNTRUSTED }
        }
        Argument::Dynptr => Expects::Dynptr,
        Argument::Arena => Expects::Arena,
    })
}

/// The kernel's type of the same name and kind as the program's: there must be one and no more.
///
/// Linux: `btf_get_ptr_to_btf_id`.
fn object(env: &mut Env<'_>, own: &Btf, to: TypeId, arg: u32) -> Result<BtfType, Reason> {
    let ty = own.resolve(to).filter(|_| !to.is_void());
    let code = ty.map(|ty| ty.code());
    let (kind, name) = (kind_text(code), ty.map_or("", |ty| ty.name()));
    // What follows three underscores tells apart flavours of one type.
    let base = name.split_once("___").map_or(name, |(base, _)| base);
    let (Some(code), false) = (code, base.is_empty()) else {
        let text =
            format!("arg#{arg} reference type('{kind} (anon)') candidate matching error: -22");
        return Err(CallError::ArgType { text }.into());
    };
    let types = env.host.kernel_btf().map(Arc::clone);
    let found = types.and_then(|types| Some((types.by_name_kind(base, code)?, types)));
    let Some((id, types)) = found else {
        let text = format!("arg#{arg} reference type('{kind} {name}') has no matches");
        return Err(CallError::NoArgType { text }.into());
    };
    if types.has_namesakes(id) {
        let text = format!("arg#{arg} reference type('{kind} {name}') is ambiguous");
        return Err(CallError::AmbiguousArgType { text }.into());
    }
    Ok(BtfType { btf: env.use_btf(&types), id })
}
