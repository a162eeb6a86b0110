//! Statements of families that are about one thing more.

mod dynptrs;
mod iterators;
mod sections;
mod objects;
mod fields;

use bpf_btf::KindCode;

use super::state::{AREA, Held};
use super::{About, Kind, Param, Role, Signature, Uses, Writer, map, place};
use crate::family::topic::Topic;
use crate::op::{self, ALU64, FP, JMP, Op};
use crate::random::Random;

/// The most functions that a program has, for the stack.
const MOST_FUNCTIONS: usize = 4;

impl Topic {
    /// Whether the family's program of this number may have tail calls: what is held has to be given
    /// back before, and what is thrown to be caught.
    pub(super) const fn allows_tail_calls(self, number: usize) -> bool {
        match self {
            Self::Iterators => number.is_multiple_of(2),
            Self::Exceptions => false,
            Self::None
            | Self::Dynptrs
            | Self::Sections
            | Self::Objects
            | Self::Arguments
            | Self::Fields => true,
        }
    }
}

/// Adds the functions that a topic needs.
pub(super) fn change_roles(random: &mut Random, about: &About<'_>, roles: &mut Vec<Role>) {
    match about.topic {
        Topic::Objects => {
            roles.truncate(MOST_FUNCTIONS - 1);
            roles.push(Role::Less);
        }
        Topic::Arguments => {
            roles.truncate(MOST_FUNCTIONS - 1);
            let role = match random.below(if about.kind == Kind::SocketFilter { 4 } else { 7 }) {
                0 => Role::Typed(Signature::Memory),
                1 => Role::Typed(Signature::NotNull),
                2 | 3 => Role::Typed(Signature::Context),
                _ => {
                    let numbers = vec![Param::Number; random.below(3)];
                    Role::Local([vec![Param::Packet, Param::PacketEnd], numbers].concat())
                }
            };
            // The next function is called by this one, and gets its context from it.
            let has_room = role.has_context() || !roles.get(1).is_some_and(Role::needs_context);
            if has_room {
                roles.insert(1, role);
            } else {
                roles.push(Role::Typed(Signature::Memory));
            }
        }
        Topic::None
        | Topic::Dynptrs
        | Topic::Iterators
        | Topic::Sections
        | Topic::Exceptions
        | Topic::Fields => {}
    }
}

impl Writer<'_> {
    /// A statement about the topic.
    pub(super) fn topical(&mut self) {
        match self.plan.topic {
            Topic::None => {}
            Topic::Dynptrs => self.dynptr(),
            Topic::Iterators => self.iterate(),
            Topic::Sections => self.section(),
            Topic::Objects => self.object(),
            Topic::Exceptions => self.throw(),
            Topic::Arguments => self.call(),
            Topic::Fields => self.part_of_context(),
        }
    }

    /// Calls a kernel function.
    fn kernel_function(&mut self, name: &str) {
        let kernel = self.plan.types.kernel.as_ref();
        let id = kernel.and_then(|btf| btf.by_name_kind(name, KindCode::Func));
        let id = id.and_then(|id| i32::try_from(id.0).ok()).unwrap_or(0);
        self.put(op::kfunc(id));
        self.state.call();
        self.hold(0, Held::Number);
    }

    /// A number in `reg`: one of the run, or one that is known.
    fn number_argument(&mut self, reg: u8, most: i32) {
        if self.random.chance(50) {
            let known = self.random.between(0, most);
            self.put(op::set(reg, known));
        } else {
            // From a register that no argument is in yet.
            match self.holding(Held::is_number).filter(|from| *from > 5) {
                Some(from) => self.put(op::copy(reg, from)),
                None => self.put(op::load(8, reg, FP, AREA)),
            }
            let mask = (most + 1).cast_unsigned().next_power_of_two().cast_signed() - 1;
            self.put(op::alu(ALU64, op::AND, reg, mask));
        }
        self.hold(reg, Held::Number);
    }

    /// The address of some numbers on the stack.
    fn some_stack(&mut self, reg: u8, bytes: i16) {
        let words = usize::try_from((56 - bytes) / 8).unwrap_or(0);
        let word = i16::try_from(self.random.below(words + 1)).unwrap_or(0);
        self.stack_address(reg, AREA + 8 * word);
        self.hold(reg, Held::Nothing);
    }

    /// An exception, now and then.
    fn throw(&mut self) {
        // What a helper calls cannot throw, nor what that calls.
        let roles = self.plan.roles.iter().take(self.function + 1);
        let is_called_back = roles.into_iter().any(|role| matches!(role, Role::Loop | Role::Each));
        if self.owes > 0 || is_called_back {
            self.arithmetic();
            return;
        }
        let condition = self.random.pick(&[op::EQ, op::GT, op::LT, 0x60, 0xc0]);
        let (number, imm) = (self.number(), self.random.pick(&super::EDGES));
        let before = self.state.clone();
        let body = self.apart(|writer| {
            let cookie = writer.number();
            writer.put(op::copy(1, cookie));
            if writer.plan.kind == Kind::CgroupSkb {
                writer.put(op::alu(ALU64, op::AND, 1, 1));
            }
            writer.kernel_function("bpf_throw");
        });
        self.state = before;
        self.put(op::jump_if(JMP, condition, number, imm, op::over(&body, 0)));
        self.code.extend(body);
        self.uses |= Uses::EXCEPTIONS;
    }

    /// What a function does first that is called with more than numbers.
    pub(super) fn look_into_arguments(&mut self) {
        match self.role().clone() {
            Role::Typed(Signature::Memory) => {
                let held = Held::Value(16);
                self.unless_null(1, held, |writer| writer.use_argument(1));
            }
            Role::Typed(Signature::NotNull) => self.use_argument(1),
            Role::Local(params) if params.first() == Some(&Param::Packet) => {
                let len: u8 = self.random.pick(&[1, 4, 8, 14, 20, 34]);
                self.put(op::copy(3, 1));
                self.put(op::add(3, i32::from(len)));
                self.hold(3, Held::Nothing);
                let before = self.state.clone();
                let body = self.apart(|writer| {
                    writer.hold(1, Held::Packet(len));
                    writer.use_argument(1);
                });
                self.state.join(&before);
                self.put(op::jump_if_reg(JMP, op::GT, 3, 2, op::over(&body, 0)));
                self.code.extend(body);
            }
            Role::Main
            | Role::Local(_)
            | Role::Global(_)
            | Role::Loop
            | Role::Each
            | Role::Typed(Signature::Context)
            | Role::Less => {}
        }
    }

    fn use_argument(&mut self, reg: u8) {
        let held = self.held(reg);
        let mut at = reg;
        if let Some(kept) = self.free_kept(held) {
            self.copy(kept, reg);
            at = kept;
        }
        self.use_memory(at);
        if self.random.chance(60) {
            self.statements(1);
        }
    }

    /// The first argument of a global function that is called with more than numbers.
    pub(super) fn typed_argument(&mut self, signature: Signature) {
        match signature {
            Signature::Context => {
                let home = self.home;
                self.put(op::copy(1, home));
            }
            Signature::Memory if self.random.chance(25) => self.put(op::set(1, 0)),
            Signature::Memory | Signature::NotNull => {
                if self.random.chance(50) {
                    self.some_stack(1, 16);
                } else {
                    let off = 8 * i32::try_from(self.random.below(14)).unwrap_or(0);
                    self.put_wide(1, 2, map(place::OUT), off);
                }
            }
        }
        self.hold(1, Held::Nothing);
    }

    /// A block that is jumped over if `reg` is null.
    fn if_not_null(&mut self, reg: u8, block: Vec<Op>) {
        self.put(op::jump_if(JMP, op::EQ, reg, 0, op::over(&block, 0)));
        self.code.extend(block);
    }
}
