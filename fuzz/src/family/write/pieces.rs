//! Statements that take numbers apart and put them together, piece by piece in memory, as compilers
//! do for packed structures and copies; and choices between two numbers.

use super::memory::Base;
use super::state::Held;
use super::{EDGES, Writer};
use crate::op::{self, ADD, ALU32, ALU64, FP, JMP, JMP32};

const OR: u8 = 0x40;
const XOR: u8 = 0xa0;
const SHIFT_LEFT: u8 = 0x60;
const SHIFT_RIGHT: u8 = 0x70;

/// A piece: so many bytes, at this offset, of which the lowest is this byte of the number.
#[derive(Clone, Copy)]
struct Piece {
    size: u8,
    at: u8,
    byte: u8,
}

impl Writer<'_> {
    /// A few pieces of this memory.
    pub(super) fn pieces(&mut self, base: Base) {
        if base.len < 8 {
            return;
        }
        match self.random.below(6) {
            0..2 => self.gather(base),
            2 | 3 if self.may_write(base.held) => self.scatter(base),
            4 if self.may_write(base.held) => self.fill(base),
            _ => self.copy_pieces(base),
        }
    }

    /// A number of 2, 4 or 8 bytes in pieces, in some order: seldom one that is wrong.
    fn cut(&mut self, len: u8) -> Vec<Piece> {
        let size: u8 = self.random.pick(&[1, 1, 1, 2, 4]);
        let size = size.min(len / 2).max(1);
        let is_reversed = self.random.chance(50);
        let mut pieces: Vec<Piece> = (0..len / size)
            .map(|n| {
                let byte = n * size;
                Piece { size, at: if is_reversed { len - size - byte } else { byte }, byte }
            })
            .collect();
        for n in (1..pieces.len()).rev() {
            if self.random.chance(40) {
                pieces.swap(n, self.random.below(n + 1));
            }
        }
        let which = self.random.below(pieces.len());
        match self.random.below(14) {
            0 => pieces[which].at ^= 1,
            1 => pieces[which].byte ^= 1,
            2 => {
                pieces.remove(which);
            }
            3 => pieces.push(pieces[which]),
            _ => {}
        }
        pieces
    }

    /// Where in the memory a number of so many bytes is.
    fn start(&mut self, base: Base, len: u8) -> i16 {
        let step = if matches!(base.held, Held::Frame(_)) { 4 } else { 1 };
        let room = usize::from(base.len - len) / step;
        base.off + i16::try_from(step * self.random.below(room + 1)).unwrap_or(0)
    }

    /// Two registers for numbers besides that of the memory.
    fn two(&mut self, base: Base) -> Option<(u8, u8)> {
        let (a, b) = (self.free(Held::Number), self.free(Held::Number));
        (a != b && a != base.reg && b != base.reg).then_some((a, b))
    }

    /// Loads pieces and puts them together.
    fn gather(&mut self, base: Base) {
        let Some((sum, piece)) = self.two(base) else { return };
        let len = self.random.pick(&[2, 2, 4, 4, 8]);
        let start = self.start(base, len);
        let class = if len < 8 { self.random.pick(&[ALU64, ALU32]) } else { ALU64 };
        let operation = self.random.pick(&[OR, OR, OR, ADD, XOR]);
        self.put(op::set(sum, 0));
        for Piece { size, at, byte } in self.cut(len) {
            let off = start + i16::from(at & !(size - 1));
            self.put(op::load(size, piece, base.reg, off));
            self.hold(piece, Held::Number);
            self.hold(sum, Held::Nothing);
            if self.random.chance(6) && self.may_write(base.held) {
                self.put(op::store(1, base.reg, start + i16::from(at), piece));
            }
            let most = if class == ALU64 { 63 } else { 31 };
            if byte > 0 {
                self.put(op::alu(class, SHIFT_LEFT, piece, (8 * i32::from(byte)).min(most)));
            }
            self.put(op::alu_reg(class, operation, sum, piece));
        }
        self.hold(sum, Held::Number);
        self.hold(piece, Held::Number);
        if self.random.chance(30) {
            let width = self.random.pick(&[16, 32, 64]);
            self.put(op::slot(0xdc, sum, 0, 0, width));
        }
    }

    /// Stores the pieces of a number.
    fn scatter(&mut self, base: Base) {
        let number = self.number();
        let Some((piece, seen)) = self.two(base) else { return };
        if piece == number || seen == number || base.reg == number {
            return;
        }
        let len = self.random.pick(&[2, 4, 4, 8]);
        let start = self.start(base, len);
        for Piece { size, at, byte } in self.cut(len) {
            let off = start + i16::from(at & !(size - 1));
            self.put(op::copy(piece, number));
            if byte > 0 {
                self.put(op::alu(ALU64, SHIFT_RIGHT, piece, 8 * i32::from(byte)));
            }
            self.put(op::store(size, base.reg, off, piece));
            self.hold(piece, Held::Number);
            if self.random.chance(8) {
                let size = self.random.pick(&[1, 2, 4]);
                let within = i16::from(self.random.below(4) == 0) * i16::from(size);
                if within + i16::from(size) <= i16::from(len) {
                    self.put(op::load(size, seen, base.reg, start + within));
                    self.hold(seen, Held::Number);
                }
            }
        }
    }

    /// Stores numbers next to each other, zeros for the most part.
    fn fill(&mut self, base: Base) {
        let size = self.random.pick(&[1, 2, 4, 8, 8]);
        let count = usize::from(base.len / size).min(1 + self.random.below(6));
        let zeros = self.random.chance(60);
        for n in 0..count {
            let off = base.off + i16::from(size) * i16::try_from(n).unwrap_or(0);
            let imm = if zeros { 0 } else { self.random.pick(&EDGES) };
            self.put(op::store_imm(size, base.reg, off, imm));
        }
    }

    /// Copies from one memory to another, or within one, whatever overlaps.
    fn copy_pieces(&mut self, from: Base) {
        let is_memory =
            |held| matches!(held, Held::Packet(8..) | Held::Value(8..) | Held::Frame(8..));
        let other = self.base(is_memory).filter(|_| self.random.chance(60));
        let to = other.unwrap_or(Self::area());
        if !self.may_write(to.held) {
            return;
        }
        let Some((piece, next)) = self.two(from) else { return };
        if piece == to.reg || next == to.reg {
            return;
        }
        let most = from.len.min(to.len).min(40);
        let size: u8 = self.random.pick(&[1, 2, 4, 8, 8]);
        let len = self.random.pick(&[4, 6, 8, 14, 16, 20, 40]).min(most) / size * size;
        // What lies in a frame is aligned.
        let (source, target) = if size > 4 {
            (from.off, to.off)
        } else {
            (self.start(from, len), self.start(to, len))
        };
        let in_pairs = self.random.chance(50);
        for n in 0..i16::from(len / size) {
            let reg = if in_pairs && n % 2 == 1 { next } else { piece };
            let at = n * i16::from(size);
            self.put(op::load(size, reg, from.reg, source + at));
            self.hold(reg, Held::Number);
            if in_pairs && n % 2 == 0 && n + 1 < i16::from(len / size) {
                continue;
            }
            if in_pairs && n % 2 == 1 {
                self.put(op::store(size, to.reg, target + at - i16::from(size), piece));
            }
            self.put(op::store(size, to.reg, target + at, reg));
        }
    }

    /// The smaller or the larger of two numbers, an absolute value, or another move that is jumped
    /// over.
    pub(super) fn move_or_not(&mut self) {
        let (a, b) = (self.variable(), self.number());
        if self.held(a) != Held::Number || !self.held(b).is_number() {
            return;
        }
        let class = self.random.pick(&[JMP, JMP, JMP32]);
        let relation =
            self.random.pick(&[0x20, 0x30, 0xa0, 0xb0, 0x60, 0x70, 0xc0, 0xd0, 0x10, 0x50]);
        let width = if class == JMP || self.random.chance(20) { ALU64 } else { ALU32 };
        let imm = self.random.pick(&EDGES);
        match self.random.below(6) {
            0..2 => {
                self.put(op::jump_if_reg(class, relation, a, b, 1));
                self.put(op::alu_reg(width, op::MOV, a, b));
            }
            2 => {
                self.put(op::jump_if_reg(class, relation, b, a, 1));
                self.put(op::alu_reg(width, op::MOV, a, b));
            }
            3 => {
                self.put(op::jump_if(class, relation, a, imm, 1));
                self.put(op::alu(width, op::MOV, a, imm));
            }
            4 => {
                let sign = self.random_sign();
                self.put(op::jump_if(class, sign, a, 0, 1));
                self.put(op::slot(width | 0x80, a, 0, 0, 0));
            }
            _ => {
                let other = self.random.pick(&EDGES);
                self.put(op::jump_if(class, relation, b, imm, 1));
                self.put(op::alu(width, op::MOV, a, other));
            }
        }
    }

    fn random_sign(&mut self) -> u8 {
        self.random.pick(&[0x60, 0x70, 0xc0, 0xd0])
    }

    /// Pieces of the stack.
    pub(super) fn pieces_of_stack(&mut self) {
        let area = Self::area();
        debug_assert_eq!(area.reg, FP);
        self.pieces(area);
    }
}
