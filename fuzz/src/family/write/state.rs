//! What registers and stack hold, as is known when a function is written.

use super::Writer;
use crate::op;

/// The places of the stack that hold pointers.
pub(super) const SPILLS: [i16; 3] = [-8, -16, -24];
/// The lowest byte of the numbers on the stack.
pub(super) const AREA: i16 = -80;
/// How many bytes of numbers there are.
pub(super) const AREA_LEN: u8 = 56;
/// Where keys are made.
pub(super) const KEY: i16 = -96;

/// Where iterators, flags and buffers are, in families that are about more.
pub(super) const MORE: i16 = -144;
/// Where dynptrs are.
pub(super) const DYNPTRS: [i16; 2] = [-112, -128];

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing that may be read.
    Nothing,
    Number,
    /// A number that a loop counts with.
    Counter,
    Context,
    /// The packet, of which so many bytes are there.
    Packet(u8),
    /// So many bytes of a map's value.
    Value(u8),
    /// So many bytes that may only be read.
    Constant(u8),
    /// So many bytes of stack, all written.
    Frame(u8),
}

impl Held {
    /// Whether it may be read as a number.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Counter)
    }

    /// Whether packets that move take it away.
    const fn is_packet(self) -> bool {
        matches!(self, Self::Packet(_))
    }

    const fn is_pointer(self) -> bool {
        !matches!(self, Self::Nothing | Self::Number | Self::Counter)
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (ours, theirs) if ours == theirs => ours,
            (Self::Packet(ours), Self::Packet(theirs)) => Self::Packet(ours.min(theirs)),
            (Self::Value(ours), Self::Value(theirs)) => Self::Value(ours.min(theirs)),
            _ => Self::Nothing,
        }
    }
}

/// Registers and stack.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// R0 to R9.
    pub(super) held: [Held; 10],
    /// What registers must go on to hold.
    pub(super) pins: [Option<Held>; 10],
    /// What the places for pointers hold.
    pub(super) spills: [Held; 3],
    /// Which of them must go on to.
    pub(super) spill_pins: [bool; 3],
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            held: [Held::Nothing; 10],
            pins: [None; 10],
            spills: [Held::Nothing; 3],
            spill_pins: [false; 3],
        }
    }

    /// What is left of registers after a call.
    pub(super) fn call(&mut self) {
        self.held[..6].fill(Held::Nothing);
    }

    /// Packets may have moved.
    pub(super) fn lose_packets(&mut self) {
        for held in self.held.iter_mut().chain(&mut self.spills) {
            if held.is_packet() {
                *held = Held::Nothing;
            }
        }
    }

    /// What holds on both of two ways here.
    pub(super) fn join(&mut self, other: &Self) {
        for (held, theirs) in self.held.iter_mut().zip(other.held) {
            *held = held.join(theirs);
        }
        for (held, theirs) in self.spills.iter_mut().zip(other.spills) {
            *held = held.join(theirs);
        }
    }

    /// What the head of a loop keeps: all of it, and what the body does not lose.
    pub(super) fn pin(&mut self) {
        self.call();
        self.lose_packets();
        for (pin, held) in self.pins.iter_mut().zip(self.held) {
            if held != Held::Nothing {
                *pin = Some(held);
            }
        }
        for (pin, held) in self.spill_pins.iter_mut().zip(self.spills) {
            *pin |= held != Held::Nothing;
        }
    }
}

impl Writer<'_> {
    pub(super) fn held(&self, reg: u8) -> Held {
        self.state.held[usize::from(reg)]
    }

    pub(super) fn hold(&mut self, reg: u8, held: Held) {
        self.state.held[usize::from(reg)] = held;
    }

    pub(super) fn copy(&mut self, to: u8, from: u8) {
        self.put(op::copy(to, from));
        let held = self.held(from);
        self.hold(to, if held == Held::Counter { Held::Number } else { held });
    }

    fn may_hold(&self, reg: u8, held: Held) -> bool {
        self.state.pins[usize::from(reg)].is_none_or(|pin| pin == held)
    }

    /// A register that holds such a thing.
    pub(super) fn holding(&mut self, is: impl Fn(Held) -> bool) -> Option<u8> {
        let found: Vec<u8> = (0..10).filter(|reg| is(self.held(*reg))).collect();
        if found.is_empty() { None } else { Some(self.random.pick(&found)) }
    }

    /// A register to put this into.
    pub(super) fn free(&mut self, held: Held) -> u8 {
        let may: Vec<u8> = (0..10).filter(|reg| self.may_hold(*reg, held)).collect();
        for _ in 0..3 {
            let reg = self.random.pick(&may);
            if !self.held(reg).is_pointer() {
                return reg;
            }
        }
        self.random.pick(&may)
    }

    /// A register that calls leave alone, to put this into, if there is one.
    pub(super) fn free_kept(&mut self, held: Held) -> Option<u8> {
        let may: Vec<u8> = (6..10).filter(|reg| self.may_hold(*reg, held)).collect();
        if may.is_empty() { None } else { Some(self.random.pick(&may)) }
    }

    /// A register with a number to read.
    pub(super) fn number(&mut self) -> u8 {
        if self.random.chance(88)
            && let Some(reg) = self.holding(Held::is_number)
        {
            return reg;
        }
        self.fresh_number()
    }

    /// A register with a number to change.
    pub(super) fn variable(&mut self) -> u8 {
        if self.random.chance(88)
            && let Some(reg) = self.holding(|held| held == Held::Number)
        {
            return reg;
        }
        self.fresh_number()
    }
}
