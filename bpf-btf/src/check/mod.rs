//! What the kernel demands of BTF before it takes it: no cycles, sizes that agree, proper names.
//!
//! [`check`] answers as `bpf(BPF_BTF_LOAD)` does, with the same error number and, line for line, the same log. It
//! works on bytes: the kernel has something to say about data that [`Btf::parse`] would not make a [`Btf`] of.
//!
//! The order is the kernel's, for it decides which of two mistakes is told: header, strings, each record by itself,
//! then what records refer to.
//!
//! Linux: `btf_parse`.

mod problem;
mod log;
mod header;
mod meta;
mod resolve;
mod member;

pub use problem::{Problem, Refusal};

use crate::Btf;
use crate::raw::KindCode;
use crate::record::{NamedField, PointerField, RecordError};
use crate::types::{Kind, TypeId};
use log::Log;

/// Checks BTF that stands on its own, as the kernel does when it is loaded, and reads it.
///
/// # Errors
///
/// Returns an error, in the kernel's words, if the kernel would refuse the data.
pub fn check(data: &[u8]) -> Result<Btf, Refusal> {
    run(data, &mut Log::silent())
}

/// Checks BTF and tells the log that `BPF_BTF_LOAD` writes with it.
pub fn check_with_log(data: &[u8]) -> (Result<Btf, Refusal>, String) {
    let mut log = Log::telling();
    let result = run(data, &mut log);
    (result, log.into_text())
}

fn run(data: &[u8], log: &mut Log) -> Result<Btf, Refusal> {
    let parts = header::check(data, log)?;
    let records = meta::check(&parts, log)?;
    resolve::check(&records, log)?;
    // What passed the checks so far can be read; the text of an error here would mean that they are incomplete.
    let btf = Btf::parse(data).map_err(|error| log.refuse(Problem::Unreadable(error)))?;
    check_special_fields(&btf, log)?;
    resolve::check_type_tags(&records, log)?;
    Ok(btf)
}

/// Checks the structures that programs may allocate: those with special fields.
///
/// Linux: `btf_parse_struct_metas`.
fn check_special_fields(btf: &Btf, log: &mut Log) -> Result<(), Refusal> {
    let mut steps = crate::record::MAX_STEPS;
    for ty in btf.own_types() {
        let Some(composite) = ty.composite().filter(|_| ty.code() == KindCode::Struct) else {
            continue;
        };
        let holds_one = composite.members().any(|member| makes_an_object(btf, member.ty));
        if !holds_one {
            continue;
        }
        match btf.object_record_within(ty.id, composite.size, &mut steps) {
            Ok(_) => {}
            Err(error) => return Err(refuse_record(log, ty.id, error)),
        }
    }
    Ok(())
}

/// Whether a member of this type makes a structure one whose special fields are looked for.
fn makes_an_object(btf: &Btf, member: TypeId) -> bool {
    let Some(ty) = btf.get(member) else { return false };
    let pointer = if let Kind::Volatile(inner) = ty.kind { btf.get(inner) } else { Some(ty) };
    if let Some(to) = pointer.and_then(|ty| ty.pointee()) {
        let owner = btf.type_tags(to).next().and_then(PointerField::of);
        return owner.is_some_and(|owner| owner != PointerField::User);
    }
    ty.code() == KindCode::Struct
        && [
            NamedField::SpinLock,
            NamedField::ListHead,
            NamedField::ListNode,
            NamedField::RbRoot,
            NamedField::RbNode,
            NamedField::Refcount,
        ]
        .iter()
        .any(|named| named.type_name() == ty.name())
}

fn refuse_record(log: &mut Log, id: TypeId, error: RecordError) -> Refusal {
    log.refuse(Problem::SpecialFields { id, error })
}

#[cfg(test)]
mod tests;
