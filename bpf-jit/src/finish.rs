//! The last touch on machine code: short jumps, and loops that lie in as few lines as they can.
//!
//! Cranelift writes every jump with a displacement of 32 bits and puts blocks where they come.
//! Processors take loops from a cache of decoded instructions, line by line of 64 bytes, and
//! take a comparison and a jump as one only if their numbers are small enough. A loop of five
//! instructions is up to three times faster when it lies in one line and jumps short.
//!
//! Code is taken apart into instructions, which are then put down again:
//!
//! ```text
//!   jne far      0f 85 rel32    becomes    jne near    75 rel8
//!   jmp far      e9 rel32       becomes    jmp near    eb rel8
//!   add $1,%rax  48 81 c0 imm32 becomes    add $1,%rax 48 83 c0 imm8
//!   a loop that crosses a line          is moved to where it crosses none, by nops before it
//!   add N,%rsp; mov %rbp,%rsp; pop %rbp     becomes    leave
//!   mov %rbp,%rsp; pop %rbp; jmp *%r10      becomes    mov %rbp,%rsp; jmp *%r10
//! ```
//!
//! Jumps are arranged anew where that makes loops shorter: see [`loops`]. Tail calls are counted in
//! place: see [`tally`]. They keep the frame pointer, and go to where the next program has set up
//! its own: see [`FRAME`]. What they enter saves no registers: see [`saves`]. What cannot be taken
//! apart stays as it is.

use bpf_abi::exec::ProgEntry;
use iced_x86::{Decoder, DecoderOptions, Instruction, Register};

use crate::{loops, saves, tally};

/// The line of the processor's caches, in bytes.
pub(crate) const LINE: usize = 64;

/// Loops of more bytes are not moved: to them a line more is little.
const LONGEST_LOOP: usize = 2 * LINE;

/// What aligns the constants behind the code.
const DATA_ALIGN: usize = 16;

/// What each main function's body begins with, a nop and `push %rbp; mov %rsp,%rbp`, which is what a
/// tail call does not do again: it leaves its frame but for the caller's frame pointer and its own,
/// which are those the next program would set up, and goes to behind these bytes.
///
/// The nop makes slot and frame such that what follows can begin a line: see [`BEFORE_LINE`].
pub(crate) const FRAME: [u8; 8] = [0x0f, 0x1f, 0x40, 0x00, 0x55, 0x48, 0x89, 0xe5];

/// Where a main function's body is put in a line if tail calls enter it: what they enter then begins
/// the next. A program that tail-calls after a helper returned takes five cycles if that is in one
/// line, and six if it is not.
pub(crate) const BEFORE_LINE: usize = LINE - FRAME.len();

/// What each function's body begins with.
const SETS_UP_FRAME: &[u8] = FRAME.split_at(4).1;

const _: () = assert!(FRAME.len() as u64 == ProgEntry::BEHIND_CALLED, "entries are behind it");

/// `mov %rbp,%rsp`, `pop %rbp`, and `leave`, which is both.
pub(crate) const MOV_RBP_RSP: [u8; 3] = [0x48, 0x89, 0xec];
pub(crate) const POP_RBP: [u8; 1] = [0x5d];
const LEAVE: &[u8] = &[0xc9];

/// `jmp` with a displacement of 8 bits, and with one of 32.
pub(crate) const JMP_SHORT: u8 = 0xeb;
const JMP_LONG: u8 = 0xe9;

/// An operation with a number of 32 bits, and with one of 8, sign-extended.
const WIDE: u8 = 0x81;
const NARROW: u8 = 0x83;

/// Nops of 0 to 9 bytes, as the processors' makers recommend them.
const NOPS: [&[u8]; 10] = [
    &[],
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

/// Finished code, and where things have got to.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The code, with its constants.
    pub(crate) bytes: Vec<u8>,
    /// Where each instruction was and is, in the order in which they were.
    moved: Vec<(usize, usize)>,
    /// Whether it was taken apart; otherwise its tail calls do not keep the frame pointer.
    pub(crate) is_finished: bool,
}

impl Finished {
    /// Where the byte is that was at `old`.
    pub(crate) fn place_of(&self, old: usize) -> usize {
        let next = self.moved.partition_point(|(was, _)| *was <= old);
        match next.checked_sub(1).and_then(|at| self.moved.get(at)) {
            Some((was, is)) => is + (old - was),
            None => old,
        }
    }
}

/// Who enters code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Those who call it.
    ByCalls,
    /// It is a main function's: tail calls do, past [`FRAME`].
    AsMain {
        /// Whether who calls it has saved what C wants kept.
        saved: bool,
    },
}

/// Finishes code that will lie `start` bytes into a line. `fixed` are the places of displacements
/// that are filled in later, in order.
pub(crate) fn finish(code: &[u8], fixed: &[usize], start: usize, entered: Entered) -> Finished {
    Finisher::read(code, fixed, start, entered)
        .and_then(|mut finisher| finisher.write(code))
        .unwrap_or_else(|| Finished {
            bytes: code.to_vec(),
            moved: vec![(0, 0)],
            is_finished: false,
        })
}

/// One instruction on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Where it was; nowhere if it was put in here.
    pub(crate) old: Option<usize>,
    /// How long it was.
    old_len: usize,
    /// Where it is.
    new: usize,
    pub(crate) kind: Kind,
    /// Whether nothing comes after it: a jump, a return, a trap.
    pub(crate) ends_flow: bool,
    /// Whether it reads or writes what is on the stack, other than to set up or leave the frame.
    pub(crate) by_stack: bool,
    /// If a loop begins here: the index of its last instruction.
    pub(crate) loop_end: Option<usize>,
}

/// What is to be known of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Nothing: it is the same wherever it is.
    Plain,
    /// It jumps to the instruction with index `to`, with the short form's opcode `opcode`.
    Jump { to: usize, opcode: u8, is_short: bool },
    /// It is these bytes now, which refer to nothing.
    Written(&'static [u8]),
    /// Others do its work.
    Gone,
    /// Its number of 32 bits is written with 8; its opcode is at this byte of it.
    Narrow { opcode: usize },
    /// It refers to a constant behind the code; its displacement is at this byte of it.
    Constant { field: usize, target: usize },
}

struct Finisher {
    items: Vec<Item>,
    /// Where the constants were; the length of the code if there are none.
    data: usize,
    start: usize,
}

impl Item {
    fn len(&self) -> usize {
        match self.kind {
            Kind::Jump { is_short: true, .. } => 2,
            Kind::Written(bytes) => bytes.len(),
            Kind::Gone => 0,
            Kind::Narrow { .. } => self.old_len - 3,
            Kind::Jump { opcode: JMP_SHORT, is_short: false, .. } => 5,
            Kind::Jump { is_short: false, .. } => 6,
            Kind::Plain | Kind::Constant { .. } => self.old_len,
        }
    }

    /// One that was not there.
    pub(crate) const fn made(kind: Kind) -> Self {
        Self {
            old: None,
            old_len: 0,
            new: 0,
            kind,
            ends_flow: false,
            by_stack: false,
            loop_end: None,
        }
    }

    /// Its bytes, as they were in `code`.
    pub(crate) fn bytes(self, code: &[u8]) -> &[u8] {
        self.old.and_then(|old| code.get(old..old + self.old_len)).unwrap_or_default()
    }
}

impl Finisher {
    /// Takes code apart; `None` if there is something in it that is not understood.
    fn read(code: &[u8], fixed: &[usize], start: usize, entered: Entered) -> Option<Self> {
        let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        let mut insn = Instruction::default();
        let mut items = Vec::with_capacity(code.len() / 4);
        let (mut data, mut farthest) = (code.len(), 0);
        let mut fixed = fixed.iter().peekable();
        while decoder.can_decode() && decoder.position() < data {
            let old = decoder.position();
            decoder.decode_out(&mut insn);
            if insn.is_invalid() {
                return None;
            }
            let old_len = insn.len();
            let bytes = code.get(old..old + old_len)?;
            let is_fixed = fixed.next_if(|at| **at < old + old_len).is_some();
            let kind = if is_fixed {
                Kind::Plain
            } else if let Some((opcode, displacement)) = long_jump(bytes) {
                let to = (old + old_len).checked_add_signed(displacement)?;
                farthest = farthest.max(to);
                Kind::Jump { to, opcode, is_short: false }
            } else if insn.is_ip_rel_memory_operand() {
                let target = usize::try_from(insn.ip_rel_memory_address()).ok()?;
                let field = decoder.get_constant_offsets(&insn).displacement_offset();
                data = data.min(target);
                Kind::Constant { field, target }
            } else if let Some(opcode) = wide_number(bytes) {
                Kind::Narrow { opcode }
            } else {
                Kind::Plain
            };
            let ends_flow = ends_flow(bytes);
            let by_stack = uses_stack(&insn, bytes);
            let is = Some(old);
            let item = Item { old: is, old_len, new: 0, kind, ends_flow, by_stack, loop_end: None };
            items.push(item);
            if ends_flow && farthest < old + old_len {
                break;
            }
        }
        let mut finisher = Self { items, data, start };
        finisher.link()?;
        if let Entered::AsMain { saved } = entered {
            if saved {
                saves::leave_out(&mut finisher.items, 2, code);
            }
            finisher.begin_frame(code)?;
        }
        let is_target = loops::targets(&finisher.items);
        finisher.keep_frames(code)?;
        finisher.leave(code, &is_target);
        tally::in_place(&mut finisher.items, &is_target, code);
        loops::turn(&mut finisher.items, &is_target);
        loops::rotate(&mut finisher.items);
        loops::find(&mut finisher.items);
        Some(finisher)
    }

    /// Where tail calls enter, the frame is set up by [`FRAME`].
    fn begin_frame(&mut self, code: &[u8]) -> Option<()> {
        code.starts_with(SETS_UP_FRAME).then_some(())?;
        self.items.insert(0, Item::made(Kind::Written(NOPS[FRAME.len() - SETS_UP_FRAME.len()])));
        for item in &mut self.items {
            if let Kind::Jump { to, .. } = &mut item.kind {
                *to += 1;
            }
        }
        Some(())
    }

    /// Tail calls keep the frame pointer; if nothing is below it, the stack pointer is there.
    fn keep_frames(&mut self, code: &[u8]) -> Option<()> {
        let has_room =
            |item: &Item| !matches!(item.kind, Kind::Gone) && takes_room(item.bytes(code));
        let is_empty = !self.items.iter().any(has_room);
        for at in 0..self.items.len() {
            if !is_indirect_jump(self.items[at].bytes(code)) {
                continue;
            }
            let (restore, pop) = (at.checked_sub(2)?, at.checked_sub(1)?);
            let is_epilogue = self.items[restore].bytes(code) == MOV_RBP_RSP
                && self.items[pop].bytes(code) == POP_RBP;
            is_epilogue.then_some(())?;
            self.items[pop].kind = Kind::Gone;
            if is_empty {
                self.items[restore].kind = Kind::Gone;
            }
        }
        Some(())
    }

    /// Where a frame is left, `leave` does all of it: what is added to the stack pointer before
    /// it is overwritten is lost.
    fn leave(&mut self, code: &[u8], is_target: &[bool]) {
        let bytes = |item: Item| item.bytes(code);
        for at in 1..self.items.len() {
            let (before, now) = (self.items[at - 1], self.items[at]);
            if bytes(now) != MOV_RBP_RSP || matches!(now.kind, Kind::Gone) {
                continue;
            }
            if adds_room(bytes(before)) {
                self.items[at - 1].kind = Kind::Gone;
            }
            let next = self.items.get(at + 1).copied();
            let is_popped =
                next.is_some_and(|next| bytes(next) == POP_RBP && !matches!(next.kind, Kind::Gone));
            if is_popped && !is_target[at + 1] {
                self.items[at].kind = Kind::Written(LEAVE);
                self.items[at + 1].kind = Kind::Gone;
            }
        }
    }

    /// Finds the instructions that jumps lead to.
    fn link(&mut self) -> Option<()> {
        for from in 0..self.items.len() {
            let Kind::Jump { to, opcode, is_short } = self.items[from].kind else { continue };
            let to = self.items.binary_search_by_key(&Some(to), |item| item.old).ok()?;
            self.items[from].kind = Kind::Jump { to, opcode, is_short };
        }
        Some(())
    }

    fn write(&mut self, code: &[u8]) -> Option<Finished> {
        // Whatever is short without nops is tried with them; what is then too far is long.
        let mut may_be_short = vec![true; self.items.len()];
        self.shorten(&may_be_short);
        loop {
            self.place_with_nops();
            let mut is_fine = true;
            for (at, may_be_short) in may_be_short.iter_mut().enumerate() {
                if let Kind::Jump { is_short: true, .. } = self.items[at].kind
                    && i8::try_from(self.distance(at)?).is_err()
                {
                    *may_be_short = false;
                    is_fine = false;
                }
            }
            if is_fine {
                return self.emit(code);
            }
            self.shorten(&may_be_short);
        }
    }

    /// Makes jumps short, as far as they may be, laid out without nops.
    fn shorten(&mut self, may_be_short: &[bool]) {
        for item in &mut self.items {
            if let Kind::Jump { is_short, .. } = &mut item.kind {
                *is_short = false;
            }
        }
        let mut changed = true;
        while changed {
            changed = false;
            let mut at = 0;
            for item in &mut self.items {
                item.new = at;
                at += item.len();
            }
            for (at, may_be_short) in may_be_short.iter().enumerate() {
                let Kind::Jump { to, opcode, is_short: false } = self.items[at].kind else {
                    continue;
                };
                let fits = self.distance(at).is_some_and(|far| (-125..=124).contains(&far));
                if fits && *may_be_short {
                    self.items[at].kind = Kind::Jump { to, opcode, is_short: true };
                    changed = true;
                }
            }
        }
    }

    /// How far the jump at index `at` goes, from its end.
    fn distance(&self, at: usize) -> Option<isize> {
        let Kind::Jump { to, .. } = self.items[at].kind else { return None };
        let end = self.items[at].new + self.items[at].len();
        self.items[to].new.checked_signed_diff(end)
    }

    /// Puts instructions down in order, moving loops to where they take as few lines as they can.
    fn place_with_nops(&mut self) {
        let mut at = 0;
        for number in 0..self.items.len() {
            if let Some(last) = self.items[number].loop_end {
                at += self.padding(number, last, at);
            }
            self.items[number].new = at;
            at += self.items[number].len();
        }
    }

    /// How many nops go before the loop of these instructions, were it to begin at `at`.
    fn padding(&self, first: usize, last: usize, at: usize) -> usize {
        // Loops inside of it have their own; then this one is not what is run most.
        let is_innermost = !self.items[first + 1..=last].iter().any(|item| item.loop_end.is_some());
        let len: usize = self.items[first..=last].iter().map(Item::len).sum();
        let into_line = (self.start + at) % LINE;
        let lines = (into_line + len).div_ceil(LINE);
        if !is_innermost || len > LONGEST_LOOP || lines <= len.div_ceil(LINE) {
            return 0;
        }
        LINE - into_line
    }

    /// Writes the instructions where they have been put.
    fn emit(&self, code: &[u8]) -> Option<Finished> {
        let mut bytes = Vec::with_capacity(code.len() + LINE);
        let end = self.items.last().map_or(0, |item| item.new + item.len());
        let has_data = self.data < code.len();
        let data = end + (self.data.wrapping_sub(end)) % DATA_ALIGN;
        for (at, item) in self.items.iter().enumerate() {
            while bytes.len() < item.new {
                let missing = (item.new - bytes.len()).min(NOPS.len() - 1);
                bytes.extend_from_slice(NOPS[missing]);
            }
            let old = item.bytes(code);
            match item.kind {
                Kind::Plain => bytes.extend_from_slice(old),
                Kind::Written(now) => bytes.extend_from_slice(now),
                Kind::Gone => {}
                Kind::Jump { opcode, is_short: true, .. } => {
                    let distance = i8::try_from(self.distance(at)?).ok()?;
                    bytes.extend_from_slice(&[opcode, distance.cast_unsigned()]);
                }
                Kind::Narrow { opcode } => {
                    bytes.extend_from_slice(old.get(..opcode)?);
                    bytes.push(NARROW);
                    bytes.extend_from_slice(old.get(opcode + 1..item.old_len - 3)?);
                }
                Kind::Jump { opcode, is_short: false, .. } => {
                    let distance = i32::try_from(self.distance(at)?).ok()?;
                    match opcode {
                        JMP_SHORT => bytes.push(JMP_LONG),
                        _ => bytes.extend_from_slice(&[0x0f, opcode + 0x10]),
                    }
                    bytes.extend_from_slice(&distance.to_le_bytes());
                }
                Kind::Constant { field, target } => {
                    let target = data + target.checked_sub(self.data)?;
                    let from = item.new + item.old_len;
                    let distance = i32::try_from(target.checked_signed_diff(from)?).ok()?;
                    bytes.extend_from_slice(old.get(..field)?);
                    bytes.extend_from_slice(&distance.to_le_bytes());
                    bytes.extend_from_slice(old.get(field + 4..)?);
                }
            }
        }
        if has_data {
            bytes.resize(data, 0xcc);
            bytes.extend_from_slice(code.get(self.data..)?);
        }
        let mut moved: Vec<(usize, usize)> =
            self.items.iter().filter_map(|item| Some((item.old?, item.new))).collect();
        moved.sort_unstable();
        Some(Finished { bytes, moved, is_finished: true })
    }
}

/// The short form's opcode and the displacement, if it is a jump with 32 bits of it.
fn long_jump(bytes: &[u8]) -> Option<(u8, isize)> {
    let (opcode, displacement) = match *bytes {
        [0x0f, opcode @ 0x80..=0x8f, a, b, c, d] => (opcode - 0x10, [a, b, c, d]),
        [JMP_LONG, a, b, c, d] => (JMP_SHORT, [a, b, c, d]),
        _ => return None,
    };
    Some((opcode, isize::try_from(i32::from_le_bytes(displacement)).ok()?))
}

/// Where the opcode is, if it is an operation with a number of 32 bits for which 8 are enough.
fn wide_number(bytes: &[u8]) -> Option<usize> {
    let opcode = match *bytes {
        [WIDE, ..] => 0,
        [0x40..=0x4f, WIDE, ..] => 1,
        _ => return None,
    };
    let number = i32::from_le_bytes(*bytes.last_chunk()?);
    i8::try_from(number).is_ok().then_some(opcode)
}

/// Whether nothing comes after the instruction: a jump, a return, a trap.
fn ends_flow(bytes: &[u8]) -> bool {
    is_indirect_jump(bytes) || matches!(*bytes, [0xe9, ..] | [0xeb, _] | [0xc3] | [0x0f, 0x0b])
}

/// Whether the instruction is `jmp *reg`: the end of a tail call.
pub(crate) const fn is_indirect_jump(bytes: &[u8]) -> bool {
    matches!(*bytes, [0xff, 0xe0..=0xe7] | [0x40..=0x4f, 0xff, 0xe0..=0xe7])
}

/// Whether the instruction is `sub $N,%rsp`.
pub(crate) const fn takes_room(bytes: &[u8]) -> bool {
    matches!(*bytes, [0x48, 0x83 | 0x81, 0xec, ..])
}

/// Whether the instruction is `add $N,%rsp`.
pub(crate) const fn adds_room(bytes: &[u8]) -> bool {
    matches!(*bytes, [0x48, 0x83 | 0x81, 0xc4, ..])
}

/// Whether the instruction has to do with what is on the stack, other than with frames.
fn uses_stack(insn: &Instruction, bytes: &[u8]) -> bool {
    let is_of_frames = takes_room(bytes)
        || adds_room(bytes)
        || bytes == MOV_RBP_RSP
        || SETS_UP_FRAME.ends_with(bytes);
    let is_stack = |register: Register| matches!(register, Register::RSP | Register::ESP);
    !is_of_frames
        && (is_stack(insn.memory_base())
            || is_stack(insn.memory_index())
            || (0..insn.op_count()).any(|op| is_stack(insn.op_register(op))))
}

#[cfg(test)]
mod tests {
    use super::{DATA_ALIGN, Entered, LINE, MOV_RBP_RSP};

    fn finish(code: &[u8], fixed: &[usize], start: usize) -> super::Finished {
        super::finish(code, fixed, start, Entered::ByCalls)
    }

    /// `body`, then a far `jne` back to its beginning, then `ret`.
    fn looping(before: usize, body: usize) -> Vec<u8> {
        let mut code = vec![0x90; before];
        code.extend(std::iter::repeat_n(0xf8, body));
        let back = -(i32::try_from(body).unwrap() + 6);
        code.extend([0x0f, 0x85]);
        code.extend(back.to_le_bytes());
        code.push(0xc3);
        code
    }

    /// Where the loop of `looping` begins and ends in finished code.
    fn loop_in(bytes: &[u8]) -> std::ops::Range<usize> {
        let first = bytes.iter().position(|byte| *byte == 0xf8).unwrap();
        first..bytes.len() - 1
    }

    #[test]
    fn near_jumps_become_short() {
        let finished = finish(&looping(3, 5), &[], 0);
        assert_eq!(
            finished.bytes,
            [0x90, 0x90, 0x90, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0x75, 0xf9, 0xc3]
        );
        assert_eq!([0, 3, 8, 14].map(|old| finished.place_of(old)), [0, 3, 8, 10]);
    }

    #[test]
    fn far_jumps_stay_far() {
        let code = looping(0, 300);
        assert_eq!(finish(&code, &[], 0).bytes, code);
    }

    #[test]
    fn a_short_loop_lies_in_one_line() {
        for start in [0, 8, 56] {
            for before in 0..130 {
                for body in [1, 5, 30, 62] {
                    let code = looping(before, body);
                    let finished = finish(&code, &[], start);
                    let lines = loop_in(&finished.bytes);
                    let (first, last) = (start + lines.start, start + lines.end - 1);
                    assert_eq!(first / LINE, last / LINE, "{start} {before} {body}");
                    assert_eq!(lines.len(), body + 2);
                }
            }
        }
    }

    #[test]
    fn forward_jumps_over_what_is_moved_still_arrive() {
        // jmp over a loop that is moved, to a ret.
        for distance in [40, 110, 120, 127, 200] {
            let inner = looping(distance, 40);
            let mut code = vec![0xe9];
            code.extend(i32::try_from(inner.len() - 1).unwrap().to_le_bytes());
            code.extend(&inner);
            let finished = finish(&code, &[], 0);
            let target = finished.bytes.len() - 1;
            let arrived = match finished.bytes[0] {
                0xeb => 2 + usize::from(finished.bytes[1]),
                _ => 5 + usize::from(finished.bytes[1]) + 256 * usize::from(finished.bytes[2]),
            };
            assert_eq!(arrived, target, "{distance}");
        }
    }

    #[test]
    fn constants_are_found_where_they_have_gone() {
        // A jump that becomes shorter; mov 0(%rip) to a constant; ret; the constant.
        let mut code = vec![0x0f, 0x84, 0, 0, 0, 0, 0x48, 0x8b, 0x05];
        code.extend(19i32.to_le_bytes());
        code.push(0xc3);
        code.resize(32, 0);
        code.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        let finished = finish(&code, &[], 0);
        assert_eq!(finished.bytes[..2], [0x74, 0]);
        assert_eq!(finished.bytes[finished.bytes.len() - 8..], [1, 2, 3, 4, 5, 6, 7, 8]);
        let from = finished.place_of(6) + 7;
        let displacement = usize::from(finished.bytes[from - 4]);
        assert_eq!(from + displacement, finished.bytes.len() - 8);
        assert_eq!((finished.bytes.len() - 8) % DATA_ALIGN, 0);
    }

    #[test]
    fn displacements_that_are_filled_in_later_are_left_alone() {
        let mut code = vec![0xe8, 0, 0, 0, 0];
        code.extend(looping(0, 1));
        let finished = finish(&code, &[1], 0);
        assert_eq!(finished.place_of(1), 1);
        assert_eq!(finished.bytes[..5], [0xe8, 0, 0, 0, 0]);
    }

    #[test]
    fn frames_are_left_by_one_instruction() {
        let code = [0x48, 0x83, 0xc4, 0x10, 0x48, 0x89, 0xec, 0x5d, 0xc3];
        let finished = finish(&code, &[], 0);
        assert_eq!(finished.bytes, [0xc9, 0xc3]);
        assert_eq!(finished.place_of(8), 1);
        // Who jumps to the second half finds it.
        let jump = [&[0x0f, 0x84, 3, 0, 0, 0][..], &[0x48, 0x89, 0xec, 0x5d, 0xc3]].concat();
        let expected = [0x74, 3, 0x48, 0x89, 0xec, 0x5d, 0xc3];
        assert_eq!(finish(&jump, &[], 0).bytes, expected);
    }

    #[test]
    fn tail_calls_keep_the_frame_pointer() {
        // mov %rbp,%rsp; pop %rbp; jmp *%r10, without a frame and with one
        let tail_call = [0x48, 0x89, 0xec, 0x5d, 0x41, 0xff, 0xe2];
        let finished = finish(&tail_call, &[], 0);
        assert!(finished.is_finished);
        assert_eq!(finished.bytes, [0x41, 0xff, 0xe2]);
        let sub = [0x48, 0x83, 0xec, 0x10];
        let with_room = [&sub[..], &tail_call].concat();
        let expected = [&sub[..], &MOV_RBP_RSP, &[0x41, 0xff, 0xe2]].concat();
        assert_eq!(finish(&with_room, &[], 0).bytes, expected);
        // One that leaves its frame in another way is not known to be a tail call.
        assert!(!finish(&tail_call[3..], &[], 0).is_finished);
    }

    #[test]
    fn small_numbers_take_one_byte() {
        let add = |number: i32| [&[0x49, 0x81, 0xc3][..], &number.to_le_bytes(), &[0xc3]].concat();
        for number in [-128_i32, -1, 0, 2, 127] {
            let short = [0x49, 0x83, 0xc3, number.to_le_bytes()[0], 0xc3];
            assert_eq!(finish(&add(number), &[], 0).bytes, short);
        }
        for number in [-129, 128, 1400] {
            assert_eq!(finish(&add(number), &[], 0).bytes, add(number));
        }
    }

    #[test]
    fn the_way_back_is_one_jump() {
        // top: clc; je out; jmp top; and what comes between that and out.
        let code = |between: u8| {
            let mut code =
                vec![0xf8, 0x0f, 0x84, 5 + between, 0, 0, 0, 0xe9, 0xf4, 0xff, 0xff, 0xff];
            code.extend((0..between).map(|_| 0xc3));
            code.push(0xc3);
            code
        };
        assert_eq!(finish(&code(0), &[], 0).bytes, [0xf8, 0x75, 0xfd, 0xc3]);
        let around = [0xf8, 0x75, 0xfd, 0xeb, 0x01, 0xc3, 0xc3];
        assert_eq!(finish(&code(1), &[], 0).bytes, around);
        // Not if someone else jumps to the second.
        let shared = [&[0xe9, 7, 0, 0, 0][..], &code(0)].concat();
        let kept = [0xeb, 3, 0xf8, 0x74, 2, 0xeb, 0xfb, 0xc3];
        assert_eq!(finish(&shared, &[], 0).bytes, kept);
    }

    #[test]
    fn a_latch_that_is_jumped_to_comes_before_its_loop() {
        // nop; top: clc; jne latch; stc; latch: cmc; jne top; ret
        let code = [
            0x90, 0xf8, 0x0f, 0x85, 1, 0, 0, 0, 0xf9, 0xf5, 0x0f, 0x85, 0xf1, 0xff, 0xff, 0xff,
            0xc3,
        ];
        let finished = finish(&code, &[], 0);
        // nop; jmp top; latch: cmc; je out; top: clc; jne latch; stc; jmp latch; out: ret
        let expected = [0x90, 0xeb, 3, 0xf5, 0x74, 6, 0xf8, 0x75, 0xfa, 0xf9, 0xeb, 0xf7, 0xc3];
        assert_eq!(finished.bytes, expected);
        assert_eq!([0, 1, 8, 9, 10, 16].map(|old| finished.place_of(old)), [0, 6, 9, 3, 4, 12]);
    }

    #[test]
    fn what_is_not_understood_stays() {
        for code in [&[0x06, 0x06][..], &[0x0f, 0x85, 1, 0, 0, 0, 0x0f, 0x1f, 0x00, 0xc3], &[]] {
            assert_eq!(finish(code, &[], 0).bytes, code);
        }
    }
}
