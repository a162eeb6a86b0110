//! Iterators that a program has on its stack.
//!
//! ```text
//!   numbers                    bits
//!  +---------+-------+        +---------------------+----------+-------+
//!  | current |  end  |        | the word, or where  | how many | which |
//!  +---------+-------+        +---------------------+----------+-------+
//!   0         4               0                      8          12
//! ```
//!
//! What is given to the program is the address of the current number, or of the bit's.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};

use super::{Arg, Registers, address, arg, low, word_at};

/// Two halves of a word of an iterator, the one at the lower address first.
type Halves = (i32, i32);

/// An iterator over numbers. Linux: `struct bpf_iter_num_kern`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumIter<'a>(At<'a>);

/// An iterator over bits. Linux: `struct bpf_iter_bits_kern`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitsIter<'a>(At<'a>);

/// Where an iterator is.
#[derive(Clone, Copy, Debug)]
struct At<'a> {
    at: u64,
    borrowed: PhantomData<&'a ()>,
}

impl At<'_> {
    fn word(self, off: u64) -> u64 {
        // SAFETY: [helper-args] the verifier knows of an iterator there, aligned, or has room for
        // one; `off` is within it.
        unsafe { word_at(self.at + off) }.load(Ordering::Relaxed)
    }

    fn set_word(self, off: u64, word: u64) {
        // SAFETY: [helper-args] the same.
        unsafe { word_at(self.at + off) }.store(word, Ordering::Relaxed);
    }

    fn halves(self, off: u64) -> Halves {
        let word = self.word(off);
        (low(word).cast_signed(), low(word >> 32).cast_signed())
    }

    fn set_halves(self, off: u64, (first, second): Halves) {
        let (first, second) = (first.cast_unsigned(), second.cast_unsigned());
        self.set_word(off, u64::from(first) | u64::from(second) << 32);
    }
}

/// Defines the ways in which kernel functions take iterators.
macro_rules! iterators {
    ($($Type:ident)+) => { $(
        impl<'a> Arg<'a> for $Type<'a> {
            const PROTO: ArgProto = arg(ArgKind::Stack, TypeFlags::empty());

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                Self(At { at: registers.take(), borrowed: PhantomData })
            }
        }
    )+ };
}

iterators! { NumIter BitsIter }

impl NumIter<'_> {
    /// The current number, and that behind the last.
    pub(crate) fn get(self) -> (i32, i32) {
        self.0.halves(0)
    }

    /// Sets both.
    pub(crate) fn set(self, current: i32, end: i32) {
        self.0.set_halves(0, (current, end));
    }

    /// Where the current number is.
    pub(crate) const fn current(self) -> u64 {
        self.0.at
    }
}

impl BitsIter<'_> {
    /// Makes it one over the bits of these words, before the first.
    pub(crate) fn set(self, words: &[u64]) {
        let kept = match words {
            [] => 0,
            [word] => *word,
            more => {
                let words = Box::into_raw(Box::<[u64]>::from(more));
                words.cast::<u64>().expose_provenance() as u64
            }
        };
        self.0.set_word(0, kept);
        let bits = i32::try_from(64 * words.len()).unwrap_or(0);
        self.0.set_halves(8, (bits, -1));
    }

    /// Goes on to the next bit that is set, and says where its number is; nothing if there is none.
    pub(crate) fn next(self) -> Option<u64> {
        let (bits, bit) = self.0.halves(8);
        if bit >= bits {
            return None;
        }
        let mut next = usize::try_from(bit + 1).unwrap_or(0);
        let many = usize::try_from(bits).unwrap_or(0);
        while next < many {
            let rest = self.word(next / 64) >> (next % 64);
            if rest != 0 {
                next += rest.trailing_zeros() as usize;
                break;
            }
            next = (next / 64 + 1) * 64;
        }
        let next = i32::try_from(next).unwrap_or(bits).min(bits);
        self.0.set_halves(8, (bits, next));
        (next < bits).then_some(self.0.at + 12)
    }

    /// One of its words.
    fn word(self, index: usize) -> u64 {
        let (bits, _) = self.0.halves(8);
        let kept = self.0.word(0);
        if bits <= 64 {
            return kept;
        }
        let words = std::ptr::with_exposed_provenance::<u64>(address(kept));
        // SAFETY: [helper-args] an iterator over more than one word has them at the address that
        // `set` keeps, which programs cannot touch; the index is below their number.
        let word = unsafe { words.add(index) };
        // SAFETY: [helper-args] the same.
        unsafe { word.read() }
    }

    /// Gives back what it keeps.
    pub(crate) fn end(self) {
        let (bits, _) = self.0.halves(8);
        let many = usize::try_from(bits / 64).unwrap_or(0);
        if many <= 1 {
            return;
        }
        let words = std::ptr::with_exposed_provenance_mut::<u64>(address(self.0.word(0)));
        self.set(&[]);
        let Some(words) = NonNull::new(words) else { return };
        let words = NonNull::slice_from_raw_parts(words, many);
        // SAFETY: [helper-args] `set` made them of a box of so many words; the verifier lets a
        // program end an iterator once, and it is none of them any more.
        drop(unsafe { Box::from_raw(words.as_ptr()) });
    }
}
