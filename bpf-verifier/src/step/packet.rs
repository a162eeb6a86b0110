//! What comparing packet pointers proves.

use bpf_isa::{JumpOp, Operand, Reg};

use crate::state::{Keep, PacketRange, Pointer, PointerKind, State, Value};
use crate::step::branch::Compare;

/// How far into a packet ranges are followed. Linux: `MAX_PACKET_OFF`.
const MAX_PACKET_OFF: u64 = 0xffff;

/// Whether the pointer may be at the end, or is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// `pointer <= end`.
    Included,
    /// `pointer < end`: one more byte is there.
    Excluded,
}

/// A comparison of a packet pointer with the packet's end, or of a pointer to the metadata with
/// the packet's beginning: `pointer op end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    reg: Reg,
    pointer: Pointer,
    op: JumpOp,
}

/// What is compared, if it is a pointer and its end.
///
/// Linux: `try_match_pkt_pointers`.
pub(crate) fn ends(state: &State, compare: Compare) -> Option<Ends> {
    let Operand::Reg(src) = compare.src else { return None };
    let a = *state.reg(compare.dst)?.as_pointer()?;
    let b = *state.reg(src)?.as_pointer()?;
    if a.maybe_null() || b.maybe_null() {
        return None;
    }
    if is_start_and_end(&a, &b) {
        return Some(Ends { reg: compare.dst, pointer: a, op: compare.op });
    }
    if !is_start_and_end(&b, &a) {
        return None;
    }
    let op = match compare.op {
        JumpOp::Gt => JumpOp::Lt,
        JumpOp::Lt => JumpOp::Gt,
        JumpOp::Ge => JumpOp::Le,
        JumpOp::Le => JumpOp::Ge,
        JumpOp::Eq | JumpOp::Ne | JumpOp::Set => return None,
        JumpOp::Sgt | JumpOp::Sge | JumpOp::Slt | JumpOp::Sle => return None,
    };
    Some(Ends { reg: src, pointer: b, op })
}

impl Ends {
    /// What holds where the jump is taken.
    pub(crate) fn taken(&self, state: &mut State) {
        match self.op {
            JumpOp::Gt => mark_end(state, self.reg, PacketRange::BEYOND_END),
            JumpOp::Ge => mark_end(state, self.reg, PacketRange::AT_END),
            JumpOp::Lt => reach(state, &self.pointer, End::Excluded),
            JumpOp::Le => reach(state, &self.pointer, End::Included),
            JumpOp::Eq | JumpOp::Ne | JumpOp::Set => {}
            JumpOp::Sgt | JumpOp::Sge | JumpOp::Slt | JumpOp::Sle => {}
        }
    }

    /// What holds where it is not.
    pub(crate) fn not_taken(&self, state: &mut State) {
        match self.op {
            JumpOp::Gt => reach(state, &self.pointer, End::Included),
            JumpOp::Ge => reach(state, &self.pointer, End::Excluded),
            JumpOp::Lt => mark_end(state, self.reg, PacketRange::AT_END),
            JumpOp::Le => mark_end(state, self.reg, PacketRange::BEYOND_END),
            JumpOp::Eq | JumpOp::Ne | JumpOp::Set => {}
            JumpOp::Sgt | JumpOp::Sge | JumpOp::Slt | JumpOp::Sle => {}
        }
    }
}

/// Whether `b` bounds what `a` points into.
fn is_start_and_end(a: &Pointer, b: &Pointer) -> bool {
    match (a.kind, b.kind) {
        (PointerKind::Packet { .. }, PointerKind::PacketEnd) => true,
        (PointerKind::PacketMeta { .. }, PointerKind::Packet { .. }) => {
            b.id.is_none() && b.off == 0 && b.delta.is(0)
        }
        _ => false,
    }
}

/// All pointers with the same variable part reach as far as this one.
///
/// Linux: `find_good_pkt_pointers`.
fn reach(state: &mut State, pointer: &Pointer, end: End) {
    if pointer.off < 0 || (pointer.off == 0 && end == End::Excluded) {
        return;
    }
    let off = u64::from(pointer.off.unsigned_abs());
    let most = pointer.delta.umax();
    if most > MAX_PACKET_OFF || most + off > MAX_PACKET_OFF {
        return;
    }
    let reached = match end {
        End::Included => pointer.off,
        End::Excluded => pointer.off + 1,
    };
    state.for_each_value(|value| {
        let Value::Pointer(other) = value else { return Keep::Yes };
        let same = std::mem::discriminant(&other.kind) == std::mem::discriminant(&pointer.kind);
        if same
            && other.id == pointer.id
            && let PointerKind::Packet { range } | PointerKind::PacketMeta { range } =
                &mut other.kind
        {
            *range = (*range).max(PacketRange(reached));
        }
        Keep::Yes
    });
}

/// Linux: `mark_pkt_end`.
fn mark_end(state: &mut State, reg: Reg, at: PacketRange) {
    if let Some(Value::Pointer(Pointer { kind: PointerKind::Packet { range }, .. })) =
        state.reg_mut(reg)
    {
        *range = at;
    }
}
