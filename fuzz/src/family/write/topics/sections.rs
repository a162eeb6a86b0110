//! Locks, and sections that nothing may interrupt.

use super::super::state::{AREA, Held, KEY, MORE};
use super::super::{Kind, Uses, Writer, map, place};
use crate::op::{self, FP};

/// Where the lock is in a value.
const LOCK: i32 = 16;

impl Writer<'_> {
    /// One of them.
    pub(super) fn section(&mut self) {
        if self.owes > 0 {
            self.arithmetic();
            return;
        }
        self.uses |= Uses::SECTIONS;
        match self.random.below(10) {
            0..5 if self.plan.kind != Kind::SocketFilter => self.lock(),
            5 if self.plan.kind != Kind::SocketFilter => self.change_locked(),
            0..8 => {
                self.kernel_function("bpf_rcu_read_lock");
                self.inside();
                self.kernel_function("bpf_rcu_read_unlock");
            }
            8 => {
                self.kernel_function("bpf_preempt_disable");
                self.inside();
                self.kernel_function("bpf_preempt_enable");
            }
            _ => {
                self.stack_address(1, MORE);
                self.kernel_function("bpf_local_irq_save");
                self.inside();
                self.stack_address(1, MORE);
                self.kernel_function("bpf_local_irq_restore");
            }
        }
        self.hold(0, Held::Nothing);
    }

    fn inside(&mut self) {
        self.hold(0, Held::Nothing);
        self.owes += 1;
        match self.random.below(4) {
            0 => self.stack(),
            1 => self.look_up(),
            2 => self.atomic(),
            _ => self.arithmetic(),
        }
        self.owes -= 1;
    }

    fn locked_key(&mut self) {
        let key = self.random.between(0, 4);
        self.put(op::store_imm(4, FP, KEY, key));
        self.put_wide(1, 1, map(place::LOCKED), 0);
        self.stack_address(2, KEY);
    }

    /// A value, used while its lock is held.
    fn lock(&mut self) {
        let held = Held::Value(LOCK.to_le_bytes()[0]);
        self.locked_key();
        self.helper(1);
        self.unless_null(0, held, |writer| {
            let Some(kept) = writer.free_kept(held) else { return };
            writer.copy(kept, 0);
            let pin = writer.state.pins[usize::from(kept)].replace(held);
            writer.call_lock(kept, 93);
            writer.owes += 1;
            for _ in 0..=writer.random.below(2) {
                match writer.random.below(3) {
                    0 => writer.arithmetic(),
                    1 => writer.stack(),
                    _ => writer.use_memory(kept),
                }
            }
            writer.owes -= 1;
            writer.call_lock(kept, 94);
            writer.state.pins[usize::from(kept)] = pin;
        });
    }

    fn call_lock(&mut self, value: u8, helper: i32) {
        self.put(op::copy(1, value));
        self.put(op::add(1, LOCK));
        self.helper(helper);
        self.hold(0, Held::Nothing);
    }

    /// A value is set under its lock.
    fn change_locked(&mut self) {
        self.locked_key();
        self.stack_address(3, AREA);
        let flags = self.random.pick(&[0, 4, 4, 6, 5]);
        self.put(op::set(4, flags));
        self.helper(2);
    }
}
