//! Statements that touch memory: the stack, values, packets, the context.

use bpf_abi::ctx::Yields;

use super::frame::Held;
use super::{EDGES, Function};
use crate::op::{self, FP};
use crate::world::{FIRST_MAP, map};

const SIZES: [u8; 7] = [1, 2, 4, 4, 8, 8, 8];

impl Function<'_> {
    /// A place of the stack, of so many bytes, mostly aligned.
    fn stack_place(&mut self, size: u8) -> i16 {
        let slot = -8 * i16::try_from(1 + self.random.below(8)).unwrap_or(0);
        let within = 8 / i16::from(size);
        let off = slot + i16::from(size) * i16::try_from(self.random.below(8)).unwrap_or(0) % 8;
        match self.random.below(40) {
            0 => -512,
            1 => off + 1,
            2 => self.random.pick(&[-520, 0, -4, 8]),
            _ if within > 0 => off,
            _ => slot,
        }
    }

    /// A few accesses of the stack.
    pub(super) fn stack(&mut self) {
        for _ in 0..=self.random.below(3) {
            match self.random.below(10) {
                0..5 => self.spill(),
                5..9 => self.fill(),
                _ => self.stack_at_variable(),
            }
        }
    }

    fn spill(&mut self) {
        let size = self.random.pick(&SIZES);
        let off = self.stack_place(size);
        let any = self.random.chance(35);
        let reg = if any { self.holding(|held| held != Held::Nothing) } else { None };
        if self.random.chance(25) {
            let imm = self.random.pick(&EDGES);
            self.put(op::store_imm(size, FP, off, imm));
            self.frame.write(off.clamp(-512, -8), size);
            return;
        }
        let reg = match reg {
            Some(reg) => reg,
            None => self.number_reg(),
        };
        self.put(op::store(size, FP, off, reg));
        let held = self.held(reg);
        let off = off.clamp(-512, -1);
        self.frame.write(off, size);
        if size == 8 && off % 8 == 0 && !held.is_number() {
            self.frame.spilled.push((off, held));
        }
    }

    fn fill(&mut self) {
        for _ in 0..4 {
            let size = self.random.pick(&SIZES);
            let off = self.stack_place(size).clamp(-512, -1);
            if !self.frame.is_written(off, size) && self.random.chance(97) {
                continue;
            }
            let dst = self.free();
            let held = if size == 8 { self.frame.slot(off) } else { Held::Number };
            let signed = size < 8 && self.random.chance(20);
            let slot = if signed {
                op::load_signed(size, dst, FP, off)
            } else {
                op::load(size, dst, FP, off)
            };
            self.put(slot);
            self.hold(dst, held);
            return;
        }
    }

    /// A stack access at an offset that is only known to lie in a range.
    fn stack_at_variable(&mut self) {
        let slots = self.random.pick(&[2_i16, 4, 8]);
        let bottom = -8 * slots;
        for slot in 0..slots {
            if self.random.chance(95) {
                let imm = self.random.pick(&[0, 0, 1, -1]);
                self.put(op::store_imm(8, FP, bottom + 8 * slot, imm));
                self.frame.write(bottom + 8 * slot, 8);
            }
        }
        let number = self.number_reg();
        let size = self.random.pick(&SIZES);
        let room = u32::try_from(8 * slots).unwrap_or(8);
        let most = (room - 1) & !(u32::from(size) - 1);
        let most = if self.random.chance(90) { most } else { room };
        self.put(op::alu(op::ALU64, op::AND, number, i32::try_from(most).unwrap_or(0)));
        self.hold(number, Held::Below(most));
        let base = self.free();
        if base == number {
            return;
        }
        self.copy(base, FP);
        self.put(op::add(base, i32::from(bottom)));
        self.put(op::add_reg(base, number));
        self.hold(base, Held::Nothing);
        match self.random.below(5) {
            0..2 => {
                let dst = self.free();
                self.put(op::load(size, dst, base, 0));
                self.hold(dst, Held::Number);
            }
            2 => self.put(op::store_imm(size, base, 0, 0)),
            _ => {
                let src = self.random.pick(&[number, number, 6, 10]);
                self.put(op::store(size, base, 0, src));
            }
        }
    }

    /// A value of a map, and what is done with it.
    pub(super) fn look_up(&mut self) {
        if self.random.chance(20) {
            self.address_value();
            return;
        }
        let map = self.random.pick(&[
            map::ARRAY,
            map::ARRAY,
            map::ARRAY,
            map::HASH,
            map::HASH,
            map::WRITE_ONLY,
            map::OUTER,
            map::LOCK,
            map::OBJECT,
            map::TIMER,
            map::CONSTANT,
            14,
            15,
        ]);
        self.look_up_in(map);
        let reg = self.keep_result();
        self.test_for_null(reg, |function| function.use_memory(reg));
    }

    /// Looks up in this map; the value is in R0.
    pub(super) fn look_up_in(&mut self, map: usize) {
        let key_size = u8::try_from(self.world.maps[map].key_size).unwrap_or(4).max(4);
        let off = self.random.pick(&[-8, -16, -24]);
        let key = self.random.pick(&[0, 0, 0, 1, 9]);
        if self.random.chance(97) {
            if self.random.chance(70) {
                self.put(op::store_imm(key_size, FP, off, key));
            } else {
                let reg = self.number_reg();
                self.put(op::store(key_size, FP, off, reg));
            }
            self.frame.write(off, key_size);
        }
        self.copy(2, FP);
        self.put(op::add(2, i32::from(off)));
        self.put_wide(1, 1, FIRST_MAP + i32::try_from(map).unwrap_or(0), 0);
        self.put(op::helper(1));
        self.frame.call();
        let held = if map == map::OUTER { Held::Nothing } else { Held::Value { map, null: true } };
        self.hold(0, held);
    }

    /// R0, or a register that calls leave alone with what was in R0.
    pub(super) fn keep_result(&mut self) -> u8 {
        if self.random.chance(60) {
            let reg = self.free_kept();
            self.copy(reg, 0);
            return reg;
        }
        0
    }

    /// The address of a map's only value.
    fn address_value(&mut self) {
        let map = self.random.pick(&[map::ONE, map::ONE, map::CONSTANT, map::WRITE_ONLY]);
        let dst = self.free();
        let off = self.random.pick(&[0, 0, 4, 8, 15, 16]);
        self.put_wide(dst, 2, FIRST_MAP + i32::try_from(map).unwrap_or(0), off);
        self.hold(dst, Held::Value { map, null: false });
        if off == 0 {
            self.use_memory(dst);
        }
    }

    /// How many bytes are there, if it is memory.
    fn room(&self, held: Held) -> u16 {
        match held {
            Held::Value { map, .. } => u16::try_from(self.world.maps[map].value_size).unwrap_or(8),
            Held::Memory { size, .. } => size,
            Held::Packet(safe) => u16::from(safe),
            Held::Nothing
            | Held::Number
            | Held::Below(_)
            | Held::Context
            | Held::Stack(_)
            | Held::PacketEnd
            | Held::Map(_)
            | Held::Object { .. } => 16,
        }
    }

    /// Accesses of memory, at fixed and variable places.
    pub(super) fn use_memory(&mut self, reg: u8) {
        for _ in 0..=self.random.below(3) {
            let room = self.room(self.held(reg));
            let size = self.random.pick(&SIZES).min(u8::try_from(room.max(1)).unwrap_or(8));
            let size = if size.is_power_of_two() { size } else { 1 };
            let last = room.saturating_sub(u16::from(size));
            if self.random.chance(65) {
                let steps = usize::from(last) / usize::from(size) + 1;
                let at = u16::try_from(self.random.below(steps)).unwrap_or(0) * u16::from(size);
                let at = i16::try_from(at).unwrap_or(0);
                let off = match self.random.below(30) {
                    0 => i16::try_from(room).unwrap_or(0),
                    1 => -i16::from(size),
                    2 => at + 1,
                    _ => at,
                };
                self.touch(reg, off, size);
            } else {
                self.touch_variable(reg, last, size);
            }
            if self.held(reg) == Held::Nothing {
                return;
            }
        }
    }

    fn touch_variable(&mut self, reg: u8, last: u16, size: u8) {
        let number = self.number_reg();
        if number == reg {
            return;
        }
        let off = if last > 8 && self.random.chance(30) { 4 } else { 0 };
        let most = u32::from(last).saturating_sub(off);
        let most = if self.random.chance(93) { most } else { most + 1 };
        self.bound(number, most);
        // Bounding a number may have called something.
        if self.held(reg) == Held::Nothing || !self.held(number).is_number() {
            return;
        }
        let base = if self.random.chance(70) { self.free() } else { reg };
        if base == number {
            return;
        }
        if base != reg {
            self.copy(base, reg);
        }
        self.put(op::add_reg(base, number));
        let held = self.held(base);
        self.touch(base, i16::try_from(off).unwrap_or(0), size);
        if self.held(base) == held {
            self.hold(base, Held::Nothing);
        }
    }

    /// One access.
    pub(super) fn touch(&mut self, reg: u8, off: i16, size: u8) {
        match self.random.below(10) {
            0..5 => {
                let dst = self.free();
                let signed = size < 8 && self.random.chance(15);
                let slot = if signed {
                    op::load_signed(size, dst, reg, off)
                } else {
                    op::load(size, dst, reg, off)
                };
                self.put(slot);
                self.hold(dst, Held::Number);
            }
            5..7 => {
                let imm = self.random.pick(&EDGES);
                self.put(op::store_imm(size, reg, off, imm));
            }
            7..9 => {
                let src = self.number_reg();
                self.put(op::store(size, reg, off, src));
            }
            _ => {
                let src = self.number_reg();
                let operation =
                    self.random.pick(&[0x00, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0x100, 0x110]);
                let load = operation == 0x100;
                let slot = if load {
                    op::atomic(size, src, off, reg, operation)
                } else {
                    op::atomic(size.max(4), reg, off, src, operation)
                };
                self.put(slot);
                self.hold(src, Held::Number);
            }
        }
    }

    /// An access through any register.
    pub(super) fn access_anything(&mut self) {
        let Some(reg) = self.holding(|held| held != Held::Nothing) else { return };
        let size = self.random.pick(&SIZES);
        let off = self.random.pick(&[0, 0, 4, 8, 16, 24, -8, -16, 48, 64, 168]);
        self.touch(reg, off, size);
    }

    /// An atomic operation on the stack.
    pub(super) fn atomic(&mut self) {
        let size = self.random.pick(&[4, 8, 8]);
        let off = self.random.pick(&[-8, -16, -24, -32]);
        self.put(op::store_imm(8, FP, off, 1));
        self.frame.write(off, 8);
        let src = self.number_reg();
        let operation =
            self.random.pick(&[0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1, 0x11]);
        if operation == 0xf1 {
            self.put(op::set(0, 1));
            self.hold(0, Held::Number);
        }
        self.put(op::atomic(size, FP, off, src, operation));
        self.hold(src, Held::Number);
    }

    /// An access of the context.
    pub(super) fn context(&mut self) {
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        let Some(table) = self.hook.table() else {
            let off = self.random.pick(&[0, 8, 8, 16, 24, 32, 4, 1, -8, 64, 1000]);
            let size = self.random.pick(&SIZES);
            self.touch(context, off, size);
            return;
        };
        let field = &table.fields[self.random.below(table.fields.len())];
        let whole = u8::try_from(field.size).unwrap_or(8);
        let size = if self.random.chance(75) { whole } else { self.random.pick(&SIZES) };
        let within = if self.random.chance(85) { 0 } else { self.random.between(0, 8) };
        let off = i16::try_from(field.off).unwrap_or(0) + i16::try_from(within).unwrap_or(0);
        if self.random.chance(25) {
            if self.random.chance(70) {
                let src = self.number_reg();
                self.put(op::store(size, context, off, src));
            } else {
                let imm = self.random.pick(&EDGES);
                self.put(op::store_imm(size, context, off, imm));
            }
            return;
        }
        let dst = self.free();
        let signed = self.random.chance(4);
        let slot = if signed {
            op::load_signed(size, dst, context, off)
        } else {
            op::load(size, dst, context, off)
        };
        self.put(slot);
        let held = match field.yields {
            Yields::Scalar => Held::Number,
            Yields::PacketEnd => Held::PacketEnd,
            Yields::Packet | Yields::PacketMeta => Held::Packet(0),
            Yields::SockCommonOrNull | Yields::SocketOrNull => {
                Held::Object { null: true, owned: false }
            }
            Yields::Socket
            | Yields::FlowKeys
            | Yields::TpBuffer
            | Yields::NfHookState
            | Yields::SkBuff => Held::Object { null: false, owned: false },
        };
        self.hold(dst, if size == whole && within == 0 { held } else { Held::Number });
        if matches!(held, Held::Object { .. }) && self.random.chance(70) {
            self.test_for_null(dst, |function| {
                let size = function.random.pick(&SIZES);
                let off = function.random.pick(&[0, 4, 8, 12, 16, 44, 48, 76]);
                let to = function.free();
                function.put(op::load(size, to, dst, off));
                function.hold(to, Held::Number);
            });
        }
    }

    /// Loads packet pointers, compares them, and touches what is known to be there.
    pub(super) fn packet(&mut self) {
        let fields = self.hook.table().map_or(&[][..], |table| table.fields);
        let with = |yields: Yields| fields.iter().find(|field| field.yields == yields);
        let (Some(begin), Some(end)) = (with(Yields::Packet), with(Yields::PacketEnd)) else {
            self.look_up();
            return;
        };
        let meta = with(Yields::PacketMeta).filter(|_| self.random.chance(10));
        let (first, last) = meta.map_or((begin, end), |meta| (meta, begin));
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        let (data, limit, probe) = (self.free(), self.free(), self.free());
        let distinct = data != limit && limit != probe && data != probe;
        if !distinct || [data, limit, probe].contains(&context) {
            return;
        }
        let field = |field: &bpf_abi::ctx::Field| {
            (u8::try_from(field.size).unwrap_or(4), i16::try_from(field.off).unwrap_or(0))
        };
        let ((size, off), (end_size, end_off)) = (field(first), field(last));
        self.put(op::load(size, data, context, off));
        self.put(op::load(end_size, limit, context, end_off));
        self.hold(data, Held::Packet(0));
        self.hold(limit, Held::PacketEnd);
        if self.random.chance(25) {
            let number = self.number_reg();
            if ![data, limit, probe].contains(&number) && self.held(limit) == Held::PacketEnd {
                let most = self.random.pick(&[3, 7, 15, 60, 255, 0xffff]);
                self.bound(number, most);
                if self.held(data) == Held::Packet(0) && number != data {
                    self.put(op::add_reg(data, number));
                }
            }
        }
        if self.held(data) != Held::Packet(0) || self.held(limit) != Held::PacketEnd {
            return;
        }
        let safe = self.random.pick(&[1_u8, 2, 4, 8, 14, 20, 34, 54, 64]);
        self.copy(probe, data);
        self.put(op::add(probe, i32::from(safe)));
        self.compare_packet(data, probe, limit, safe);
    }

    fn compare_packet(&mut self, data: u8, probe: u8, limit: u8, safe: u8) {
        // (condition, whether the probe stands left, whether the jump is taken if there is room)
        let (condition, left, taken) = self.random.pick(&[
            (0x20, true, false), // probe > end: out
            (0x20, true, false),
            (0x30, true, false),  // probe >= end: out
            (0xb0, true, true),   // probe <= end: in
            (0xa0, true, true),   // probe < end: in
            (0xa0, false, false), // end < probe: out
            (0xb0, false, false), // end <= probe: out
            (0x30, false, true),  // end >= probe: in
            (0x20, false, true),  // end > probe: in
            (0x10, true, true),   // probe == end: in
            (0xc0, false, false),
        ]);
        let class = if self.random.chance(97) { op::JMP } else { op::JMP32 };
        let before = self.frame.clone();
        let body = self.apart(|function| {
            function.hold(data, Held::Packet(safe));
            function.use_memory(data);
            if function.random.chance(15) && function.held(probe) == Held::Packet(0) {
                let back = -i16::from(function.random.pick(&[1_u8, 2, 4, 8]).min(safe));
                let size = u8::try_from(-back).unwrap_or(1);
                function.touch(probe, back, size);
            }
            if function.random.chance(30) {
                function.statements(1);
            }
        });
        self.frame.join(&before);
        let over = op::over(&body, 0);
        let (dst, src) = if left { (probe, limit) } else { (limit, probe) };
        if taken {
            self.put(op::jump_if_reg(class, condition, dst, src, 1));
            self.put(op::jump(over));
        } else {
            self.put(op::jump_if_reg(class, condition, dst, src, over));
        }
        self.code.extend(body);
    }
}
