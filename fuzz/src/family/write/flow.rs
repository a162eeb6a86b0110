//! Statements that branch and repeat.

use bpf_isa::Slot;
use bpf_isa::opcode::whole;

use super::state::{AREA, Held};
use super::{EDGES, Role, Uses, Writer, map, place};
use crate::op::{self, ALU64, JMP, JMP32, Op};

/// The bits of conditions.
const CONDITIONS: [u8; 11] = [0x10, 0x50, 0x20, 0x30, 0xa0, 0xb0, 0x60, 0x70, 0xc0, 0xd0, 0x40];

/// A jump that reaches far.
const JUMP_FAR: u8 = 0x06;

/// The same jump with another distance.
const fn to(slot: Slot, off: i16) -> Slot {
    Slot { off, ..slot }
}

impl Writer<'_> {
    fn condition(&mut self) -> Slot {
        let class = self.random.pick(&[JMP, JMP, JMP32]);
        let condition = self.random.pick(&CONDITIONS);
        let dst = self.number();
        if self.random.chance(50) {
            let src = self.number();
            if self.held(dst).is_number() {
                return op::jump_if_reg(class, condition, dst, src, 0);
            }
        }
        let imm = self.random.pick(&EDGES);
        op::jump_if(class, condition, dst, imm, 0)
    }

    /// A branch on numbers, with an else at times.
    pub(super) fn branch(&mut self) {
        let condition = self.condition();
        if self.random.chance(15) {
            self.choose(condition);
            return;
        }
        let before = self.state.clone();
        let statements = 1 + self.random.below(2);
        let leaves = self.random.chance(10) && self.owes == 0;
        let body = self.apart(|writer| {
            writer.statements(statements);
            if leaves {
                writer.leave();
            }
        });
        let after = std::mem::replace(&mut self.state, before);
        let other = if self.random.chance(40) {
            self.apart(|writer| writer.statements(1))
        } else {
            Vec::new()
        };
        if !leaves {
            self.state.join(&after);
        }
        let skips = i16::from(!other.is_empty() && !leaves);
        self.put(to(condition, op::over(&body, skips)));
        self.code.extend(body);
        if skips == 1 {
            let over = op::over(&other, 0);
            if self.random.chance(20) {
                self.put(op::slot(JUMP_FAR, 0, 0, 0, i32::from(over)));
            } else {
                self.put(op::jump(over));
            }
        }
        self.code.extend(other);
    }

    /// One of two numbers: what compilers make conditional moves of.
    fn choose(&mut self, condition: Slot) {
        let (one, other) = (self.number(), self.number());
        let dst = self.free(Held::Number);
        let read = [condition.dst, condition.src, one, other];
        if read.contains(&dst) || !read.iter().all(|reg| self.is_read(*reg, condition)) {
            return;
        }
        self.put(op::copy(dst, one));
        self.put(to(condition, 1));
        self.put(op::copy(dst, other));
        self.hold(dst, Held::Number);
    }

    /// Whether a register that the condition may read holds a number.
    fn is_read(&self, reg: u8, condition: Slot) -> bool {
        let is_unused = reg == condition.src && condition.opcode & 8 == 0;
        is_unused || self.held(reg).is_number()
    }

    /// Tests whether a register is null; `body` is done if it is not.
    pub(super) fn unless_null(&mut self, reg: u8, held: Held, body: impl FnOnce(&mut Self)) {
        self.hold(reg, Held::Nothing);
        let before = self.state.clone();
        let body = self.apart(|writer| {
            writer.hold(reg, held);
            body(writer);
        });
        if self.random.chance(25) && self.owes == 0 {
            let inside = std::mem::replace(&mut self.state, before);
            let give_up = self.apart(Self::leave);
            self.put(op::jump_if(JMP, op::NE, reg, 0, op::over(&give_up, 0)));
            self.code.extend(give_up);
            self.code.extend(body);
            self.state = inside;
            return;
        }
        self.state.join(&before);
        self.put(op::jump_if(JMP, op::EQ, reg, 0, op::over(&body, 0)));
        self.code.extend(body);
    }

    /// Something that is done more than once.
    pub(super) fn repeat(&mut self) {
        match self.random.below(10) {
            0..5 => self.count_loop(),
            5..8 => self.may_goto(),
            _ => self.loop_by_helper(),
        }
    }

    /// The body of a loop, and its state at the head.
    fn body(&mut self, counter: u8) -> Vec<Op> {
        let (pins, spill_pins) = (self.state.pins, self.state.spill_pins);
        self.hold(counter, Held::Counter);
        self.state.pin();
        let head = self.state.clone();
        self.loops += 1;
        let statements = 1 + self.random.below(2);
        let code = self.apart(|writer| writer.statements(statements));
        self.loops -= 1;
        self.state.join(&head);
        (self.state.pins, self.state.spill_pins) = (pins, spill_pins);
        code
    }

    /// A register to count with; the home of the context is none.
    fn counter(&mut self) -> Option<u8> {
        let may: Vec<u8> =
            (6..10).filter(|reg| self.state.pins[usize::from(*reg)].is_none()).collect();
        if may.is_empty() { None } else { Some(self.random.pick(&may)) }
    }

    /// A loop whose bound the verifier follows, up or down.
    fn count_loop(&mut self) {
        let Some(counter) = self.counter() else { return };
        let most = if self.loops > 0 { 3 } else { self.random.pick(&[2, 3, 4, 6, 10]) };
        let down = self.random.chance(50);
        let class = self.random.pick(&[JMP, JMP, JMP32]);
        self.put(op::set(counter, if down { most } else { 0 }));
        let body = self.body(counter);
        let back = -op::over(&body, 2);
        self.code.extend(body);
        self.put(op::add(counter, if down { -1 } else { 1 }));
        let condition = self.random.below(3);
        self.put(match (down, condition) {
            (true, 0) => op::jump_if(class, op::NE, counter, 0, back),
            (true, 1) => op::jump_if(class, 0x60, counter, 0, back),
            (true, _) => op::jump_if(class, op::GT, counter, 0, back),
            (false, 0) => op::jump_if(class, op::NE, counter, most, back),
            (false, 1) => op::jump_if(class, 0xc0, counter, most, back),
            (false, _) => op::jump_if(class, op::LT, counter, most, back),
        });
        self.hold(counter, Held::Number);
        self.uses |= Uses::LOOPS;
    }

    /// A loop whose bound is a number of the run; for the verifier it ends by `may_goto`.
    fn may_goto(&mut self) {
        let Some(counter) = self.counter() else { return };
        let mask = if self.loops > 0 { 3 } else { self.random.pick(&[3, 15, 63, 255]) };
        let from = self.number();
        if counter != from {
            self.put(op::copy(counter, from));
        }
        self.put(op::alu(ALU64, op::AND, counter, mask));
        let body = self.body(counter);
        self.put(op::slot(whole::MAY_GOTO, 0, 0, op::over(&body, 2), 0));
        let back = -op::over(&body, 3);
        self.code.extend(body);
        self.put(op::add(counter, -1));
        self.put(op::jump_if(JMP, 0x60, counter, 0, back));
        self.hold(counter, Held::Number);
        self.uses |= Uses::MAY_GOTO;
    }

    fn loop_by_helper(&mut self) {
        let is_callback = |role: &Role| matches!(role, Role::Loop | Role::Each);
        let found: Vec<usize> = (self.function + 1..self.plan.roles.len())
            .filter(|number| is_callback(&self.plan.roles[*number]))
            .collect();
        if found.is_empty() {
            self.count_loop();
            return;
        }
        let function = self.random.pick(&found);
        self.call_number(function);
    }

    /// Has a helper call a function: `bpf_loop`, `bpf_for_each_map_elem`.
    pub(super) fn call_back(&mut self, function: usize) {
        let is_loop = self.plan.roles[function] == Role::Loop;
        if is_loop {
            if self.random.chance(60) {
                let most = if self.loops > 0 { 3 } else { self.random.pick(&[1, 7, 31, 127]) };
                let count = self.masked(most);
                if count != 1 {
                    self.put(op::copy(1, count));
                }
            } else {
                let most = if self.loops > 0 { 3 } else { 40 };
                let count = self.random.between(0, most);
                self.put(op::set(1, count));
            }
        } else {
            self.put_wide(1, 1, map(place::ARRAY), 0);
        }
        self.code.push(Op::Address { dst: 2, function });
        self.stack_address(3, AREA);
        self.put(op::set(4, 0));
        self.helper(if is_loop { 181 } else { 164 });
        self.uses |= Uses::CALLBACKS;
    }
}
