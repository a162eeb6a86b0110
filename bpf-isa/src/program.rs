//! A sequence of instructions addressed by [`Pc`].

use crate::decode::decode_slots;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::insn::{Call, Imm64, Insn, Pc};
use crate::slot::Slot;

/// Instructions, one entry a slot: a two-slot immediate is followed by
/// [`Insn::SecondSlot`], so that an index is a [`Pc`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    insns: Vec<Insn>,
}

impl Program {
    /// A program of these instructions.
    pub const fn new(insns: Vec<Insn>) -> Self {
        Self { insns }
    }

    /// Decodes a program as it lies in a little-endian object.
    ///
    /// # Errors
    ///
    /// Returns the first slot that is no instruction.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_slots(&slots(bytes)?)
    }

    /// Decodes a program.
    ///
    /// # Errors
    ///
    /// Returns the first slot that is no instruction.
    pub fn from_slots(slots: &[Slot]) -> Result<Self, DecodeError> {
        Ok(Self { insns: decode_slots(slots).into_iter().collect::<Result<_, _>>()? })
    }

    /// The program as slots.
    pub fn to_slots(&self) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.insns.len());
        let mut insns = self.insns.iter();
        while let Some(insn) = insns.next() {
            let encoded = insn.encode();
            slots.push(encoded.first);
            if let Some(second) = encoded.second {
                slots.push(second);
                // Its place in this sequence, which it fills.
                if insns.as_slice().first() == Some(&Insn::SecondSlot) {
                    insns.next();
                }
            }
        }
        slots
    }

    /// The program as it lies in a little-endian object.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_slots().into_iter().flat_map(Slot::to_bytes).collect()
    }

    /// The instructions, one entry a slot.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The instructions with their positions, without second slots.
    pub fn iter(&self) -> impl Iterator<Item = (Pc, Insn)> {
        (0..)
            .map(Pc)
            .zip(self.insns.iter().copied())
            .filter(|(_, insn)| !matches!(insn, Insn::SecondSlot))
    }

    /// The instruction at `pc`.
    pub fn get(&self, pc: Pc) -> Option<Insn> {
        self.insns.get(pc.index()).copied()
    }

    /// Its length in slots.
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// Whether there is no instruction.
    pub fn is_empty(&self) -> bool {
        self.insns.is_empty()
    }

    /// Where the functions begin: the first instruction, and whatever is called or has its
    /// address taken. In order, without what lies outside the program.
    pub fn functions(&self) -> Vec<Pc> {
        let called = self.iter().filter_map(|(pc, insn)| {
            let (Insn::Call(Call::Local(off)) | Insn::LoadImm64 { imm: Imm64::Func { off }, .. }) =
                insn
            else {
                return None;
            };
            pc.offset(1 + i64::from(off))
        });
        let mut entries: Vec<Pc> = called.filter(|pc| pc.index() < self.len()).collect();
        if !self.is_empty() {
            entries.push(Pc(0));
        }
        entries.sort_unstable();
        entries.dedup();
        entries
    }
}

/// Splits bytes into slots.
///
/// # Errors
///
/// Returns an error if the last slot is incomplete.
pub fn slots(bytes: &[u8]) -> Result<Vec<Slot>, DecodeError> {
    let (whole, rest) = bytes.as_chunks::<{ Slot::SIZE }>();
    if !rest.is_empty() {
        let at = Pc(u32::try_from(whole.len()).unwrap_or(u32::MAX));
        return Err(DecodeError { at, kind: DecodeErrorKind::Truncated { bytes: rest.len() } });
    }
    Ok(whole.iter().map(|bytes| Slot::from_bytes(*bytes)).collect())
}
