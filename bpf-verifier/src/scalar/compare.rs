//! Is a branch decided, and what does taking it prove?

use bpf_isa::{JumpOp, Width};

use super::{Range, Scalar, Tnum, Word};

/// Which way a conditional jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Branch {
    /// To its target.
    Taken,
    /// To the next instruction.
    FallThrough,
}

impl Branch {
    /// The other way.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Taken => Self::FallThrough,
            Self::FallThrough => Self::Taken,
        }
    }

    const fn taken_if(holds: bool) -> Self {
        if holds { Self::Taken } else { Self::FallThrough }
    }
}

/// The comparison of a conditional jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// What is compared.
    pub op: JumpOp,
    /// On how many bits.
    pub width: Width,
}

impl Condition {
    /// Which way the jump goes for all `a` and `b`, or `None` if that depends on them.
    ///
    /// Linux: `is_scalar_branch_taken`.
    pub fn decide(self, a: &Scalar, b: &Scalar) -> Option<Branch> {
        match self.width {
            Width::W64 => decide(self, a, b, &a.whole, &b.whole),
            Width::W32 => decide(self, a, b, &a.low, &b.low),
        }
    }

    /// What `a` and `b` are known to be after the jump went `branch`.
    ///
    /// The results may contradict themselves if the jump cannot go that way; see
    /// [`Scalar::violation`].
    ///
    /// Linux: `regs_refine_cond_op` and the `reg_bounds_sync` that follow.
    pub fn refine(self, branch: Branch, a: &mut Scalar, b: &mut Scalar) {
        self.narrow(branch, a, b);
        a.sync();
        b.sync();
    }

    /// What a register is known to be after it was compared with itself and the jump went
    /// `branch`. It may contradict itself; that the two are equal is not used.
    pub fn refine_same(self, branch: Branch, both: &mut Scalar) {
        let (mut a, mut b) = (*both, *both);
        self.narrow(branch, &mut a, &mut b);
        both.whole = a.whole.intersect(&b.whole);
        both.low = a.low.intersect(&b.low);
        both.sync();
        both.sync();
    }

    fn narrow(self, branch: Branch, a: &mut Scalar, b: &mut Scalar) {
        use JumpOp::{Eq, Ge, Gt, Le, Lt, Ne, Set, Sge, Sgt, Sle, Slt};
        let width = self.width;
        match (self.op, branch) {
            (Eq, Branch::Taken) | (Ne, Branch::FallThrough) => equal(width, a, b),
            (Ne, Branch::Taken) | (Eq, Branch::FallThrough) => differ(width, a, b),
            (Set, Branch::Taken) => share_bits(width, a, b),
            (Set, Branch::FallThrough) => share_no_bit(width, a, b),
            (Lt, Branch::Taken) | (Ge, Branch::FallThrough) => below(width, a, b),
            (Gt, Branch::Taken) | (Le, Branch::FallThrough) => below(width, b, a),
            (Le, Branch::Taken) | (Gt, Branch::FallThrough) => not_above(width, a, b),
            (Ge, Branch::Taken) | (Lt, Branch::FallThrough) => not_above(width, b, a),
            (Slt, Branch::Taken) | (Sge, Branch::FallThrough) => less(width, a, b),
            (Sgt, Branch::Taken) | (Sle, Branch::FallThrough) => less(width, b, a),
            (Sle, Branch::Taken) | (Sgt, Branch::FallThrough) => not_greater(width, a, b),
            (Sge, Branch::Taken) | (Slt, Branch::FallThrough) => not_greater(width, b, a),
        }
    }
}

/// Decides on the ranges `x` of `a` and `y` of `b`, those of the comparison's width.
fn decide<W: Word>(
    Condition { op, width }: Condition,
    a: &Scalar,
    b: &Scalar,
    x: &Range<W>,
    y: &Range<W>,
) -> Option<Branch> {
    let ordered = |always: bool, never: bool| {
        if always {
            Some(Branch::Taken)
        } else if never {
            Some(Branch::FallThrough)
        } else {
            None
        }
    };
    match op {
        JumpOp::Eq => equality(width, a, b, x.is_disjoint(y)).map(Branch::taken_if),
        JumpOp::Ne => equality(width, a, b, x.is_disjoint(y)).map(|eq| Branch::taken_if(!eq)),
        JumpOp::Set => decide_set(width, a, b),
        JumpOp::Gt => ordered(x.umin > y.umax, x.umax <= y.umin),
        JumpOp::Ge => ordered(x.umin >= y.umax, x.umax < y.umin),
        JumpOp::Lt => ordered(x.umax < y.umin, x.umin >= y.umax),
        JumpOp::Le => ordered(x.umax <= y.umin, x.umin > y.umax),
        JumpOp::Sgt => ordered(x.smin > y.smax, x.smax <= y.smin),
        JumpOp::Sge => ordered(x.smin >= y.smax, x.smax < y.smin),
        JumpOp::Slt => ordered(x.smax < y.smin, x.smin >= y.smax),
        JumpOp::Sle => ordered(x.smax <= y.smin, x.smin > y.smax),
    }
}

/// Whether the two are equal, if that is known.
fn equality(width: Width, a: &Scalar, b: &Scalar, disjoint: bool) -> Option<bool> {
    if let (Some(x), Some(y)) = (a.const_in(width), b.const_in(width)) {
        return Some(x == y);
    }
    // Words whose low halves differ, differ.
    let differ = match width {
        Width::W32 => disjoint || !a.bits.low().overlaps(b.bits.low()),
        Width::W64 => disjoint || !a.bits.overlaps(b.bits) || a.low.is_disjoint(&b.low),
    };
    differ.then_some(false)
}

/// Decided only against a known mask.
fn decide_set(width: Width, a: &Scalar, b: &Scalar) -> Option<Branch> {
    let (mask, other) = match (b.const_in(width), a.const_in(width)) {
        (Some(mask), _) => (mask, a),
        (None, Some(mask)) => (mask, b),
        (None, None) => return None,
    };
    if other.bits.min() & mask != 0 {
        Some(Branch::Taken)
    } else if other.bits.max() & mask == 0 {
        Some(Branch::FallThrough)
    } else {
        None
    }
}

/// What is known of either is known of both.
fn equal(width: Width, a: &mut Scalar, b: &mut Scalar) {
    match width {
        Width::W64 => {
            a.whole = a.whole.intersect(&b.whole);
            b.whole = a.whole;
            a.bits = a.bits.intersect(b.bits);
            b.bits = a.bits;
        }
        Width::W32 => {
            a.low = a.low.intersect(&b.low);
            b.low = a.low;
            let bits = a.bits.low().intersect(b.bits.low());
            a.bits = a.bits.with_low(bits);
            b.bits = b.bits.with_low(bits);
        }
    }
}

/// An interval loses an end that is the other's constant.
fn differ(width: Width, a: &mut Scalar, b: &mut Scalar) {
    let Some((value, other)) = against_const(width, a, b) else { return };
    match width {
        Width::W64 => trim(&mut other.whole, value),
        Width::W32 => trim(&mut other.low, u32::low_of(value)),
    }
}

/// A constant, right or left, and the operand it is compared with.
fn against_const<'a>(
    width: Width,
    a: &'a mut Scalar,
    b: &'a mut Scalar,
) -> Option<(u64, &'a mut Scalar)> {
    match (b.const_in(width), a.const_in(width)) {
        (Some(value), _) => Some((value, a)),
        (None, Some(value)) => Some((value, b)),
        (None, None) => None,
    }
}

fn trim<W: Word>(range: &mut Range<W>, value: W) {
    let (one, signed_one) = (W::low_of(1), W::low_of(1).signed());
    if range.umin == value {
        range.umin = range.umin.add(one).0;
    }
    if range.umax == value {
        range.umax = range.umax.sub(one).0;
    }
    if range.smin == value.signed() {
        range.smin = W::unsigned(range.smin).add(W::unsigned(signed_one)).0.signed();
    }
    if range.smax == value.signed() {
        range.smax = W::unsigned(range.smax).sub(W::unsigned(signed_one)).0.signed();
    }
}

/// Which of several bits is shared cannot be said; a single one is set.
fn share_bits(width: Width, a: &mut Scalar, b: &mut Scalar) {
    let Some((mask, other)) = against_const(width, a, b) else { return };
    if mask.is_power_of_two() {
        other.bits = other.bits.or(Tnum::constant(mask));
    }
}

/// None of the bits is set. The ranges are forgotten, so that on a branch that cannot be taken
/// they do not contradict the bits.
fn share_no_bit(width: Width, a: &mut Scalar, b: &mut Scalar) {
    let Some((mask, other)) = against_const(width, a, b) else { return };
    other.forget_ranges();
    other.bits = other.bits.and(Tnum::constant(!mask));
}

/// `a < b`.
fn below(width: Width, a: &mut Scalar, b: &mut Scalar) {
    fn below<W: Word>(a: &mut Range<W>, b: &mut Range<W>) {
        a.umax = a.umax.min(b.umax.sub(W::low_of(1)).0);
        b.umin = b.umin.max(a.umin.add(W::low_of(1)).0);
    }
    match width {
        Width::W64 => below(&mut a.whole, &mut b.whole),
        Width::W32 => below(&mut a.low, &mut b.low),
    }
}

/// `a <= b`.
fn not_above(width: Width, a: &mut Scalar, b: &mut Scalar) {
    fn not_above<W: Word>(a: &mut Range<W>, b: &mut Range<W>) {
        a.umax = a.umax.min(b.umax);
        b.umin = b.umin.max(a.umin);
    }
    match width {
        Width::W64 => not_above(&mut a.whole, &mut b.whole),
        Width::W32 => not_above(&mut a.low, &mut b.low),
    }
}

/// `a < b`, signed.
fn less(width: Width, a: &mut Scalar, b: &mut Scalar) {
    fn less<W: Word>(a: &mut Range<W>, b: &mut Range<W>) {
        let next = |x: W::Signed| W::unsigned(x).add(W::low_of(1)).0.signed();
        let previous = |x: W::Signed| W::unsigned(x).sub(W::low_of(1)).0.signed();
        a.smax = a.smax.min(previous(b.smax));
        b.smin = b.smin.max(next(a.smin));
    }
    match width {
        Width::W64 => less(&mut a.whole, &mut b.whole),
        Width::W32 => less(&mut a.low, &mut b.low),
    }
}

/// `a <= b`, signed.
fn not_greater(width: Width, a: &mut Scalar, b: &mut Scalar) {
    fn not_greater<W: Word>(a: &mut Range<W>, b: &mut Range<W>) {
        a.smax = a.smax.min(b.smax);
        b.smin = b.smin.max(a.smin);
    }
    match width {
        Width::W64 => not_greater(&mut a.whole, &mut b.whole),
        Width::W32 => not_greater(&mut a.low, &mut b.low),
    }
}
