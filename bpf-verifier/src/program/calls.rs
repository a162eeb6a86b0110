//! What the passes need to know of a helper before any path is walked.

use bpf_abi::helper::hooks::{Hook, Lookup};
use bpf_abi::helper::protos::PROTOS;
use bpf_abi::helper::{HelperFlags, HelperProto, RetKind};
use bpf_abi::prog::ProgFlags;
use bpf_isa::Slot;

use crate::env::Env;
use crate::program::flow::{called_helper, called_kfunc};
use crate::program::kfuncs;

/// What a call does besides computing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    pub(super) flags: HelperFlags,
    pub(super) is_iter_next: bool,
}

/// How a call uses registers.
///
/// Linux: `struct call_summary`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    /// How many arguments it reads.
    pub(super) arity: u8,
    /// Whether it has no result.
    pub(super) is_void: bool,
    /// Whether it leaves the registers alone that it does not read, as it is inlined.
    pub(super) fastcall: bool,
}

/// What this program's hook says to the helper with this number.
pub(crate) fn lookup(env: &Env<'_>, id: u32) -> Lookup {
    let spec = env.spec;
    let target = env.signature.as_ref().map(|signature| signature.target()).unwrap_or_default();
    let hook = Hook {
        prog_type: env.kind.prog_type,
        attach_type: env.kind.expected_attach_type,
        sleepable: spec.flags.contains(ProgFlags::SLEEPABLE),
        target: &target,
    };
    hook.helper(id)
}

/// The contract of a helper, if this program may call it.
///
/// Linux: `get_helper_proto`.
pub(crate) fn helper(env: &Env<'_>, id: i32) -> Option<&'static HelperProto> {
    let id = u32::try_from(id).ok()?;
    match lookup(env, id) {
        Lookup::Found(proto) => Some(proto),
        Lookup::Unknown | Lookup::NotHere(_) => env.host.extra_helper(env.spec, id),
    }
}

/// What a helper does besides computing: callbacks and the packet whoever calls it, sleep only
/// if this program may call it.
pub(super) fn helper_effects(env: &Env<'_>, id: i32) -> Effects {
    let anywhere = PROTOS
        .iter()
        .find(|row| i32::try_from(row.proto.id) == Ok(id))
        .map_or(HelperFlags::empty(), |row| row.proto.flags - HelperFlags::MIGHT_SLEEP);
    let here = helper(env, id).map_or(HelperFlags::empty(), |proto| proto.flags);
    Effects { flags: anywhere | here, is_iter_next: false }
}

/// How a call uses registers, if its callee is known here. Linux: `get_call_summary`.
pub(super) fn summary(env: &Env<'_>, slot: Slot) -> Option<Summary> {
    if let Some((id, btf)) = called_kfunc(slot) {
        return kfuncs::summary(env, id, btf);
    }
    let proto = helper(env, called_helper(slot)?)?;
    Some(Summary {
        arity: u8::try_from(proto.args.len()).unwrap_or(5),
        is_void: proto.ret.kind == RetKind::Void,
        fastcall: proto.flags.contains(HelperFlags::ALLOW_FASTCALL),
    })
}
