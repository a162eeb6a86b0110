//! Global functions: judged alone, by what BTF says of their arguments.

use std::sync::Arc;

use bpf_abi::ctx::{ContextKind, context_of};
use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};
use bpf_abi::prog::ProgType;
use bpf_btf::{Btf, Kind, KindCode, TypeId};
use bpf_isa::Reg;

use crate::call::{CallError, args, clobber, forget_packets, objects, sizes};
use crate::cx::{Next, StepCx};
use crate::env::Env;
use crate::error::Reason;
use crate::memory::btf;
use crate::memory::stack::Way;
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
        return Err(CallError::GlobalLocked.into());
    }
    let atomic = refs.rcu_locks > 0 || refs.preempt_locks > 0 || refs.irq_id.is_some();
    if sleeps && (atomic || !crate::call::helper::may_sleep(cx)) {
        return Err(CallError::GlobalSleeps.into());
    }
    if let Err(reason) = checked {
        let text = reason.to_string();
        let cause = if text.is_empty() { text } else { format!("{text}\n") };
        return Err(CallError::GlobalArgs { cause, subprog: subprog.0, name }.into());
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
/// says why.
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
            check_memory(cx, reg, size)?;
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
                if !btf::matches(cx.env, held, pointer.off, ty, btf::Match::Embedded) {
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
    let size = i64::from(size);
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
    let facts = env.subprog(subprog).clone();
    let Some(own) = env.spec.btf.clone() else { return Err(text(String::new())) };
    let Some(id) = facts.btf_id else { return Err(text(String::new())) };
    let global = facts.is_global;
    let quiet = |message: String| text(if global { message } else { String::new() });
    let name = own.name_of(id).to_owned();
    let proto_id = own.get(id).and_then(|ty| ty.func()).map(|func| func.proto);
    let Some(proto) = proto_id.and_then(|id| own.func_proto(id)) else {
        return Err(text(format!("Invalid type of function {name}()")));
    };
    let count = proto.params().len();
    if count > Reg::ARGS.len() {
        return Err(quiet(format!(
            "Global function {name}() with {count} > 5 args. Buggy compiler."
        )));
    }
    if !is_number(&own, proto.ret) {
        return Err(quiet(format!(
            "Global function {name}() doesn't return scalar. Only those are supported."
        )));
    }
    let function = Function { own, id, name, global };
    let mut expected = Vec::new();
    for (arg, param) in (0_u32..).zip(proto_params(&function.own, proto_id)) {
        expected.push(expected_argument(env, &function, arg, param)?);
    }
    Ok(expected)
}

fn proto_params(btf: &Btf, proto: Option<TypeId>) -> Vec<TypeId> {
    let proto = proto.and_then(|id| btf.func_proto(id));
    proto.map_or_else(Vec::new, |proto| proto.params().map(|param| param.ty).collect())
}

fn text(text: String) -> Reason {
    CallError::ArgType { text }.into()
}

/// A function whose type is looked at.
struct Function {
    own: Arc<Btf>,
    id: TypeId,
    name: String,
    global: bool,
}

/// Whether a type, without qualifiers and typedefs, is an integer or an enumeration.
fn is_number(btf: &Btf, id: TypeId) -> bool {
    let code = btf.resolve(id).map(|ty| ty.code());
    matches!(code, Some(KindCode::Int | KindCode::Enum | KindCode::Enum64))
}

/// What tags a program puts on an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tags {
    ctx: bool,
    trusted: bool,
    untrusted: bool,
    nonnull: bool,
    nullable: bool,
    arena: bool,
}

impl Tags {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

fn tags_of(function: &Function, arg: u32) -> Result<Tags, Reason> {
    let mut tags = Tags::default();
    for tag in function.own.decl_tags_of(function.id, Some(arg)) {
        let Some(tag) = tag.strip_prefix("arg:") else { continue };
        if !function.global {
            return Err(text(format!("arg#{arg} type tag is not supported in static functions")));
        }
        match tag {
            "ctx" => tags.ctx = true,
            "trusted" => tags.trusted = true,
            "untrusted" => tags.untrusted = true,
            "nonnull" => tags.nonnull = true,
            "nullable" => tags.nullable = true,
            "arena" => tags.arena = true,
            _ => return Err(CallError::ArgTags { arg }.into()),
        }
    }
    Ok(tags)
}

fn expected_argument(
    env: &mut Env<'_>,
    function: &Function,
    arg: u32,
    param: TypeId,
) -> Result<Expects, Reason> {
    let tags = tags_of(function, arg)?;
    let own = &function.own;
    let invalid = || text(format!("arg#{arg} has invalid combination of tags"));
    let ty = own.resolve(param);
    let Some(Kind::Ptr(to)) = ty.map(|ty| ty.kind) else {
        if !tags.is_empty() {
            return Err(text(format!("arg#{arg} has pointer tag, but is not a pointer type")));
        }
        if is_number(own, param) {
            return Ok(Expects::Number);
        }
        let kind = kind_text(ty.map(|ty| ty.code()));
        return Err(text(if function.global {
            format!("Arg#{arg} type {kind} in {}() is not supported yet.", function.name)
        } else {
            String::new()
        }));
    };
    let only = |tags: Tags| tags.is_empty();
    if tags.ctx || is_context(env, own, to) {
        if !only(Tags { ctx: false, ..tags }) {
            return Err(invalid());
        }
        if tags.ctx {
            check_context_type(env, own, to, arg)?;
        }
        return Ok(Expects::Context);
    }
    if is_dynptr(own, to) {
        return if tags.is_empty() { Ok(Expects::Dynptr) } else { Err(invalid()) };
    }
    if tags.trusted {
        if !only(Tags { trusted: false, nullable: false, ..tags }) {
            return Err(invalid());
        }
        let ty = object(env, own, to, arg)?;
        let mut flags = PtrFlags::TRUSTED;
        flags.set(PtrFlags::MAYBE_NULL, tags.nullable);
        return Ok(Expects::Object { ty, flags });
    }
    if tags.untrusted {
        if !only(Tags { untrusted: false, ..tags }) {
            return Err(text(format!(
                "arg#{arg} untrusted cannot be combined with any other tags"
            )));
        }
        if to.0 == 0 || is_number(own, to) {
            let flags = PtrFlags::RDONLY | PtrFlags::UNTRUSTED;
            return Ok(Expects::Mem { size: 0, flags });
        }
        let ty = object(env, own, to, arg)?;
        return Ok(Expects::Object { ty, flags: PtrFlags::UNTRUSTED });
    }
    if tags.arena {
        if !only(Tags { arena: false, ..tags }) {
            return Err(text(format!("arg#{arg} arena cannot be combined with any other tags")));
        }
        return Ok(Expects::Arena);
    }
    if !function.global {
        return Err(text(String::new()));
    }
    if tags.nullable {
        return Err(invalid());
    }
    memory_argument(own, to, arg, tags)
}

/// How messages name a kind of type. Linux: `btf_type_str`.
const fn kind_text(code: Option<KindCode>) -> &'static str {
    match code {
        None | Some(KindCode::Void) => "UNKNOWN",
        Some(code) => code.name(),
    }
}

/// A pointer to anything of known size.
fn memory_argument(own: &Btf, to: TypeId, arg: u32, tags: Tags) -> Result<Expects, Reason> {
    let target = own.resolve(to);
    let size = target.as_ref().and_then(|ty| own.size_of(ty.id)).filter(|_| to.0 != 0);
    let Some(size) = size else {
        let kind = kind_text(target.as_ref().map(|ty| ty.code()));
        let name = target.as_ref().map_or("", |ty| ty.name());
        return Err(text(format!(
            "arg#{arg} reference type('{kind} {name}') size cannot be determined: -22"
        )));
    };
    let mut flags = PtrFlags::empty();
    flags.set(PtrFlags::MAYBE_NULL, !tags.nonnull);
    Ok(Expects::Mem { size, flags })
}

/// The kernel's type of the same name as the program's. Linux: `btf_get_ptr_to_btf_id`.
fn object(env: &mut Env<'_>, own: &Btf, to: TypeId, arg: u32) -> Result<BtfType, Reason> {
    let name = own.resolve(to).map(|ty| ty.name().to_owned()).unwrap_or_default();
    let name = name.split("___").next().unwrap_or_default().to_owned();
    btf::find_struct(env, &name)
        .ok_or_else(|| text(format!("arg#{arg} type not found in the kernel's BTF: struct {name}")))
}

/// Linux: `btf_is_dynptr_ptr`.
fn is_dynptr(own: &Btf, to: TypeId) -> bool {
    own.skip_qualifiers(to)
        .is_some_and(|ty| ty.code() == KindCode::Struct && ty.name() == "bpf_dynptr")
}

/// The structure that programs of this type get; empty if it has no name.
fn context_name(env: &Env<'_>) -> &'static str {
    match env.spec.prog_type {
        ProgType::Kprobe => "bpf_user_pt_regs_t",
        ProgType::CgroupSockAddr => "bpf_sock_addr",
        prog_type => match context_of(prog_type, env.spec.expected_attach_type) {
            Some(ContextKind::Table(table)) => table.name,
            Some(ContextKind::Bytes { .. } | ContextKind::Arguments) | None => "",
        },
    }
}

/// Whether a pointer to this is one to the context. Linux: `btf_is_prog_ctx_type`.
fn is_context(env: &Env<'_>, own: &Btf, to: TypeId) -> bool {
    let wanted = context_name(env);
    if wanted == "bpf_user_pt_regs_t" && named(own, to) == wanted {
        return true;
    }
    let Some(ty) = own.resolve(to) else { return false };
    if ty.code() != KindCode::Struct || wanted.is_empty() {
        return false;
    }
    let name = ty.name();
    name == wanted
        || matches!((wanted, name), ("__sk_buff", "sk_buff") | ("xdp_md", "xdp_buff"))
        || (wanted == "bpf_user_pt_regs_t" && name == "pt_regs")
}

/// Whether a parameter of a kernel function is the context of programs of this type.
pub(crate) fn is_kernel_context(env: &Env<'_>, types: &Btf, to: TypeId) -> bool {
    is_context(env, types, to)
}

/// The name of a type without qualifiers, a typedef's being its own.
fn named(own: &Btf, id: TypeId) -> &str {
    own.skip_qualifiers(id).map_or("", |ty| ty.name())
}

/// What may be tagged as the context. Linux: `btf_validate_prog_ctx_type`.
fn check_context_type(env: &Env<'_>, own: &Btf, to: TypeId, arg: u32) -> Result<(), Reason> {
    let wanted = context_name(env);
    let code = own.resolve(to).map(|ty| ty.code());
    let void = to.0 == 0 || code.is_none() || code == Some(KindCode::Void);
    if void || wanted.is_empty() || is_context(env, own, to) {
        return Ok(());
    }
    let tracing = matches!(
        env.spec.prog_type,
        ProgType::Kprobe
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::Tracing
            | ProgType::RawTracepointWritable
    );
    let whole = code == Some(KindCode::Int) && own.size_of(to) == Some(8);
    if tracing && (whole || named(own, to) == "bpf_user_pt_regs_t") {
        return Ok(());
    }
    if code == Some(KindCode::Struct) || !tracing {
        return Err(text(format!("arg#{arg} should be `struct {wanted} *`")));
    }
    Err(text(format!("arg#{arg} type is not a pointer to context")))
}
