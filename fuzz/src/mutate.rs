//! Programs, spoilt.

use bpf_isa::Slot;
use bpf_isa::opcode::{Class, SOURCE_IS_REGISTER, imm_source, whole};

use crate::random::Random;

const IMMEDIATES: [i32; 18] =
    [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 255, -1, -8, 512, i32::MAX, i32::MIN];
const OFFSETS: [i16; 17] = [-8, -16, -4, 0, 1, 2, 3, 4, 8, -1, -2, -3, -5, -24, -512, 16, 20];
const CALLS: [i32; 16] = [1, 2, 3, 5, 6, 7, 9, 25, 26, 28, 65, 113, 181, 195, 86, 132];

/// Changes a few fields of a few instructions.
pub fn spoil(random: &mut Random, slots: &mut [Slot]) {
    for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3]) {
        change(random, slots);
    }
}

/// Whether the slot is one of the two of a wide immediate.
fn is_wide(slots: &[Slot], at: usize) -> bool {
    let wide = |at: usize| slots.get(at).is_some_and(|slot| slot.opcode == whole::LOAD_IMM64);
    wide(at) || at.checked_sub(1).is_some_and(wide)
}

fn change(random: &mut Random, slots: &mut [Slot]) {
    let (at, from) = (random.below(slots.len()), random.below(slots.len()));
    if is_wide(slots, at) {
        // Another map, or the same as a number.
        if slots[at].opcode == whole::LOAD_IMM64 && slots[at].src == imm_source::MAP_FD {
            slots[at].imm += random.between(-2, 2);
        }
        return;
    }
    let (other, other_is_wide) = (slots[from], is_wide(slots, from));
    let action = random.below(13);
    if matches!(action, 5 | 6) {
        if !other_is_wide {
            if action == 5 {
                slots[from] = slots[at];
            }
            slots[at] = other;
        }
        return;
    }
    let slot = &mut slots[at];
    let class = Class::of(slot.opcode);
    let computes = matches!(class, Some(Class::Alu32 | Class::Alu64));
    let jumps = matches!(class, Some(Class::Jmp | Class::Jmp32));
    match action {
        0 if slot.opcode == whole::CALL => slot.imm = random.pick(&CALLS),
        0 | 1 => slot.imm = random.pick(&IMMEDIATES),
        2 => slot.off = random.pick(&OFFSETS),
        3 => slot.dst = random.next().to_le_bytes()[0] % 11,
        4 => slot.src = random.next().to_le_bytes()[0] % 11,
        7 if computes || jumps => slot.opcode ^= SOURCE_IS_REGISTER,
        8 if jumps => {
            let condition = random.next().to_le_bytes()[0] % 14;
            slot.opcode = (slot.opcode & 0x0f) | condition << 4;
        }
        9 if computes => {
            let operation = random.next().to_le_bytes()[0] % 14;
            slot.opcode = (slot.opcode & 0x0f) | operation << 4;
        }
        10 if computes || jumps => slot.opcode ^= 3,
        11 if !computes && !jumps => {
            slot.opcode = (slot.opcode & !0x18) | random.pick(&[0, 8, 0x10, 0x18]);
        }
        12 => slot.opcode = random.next().to_le_bytes()[0],
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op;

    #[test]
    fn wide_immediates_keep_both_slots() {
        let wide = [op::slot(whole::LOAD_IMM64, 1, 1, 0, 100), Slot::default()];
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let mut slots = [op::set(0, 1), wide[0], wide[1], op::add(0, 2), op::exit()];
            spoil(&mut random, &mut slots);
            assert_eq!(slots[1].opcode, whole::LOAD_IMM64);
            assert_eq!(slots[2], Slot::default());
        }
    }
}
