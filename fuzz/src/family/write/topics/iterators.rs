//! Loops over iterators.

use super::super::state::{Held, MORE};
use super::super::{Uses, Writer};
use crate::op::{self, JMP, Op};

impl Writer<'_> {
    /// A loop over an iterator of numbers, or of the bits of some words.
    pub(super) fn iterate(&mut self) {
        // Each function has room for one.
        if self.owes > 0 || self.loops > 1 || self.depth > 2 {
            self.arithmetic();
            return;
        }
        let of_numbers = self.random.chance(60);
        self.stack_address(1, MORE);
        if of_numbers {
            self.number_argument(2, 3);
            let most = if self.loops > 0 { 3 } else { self.random.pick(&[3, 7, 20, 60]) };
            self.number_argument(3, most);
            self.kernel_function("bpf_iter_num_new");
        } else {
            self.some_stack(2, 24);
            let words = self.random.between(1, 3);
            self.put(op::set(3, words));
            self.kernel_function("bpf_iter_bits_new");
        }
        self.owes += 1;
        let (pins, spill_pins) = (self.state.pins, self.state.spill_pins);
        self.state.pin();
        let head = self.state.clone();
        let next = if of_numbers { "bpf_iter_num_next" } else { "bpf_iter_bits_next" };
        let mut step = self.apart(|writer| {
            writer.stack_address(1, MORE);
            writer.kernel_function(next);
        });
        self.loops += 1;
        let statements = 1 + self.random.below(2);
        let body = self.apart(|writer| {
            writer.hold(0, Held::Constant(4));
            if writer.random.chance(70) {
                let to = writer.free(Held::Number);
                writer.put(op::load(4, to, 0, 0));
                writer.hold(to, Held::Number);
            }
            writer.hold(0, Held::Nothing);
            writer.statements(statements);
        });
        self.loops -= 1;
        self.state.join(&head);
        (self.state.pins, self.state.spill_pins) = (pins, spill_pins);
        step.push(Op::Slot(op::jump_if(JMP, op::EQ, 0, 0, op::over(&body, 1))));
        let back = -op::over(&body, op::over(&step, 1));
        self.code.extend(step);
        self.code.extend(body);
        self.put(op::jump(back));
        self.state.call();
        self.stack_address(1, MORE);
        self.kernel_function(if of_numbers {
            "bpf_iter_num_destroy"
        } else {
            "bpf_iter_bits_destroy"
        });
        self.hold(0, Held::Nothing);
        self.owes -= 1;
        self.uses |= Uses::ITERATORS;
    }
}
