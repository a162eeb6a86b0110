//! Contexts that are the arguments of a kernel function, as its type describes them.

use std::ops::Range;
use std::sync::Arc;

use bpf_abi::attach::iter::IterArg;
use bpf_abi::attach::struct_ops::Parts;
use bpf_abi::attach::{lsm, tracepoint};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_btf::{Btf, KindCode, Type, TypeId};

use crate::attach::{Signature, SignatureOf, Slot};
use crate::call::prototype;
use crate::cx::StepCx;
use crate::error::Reason;
use crate::facts::ProgKind;
use crate::memory::btf::{find_struct, name_of};
use crate::memory::{Access, MemoryError, What};
use crate::scalar::Scalar;
use crate::state::{BtfType, Number, Pointer, PointerKind, PtrFlags, Value};
use crate::step::exit::hook_range;

/// The most bytes that arguments take. Linux: `MAX_BPF_FUNC_ARGS`, eight bytes each.
const MOST: i64 = 12 * 8;

/// An access to an argument.
///
/// Linux: `btf_ctx_access`, and what stands before it for each program type.
pub(crate) fn access(cx: &mut StepCx<'_, '_>, access: &Access, off: i64) -> Result<(), Reason> {
    let size = access.size.bytes();
    let refused = || Reason::from(MemoryError::Context { off, size });
    let Some(signature) = cx.env.signature.clone() else {
        return Err(MemoryError::NoKernelTypes.into());
    };
    // Hooks see their arguments as they are, whatever is done to them.
    let anything = matches!(signature.of, SignatureOf::Hook(_));
    let fits = (0..MOST).contains(&off) && off % i64::from(size) == 0 && !access.what.writes();
    if !anything && !fits {
        return Err(refused());
    }
    if signature.owned_at(off).is_some_and(|id| !cx.state.refs.holds(id)) {
        return Err(MemoryError::ContextReleased { off }.into());
    }
    let value = argument(cx, &signature, size, off).map_err(|text| {
        if !text.is_empty() {
            cx.env.log.print(format_args!("{text}\n"));
        }
        refused()
    })?;
    let end = u32::try_from(off + i64::from(size)).unwrap_or(0);
    let found = &mut cx.env.found;
    found.max_ctx_offset = found.max_ctx_offset.max(end);
    if let What::Load(into, _) = access.what {
        cx.state.set(into, Some(value));
    }
    Ok(())
}

/// What an argument, or the result behind them, yields; or what is wrong about it.
fn argument(
    cx: &mut StepCx<'_, '_>,
    signature: &Arc<Signature>,
    size: u32,
    off: i64,
) -> Result<Value, String> {
    let name = &signature.name;
    if off % 8 != 0 {
        return Err(format!("func '{name}' offset {off} is not multiple of 8"));
    }
    let beyond = |place| format!("func '{name}' doesn't have {}-th argument", place + 1);
    let (place, ty, is_result) = match signature.slot_at(off) {
        Slot::Beyond(place) => return Err(beyond(place)),
        Slot::Argument(place) => (place, signature.param(place).map(|param| param.ty), false),
        Slot::Result(place) => match result(cx, signature) {
            Ok(ty) => (place, ty, true),
            Err(Some(text)) => return Err(text),
            Err(None) => return Err(beyond(place)),
        },
    };
    // Where the type does not describe the function, there are registers and no more.
    let Some(ty) = ty else { return Ok(Value::UNKNOWN) };
    let resolved = signature.btf.resolve(ty);
    let code = resolved.map_or(KindCode::Void, |ty| ty.code());
    match code {
        KindCode::Int | KindCode::Enum | KindCode::Enum64 if is_small(&resolved) => {
            Ok(number(cx, signature, is_result))
        }
        KindCode::Struct | KindCode::Union => Ok(number(cx, signature, is_result)),
        KindCode::Ptr if size != 8 => Err(format!("func '{name}' size {size} must be 8")),
        KindCode::Ptr => pointer(cx, signature, place, off, ty),
        _ => {
            let what = resolved.map_or("", |ty| ty.name());
            let kind = code.name();
            Err(format!(
                "func '{name}' arg{place} '{what}' has type {kind}. Only pointer access is allowed"
            ))
        }
    }
}

/// The type of the result, if the program sees it; or what is wrong about that.
fn result(cx: &StepCx<'_, '_>, signature: &Signature) -> Result<Option<TypeId>, Option<String>> {
    let proto = signature.func_proto();
    match cx.env.spec.expected_attach_type {
        Some(AttachType::LsmMac | AttachType::LsmCgroup | AttachType::TraceFexit) => {
            Ok(proto.map(|proto| proto.ret))
        }
        Some(AttachType::ModifyReturn) => {
            let Some(proto) = proto else { return Err(Some(String::new())) };
            let ty = signature.btf.resolve(proto.ret);
            if ty.is_some_and(|ty| ty.code() == KindCode::Int) && is_small(&ty) {
                return Ok(Some(proto.ret));
            }
            let kind = ty.map_or(KindCode::Void, |ty| ty.code()).name();
            Err(Some(format!("ret type {kind} not allowed for fmod_ret")))
        }
        _ => Err(None),
    }
}

/// Whether a number fits a register.
fn is_small(ty: &Option<Type<'_>>) -> bool {
    ty.is_some_and(|ty| ty.int().is_none_or(|int| int.size <= 8))
}

/// A number: any, but for what hooks return.
fn number(cx: &StepCx<'_, '_>, signature: &Signature, is_result: bool) -> Value {
    if is_result
        && cx.env.spec.expected_attach_type == Some(AttachType::LsmMac)
        && let Some(range) = hook_range(signature)
    {
        let set = Scalar::of_signed(range.min.into(), range.max.into());
        return Value::Scalar(Number { set, ..Number::UNKNOWN });
    }
    Value::UNKNOWN
}

fn pointer(
    cx: &mut StepCx<'_, '_>,
    signature: &Arc<Signature>,
    place: usize,
    off: i64,
    param: TypeId,
) -> Result<Value, String> {
    let btf = &signature.btf;
    if let SignatureOf::Iterator(kind) = &signature.of
        && let Some(IterArg::Bytes { write }) = kind.arg(place)
    {
        let mut buffer = Pointer::to(PointerKind::Buf).with(PtrFlags::MAYBE_NULL);
        buffer.flags.set(PtrFlags::RDONLY, !write);
        buffer.id = Some(cx.fresh_id());
        return Ok(Value::Pointer(buffer));
    }
    let Some(to) = btf.resolve(param).and_then(|ty| ty.pointee()) else {
        return Ok(Value::UNKNOWN);
    };
    let target = btf.resolve(to);
    // Bytes that nothing is known about: as safe as a number, and as useless.
    if target.is_none_or(|target| matches!(target.code(), KindCode::Void | KindCode::Int)) {
        return Ok(Value::UNKNOWN);
    }
    if let SignatureOf::Program(kind) = signature.of {
        return context_of_program(cx, kind, btf, to).ok_or_else(String::new);
    }
    if let Some(told) = told_argument(cx, signature, place, off, target.map(|ty| ty.id)) {
        return Ok(Value::Pointer(told));
    }
    let mut flags = PtrFlags::empty();
    flags.set(PtrFlags::TRUSTED, are_trusted(cx, signature));
    let param_name = signature.param(place).map_or("", |param| btf.name(param.name_off));
    let is_tracepoint = matches!(signature.of, SignatureOf::Tracepoint);
    let doubted = is_tracepoint && tracepoint::may_be_null(&signature.name, place);
    flags.set(PtrFlags::MAYBE_NULL, doubted || param_name.ends_with("__nullable"));
    let tag = btf.get(to).filter(|ty| ty.code() == KindCode::TypeTag).map(|ty| ty.name());
    flags.set(PtrFlags::USER, tag == Some("user"));
    flags.set(PtrFlags::PERCPU, tag == Some("percpu"));

    let name = &signature.name;
    let kind = target.map_or(KindCode::Void, |ty| ty.code());
    let Some(target) = target.filter(|_| matches!(kind, KindCode::Struct | KindCode::Union)) else {
        let kind = kind.name();
        return Err(format!("func '{name}' arg{place} type {kind} is not a struct"));
    };
    cx.env.log.print(format_args!(
        "func '{name}' arg{place} has btf_id {} type {} '{}'\n",
        target.id.0,
        kind.name(),
        if target.name().is_empty() { "(anon)" } else { target.name() }
    ));
    if is_tracepoint && tracepoint::may_be_error(name, place) {
        cx.env
            .log
            .print(format_args!("marking pointer arg{place} as scalar as it may encode error"));
        return Ok(Value::UNKNOWN);
    }
    let ty = seen_as(cx, signature, target, flags);
    Ok(Value::Pointer(object(cx, ty, flags)))
}

/// A pointer that a program was given. Probes see the context as the kernel has it, and nothing
/// behind other pointers.
///
/// Linux: `btf_translate_to_vmlinux`.
fn context_of_program(
    cx: &mut StepCx<'_, '_>,
    kind: ProgKind,
    btf: &Btf,
    to: TypeId,
) -> Option<Value> {
    if !prototype::is_context(kind, btf, to) {
        return None;
    }
    let ty = find_struct(cx.env, prototype::kernel_context_name(kind)?)?;
    Some(Value::Pointer(Pointer::to(PointerKind::Btf { ty })))
}

/// An argument about which more is told than its type.
///
/// Linux: `ctx_arg_info`.
fn told_argument(
    cx: &mut StepCx<'_, '_>,
    signature: &Arc<Signature>,
    place: usize,
    off: i64,
    target: Option<TypeId>,
) -> Option<Pointer> {
    let btf = cx.env.use_btf(&signature.btf);
    match &signature.of {
        SignatureOf::Iterator(kind) => {
            let mut flags = PtrFlags::MAYBE_NULL;
            flags.set(PtrFlags::TRUSTED, kind.arg(place)? == IterArg::Trusted);
            Some(object(cx, BtfType { btf, id: target? }, flags))
        }
        SignatureOf::Member(member) => {
            let told = member.args.iter().find(|arg| i64::from(arg.off) == off)?;
            let mut flags = PtrFlags::TRUSTED;
            flags.set(PtrFlags::MAYBE_NULL, told.maybe_null);
            let mut pointer = object(cx, BtfType { btf, id: told.ty }, flags);
            pointer.ref_id = told.ref_id;
            Some(pointer)
        }
        SignatureOf::Tracepoint
        | SignatureOf::Hook(_)
        | SignatureOf::Function
        | SignatureOf::Program(_) => None,
    }
}

fn object(cx: &mut StepCx<'_, '_>, ty: BtfType, flags: PtrFlags) -> Pointer {
    let mut pointer = Pointer::to(PointerKind::Btf { ty }).with(flags);
    if pointer.maybe_null() {
        pointer.id = Some(cx.fresh_id());
    }
    pointer
}

/// Whether the arguments are known to be alive.
///
/// Linux: `prog_args_trusted`.
fn are_trusted(cx: &StepCx<'_, '_>, signature: &Signature) -> bool {
    match &signature.of {
        SignatureOf::Tracepoint | SignatureOf::Iterator(_) | SignatureOf::Member(_) => true,
        SignatureOf::Hook(hook) => cx.env.spec.prog_type == ProgType::Lsm && lsm::is_trusted(hook),
        SignatureOf::Function | SignatureOf::Program(_) => false,
    }
}

/// The type that the program sees, which for members of some structures is a larger one.
///
/// Linux: `is_valid_access` of a `struct bpf_struct_ops`.
fn seen_as(
    cx: &mut StepCx<'_, '_>,
    signature: &Arc<Signature>,
    target: Type<'_>,
    flags: PtrFlags,
) -> BtfType {
    let own = BtfType { btf: cx.env.use_btf(&signature.btf), id: target.id };
    let SignatureOf::Member(member) = &signature.of else { return own };
    let safe = (flags - PtrFlags::TRUSTED).is_empty();
    match member.ops.seen_as.filter(|(from, _)| safe && target.name() == *from) {
        Some((_, to)) => find_struct(cx.env, to).unwrap_or(own),
        None => own,
    }
}

/// Checks a write to a kernel object, which only some members of some structures may make.
///
/// Linux: `btf_struct_access` of a `struct bpf_verifier_ops`.
pub(crate) fn check_write(
    cx: &StepCx<'_, '_>,
    ty: BtfType,
    off: i64,
    size: u32,
) -> Result<(), Reason> {
    let refused = |text: &str| Reason::from(MemoryError::BtfField { text: text.to_owned() });
    let ops = match cx.env.signature.as_ref().map(|signature| &signature.of) {
        Some(SignatureOf::Member(member)) => member.ops,
        _ => return conntrack(cx, ty, off, size).map_err(Reason::from),
    };
    let name = name_of(cx.env, ty);
    let Some(writable) = ops.writable.iter().find(|row| row.structure == name) else {
        return Err(refused(ops.refusal));
    };
    let Some(btf) = cx.env.btf(ty.btf) else { return Err(MemoryError::BtfReadOnly.into()) };
    let end = off + i64::from(size);
    let (from_start, anywhere) = match writable.parts {
        Parts::Whole if btf.size_of(ty.id).is_some_and(|whole| end <= i64::from(whole)) => {
            return Ok(());
        }
        Parts::Whole => {
            return Err(refused(&format!("write access at off {off} with size {size}")));
        }
        Parts::Members { from_start, anywhere } => (from_start, anywhere),
    };
    let places =
        |names: &'static [&'static str]| names.iter().filter_map(|name| place_of(btf, ty.id, name));
    let begun = places(from_start).find(|place| place.start == off);
    let place = begun.or_else(|| places(anywhere).find(|place| place.contains(&off)));
    match place {
        Some(place) if end <= place.end => Ok(()),
        _ if ops.refusal.is_empty() => Err(refused("")),
        Some(place) => Err(beyond(&name, off, size, place.end).into()),
        None => Err(MemoryError::BtfNoWrite { structure: name, off }.into()),
    }
}

fn beyond(structure: &str, off: i64, size: u32, end: i64) -> MemoryError {
    MemoryError::BtfWriteBeyond { structure: structure.to_owned(), off, size, end }
}

/// The same for connections, whose mark packet programs may write.
///
/// Linux: `nf_conntrack_btf_struct_access`.
fn conntrack(cx: &StepCx<'_, '_>, ty: BtfType, off: i64, size: u32) -> Result<(), MemoryError> {
    let packets = [ProgType::SchedCls, ProgType::SchedAct, ProgType::Xdp];
    let connection = ["nf_conn", "nf_conn___init"].contains(&name_of(cx.env, ty).as_str());
    let types = cx.env.host.kernel_btf();
    let types = types.filter(|_| connection && packets.contains(&cx.env.kind.prog_type));
    // A connection that is not ready is laid out like one that is.
    let Some((types, id)) =
        types.and_then(|types| Some((types, types.by_name_kind("nf_conn", KindCode::Struct)?)))
    else {
        return Err(MemoryError::BtfReadOnly);
    };
    match place_of(types, id, "mark").filter(|place| place.start == off) {
        Some(place) if off + i64::from(size) > place.end => {
            Err(beyond("nf_conn", off, size, place.end))
        }
        Some(_) => Ok(()),
        None => Err(MemoryError::BtfNoWrite { structure: "nf_conn".to_owned(), off }),
    }
}

/// Where a member, named from the outermost structure in, begins and ends, in bytes.
fn place_of(btf: &Btf, id: TypeId, path: &str) -> Option<Range<i64>> {
    let (mut id, mut start) = (id, 0);
    for name in path.split('.') {
        let member = btf.member_by_name(id, name)?;
        start += member.bit_offset / 8;
        id = member.ty;
    }
    let size = btf.size_of(id)?;
    Some(i64::from(start)..i64::from(start) + i64::from(size))
}
