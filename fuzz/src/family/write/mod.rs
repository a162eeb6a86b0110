//! The programs of a family, written.
//!
//! What registers and stack hold is known at every place, so that nearly all programs verify:
//! the stack has a part for pointers, one for numbers that is filled when a function begins, and one
//! for keys. Where two ways join, what they do not agree on is forgotten; where a loop begins,
//! what the body needs is pinned.

mod state;
mod scalars;
mod memory;
mod pieces;
mod packet;
mod flow;
mod calls;
mod maps;
mod topics;

use bitflags::bitflags;
use bpf_isa::Slot;

use super::topic::Topic;
use super::{About, Kind, Types, maps as place};
use crate::op::{self, ALU64, FP, Op};
use crate::random::Random;
use state::{Held, State};

bitflags! {
    /// What a program does.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Uses: u32 {
        /// It has a loop whose bound the verifier follows.
        const LOOPS = 1;
        /// It has a loop of `may_goto`.
        const MAY_GOTO = 1 << 1;
        /// It has functions that helpers call.
        const CALLBACKS = 1 << 2;
        /// It calls static functions.
        const LOCAL_CALLS = 1 << 3;
        /// It calls global functions.
        const GLOBAL_CALLS = 1 << 4;
        /// It has a tail call.
        const TAIL_CALLS = 1 << 5;
        /// It calls helpers of maps, or addresses values.
        const MAPS = 1 << 6;
        /// It loads from packets or stores into them, by their addresses.
        const PACKETS = 1 << 7;
        /// It loads or stores fields of the context.
        const CONTEXT = 1 << 8;
        /// It has atomic operations.
        const ATOMICS = 1 << 9;
        /// It moves the ends of a packet.
        const MOVES = 1 << 10;
        /// It keeps pointers on the stack.
        const SPILLS = 1 << 11;
        /// It loads from packets as classic programs do.
        const LEGACY = 1 << 12;
        /// It has dynptrs.
        const DYNPTRS = 1 << 13;
        /// It has loops over iterators.
        const ITERATORS = 1 << 14;
        /// It takes locks, or has sections that nothing may interrupt.
        const SECTIONS = 1 << 15;
        /// It allocates objects, or takes them out of lists and trees.
        const OBJECTS = 1 << 16;
        /// It throws exceptions.
        const EXCEPTIONS = 1 << 17;
        /// It calls functions with memory, contexts or packets.
        const ARGUMENTS = 1 << 18;
        /// It loads or stores parts of fields of the context, or fields of its socket.
        const FIELDS = 1 << 19;
        /// What programs do that call no kernel functions.
        const OF_ANY_KERNEL = Self::ARGUMENTS.bits() | Self::FIELDS.bits() | 0x1fff;
    }
}

/// A program.
pub(super) struct Written {
    pub(super) slots: Vec<Slot>,
    /// Where functions begin and what they are; empty for a program without types.
    pub(super) functions: Vec<(u32, FunctionType)>,
    pub(super) uses: Uses,
}

/// What a function's type is.
#[derive(Clone, Copy)]
pub(super) enum FunctionType {
    Main,
    Local,
    /// With so many numbers.
    Global(usize),
    Typed(Signature),
}

/// What a global function is called with, before a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// Sixteen bytes, or null.
    Memory,
    /// Sixteen bytes.
    NotNull,
    Context,
}

/// An argument of a static function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Param {
    Number,
    Context,
    /// Sixteen bytes of the caller's stack.
    Frame,
    /// The value of a map.
    Value,
    /// Where the packet begins; first of all, and the next is where it ends.
    Packet,
    PacketEnd,
}

/// What a function is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Main,
    Local(Vec<Param>),
    Global(usize),
    /// Called by `bpf_loop`.
    Loop,
    /// Called for each value of an array.
    Each,
    /// Global, with more than numbers.
    Typed(Signature),
    /// Says which of two objects comes first in a tree.
    Less,
}

impl Role {
    /// Whether who calls it must have the context.
    fn needs_context(&self) -> bool {
        let has_packet =
            matches!(self, Self::Local(params) if params.first() == Some(&Param::Packet));
        self.has_context() || has_packet
    }

    /// Whether it is called with the context.
    fn has_context(&self) -> bool {
        match self {
            Self::Main => true,
            Self::Local(params) => params.first() == Some(&Param::Context),
            Self::Typed(signature) => *signature == Signature::Context,
            Self::Global(_) | Self::Loop | Self::Each | Self::Less => false,
        }
    }
}

/// How much of the caller's stack a callback sees, in bytes.
const SHARED: u8 = 32;

/// Numbers that sit at edges.
pub(crate) const EDGES: [i32; 24] = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    100,
    255,
    256,
    0x7fff,
    0xffff,
    0x10000,
    i32::MAX,
    -1,
    -2,
    -128,
    i32::MIN,
];

/// Writes a program: the family's so-manieth.
pub(super) fn program(random: &mut Random, about: &About<'_>, number: usize) -> Written {
    let mut roles = roles(random);
    topics::change_roles(random, about, &mut roles);
    let has_callbacks = roles.iter().any(|role| matches!(role, Role::Loop | Role::Each));
    let plan = Plan {
        kind: about.kind,
        topic: about.topic,
        types: about.types,
        program: number,
        // Both in one program are seldom, since such a program is not put to the kernel.
        tail_calls: (!has_callbacks || random.chance(10)) && about.topic.allows_tail_calls(number),
        roles,
    };
    let mut uses = Uses::empty();
    let mut functions = Vec::new();
    for function in 0..plan.roles.len() {
        let mut writer = Writer {
            plan: &plan,
            function,
            state: State::new(),
            code: Vec::new(),
            depth: 0,
            // What a helper calls is called many times.
            loops: u32::from(matches!(plan.roles[function], Role::Loop | Role::Each)),
            owes: 0,
            home: random.pick(&[6, 6, 6, 7, 8, 9]),
            uses: Uses::empty(),
            random: &mut *random,
        };
        writer.write();
        uses |= writer.uses;
        functions.push(writer.code);
    }
    let needs_types = plan.roles.len() > 1;
    let mut starts = Vec::new();
    let mut at = 0;
    for (role, code) in plan.roles.iter().zip(&functions) {
        let what = match role {
            Role::Main => FunctionType::Main,
            Role::Local(_) | Role::Loop | Role::Each | Role::Less => FunctionType::Local,
            Role::Global(params) => FunctionType::Global(*params),
            Role::Typed(signature) => FunctionType::Typed(*signature),
        };
        starts.push((u32::try_from(at).unwrap_or(u32::MAX), what));
        at += op::len(code);
    }
    let slots = op::place(&functions);
    Written { slots, functions: if needs_types { starts } else { Vec::new() }, uses }
}

/// The functions of a program. Each is called by the one before it at least, since functions that
/// nobody calls are refused.
fn roles(random: &mut Random) -> Vec<Role> {
    let mut roles = vec![Role::Main];
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 1, 2, 2, 3]) {
        roles.push(match random.below(10) {
            0..5 => {
                let mut params = Vec::new();
                // Whoever is called with a context is called by those that have one.
                if roles.last().is_some_and(Role::has_context) && random.chance(50) {
                    params.push(Param::Context);
                }
                while params.len() < 5 && random.chance(60) {
                    params.push(random.pick(&[
                        Param::Number,
                        Param::Number,
                        Param::Number,
                        Param::Frame,
                        Param::Value,
                    ]));
                }
                Role::Local(params)
            }
            5..7 => Role::Global(1 + random.below(5)),
            7..9 => Role::Loop,
            _ => Role::Each,
        });
    }
    roles
}

/// What is settled before a program is written.
struct Plan<'a> {
    kind: Kind,
    topic: Topic,
    types: &'a Types,
    /// Which one of the family it is.
    program: usize,
    /// Whether it may have tail calls.
    tail_calls: bool,
    roles: Vec<Role>,
}

/// A function being written.
struct Writer<'a> {
    plan: &'a Plan<'a>,
    function: usize,
    state: State,
    code: Vec<Op>,
    /// How deep the statement is nested.
    depth: u32,
    /// How many loops the statement is in.
    loops: u32,
    /// How much is held that must be given back: meanwhile the function does not end.
    owes: u32,
    /// The register that keeps the context.
    home: u8,
    uses: Uses,
    random: &'a mut Random,
}

impl Writer<'_> {
    fn role(&self) -> &Role {
        &self.plan.roles[self.function]
    }

    fn write(&mut self) {
        if *self.role() == Role::Less {
            self.compare_objects();
            return;
        }
        self.begin();
        let most = match self.role() {
            Role::Main => 7,
            Role::Local(_) | Role::Global(_) | Role::Typed(_) => 4,
            Role::Loop | Role::Each | Role::Less => 2,
        };
        let statements = usize::from(*self.role() == Role::Main) * 2 + 1 + self.random.below(most);
        self.statements(statements);
        // The next function is called here at the latest.
        if let Some(next) = self.next_function() {
            self.call_number(next);
        }
        self.leave();
    }

    /// The function after this one, which this one calls at its end so that none is left alone.
    fn next_function(&self) -> Option<usize> {
        Some(self.function + 1).filter(|next| *next < self.plan.roles.len())
    }

    /// Takes over the arguments, and fills the stack.
    fn begin(&mut self) {
        let held = match self.role() {
            Role::Main => vec![Held::Context],
            Role::Local(params) => params
                .iter()
                .map(|param| match param {
                    Param::Number => Held::Number,
                    Param::Context => Held::Context,
                    Param::Frame => Held::Frame(16),
                    Param::Value => Held::Value(32),
                    Param::Packet | Param::PacketEnd => Held::Nothing,
                })
                .collect(),
            Role::Global(params) => vec![Held::Number; *params],
            Role::Loop => vec![Held::Number, Held::Frame(SHARED)],
            Role::Each => {
                vec![Held::Nothing, Held::Constant(4), Held::Value(32), Held::Frame(SHARED)]
            }
            Role::Typed(Signature::Memory) => vec![Held::Nothing, Held::Number],
            Role::Typed(Signature::NotNull) => vec![Held::Value(16), Held::Number],
            Role::Typed(Signature::Context) => vec![Held::Context, Held::Number],
            Role::Less => Vec::new(),
        };
        for (reg, held) in (1..).zip(&held) {
            self.hold(reg, *held);
        }
        if held.first() == Some(&Held::Context) {
            self.copy(self.home, 1);
            self.state.pins[usize::from(self.home)] = Some(Held::Context);
        }
        for (reg, held) in (1..).zip(held) {
            if held != Held::Context && held != Held::Nothing && self.random.chance(70) {
                let to = self.free_kept(held);
                if let Some(to) = to {
                    self.copy(to, reg);
                }
            }
        }
        self.fill_stack();
        if *self.role() == Role::Main {
            self.count(self.plan.program);
        }
        self.look_into_arguments();
    }

    /// Adds one to a word of the counts.
    fn count(&mut self, word: usize) {
        let off = i32::try_from(8 * word).unwrap_or(0);
        let (address, one) = (2, 3);
        self.put_wide(address, 2, map(place::COUNTS), off);
        self.hold(address, Held::Nothing);
        if self.random.chance(50) {
            self.put(op::set(one, 1));
            self.put(op::atomic(8, address, 0, one, 0));
        } else {
            self.put(op::load(8, one, address, 0));
            self.put(op::add(one, 1));
            self.put(op::store(8, address, 0, one));
        }
        self.hold(one, Held::Number);
    }

    fn statements(&mut self, count: usize) {
        for _ in 0..count {
            self.statement();
        }
    }

    fn statement(&mut self) {
        if self.plan.topic != Topic::None && self.random.chance(30) {
            self.topical();
            return;
        }
        match self.random.below(100) {
            0..22 => self.arithmetic(),
            22..32 => self.stack(),
            32..44 if self.depth < 3 => self.branch(),
            44..52 if self.depth < 2 && self.loops < 2 => self.repeat(),
            52..60 => self.look_up(),
            60..64 => self.direct_value(),
            64..72 => self.packet(),
            72..78 => self.context(),
            78..82 => self.atomic(),
            82..86 => self.call(),
            86..90 => self.tail_call(),
            90..93 => self.queue_or_ring(),
            93..96 => self.change_map(),
            96..98 => self.move_packet(),
            98..99 => self.nothing_of_the_host(),
            _ => self.legacy_load(),
        }
    }

    /// Ends the function: numbers go where they are seen, and one is the result.
    fn leave(&mut self) {
        for _ in 0..self.random.below(3) {
            self.show();
        }
        let from = self.number();
        match self.role() {
            Role::Main if self.plan.kind == Kind::CgroupSkb => {
                self.put(op::copy(0, from));
                self.put(op::alu(ALU64, op::AND, 0, 1));
            }
            Role::Loop | Role::Each => {
                if self.random.chance(70) {
                    self.put(op::set(0, 0));
                } else {
                    self.put(op::copy(0, from));
                    self.put(op::alu(ALU64, 0x70, 0, 63));
                }
            }
            Role::Main | Role::Local(_) | Role::Global(_) | Role::Typed(_) | Role::Less => {
                self.put(op::copy(0, from));
            }
        }
        self.put(op::exit());
    }

    /// Puts a number where it is seen when the run is over.
    fn show(&mut self) {
        let from = self.number();
        let address = self.free(Held::Nothing);
        if address == from {
            return;
        }
        let off = i32::try_from(8 * self.random.below(16)).unwrap_or(0);
        self.put_wide(address, 2, map(place::OUT), off);
        self.hold(address, Held::Nothing);
        match self.random.below(3) {
            0 => self.put(op::atomic(8, address, 0, from, 0xa0)),
            1 => self.put(op::atomic(8, address, 0, from, 0)),
            _ => self.put(op::store(8, address, 0, from)),
        }
        self.uses |= Uses::MAPS;
    }

    fn put(&mut self, slot: Slot) {
        self.code.push(Op::Slot(slot));
    }

    /// Two slots: a wide immediate.
    fn put_wide(&mut self, dst: u8, src: u8, low: i32, high: i32) {
        self.code.extend(op::wide(dst, src, low, high).map(Op::Slot));
    }

    /// What `make` makes, apart from what there is.
    fn apart(&mut self, make: impl FnOnce(&mut Self)) -> Vec<Op> {
        let before = std::mem::take(&mut self.code);
        self.depth += 1;
        make(self);
        self.depth -= 1;
        std::mem::replace(&mut self.code, before)
    }
}

/// How a program names a map.
fn map(place: usize) -> i32 {
    i32::try_from(place).unwrap_or(0)
}

/// The address of a place on the stack goes into `reg`.
impl Writer<'_> {
    fn stack_address(&mut self, reg: u8, off: i16) {
        self.put(op::copy(reg, FP));
        self.put(op::add(reg, i32::from(off)));
    }
}
