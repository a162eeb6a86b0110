//! Statements that compute.

use super::state::Held;
use super::{EDGES, Writer};
use crate::op::{self, ALU32, ALU64, MOV};

const DIV: u8 = 0x30;
const MOD: u8 = 0x90;
const SHIFTS: [u8; 3] = [0x60, 0x70, 0xc0];

/// The bits of operations on two numbers.
const OPERATIONS: [u8; 16] =
    [0x00, 0x00, 0x10, 0x10, 0x20, DIV, 0x40, 0x50, 0x60, 0x60, 0x70, 0x70, MOD, 0xa0, 0xc0, 0xc0];

impl Writer<'_> {
    /// A few computations.
    pub(super) fn arithmetic(&mut self) {
        for _ in 0..=self.random.below(4) {
            match self.random.below(22) {
                20 | 21 => self.move_or_not(),
                0..4 => self.move_number(),
                4 | 5 => self.turn_bytes(),
                6 => self.negate(),
                7 => {
                    self.fresh_number();
                }
                8 => self.rotate(),
                _ => self.operate(),
            }
        }
    }

    fn class(&mut self) -> u8 {
        self.random.pick(&[ALU64, ALU64, ALU32])
    }

    fn operate(&mut self) {
        let (class, operation) = (self.class(), self.random.pick(&OPERATIONS));
        let dst = self.variable();
        let signed = matches!(operation, DIV | MOD) && self.random.chance(50);
        let mut slot = if self.random.chance(60) {
            let src = self.number();
            op::alu_reg(class, operation, dst, src)
        } else if SHIFTS.contains(&operation) {
            let most = if class == ALU64 { 63 } else { 31 };
            op::alu(class, operation, dst, self.random.between(0, most))
        } else {
            let imm = self.random.pick(&EDGES);
            let by_zero = matches!(operation, DIV | MOD) && imm == 0;
            op::alu(class, operation, dst, if by_zero { 3 } else { imm })
        };
        slot.off = i16::from(signed);
        // The source may be new, and may be where the destination was.
        if self.held(dst) == Held::Number {
            self.put(slot);
        }
    }

    /// A move between registers, with a sign at times.
    fn move_number(&mut self) {
        let (src, class) = (self.number(), self.class());
        let dst = self.free(Held::Number);
        let mut slot = op::alu_reg(class, MOV, dst, src);
        if self.random.chance(50) {
            let widths: &[i16] = if class == ALU64 { &[8, 16, 32] } else { &[8, 16] };
            slot.off = self.random.pick(widths);
        }
        self.put(slot);
        self.hold(dst, Held::Number);
    }

    fn negate(&mut self) {
        let (class, dst) = (self.class(), self.variable());
        self.put(op::slot(class | 0x80, dst, 0, 0, 0));
    }

    fn turn_bytes(&mut self) {
        let dst = self.variable();
        let opcode = self.random.pick(&[0xd4, 0xdc, 0xdc, 0xd7]);
        let width = self.random.pick(&[16, 32, 64]);
        self.put(op::slot(opcode, dst, 0, 0, width));
    }

    /// The two shifts and the disjunction that compilers make of a rotation.
    fn rotate(&mut self) {
        let (src, class) = (self.number(), self.class());
        let (high, low) = (self.free(Held::Number), self.free(Held::Number));
        if high == low || high == src || low == src {
            return;
        }
        let width = if class == ALU64 { 64 } else { 32 };
        let by = self.random.between(1, width - 1);
        self.put(op::alu_reg(class, MOV, high, src));
        self.put(op::alu_reg(class, MOV, low, src));
        self.put(op::alu(class, 0x60, high, by));
        self.put(op::alu(class, 0x70, low, width - by));
        self.put(op::alu_reg(class, 0x40, high, low));
        self.hold(high, Held::Number);
        self.hold(low, Held::Number);
    }

    /// A register with a number that it did not hold.
    pub(super) fn fresh_number(&mut self) -> u8 {
        match self.random.below(10) {
            0 | 1 => {
                let reg = self.free(Held::Number);
                let value = self.random.pick(&EDGES);
                self.put(op::set(reg, value));
                self.hold(reg, Held::Number);
                reg
            }
            2 => {
                let reg = self.free(Held::Number);
                let bytes = self.random.next().to_le_bytes();
                let high = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let (low, high) = (
                    self.random.pick(&EDGES),
                    self.random.pick(&[0, -1, i32::MAX, i32::MIN, 1, high]),
                );
                self.put_wide(reg, 0, low, high);
                self.hold(reg, Held::Number);
                reg
            }
            3..6 => self.load_field().unwrap_or_else(|| self.load_stack()),
            6..8 => self.load_memory().unwrap_or_else(|| self.load_stack()),
            _ => self.load_stack(),
        }
    }

    /// A copy of a number, from 0 to `mask`, which is a power of two less one, or has low bits
    /// clear.
    pub(super) fn masked(&mut self, mask: i32) -> u8 {
        let from = self.number();
        let reg = self.free(Held::Number);
        if reg != from {
            self.copy(reg, from);
        }
        let class = self.random.pick(&[ALU64, ALU64, ALU32]);
        match self.random.below(4) {
            0 if (mask + 1) & mask == 0 => {
                // The verifier knows nothing of remainders.
                self.put(op::alu(class, MOD, reg, mask + 1));
                self.put(op::alu(ALU64, op::AND, reg, mask));
            }
            1 if (mask + 1) & mask == 0 => {
                self.put(op::jump_if(op::JMP, 0xb0, reg, mask, 1));
                self.put(op::set(reg, mask.min(1)));
            }
            _ => self.put(op::alu(class, op::AND, reg, mask)),
        }
        self.hold(reg, Held::Number);
        reg
    }
}
