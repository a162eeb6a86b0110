//! Conditional jumps: decided where they can be, else forked and refined.

use bpf_isa::{AluOp, JumpOp, Operand, Reg, Width};

use crate::cx::{Next, StepCx};
use crate::error::Reason;
use crate::scalar::{Branch, Condition, Scalar};
use crate::state::{LinkedRegs, Number, PacketRange, Pointer, PointerKind, PtrFlags, State, Value};
use crate::step::{check_sane, jump, null, packet, target};
use crate::walk::StackOperands;

/// A conditional jump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compare {
    /// When it is taken.
    pub(crate) op: JumpOp,
    /// On how many bits.
    pub(crate) width: Width,
    /// The left operand.
    pub(crate) dst: Reg,
    /// The right operand.
    pub(crate) src: Operand,
    /// How far it goes.
    pub(crate) off: i16,
}

impl Compare {
    const fn condition(self) -> Condition {
        Condition { op: self.op, width: self.width }
    }
}

/// A conditional jump. Linux: `check_cond_jmp_op`.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>, compare: Compare) -> Result<Next, Reason> {
    let Compare { dst, src, off, .. } = compare;
    let left = cx.read(dst)?;
    let right = match src {
        Operand::Reg(src) => cx.read(src)?,
        Operand::Imm(imm) => Value::Scalar(Number::of(Scalar::imm(imm))),
    };
    let mut stacks = StackOperands::empty();
    if is_stack(&right) {
        stacks |= StackOperands::SRC;
    }
    if is_stack(&left) {
        stacks |= StackOperands::DST;
    }
    if !stacks.is_empty() {
        cx.record_stack_operands(stacks);
    }
    if let Some(branch) = decide(compare, &left, &right) {
        // That the other way is never gone holds only as long as the numbers are exact.
        if left.as_scalar().is_some() {
            cx.mark_precise(dst)?;
        }
        if let Operand::Reg(src) = src
            && right.as_scalar().is_some()
        {
            cx.mark_precise(src)?;
        }
        show(cx);
        return Ok(match branch {
            Branch::Taken => jump(cx, i64::from(off)),
            Branch::FallThrough => Next::Fallthrough,
        });
    }
    fork(cx, compare)?;
    show(cx);
    Ok(Next::Fallthrough)
}

/// Where every path is recorded, what the comparison taught is shown at once.
fn show(cx: &mut StepCx<'_, '_>) {
    cx.print_insn_state();
}

const fn is_stack(value: &Value) -> bool {
    matches!(value, Value::Pointer(Pointer { kind: PointerKind::Stack { .. }, .. }))
}

/// Which way the jump goes, if that is known. Linux: `is_branch_taken`.
fn decide(compare: Compare, left: &Value, right: &Value) -> Option<Branch> {
    let Compare { op, width, .. } = compare;
    match (left, right) {
        (Value::Pointer(a), Value::Pointer(b)) => {
            let packets = a.is_any_packet() && b.is_any_packet();
            (packets && width == Width::W64).then(|| decide_packets(op, a, b)).flatten()
        }
        (Value::Pointer(pointer), Value::Scalar(number)) => {
            decide_pointer(op, width, pointer, &number.set)
        }
        (Value::Scalar(number), Value::Pointer(pointer)) => {
            decide_pointer(flip(op)?, width, pointer, &number.set)
        }
        (Value::Scalar(a), Value::Scalar(b)) => compare.condition().decide(&a.set, &b.set),
    }
}

/// The operation that holds for `b, a` when this one holds for `a, b`.
/// Linux: `flip_opcode`.
const fn flip(op: JumpOp) -> Option<JumpOp> {
    Some(match op {
        JumpOp::Eq => JumpOp::Eq,
        JumpOp::Ne => JumpOp::Ne,
        JumpOp::Set => JumpOp::Set,
        JumpOp::Gt => JumpOp::Lt,
        JumpOp::Ge => JumpOp::Le,
        JumpOp::Lt => JumpOp::Gt,
        JumpOp::Le => JumpOp::Ge,
        JumpOp::Sgt => JumpOp::Slt,
        JumpOp::Sge => JumpOp::Sle,
        JumpOp::Slt => JumpOp::Sgt,
        JumpOp::Sle => JumpOp::Sge,
    })
}

/// A valid pointer is not null.
fn decide_pointer(op: JumpOp, width: Width, pointer: &Pointer, with: &Scalar) -> Option<Branch> {
    if with.const_in(width) != Some(0) || !is_never_null(pointer) {
        return None;
    }
    match op {
        JumpOp::Eq => Some(Branch::FallThrough),
        JumpOp::Ne => Some(Branch::Taken),
        JumpOp::Gt
        | JumpOp::Ge
        | JumpOp::Set
        | JumpOp::Sgt
        | JumpOp::Sge
        | JumpOp::Lt
        | JumpOp::Le
        | JumpOp::Slt
        | JumpOp::Sle => None,
    }
}

/// Linux: `reg_not_null`.
fn is_never_null(pointer: &Pointer) -> bool {
    if pointer.maybe_null() {
        return false;
    }
    match pointer.kind {
        PointerKind::Socket { .. }
        | PointerKind::TcpSock
        | PointerKind::SockCommon
        | PointerKind::MapValue { .. }
        | PointerKind::MapKey { .. }
        | PointerKind::MapPtr { .. } => true,
        PointerKind::Mem { .. } => !pointer.flags.contains(PtrFlags::UNTRUSTED),
        PointerKind::Btf { .. } => null::is_trusted(pointer),
        PointerKind::Ctx
        | PointerKind::Stack { .. }
        | PointerKind::Packet { .. }
        | PointerKind::PacketMeta { .. }
        | PointerKind::PacketEnd
        | PointerKind::FlowKeys
        | PointerKind::XdpSock { .. }
        | PointerKind::TpBuffer
        | PointerKind::Buf
        | PointerKind::Arena
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => false,
    }
}

/// What an earlier comparison with the packet's end settled.
///
/// Linux: `is_pkt_ptr_branch_taken`.
fn decide_packets(op: JumpOp, a: &Pointer, b: &Pointer) -> Option<Branch> {
    let (pointer, op) = match (a.kind, b.kind) {
        (_, PointerKind::PacketEnd) => (a, op),
        (PointerKind::PacketEnd, _) => (b, flip(op)?),
        _ => return None,
    };
    let (PointerKind::Packet { range } | PointerKind::PacketMeta { range }) = pointer.kind else {
        return None;
    };
    let holds = match op {
        JumpOp::Le | JumpOp::Gt if range == PacketRange::BEYOND_END => op == JumpOp::Gt,
        JumpOp::Lt | JumpOp::Ge
            if range == PacketRange::BEYOND_END || range == PacketRange::AT_END =>
        {
            op == JumpOp::Ge
        }
        _ => return None,
    };
    Some(if holds { Branch::Taken } else { Branch::FallThrough })
}

/// Both ways are possible: one is put aside, and each learns what taking it proves.
fn fork(cx: &mut StepCx<'_, '_>, compare: Compare) -> Result<(), Reason> {
    let Compare { dst, src, off, .. } = compare;
    let linked = linked(cx, compare);
    if linked.len() > 1 {
        cx.record_linked(linked.clone());
    }
    let (Some(&left), Some(right)) = (cx.state.reg(dst), right_of(cx.state, src)) else {
        return Ok(());
    };
    let to = target(cx, i64::from(off));
    let numbers = match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => Some(refine(cx, compare, a, b)?),
        _ => None,
    };
    let question = match left {
        Value::Pointer(pointer) if pointer.maybe_null() => {
            Some(null::Question::about(cx.env, &pointer))
        }
        _ => None,
    };
    let lifted = lifted(cx, compare, &left, &right);
    let there = cx.push_branch(to)?;
    if let Some(refined) = numbers {
        refined.there.store(there, compare);
        sync_both(there, compare, &linked);
    }
    if let Some((reg, pointer)) = lifted
        && compare.op == JumpOp::Eq
    {
        there.set(reg, Some(Value::Pointer(pointer)));
    }
    let settles = matches!(compare.op, JumpOp::Eq | JumpOp::Ne)
        && compare.width == Width::W64
        && src == Operand::Imm(0);
    let ends = if compare.width == Width::W64 { packet::ends(there, compare) } else { None };
    if let Some(question) = question.filter(|_| settles) {
        let is = if compare.op == JumpOp::Eq { null::Is::Null } else { null::Is::NotNull };
        question.settle(there, is);
    } else if let Some(ends) = &ends {
        ends.taken(there);
    }
    let here = &mut *cx.state;
    if let Some(refined) = numbers {
        refined.here.store(here, compare);
        sync_both(here, compare, &linked);
    }
    if let Some((reg, pointer)) = lifted
        && compare.op == JumpOp::Ne
    {
        here.set(reg, Some(Value::Pointer(pointer)));
    }
    if let Some(question) = question.filter(|_| settles) {
        let is = if compare.op == JumpOp::Eq { null::Is::NotNull } else { null::Is::Null };
        question.settle(here, is);
    } else if let Some(ends) = &ends {
        ends.not_taken(here);
    }
    Ok(())
}

fn sync_both(state: &mut State, compare: Compare, linked: &LinkedRegs) {
    if let Operand::Reg(src) = compare.src {
        sync_linked(state, src, linked);
    }
    sync_linked(state, compare.dst, linked);
}

fn right_of(state: &State, src: Operand) -> Option<Value> {
    match src {
        Operand::Reg(src) => state.reg(src).copied(),
        Operand::Imm(imm) => Some(Value::Scalar(Number::of(Scalar::imm(imm)))),
    }
}

/// The scalars that move with those compared. Linux: `collect_linked_regs`.
fn linked(cx: &mut StepCx<'_, '_>, compare: Compare) -> LinkedRegs {
    let mut linked = LinkedRegs::default();
    if let Operand::Reg(src) = compare.src
        && let Some(link) = link_of(cx.state, src)
    {
        cx.collect_linked(&mut linked, link);
    }
    if let Some(link) = link_of(cx.state, compare.dst) {
        cx.collect_linked(&mut linked, link);
    }
    linked
}

fn link_of(state: &State, reg: Reg) -> Option<crate::state::Id> {
    state.reg(reg)?.as_scalar()?.link.map(|link| link.id)
}

/// What both operands are known to be on one side of a fork.
#[derive(Clone, Copy, Debug)]
struct Operands {
    a: Scalar,
    b: Scalar,
}

impl Operands {
    fn store(&self, state: &mut State, compare: Compare) {
        store(state, compare.dst, self.a);
        if let Operand::Reg(src) = compare.src {
            store(state, src, self.b);
        }
    }
}

/// What both operands are known to be on both sides of a fork.
#[derive(Clone, Copy, Debug)]
struct Refined {
    here: Operands,
    there: Operands,
}

/// Linux: `reg_set_min_max`.
fn refine(
    cx: &mut StepCx<'_, '_>,
    compare: Compare,
    a: Number,
    b: Number,
) -> Result<Refined, Reason> {
    let condition = compare.condition();
    let mut here = Operands { a: a.set, b: b.set };
    let mut there = here;
    if compare.src == Operand::Reg(compare.dst) {
        for (side, branch) in [(&mut here, Branch::FallThrough), (&mut there, Branch::Taken)] {
            condition.refine_same(branch, &mut side.a);
            side.b = side.a;
        }
    } else {
        condition.refine(Branch::FallThrough, &mut here.a, &mut here.b);
        condition.refine(Branch::Taken, &mut there.a, &mut there.b);
    }
    let sides = [(&mut there, "true_reg1", "true_reg2"), (&mut here, "false_reg1", "false_reg2")];
    for (side, first, second) in sides {
        check_sane(cx, &mut side.a, first)?;
        if compare.src == Operand::Reg(compare.dst) {
            side.b = side.a;
        }
        check_sane(cx, &mut side.b, second)?;
        if compare.src == Operand::Reg(compare.dst) {
            side.a = side.b;
        }
    }
    Ok(Refined { here, there })
}

fn store(state: &mut State, reg: Reg, set: Scalar) {
    if let Some(Value::Scalar(number)) = state.reg_mut(reg) {
        number.set = set;
    }
}

/// What was learnt of one scalar is learnt of those that move with it.
///
/// Linux: `sync_linked_regs`.
pub(crate) fn sync_linked(state: &mut State, known: Reg, linked: &LinkedRegs) {
    let Some(Value::Scalar(known)) = state.reg(known).copied() else { return };
    let Some(known_link) = known.link else { return };
    for place in linked.places() {
        let Some(Value::Scalar(number)) = place.value_mut(state) else { continue };
        let Some(link) = number.link else { continue };
        if link.id != known_link.id {
            continue;
        }
        // A sum of halves tells nothing of a sum of whole words.
        let width = match (link.delta, known_link.delta) {
            (Some(a), Some(b)) if a.width != b.width => continue,
            (Some(delta), _) | (None, Some(delta)) => delta.width,
            (None, None) => Width::W64,
        };
        if link.distance() == known_link.distance() {
            *number = known;
            continue;
        }
        let by = i64::from(link.distance()) - i64::from(known_link.distance());
        let set = known.set.alu(AluOp::Add, width, Scalar::constant(by.cast_unsigned()));
        *number = Number { set, link: Some(link), precise: known.precise };
    }
}

/// A pointer that is equal to one that is not null is not null: the register, and what it then
/// holds where the two are equal.
fn lifted(
    cx: &mut StepCx<'_, '_>,
    compare: Compare,
    left: &Value,
    right: &Value,
) -> Option<(Reg, Pointer)> {
    let (Value::Pointer(a), Value::Pointer(b), Operand::Reg(src)) = (left, right, compare.src)
    else {
        return None;
    };
    if compare.width == Width::W32 || a.maybe_null() == b.maybe_null() {
        return None;
    }
    if is_object(a) || is_object(b) {
        return None;
    }
    let (reg, mut pointer) = if b.maybe_null() { (src, *b) } else { (compare.dst, *a) };
    null::set_not_null(cx.env, &mut pointer);
    Some((reg, pointer))
}

const fn is_object(pointer: &Pointer) -> bool {
    matches!(pointer.kind, PointerKind::Btf { .. })
}

/// A jump that is taken once the program's budget is used up.
///
/// Linux: the `BPF_JCOND` of `check_cond_jmp_op`.
pub(crate) fn may_goto(cx: &mut StepCx<'_, '_>, off: i16) -> Result<Next, Reason> {
    cx.push_may_goto()?;
    Ok(jump(cx, i64::from(off)))
}
