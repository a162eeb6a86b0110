//! May a program attach to this type or function of the kernel?

use std::sync::Arc;

use bpf_abi::attach::{function, iter, lsm, struct_ops};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{AttachTo, ProgramSpec};
use bpf_btf::{Btf, KindCode, Type, TypeId};

use super::signature::{Member, Signature, SignatureOf};
use crate::env::Env;
use crate::program::is_gpl;
use crate::refusals::refusals;

refusals! {
    /// Why a program may not attach to a type or function of the kernel.
    pub enum KernelTargetError {
        EINVAL NoKernelTypes "the types of the kernel are not known: no BTF was given";
        ESRCH NotFound { name: String } "the types of the kernel do not know {name}";
        EINVAL AttachType "";
        EINVAL NoId "Tracing programs must provide btf_id";
        EINVAL UnknownId { id: u32 } "attach_btf_id {id} is invalid";
        EINVAL NotTypedef { id: u32 } "attach_btf_id {id} is not a typedef";
        EINVAL WrongName { id: u32, name: String }
            "attach_btf_id {id} points to wrong type name {name}";
        EINVAL NotFunction { id: u32 } "attach_btf_id {id} is not a function";
        EINVAL Model { text: String } "{text}";
        EINVAL NotIterator "";
        EOPNOTSUPP WideResult { name: String }
            "Attach to function {name} with a >8 byte return value is not supported for this attach type";
        EINVAL NotSleepable { name: String } "{name} is not sleepable";
        EINVAL NotModifiable { name: String } "{name}() is not modifiable";
        EINVAL HookLicense "LSM programs must have a GPL compatible license";
        EINVAL HookDisabled { id: u32, name: String }
            "attach_btf_id {id} points to disabled hook {name}";
        EINVAL Denied { name: String }
            "Attaching tracing programs to function '{name}' is rejected.";
        EINVAL NeverReturns { name: String }
            "Attaching fexit/fmod_ret to __noreturn function '{name}' is rejected.";

        // Members of structures of functions.
        EINVAL OpsLicense "struct ops programs must have a GPL compatible license";
        ENOTSUPP OpsWithoutId "";
        ENOTSUPP NotOps { id: u32 } "attach_btf_id {id} is not a supported struct";
        EINVAL OpsMember { index: u32, name: String }
            "attach to invalid member idx {index} of struct {name}";
        EINVAL OpsNoFunction { member: String, index: u32, name: String }
            "attach to invalid member {member}(@idx {index}) of struct {name}";
        ENOTSUPP OpsUnsupported { member: String, name: String }
            "attach to unsupported member {member} of struct {name}";
        EINVAL OpsUnsleepable { member: String, name: String }
            "attach to unsupported member {member} of struct {name}";
        EINVAL OpsOwnedTailCall "program with __ref argument cannot tail call";
    }
}

type Result<T> = std::result::Result<T, KernelTargetError>;

/// What stands before a tracepoint's name. Linux: `BTF_TRACE_PREFIX`.
const TRACEPOINT: &str = "btf_trace_";

/// What stands before an iterator's kind. Linux: `BTF_ITER_PREFIX`.
const ITERATOR: &str = "bpf_iter_";

/// Finds what the program gets for arguments, and checks that it may.
///
/// Linux: `check_attach_btf_id`, for targets in the kernel.
pub(super) fn find(env: &Env<'_>) -> Result<Signature> {
    if env.spec.prog_type == ProgType::StructOps { member(env) } else { traced(env) }
}

/// The number of what the program attaches to: as the load says, or as the program's section
/// names it.
fn id_of(spec: &ProgramSpec, btf: &Btf) -> Result<TypeId> {
    if spec.attach_btf_id != 0 {
        return Ok(TypeId(spec.attach_btf_id));
    }
    let (name, kind) = match &spec.attach_to {
        Some(AttachTo::Kernel(name)) => match spec.expected_attach_type {
            Some(AttachType::TraceRawTp) => (format!("{TRACEPOINT}{name}"), KindCode::Typedef),
            Some(AttachType::TraceIter) => (format!("{ITERATOR}{name}"), KindCode::Func),
            Some(AttachType::LsmMac | AttachType::LsmCgroup) => {
                (format!("{}{name}", lsm::PREFIX), KindCode::Func)
            }
            _ => (name.clone(), KindCode::Func),
        },
        Some(AttachTo::StructOps { name, .. }) => (name.clone(), KindCode::Struct),
        Some(AttachTo::Function(_) | AttachTo::Other(_)) | None => return Ok(TypeId(0)),
    };
    btf.by_name_kind(&name, kind).ok_or(KernelTargetError::NotFound { name })
}

/// The type of the function whose arguments a tracing program is given, if there is such a function.
/// Two tracepoints with equal arguments have two.
///
/// Linux: `attach_func_proto`.
pub fn traced_proto(spec: &ProgramSpec, btf: &Arc<Btf>) -> Option<TypeId> {
    let ty = btf.get(id_of(spec, btf).ok()?)?;
    let is_tracepoint = spec.expected_attach_type == Some(AttachType::TraceRawTp);
    let signature = if is_tracepoint { tracepoint(btf, &ty) } else { function_of(btf, &ty) };
    signature.ok()?.proto
}

fn kernel_types(env: &Env<'_>) -> Result<Arc<Btf>> {
    env.host.kernel_btf().cloned().ok_or(KernelTargetError::NoKernelTypes)
}

/// Linux: `bpf_check_attach_target`.
fn traced(env: &Env<'_>) -> Result<Signature> {
    let spec = env.spec;
    if spec.attach_btf_id == 0 && spec.attach_to.is_none() {
        return Err(KernelTargetError::NoId);
    }
    let btf = kernel_types(env)?;
    let id = id_of(spec, &btf)?;
    let ty = btf.get(id).ok_or(KernelTargetError::UnknownId { id: id.0 })?;
    match spec.expected_attach_type {
        Some(AttachType::TraceRawTp) => tracepoint(&btf, &ty),
        Some(AttachType::TraceIter) => iterator(&btf, &ty),
        Some(
            AttachType::TraceFentry
            | AttachType::TraceFexit
            | AttachType::ModifyReturn
            | AttachType::LsmMac
            | AttachType::LsmCgroup,
        ) => probed(spec, &btf, &ty),
        _ => Err(KernelTargetError::AttachType),
    }
}

fn tracepoint(btf: &Arc<Btf>, ty: &Type<'_>) -> Result<Signature> {
    let id = ty.id.0;
    if ty.code() != KindCode::Typedef {
        return Err(KernelTargetError::NotTypedef { id });
    }
    let Some(name) = ty.name().strip_prefix(TRACEPOINT) else {
        return Err(KernelTargetError::WrongName { id, name: ty.name().to_owned() });
    };
    // The typedef has no names of arguments; the tracepoint's own function has.
    let own = btf.by_name_kind(&format!("__bpf_trace_{name}"), KindCode::Func);
    let proto = match own.and_then(|own| btf.get(own)?.func()) {
        Some(func) => Some(func.proto),
        None => btf.pointee(ty.id).map(|proto| proto.id),
    };
    let proto = proto.filter(|proto| btf.func_proto(*proto).is_some());
    let Some(proto) = proto else { return Err(KernelTargetError::AttachType) };
    Ok(Signature {
        btf: Arc::clone(btf),
        name: name.to_owned(),
        proto: Some(proto),
        of: SignatureOf::Tracepoint,
    })
}

fn iterator(btf: &Arc<Btf>, ty: &Type<'_>) -> Result<Signature> {
    let signature = function_of(btf, ty)?;
    let kind = signature.name.strip_prefix(ITERATOR).and_then(iter::find);
    let Some(kind) = kind else { return Err(KernelTargetError::NotIterator) };
    Ok(Signature { of: SignatureOf::Iterator(kind), ..signature })
}

/// A function, whose arguments must be such that they can be handed on.
fn function_of(btf: &Arc<Btf>, ty: &Type<'_>) -> Result<Signature> {
    let Some(func) = ty.func() else {
        return Err(KernelTargetError::NotFunction { id: ty.id.0 });
    };
    let name = ty.name().to_owned();
    if let Err(error) = btf.func_model(&name, func.proto) {
        return Err(KernelTargetError::Model { text: error.to_string() });
    }
    let proto = Some(func.proto);
    Ok(Signature { btf: Arc::clone(btf), name, proto, of: SignatureOf::Function })
}

/// A function that the program runs before, behind, or instead of.
fn probed(spec: &ProgramSpec, btf: &Arc<Btf>, ty: &Type<'_>) -> Result<Signature> {
    let signature = function_of(btf, ty)?;
    let name = || signature.name.clone();
    let attach = spec.expected_attach_type;
    let is = |types: &[AttachType]| attach.is_some_and(|attach| types.contains(&attach));
    let sees_result = is(&[AttachType::ModifyReturn, AttachType::TraceFexit]);
    let result = signature.func_proto().and_then(|proto| btf.size_of(proto.ret));
    if sees_result && result.is_some_and(|size| size > 8) {
        return Err(KernelTargetError::WideResult { name: name() });
    }
    let hook = signature.name.strip_prefix(lsm::PREFIX).filter(|name| lsm::is_hook(name));
    if spec.flags.contains(ProgFlags::SLEEPABLE) {
        let may_sleep = if spec.prog_type == ProgType::Lsm {
            hook.is_some_and(lsm::may_sleep)
        } else {
            function::may_sleep(&signature.name)
        };
        if !may_sleep {
            return Err(KernelTargetError::NotSleepable { name: name() });
        }
    } else if is(&[AttachType::ModifyReturn]) && !function::is_modifiable(&signature.name) {
        return Err(KernelTargetError::NotModifiable { name: name() });
    }
    if spec.prog_type == ProgType::Lsm {
        return hooked(spec, ty.id.0, hook.map(str::to_owned), signature);
    }
    if function::is_denied(&signature.name) {
        return Err(KernelTargetError::Denied { name: name() });
    }
    if sees_result && function::never_returns(&signature.name) {
        return Err(KernelTargetError::NeverReturns { name: name() });
    }
    Ok(signature)
}

/// Linux: `bpf_lsm_verify_prog`.
fn hooked(
    spec: &ProgramSpec,
    id: u32,
    hook: Option<String>,
    signature: Signature,
) -> Result<Signature> {
    if !is_gpl(&spec.license) {
        return Err(KernelTargetError::HookLicense);
    }
    let name = signature.name.clone();
    match hook {
        None => Err(KernelTargetError::WrongName { id, name }),
        Some(hook) if lsm::is_disabled(&hook) => Err(KernelTargetError::HookDisabled { id, name }),
        Some(hook) => Ok(Signature { of: SignatureOf::Hook(hook), ..signature }),
    }
}

/// A member of a structure of functions.
///
/// Linux: `check_struct_ops_btf_id`.
fn member(env: &Env<'_>) -> Result<Signature> {
    let spec = env.spec;
    if !is_gpl(&spec.license) {
        return Err(KernelTargetError::OpsLicense);
    }
    if spec.attach_btf_id == 0 && spec.attach_to.is_none() {
        return Err(KernelTargetError::OpsWithoutId);
    }
    let btf = kernel_types(env)?;
    let id = id_of(spec, &btf)?;
    let ty = btf.get(id).filter(|ty| is_ops(&btf, ty));
    let Some(ty) = ty else { return Err(KernelTargetError::NotOps { id: id.0 }) };
    let name = || ty.name().to_owned();
    let index = member_index(spec, &btf, &ty);
    let members = ty.composite().into_iter().flat_map(|composite| composite.members());
    let found = usize::try_from(index).ok().and_then(|index| members.clone().nth(index));
    let Some(found) = found else {
        return Err(KernelTargetError::OpsMember { index, name: name() });
    };
    let member = || btf.name(found.name_off).to_owned();
    let proto = btf.pointee(found.ty).filter(|ty| ty.proto().is_some());
    let Some(proto) = proto else {
        return Err(KernelTargetError::OpsNoFunction { member: member(), index, name: name() });
    };
    let ops = struct_ops::find(ty.name());
    if !ops.supports(&member()) {
        return Err(KernelTargetError::OpsUnsupported { member: member(), name: name() });
    }
    if spec.flags.contains(ProgFlags::SLEEPABLE) && !ops.may_sleep(&member()) {
        return Err(KernelTargetError::OpsUnsleepable { member: member(), name: name() });
    }
    let told = Member { structure: name(), ops, args: Vec::new() };
    let mut signature = Signature {
        btf: Arc::clone(&btf),
        name: member(),
        proto: Some(proto.id),
        of: SignatureOf::Function,
    };
    let args = signature.stub_args(ty.name());
    if args.iter().any(|arg| arg.owned) && env.subprogs.first().is_some_and(|s| s.has_tail_call) {
        return Err(KernelTargetError::OpsOwnedTailCall);
    }
    signature.of = SignatureOf::Member(Member { args, ..told });
    Ok(signature)
}

/// Which member is meant: by its number, as the load says, or by its name.
fn member_index(spec: &ProgramSpec, btf: &Btf, ty: &Type<'_>) -> u32 {
    if let Some(AttachTo::StructOps { member, .. }) = &spec.attach_to {
        let mut members = ty.composite().into_iter().flat_map(|composite| composite.members());
        let place = members.position(|found| btf.name(found.name_off) == member);
        return place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX);
    }
    spec.expected_attach_type.map_or(u32::MAX, AttachType::number)
}

/// Whether programs can stand for the functions of a structure: then there is a structure that
/// maps hold of it.
///
/// Linux: `bpf_struct_ops_find`.
fn is_ops(btf: &Btf, ty: &Type<'_>) -> bool {
    if ty.code() != KindCode::Struct || ty.name().is_empty() {
        return false;
    }
    let value = format!("{}{}", struct_ops::VALUE_PREFIX, ty.name());
    let value = btf.by_name_kind(&value, KindCode::Struct).and_then(|id| btf.get(id));
    let Some(value) = value.and_then(|value| value.composite()) else { return false };
    let mut members = value.members();
    let common = members.next().is_some_and(|member| {
        btf.resolve(member.ty).is_some_and(|ty| ty.name() == "bpf_struct_ops_common_value")
    });
    common && members.next().is_some_and(|member| member.ty == ty.id)
}

#[cfg(test)]
mod tests {
    use bpf_btf::{Builder, FuncLinkage};

    use super::*;
    use crate::described::DescribedWorld;
    use crate::options::{LogOptions, Options};
    use crate::testing::program;

    /// A kernel with a few functions, each of which takes a file and returns a number, but for
    /// those that free.
    fn kernel() -> Arc<Btf> {
        let mut btf = Builder::new();
        let int = btf.int("int", 4, true);
        let file = btf.structure("file", 8, &[("mode", int, 0)]);
        let file = btf.ptr(file);
        let wide = btf.int("__int128", 16, true);
        let returns = btf.proto(int, &[("file", file)]);
        let frees = btf.proto(TypeId(0), &[("file", file)]);
        let variadic = btf.proto(int, &[("file", file), ("", TypeId(0))]);
        let far = btf.proto(wide, &[("file", file)]);
        for (name, proto) in [
            ("bpf_lsm_file_open", returns),
            ("bpf_lsm_file_permission", returns),
            ("bpf_lsm_getprocattr", returns),
            ("bpf_lsm_verify_prog", returns),
            ("bpf_lsm_file_free_security", frees),
            ("bpf_iter_file", returns),
            ("security_file_open", returns),
            ("__x64_sys_openat", returns),
            ("vfs_read", returns),
            ("vfs_printf", variadic),
            ("vfs_far", far),
            ("do_exit", frees),
            ("migrate_disable", frees),
        ] {
            btf.func(name, proto, FuncLinkage::Static);
        }
        let pointer = btf.ptr(returns);
        btf.typedef("btf_trace_opened", pointer);
        Arc::new(btf.finish().expect("the types are whole"))
    }

    /// The last line that is said of a program that attaches so; empty if it is accepted.
    fn said(prog_type: ProgType, attach: AttachType, name: &str, flags: ProgFlags) -> String {
        verdict(prog_type, attach, name, flags, "r0 = 0\nexit", "GPL")
    }

    fn verdict(
        prog_type: ProgType,
        attach: AttachType,
        name: &str,
        flags: ProgFlags,
        text: &str,
        license: &str,
    ) -> String {
        let mut spec = program(prog_type, text);
        spec.expected_attach_type = Some(attach);
        spec.attach_to = Some(AttachTo::Kernel(name.to_owned()));
        spec.flags = flags;
        license.clone_into(&mut spec.license);
        let world = DescribedWorld::new(Some(kernel()));
        let log = LogOptions { level: 1, size: None };
        let checked = crate::check(&spec, &world, &Options { log, ..Options::default() });
        match checked.result {
            Ok(()) => String::new(),
            Err(rejection) => rejection.reason.to_string(),
        }
    }

    #[test]
    fn security_hooks_are_attached_to_and_what_serves_them_is_not() {
        let hook = |name| said(ProgType::Lsm, AttachType::LsmMac, name, ProgFlags::empty());
        assert_eq!(hook("file_open"), "");
        assert!(hook("getprocattr").ends_with("points to disabled hook bpf_lsm_getprocattr"));
        assert!(hook("verify_prog").ends_with("points to wrong type name bpf_lsm_verify_prog"));
        assert_eq!(hook("nonsense"), "the types of the kernel do not know bpf_lsm_nonsense");
        let text = "r0 = 0\nexit";
        let own = |license| {
            let none = ProgFlags::empty();
            verdict(ProgType::Lsm, AttachType::LsmMac, "file_open", none, text, license)
        };
        assert_eq!(own("MIT"), "LSM programs must have a GPL compatible license");
    }

    #[test]
    fn few_hooks_and_functions_let_their_programs_sleep() {
        let sleep = ProgFlags::SLEEPABLE;
        let hook = |name| said(ProgType::Lsm, AttachType::LsmMac, name, sleep);
        assert_eq!(hook("file_open"), "");
        assert_eq!(hook("file_permission"), "bpf_lsm_file_permission is not sleepable");
        let probe = |name| said(ProgType::Tracing, AttachType::TraceFentry, name, sleep);
        assert_eq!(probe("__x64_sys_openat"), "");
        assert_eq!(probe("vfs_read"), "vfs_read is not sleepable");
    }

    #[test]
    fn a_hooks_program_returns_an_error_number_or_zero() {
        let text = |value: i32| format!("r0 = {value}\nexit");
        let returns = |attach, name, value| {
            let none = ProgFlags::empty();
            verdict(ProgType::Lsm, attach, name, none, &text(value), "GPL")
        };
        let hook = |value| returns(AttachType::LsmMac, "file_open", value);
        assert_eq!((hook(0).as_str(), hook(-4095).as_str()), ("", ""));
        assert!(hook(1).contains("should have been in [-4095, 0]"));
        assert!(hook(-4096).contains("should have been in [-4095, 0]"));
        // Nothing is returned where the hook returns nothing.
        assert_eq!(returns(AttachType::LsmMac, "file_free_security", 7), "");
        let group = |name, value| returns(AttachType::LsmCgroup, name, value);
        assert_eq!(group("file_open", 1), "");
        assert!(group("file_open", 2).contains("should have been in [0, 1]"));
        assert!(group("file_free_security", 0).contains("can't modify return value!"));
    }

    #[test]
    fn probes_see_functions_that_come_back_with_few_arguments() {
        use AttachType as A;
        let probe = |attach, name| said(ProgType::Tracing, attach, name, ProgFlags::empty());
        assert_eq!(probe(A::TraceFentry, "vfs_read"), "");
        assert_eq!(probe(A::TraceFentry, "do_exit"), "");
        assert!(probe(A::TraceFexit, "do_exit").contains("__noreturn function 'do_exit'"));
        assert!(probe(A::TraceFentry, "migrate_disable").ends_with("is rejected."));
        assert_eq!(
            probe(A::TraceFentry, "vfs_printf"),
            "The function vfs_printf with variable args is unsupported."
        );
        assert_eq!(probe(A::TraceFentry, "vfs_far"), "");
        assert!(probe(A::TraceFexit, "vfs_far").contains(">8 byte return value"));
        assert_eq!(probe(A::ModifyReturn, "security_file_open"), "");
        assert_eq!(probe(A::ModifyReturn, "vfs_read"), "vfs_read() is not modifiable");
    }

    #[test]
    fn a_probes_context_is_the_arguments_and_last_the_result() {
        let reads = |attach, off| {
            let text = format!("r2 = *(u64 *)(r1 +{off})\nr0 = 0\nexit");
            let none = ProgFlags::empty();
            verdict(ProgType::Tracing, attach, "vfs_read", none, &text, "GPL")
        };
        assert_eq!(reads(AttachType::TraceFentry, 0), "");
        assert!(reads(AttachType::TraceFentry, 8).starts_with("invalid bpf_context access"));
        assert_eq!(reads(AttachType::TraceFexit, 8), "");
        assert!(reads(AttachType::TraceFexit, 16).starts_with("invalid bpf_context access"));
    }

    #[test]
    fn tracepoints_are_found_by_their_types_and_iterators_by_their_names() {
        let traced = |attach, name| said(ProgType::Tracing, attach, name, ProgFlags::empty());
        assert_eq!(traced(AttachType::TraceRawTp, "opened"), "");
        assert!(traced(AttachType::TraceRawTp, "closed").ends_with("btf_trace_closed"));
        // There is such a function, but no such kind of iterator.
        let mut spec = program(ProgType::Tracing, "r0 = 0\nexit");
        spec.expected_attach_type = Some(AttachType::TraceIter);
        spec.attach_to = Some(AttachTo::Kernel("file".to_owned()));
        let world = DescribedWorld::new(Some(kernel()));
        let checked = crate::check(&spec, &world, &Options::default());
        let refused = checked.result.expect_err("it is no iterator");
        assert_eq!(refused.reason, KernelTargetError::NotIterator.into());
    }
}
