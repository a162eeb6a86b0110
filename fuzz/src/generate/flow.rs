//! Statements that branch and repeat.

use super::frame::Held;
use super::{EDGES, Function, Role};
use crate::op::{self, FP, JMP, JMP32, Op};

/// The bits of conditions.
const CONDITIONS: [u8; 11] = [0x10, 0x50, 0x20, 0x30, 0xa0, 0xb0, 0x60, 0x70, 0xc0, 0xd0, 0x40];

/// The stack slot of iterators.
const ITERATOR: i16 = -40;

impl Function<'_> {
    /// A branch on numbers, with an else at times.
    pub(super) fn branch(&mut self) {
        if self.random.chance(6) {
            self.compare_anything();
            return;
        }
        let class = self.random.pick(&[JMP, JMP, JMP32]);
        let condition = self.random.pick(&CONDITIONS);
        let dst = self.number_reg();
        let slot = if self.random.chance(45) {
            let src = self.number_reg();
            op::jump_if_reg(class, condition, dst, src, 0)
        } else {
            op::jump_if(class, condition, dst, self.random.pick(&EDGES), 0)
        };
        self.hold(dst, Held::Number);
        let before = self.frame.clone();
        let statements = 1 + self.random.below(3);
        let leaves = self.random.chance(15) && (self.frame.debts == 0 || self.random.chance(5));
        let body = self.apart(|function| {
            function.statements(statements);
            if leaves {
                function.leave();
            }
        });
        let after = std::mem::replace(&mut self.frame, before);
        let other = if self.random.chance(30) {
            self.apart(|function| function.statements(1))
        } else {
            Vec::new()
        };
        if !leaves {
            self.frame.join(&after);
        }
        let skips = i16::from(!other.is_empty() && !leaves);
        self.put(slot_to(slot, op::over(&body, skips)));
        self.code.extend(body);
        if skips == 1 {
            self.put(op::jump(op::over(&other, 0)));
        }
        self.code.extend(other);
    }

    /// A comparison of things that need not be numbers, whose both ways lead to the same.
    fn compare_anything(&mut self) {
        let Some(dst) = self.holding(|held| held != Held::Nothing) else { return };
        let src = self.holding(|held| held != Held::Nothing).unwrap_or(FP);
        let class = self.random.pick(&[JMP, JMP, JMP, JMP32]);
        let condition = self.random.pick(&CONDITIONS);
        let slot = if self.random.chance(60) {
            op::jump_if_reg(class, condition, dst, src, 0)
        } else {
            op::jump_if(class, condition, dst, self.random.pick(&[0, 0, 1, -1]), 0)
        };
        self.put(slot);
    }

    /// Tests whether a register is null; `body` is done if it is not.
    pub(super) fn test_for_null(&mut self, reg: u8, body: impl FnOnce(&mut Self)) {
        let held = self.held(reg);
        if self.random.chance(4) {
            // Somebody forgot to.
            body(self);
            return;
        }
        let class = if self.random.chance(98) { JMP } else { JMP32 };
        let owned =
            matches!(held, Held::Object { owned: true, .. } | Held::Memory { owned: true, .. });
        let others = self.frame.debts > u32::from(owned);
        if self.random.chance(50) && !others {
            // Give up if it is; go on with what is not null.
            let [result, exit] = self.give_up();
            self.put(op::jump_if(class, op::NE, reg, 0, 2));
            self.put(result);
            self.put(exit);
            self.hold(reg, held.not_null());
            body(self);
            return;
        }
        let before = self.frame.clone();
        let body = self.apart(|function| {
            function.hold(reg, held.not_null());
            body(function);
        });
        let mut without = before;
        without.debts = without.debts.saturating_sub(u32::from(owned));
        self.frame.join(&without);
        if self.random.chance(80) {
            self.put(op::jump_if(class, op::EQ, reg, 0, op::over(&body, 0)));
        } else {
            self.put(op::jump_if(class, op::NE, reg, 0, 1));
            self.put(op::jump(op::over(&body, 0)));
        }
        self.code.extend(body);
    }

    /// Something that is done more than once.
    pub(super) fn repeat(&mut self) {
        match self.random.below(10) {
            0..5 => self.count_up(),
            5..7 => self.may_goto(),
            7..9 => self.iterate(),
            _ => self.loop_by_callback(),
        }
    }

    /// What a body leaves behind holds only if it held before, since it may not have run.
    fn body(&mut self, keep: Option<u8>) -> Vec<Op> {
        let before = self.frame.clone();
        let statements = 1 + self.random.below(2);
        let was = std::mem::replace(&mut self.in_loop, true);
        let code = self.apart(|function| {
            // The counter is not to be overwritten: it looks like nothing that is of use.
            let held = keep.map(|reg| (reg, function.held(reg)));
            if let Some((reg, _)) = held {
                let owned = Held::Object { null: false, owned: true };
                function.hold(reg, owned);
            }
            function.statements(statements);
            if let Some((reg, held)) = held {
                function.hold(reg, held);
            }
        });
        self.in_loop = was;
        self.frame.join(&before);
        code
    }

    fn count_up(&mut self) {
        let counter = self.random.pick(&[7, 8, 9]);
        if !self.held(counter).is_number() && self.held(counter) != Held::Nothing {
            return;
        }
        self.put(op::set(counter, 0));
        self.hold(counter, Held::Number);
        let body = self.body(Some(counter));
        self.hold(counter, Held::Number);
        let step = self.random.pick(&[1, 1, 1, 2]);
        let back = -op::over(&body, 2);
        self.code.extend(body);
        self.put(op::add(counter, step));
        let most = if self.in_loop { 3 } else { self.random.pick(&[2, 3, 4, 8, 16]) };
        let class = self.random.pick(&[JMP, JMP, JMP32]);
        let slot = match self.random.below(8) {
            0 => {
                let Some(limit) = self.holding(|held| matches!(held, Held::Below(0..=20))) else {
                    self.put(op::jump_if(class, op::LT, counter, most, back));
                    return;
                };
                op::jump_if_reg(JMP, op::LT, counter, limit, back)
            }
            1 => op::jump_if(class, 0xc0, counter, most, back),
            2 => op::jump_if(class, op::NE, counter, most * step, back),
            3 => op::jump_if(class, 0xb0, counter, most, back),
            _ => op::jump_if(class, op::LT, counter, most, back),
        };
        self.put(slot);
    }

    fn may_goto(&mut self) {
        let body = self.body(None);
        let over = op::over(&body, 1);
        self.put(op::slot(bpf_isa::opcode::whole::MAY_GOTO, 0, 0, over, 0));
        self.code.extend(body);
        self.put(op::jump(-over - 1));
    }

    /// A loop over an iterator of numbers.
    fn iterate(&mut self) {
        let world = self.world;
        let kfunc = |name: &str| world.kfunc(name);
        let (Some(new), Some(next), Some(destroy)) =
            (kfunc("bpf_iter_num_new"), kfunc("bpf_iter_num_next"), kfunc("bpf_iter_num_destroy"))
        else {
            return;
        };
        let place = ITERATOR - 8 * i16::try_from(self.depth).unwrap_or(0);
        let iterator = |function: &mut Self| {
            function.put(op::copy(1, FP));
            function.put(op::add(1, i32::from(place)));
        };
        iterator(self);
        self.put(op::set(2, 0));
        let end = self.random.pick(&[0, 1, 5, 10, 100, 1000]);
        self.put(op::set(3, end));
        self.put(op::kfunc(new));
        self.frame.call();
        self.frame.write(place, 8);
        self.frame.debts += 1;
        let result = self.number_after_call();
        let _ = result;
        let mut step = self.apart(|function| {
            iterator(function);
            function.put(op::kfunc(next));
        });
        self.frame.call();
        self.hold(0, Held::Memory { size: 4, null: false, owned: false });
        let value = self.frame.clone();
        let body = self.body(None);
        self.frame.join(&value);
        let body_len = op::over(&body, 1);
        let step_len = op::over(&step, 1);
        step.push(Op::Slot(op::jump_if(JMP, op::EQ, 0, 0, body_len)));
        self.code.extend(step);
        self.code.extend(body);
        self.put(op::jump(-(body_len + step_len)));
        self.frame.call();
        if self.random.chance(96) {
            iterator(self);
            self.put(op::kfunc(destroy));
            self.frame.call();
        }
        self.frame.debts -= 1;
    }

    /// What a call leaves in R0 if it is a number.
    pub(super) fn number_after_call(&mut self) -> u8 {
        self.hold(0, Held::Number);
        0
    }

    /// `bpf_loop`, or a walk over a map.
    fn loop_by_callback(&mut self) {
        let callbacks: Vec<usize> = (self.number + 1..self.roles.len())
            .filter(|number| matches!(self.roles[*number], Role::Loop | Role::Each(_)))
            .collect();
        if callbacks.is_empty() {
            self.count_up();
            return;
        }
        let function = self.random.pick(&callbacks);
        let context = self.holding(|held| held == Held::Context);
        // The pointer that the callback gets: to the stack, or what may be at hand.
        if self.random.chance(90) {
            for slot in [-8, -16, -24, -32] {
                self.put(op::store_imm(8, FP, slot, 0));
                self.frame.write(slot, 8);
            }
        }
        self.copy(3, FP);
        self.put(op::add(3, -32));
        if let Some(context) = context
            && self.random.chance(10)
            && context > 5
        {
            self.copy(3, context);
        }
        self.code.push(Op::Address { dst: 2, function });
        self.put(op::set(4, 0));
        if let Role::Each(map) = self.roles[function] {
            let first = crate::world::FIRST_MAP;
            self.put_wide(1, 1, first + i32::try_from(map).unwrap_or(0), 0);
            self.put(op::helper(164));
        } else {
            let times = self.random.pick(&[0, 1, 3, 8, 100, 1 << 20]);
            self.put(op::set(1, times));
            self.put(op::helper(181));
        }
        self.frame.call();
        self.hold(0, Held::Number);
    }
}

/// The same jump, to another place.
const fn slot_to(slot: bpf_isa::Slot, off: i16) -> bpf_isa::Slot {
    bpf_isa::Slot { off, ..slot }
}
