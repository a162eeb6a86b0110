//! Statements about the packet.

use super::state::{AREA, Held};
use super::{Kind, Uses, Writer};
use crate::op::{self, ADD, ALU64, FP, JMP};

/// Where a context keeps the addresses of the packet.
pub(super) struct Ends {
    pub(super) data: i16,
    pub(super) end: i16,
    meta: i16,
}

impl Writer<'_> {
    pub(super) const fn ends(&self) -> Option<Ends> {
        match self.plan.kind {
            Kind::Xdp => Some(Ends { data: 0, end: 4, meta: 8 }),
            Kind::SchedCls => Some(Ends { data: 76, end: 80, meta: 140 }),
            Kind::CgroupSkb => Some(Ends { data: 76, end: 80, meta: 76 }),
            Kind::SocketFilter => None,
        }
    }

    /// Looks into the packet, at a fixed place or at one that a number says.
    pub(super) fn packet(&mut self) {
        let Some(ends) = self.ends() else {
            self.load_bytes();
            return;
        };
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        let offset = if self.random.chance(35) {
            let mask = self.random.pick(&[7, 15, 31, 63]);
            Some(self.masked(mask))
        } else {
            None
        };
        let (address, limit) = (self.free(Held::Packet(0)), self.free(Held::Nothing));
        let taken = [Some(context), offset];
        if address == limit || taken.contains(&Some(address)) || taken.contains(&Some(limit)) {
            return;
        }
        // A mask may have gone over the context's copy.
        if self.held(context) != Held::Context {
            return;
        }
        let before_data = self.plan.kind == Kind::Xdp && offset.is_none() && self.random.chance(20);
        let (from, to) = if before_data { (ends.meta, ends.data) } else { (ends.data, ends.end) };
        self.put(op::load(4, address, context, from));
        self.hold(address, Held::Nothing);
        self.put(op::load(4, limit, context, to));
        self.hold(limit, Held::Nothing);
        if let Some(offset) = offset {
            self.put(op::alu_reg(ALU64, ADD, address, offset));
        }
        let len: u8 = if before_data {
            self.random.pick(&[1, 4, 8, 16])
        } else {
            self.random.pick(&[1, 2, 4, 8, 14, 16, 20, 34, 40, 60])
        };
        let after = self.free(Held::Nothing);
        if after == address || after == limit {
            return;
        }
        self.put(op::copy(after, address));
        self.put(op::add(after, i32::from(len)));
        self.hold(after, Held::Nothing);
        self.uses |= Uses::PACKETS;
        let before = self.state.clone();
        let body = self.apart(|writer| {
            writer.hold(address, Held::Packet(len));
            writer.use_memory(address);
            if writer.random.chance(50) {
                writer.statements(1);
            }
        });
        let how = self.random.below(4);
        let leaves = self.random.chance(15) && self.owes == 0;
        if leaves {
            // Too short a packet ends the function; what follows knows that it is there.
            let inside = std::mem::replace(&mut self.state, before);
            let give_up = self.apart(Self::leave);
            self.put(Self::is_inside(how, after, limit, op::over(&give_up, 0)));
            self.code.extend(give_up);
            self.code.extend(body);
            self.state = inside;
        } else {
            self.put(Self::is_outside(how, after, limit, op::over(&body, 0)));
            self.code.extend(body);
            self.state.join(&before);
        }
    }

    /// A jump if the packet has the bytes before `after`.
    const fn is_inside(how: usize, after: u8, limit: u8, off: i16) -> bpf_isa::Slot {
        match how {
            0 => op::jump_if_reg(JMP, 0xb0, after, limit, off),
            1 => op::jump_if_reg(JMP, 0x30, limit, after, off),
            // These take a byte more for granted than they need.
            2 => op::jump_if_reg(JMP, 0xa0, after, limit, off),
            _ => op::jump_if_reg(JMP, 0x20, limit, after, off),
        }
    }

    /// A jump if it has not.
    const fn is_outside(how: usize, after: u8, limit: u8, off: i16) -> bpf_isa::Slot {
        match how {
            0 => op::jump_if_reg(JMP, 0x20, after, limit, off),
            1 => op::jump_if_reg(JMP, 0xa0, limit, after, off),
            2 => op::jump_if_reg(JMP, 0x30, after, limit, off),
            _ => op::jump_if_reg(JMP, 0xb0, limit, after, off),
        }
    }

    /// Moves an end of the packet, or writes into it from elsewhere.
    pub(super) fn move_packet(&mut self) {
        let by = self.random.pick(&[-32, -16, -8, -4, 0, 1, 4, 8, 16, 20, 100]);
        match self.plan.kind {
            Kind::Xdp => {
                let helper = self.random.pick(&[44, 54, 65]);
                let from_number = self.random.chance(30).then(|| self.masked(15));
                if !self.context_argument() {
                    return;
                }
                match from_number {
                    Some(number) if number != 1 => self.put(op::copy(2, number)),
                    Some(_) | None => self.put(op::set(2, by)),
                }
                self.helper_that_moves(helper);
            }
            Kind::SchedCls if self.random.chance(50) => self.store_bytes(),
            Kind::SchedCls | Kind::CgroupSkb | Kind::SocketFilter => self.load_bytes(),
        }
    }

    fn helper_that_moves(&mut self, helper: i32) {
        self.helper(helper);
        self.state.lose_packets();
        self.uses |= Uses::MOVES;
    }

    /// `bpf_skb_load_bytes`.
    fn load_bytes(&mut self) {
        if self.plan.kind == Kind::Xdp {
            return;
        }
        let offset = self.masked(127);
        if offset != 2 {
            self.put(op::copy(2, offset));
        }
        self.hold(2, Held::Number);
        if !self.context_argument() {
            return;
        }
        let (word, len) = (self.random.below(3), self.random.pick(&[1, 2, 4, 8, 13, 16, 32]));
        self.stack_address(3, AREA + 8 * i16::try_from(word).unwrap_or(0));
        self.put(op::set(4, len));
        self.helper(26);
    }

    /// `bpf_skb_store_bytes`.
    fn store_bytes(&mut self) {
        let offset = self.masked(127);
        if offset != 2 {
            self.put(op::copy(2, offset));
        }
        self.hold(2, Held::Number);
        if !self.context_argument() {
            return;
        }
        let (word, len) = (self.random.below(3), self.random.pick(&[1, 2, 4, 8, 16, 32]));
        self.stack_address(3, AREA + 8 * i16::try_from(word).unwrap_or(0));
        self.put(op::set(4, len));
        self.put(op::set(5, 0));
        self.helper_that_moves(9);
    }

    /// A load from the packet as classic programs do it: bytes that are not there end the program.
    pub(super) fn legacy_load(&mut self) {
        let may = matches!(self.plan.kind, Kind::SocketFilter | Kind::SchedCls);
        if !may || self.held(6) != Held::Context || self.function != 0 || self.owes > 0 {
            return;
        }
        let size: u8 = self.random.pick(&[0x10, 0x08, 0x00]);
        let imm = self.random.between(0, 40);
        if self.random.chance(50) {
            let index = self.masked(31);
            self.put(op::slot(0x40 | size, 0, index, 0, imm));
        } else {
            self.put(op::slot(0x20 | size, 0, 0, 0, imm));
        }
        self.state.call();
        self.hold(0, Held::Number);
        self.uses |= Uses::LEGACY;
    }

    /// Numbers of helpers that differ from machine to machine, less what differs.
    pub(super) fn nothing_of_the_host(&mut self) {
        // `bpf_ktime_get_ns`, `bpf_get_prandom_u32`, `bpf_get_smp_processor_id`
        let (helper, shift) = self.random.pick(&[(5, 63), (7, 32), (8, 20)]);
        self.helper(helper);
        self.put(op::alu(ALU64, 0x70, 0, shift));
    }

    /// The checksum of what the stack holds.
    pub(super) fn checksum(&mut self) {
        if !matches!(self.plan.kind, Kind::Xdp | Kind::SchedCls) {
            return;
        }
        let seed = self.masked(0xffff);
        if seed != 5 {
            self.put(op::copy(5, seed));
        }
        let sizes = [0, 4, 8, 16, 32];
        let (from, to) = (self.random.pick(&sizes), self.random.pick(&sizes));
        self.stack_address(1, AREA);
        self.put(op::set(2, from));
        self.put(op::copy(3, FP));
        self.put(op::add(3, i32::from(AREA) + 16));
        self.put(op::set(4, to));
        self.helper(28);
    }
}
