//! Statements about maps.

use super::state::{AREA, Held, KEY};
use super::{Uses, Writer, map, place};
use crate::op::{self, FP};

/// Maps whose values programs look up: the map, its keys' size, how many bytes of a value there are.
const LOOKED_UP: [(usize, u8, u8); 8] = [
    (place::ARRAY, 4, 32),
    (place::ARRAY, 4, 32),
    (place::HASH, 4, 24),
    (place::HASH, 4, 24),
    (place::LRU, 8, 16),
    (place::PERCPU, 4, 24),
    (place::CONSTANT, 4, 32),
    (place::PERCPU_HASH, 4, 8),
];

impl Writer<'_> {
    /// A key where keys are made: a known one, or one of the run. Some are in no map.
    fn key(&mut self, size: u8) {
        if self.random.chance(50) {
            let key = self.random.between(0, 9);
            self.put(op::store_imm(size, FP, KEY, key));
        } else {
            let mask = self.random.pick(&[3, 7, 15]);
            let number = self.masked(mask);
            self.put(op::store(size, FP, KEY, number));
        }
    }

    /// The value at some key, if there is one.
    pub(super) fn look_up(&mut self) {
        self.uses |= Uses::MAPS;
        if self.random.chance(12) {
            self.look_up_in_inner();
            return;
        }
        let (number, key, value) = self.random.pick(&LOOKED_UP);
        self.key(key);
        self.put_wide(1, 1, map(number), 0);
        self.stack_address(2, KEY);
        self.helper(1);
        let held =
            if number == place::CONSTANT { Held::Constant(value) } else { Held::Value(value) };
        self.unless_null(0, held, |writer| writer.use_value(held));
    }

    /// What a map in a map holds.
    fn look_up_in_inner(&mut self) {
        self.key(4);
        self.put_wide(1, 1, map(place::OUTER), 0);
        self.stack_address(2, KEY);
        self.helper(1);
        self.unless_null(0, Held::Nothing, |writer| {
            writer.put(op::copy(1, 0));
            let key = writer.random.between(0, 4);
            writer.put(op::store_imm(4, FP, KEY, key));
            writer.stack_address(2, KEY);
            writer.helper(1);
            let held = Held::Value(16);
            writer.unless_null(0, held, |writer| writer.use_value(held));
        });
    }

    /// Uses a value that R0 points to.
    fn use_value(&mut self, held: Held) {
        let mut reg = 0;
        if self.random.chance(50)
            && let Some(kept) = self.free_kept(held)
        {
            self.copy(kept, 0);
            reg = kept;
        }
        self.use_memory(reg);
        if self.random.chance(40) {
            self.statements(1);
        }
    }

    /// A value that the program has the address of.
    pub(super) fn direct_value(&mut self) {
        self.uses |= Uses::MAPS;
        let (number, len) =
            self.random.pick(&[(place::OUT, 128_u8), (place::OUT, 128), (place::CONSTANT, 32)]);
        let len_used: u8 = self.random.pick(&[8, 16, 32]);
        let steps = usize::from((len - len_used) / 8);
        let off = 8 * i32::try_from(self.random.below(steps + 1)).unwrap_or(0);
        let held = if number == place::CONSTANT {
            Held::Constant(len_used)
        } else {
            Held::Value(len_used)
        };
        let reg = self.free(held);
        self.put_wide(reg, 2, map(number), off);
        self.hold(reg, held);
        self.use_memory(reg);
    }

    /// Sets or removes an entry.
    pub(super) fn change_map(&mut self) {
        self.uses |= Uses::MAPS;
        let (number, key) = self.random.pick(&[
            (place::HASH, 4),
            (place::HASH, 4),
            (place::ARRAY, 4),
            (place::LRU, 8),
            (place::PERCPU, 4),
            (place::PERCPU_HASH, 4),
        ]);
        self.key(key);
        self.put_wide(1, 1, map(number), 0);
        self.stack_address(2, KEY);
        if self.random.chance(35) {
            self.helper(3);
            return;
        }
        self.stack_address(3, AREA);
        let flags = self.random.pick(&[0, 0, 0, 1, 2, 3]);
        self.put(op::set(4, flags));
        self.helper(2);
    }

    /// A queue, a stack, a bloom filter or a ring buffer.
    pub(super) fn queue_or_ring(&mut self) {
        self.uses |= Uses::MAPS;
        let number = self.random.pick(&[place::QUEUE, place::STACK, place::BLOOM, place::RING]);
        self.put_wide(1, 1, map(number), 0);
        if number == place::RING {
            self.ring();
            return;
        }
        let word = i16::try_from(self.random.below(4)).unwrap_or(0);
        self.stack_address(2, AREA + 8 * word);
        // `bpf_map_push_elem`, `bpf_map_pop_elem`, `bpf_map_peek_elem`
        let helpers: &[i32] = if number == place::BLOOM { &[87, 89] } else { &[87, 87, 88, 89] };
        let helper = self.random.pick(helpers);
        if helper == 87 {
            let flags = if number == place::BLOOM { 0 } else { self.random.pick(&[0, 0, 2]) };
            self.put(op::set(3, flags));
        }
        self.helper(helper);
    }

    fn ring(&mut self) {
        match self.random.below(4) {
            0 => {
                // How much of it is taken: `bpf_ringbuf_query`.
                let what = self.random.between(0, 1);
                self.put(op::set(2, what));
                self.helper(134);
            }
            1 | 2 => {
                let (word, len) = (self.random.below(3), self.random.pick(&[1, 8, 13, 32]));
                self.stack_address(2, AREA + 8 * i16::try_from(word).unwrap_or(0));
                self.put(op::set(3, len));
                // Nobody is to be woken.
                self.put(op::set(4, 1));
                self.helper(130);
            }
            _ => self.reserve(),
        }
    }

    /// A record that is filled in place, and handed over or given up.
    fn reserve(&mut self) {
        self.put(op::set(2, 16));
        self.put(op::set(3, 0));
        self.helper(131);
        let words = [self.random.pick(&super::EDGES), self.random.pick(&super::EDGES)];
        // `bpf_ringbuf_submit`, `bpf_ringbuf_discard`
        let end = self.random.pick(&[132, 132, 133]);
        self.put(op::jump_if(op::JMP, op::EQ, 0, 0, 6));
        self.put(op::store_imm(8, 0, 0, words[0]));
        self.put(op::store_imm(8, 0, 8, words[1]));
        self.put(op::copy(1, 0));
        self.put(op::set(2, 1));
        self.put(op::helper(end));
        self.put(op::set(0, 1));
        self.state.call();
        self.hold(0, Held::Nothing);
    }
}
