//! Statements about things that are taken and given back: records, sockets, locks, dynptrs,
//! kernel objects, sections.

use bpf_abi::ctx::Yields;

use super::Function;
use super::frame::Held;
use crate::op::{self, FP, Op};
use crate::world::{FIRST_MAP, map};

/// Where dynptrs lie on the stack.
pub(super) const DYNPTR: i16 = -64;

impl Function<'_> {
    /// One of them.
    pub(super) fn object(&mut self) {
        if self.depth > 3 {
            return;
        }
        match self.random.below(20) {
            0..4 => self.record(),
            4..7 => self.socket(),
            7..10 => self.lock(),
            10..13 => self.dynptr(),
            13..15 => self.section(),
            15..17 => self.timer(),
            17 => self.task(),
            _ => self.kernel_pointer(),
        }
    }

    fn map_address(&mut self, reg: u8, map: usize) {
        self.put_wide(reg, 1, FIRST_MAP + i32::try_from(map).unwrap_or(0), 0);
        self.hold(reg, Held::Map(map));
    }

    /// Something is done with what is held, and then it is given back; both but for exceptions.
    fn meanwhile(&mut self, work: impl FnOnce(&mut Self)) {
        if self.random.chance(85) {
            work(self);
        }
        if self.random.chance(30) {
            self.statements(1);
        }
    }

    fn in_argument(&mut self, reg: u8, from: u8) {
        if from != reg {
            self.copy(reg, from);
        }
    }

    /// A record of a ring buffer.
    fn record(&mut self) {
        self.map_address(1, map::RING);
        let size = self.random.pick(&[8, 16, 24, 40]);
        self.put(op::set(2, i32::from(size)));
        self.put(op::set(3, 0));
        self.put(op::helper(131));
        self.frame.call();
        self.hold(0, Held::Memory { size, null: true, owned: true });
        self.frame.debts += 1;
        let reg = self.free_kept();
        self.copy(reg, 0);
        self.hold(0, Held::Nothing);
        self.test_for_null(reg, |function| {
            function.meanwhile(|function| function.use_memory(reg));
            let give_back = if function.random.chance(60) { 132 } else { 133 };
            function.give_back(reg, give_back);
        });
    }

    /// Calls a helper that takes what is in a register back.
    fn give_back(&mut self, reg: u8, id: i32) {
        let times = self.random.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2]);
        for _ in 0..times {
            self.in_argument(1, reg);
            if matches!(id, 132 | 133) {
                self.put(op::set(2, 0));
            }
            self.put(op::helper(id));
            self.frame.call();
            self.hold(0, if id == 86 { Held::Number } else { Held::Nothing });
        }
        self.hold(reg, Held::Nothing);
        self.frame.debts = self.frame.debts.saturating_sub(1);
    }

    /// A socket, looked up.
    fn socket(&mut self) {
        let Some(context) = self.holding(|held| held == Held::Context) else { return };
        let size = self.random.pick(&[12_u8, 12, 36]);
        self.in_argument(1, context);
        self.stack_memory(2, size);
        self.put(op::set(3, i32::from(size)));
        self.put(op::set(4, -1));
        self.put(op::set(5, 0));
        let id = self.random.pick(&[84, 85, 99]);
        self.put(op::helper(id));
        self.frame.call();
        self.hold(0, Held::Object { null: true, owned: true });
        self.frame.debts += 1;
        let reg = self.free_kept();
        self.copy(reg, 0);
        self.hold(0, Held::Nothing);
        self.test_for_null(reg, |function| {
            function.meanwhile(|function| {
                let (size, off) = function.random.pick(&[(4, 0), (4, 4), (4, 16), (2, 48), (8, 8)]);
                let to = function.free();
                if to != reg {
                    function.put(op::load(size, to, reg, off));
                    function.hold(to, Held::Number);
                }
            });
            function.give_back(reg, 86);
        });
    }

    /// A value under its spin lock.
    fn lock(&mut self) {
        self.look_up_in(map::LOCK);
        let reg = self.free_kept();
        self.copy(reg, 0);
        self.hold(0, Held::Nothing);
        self.test_for_null(reg, |function| {
            let lock = |function: &mut Self, id: i32| {
                function.in_argument(1, reg);
                let off = function.random.pick(&[8, 8, 8, 8, 8, 8, 8, 8, 8, 0]);
                function.put(op::add(1, off));
                function.put(op::helper(id));
                function.frame.call();
            };
            lock(function, 93);
            function.frame.debts += 1;
            let work = function.random.below(10);
            match work {
                0..6 => {
                    let off = function.random.pick(&[0, 0, 12, 4, 8]);
                    let to = function.free();
                    if to != reg {
                        function.put(op::load(4, to, reg, off));
                        function.hold(to, Held::Number);
                    }
                }
                6..9 => function.arithmetic(),
                _ => function.statement(),
            }
            if function.held(reg) == (Held::Value { map: map::LOCK, null: false }) {
                lock(function, 94);
            }
            function.frame.debts -= 1;
        });
    }

    fn dynptr_argument(&mut self, reg: u8) {
        self.copy(reg, FP);
        let off = self.random.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
        self.put(op::add(reg, i32::from(DYNPTR) + off));
        self.hold(reg, Held::Nothing);
    }

    /// A dynptr over memory, a record or the packet.
    fn dynptr(&mut self) {
        let reserved = match self.random.below(5) {
            0..2 => {
                self.map_address(1, map::RING);
                self.put(op::set(2, 32));
                self.put(op::set(3, 0));
                self.dynptr_argument(4);
                self.put(op::helper(198));
                self.frame.debts += 1;
                true
            }
            2..4 => {
                self.put_wide(1, 2, FIRST_MAP + i32::try_from(map::ONE).unwrap_or(0), 0);
                self.put(op::set(2, 16));
                self.put(op::set(3, 0));
                self.dynptr_argument(4);
                self.put(op::helper(197));
                false
            }
            _ => {
                let fields = self.hook.table().map_or(&[][..], |table| table.fields);
                let is_xdp = fields.iter().any(|field| field.name == "rx_queue_index");
                let has_packet = fields.iter().any(|field| field.yields == Yields::Packet);
                let name = if is_xdp { "bpf_dynptr_from_xdp" } else { "bpf_dynptr_from_skb" };
                let context = self.holding(|held| held == Held::Context);
                let (Some(id), Some(context), true) = (self.world.kfunc(name), context, has_packet)
                else {
                    return;
                };
                self.in_argument(1, context);
                self.put(op::set(2, 0));
                self.dynptr_argument(3);
                self.put(op::kfunc(id));
                false
            }
        };
        self.frame.call();
        self.hold(0, Held::Number);
        self.frame.write(DYNPTR, 16);
        for _ in 0..self.random.below(3) {
            self.use_dynptr();
        }
        if self.random.chance(20) {
            self.statements(1);
        }
        if reserved {
            if self.random.chance(96) {
                self.dynptr_argument(1);
                self.put(op::set(2, 0));
                let id = self.random.pick(&[199, 200]);
                self.put(op::helper(id));
                self.frame.call();
            }
            self.frame.debts -= 1;
        }
    }

    fn use_dynptr(&mut self) {
        match self.random.below(5) {
            0 => {
                // `bpf_dynptr_read`
                self.stack_memory(1, 8);
                self.put(op::set(2, 8));
                self.dynptr_argument(3);
                self.put(op::set(4, 0));
                self.put(op::set(5, 0));
                self.put(op::helper(201));
            }
            1 => {
                // `bpf_dynptr_write`
                self.dynptr_argument(1);
                self.put(op::set(2, 0));
                self.stack_memory(3, 8);
                self.put(op::set(4, 8));
                self.put(op::set(5, 0));
                self.put(op::helper(202));
                self.frame.lose_packets();
            }
            2 => {
                // `bpf_dynptr_data`
                self.dynptr_argument(1);
                self.put(op::set(2, 0));
                self.put(op::set(3, 8));
                self.put(op::helper(203));
                self.frame.call();
                self.hold(0, Held::Memory { size: 8, null: true, owned: false });
                self.test_for_null(0, |function| function.use_memory(0));
                return;
            }
            3 => {
                let name = self.random.pick(&["bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"]);
                let Some(id) = self.world.kfunc(name) else { return };
                self.dynptr_argument(1);
                self.put(op::set(2, 0));
                if self.random.chance(70) {
                    self.stack_memory(3, 8);
                } else {
                    self.put(op::set(3, 0));
                }
                self.put(op::set(4, 8));
                self.put(op::kfunc(id));
                self.frame.call();
                self.hold(0, Held::Memory { size: 8, null: true, owned: false });
                self.test_for_null(0, |function| function.use_memory(0));
                return;
            }
            _ => {
                let name = self.random.pick(&[
                    "bpf_dynptr_size",
                    "bpf_dynptr_is_null",
                    "bpf_dynptr_is_rdonly",
                    "bpf_dynptr_adjust",
                ]);
                let Some(id) = self.world.kfunc(name) else { return };
                self.dynptr_argument(1);
                self.put(op::set(2, 1));
                self.put(op::set(3, 2));
                self.put(op::kfunc(id));
            }
        }
        self.frame.call();
        self.hold(0, Held::Number);
    }

    /// A section in which the program may not sleep, be moved or be interrupted.
    fn section(&mut self) {
        let (begin, end) = self.random.pick(&[
            ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
            ("bpf_preempt_disable", "bpf_preempt_enable"),
            ("bpf_local_irq_save", "bpf_local_irq_restore"),
        ]);
        let (Some(begin_id), Some(end_id)) = (self.world.kfunc(begin), self.world.kfunc(end))
        else {
            return;
        };
        let flag = begin == "bpf_local_irq_save";
        for (step, id) in [begin_id, end_id].into_iter().enumerate() {
            if flag {
                self.copy(1, FP);
                self.put(op::add(1, -72));
            }
            if step == 0 || self.random.chance(95) {
                self.put(op::kfunc(id));
            }
            self.frame.call();
            if step == 0 {
                self.frame.debts += 1;
                let statements = 1 + self.random.below(2);
                self.statements(statements);
                self.frame.debts -= 1;
            }
        }
    }

    /// A timer, or one of its three calls.
    fn timer(&mut self) {
        self.look_up_in(map::TIMER);
        let reg = self.free_kept();
        self.copy(reg, 0);
        self.hold(0, Held::Nothing);
        self.test_for_null(reg, |function| {
            for _ in 0..=function.random.below(2) {
                function.in_argument(1, reg);
                function.put(op::add(1, 8));
                match function.random.below(4) {
                    0 => {
                        function.map_address(2, map::TIMER);
                        let clock = function.random.pick(&[0, 1, 7]);
                        function.put(op::set(3, clock));
                        function.put(op::helper(169));
                    }
                    1 => {
                        let number = function.number + 1;
                        let is = |role: &super::Role| matches!(role, super::Role::Each(map::TIMER));
                        let found = function.roles.iter().skip(number).position(is);
                        let Some(found) = found else { return };
                        function.code.push(Op::Address { dst: 2, function: number + found });
                        function.put(op::helper(170));
                    }
                    2 => {
                        function.put(op::set(2, 100));
                        function.put(op::set(3, 0));
                        function.put(op::helper(171));
                    }
                    _ => function.put(op::helper(172)),
                }
                function.frame.call();
                function.hold(0, Held::Number);
            }
        });
    }

    /// The current task.
    fn task(&mut self) {
        // `bpf_get_current_task_btf`
        self.put(op::helper(158));
        self.frame.call();
        self.hold(0, Held::Object { null: false, owned: false });
        let reg = self.keep_result();
        for _ in 0..=self.random.below(2) {
            let size = self.random.pick(&[1, 4, 8, 8]);
            let off = self.random.pick(&[0, 8, 16, 24, 32, 64, 1000, 2000, 20000]);
            let to = self.free();
            self.put(op::load(size, to, reg, off));
            self.hold(to, Held::Number);
            if to == reg {
                return;
            }
        }
    }

    /// A kernel object in a value, exchanged.
    fn kernel_pointer(&mut self) {
        let ids = (self.world.kfunc("bpf_task_from_pid"), self.world.kfunc("bpf_task_release"));
        let (Some(from), Some(release)) = ids else { return };
        let give_back = |function: &mut Self, reg: u8| {
            if function.random.chance(96) {
                function.in_argument(1, reg);
                function.put(op::kfunc(release));
                function.frame.call();
                function.hold(0, Held::Nothing);
            }
            function.hold(reg, Held::Nothing);
            function.frame.debts = function.frame.debts.saturating_sub(1);
        };
        let owned = Held::Object { null: true, owned: true };
        if self.random.chance(50) {
            self.put(op::set(1, 1));
            self.put(op::kfunc(from));
            self.frame.call();
            self.hold(0, owned);
            self.frame.debts += 1;
            let reg = self.free_kept();
            self.copy(reg, 0);
            self.hold(0, Held::Nothing);
            self.test_for_null(reg, |function| {
                function.meanwhile(|function| {
                    let to = function.free();
                    if to != reg {
                        let off = function.random.pick(&[0, 8, 32, 1000]);
                        function.put(op::load(8, to, reg, off));
                        function.hold(to, Held::Number);
                    }
                });
                give_back(function, reg);
            });
            return;
        }
        self.look_up_in(map::OBJECT);
        let reg = self.free_kept();
        self.copy(reg, 0);
        self.hold(0, Held::Nothing);
        self.test_for_null(reg, |function| {
            if function.random.chance(30) {
                let to = function.free();
                if to != reg {
                    function.put(op::load(8, to, reg, 8));
                    function.hold(to, Held::Object { null: true, owned: false });
                }
            }
            function.in_argument(1, reg);
            function.put(op::add(1, 8));
            function.put(op::set(2, 0));
            function.put(op::helper(194));
            function.frame.call();
            function.hold(0, owned);
            function.frame.debts += 1;
            let task = function.free_kept();
            function.copy(task, 0);
            function.hold(0, Held::Nothing);
            function.test_for_null(task, |function| give_back(function, task));
        });
    }
}
