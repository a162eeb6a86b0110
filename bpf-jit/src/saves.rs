//! Main functions that tail calls enter keep no registers: who calls one has saved them.
//!
//! Cranelift saves, in every function, what C wants kept:
//!
//! ```text
//!   sub $32,%rsp                                                  sub $32,%rsp
//!   mov %rbx,16(%rsp); mov %r12,24(%rsp)         becomes
//!   ...                                                           ...
//!   mov 16(%rsp),%rbx; mov 24(%rsp),%r12
//!   mov %rbp,%rsp; pop %rbp; ret                                  mov %rbp,%rsp; pop %rbp; ret
//! ```
//!
//! If nothing else is on the stack, there is no room made either. Registers that are saved have no
//! other value when a function begins, and where they are saved lies nothing else.

use crate::finish::{Item, Kind, MOV_RBP_RSP, POP_RBP, adds_room, is_indirect_jump, takes_room};

/// rbx, r12, r13, r14, by their numbers: what C wants kept, but for the frame pointer and the count.
pub(crate) const KEPT: [u8; 4] = [3, 12, 13, 14];

/// `reg` and where it lies, counted from the stack pointer.
type Saved = (u8, i32);

/// Leaves out what a function whose frame begins at index `first` saves and restores, if all of it
/// is found.
pub(crate) fn leave_out(items: &mut [Item], first: usize, code: &[u8]) {
    let room = items.get(first).filter(|item| takes_room(item.bytes(code))).map(|_| first);
    let Some(room) = room else { return };
    let saved: Vec<Saved> =
        items[room + 1..].iter().map_while(|item| saved(item.bytes(code))).collect();
    let Some(mut restores) = all_restores(items, &saved, code) else { return };
    let saves = room + 1..room + 1 + saved.len();
    restores.extend(saves);
    for at in restores {
        items[at].kind = Kind::Gone;
    }
    let uses_frame = |item: &Item| item.by_stack && !matches!(item.kind, Kind::Gone);
    if items.iter().any(uses_frame) {
        return;
    }
    for item in items {
        if takes_room(item.bytes(code)) || adds_room(item.bytes(code)) {
            item.kind = Kind::Gone;
        }
    }
}

/// Where everything that was saved is restored, before each way out; `None` if it is not.
fn all_restores(items: &[Item], saved: &[Saved], code: &[u8]) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let bytes = item.bytes(code);
        if !is_indirect_jump(bytes) && bytes != [0xc3] {
            continue;
        }
        let before = |at: usize| at.checked_sub(1).map(|at| (at, items[at].bytes(code)));
        let (pop, bytes) = before(at)?;
        (bytes == POP_RBP).then_some(())?;
        let (mut last, bytes) = before(pop)?;
        (bytes == MOV_RBP_RSP).then_some(())?;
        if let (added, true) = before(last).map(|(at, bytes)| (at, adds_room(bytes)))? {
            last = added;
        }
        let first = last.checked_sub(saved.len())?;
        let restores = items[first..last].iter().map(|item| restored(item.bytes(code)));
        restores.eq(saved.iter().copied().map(Some)).then_some(())?;
        found.extend(first..last);
    }
    Some(found)
}

/// `mov %reg,at(%rsp)` of a register that is kept.
fn saved(bytes: &[u8]) -> Option<Saved> {
    moved(bytes, 0x89)
}

/// `mov at(%rsp),%reg` of a register that is kept.
fn restored(bytes: &[u8]) -> Option<Saved> {
    moved(bytes, 0x8b)
}

fn moved(bytes: &[u8], opcode: u8) -> Option<Saved> {
    let &[rex @ (0x48 | 0x4c), op, mod_rm, 0x24, ref at @ ..] = bytes else { return None };
    let at = match (mod_rm & 0xc7, at) {
        (0x04, []) => 0,
        (0x44, [at]) => i32::from(at.cast_signed()),
        (0x84, at) => i32::from_le_bytes(at.try_into().ok()?),
        _ => return None,
    };
    let reg = (rex & 4) << 1 | mod_rm >> 3 & 7;
    (op == opcode && KEPT.contains(&reg)).then_some((reg, at))
}

#[cfg(test)]
mod tests {
    use crate::finish::{Entered, FRAME, finish};

    const TAKE: &[u8] = &[0x48, 0x83, 0xec, 0x10];
    /// `mov %rbx,(%rsp); mov %r12,8(%rsp)`.
    const SAVE: &[u8] = &[0x48, 0x89, 0x1c, 0x24, 0x4c, 0x89, 0x64, 0x24, 8];
    /// `mov (%rsp),%rbx; mov 8(%rsp),%r12`.
    const RESTORE: &[u8] = &[0x48, 0x8b, 0x1c, 0x24, 0x4c, 0x8b, 0x64, 0x24, 8];
    const ADD: &[u8] = &[0x48, 0x83, 0xc4, 0x10];
    const RETURN: &[u8] = &[0x48, 0x89, 0xec, 0x5d, 0xc3];
    const JUMP: &[u8] = &[0x48, 0x89, 0xec, 0x5d, 0x41, 0xff, 0xe2];
    /// `mov 4(%rsp),%eax`.
    const LOAD: &[u8] = &[0x8b, 0x44, 0x24, 4];
    const LEAVE: &[u8] = &[0xc9, 0xc3];

    /// Finished code of a main function, without its frame.
    fn finished(parts: &[&[u8]], saved: bool) -> Vec<u8> {
        let code = [&FRAME[4..], &parts.concat()].concat();
        let finished = finish(&code, &[], 0, Entered::AsMain { saved });
        assert!(finished.is_finished);
        assert!(finished.bytes.starts_with(&FRAME));
        finished.bytes[FRAME.len()..].to_vec()
    }

    #[test]
    fn what_is_saved_already_is_not_saved_again() {
        let code = [TAKE, SAVE, RESTORE, ADD, RETURN];
        assert_eq!(finished(&code, true), LEAVE);
        assert_eq!(finished(&code, false), [TAKE, SAVE, RESTORE, LEAVE].concat());
        // A way out by a tail call, then one by a return.
        let code = [TAKE, SAVE, RESTORE, ADD, JUMP];
        assert_eq!(finished(&code, true), JUMP[4..]);
    }

    #[test]
    fn room_for_something_else_stays() {
        let code = [TAKE, SAVE, LOAD, RESTORE, ADD, RETURN];
        assert_eq!(finished(&code, true), [TAKE, LOAD, LEAVE].concat());
    }

    #[test]
    fn what_is_restored_on_one_way_only_stays() {
        // je to the second way out, which restores one register.
        let first = [RESTORE, ADD, RETURN].concat();
        let skip = [0x0f, 0x84, u8::try_from(first.len()).unwrap(), 0, 0, 0];
        let code = [TAKE, SAVE, &skip, &first, &RESTORE[..4], ADD, RETURN];
        let short = [0x74, u8::try_from(RESTORE.len() + LEAVE.len()).unwrap()];
        let kept = [TAKE, SAVE, &short, RESTORE, LEAVE, &RESTORE[..4], LEAVE].concat();
        assert_eq!(finished(&code, true), kept);
    }

    #[test]
    fn registers_that_c_lets_change_are_no_saves() {
        // mov %rcx,(%rsp)
        let spill: &[u8] = &[0x48, 0x89, 0x0c, 0x24];
        let code = [TAKE, spill, ADD, RETURN];
        assert_eq!(finished(&code, true), [TAKE, spill, LEAVE].concat());
    }
}
