//! What a null check settles.

use bpf_abi::map::MapType;

use crate::call::fields;
use crate::env::Env;
use crate::state::{Id, Keep, Pointer, PointerKind, PtrFlags, State, Value};

/// What a pointer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    /// Null.
    Null,
    /// Not null.
    NotNull,
}

/// A pointer that may be null, and what it is if it is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    id: Option<Id>,
    ref_id: Option<Id>,
    /// What it points to.
    kind: PointerKind,
    /// Whether its identity still matters: locks of what it points to are told apart by it.
    keeps_id: bool,
}

impl Question {
    /// Asks whether `pointer` is null.
    pub(crate) fn about(env: &mut Env<'_>, pointer: &Pointer) -> Self {
        let mut answer = *pointer;
        set_not_null(env, &mut answer);
        Self {
            id: pointer.id,
            ref_id: pointer.ref_id,
            kind: answer.kind,
            keeps_id: fields::may_hold_lock(env, &answer),
        }
    }

    /// All copies of the pointer are null, or are not.
    ///
    /// Linux: `mark_ptr_or_null_regs`.
    pub(crate) fn settle(&self, state: &mut State, is: Is) {
        if is == Is::Null
            && self.ref_id == self.id
            && let Some(id) = self.ref_id
        {
            // There is nothing to be given back.
            state.refs.release(id);
        }
        state.for_each_value(|value| {
            let Value::Pointer(pointer) = value else { return Keep::Yes };
            if !pointer.maybe_null() || pointer.id != self.id {
                return Keep::Yes;
            }
            if is == Is::Null {
                *value = Value::constant(0);
                return Keep::Yes;
            }
            pointer.flags.remove(PtrFlags::MAYBE_NULL);
            pointer.kind = self.kind;
            if !self.keeps_id {
                pointer.id = None;
            }
            Keep::Yes
        });
    }
}

/// A pointer is known not to be null. Linux: `mark_ptr_not_null_reg`.
pub(crate) fn set_not_null(env: &mut Env<'_>, pointer: &mut Pointer) {
    pointer.flags.remove(PtrFlags::MAYBE_NULL);
    if let PointerKind::MapValue { map, uid } = pointer.kind {
        if let Some(inner) = env.inner_map(map) {
            let uid = if fields::needs_map_identity(env, inner) { pointer.id } else { uid };
            pointer.kind = PointerKind::MapPtr { map: inner, uid };
            return;
        }
        match env.map(map).map_type {
            MapType::Xskmap => pointer.kind = PointerKind::XdpSock { map },
            MapType::Sockmap | MapType::Sockhash => {
                pointer.kind = PointerKind::Socket { map: Some(map) };
            }
            _ => {}
        }
    }
}

/// Whether a kernel object is known to be alive. Linux: `is_trusted_reg`.
pub(crate) fn is_trusted(pointer: &Pointer) -> bool {
    let safe = PtrFlags::ALLOC | PtrFlags::TRUSTED | PtrFlags::NON_OWN_REF;
    pointer.ref_id.is_some()
        || (pointer.flags.intersects(safe) && (pointer.flags - safe).is_empty())
}
