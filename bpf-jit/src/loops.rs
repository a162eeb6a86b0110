//! Where the jumps of loops go, and what lies next to what: one jump taken an iteration.
//!
//! Processors take at most one jump a cycle. Instructions are moved and jumps are turned around
//! so that no way through a loop takes more than it must:
//!
//! ```text
//!   top:   ...                          top:   ...
//!          je out              becomes         jne top
//!          jmp top                             jmp out      (if out is not next)
//!
//!          first                               first
//!   top:   ...                                 jmp top
//!          jne latch           becomes  latch: ...
//!          ...                                 je out
//!   latch: ...                          top:   ...
//!          jne top                             jne latch
//!   out:   ...                                 ...
//!                                              jmp latch
//!                                       out:   ...
//! ```

use crate::finish::{Item, JMP_SHORT, Kind};

/// How many instructions of a latch are moved at most.
const LONGEST_LATCH: usize = 8;

/// How many latches of a function are moved at most: each moves all that comes behind it.
const MOST_LATCHES: usize = 64;

/// The short forms of conditional jumps. The last bit says which way.
macro_rules! conditional {
    () => {
        0x70..=0x7f
    };
}

/// Which instructions jumps lead to.
pub(crate) fn targets(items: &[Item]) -> Vec<bool> {
    let mut is_target = vec![false; items.len()];
    for item in items {
        if let Kind::Jump { to, .. } = item.kind {
            is_target[to] = true;
        }
    }
    is_target
}

/// Where the way back to the beginning of a loop is two jumps, makes it one.
pub(crate) fn turn(items: &mut [Item], is_target: &[bool]) {
    for at in 1..items.len() {
        let (
            Kind::Jump { to: out, opcode: opcode @ conditional!(), is_short },
            Kind::Jump { to: back, opcode: JMP_SHORT, .. },
        ) = (items[at - 1].kind, items[at].kind)
        else {
            continue;
        };
        if back >= at || is_target[at] {
            continue;
        }
        items[at - 1].kind = Kind::Jump { to: back, opcode: opcode ^ 1, is_short };
        items[at].kind = if out == at + 1 {
            Kind::Gone
        } else {
            Kind::Jump { to: out, opcode: JMP_SHORT, is_short }
        };
    }
}

/// Moves the latches of loops to before the loops, where ways through the loop jump to them: from
/// there they go on in the loop without a jump.
///
/// A way that came to the latch without a jump now takes one, but none after it.
pub(crate) fn rotate(items: &mut Vec<Item>) {
    // Two latches cannot both come before a loop.
    let mut done = Vec::new();
    let mut end = 0;
    while end + 1 < items.len() && done.len() < MOST_LATCHES {
        if let Some(latch) = Latch::ending_at(items, end)
            && !done.contains(&items[latch.top].old)
        {
            done.push(items[latch.top].old);
            *items = latch.moved(items);
        }
        end += 1;
    }
}

/// Finds the loops: notes at each one's first instruction which is its last.
pub(crate) fn find(items: &mut [Item]) {
    for from in 0..items.len() {
        let Kind::Jump { to, .. } = items[from].kind else { continue };
        if to <= from {
            let end = &mut items[to].loop_end;
            *end = Some(end.map_or(from, |end| end.max(from)));
        }
    }
}

/// The latch of a loop that begins at `top`: the instructions from `first` to `last`, which is a
/// conditional jump to `top` and has an instruction after it.
#[derive(Clone, Copy, Debug)]
struct Latch {
    top: usize,
    first: usize,
    last: usize,
}

impl Latch {
    /// The latch whose last instruction this is, if it is worth moving.
    fn ending_at(items: &[Item], last: usize) -> Option<Self> {
        let Kind::Jump { to: top, opcode: conditional!(), .. } = items[last].kind else {
            return None;
        };
        let straight = (top + 1..last).rev().take(LONGEST_LATCH);
        let straight = straight.take_while(|at| flows(items[*at]) && is_no_jump(items[*at]));
        let first = straight.min()?;
        // The first place in it that the loop jumps to.
        let jumps = items[top..first].iter().filter_map(|item| {
            let Kind::Jump { to, opcode: conditional!(), .. } = item.kind else { return None };
            (first..last).contains(&to).then_some(to)
        });
        let first = jumps.min()?;
        Some(Self { top, first, last })
    }

    /// The instructions with the latch before its loop.
    fn moved(self, items: &[Item]) -> Vec<Item> {
        let Self { top, first, last } = self;
        let jump = |to| Item::made(Kind::Jump { to, opcode: JMP_SHORT, is_short: false });
        let mut new = Vec::with_capacity(items.len() + 2);
        let mut place = vec![0; items.len()];
        let mut put = |new: &mut Vec<Item>, range: std::ops::Range<usize>| {
            for at in range {
                place[at] = new.len();
                new.push(items[at]);
            }
        };
        put(&mut new, 0..top);
        if falls_into(items, top) {
            new.push(jump(top));
        }
        put(&mut new, first..last + 1);
        let way_back = new.len() - 1;
        put(&mut new, top..first);
        if falls_into(items, first) {
            new.push(jump(first));
        }
        put(&mut new, last + 1..items.len());
        // What jumped back goes on; what went on jumps.
        let next = items[last + 1].kind;
        let out = if let Kind::Jump { to, opcode: JMP_SHORT, .. } = next { to } else { last + 1 };
        if let Kind::Jump { to, opcode, .. } = &mut new[way_back].kind {
            *opcode ^= 1;
            *to = out;
        }
        for item in &mut new {
            if let Kind::Jump { to, .. } = &mut item.kind {
                *to = place[*to];
            }
        }
        new
    }
}

/// Whether the instruction before `at` goes on there; who enters the code goes on at its first.
fn falls_into(items: &[Item], at: usize) -> bool {
    let before = items[..at].iter().rev().find(|item| !matches!(item.kind, Kind::Gone));
    before.is_none_or(|item| flows(*item))
}

/// Whether an instruction may go on with the next.
const fn flows(item: Item) -> bool {
    !item.ends_flow && !matches!(item.kind, Kind::Jump { opcode: JMP_SHORT, .. })
}

const fn is_no_jump(item: Item) -> bool {
    !matches!(item.kind, Kind::Jump { .. })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, Instruction};

    use crate::finish::{Entered, finish};

    /// Numbers that look random and are always the same.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end as u64).unwrap()
        }
    }

    /// Jumps anywhere among `mov $n,%eax`, each with a number of its own; `ret` at the end.
    fn tangle(numbers: &mut Numbers, count: usize) -> Vec<u8> {
        let kinds: Vec<usize> = (0..count).map(|_| numbers.below(4)).collect();
        let len = |kind: &usize| [5, 5, 6, 5][*kind];
        let starts: Vec<usize> = (0..=count).map(|n| kinds[..n].iter().map(len).sum()).collect();
        let mut code = Vec::new();
        for (n, kind) in kinds.iter().enumerate() {
            let displacement = |numbers: &mut Numbers| {
                let to = starts[numbers.below(count + 1)];
                i32::try_from(to.checked_signed_diff(starts[n + 1]).unwrap()).unwrap()
            };
            match kind {
                2 => {
                    code.extend([0x0f, 0x80 + u8::try_from(numbers.below(16)).unwrap()]);
                    code.extend(displacement(numbers).to_le_bytes());
                }
                3 if numbers.below(2) == 0 => {
                    code.push(0xe9);
                    code.extend(displacement(numbers).to_le_bytes());
                }
                _ => {
                    code.push(0xb8);
                    code.extend(u32::try_from(n).unwrap().to_le_bytes());
                }
            }
        }
        code.push(0xc3);
        code
    }

    /// What happens on the way through `code`: numbers that are moved, and conditions that are
    /// asked; how these turn out, `seed` decides.
    fn way(code: &[u8], seed: u64) -> Vec<u32> {
        let mut numbers = Numbers(seed);
        let mut events = Vec::new();
        let mut at = 0;
        let mut insn = Instruction::default();
        for _ in 0..4000 {
            let mut decoder = Decoder::with_ip(64, &code[at..], at as u64, DecoderOptions::NONE);
            decoder.decode_out(&mut insn);
            let bytes = &code[at..at + insn.len()];
            let target = usize::try_from(insn.near_branch_target()).unwrap();
            at += insn.len();
            match *bytes {
                [0xc3] => {
                    events.push(u32::MAX);
                    return events;
                }
                [0xe9, ..] | [0xeb, _] => at = target,
                [0x0f, condition @ 0x80..=0x8f, ..] | [condition @ 0x70..=0x7f, _] => {
                    let condition = u32::from(condition & 15);
                    events.push(1000 + condition / 2);
                    if numbers.below(2) == (condition % 2) as usize {
                        at = target;
                    }
                }
                [0xb8, ..] => events.push(insn.immediate32()),
                _ => {}
            }
            if events.len() == 60 {
                break;
            }
        }
        events
    }

    #[test]
    fn whatever_is_moved_happens_in_the_same_order() {
        let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
        let mut changed = 0;
        for _ in 0..1500 {
            let count = 2 + numbers.below(30);
            let code = tangle(&mut numbers, count);
            let finished = finish(&code, &[], 8, Entered::ByCalls);
            changed += u32::from(finished.bytes.len() < code.len());
            for seed in 1..5 {
                assert_eq!(way(&code, seed), way(&finished.bytes, seed), "{code:x?}");
            }
        }
        assert!(changed > 1000, "{changed}");
    }
}
