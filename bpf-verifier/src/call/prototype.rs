//! What a function's BTF type says of its arguments, whoever asks.
//!
//! A global function is judged by this alone, its callers are held to it, and an extension may
//! demand no more of its callers than the function it replaces.

use bpf_abi::ctx::ContextKind;
use bpf_abi::prog::{AttachType, ProgType};
use bpf_btf::{Btf, Kind, KindCode, Type, TypeId};
use bpf_isa::Reg;

use crate::call::CallError;
use crate::facts::ProgKind;

/// What user programs know registers by.
const USER_REGS: &str = "bpf_user_pt_regs_t";

/// What a function says of an argument. Types are ids in the program's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Any number.
    Number,
    /// The context.
    Context,
    /// Memory as large as this type.
    Memory {
        /// The type, behind qualifiers and typedefs.
        ty: TypeId,
        /// Its size, in bytes.
        size: u32,
        /// Whether it may be null.
        nullable: bool,
    },
    /// A kernel object that stays alive, of the type with this one's name.
    Trusted {
        /// The program's type.
        ty: TypeId,
        /// Whether it may be null.
        nullable: bool,
    },
    /// The address of a kernel object, perhaps: of the type with this one's name.
    UntrustedObject {
        /// The program's type.
        ty: TypeId,
    },
    /// Any address: of memory that is only read, perhaps.
    UntrustedMemory,
    /// A dynptr that is only read.
    Dynptr,
    /// An address in the arena.
    Arena,
}

/// A function whose type is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'b> {
    /// The program's types.
    pub(crate) btf: &'b Btf,
    /// The function.
    pub(crate) id: TypeId,
    /// What kind of program it is in.
    pub(crate) kind: ProgKind,
    /// Whether it is global: of others, most faults are passed over in silence.
    pub(crate) global: bool,
}

impl Function<'_> {
    /// The types of its parameters.
    ///
    /// Linux: the beginning of `btf_prepare_func_args`.
    ///
    /// # Errors
    ///
    /// Returns an error if it has too many, or returns no number.
    pub(crate) fn params(&self) -> Result<Vec<TypeId>, CallError> {
        let name = self.name();
        let proto = self.btf.get(self.id).and_then(|ty| ty.func()).map(|func| func.proto);
        let Some(proto) = proto.and_then(|id| self.btf.func_proto(id)) else {
            return Err(text(format!("Invalid type of function {name}()")));
        };
        let count = proto.len();
        if count > Reg::ARGS.len() {
            return Err(self.quiet(format!(
                "Global function {name}() with {count} > 5 args. Buggy compiler."
            )));
        }
        if !is_number(self.btf, proto.ret) {
            return Err(self.quiet(format!(
                "Global function {name}() doesn't return scalar. Only those are supported."
            )));
        }
        Ok(proto.params().map(|param| param.ty).collect())
    }

    /// What it says of an argument, which has this type.
    ///
    /// Linux: the loop of `btf_prepare_func_args`.
    ///
    /// # Errors
    ///
    /// Returns an error if a global function may have no such argument.
    pub(crate) fn argument(&self, arg: u32, param: TypeId) -> Result<Argument, CallError> {
        let tags = self.tags(arg)?;
        let invalid = || text(format!("arg#{arg} has invalid combination of tags"));
        let ty = self.btf.resolve(param);
        let Some(Kind::Ptr(to)) = ty.map(|ty| ty.kind) else {
            if !tags.is_empty() {
                return Err(text(format!("arg#{arg} has pointer tag, but is not a pointer type")));
            }
            if is_number(self.btf, param) {
                return Ok(Argument::Number);
            }
            let kind = kind_text(ty.map(|ty| ty.code()));
            let name = self.name();
            return Err(
                self.quiet(format!("Arg#{arg} type {kind} in {name}() is not supported yet."))
            );
        };
        if tags.ctx || is_context(self.kind, self.btf, to) {
            if !(Tags { ctx: false, ..tags }).is_empty() {
                return Err(invalid());
            }
            if tags.ctx {
                self.check_context_type(to, arg)?;
            }
            return Ok(Argument::Context);
        }
        if is_dynptr(self.btf, to) {
            return if tags.is_empty() { Ok(Argument::Dynptr) } else { Err(invalid()) };
        }
        if tags.trusted {
            if tags.nonnull {
                return Err(invalid());
            }
            return Ok(Argument::Trusted { ty: to, nullable: tags.nullable });
        }
        if tags.untrusted {
            if !(Tags { untrusted: false, ..tags }).is_empty() {
                return Err(text(format!(
                    "arg#{arg} untrusted cannot be combined with any other tags"
                )));
            }
            if to.is_void() || is_number(self.btf, to) {
                return Ok(Argument::UntrustedMemory);
            }
            return Ok(Argument::UntrustedObject { ty: to });
        }
        if tags.arena {
            if !(Tags { arena: false, ..tags }).is_empty() {
                return Err(text(format!(
                    "arg#{arg} arena cannot be combined with any other tags"
                )));
            }
            return Ok(Argument::Arena);
        }
        if !self.global {
            return Err(text(String::new()));
        }
        if tags.nullable {
            return Err(invalid());
        }
        self.memory(to, arg, tags)
    }

    /// A pointer to anything of known size.
    fn memory(&self, to: TypeId, arg: u32, tags: Tags) -> Result<Argument, CallError> {
        let target = self.btf.resolve(to);
        let sized = target.filter(|_| !to.is_void());
        let Some((ty, size)) = sized.and_then(|ty| Some((ty.id, self.btf.size_of(ty.id)?))) else {
            let kind = kind_text(target.as_ref().map(|ty| ty.code()));
            let name = target.as_ref().map_or("", |ty| ty.name());
            return Err(text(format!(
                "arg#{arg} reference type('{kind} {name}') size cannot be determined: -22"
            )));
        };
        Ok(Argument::Memory { ty, size, nullable: !tags.nonnull })
    }

    fn name(&self) -> &str {
        self.btf.name_of(self.id)
    }

    /// A fault that is only told of global functions.
    fn quiet(&self, message: String) -> CallError {
        text(if self.global { message } else { String::new() })
    }

    /// What the program tagged an argument with.
    fn tags(&self, arg: u32) -> Result<Tags, CallError> {
        let mut tags = Tags::default();
        for tag in self.btf.decl_tags_of(self.id, Some(arg)) {
            let Some(tag) = tag.strip_prefix("arg:") else { continue };
            if !self.global {
                let message = format!("arg#{arg} type tag is not supported in static functions");
                return Err(text(message));
            }
            match tag {
                "ctx" => tags.ctx = true,
                "trusted" => tags.trusted = true,
                "untrusted" => tags.untrusted = true,
                "nonnull" => tags.nonnull = true,
                "nullable" => tags.nullable = true,
                "arena" => tags.arena = true,
                _ => return Err(CallError::ArgTags { arg }),
            }
        }
        Ok(tags)
    }

    /// Checks what is tagged as the context. Linux: `btf_validate_prog_ctx_type`.
    fn check_context_type(&self, to: TypeId, arg: u32) -> Result<(), CallError> {
        let own = self.btf;
        let prog_type = self.kind.prog_type;
        if prog_type == ProgType::Kprobe && is_user_regs(own, to) {
            return Ok(());
        }
        let Some(ty) = own.resolve(to).filter(|_| !to.is_void()) else { return Ok(()) };
        if ty.code() == KindCode::Void {
            return Ok(());
        }
        if ty.name().is_empty() {
            return Err(text(format!("arg#{arg} type doesn't have a name")));
        }
        let is_struct = ty.code() == KindCode::Struct;
        if self.is_other_context(&ty) {
            return Ok(());
        }
        let wanted = match prog_type {
            ProgType::Kprobe => "pt_regs",
            _ => context_name(self.kind),
        };
        if wanted.is_empty() {
            return Err(text(format!("arg#{arg} should be void pointer")));
        }
        if !is_struct || ty.name() != wanted {
            return Err(text(format!("arg#{arg} should be `struct {wanted} *`")));
        }
        Ok(())
    }

    /// Whether a type may be tagged as the context besides the one that the context has.
    fn is_other_context(&self, ty: &Type<'_>) -> bool {
        let is_word = ty.int().is_some_and(|int| int.size == 8);
        let is_struct = ty.code() == KindCode::Struct;
        match (self.kind.prog_type, self.kind.expected_attach_type) {
            (ProgType::PerfEvent, _) => is_struct && ty.name() == "pt_regs",
            (ProgType::Tracing, Some(AttachType::TraceRawTp)) => {
                is_word || is_struct && ty.name() == "bpf_raw_tracepoint_args"
            }
            (ProgType::Tracing, Some(AttachType::TraceIter)) => {
                is_struct && ty.name().starts_with("bpf_iter__")
            }
            (
                ProgType::Tracing,
                Some(AttachType::TraceFentry | AttachType::TraceFexit | AttachType::ModifyReturn),
            )
            | (
                ProgType::RawTracepoint
                | ProgType::RawTracepointWritable
                | ProgType::Lsm
                | ProgType::StructOps,
                _,
            ) => is_word,
            (ProgType::Tracepoint | ProgType::Syscall | ProgType::Ext, _) => true,
            _ => false,
        }
    }
}

/// Whether a type is, behind qualifiers and typedefs, the one that user programs know registers
/// by.
fn is_user_regs(own: &Btf, id: TypeId) -> bool {
    // More typedefs of one another are no type.
    const MOST: usize = 32;
    let mut ty = own.skip_qualifiers(id);
    for _ in 0..MOST {
        let Some(Type { kind: Kind::Typedef(to), .. }) = ty else { return false };
        if ty.is_some_and(|ty| ty.name() == USER_REGS) {
            return true;
        }
        ty = own.skip_qualifiers(to);
    }
    false
}

fn text(text: String) -> CallError {
    CallError::ArgType { text }
}

/// What a program puts on an argument.
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

/// Whether a type, without qualifiers and typedefs, is an integer or an enumeration.
fn is_number(btf: &Btf, id: TypeId) -> bool {
    let code = btf.resolve(id).map(|ty| ty.code());
    matches!(code, Some(KindCode::Int | KindCode::Enum | KindCode::Enum64))
}

/// How messages name a kind of type. Linux: `btf_type_str`.
pub(crate) const fn kind_text(code: Option<KindCode>) -> &'static str {
    match code {
        None | Some(KindCode::Void) => "UNKNOWN",
        Some(code) => code.name(),
    }
}

/// Linux: `btf_is_dynptr_ptr`.
fn is_dynptr(own: &Btf, to: TypeId) -> bool {
    own.skip_qualifiers(to)
        .is_some_and(|ty| ty.code() == KindCode::Struct && ty.name() == "bpf_dynptr")
}

/// The structure that programs of this kind get; empty if it has no name.
fn context_name(kind: ProgKind) -> &'static str {
    match kind.prog_type {
        ProgType::Kprobe => USER_REGS,
        ProgType::CgroupSockAddr => "bpf_sock_addr",
        _ => match kind.context() {
            Some(ContextKind::Table(table)) => table.name,
            Some(ContextKind::Bytes { .. } | ContextKind::Arguments) | None => "",
        },
    }
}

/// The kernel's own structure behind the context of programs of this kind.
///
/// Linux: `find_kern_ctx_type_id`.
pub(crate) fn kernel_context_name(kind: ProgKind) -> Option<&'static str> {
    match kind.prog_type {
        ProgType::Kprobe => return Some("pt_regs"),
        ProgType::FlowDissector => return Some("bpf_flow_dissector"),
        _ => {}
    }
    let Some(ContextKind::Table(table)) = kind.context() else { return None };
    Some(match table.name {
        "__sk_buff" => "sk_buff",
        "xdp_md" => "xdp_buff",
        "bpf_sock" => "sock",
        "bpf_sock_addr" => "bpf_sock_addr_kern",
        "bpf_sock_ops" => "bpf_sock_ops_kern",
        "sk_msg_md" => "sk_msg",
        "bpf_perf_event_data" => "bpf_perf_event_data_kern",
        "bpf_sysctl" => "bpf_sysctl_kern",
        "bpf_sockopt" => "bpf_sockopt_kern",
        "sk_reuseport_md" => "sk_reuseport_kern",
        "bpf_sk_lookup" => "bpf_sk_lookup_kern",
        other => other,
    })
}

/// Whether a pointer to this is one to the context. Linux: `btf_is_prog_ctx_type`.
pub(crate) fn is_context(kind: ProgKind, own: &Btf, to: TypeId) -> bool {
    let wanted = context_name(kind);
    if wanted == USER_REGS && named(own, to) == wanted {
        return true;
    }
    let Some(ty) = own.resolve(to) else { return false };
    if ty.code() != KindCode::Struct || wanted.is_empty() {
        return false;
    }
    let name = ty.name();
    name == wanted
        || matches!((wanted, name), ("__sk_buff", "sk_buff") | ("xdp_md", "xdp_buff"))
        || (wanted == USER_REGS && name == "pt_regs")
}

/// The name of a type without qualifiers, a typedef's being its own.
fn named(own: &Btf, id: TypeId) -> &str {
    own.skip_qualifiers(id).map_or("", |ty| ty.name())
}
