//! A member within its structure: does it lie where its type may lie, and does it fit?

use super::meta::Entry;
use super::problem::Problem;
use super::resolve::{Resolver, Stop};
use crate::layout::POINTER_SIZE;
use crate::raw::KindCode;

/// The widest value, in bits: a 128-bit integer.
const MAX_BITS: u32 = 128;

/// How many bits an enumeration has as a bit field's base.
const ENUM_BITS: u32 = 32;

/// Whether an integer fills whole bytes, a power of two of them.
///
/// Linux: `btf_type_int_is_regular`.
pub(super) fn is_regular(int: &Entry<'_>) -> bool {
    let [bits, _, offset, _] = int.word(0).to_le_bytes();
    let bytes = u32::from(bits).div_ceil(8);
    bits.is_multiple_of(8) && offset == 0 && matches!(bytes, 1 | 2 | 4 | 8 | 16)
}

/// Checks the member at `index` of a structure whose type was walked.
pub(super) fn check(
    resolver: &mut Resolver<'_, '_>,
    whole: &Entry<'_>,
    index: usize,
) -> Result<(), Stop> {
    let [name, ty, packed] = whole.triple(index);
    let (bits, offset) =
        if whole.record.kind_flag() { (packed >> 24, packed & 0x00ff_ffff) } else { (0, packed) };
    // Modifiers lie and fit as what they modify; that is also what a refusal shows.
    let base = resolver.sized(ty);
    let (shown, problem) = match base.and_then(|(id, size)| Some((resolver.records.get(id)?, size)))
    {
        None => (ty, Some("Invalid member")),
        Some((member, size)) => {
            let place = Place { whole: whole.record.size_or_type, offset, bits };
            let is_flagged = whole.record.kind_flag();
            (member.id, place.problem(&member, size, is_flagged))
        }
    };
    match problem {
        None => Ok(()),
        Some(problem) => {
            let problem = Problem::Plain(problem);
            let line = [name, shown, packed];
            let refusal = resolver.log.refuse_member(resolver.records, whole, line, true, problem);
            Err(Stop::Refused(refusal))
        }
    }
}

/// Where a member lies.
struct Place {
    /// The size of the whole, in bytes.
    whole: u32,
    /// Where the member begins, in bits.
    offset: u32,
    /// How many bits it has if it is a bit field, or 0.
    bits: u32,
}

const BEYOND: Option<&str> = Some("Member exceeds struct_size");
const NOT_ALIGNED: Option<&str> = Some("Member is not byte aligned");
const WIDE_BITFIELD: Option<&str> = Some("Invalid member bitfield_size");

impl Place {
    fn problem(&self, member: &Entry<'_>, size: u32, is_flagged: bool) -> Option<&'static str> {
        let is_enum = matches!(member.code, KindCode::Enum | KindCode::Enum64);
        if member.code == KindCode::Int {
            if is_flagged { self.flagged_int(member) } else { self.int(member) }
        } else if is_enum && is_flagged {
            self.flagged_enum()
        } else if self.bits != 0 {
            WIDE_BITFIELD
        } else if member.code == KindCode::Float {
            self.float(size)
        } else {
            self.bytes(size)
        }
    }

    /// A member that fills whole bytes.
    fn bytes(&self, size: u32) -> Option<&'static str> {
        if !self.offset.is_multiple_of(8) {
            NOT_ALIGNED
        } else if self.whole.saturating_sub(self.offset / 8) < size {
            BEYOND
        } else {
            None
        }
    }

    /// Bits that are read by copying the bytes they lie in.
    fn copied(&self, offset: u32, bits: u32) -> Option<&'static str> {
        let copied = bits + offset % 8;
        if copied > MAX_BITS {
            Some("nr_copy_bits exceeds 128")
        } else if self.whole.checked_sub(offset / 8).is_none_or(|left| left < copied.div_ceil(8)) {
            BEYOND
        } else {
            None
        }
    }

    fn int(&self, member: &Entry<'_>) -> Option<&'static str> {
        let [bits, _, shift, _] = member.word(0).to_le_bytes();
        match self.offset.checked_add(u32::from(shift)) {
            None => Some("bits_offset exceeds U32_MAX"),
            Some(offset) => self.copied(offset, u32::from(bits)),
        }
    }

    fn flagged_int(&self, member: &Entry<'_>) -> Option<&'static str> {
        let [all, _, _, _] = member.word(0).to_le_bytes();
        let all = u32::from(all);
        if !is_regular(member) {
            Some("Invalid member base type")
        } else if self.bits == 0 && !self.offset.is_multiple_of(8) {
            Some("Invalid member offset")
        } else if self.bits > all {
            WIDE_BITFIELD
        } else {
            self.copied(self.offset, if self.bits == 0 { all } else { self.bits })
        }
    }

    fn flagged_enum(&self) -> Option<&'static str> {
        let bits = if self.bits == 0 { ENUM_BITS } else { self.bits };
        if self.bits == 0 && !self.offset.is_multiple_of(8) {
            NOT_ALIGNED
        } else if bits > ENUM_BITS {
            WIDE_BITFIELD
        } else if self.whole < (self.offset + bits).div_ceil(8) {
            BEYOND
        } else {
            None
        }
    }

    fn float(&self, size: u32) -> Option<&'static str> {
        let align = size.clamp(1, POINTER_SIZE) * 8;
        if !self.offset.is_multiple_of(align) {
            Some("Member is not properly aligned")
        } else if (self.offset / 8).saturating_add(size) > self.whole {
            BEYOND
        } else {
            None
        }
    }
}
