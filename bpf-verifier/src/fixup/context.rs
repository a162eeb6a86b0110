//! Context fields become the host's.
//!
//! A host keeps the structure that programs know as it is, but for pointers that the structure
//! has only four bytes for: those lie behind it, eight bytes each. The table row that allowed an
//! access says where.

use bpf_abi::ctx::{Context, ContextKind, Field};
use bpf_isa::{Extension, Insn, Pc, Size};

use super::code::Code;
use crate::env::Env;
use crate::state::PointerKind;

/// Makes loads of such fields load the host's, and stores what Linux keeps. Linux: `convert_ctx_accesses`.
pub(super) fn rewrite(env: &Env<'_>, code: &mut Code) {
    let Some(ContextKind::Table(table)) = env.context() else { return };
    for line in &mut code.lines {
        if !touches_context(env, line.from) {
            continue;
        }
        if let Insn::Store { size: Size::W, base, off, src } = line.insn {
            let place = u32::try_from(off).ok().and_then(|off| table.readable(off, 4));
            if place.is_some_and(|field| is_cut(table, field)) {
                line.insn = Insn::Store { size: Size::H, base, off, src };
            }
            continue;
        }
        let Insn::Load { size, ext, dst, base, off } = line.insn else { continue };
        let place = u32::try_from(off).ok().and_then(|off| table.readable(off, size.bytes()));
        let Some(field) = place else { continue };
        if let Some(off) = field.host.and_then(|host| i16::try_from(host).ok()) {
            line.insn = Insn::Load { size: Size::DW, ext, dst, base, off };
        } else if size == Size::W && is_cut(table, field) {
            let ext = Extension::Unsigned;
            line.insn = Insn::Load { size: Size::H, ext, dst, base, off };
        } else if size.bytes() < field.size
            && size.bytes() >= kept(table, field)
            && let Ok(off) = i16::try_from(field.off)
        {
            line.insn = Insn::Load { size, ext, dst, base, off };
        }
    }
}

/// How many bytes of a field Linux keeps in its own structure. A load of a part of the field that
/// is not smaller yields the field from its beginning, wherever the part is.
///
/// Linux: `target_size` of `convert_ctx_access`.
fn kept(table: &Context, field: &Field) -> u32 {
    match field.name {
        _ if table.name != "__sk_buff" => field.size,
        "pkt_type" | "vlan_present" => 1,
        "queue_mapping" | "protocol" | "vlan_tci" | "vlan_proto" | "tc_index" | "tc_classid"
        | "gso_segs" | "gso_size" | "family" | "remote_port" | "local_port" => 2,
        _ => field.size,
    }
}

/// Whether loads and stores of a field are of the two bytes that Linux keeps of it.
fn is_cut(table: &Context, field: &Field) -> bool {
    table.name == "__sk_buff" && matches!(field.name, "tc_index" | "tc_classid")
}

/// Whether the instruction touches the context. If one path does so, all do.
pub(super) fn touches_context(env: &Env<'_>, pc: Pc) -> bool {
    env.note(pc).memory.is_some_and(|memory| memory.kind == PointerKind::Ctx)
}
