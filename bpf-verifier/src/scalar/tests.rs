//! The laws of scalars: what a member becomes is a member of what its set becomes.

use bpf_isa::{AluOp, JumpOp, Size, Width};
use proptest::prelude::*;

use super::*;

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
const SHIFTS: [AluOp; 3] = [AluOp::Lsh, AluOp::Rsh, AluOp::Arsh];

/// Small intervals around zero and sets of known low bits, each with all of its members.
fn small_sets() -> Vec<(Scalar, Vec<u64>)> {
    let intervals = (-3..4_i64).flat_map(|min| (min..4).map(move |max| (min, max)));
    let intervals = intervals.map(|(min, max)| {
        (Scalar::of_signed(min, max), (min..=max).map(i64::cast_unsigned).collect())
    });
    let patterns = (0..8_u64).flat_map(|mask| (0..8).map(move |value| (value, mask)));
    let patterns = patterns.filter(|(value, mask)| value & mask == 0).map(|(value, mask)| {
        let mut set = Scalar::of_bits(Tnum::new(value, mask));
        set.sync();
        (set, (0..8).filter(|x| x & !mask == value).collect())
    });
    intervals.chain(patterns).collect()
}

/// What the machine computes.
fn concrete(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let by = u32::low_of(b) % width.bits();
    let (low_a, low_b) = (u32::low_of(a), u32::low_of(b));
    match (op, width) {
        (AluOp::Add, Width::W64) => a.wrapping_add(b),
        (AluOp::Sub, Width::W64) => a.wrapping_sub(b),
        (AluOp::Mul, Width::W64) => a.wrapping_mul(b),
        (AluOp::Div, Width::W64) => a.checked_div(b).unwrap_or(0),
        (AluOp::Mod, Width::W64) => a.checked_rem(b).unwrap_or(a),
        (AluOp::Or, Width::W64) => a | b,
        (AluOp::And, Width::W64) => a & b,
        (AluOp::Xor, Width::W64) => a ^ b,
        (AluOp::Mov, Width::W64) => b,
        (AluOp::Lsh, Width::W64) => a << by,
        (AluOp::Rsh, Width::W64) => a >> by,
        (AluOp::Arsh, Width::W64) => (a.cast_signed() >> by).cast_unsigned(),
        (AluOp::Arsh, Width::W32) => u64::from((low_a.cast_signed() >> by).cast_unsigned()),
        (AluOp::Rsh, Width::W32) => u64::from(low_a >> by),
        (AluOp::Div | AluOp::Mod, Width::W32) => {
            concrete(op, Width::W64, u64::from(low_a), u64::from(low_b))
        }
        (AluOp::Lsh, Width::W32) => u64::from(low_a << by),
        (_, Width::W32) => u64::from(u32::low_of(concrete(op, Width::W64, a, b))),
    }
}

fn holds(op: JumpOp, width: Width, a: u64, b: u64) -> bool {
    if width == Width::W32 {
        let sign_extend = |x: u64| i64::from(u32::low_of(x).cast_signed()).cast_unsigned();
        return holds(op, Width::W64, sign_extend(a), sign_extend(b));
    }
    let (sa, sb) = (a.cast_signed(), b.cast_signed());
    match op {
        JumpOp::Eq => a == b,
        JumpOp::Ne => a != b,
        JumpOp::Set => a & b != 0,
        JumpOp::Gt => a > b,
        JumpOp::Ge => a >= b,
        JumpOp::Lt => a < b,
        JumpOp::Le => a <= b,
        JumpOp::Sgt => sa > sb,
        JumpOp::Sge => sa >= sb,
        JumpOp::Slt => sa < sb,
        JumpOp::Sle => sa <= sb,
    }
}

fn check_branch(condition: Condition, (a, b): (Scalar, Scalar), (x, y): (u64, u64)) {
    let went = if holds(condition.op, condition.width, x, y) {
        Branch::Taken
    } else {
        Branch::FallThrough
    };
    if let Some(decided) = condition.decide(&a, &b) {
        assert_eq!(decided, went, "{condition:?} of {x:#x} in {a:?}, {y:#x} in {b:?}");
    }
    let (mut left, mut right) = (a, b);
    condition.refine(went, &mut left, &mut right);
    assert!(left.contains(x) && right.contains(y), "{condition:?} {x:#x} {a:?} {y:#x} {b:?}");
    assert_eq!((left.violation(), right.violation()), (None, None));
}

#[test]
fn results_of_members_are_members_of_the_result() {
    let sets = small_sets();
    for (a, members_a) in &sets {
        for (b, members_b) in &sets {
            for (op, width) in AluOp::ALL.iter().flat_map(|&op| WIDTHS.map(|width| (op, width))) {
                let result = a.alu(op, width, *b);
                assert_eq!(result.violation(), None);
                for (x, y) in members_a.iter().flat_map(|x| members_b.iter().map(move |y| (*x, *y)))
                {
                    let z = concrete(op, width, x, y);
                    assert!(result.contains(z), "{op:?} {width:?} {x:#x} {y:#x} of {a:?} {b:?}");
                }
            }
        }
    }
}

#[test]
fn branches_keep_the_members_that_take_them() {
    let sets = small_sets();
    for (a, members_a) in &sets {
        for (b, members_b) in &sets {
            for (op, width) in JumpOp::ALL.iter().flat_map(|&op| WIDTHS.map(|width| (op, width))) {
                let condition = Condition { op, width };
                for (x, y) in members_a.iter().flat_map(|x| members_b.iter().map(move |y| (*x, *y)))
                {
                    check_branch(condition, (*a, *b), (x, y));
                }
            }
        }
    }
}

/// Of intervals, the order decides whenever it can: what is left open has members for both.
#[test]
fn unsigned_order_of_intervals_is_decided_whenever_it_can_be() {
    let intervals = || (0..6_u64).flat_map(|min| (min..6).map(move |max| (min, max)));
    for ((a, b), (c, d)) in intervals().flat_map(|a| intervals().map(move |b| (a, b))) {
        for op in [JumpOp::Lt, JumpOp::Le, JumpOp::Gt, JumpOp::Ge] {
            let condition = Condition { op, width: Width::W64 };
            let decided = condition.decide(&Scalar::of_unsigned(a, b), &Scalar::of_unsigned(c, d));
            let mut outcomes =
                (a..=b).flat_map(|x| (c..=d).map(move |y| holds(op, Width::W64, x, y)));
            let first = outcomes.next();
            assert_eq!(decided.is_some(), outcomes.all(|outcome| Some(outcome) == first));
        }
    }
}

#[test]
fn constants_compute_to_constants() {
    for (op, width) in AluOp::ALL.iter().flat_map(|&op| WIDTHS.map(|width| (op, width))) {
        let result = Scalar::constant(0x8000_0000_8000_0001).alu(op, width, Scalar::constant(7));
        if matches!(op, AluOp::Div | AluOp::Mod) {
            assert!(result.is_unknown());
        } else {
            let expected = concrete(op, width, 0x8000_0000_8000_0001, 7);
            assert_eq!(result, Scalar::constant(expected));
        }
    }
}

#[test]
fn a_shift_by_the_width_or_by_an_unknown_amount_is_unknown() {
    for (op, width) in SHIFTS.into_iter().flat_map(|op| WIDTHS.map(|width| (op, width))) {
        let by = Scalar::constant(u64::from(width.bits()));
        assert!(Scalar::constant(1).alu(op, width, by).is_unknown());
        assert!(Scalar::constant(1).alu(op, width, Scalar::of_unsigned(1, 2)).is_unknown());
    }
}

#[test]
fn a_contradiction_is_told_in_the_words_of_the_log() {
    let mut a = Scalar::constant(3);
    a.whole.umin = 4;
    assert_eq!(
        a.violation().unwrap().to_string(),
        "range bounds violation u64=[0x4, 0x3] s64=[0x3, 0x3] u32=[0x3, 0x3] s32=[0x3, 0x3] \
         var_off=(0x3, 0x0)"
    );
    a.forget_ranges();
    assert_eq!(a.violation().unwrap().contradiction, Contradiction::Constant);
}

#[test]
fn a_register_compared_with_itself_loses_its_ends() {
    let mut same = Scalar::UNKNOWN;
    Condition { op: JumpOp::Lt, width: Width::W64 }.refine_same(Branch::Taken, &mut same);
    assert_eq!((same.umin(), same.umax()), (1, u64::MAX - 1));
    let mut same = Scalar::UNKNOWN;
    Condition { op: JumpOp::Ne, width: Width::W64 }.refine_same(Branch::Taken, &mut same);
    assert!(same.is_unknown());
}

#[test]
fn a_smeared_sign_comes_apart() {
    let sign = Scalar::UNKNOWN.alu(AluOp::Arsh, Width::W64, Scalar::constant(63));
    assert_eq!(sign.split_sign_mask(), Some([Scalar::constant(0), Scalar::constant(u64::MAX)]));
    let sign = Scalar::UNKNOWN.alu(AluOp::Arsh, Width::W32, Scalar::constant(31));
    let low = sign.split_sign_mask().unwrap().map(|half| half.const_in(Width::W32));
    assert_eq!(low, [Some(0), Some(0xffff_ffff)]);
    assert_eq!(Scalar::of_signed(-1, 1).split_sign_mask(), None);
}

/// Words that lie at edges more often than not.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<i8>().prop_map(|x| i64::from(x).cast_unsigned()),
        any::<i32>().prop_map(|x| i64::from(x).cast_unsigned()),
        any::<u32>().prop_map(u64::from),
        (0..64_u32, -1..=1_i64).prop_map(|(bit, by)| (1_u64 << bit).wrapping_add_signed(by)),
    ]
}

/// A set and one of its members.
fn set() -> impl Strategy<Value = (Scalar, u64)> {
    (word(), word(), word(), 0..6_u8).prop_map(|(x, y, mask, shape)| {
        let mut set = Scalar::UNKNOWN;
        let (sx, sy) = (x.cast_signed(), y.cast_signed());
        let (lx, ly) = (u32::low_of(x), u32::low_of(y));
        match shape {
            0 => set = Scalar::constant(x),
            1 => set.whole.clip(x.min(y), x.max(y)),
            2 => set.whole.clip_signed(sx.min(sy), sx.max(sy)),
            3 => set.low.clip(lx.min(ly), lx.max(ly)),
            4 => set.low.clip_signed(
                lx.cast_signed().min(ly.cast_signed()),
                lx.cast_signed().max(ly.cast_signed()),
            ),
            _ => set.bits = Tnum::new(x, mask),
        }
        set.sync();
        (set, x)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_member_escapes_an_operation(
        (a, x) in set(),
        (b, y) in set(),
        op in prop::sample::select(AluOp::ALL),
        wide: bool,
    ) {
        let width = WIDTHS[usize::from(wide)];
        prop_assert!(a.contains(x) && b.contains(y));
        prop_assert!(a.alu(op, width, b).contains(concrete(op, width, x, y)), "{:?}", a.alu(op, width, b));
        prop_assert!(a.neg(width).contains(concrete(AluOp::Sub, width, 0, x)));
        // Two operations let more constraints meet than one.
        let twice = a.alu(op, width, b).alu(AluOp::Add, Width::W64, a);
        prop_assert!(twice.contains(concrete(op, width, x, y).wrapping_add(x)));
    }

    #[test]
    fn no_member_escapes_a_shift(
        (a, x) in set(),
        op in prop::sample::select(&SHIFTS[..]),
        wide: bool,
        by in 0..64_u64,
    ) {
        let width = WIDTHS[usize::from(wide)];
        let result = a.alu(op, width, Scalar::constant(by));
        prop_assert!(result.contains(concrete(op, width, x, by)) || by >= u64::from(width.bits()));
    }

    #[test]
    fn no_member_escapes_a_cast((a, x) in set(), size in prop::sample::select(&Size::ALL[..])) {
        let unused = 64 - size.bits();
        let unsigned = x << unused >> unused;
        let signed = ((x << unused).cast_signed() >> unused).cast_unsigned();
        prop_assert!(a.zero_extended(size).contains(unsigned));
        prop_assert!(a.byte_swapped(size).contains(unsigned.swap_bytes() >> unused));
        prop_assert!(a.sign_extended(Width::W64, size).contains(signed));
        prop_assert!(a.sign_extended(Width::W32, size).contains(signed & 0xffff_ffff));
        prop_assert!(a.truncated().contains(x & 0xffff_ffff));
    }

    #[test]
    fn no_member_escapes_the_branch_it_takes(
        (a, x) in set(),
        (b, y) in set(),
        op in prop::sample::select(JumpOp::ALL),
        wide: bool,
    ) {
        check_branch(Condition { op, width: WIDTHS[usize::from(wide)] }, (a, b), (x, y));
    }
}
