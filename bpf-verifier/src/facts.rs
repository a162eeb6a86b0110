//! A verified program, as programs see it that are to attach to it.

use std::sync::Arc;

use bpf_abi::ctx::{Context, ContextKind, context_of};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_btf::{Btf, FuncLinkage, Kind, TypeId};

use crate::attach::{Signature, SignatureOf};
use crate::env::{Env, Subprog};
use crate::program::is_gpl;

/// A verified program, as programs see it that are to attach to it.
///
/// The verifier makes it of a program that it accepts; whoever loads the program adds what the
/// verifier cannot know: [`id`](Self::id) and [`compiled`](Self::compiled).
#[derive(Clone, Debug)]
pub struct ProgramFacts {
    /// Which program it is: equal numbers are the same program.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its type.
    pub prog_type: ProgType,
    /// The attach type expected when it was loaded.
    pub expected_attach_type: Option<AttachType>,
    /// What R1 points to, if its type is the host's own.
    pub own_context: Option<&'static Context>,
    /// The flags it was loaded with: whether it sleeps, whether it takes packets in fragments.
    pub flags: ProgFlags,
    /// Whether its licence is compatible with the GPL.
    pub gpl: bool,
    /// Whether an engine compiled it. Linux: `jited`.
    pub compiled: bool,
    /// Its types.
    pub btf: Option<Arc<Btf>>,
    /// Its functions that `func_info` names, in the order of the image; those that no path
    /// reached are gone. Empty if it has none.
    pub functions: Vec<FunctionFacts>,
    /// Whether it may move the packet. Linux: `changes_pkt_data`.
    pub changes_packet: bool,
    /// Whether it may sleep. Linux: `might_sleep`.
    pub might_sleep: bool,
    /// Whether it may come to a tail call. Linux: `tail_call_reachable`.
    pub tail_calls: bool,
    /// What kind of program it attaches to, if it attaches to one.
    /// Linux: `saved_dst_prog_type`, `saved_dst_attach_type`.
    pub target: Option<ProgKind>,
}

/// What kind of program one is, or is verified as: an extension is verified as its target's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgKind {
    /// Its type.
    pub prog_type: ProgType,
    /// The attach type expected when it was loaded.
    pub expected_attach_type: Option<AttachType>,
    /// What R1 points to, if its type is the host's own.
    pub own_context: Option<&'static Context>,
}

impl ProgKind {
    /// What R1 points to when a program begins.
    pub fn context(self) -> Option<ContextKind> {
        let own = self.own_context.map(ContextKind::Table);
        own.or_else(|| context_of(self.prog_type, self.expected_attach_type))
    }
}

/// A function of a verified program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    /// Its place among the functions of the image.
    pub subprog: u32,
    /// Its id in the program's BTF.
    pub btf_id: TypeId,
    /// Its name.
    pub name: String,
    /// Who can see it: only global functions can be replaced.
    pub linkage: FuncLinkage,
    /// Whether its BTF type does not describe its code: then it can be traced, by registers only,
    /// but not be replaced.
    pub unreliable: bool,
    /// Whether it, or a function it calls, may move the packet.
    pub changes_packet: bool,
    /// Whether it, or a function it calls, may sleep.
    pub might_sleep: bool,
    /// Whether it is called when an exception was thrown.
    pub is_exception_callback: bool,
}

impl ProgramFacts {
    /// What is to be known of an accepted program.
    pub(crate) fn of(env: &Env<'_>) -> Self {
        let spec = env.spec;
        let main = env.subprogs.first();
        let alive = env.subprogs.iter().filter(|subprog| env.note(subprog.start).seen);
        let functions = (0..).zip(alive).filter_map(|(number, subprog)| {
            FunctionFacts::of(spec.btf.as_deref()?, number, subprog)
        });
        Self {
            id: 0,
            name: spec.name.clone(),
            prog_type: spec.prog_type,
            expected_attach_type: spec.expected_attach_type,
            own_context: env.own_type.as_ref().map(|own| own.context),
            flags: spec.flags,
            gpl: is_gpl(&spec.license),
            compiled: env.host.compiles(),
            btf: spec.btf.clone(),
            functions: functions.collect(),
            changes_packet: main.is_some_and(|main| main.changes_packet),
            might_sleep: main.is_some_and(|main| main.might_sleep),
            tail_calls: main.is_some_and(|main| main.tail_call_reachable),
            target: env.target.as_deref().map(Self::kind),
        }
    }

    /// What kind of program it is.
    pub const fn kind(&self) -> ProgKind {
        ProgKind {
            prog_type: self.prog_type,
            expected_attach_type: self.expected_attach_type,
            own_context: self.own_context,
        }
    }

    /// What kind of program it is verified as: an extension, as its target's.
    fn verified_as(&self) -> ProgKind {
        let target = self.target.filter(|_| self.prog_type == ProgType::Ext);
        target.unwrap_or_else(|| self.kind())
    }

    /// What a probe of one of its functions sees.
    pub(crate) fn signature(&self, function: &FunctionFacts) -> Option<Signature> {
        let btf = self.btf.as_ref()?;
        let described = btf.get(function.btf_id).and_then(|ty| ty.func());
        Some(Signature {
            btf: Arc::clone(btf),
            name: function.name.clone(),
            proto: described.map(|func| func.proto).filter(|_| !function.unreliable),
            of: SignatureOf::Program(self.verified_as()),
        })
    }

    /// Its function of this id, if it has one.
    pub fn function(&self, id: TypeId) -> Option<&FunctionFacts> {
        self.functions.iter().find(|function| function.btf_id == id)
    }

    /// The id of a function of its BTF, by name: what a load or a link names as its target.
    ///
    /// Linux: libbpf's `libbpf_find_prog_btf_id`.
    pub fn function_id(&self, name: &str) -> Option<TypeId> {
        self.btf.as_deref()?.by_name_kind(name, bpf_btf::KindCode::Func)
    }
}

impl FunctionFacts {
    fn of(btf: &Btf, number: u32, subprog: &Subprog) -> Option<Self> {
        let btf_id = subprog.btf_id?;
        let Some(Kind::Func(func)) = btf.get(btf_id).map(|ty| ty.kind) else { return None };
        Some(Self {
            subprog: number,
            btf_id,
            name: subprog.name.clone(),
            linkage: func.linkage,
            unreliable: subprog.unreliable,
            changes_packet: subprog.changes_packet,
            might_sleep: subprog.might_sleep,
            is_exception_callback: subprog.is_exception_callback,
        })
    }
}
