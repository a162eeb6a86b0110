//! Context fields become the host's.
//!
//! A host keeps the structure that programs know as it is, but for pointers that the structure
//! has only four bytes for: those lie behind it, eight bytes each. The table row that allowed an
//! access says where.

use bpf_abi::ctx::{ContextKind, Field};
use bpf_isa::{Insn, Pc, Size};

use super::code::Code;
use crate::env::Env;
use crate::state::PointerKind;

/// Makes loads of such fields load the host's. Linux: `convert_ctx_accesses`.
pub(super) fn rewrite(env: &Env<'_>, code: &mut Code) {
    let Some(ContextKind::Table(table)) = env.context() else { return };
    for line in &mut code.lines {
        let Insn::Load { size, ext, dst, base, off } = line.insn else { continue };
        if !touches_context(env, line.from) {
            continue;
        }
        let place = u32::try_from(off).ok().and_then(|off| table.readable(off, size.bytes()));
        let host = place.and_then(|field: &Field| field.host);
        if let Some(off) = host.and_then(|host| i16::try_from(host).ok()) {
            line.insn = Insn::Load { size: Size::DW, ext, dst, base, off };
        }
    }
}

/// Whether the instruction touches the context. If one path does so, all do.
pub(super) fn touches_context(env: &Env<'_>, pc: Pc) -> bool {
    env.note(pc).memory.is_some_and(|memory| memory.kind == PointerKind::Ctx)
}
