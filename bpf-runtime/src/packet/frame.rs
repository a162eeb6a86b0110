//! A packet's bytes, with room before and behind them.

use std::cell::{Cell, RefCell};

use crate::memory::Memory;

/// How many bytes a fragment holds: a page.
const FRAGMENT: usize = 4096;

/// A packet's bytes.
///
/// ```text
///   memory:  | room | metadata | packet ......... | room |      then fragments, elsewhere
///            0      meta       data               end
/// ```
///
/// Invariant: `meta <= data <= end <= memory.len()`.
#[derive(Debug)]
pub(crate) struct Frame {
    memory: RefCell<Memory>,
    meta: Cell<usize>,
    data: Cell<usize>,
    end: Cell<usize>,
    fragments: RefCell<Vec<Fragment>>,
    fragment_bytes: Cell<usize>,
}

/// A part of the packet behind its linear part.
#[derive(Debug)]
struct Fragment {
    /// As long as a fragment can be.
    memory: Memory,
    /// How much of it belongs to the packet.
    len: usize,
}

impl Fragment {
    fn of(bytes: &[u8]) -> Self {
        let memory = Memory::new(FRAGMENT);
        let _ = memory.write(0, bytes);
        Self { memory, len: bytes.len() }
    }
}

impl Frame {
    /// An empty packet, with this much memory.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            memory: RefCell::new(Memory::new(size)),
            meta: Cell::new(0),
            data: Cell::new(0),
            end: Cell::new(0),
            fragments: RefCell::new(Vec::new()),
            fragment_bytes: Cell::new(0),
        }
    }

    /// Makes it hold `bytes`, the first of them at `room`; what does not fit before `limit` goes
    /// into fragments.
    pub(crate) fn fill(&self, room: usize, limit: usize, bytes: &[u8]) {
        let linear = bytes.len().min(limit.saturating_sub(room));
        let (here, rest) = bytes.split_at(linear);
        if self.memory.borrow().len() < room + linear {
            *self.memory.borrow_mut() = Memory::new(room + linear);
        }
        let _ = self.memory.borrow().write(room, here);
        self.meta.set(room);
        self.data.set(room);
        self.end.set(room + linear);
        if !rest.is_empty() || self.fragment_bytes.get() != 0 {
            *self.fragments.borrow_mut() = rest.chunks(FRAGMENT).map(Fragment::of).collect();
        }
        self.fragment_bytes.set(rest.len());
    }

    /// Where the metadata begins.
    #[inline]
    pub(crate) fn meta(&self) -> usize {
        self.meta.get()
    }

    /// Where the packet begins.
    #[inline]
    pub(crate) fn data(&self) -> usize {
        self.data.get()
    }

    /// Where its linear part ends.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.end.get()
    }

    /// How many bytes the memory has.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.memory.borrow().len()
    }

    /// How many bytes of the packet lie in the memory.
    #[inline]
    pub(crate) fn linear_len(&self) -> usize {
        self.end() - self.data()
    }

    /// How many bytes the packet has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.linear_len() + self.fragment_bytes.get()
    }

    /// How many bytes are in fragments.
    pub(crate) fn fragment_len(&self) -> usize {
        self.fragment_bytes.get()
    }

    /// The address of the byte at `at`, for programs.
    #[inline]
    pub(crate) fn address(&self, at: usize) -> u64 {
        self.memory.borrow().address() + at as u64
    }

    /// Moves the beginnings, or refuses if they would not lie in order.
    #[inline]
    pub(crate) fn place(&self, meta: usize, data: usize, end: usize) -> Option<()> {
        if meta > data || data > end || end > self.capacity() {
            return None;
        }
        self.meta.set(meta);
        self.data.set(data);
        self.end.set(end);
        Some(())
    }

    /// Moves bytes within the memory.
    pub(crate) fn shift(&self, from: usize, to: usize, len: usize) -> Option<()> {
        self.memory.borrow().shift(from, to, len)
    }

    /// Writes zeros into the memory.
    pub(crate) fn clear(&self, at: usize, len: usize) -> Option<()> {
        self.memory.borrow().clear(at, len)
    }

    /// Reads from the memory, by its own offsets.
    #[inline]
    pub(crate) fn peek(&self, at: usize, out: &mut [u8]) -> Option<()> {
        self.memory.borrow().read(at, out)
    }

    /// Writes to the memory, by its own offsets.
    pub(crate) fn poke(&self, at: usize, bytes: &[u8]) -> Option<()> {
        self.memory.borrow().write(at, bytes)
    }

    /// Copies the packet's bytes at `at`, fragments included.
    #[inline]
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) -> Option<()> {
        if at.checked_add(out.len())? <= self.linear_len() {
            return self.memory.borrow().read(self.data() + at, out);
        }
        self.read_pieces(at, out)
    }

    /// As [`read`](Self::read), if the bytes are not all in the linear part.
    #[cold]
    fn read_pieces(&self, at: usize, out: &mut [u8]) -> Option<()> {
        if at.checked_add(out.len())? > self.len() {
            return None;
        }
        let linear = self.linear_len();
        let here = out.len().min(linear.saturating_sub(at));
        let (now, rest) = out.split_at_mut(here);
        if !now.is_empty() {
            self.memory.borrow().read(self.data() + at, now)?;
        }
        let mut skip = at.saturating_sub(linear);
        let mut rest = rest;
        for fragment in self.fragments.borrow().iter() {
            if rest.is_empty() {
                break;
            }
            let Some(count) = fragment.len.checked_sub(skip) else {
                skip -= fragment.len;
                continue;
            };
            let (now, later) = rest.split_at_mut(count.min(rest.len()));
            fragment.memory.read(skip, now)?;
            skip = 0;
            rest = later;
        }
        Some(())
    }

    /// Changes the packet's bytes at `at`, fragments included.
    #[inline]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        if at.checked_add(bytes.len())? <= self.linear_len() {
            return self.memory.borrow().write(self.data() + at, bytes);
        }
        self.write_pieces(at, bytes)
    }

    /// As [`write`](Self::write), if the bytes do not all go into the linear part.
    #[cold]
    fn write_pieces(&self, at: usize, bytes: &[u8]) -> Option<()> {
        if at.checked_add(bytes.len())? > self.len() {
            return None;
        }
        let linear = self.linear_len();
        let (now, mut rest) = bytes.split_at(bytes.len().min(linear.saturating_sub(at)));
        if !now.is_empty() {
            self.memory.borrow().write(self.data() + at, now)?;
        }
        let mut skip = at.saturating_sub(linear);
        for fragment in self.fragments.borrow().iter() {
            if rest.is_empty() {
                break;
            }
            let Some(count) = fragment.len.checked_sub(skip) else {
                skip -= fragment.len;
                continue;
            };
            let (now, later) = rest.split_at(count.min(rest.len()));
            fragment.memory.write(skip, now)?;
            skip = 0;
            rest = later;
        }
        Some(())
    }

    /// The address of `len` bytes of the packet, counted from the data, if they lie one after the
    /// other: in the linear part, or in one fragment. It holds until the packet moves.
    ///
    /// Linux: `bpf_xdp_pointer`.
    pub(crate) fn contiguous(&self, at: usize, len: usize) -> Option<u64> {
        if at.checked_add(len)? > self.len() {
            return None;
        }
        let linear = self.linear_len();
        if at < linear || self.fragments.borrow().is_empty() {
            return (at + len <= linear).then(|| self.address(self.data() + at));
        }
        let mut skip = at - linear;
        for fragment in self.fragments.borrow().iter() {
            if skip < fragment.len {
                let fits = skip + len <= fragment.len;
                return fits.then(|| fragment.memory.address() + skip as u64);
            }
            skip -= fragment.len;
        }
        None
    }

    /// Makes the fragments longer by `grow` zero bytes, within the last one's page.
    pub(crate) fn grow_fragments(&self, grow: usize) -> Option<()> {
        let mut fragments = self.fragments.borrow_mut();
        let last = fragments.last_mut()?;
        if last.len + grow > FRAGMENT {
            return None;
        }
        last.memory.clear(last.len, grow)?;
        last.len += grow;
        self.fragment_bytes.set(self.fragment_bytes.get() + grow);
        Some(())
    }

    /// Makes the fragments shorter by up to `shrink` bytes; says by how many.
    pub(crate) fn shrink_fragments(&self, shrink: usize) -> usize {
        let mut fragments = self.fragments.borrow_mut();
        let mut left = shrink;
        while left > 0 {
            let Some(last) = fragments.last_mut() else { break };
            let cut = last.len.min(left);
            last.len -= cut;
            left -= cut;
            if last.len == 0 {
                fragments.pop();
            }
        }
        self.fragment_bytes.set(self.fragment_bytes.get() - (shrink - left));
        shrink - left
    }

    /// Replaces the memory by one with at least `head` bytes before the metadata and `tail`
    /// behind the packet.
    pub(crate) fn reserve(&self, head: usize, tail: usize) {
        let have_head = self.meta();
        let have_tail = self.capacity() - self.end();
        if have_head >= head && have_tail >= tail {
            return;
        }
        let (head, tail) = (head.max(have_head), tail.max(have_tail));
        let used = self.end() - self.meta();
        let bytes = self.memory.borrow().copy(self.meta(), used);
        let memory = Memory::new(head + used + tail);
        let _ = memory.write(head, &bytes);
        *self.memory.borrow_mut() = memory;
        let by = head - have_head;
        self.meta.set(self.meta() + by);
        self.data.set(self.data() + by);
        self.end.set(self.end() + by);
    }

    /// A copy of the packet, fragments included.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        let _ = self.read(0, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Frame {
        let frame = Frame::new(64);
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        frame.fill(16, 32, &bytes);
        frame
    }

    #[test]
    fn fragments_continue_the_packet() {
        let frame = frame(10_000);
        assert_eq!((frame.linear_len(), frame.len()), (16, 10_000));
        let all = frame.to_vec();
        for (at, len) in
            [(0, 10_000), (10, 20), (16, 4096), (15, 2), (4111, 2), (9_999, 1), (8_208, 1_000)]
        {
            let mut out = vec![0; len];
            frame.read(at, &mut out).unwrap();
            assert_eq!(out, all[at..at + len], "{len} bytes at {at}");
            frame.write(at, &out).unwrap();
            assert_eq!(frame.to_vec(), all);
        }
        assert_eq!(frame.read(9_999, &mut [0; 2]), None);
        assert_eq!(frame.write(usize::MAX, &[0; 2]), None);
    }

    #[test]
    fn a_write_changes_what_it_names_and_nothing_else() {
        let frame = frame(5_000);
        let mut expected = frame.to_vec();
        frame.write(14, &[7; 4100]).unwrap();
        expected[14..4114].fill(7);
        assert_eq!(frame.to_vec(), expected);
    }

    #[test]
    fn fragments_shrink_from_the_end() {
        let frame = frame(5_000);
        assert_eq!(frame.shrink_fragments(1_000), 1_000);
        assert_eq!(frame.len(), 4_000);
        assert_eq!(frame.shrink_fragments(10_000), 3_984);
        assert_eq!(frame.len(), 16);
    }

    #[test]
    fn what_lies_in_one_piece_has_an_address() {
        let frame = frame(10_000);
        let linear = frame.address(frame.data());
        assert_eq!(frame.contiguous(0, 16), Some(linear));
        assert_eq!(frame.contiguous(4, 12), Some(linear + 4));
        assert_eq!(frame.contiguous(4, 13), None, "goes on in a fragment");
        let first = frame.contiguous(16, 4096).unwrap();
        assert_eq!(frame.contiguous(20, 4092), Some(first + 4));
        assert_eq!(frame.contiguous(20, 4093), None, "goes on in the next");
        assert!(frame.contiguous(4112, 4096).is_some());
        assert!(frame.contiguous(9_999, 1).is_some());
        assert_eq!(frame.contiguous(9_999, 2), None, "ends before");
        assert_eq!(frame.contiguous(usize::MAX, 2), None);
    }

    #[test]
    fn a_reservation_keeps_the_bytes() {
        let frame = frame(16);
        let before = frame.to_vec();
        frame.reserve(1_000, 1_000);
        assert!(frame.meta() >= 1_000 && frame.capacity() - frame.end() >= 1_000);
        assert_eq!(frame.to_vec(), before);
    }
}
