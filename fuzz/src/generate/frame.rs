//! What a function being made believes to be in its registers and on its stack.
//!
//! It is only a belief: it makes most programs nearly right, and judges none.

/// The lowest byte of the stack.
pub(super) const BOTTOM: i16 = -512;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing that may be read.
    Nothing,
    /// A number.
    Number,
    /// A number up to this.
    Below(u32),
    /// The context.
    Context,
    /// A place on the stack.
    Stack(i16),
    /// A value of a map.
    Value {
        /// The map.
        map: usize,
        /// Whether it may be null.
        null: bool,
    },
    /// The packet, of which so many bytes are there.
    Packet(u8),
    /// The packet's end.
    PacketEnd,
    /// A map.
    Map(usize),
    /// Memory of so many bytes: a record of a ring buffer, or a slice.
    Memory {
        /// How many bytes.
        size: u16,
        /// Whether it may be null.
        null: bool,
        /// Whether it must be given back.
        owned: bool,
    },
    /// A kernel object.
    Object {
        /// Whether it may be null.
        null: bool,
        /// Whether it must be given back.
        owned: bool,
    },
}

impl Held {
    /// Whether it is a number.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Below(_))
    }

    /// Whether it may be null.
    pub(super) const fn may_be_null(self) -> bool {
        matches!(
            self,
            Self::Value { null: true, .. }
                | Self::Memory { null: true, .. }
                | Self::Object { null: true, .. }
        )
    }

    /// The same, known not to be null.
    pub(super) const fn not_null(self) -> Self {
        match self {
            Self::Value { map, .. } => Self::Value { map, null: false },
            Self::Memory { size, owned, .. } => Self::Memory { size, null: false, owned },
            Self::Object { owned, .. } => Self::Object { null: false, owned },
            Self::Nothing
            | Self::Number
            | Self::Below(_)
            | Self::Context
            | Self::Stack(_)
            | Self::Packet(_)
            | Self::PacketEnd
            | Self::Map(_) => self,
        }
    }
}

/// Registers and stack.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// R0 to R9.
    pub(super) held: [Held; 10],
    /// Which bytes of the stack were written, from [`BOTTOM`] on.
    written: Vec<bool>,
    /// What the whole slots of the stack hold, where that is no number.
    pub(super) spilled: Vec<(i16, Held)>,
    /// How many things must be given back before the function ends.
    pub(super) debts: u32,
}

impl Frame {
    /// Nothing in it.
    pub(super) fn new() -> Self {
        Self { held: [Held::Nothing; 10], written: vec![false; 512], spilled: Vec::new(), debts: 0 }
    }

    fn place(off: i16) -> usize {
        usize::try_from(off - BOTTOM).unwrap_or(0)
    }

    /// Bytes of the stack are written.
    pub(super) fn write(&mut self, off: i16, size: u8) {
        let at = Self::place(off);
        for byte in self.written.iter_mut().skip(at).take(usize::from(size)) {
            *byte = true;
        }
        let end = off + i16::from(size);
        self.spilled.retain(|(slot, _)| slot + 8 <= off || end <= *slot);
    }

    /// Whether these bytes of the stack were written.
    pub(super) fn is_written(&self, off: i16, size: u8) -> bool {
        let at = Self::place(off);
        self.written[at.min(512)..].iter().take(usize::from(size)).all(|byte| *byte)
    }

    /// What a whole slot holds.
    pub(super) fn slot(&self, off: i16) -> Held {
        let found = self.spilled.iter().find(|(slot, _)| *slot == off);
        found.map_or(Held::Number, |(_, held)| *held)
    }

    /// What is left of registers after a call.
    pub(super) fn call(&mut self) {
        self.held[..6].fill(Held::Nothing);
    }

    /// Packets may have moved.
    pub(super) fn lose_packets(&mut self) {
        for held in &mut self.held {
            if matches!(held, Held::Packet(_) | Held::PacketEnd) {
                *held = Held::Nothing;
            }
        }
        self.spilled.retain(|(_, held)| !matches!(held, Held::Packet(_) | Held::PacketEnd));
    }

    /// What holds on both of two ways here.
    pub(super) fn join(&mut self, other: &Self) {
        for (held, theirs) in self.held.iter_mut().zip(other.held) {
            *held = match (*held, theirs) {
                (ours, theirs) if ours == theirs => ours,
                (ours, theirs) if ours.is_number() && theirs.is_number() => Held::Number,
                (Held::Packet(ours), Held::Packet(theirs)) => Held::Packet(ours.min(theirs)),
                _ => Held::Nothing,
            };
        }
        for (byte, theirs) in self.written.iter_mut().zip(&other.written) {
            *byte &= theirs;
        }
        self.spilled.retain(|slot| other.spilled.contains(slot));
        self.debts = self.debts.max(other.debts);
    }
}
