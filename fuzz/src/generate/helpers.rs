//! Statements that call helpers, by their contracts.

use bpf_abi::helper::hooks::Lookup;
use bpf_abi::helper::protos::PROTOS;
use bpf_abi::helper::{ArgKind, ArgProto, HelperFlags, HelperProto, RetKind, TypeFlags};

use super::frame::Held;
use super::{EDGES, Function, Role};
use crate::op::{self, FP, Op};
use crate::world::{FIRST_MAP, map};

/// What is known of a call's arguments while they are made.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    map: usize,
    /// How many bytes the last memory has.
    size: u8,
}

impl Function<'_> {
    /// A call of any helper, mostly one that the program may call.
    pub(super) fn any_helper(&mut self) {
        for _ in 0..8 {
            let proto = &PROTOS[self.random.below(PROTOS.len())].proto;
            // Its result depends on the machine; or functions are needed that are not there.
            if proto.id == 8 || proto.id == 12 {
                continue;
            }
            if !self.may_call(proto) && self.random.chance(97) {
                continue;
            }
            let callback = proto.args.iter().any(|arg| arg.kind == ArgKind::Func);
            if callback && self.callback().is_none() {
                continue;
            }
            self.call_helper(proto);
            return;
        }
        self.arithmetic();
    }

    fn may_call(&self, proto: &HelperProto) -> bool {
        let hook = bpf_abi::helper::hooks::Hook {
            prog_type: self.hook.prog_type,
            attach_type: Some(self.hook.attach),
            target: self.hook.target.unwrap_or(""),
            sleepable: self.hook.sleepable,
        };
        matches!(hook.helper(proto.id), Lookup::Found(found) if found == proto)
    }

    fn callback(&mut self) -> Option<usize> {
        let found: Vec<usize> = (self.number + 1..self.roles.len())
            .filter(|number| matches!(self.roles[*number], Role::Loop | Role::Each(_)))
            .collect();
        if found.is_empty() { None } else { Some(self.random.pick(&found)) }
    }

    /// A call with arguments that its contract asks for, but for some.
    pub(super) fn call_helper(&mut self, proto: &HelperProto) {
        let mut known = Known::default();
        for (reg, arg) in (1..).zip(proto.args) {
            if self.random.chance(3) {
                self.wrong_argument(reg);
            } else {
                self.argument(reg, arg, proto, &mut known);
            }
        }
        let id = i32::try_from(proto.id).unwrap_or(0);
        self.put(op::helper(id));
        self.frame.call();
        if proto.flags.contains(HelperFlags::CHANGES_PKT_DATA) {
            self.frame.lose_packets();
        }
        self.result(proto, known);
    }

    fn result(&mut self, proto: &HelperProto, known: Known) {
        let null = proto.ret.flags.contains(TypeFlags::MAYBE_NULL);
        let owned = proto.flags.contains(HelperFlags::ACQUIRES_REF) && proto.id != 1;
        let held = match proto.ret.kind {
            RetKind::Integer => Held::Number,
            RetKind::Void => Held::Nothing,
            RetKind::MapValue => Held::Value { map: known.map, null },
            RetKind::Mem => Held::Memory { size: u16::from(known.size), null, owned },
            RetKind::Socket
            | RetKind::TcpSock
            | RetKind::SockCommon
            | RetKind::MemOrBtfId
            | RetKind::BtfId => Held::Object { null, owned },
        };
        self.hold(0, held);
        if held == Held::Nothing {
            return;
        }
        self.frame.debts += u32::from(owned);
        let reg = self.keep_result();
        if held.may_be_null() {
            self.test_for_null(reg, |function| {
                if matches!(held, Held::Value { .. } | Held::Memory { .. }) {
                    function.use_memory(reg);
                    return;
                }
                let size = function.random.pick(&[1, 2, 4, 8]);
                let off = function.random.pick(&[0, 0, 4, 8, 16, 20, 44]);
                let to = function.free();
                function.put(op::load(size, to, reg, off));
                function.hold(to, Held::Number);
            });
        }
    }

    fn wrong_argument(&mut self, reg: u8) {
        let any = self.holding(|held| held != Held::Nothing);
        match any {
            Some(any) if self.random.chance(70) => self.copy(reg, any),
            _ => {
                let imm = self.random.pick(&EDGES);
                self.put(op::set(reg, imm));
                self.hold(reg, Held::Number);
            }
        }
    }

    fn number_into(&mut self, reg: u8, of: &[i32]) {
        let kept = self.holding(Held::is_number).filter(|kept| *kept > 5);
        match kept {
            Some(kept) if self.random.chance(30) => self.copy(reg, kept),
            _ => {
                let imm = self.random.pick(of);
                self.put(op::set(reg, imm));
                self.hold(reg, Held::Number);
            }
        }
    }

    fn argument(&mut self, reg: u8, arg: &ArgProto, proto: &HelperProto, known: &mut Known) {
        match arg.kind {
            ArgKind::Anything | ArgKind::Scalar => self.number_into(reg, &[0, 0, 0, 1, 2, 8, -1]),
            ArgKind::ConstMapPtr => self.map_argument(reg, proto, known),
            ArgKind::MapKey => {
                let size = self.world.maps[known.map].key_size;
                self.memory(reg, u8::try_from(size).unwrap_or(8), true);
            }
            ArgKind::MapValue => {
                let size = self.world.maps[known.map].value_size;
                self.memory(reg, u8::try_from(size).unwrap_or(8), true);
            }
            ArgKind::Mem if arg.flags.contains(TypeFlags::MAYBE_NULL) && self.random.chance(20) => {
                known.size = self.random.pick(&[0, 0, 8]);
                self.put(op::set(reg, 0));
                self.hold(reg, Held::Number);
            }
            ArgKind::Mem => {
                let fixed = arg.flags.contains(TypeFlags::FIXED_SIZE);
                known.size = if fixed {
                    u8::try_from(arg.size).unwrap_or(8)
                } else {
                    self.random.pick(&[1, 4, 8, 8, 12, 16, 16, 24, 32, 40, 48])
                };
                let written = !arg.flags.contains(TypeFlags::UNINIT);
                self.memory(reg, known.size, written);
            }
            ArgKind::ConstSize | ArgKind::ConstSizeOrZero => self.size(reg, known.size),
            ArgKind::ConstAllocSizeOrZero => {
                known.size = self.random.pick(&[8, 16, 24, 40]);
                self.put(op::set(reg, i32::from(known.size)));
                self.hold(reg, Held::Number);
            }
            ArgKind::Ctx => match self.holding(|held| held == Held::Context) {
                Some(context) => self.copy(reg, context),
                None => self.wrong_argument(reg),
            },
            ArgKind::SpinLock => self.special(reg, map::LOCK),
            ArgKind::Timer => self.special(reg, map::TIMER),
            ArgKind::KptrXchgDest => self.special(reg, map::OBJECT),
            ArgKind::SockCommon
            | ArgKind::Socket
            | ArgKind::BtfId
            | ArgKind::BtfIdSockCommon
            | ArgKind::PercpuBtfId => {
                let found = self.holding(|held| matches!(held, Held::Object { .. }));
                match found {
                    Some(found) => self.copy(reg, found),
                    None => self.wrong_argument(reg),
                }
            }
            ArgKind::RingbufMem => {
                match self.holding(|held| matches!(held, Held::Memory { owned: true, .. })) {
                    Some(found) => self.copy(reg, found),
                    None => self.wrong_argument(reg),
                }
            }
            ArgKind::Func => {
                if let Some(function) = self.callback() {
                    self.code.push(Op::Address { dst: reg, function });
                    self.hold(reg, Held::Nothing);
                }
            }
            ArgKind::Stack => {
                self.copy(reg, FP);
                self.put(op::add(reg, -16));
            }
            ArgKind::ConstStr => {
                self.put_wide(reg, 2, FIRST_MAP + i32::try_from(map::CONSTANT).unwrap_or(0), 0);
                self.hold(reg, Held::Value { map: map::CONSTANT, null: false });
            }
            ArgKind::Dynptr => {
                self.copy(reg, FP);
                self.put(op::add(reg, i32::from(super::objects::DYNPTR)));
            }
        }
    }

    /// A value with something special in it, at its place.
    fn special(&mut self, reg: u8, map: usize) {
        match self.holding(|held| held == Held::Value { map, null: false }) {
            Some(found) => {
                self.copy(reg, found);
                self.put(op::add(reg, 8));
            }
            None => self.wrong_argument(reg),
        }
    }

    fn map_argument(&mut self, reg: u8, proto: &HelperProto, known: &mut Known) {
        let name = proto.name;
        let all = self.world.maps.len();
        known.map = if self.random.chance(8) {
            self.random.below(all)
        } else if name.starts_with("user_ringbuf") {
            map::USER_RING
        } else if name.starts_with("ringbuf") {
            map::RING
        } else if name.starts_with("map_p") {
            self.random.pick(&[map::QUEUE, 21, 22])
        } else if name.starts_with("perf_event") || name.contains("_output") {
            16
        } else if name.contains("stackid") {
            17
        } else if name.contains("_hash") {
            18
        } else if name.contains("_map") && name.contains("redirect") {
            self.random.pick(&[map::SOCKETS, 19, 20])
        } else {
            self.random.pick(&[
                map::ARRAY,
                map::HASH,
                map::HASH,
                14,
                15,
                map::LOCK,
                map::OBJECT,
                23,
                map::ONE,
                map::WRITE_ONLY,
                map::CONSTANT,
            ])
        };
        self.put_wide(reg, 1, FIRST_MAP + i32::try_from(known.map).unwrap_or(0), 0);
        self.hold(reg, Held::Map(known.map));
    }

    /// Memory of so many bytes.
    fn memory(&mut self, reg: u8, size: u8, written: bool) {
        let room = u16::from(size);
        let world = self.world;
        let found = self.holding(|held| match held {
            Held::Value { map, null: false } => world.maps[map].value_size >= u32::from(room),
            Held::Memory { size, null: false, .. } => size >= room,
            Held::Packet(safe) => u16::from(safe) >= room,
            Held::Nothing
            | Held::Number
            | Held::Below(_)
            | Held::Context
            | Held::Stack(_)
            | Held::Value { .. }
            | Held::PacketEnd
            | Held::Map(_)
            | Held::Memory { .. }
            | Held::Object { .. } => false,
        });
        match found.filter(|found| *found > 5) {
            Some(found) if self.random.chance(40) => self.copy(reg, found),
            _ if written => self.stack_memory(reg, size),
            _ => {
                let slots = i16::from(size.div_ceil(8).max(1));
                self.copy(reg, FP);
                self.put(op::add(reg, i32::from(-8 * slots)));
                self.frame.write(-8 * slots, size);
            }
        }
    }

    /// How many bytes the memory before has, exactly or at most.
    fn size(&mut self, reg: u8, size: u8) {
        let exact = i32::from(size);
        match self.random.below(20) {
            0 => {
                self.put(op::set(reg, exact + 1));
            }
            1 => {
                let imm = self.random.pick(&[0, -1, 512, 4096]);
                self.put(op::set(reg, imm));
            }
            2..5 => {
                let kept = self.holding(Held::is_number).filter(|kept| *kept > 5);
                if let Some(kept) = kept {
                    self.copy(reg, kept);
                    self.bound(reg, u32::from(size));
                } else {
                    self.put(op::set(reg, exact));
                }
            }
            _ => self.put(op::set(reg, exact)),
        }
        self.hold(reg, Held::Number);
    }
}
