//! Statements that call functions of the program, and other programs.

use super::state::{AREA, Held};
use super::{EDGES, Param, Role, Uses, Writer, map, place};
use crate::op::{self, Op};

impl Writer<'_> {
    /// A call of a function further down, or of a helper that only computes.
    pub(super) fn call(&mut self) {
        let has_context = self.role().has_context();
        let may = |role: &Role| has_context || !role.needs_context();
        let found: Vec<usize> = (self.function + 1..self.plan.roles.len())
            .filter(|function| may(&self.plan.roles[*function]))
            .collect();
        // A function that is called may end in a tail call, which leaves nothing to give back.
        if found.is_empty() || self.owes > 0 && self.plan.tail_calls {
            self.checksum();
            return;
        }
        let function = self.random.pick(&found);
        self.call_number(function);
    }

    /// Calls a function, or has it called.
    pub(super) fn call_number(&mut self, function: usize) {
        match self.plan.roles[function].clone() {
            Role::Main => return,
            Role::Less => {
                self.add_to_tree(function);
                return;
            }
            Role::Typed(signature) => {
                self.numbers(2);
                self.typed_argument(signature);
                self.uses |= Uses::ARGUMENTS;
            }
            Role::Loop | Role::Each => {
                self.call_back(function);
                return;
            }
            Role::Global(params) => {
                self.numbers(params);
                self.uses |= Uses::GLOBAL_CALLS;
            }
            Role::Local(params) => {
                self.numbers(params.len());
                for (reg, param) in (1_u8..).zip(params) {
                    self.argument(reg, param);
                }
                self.uses |= Uses::LOCAL_CALLS;
            }
        }
        self.code.push(Op::Call(function));
        self.state.call();
        self.state.lose_packets();
        self.hold(0, Held::Number);
        if self.random.chance(50)
            && let Some(reg) = self.free_kept(Held::Number)
        {
            self.copy(reg, 0);
        }
    }

    /// Numbers in the first registers.
    fn numbers(&mut self, count: usize) {
        for reg in (1..=5).take(count) {
            if self.held(reg).is_number() {
                continue;
            }
            match self.holding(Held::is_number) {
                Some(from) => self.copy(reg, from),
                None => {
                    let imm = self.random.pick(&EDGES);
                    self.put(op::set(reg, imm));
                }
            }
            self.hold(reg, Held::Number);
        }
    }

    fn argument(&mut self, reg: u8, param: Param) {
        match param {
            Param::Number => {}
            Param::Context => {
                if let Some(context) = self.holding(|held| held == Held::Context) {
                    self.copy(reg, context);
                }
            }
            Param::Frame => {
                let word = i16::try_from(self.random.below(5)).unwrap_or(0);
                self.stack_address(reg, AREA + 8 * word);
                self.hold(reg, Held::Frame(16));
            }
            Param::Packet | Param::PacketEnd => {
                let (home, ends) = (self.home, self.ends());
                let first = param == Param::Packet;
                let field = ends.map_or(0, |ends| if first { ends.data } else { ends.end });
                self.put(op::load(4, reg, home, field));
                self.hold(reg, Held::Nothing);
                self.uses |= Uses::ARGUMENTS | Uses::PACKETS;
            }
            Param::Value => {
                let off = 8 * i32::try_from(self.random.below(12)).unwrap_or(0);
                self.put_wide(reg, 2, map(place::OUT), off);
                self.hold(reg, Held::Value(32));
            }
        }
    }

    /// The context in R1; whether it is at hand.
    pub(super) fn context_argument(&mut self) -> bool {
        let Some(context) = self.holding(|held| held == Held::Context) else { return false };
        if context != 1 {
            self.copy(1, context);
        }
        true
    }

    /// A call of a helper that yields a number.
    pub(super) fn helper(&mut self, id: i32) {
        self.put(op::helper(id));
        self.state.call();
        self.hold(0, Held::Number);
    }

    /// A tail call, from the main function or the first that it calls: no deeper, for the stack.
    pub(super) fn tail_call(&mut self) {
        let in_place = match self.role() {
            Role::Main => true,
            Role::Local(_) | Role::Typed(_) => self.function == 1,
            Role::Global(_) | Role::Loop | Role::Each | Role::Less => false,
        };
        if !in_place || !self.plan.tail_calls || self.owes > 0 {
            return;
        }
        let index = if self.random.chance(50) {
            let mask = self.random.pick(&[3, 7, 7]);
            Some(self.masked(mask))
        } else {
            None
        };
        if index == Some(1) || !self.context_argument() {
            return;
        }
        match index {
            Some(3) => {}
            Some(index) if self.held(index).is_number() => self.put(op::copy(3, index)),
            Some(_) | None => {
                let index = self.random.between(0, 6);
                self.put(op::set(3, index));
            }
        }
        self.put_wide(2, 1, map(place::PROGRAMS), 0);
        self.put(op::helper(12));
        self.state.call();
        self.state.lose_packets();
        self.uses |= Uses::TAIL_CALLS;
        if *self.role() == Role::Main {
            self.count(8 + self.plan.program);
        }
    }
}
