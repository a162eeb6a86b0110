//! Statements that compute.

use super::frame::Held;
use super::{EDGES, Function};
use crate::op::{self, ALU32, ALU64, FP};

/// The bits of operations on two numbers, the usual ones more often.
const OPERATIONS: [u8; 20] = [
    0x00, 0x00, 0x00, 0x10, 0x10, 0x20, 0x30, 0x40, 0x50, 0x50, 0x50, 0x60, 0x60, 0x70, 0x70, 0x90,
    0xa0, 0xc0, 0xc0, 0xb0,
];
const DIV: u8 = 0x30;
const MOD: u8 = 0x90;
const SHIFTS: [u8; 3] = [0x60, 0x70, 0xc0];

impl Function<'_> {
    /// A computation or two.
    pub(super) fn arithmetic(&mut self) {
        for _ in 0..=self.random.below(3) {
            match self.random.below(20) {
                0..3 => self.move_number(),
                3 => self.turn_bytes(),
                4 => self.negate(),
                5..8 => {
                    self.bounded_number();
                }
                _ => self.operate(),
            }
        }
    }

    fn class(&mut self) -> u8 {
        self.random.pick(&[ALU64, ALU64, ALU32])
    }

    fn operate(&mut self) {
        let (class, operation) = (self.class(), self.random.pick(&OPERATIONS));
        let dst = self.number_reg();
        let width = if class == ALU64 { 64 } else { 32 };
        let signed = matches!(operation, DIV | MOD) && self.random.chance(40);
        let mut slot = if self.random.chance(45) {
            let src = self.number_reg();
            op::alu_reg(class, operation, dst, src)
        } else if SHIFTS.contains(&operation) {
            let most = if self.random.chance(97) { width - 1 } else { width };
            op::alu(class, operation, dst, self.random.between(0, most))
        } else {
            let imm = self.random.pick(&EDGES);
            let by_zero = matches!(operation, DIV | MOD) && imm == 0 && self.random.chance(95);
            op::alu(class, operation, dst, if by_zero { 3 } else { imm })
        };
        slot.off = i16::from(signed);
        self.put(slot);
        // The source may be a new number, in a register that now is one.
        self.hold(dst, Held::Number);
    }

    /// A move between registers, with a sign at times.
    fn move_number(&mut self) {
        let src = self.number_reg();
        let (dst, class) = (self.free(), self.class());
        let mut slot = op::alu_reg(class, op::MOV, dst, src);
        if self.random.chance(40) {
            slot.off = if class == ALU64 {
                self.random.pick(&[8, 16, 32])
            } else {
                self.random.pick(&[8, 16])
            };
        }
        self.put(slot);
        self.hold(dst, Held::Number);
    }

    fn negate(&mut self) {
        let (class, dst) = (self.class(), self.number_reg());
        self.put(op::slot(class | 0x80, dst, 0, 0, 0));
        self.hold(dst, Held::Number);
    }

    fn turn_bytes(&mut self) {
        let dst = self.number_reg();
        let opcode = self.random.pick(&[0xd4, 0xdc, 0xd7]);
        let width = self.random.pick(&[16, 32, 64]);
        self.put(op::slot(opcode, dst, 0, 0, width));
        self.hold(dst, Held::Number);
    }

    /// A number with a bound, and the bound.
    pub(super) fn bounded_number(&mut self) -> (u8, u32) {
        let reg = self.number_reg();
        let most = self.random.pick(&[1_u32, 3, 7, 8, 15, 16, 20, 31, 32, 40, 63, 255]);
        self.bound(reg, most);
        (reg, most)
    }

    /// Keeps a number from 0 to `most`, in one of the ways that programs do.
    pub(super) fn bound(&mut self, reg: u8, most: u32) {
        let imm = i32::try_from(most).unwrap_or(i32::MAX);
        match self.random.below(if most == 0 { 1 } else { 7 }) {
            0..3 if (most & (most + 1)) == 0 => self.put(op::alu(ALU64, op::AND, reg, imm)),
            3 if (most & (most + 1)) == 0 => self.put(op::alu(ALU32, op::AND, reg, imm)),
            4 => self.put(op::alu(ALU64, MOD, reg, imm.max(1))),
            5 => {
                // Signed comparisons from both sides.
                let fix = op::set(reg, 0);
                self.put(op::jump_if(op::JMP, 0x60, reg, imm, 1));
                self.put(op::jump_if(op::JMP, 0x70, reg, 0, 1));
                self.put(fix);
            }
            6 => {
                let other = self.random.pick(&[1, 2, 3, 4, 5]);
                if other != reg && self.held(other) != Held::Context {
                    self.put(op::set(other, imm));
                    self.hold(other, Held::Number);
                    self.put(op::jump_if_reg(op::JMP, 0xb0, reg, other, 1));
                    self.put(op::set(reg, 0));
                }
            }
            _ => {
                let class = self.random.pick(&[op::JMP, op::JMP, op::JMP32]);
                if self.random.chance(50) {
                    self.put(op::jump_if(class, 0xb0, reg, imm, 1));
                    self.put(op::set(reg, 0));
                } else {
                    let [result, exit] = self.give_up();
                    self.put(op::jump_if(class, 0xb0, reg, imm, 2));
                    self.put(result);
                    self.put(exit);
                }
            }
        }
        self.hold(reg, Held::Below(most));
    }

    /// Arithmetic on a pointer of any kind.
    pub(super) fn move_pointer(&mut self) {
        let Some(from) = self.holding(|held| held != Held::Nothing && !held.is_number()) else {
            return;
        };
        let reg = self.free();
        let from = if self.random.chance(80) { from } else { FP };
        self.copy(reg, from);
        let class = self.random.pick(&[ALU64, ALU64, ALU64, ALU32]);
        let operation = self.random.pick(&[0x00, 0x00, 0x00, 0x10, 0x10, 0x50, 0x40, 0x20]);
        if self.random.chance(50) {
            let imm = self.random.pick(&EDGES);
            self.put(op::alu(class, operation, reg, imm));
        } else {
            let (number, _) = self.bounded_number();
            if self.random.chance(20) {
                self.put(op::alu_reg(class, operation, number, reg));
                self.hold(number, Held::Nothing);
            } else {
                self.put(op::alu_reg(class, operation, reg, number));
            }
        }
        self.hold(reg, Held::Nothing);
        if self.random.chance(60) {
            let size = self.random.pick(&[1, 2, 4, 8]);
            let off = self.random.pick(&[0, 0, 1, 4, 8, -8]);
            let dst = self.free();
            self.put(op::load(size, dst, reg, off));
            self.hold(dst, Held::Number);
        }
    }

    /// An instruction that need not make sense.
    pub(super) fn noise(&mut self) {
        let bytes = self.random.next().to_le_bytes();
        let imm = self.random.pick(&EDGES);
        let off = self.random.pick(&[0, 0, 1, -8, 8, 16]);
        let (dst, src) = (bytes[1] % 11, bytes[2] % 11);
        // A jump backwards may never end, and a wide immediate needs its second slot.
        if bytes[0] != 0x18 {
            self.put(op::slot(bytes[0], dst, src, off, imm));
        }
    }
}
