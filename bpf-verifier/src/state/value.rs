//! What a register or a spilled slot holds.

use bpf_isa::Width;

use crate::scalar::Scalar;
use crate::state::ids::Id;
use crate::state::pointer::Pointer;

/// A value. What was never written is `None` where a value is expected.
///
/// Linux: `struct bpf_reg_state`; `NOT_INIT` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Scalar(Number),
    /// An address.
    Pointer(Pointer),
}

/// A number: what it may be, and what is known of its relation to others.
///
/// Linux: `SCALAR_VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The numbers it may be.
    pub set: Scalar,
    /// The other numbers it moves with, if any.
    pub link: Option<Link>,
    /// Whether a conclusion was drawn from its exact range, so that a state with a wider range
    /// is not covered by this one.
    ///
    /// Linux: `reg->precise`.
    pub precise: bool,
}

/// Membership in a group of scalars that are known relative to each other: what is learnt of
/// one is learnt of all.
///
/// Linux: `reg->id` of a scalar, `BPF_ADD_CONST` and `reg->off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The group.
    pub id: Id,
    /// How this member was moved from the group's base, if it was: `id=1+4`.
    pub delta: Option<Delta>,
}

/// A known distance from a group's base.
///
/// Linux: `BPF_ADD_CONST64` or `BPF_ADD_CONST32`, and `reg->off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The distance.
    pub by: i32,
    /// Whether the sum is one of low halves, the upper half being zero.
    pub width: Width,
}

impl Link {
    /// The distance from the group's base.
    pub fn distance(&self) -> i32 {
        self.delta.map_or(0, |delta| delta.by)
    }
}

impl Number {
    /// Any number.
    pub const UNKNOWN: Self = Self::of(Scalar::UNKNOWN);

    /// A number of this set, related to no other.
    pub const fn of(set: Scalar) -> Self {
        Self { set, link: None, precise: false }
    }

    /// How far it is from its group's base, if it was moved.
    pub fn delta(&self) -> Option<Delta> {
        self.link.and_then(|link| link.delta)
    }

    /// Exactly this number.
    pub const fn constant(value: u64) -> Self {
        Self::of(Scalar::constant(value))
    }
}

impl Value {
    /// Any number. Linux: `__mark_reg_unknown`.
    pub const UNKNOWN: Self = Self::Scalar(Number::UNKNOWN);

    /// Exactly this number. Linux: `__mark_reg_known`.
    pub const fn constant(value: u64) -> Self {
        Self::Scalar(Number::constant(value))
    }

    /// The number, if it is one.
    pub const fn as_scalar(&self) -> Option<&Number> {
        match self {
            Self::Scalar(number) => Some(number),
            Self::Pointer(_) => None,
        }
    }

    /// The number, if it is one.
    pub const fn as_scalar_mut(&mut self) -> Option<&mut Number> {
        match self {
            Self::Scalar(number) => Some(number),
            Self::Pointer(_) => None,
        }
    }

    /// The pointer, if it is one.
    pub const fn as_pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Pointer(pointer) => Some(pointer),
            Self::Scalar(_) => None,
        }
    }

    /// The pointer, if it is one.
    pub const fn as_pointer_mut(&mut self) -> Option<&mut Pointer> {
        match self {
            Self::Pointer(pointer) => Some(pointer),
            Self::Scalar(_) => None,
        }
    }

    /// The number, if it is known to be one number only.
    ///
    /// Linux: `tnum_is_const(reg->var_off)` of a scalar.
    pub const fn as_constant(&self) -> Option<u64> {
        match self {
            Self::Scalar(number) => number.set.const_value(),
            Self::Pointer(_) => None,
        }
    }

    /// Whether it is the number zero.
    ///
    /// Linux: `register_is_null`.
    pub const fn is_null(&self) -> bool {
        matches!(self.as_constant(), Some(0))
    }

    /// The identity: a scalar's group or a pointer's identity.
    ///
    /// Linux: `reg->id`.
    pub fn id(&self) -> Option<Id> {
        match self {
            Self::Scalar(number) => number.link.map(|link| link.id),
            Self::Pointer(pointer) => pointer.id,
        }
    }
}

impl From<Pointer> for Value {
    fn from(pointer: Pointer) -> Self {
        Self::Pointer(pointer)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Scalar(number)
    }
}

impl From<Scalar> for Value {
    fn from(set: Scalar) -> Self {
        Self::Scalar(Number::of(set))
    }
}
