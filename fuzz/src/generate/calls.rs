//! Statements that call functions of the program, and programs.

use super::frame::Held;
use super::{EDGES, Function, Role};
use crate::op::{self, FP, Op};
use crate::world::{FIRST_MAP, Param, map};

impl Function<'_> {
    /// A call of a function further down, or a tail call.
    pub(super) fn call(&mut self) {
        if self.random.chance(6) {
            self.tail_call();
            return;
        }
        let callable = |role: &Role| matches!(role, Role::Local | Role::Global(_));
        // Functions call those behind them; seldom any, themselves too.
        let from = if self.random.chance(2) { 0 } else { self.number + 1 };
        let found: Vec<usize> =
            (from..self.roles.len()).filter(|number| callable(&self.roles[*number])).collect();
        if found.is_empty() {
            self.any_helper();
            return;
        }
        let function = self.random.pick(&found);
        match &self.roles[function] {
            Role::Global(place) => {
                let params = self.world.globals[*place].params.clone();
                for (reg, param) in (1..).zip(params) {
                    self.global_argument(reg, param);
                }
            }
            Role::Main | Role::Local | Role::Loop | Role::Each(_) => {
                for reg in [1, 2] {
                    self.local_argument(reg);
                }
            }
        }
        self.code.push(Op::Call(function));
        self.frame.call();
        self.hold(0, Held::Number);
        if self.random.chance(30) {
            let reg = self.free_kept();
            self.copy(reg, 0);
        }
    }

    fn local_argument(&mut self, reg: u8) {
        let kept = self.holding(|held| held != Held::Nothing).filter(|kept| *kept > 5);
        match self.random.below(10) {
            0..6 if let Some(kept) = kept => self.copy(reg, kept),
            6 => {
                self.copy(reg, FP);
                let off = self.random.pick(&[-8, -16, 0]);
                self.put(op::add(reg, off));
            }
            _ => {
                let imm = self.random.pick(&EDGES);
                self.put(op::set(reg, imm));
                self.hold(reg, Held::Number);
            }
        }
    }

    fn global_argument(&mut self, reg: u8, param: Param) {
        if self.random.chance(6) {
            self.local_argument(reg);
            return;
        }
        match param {
            Param::Number => {
                let kept = self.holding(Held::is_number).filter(|kept| *kept > 5);
                if let Some(kept) = kept {
                    self.copy(reg, kept);
                } else {
                    let imm = self.random.pick(&EDGES);
                    self.put(op::set(reg, imm));
                    self.hold(reg, Held::Number);
                }
            }
            Param::Context => match self.holding(|held| held == Held::Context) {
                Some(context) => self.copy(reg, context),
                None => self.local_argument(reg),
            },
            Param::Memory if self.random.chance(15) => {
                self.put(op::set(reg, 0));
                self.hold(reg, Held::Number);
            }
            Param::Memory | Param::MemoryNotNull => {
                let big = |held| {
                    matches!(
                        held,
                        Held::Value { map: map::ARRAY | map::HASH | map::ONE, .. }
                            | Held::Memory { size: 16.., .. }
                            | Held::Packet(16..)
                    )
                };
                if let Some(kept) = self.holding(big).filter(|kept| *kept > 5)
                    && self.random.chance(60)
                {
                    self.copy(reg, kept);
                } else {
                    self.stack_memory(reg, 16);
                }
            }
            Param::Dynptr => {
                self.copy(reg, FP);
                self.put(op::add(reg, i32::from(super::objects::DYNPTR)));
            }
        }
    }

    /// The address of so many bytes of stack, mostly written.
    pub(super) fn stack_memory(&mut self, reg: u8, size: u8) {
        let slots = i16::from(size.div_ceil(8));
        let off = -8 * (slots + i16::try_from(self.random.below(3)).unwrap_or(0));
        for slot in 0..slots {
            let at = off + 8 * slot;
            if !self.frame.is_written(at, 8) && self.random.chance(96) {
                let imm = self.random.pick(&[0, 0, 1, -1]);
                self.put(op::store_imm(8, FP, at, imm));
                self.frame.write(at, 8);
            }
        }
        self.copy(reg, FP);
        self.put(op::add(reg, i32::from(off)));
    }

    fn tail_call(&mut self) {
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        if context != 1 {
            self.copy(1, context);
        }
        self.put_wide(2, 1, FIRST_MAP + i32::try_from(map::PROGRAMS).unwrap_or(0), 0);
        if self.random.chance(60) {
            let index = self.random.pick(&[0, 1, 3, 4, -1]);
            self.put(op::set(3, index));
        } else if let Some(number) = self.holding(Held::is_number).filter(|reg| *reg > 3) {
            self.put(op::copy(3, number));
        } else {
            self.put(op::set(3, 2));
        }
        self.put(op::helper(12));
        self.frame.call();
        self.frame.lose_packets();
        self.hold(0, Held::Nothing);
    }
}
