//! The entry slot: the eight bytes before each function's body, through which every call goes.
//!
//! ```text
//!             aligned to 8
//!   slot      0f 1f 84 00 00 00 00 00      idle: one nop, falls into the body
//!             e9 rel32        0f 1f 00      active: jumps
//!   slot + 8  the body
//! ```
//!
//! It is changed by one aligned eight-byte store while others run through it. AMD documents that
//! instruction fetch sees such a store whole; Intel promises it not for this case, though no
//! processor is known to do otherwise. [`SlotMode::Displacement`] asks for less: there the slot
//! always is a jump, whose displacement alone is changed.
//!
//! ```text
//!   slot      0f 1f 00  e9 rel32           idle: rel32 is 0
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use crate::code::Chunk;
use crate::jit::SlotMode;

/// The size of a slot in bytes.
pub(crate) const SIZE: usize = 8;

/// `nopl 0(%rax,%rax,1)` with a 32-bit displacement: one instruction of eight bytes.
const NOP: [u8; 8] = [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];

/// `nopl (%rax)`: one instruction of three bytes.
const NOP3: [u8; 3] = [0x0f, 0x1f, 0x00];

/// `jmp rel32`, without its displacement.
const JMP: u8 = 0xe9;

/// What a slot is when nobody has touched it.
pub(crate) const fn idle(mode: SlotMode) -> [u8; SIZE] {
    match mode {
        SlotMode::Word | SlotMode::Absent => NOP,
        SlotMode::Displacement => [NOP3[0], NOP3[1], NOP3[2], JMP, 0, 0, 0, 0],
    }
}

/// The entry slot of a function in compiled code.
#[derive(Clone, Copy, Debug)]
pub struct EntrySlot<'a> {
    chunk: &'a Chunk,
    at: usize,
    mode: SlotMode,
    /// Of the main function: whether runs may enter the body directly, past the slot.
    direct: Option<&'a AtomicBool>,
    /// Whether every call goes through it.
    is_all: bool,
}

/// What a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// It falls into the body.
    Idle,
    /// It jumps to this address.
    Jump(u64),
}

impl<'a> EntrySlot<'a> {
    pub(crate) const fn new(
        chunk: &'a Chunk,
        at: usize,
        mode: SlotMode,
        direct: Option<&'a AtomicBool>,
        is_all: bool,
    ) -> Self {
        Self { chunk, at, mode, direct, is_all }
    }

    /// The address that every call of the function goes to.
    pub fn address(self) -> u64 {
        self.chunk.address() + self.at as u64
    }

    /// The address of the function's own code, whatever its slot does.
    pub fn body(self) -> u64 {
        self.address() + SIZE as u64
    }

    /// What it does now.
    pub fn state(self) -> SlotState {
        match self.mode {
            SlotMode::Absent => SlotState::Idle,
            SlotMode::Word => {
                let word = self.chunk.word(self.at).load(Ordering::Acquire).to_le_bytes();
                let [first, a, b, c, d, ..] = word;
                if first == JMP {
                    SlotState::Jump(self.target(5, u32::from_le_bytes([a, b, c, d])))
                } else {
                    SlotState::Idle
                }
            }
            SlotMode::Displacement => {
                match self.chunk.half_word(self.at + 4).load(Ordering::Acquire) {
                    0 => SlotState::Idle,
                    displacement => SlotState::Jump(self.target(8, displacement)),
                }
            }
        }
    }

    /// Makes it jump to `target`. Threads that come through it from now on do; threads that have
    /// come through it before go on in the body. Returns whether it could: a target farther than
    /// 2 GiB is out of reach, and a function that is part of others must have been
    /// [set apart](crate::Jit::set_apart) first; then nothing changes.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: at `target` lies code that takes what this function takes and returns as
    /// it does, and stays there as long as a thread may run it.
    #[must_use]
    #[expect(unsafe_code, reason = "declares an obligation")]
    pub unsafe fn jump(self, target: u64) -> bool {
        let end = match self.mode {
            _ if !self.is_all => return false,
            SlotMode::Absent => return false,
            SlotMode::Word => 5,
            SlotMode::Displacement => 8,
        };
        let distance = target.wrapping_sub(self.address() + end).cast_signed();
        let Ok(displacement) = i32::try_from(distance) else { return false };
        if let Some(direct) = self.direct {
            direct.store(false, Ordering::Release);
        }
        match self.mode {
            SlotMode::Word => {
                let [a, b, c, d] = displacement.to_le_bytes();
                let word = [JMP, a, b, c, d, NOP3[0], NOP3[1], NOP3[2]];
                self.chunk.word(self.at).store(u64::from_le_bytes(word), Ordering::Release);
            }
            SlotMode::Displacement => {
                let half = self.chunk.half_word(self.at + 4);
                half.store(displacement.cast_unsigned(), Ordering::Release);
            }
            SlotMode::Absent => return false,
        }
        self.chunk.arena().sync();
        true
    }

    /// Makes it fall into the body.
    pub fn reset(self) {
        match self.mode {
            SlotMode::Absent => {}
            SlotMode::Word => {
                self.chunk.word(self.at).store(u64::from_le_bytes(NOP), Ordering::Release);
            }
            SlotMode::Displacement => {
                self.chunk.half_word(self.at + 4).store(0, Ordering::Release);
            }
        }
        self.chunk.arena().sync();
    }

    /// Where a jump gets to whose displacement is counted from `after` bytes into the slot.
    fn target(self, after: u64, displacement: u32) -> u64 {
        let displacement = i64::from(displacement.cast_signed());
        (self.address() + after).wrapping_add_signed(displacement)
    }
}
