//! The count of tail calls, tested and raised where it is.
//!
//! Cranelift reads and writes the register by moves of its own, and keeps them:
//!
//! ```text
//!   mov %r15,%rX; test %rX,%rX               becomes    test %r15,%r15
//!   mov %r15,%rX; lea 1(%rX),%rY; mov %rY,%r15          inc %r15
//! ```
//!
//! Neither X nor Y is read afterwards: whoever asks for the count asks once, and reads it anew the
//! next time (see `Lower::tail_call`, and `callback`, which does neither of these). The flags that
//! `inc` changes nobody reads: Cranelift lets nothing come between who sets them and who asks.

use crate::finish::{Item, Kind};

/// `test %r15,%r15`.
const TEST: &[u8] = &[0x4d, 0x85, 0xff];

/// `inc %r15`.
const RAISE: &[u8] = &[0x49, 0xff, 0xc7];

/// Rewrites the instructions. Those that jumps lead to stay.
pub(crate) fn in_place(items: &mut [Item], is_target: &[bool], code: &[u8]) {
    for at in 1..items.len() {
        let bytes = |at: usize| items.get(at).map_or(&[][..], |item| item.bytes(code));
        let Some(copy) = copied_from_count(bytes(at - 1)) else { continue };
        if is_target[at] {
            continue;
        }
        if tested(bytes(at)) == Some(copy) {
            items[at - 1].kind = Kind::Gone;
            items[at].kind = Kind::Written(TEST);
        } else if let Some((from, to)) = raised(bytes(at))
            && from == copy
            && copied_to_count(bytes(at + 1)) == Some(to)
            && !is_target[at + 1]
        {
            items[at - 1].kind = Kind::Gone;
            items[at].kind = Kind::Gone;
            items[at + 1].kind = Kind::Written(RAISE);
        }
    }
}

/// `reg` of `mov %r15,%reg`.
fn copied_from_count(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [rex @ (0x4c | 0x4d), 0x89, low @ 0xf8..=0xff] => Some((rex & 1) << 3 | low & 7),
        _ => None,
    }
}

/// `reg` of `mov %reg,%r15`.
fn copied_to_count(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [rex @ (0x49 | 0x4d), 0x89, low] if low & 0xc7 == 0xc7 => {
            Some((rex & 4) << 1 | low >> 3 & 7)
        }
        _ => None,
    }
}

/// `reg` of `test %reg,%reg`.
fn tested(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [rex @ (0x48 | 0x4d), 0x85, regs @ 0xc0..=0xff] if regs >> 3 & 7 == regs & 7 => {
            Some((rex & 1) << 3 | regs & 7)
        }
        _ => None,
    }
}

/// `from` and `to` of `lea 1(%from),%to`, or of `add $1,%from`, which is its own `to`.
fn raised(bytes: &[u8]) -> Option<(u8, u8)> {
    match *bytes {
        [rex @ 0x48..=0x4f, 0x8d, regs @ 0x40..=0x7f, 1] if rex & 2 == 0 && regs & 7 != 4 => {
            Some(((rex & 1) << 3 | regs & 7, (rex & 4) << 1 | regs >> 3 & 7))
        }
        [rex @ (0x48 | 0x49), 0x83, low @ 0xc0..=0xc7, 1]
        | [rex @ (0x48 | 0x49), 0x81, low @ 0xc0..=0xc7, 1, 0, 0, 0] => {
            let reg = (rex & 1) << 3 | low & 7;
            Some((reg, reg))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::finish::{Entered, finish};

    fn finished(code: &[u8]) -> Vec<u8> {
        finish(code, &[], 0, Entered::ByCalls).bytes
    }

    #[test]
    fn the_count_is_tested_where_it_is() {
        // mov %r15,%r9; test %r9,%r9; ret, and the same with %rax
        for code in
            [[0x4d, 0x89, 0xf9, 0x4d, 0x85, 0xc9, 0xc3], [0x4c, 0x89, 0xf8, 0x48, 0x85, 0xc0, 0xc3]]
        {
            assert_eq!(finished(&code), [0x4d, 0x85, 0xff, 0xc3]);
        }
        // Another register is tested, or two are.
        for code in [
            [0x4d, 0x89, 0xf9, 0x4d, 0x85, 0xd2, 0xc3],
            [0x4d, 0x89, 0xf9, 0x48, 0x85, 0xc9, 0xc3],
            [0x4d, 0x89, 0xf9, 0x4d, 0x85, 0xca, 0xc3],
        ] {
            assert_eq!(finished(&code), code);
        }
    }

    #[test]
    fn the_count_is_raised_where_it_is() {
        // mov %r15,%r11; lea 1(%r11),%rax; mov %rax,%r15; ret
        let lea = [0x4d, 0x89, 0xfb, 0x49, 0x8d, 0x43, 1, 0x49, 0x89, 0xc7, 0xc3];
        // mov %r15,%rcx; add $1,%rcx; mov %rcx,%r15; ret
        let add = [0x4c, 0x89, 0xf9, 0x48, 0x83, 0xc1, 1, 0x49, 0x89, 0xcf, 0xc3];
        for code in [lea, add] {
            assert_eq!(finished(&code), [0x49, 0xff, 0xc7, 0xc3]);
        }
        // What is written is not what was raised.
        let other = [0x4c, 0x89, 0xf9, 0x48, 0x83, 0xc1, 1, 0x49, 0x89, 0xd7, 0xc3];
        assert_eq!(finished(&other), other);
    }

    #[test]
    fn what_is_jumped_to_stays() {
        // je to the test; mov %r15,%r9; test %r9,%r9; ret
        let code = [0x74, 3, 0x4d, 0x89, 0xf9, 0x4d, 0x85, 0xc9, 0xc3];
        let long = [&[0x0f, 0x84, 3, 0, 0, 0][..], &code[2..]].concat();
        assert_eq!(finished(&long), code);
    }
}
