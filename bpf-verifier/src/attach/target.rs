//! May a program attach to this function of that program?
//!
//! Asked when it is loaded, of the target that the load names, and again at each link, which may
//! name another. An extension takes the function's place, so it must be of the same type and do
//! nothing that the function's callers do not expect; a probe only looks on.

use std::sync::Arc;

use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_btf::{Btf, TypeId};

use super::{AttachError, types};
use crate::env::Env;
use crate::facts::{FunctionFacts, ProgKind, ProgramFacts};

/// A program that wants to attach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attaching<'a> {
    pub(super) kind: ProgKind,
    pub(super) sleepable: bool,
    pub(super) compiled: bool,
    pub(super) changes_packet: bool,
    pub(super) might_sleep: bool,
    pub(super) btf: Option<&'a Arc<Btf>>,
    /// Its main function's type, if `func_info` says one.
    pub(super) main: Option<TypeId>,
    /// The kind of program it was verified for before, at its load.
    pub(super) verified_for: Option<ProgKind>,
}

/// Checks that a loaded program may attach to a function of another, as a link is to be made.
///
/// The function is one that the target's BTF names; the answer is what is known of it. Whether
/// something else is attached there is not asked.
///
/// Linux: `bpf_check_attach_target`, in `bpf_tracing_prog_attach`.
///
/// # Errors
///
/// Returns the reason if it may not. The kernel says nothing but the error number.
pub fn check_link<'t>(
    program: &ProgramFacts,
    target: &'t ProgramFacts,
    id: TypeId,
    strict_holes: bool,
) -> Result<&'t FunctionFacts, AttachError> {
    let attaching = Attaching {
        kind: program.kind(),
        sleepable: program.flags.contains(ProgFlags::SLEEPABLE),
        compiled: program.compiled,
        changes_packet: program.changes_packet,
        might_sleep: program.might_sleep,
        btf: program.btf.as_ref(),
        main: program.functions.first().map(|main| main.btf_id),
        verified_for: program.target,
    };
    check_function(&attaching, target, id, strict_holes)
}

impl<'a> Attaching<'a> {
    /// The program that is being verified.
    pub(super) fn of(env: &'a Env<'_>) -> Self {
        let main = env.subprogs.first();
        Self {
            kind: env.kind,
            sleepable: env.spec.flags.contains(ProgFlags::SLEEPABLE),
            compiled: env.host.compiles(),
            changes_packet: main.is_some_and(|main| main.changes_packet),
            might_sleep: main.is_some_and(|main| main.might_sleep),
            btf: env.spec.btf.as_ref(),
            main: env.debug.funcs.first().map(|record| record.type_id),
            verified_for: None,
        }
    }

    const fn extends(&self) -> bool {
        matches!(self.kind.prog_type, ProgType::Ext)
    }
}

/// Checks that a program may attach to a function.
///
/// Linux: `bpf_check_attach_target`, for targets that are programs.
pub(super) fn check_function<'t>(
    program: &Attaching<'_>,
    target: &'t ProgramFacts,
    id: TypeId,
    strict_holes: bool,
) -> Result<&'t FunctionFacts, AttachError> {
    if id.is_void() {
        return Err(AttachError::NoTargetId);
    }
    let btf = target.btf.as_ref().ok_or(AttachError::NoTargetBtf)?;
    if btf.get(id).is_none() {
        return Err(AttachError::NoSuchId { id: id.0 });
    }
    let missing = || AttachError::NoSubprog { name: btf.name_of(id).to_owned() };
    let function = target.function(id).ok_or_else(missing)?;
    if function.is_exception_callback {
        let who = if program.extends() { "Extension" } else { "FENTRY/FEXIT" };
        return Err(AttachError::ToExceptionCallback { who });
    }
    if program.extends() {
        check_replacement(program, function)?;
    }
    if !target.compiled {
        return Err(AttachError::TargetInterpreted);
    }
    check_levels(program, target)?;
    if matches!(
        program.kind.expected_attach_type,
        Some(AttachType::TraceRawTp | AttachType::TraceIter)
    ) {
        return Err(AttachError::OnlyProbes);
    }
    if program.extends() {
        types::check_match(program, target, function, strict_holes)?;
    }
    if program.verified_for.is_some_and(|kind| kind != target.kind()) {
        return Err(AttachError::OtherKind);
    }
    if program.sleepable {
        return Err(AttachError::TargetSleeps { name: function.name.clone() });
    }
    if program.kind.expected_attach_type == Some(AttachType::ModifyReturn) {
        return Err(AttachError::ChangesResult);
    }
    Ok(function)
}

/// Checks that an extension does nothing that callers of the function do not expect.
fn check_replacement(program: &Attaching<'_>, function: &FunctionFacts) -> Result<(), AttachError> {
    if function.unreliable {
        return Err(AttachError::Static);
    }
    if !program.compiled {
        return Err(AttachError::Interpreted);
    }
    if program.changes_packet && !function.changes_packet {
        return Err(AttachError::ChangesPacket);
    }
    if program.might_sleep && !function.might_sleep {
        return Err(AttachError::MightSleep);
    }
    Ok(())
}

/// Checks that no chain of attachments can become a circle.
fn check_levels(program: &Attaching<'_>, target: &ProgramFacts) -> Result<(), AttachError> {
    let of_probe = target.prog_type == ProgType::Tracing;
    if program.kind.prog_type == ProgType::Tracing {
        let traces_probe = target.target.is_some_and(|kind| kind.prog_type == ProgType::Tracing);
        return if of_probe && traces_probe { Err(AttachError::Nested) } else { Ok(()) };
    }
    if target.prog_type == program.kind.prog_type {
        return Err(AttachError::Recursive);
    }
    let probe = [Some(AttachType::TraceFentry), Some(AttachType::TraceFexit)];
    if of_probe && program.extends() && probe.contains(&target.expected_attach_type) {
        return Err(AttachError::ExtendsProbe);
    }
    Ok(())
}
