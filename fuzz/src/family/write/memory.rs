//! Statements that touch memory: the stack, values of maps, the context.

use bpf_abi::ctx::{Context, Field, Yields};

use super::state::{AREA, AREA_LEN, Held, SPILLS};
use super::{EDGES, Kind, Uses, Writer};
use crate::op::{self, ADD, ALU64, FP};

const SIZES: [u8; 6] = [1, 2, 4, 4, 8, 8];

/// The bits of atomic operations: `+`, `|`, `&`, `^`, each with what was there before or without;
/// exchange, compare and exchange.
const ATOMICS: [i32; 10] = [0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1];
const CMPXCHG: i32 = 0xf1;
const LOAD_ACQUIRE: i32 = 0x100;
const STORE_RELEASE: i32 = 0x110;

/// Fields whose values come from the machine.
const OF_THE_HOST: [&str; 7] =
    ["napi_id", "hash", "sk", "hwtstamp", "tstamp", "tstamp_type", "rx_queue_index"];

/// Memory that a register points to.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) reg: u8,
    pub(super) off: i16,
    pub(super) len: u8,
    pub(super) held: Held,
}

impl Base {
    fn is_aligned(self) -> bool {
        matches!(self.held, Held::Frame(_))
    }
}

impl Writer<'_> {
    /// Fills the part of the stack that holds numbers, and that for keys.
    pub(super) fn fill_stack(&mut self) {
        for word in 0..i16::from(AREA_LEN / 8) {
            let off = AREA + 8 * word;
            match self.random.below(3) {
                0 if let Some(reg) = self.holding(Held::is_number) => {
                    self.put(op::store(8, FP, off, reg));
                }
                _ => {
                    let imm = self.random.pick(&EDGES);
                    self.put(op::store_imm(8, FP, off, imm));
                }
            }
        }
        self.put(op::store_imm(8, FP, super::state::KEY, 0));
        self.put(op::store_imm(8, FP, super::state::KEY + 8, 0));
    }

    /// A part of memory of `len` bytes to touch so many bytes of: an offset.
    fn place(&mut self, base: Base, size: u8) -> i16 {
        let room = usize::from(base.len - size);
        let aligned = base.is_aligned() || self.random.chance(75);
        let step = if aligned { usize::from(size) } else { 1 };
        base.off + i16::try_from(step * self.random.below(room / step + 1)).unwrap_or(0)
    }

    pub(super) const fn area() -> Base {
        Base { reg: FP, off: AREA, len: AREA_LEN, held: Held::Frame(AREA_LEN) }
    }

    /// Memory that a register points to.
    pub(super) fn base(&mut self, is: impl Fn(Held) -> bool) -> Option<Base> {
        let reg = self.holding(is)?;
        let held = self.held(reg);
        let len = match held {
            Held::Packet(len) | Held::Value(len) | Held::Constant(len) | Held::Frame(len) => len,
            Held::Nothing | Held::Number | Held::Counter | Held::Context => return None,
        };
        Some(Base { reg, off: 0, len, held })
    }

    fn load_from(&mut self, base: Base) -> u8 {
        if matches!(base.held, Held::Packet(_)) {
            self.uses |= Uses::PACKETS;
        }
        let size = self.random.pick(&SIZES).min(base.len);
        let off = self.place(base, size);
        let dst = self.free(Held::Number);
        if size < 8 && self.random.chance(25) {
            self.put(op::load_signed(size, dst, base.reg, off));
        } else {
            self.put(op::load(size, dst, base.reg, off));
        }
        self.hold(dst, Held::Number);
        dst
    }

    fn store_into(&mut self, base: Base) {
        if matches!(base.held, Held::Packet(_)) {
            self.uses |= Uses::PACKETS;
        }
        let size = self.random.pick(&SIZES).min(base.len);
        let off = self.place(base, size);
        if self.random.chance(25) {
            let imm = self.random.pick(&EDGES);
            self.put(op::store_imm(size, base.reg, off, imm));
        } else if let Some(src) = self.holding(Held::is_number) {
            self.put(op::store(size, base.reg, off, src));
        }
    }

    /// A number from the stack.
    pub(super) fn load_stack(&mut self) -> u8 {
        self.load_from(Self::area())
    }

    /// A number from memory that some register points to.
    pub(super) fn load_memory(&mut self) -> Option<u8> {
        let base = self.base(|held| !matches!(held, Held::Nothing | Held::Context))?;
        Some(self.load_from(base))
    }

    /// Whether programs of this kind may write there.
    pub(super) fn may_write(&self, held: Held) -> bool {
        match held {
            Held::Value(_) | Held::Frame(_) => true,
            Held::Packet(_) => matches!(self.plan.kind, Kind::Xdp | Kind::SchedCls),
            Held::Nothing | Held::Number | Held::Counter | Held::Context | Held::Constant(_) => {
                false
            }
        }
    }

    /// A few accesses to what a register points to.
    pub(super) fn use_memory(&mut self, reg: u8) {
        for _ in 0..=self.random.below(3) {
            let held = self.held(reg);
            let Some(base) = self.base(|other| other == held) else { return };
            match self.random.below(11) {
                8..11 => {
                    // What was just written may be where the memory's register was.
                    if self.is_still(base) {
                        self.pieces(base);
                    }
                }
                0..3 => {
                    self.load_from(base);
                }
                3..6 if self.may_write(held) => self.store_into(base),
                6 if matches!(held, Held::Value(16..) | Held::Frame(16..)) => {
                    self.atomic_at(Base { len: 16, ..base });
                }
                _ => self.use_at_variable(base),
            }
        }
    }

    /// An access at an offset that is only known to lie in a range.
    fn use_at_variable(&mut self, base: Base) {
        if base.len < 16 || matches!(base.held, Held::Packet(_)) {
            return;
        }
        let size = self.random.pick(&SIZES);
        let step = i32::from(if base.is_aligned() || self.random.chance(50) { size } else { 1 });
        let most = if base.len >= 24 { 15 } else { 7 };
        let offset = self.masked(most & !(step - 1));
        let address = self.free(Held::Nothing);
        if address == offset || address == base.reg || !self.is_still(base) {
            return;
        }
        self.put(op::copy(address, base.reg));
        if base.off != 0 {
            self.put(op::add(address, i32::from(base.off)));
        }
        self.put(op::alu_reg(ALU64, ADD, address, offset));
        self.hold(address, Held::Nothing);
        if self.may_write(base.held)
            && self.random.chance(50)
            && let Some(src) = self.holding(Held::is_number)
        {
            self.put(op::store(size, address, 0, src));
        } else {
            let dst = self.free(Held::Number);
            self.put(op::load(size, dst, address, 0));
            self.hold(dst, Held::Number);
        }
    }

    /// A few accesses of the stack.
    pub(super) fn stack(&mut self) {
        for _ in 0..=self.random.below(4) {
            match self.random.below(14) {
                12 | 13 => self.pieces_of_stack(),
                0..4 => self.store_into(Self::area()),
                4..7 => {
                    self.load_stack();
                }
                7 => self.use_at_variable(Self::area()),
                8 => self.overlap(),
                _ => self.spill(),
            }
        }
    }

    /// Stores of some sizes and a load of another at the same place.
    fn overlap(&mut self) {
        let word = AREA + 8 * i16::try_from(self.random.below(6)).unwrap_or(0);
        for _ in 0..2 {
            let (src, size) = (self.number(), self.random.pick(&SIZES));
            let within = i16::from(size)
                * i16::try_from(self.random.below(usize::from(8 / size))).unwrap_or(0);
            self.put(op::store(size, FP, word + within, src));
        }
        let (size, dst) = (self.random.pick(&[2, 4, 8, 8]), self.free(Held::Number));
        let within =
            i16::from(size) * i16::try_from(self.random.below(usize::from(8 / size))).unwrap_or(0);
        self.put(op::load(size, dst, FP, word + within));
        self.hold(dst, Held::Number);
    }

    /// A pointer or a number goes onto the stack, or comes back.
    fn spill(&mut self) {
        let place = self.random.below(SPILLS.len());
        let held = self.state.spills[place];
        if held != Held::Nothing && self.random.chance(60) {
            let dst = self.free(held);
            self.put(op::load(8, dst, FP, SPILLS[place]));
            self.hold(dst, held);
            return;
        }
        if self.state.spill_pins[place] {
            return;
        }
        if let Some(reg) = self.holding(|held| !matches!(held, Held::Nothing | Held::Counter)) {
            self.put(op::store(8, FP, SPILLS[place], reg));
            self.state.spills[place] = self.held(reg);
            self.uses |= Uses::SPILLS;
        }
    }

    /// An atomic operation on the stack or a value.
    pub(super) fn atomic(&mut self) {
        let base = self.base(|held| matches!(held, Held::Value(_) | Held::Frame(_)));
        let base = base.filter(|_| self.random.chance(70)).unwrap_or(Self::area());
        if base.len >= 8 {
            self.atomic_at(base);
        }
    }

    fn atomic_at(&mut self, base: Base) {
        self.uses |= Uses::ATOMICS;
        let size = self.random.pick(&[4, 8, 8]);
        let off = |writer: &mut Self, size: u8| {
            let steps = usize::from(base.len / size);
            base.off + i16::from(size) * i16::try_from(writer.random.below(steps)).unwrap_or(0)
        };
        match self.random.below(8) {
            0 => {
                let size = self.random.pick(&SIZES);
                let (off, dst) = (off(self, size), self.free(Held::Number));
                self.put(op::atomic(size, dst, off, base.reg, LOAD_ACQUIRE));
                self.hold(dst, Held::Number);
            }
            1 => {
                let (size, src) = (self.random.pick(&SIZES), self.number());
                let off = off(self, size);
                if self.is_still(base) {
                    self.put(op::atomic(size, base.reg, off, src, STORE_RELEASE));
                }
            }
            _ => {
                let operation = self.random.pick(&ATOMICS);
                let src = if operation & 1 == 1 { self.variable() } else { self.number() };
                let off = off(self, size);
                if operation == CMPXCHG && !self.held(0).is_number() {
                    if self.state.pins[0].is_some() || base.reg == 0 {
                        return;
                    }
                    self.put(op::set(0, 1));
                    self.hold(0, Held::Number);
                }
                if self.is_still(base) && self.held(src).is_number() {
                    self.put(op::atomic(size, base.reg, off, src, operation));
                }
            }
        }
    }

    /// Whether the register still points there.
    fn is_still(&self, base: Base) -> bool {
        base.reg == FP || self.held(base.reg) == base.held
    }

    /// Fields of the context.
    pub(super) fn context(&mut self) {
        for _ in 0..=self.random.below(2) {
            if self.random.chance(65) {
                self.load_field();
            } else {
                self.store_field();
            }
        }
    }

    fn table(&self) -> &'static Context {
        match self.plan.kind {
            Kind::Xdp => &bpf_abi::ctx::xdp::XDP,
            Kind::SchedCls => &bpf_abi::ctx::skb::SCHED,
            Kind::SocketFilter => &bpf_abi::ctx::skb::SOCKET_FILTER,
            Kind::CgroupSkb => &bpf_abi::ctx::skb::CGROUP_SKB,
        }
    }

    /// A field of the context, if it is at hand.
    pub(super) fn load_field(&mut self) -> Option<u8> {
        let context = self.holding(|held| held == Held::Context)?;
        let is_usual = |field: &&Field| {
            field.yields == Yields::Scalar
                && !OF_THE_HOST.contains(&field.name)
                && !field.name.starts_with("local_")
                && !field.name.starts_with("remote_")
                && field.name != "family"
        };
        let fields: Vec<&Field> = self.table().fields.iter().filter(is_usual).collect();
        let field = self.random.pick(&fields);
        let off = i16::try_from(field.off).unwrap_or(0);
        // Control bytes come in words of any size, other fields may be narrow in the network stack.
        let (size, more) = match field.size {
            20 => (4, 4 * i16::try_from(self.random.below(5)).unwrap_or(0)),
            8 => (8, 0),
            4 if self.plan.kind != Kind::Xdp && self.random.chance(25) => {
                let size = self.random.pick(&[1, 2]);
                (
                    size,
                    i16::from(size)
                        * i16::try_from(self.random.below(usize::from(4 / size))).unwrap_or(0),
                )
            }
            size => (u8::try_from(size).unwrap_or(4), 0),
        };
        let dst = self.free(Held::Number);
        self.put(op::load(size, dst, context, off + more));
        self.hold(dst, Held::Number);
        self.uses |= Uses::CONTEXT;
        Some(dst)
    }

    fn store_field(&mut self) {
        let fields: &[i16] = match self.plan.kind {
            Kind::Xdp => return,
            Kind::SchedCls => &[8, 32, 44, 48, 52, 56, 60, 64, 72],
            Kind::SocketFilter => &[48, 52, 56, 60, 64],
            Kind::CgroupSkb => &[8, 32, 48, 52, 56, 60, 64],
        };
        let src = self.number();
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        let off = self.random.pick(fields);
        if self.random.chance(20) {
            let imm = self.random.pick(&EDGES);
            self.put(op::store_imm(4, context, off, imm));
        } else {
            self.put(op::store(4, context, off, src));
        }
        self.uses |= Uses::CONTEXT;
    }
}
