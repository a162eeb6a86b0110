//! Programs from seeds.
//!
//! A program has a main function and up to four more, which are static or global functions or
//! callbacks. A function is a list of statements; a statement is a few instructions that belong
//! together, such as a look-up with its test for null, or a loop with its body. What a statement
//! chooses rests on a rough belief of what registers hold ([`frame`]), so that most programs are
//! nearly right.

mod frame;
mod scalars;
mod memory;
mod flow;
mod calls;
mod helpers;
mod objects;

use bpf_abi::ctx::Yields;
use bpf_abi::prog::ProgFlags;
use bpf_isa::Slot;

use crate::Sample;
use crate::hook::{HOOKS, Hook};
use crate::op::{self, FP, Op};
use crate::random::Random;
use crate::world::{Param, World};
use frame::{Frame, Held};

/// Numbers that sit at edges.
const EDGES: [i32; 30] = [
    0,
    1,
    2,
    3,
    4,
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
    1000,
    0x7fff,
    0xffff,
    0x10000,
    0x1fff_ffff,
    i32::MAX,
    -1,
    -2,
    -4,
    -8,
    -128,
    -512,
    i32::MIN,
];

/// What a function is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Main,
    /// Called with two arguments of any kind.
    Local,
    /// Called with arguments of its type: the place among the world's global functions.
    Global(usize),
    /// Called by `bpf_loop`, with a number and a pointer.
    Loop,
    /// Called by `bpf_for_each_map_elem` on this map, or by a timer in it.
    Each(usize),
}

/// The program of a seed.
pub fn program(seed: u64, world: &World) -> Sample {
    let mut random = Random::new(seed);
    let hook = Hook::choose(random.next());
    let roles = roles(&mut random, world);
    let mut functions = Vec::new();
    for number in 0..roles.len() {
        let mut function = Function {
            random: &mut random,
            world,
            hook: &HOOKS[hook],
            roles: &roles,
            number,
            frame: Frame::new(),
            code: Vec::new(),
            depth: 0,
            in_loop: false,
        };
        function.write();
        functions.push(function.code);
    }
    let (roles, functions) = referred_to(roles, functions);
    let needs_types = roles.iter().any(|role| !matches!(role, Role::Main | Role::Local));
    let typed = needs_types && random.chance(98) || random.chance(30);
    let mut starts = Vec::new();
    let mut at = 0;
    for (role, code) in roles.iter().zip(&functions) {
        let table = HOOKS[hook].table();
        let main = table.and_then(|table| {
            world.mains.iter().find(|(name, _)| *name == table.name).map(|(_, func)| *func)
        });
        let func = match role {
            Role::Main => main.unwrap_or(world.plain_main),
            Role::Local | Role::Loop | Role::Each(_) => world.local,
            Role::Global(place) => world.globals[*place].func,
        };
        starts.push((u32::try_from(at).unwrap_or(u32::MAX), func));
        at += op::len(code);
    }
    let slots = op::place(&functions);
    let flags = HOOKS[hook].flags() | extra_flags(&mut random);
    Sample { hook, flags, slots, functions: if typed { starts } else { Vec::new() } }
}

/// The functions that somebody calls or takes the address of, and the main function.
fn referred_to(roles: Vec<Role>, functions: Vec<Vec<Op>>) -> (Vec<Role>, Vec<Vec<Op>>) {
    let mut used = vec![false; functions.len()];
    let mut waiting = vec![0];
    while let Some(number) = waiting.pop() {
        if !std::mem::replace(&mut used[number], true) {
            waiting.extend(functions[number].iter().filter_map(|op| op.function()));
        }
    }
    let places: Vec<usize> =
        (0..used.len()).map(|number| used[..number].iter().filter(|used| **used).count()).collect();
    let kept = roles.into_iter().zip(functions).zip(used).filter(|(_, used)| *used);
    kept.map(|((role, code), _)| {
        (role, code.into_iter().map(|op| op.with_function(|number| places[number])).collect())
    })
    .unzip()
}

fn extra_flags(random: &mut Random) -> ProgFlags {
    match random.below(20) {
        0..3 => ProgFlags::TEST_STATE_FREQ,
        3 => ProgFlags::STRICT_ALIGNMENT,
        4 => ProgFlags::TEST_REG_INVARIANTS,
        _ => ProgFlags::empty(),
    }
}

fn roles(random: &mut Random, world: &World) -> Vec<Role> {
    let mut roles = vec![Role::Main];
    let more = random.pick(&[0, 0, 0, 1, 1, 2, 2, 3, 4]);
    for _ in 0..more {
        roles.push(match random.below(10) {
            0..4 => Role::Local,
            4..6 => Role::Global(random.below(world.globals.len())),
            6..8 => Role::Loop,
            _ => Role::Each(random.pick(&[0, 0, 1, 8, 7])),
        });
    }
    roles
}

/// A function being made.
struct Function<'a> {
    random: &'a mut Random,
    world: &'a World,
    hook: &'static Hook,
    roles: &'a [Role],
    number: usize,
    frame: Frame,
    code: Vec<Op>,
    /// How deep the statement is nested.
    depth: u32,
    in_loop: bool,
}

impl Function<'_> {
    fn write(&mut self) {
        self.arguments();
        let most = self.random.pick(&[2, 4, 6, 8, 12]);
        let statements = 1 + self.random.below(most);
        self.statements(statements);
        self.leave();
    }

    /// Takes over what the function is called with.
    fn arguments(&mut self) {
        let held = match &self.roles[self.number] {
            Role::Main => vec![Held::Context],
            Role::Local => vec![Held::Number, Held::Number],
            Role::Global(place) => {
                let held = |param: &Param| match param {
                    Param::Number => Held::Number,
                    Param::Context => Held::Context,
                    Param::Memory => Held::Memory { size: 16, null: true, owned: false },
                    Param::MemoryNotNull => Held::Memory { size: 16, null: false, owned: false },
                    Param::Dynptr => Held::Nothing,
                };
                self.world.globals[*place].params.iter().map(held).collect()
            }
            Role::Loop => vec![Held::Number, Held::Stack(-32)],
            Role::Each(map) => vec![
                Held::Map(*map),
                Held::Nothing,
                Held::Value { map: *map, null: false },
                Held::Number,
            ],
        };
        for (reg, held) in (1..).zip(&held) {
            self.hold(reg, *held);
        }
        for (to, (reg, held)) in (6..9).zip((1_u8..).zip(&held)) {
            if *held != Held::Nothing && (*held == Held::Context || self.random.chance(85)) {
                self.copy(to, reg);
            }
        }
    }

    fn statements(&mut self, count: usize) {
        for _ in 0..count {
            self.statement();
        }
    }

    fn statement(&mut self) {
        match self.random.below(100) {
            0..22 => self.arithmetic(),
            22..32 => self.stack(),
            32..45 if self.depth < 3 => self.branch(),
            45..51 if self.depth < 2 => self.repeat(),
            51..62 => self.look_up(),
            62..68 => self.packet(),
            68..75 => self.context(),
            75..82 => self.any_helper(),
            82..87 => self.call(),
            87..94 => self.object(),
            94..96 => self.move_pointer(),
            96..98 => self.atomic(),
            98..99 => self.noise(),
            _ => self.access_anything(),
        }
    }

    /// Ends the function.
    fn leave(&mut self) {
        match self.random.below(20) {
            0..12 => {
                let value = self.random.pick(&[0, 0, 0, 1, 1, 2]);
                self.put(op::set(0, value));
            }
            12..15 => {
                let reg = self.number_reg();
                self.put(op::copy(0, reg));
            }
            15..18 => {
                let reg = self.number_reg();
                let mask = self.random.pick(&[1, 1, 3, 0xff]);
                self.put(op::copy(0, reg));
                self.put(op::alu(op::ALU64, op::AND, 0, mask));
            }
            18 => {
                let reg = self.random.pick(&[1, 6, 7, 10]);
                self.put(op::copy(0, reg));
            }
            _ => {}
        }
        self.put(op::exit());
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

    fn held(&self, reg: u8) -> Held {
        if reg == FP { Held::Stack(0) } else { self.frame.held[usize::from(reg)] }
    }

    fn hold(&mut self, reg: u8, held: Held) {
        if let Some(place) = self.frame.held.get_mut(usize::from(reg)) {
            *place = held;
        }
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.put(op::copy(to, from));
        let held = self.held(from);
        self.hold(to, held);
    }

    /// A register that holds such a thing.
    fn holding(&mut self, is: impl Fn(Held) -> bool) -> Option<u8> {
        let found: Vec<u8> = (0..10).filter(|reg| is(self.held(*reg))).collect();
        if found.is_empty() { None } else { Some(self.random.pick(&found)) }
    }

    /// A register to put something into: seldom the one that holds the context.
    fn free(&mut self) -> u8 {
        loop {
            let reg = self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 9]);
            let held = self.held(reg);
            let precious = held == Held::Context && reg == 6
                || matches!(
                    held,
                    Held::Object { owned: true, .. } | Held::Memory { owned: true, .. }
                );
            if !precious || self.random.chance(2) {
                return reg;
            }
        }
    }

    /// A register that calls leave alone, to put something into.
    fn free_kept(&mut self) -> u8 {
        loop {
            let reg = self.random.pick(&[7, 8, 9]);
            let owned = matches!(
                self.held(reg),
                Held::Object { owned: true, .. } | Held::Memory { owned: true, .. }
            );
            if !owned || self.random.chance(20) {
                return reg;
            }
        }
    }

    /// A register that holds a number.
    fn number_reg(&mut self) -> u8 {
        if self.random.chance(90)
            && let Some(reg) = self.holding(Held::is_number)
        {
            return reg;
        }
        self.fresh_number()
    }

    /// A register with a number that it did not hold.
    fn fresh_number(&mut self) -> u8 {
        let fields = self.hook.table().map_or(&[][..], |table| table.fields);
        let scalars: Vec<_> =
            fields.iter().filter(|field| field.yields == Yields::Scalar).collect();
        let context = self.holding(|held| held == Held::Context);
        match self.random.below(8) {
            0..2 => {
                let reg = self.free();
                let value = self.random.pick(&EDGES);
                self.put(op::set(reg, value));
                self.hold(reg, Held::Number);
                reg
            }
            2..5 if let Some(context) = context
                && !scalars.is_empty() =>
            {
                let field = self.random.pick(&scalars);
                let reg = self.free();
                let off = i16::try_from(field.off).unwrap_or(0);
                self.put(op::load(u8::try_from(field.size).unwrap_or(8), reg, context, off));
                self.hold(reg, Held::Number);
                reg
            }
            5 => {
                let reg = self.free();
                let low = self.random.next().to_le_bytes();
                let edge = self.random.pick(&EDGES);
                let high = i32::from_le_bytes([low[0], low[1], low[2], low[3]]);
                let high = self.random.pick(&[0, 0, -1, i32::MAX, i32::MIN, 1, high]);
                self.put_wide(reg, 0, edge, high);
                self.hold(reg, Held::Number);
                reg
            }
            _ => {
                // `bpf_get_prandom_u32`
                self.put(op::helper(7));
                self.frame.call();
                self.hold(0, Held::Number);
                if self.random.chance(50) {
                    let reg = self.free_kept();
                    self.copy(reg, 0);
                    return reg;
                }
                0
            }
        }
    }

    /// Gives the function up, with a result that most types may give.
    fn give_up(&mut self) -> [Slot; 2] {
        let result = self.random.pick(&[0, 0, 0, 1]);
        [op::set(0, result), op::exit()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_program_and_other_seeds_others() {
        let world = World::new(None);
        let some = |from: u64| -> Vec<Vec<Slot>> {
            (from..from + 50).map(|seed| program(seed, &world).slots).collect()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(1000));
    }

    #[test]
    fn programs_are_instructions() {
        let world = World::new(None);
        let programs = (0..500).map(|seed| program(seed, &world));
        let decoded = programs.filter(|it| bpf_isa::Program::from_slots(&it.slots).is_ok());
        let count = decoded.count();
        assert!(count > 450, "only {count} of 500 can be decoded");
    }
}
