//! Iterators over numbers and bits: `bpf_for`, `bpf_repeat`, `bpf_for_each(bits, …)`.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::iter::{BitsIter, NumIter};
use crate::helpers::args::{Int, MemOrNull};
use crate::helpers::known;

/// The most numbers. Linux: `BPF_MAX_LOOPS`.
const MOST_NUMBERS: i64 = 8 * 1024 * 1024;
/// The most words of bits. Linux: `BITS_ITER_NR_WORDS_MAX`.
const MOST_WORDS: u32 = 511;

helper! {
    /// Begins an iteration over the numbers from `start` to before `end`.
    0x7ffe_0006 Any => fn bpf_iter_num_new(_cx, it: NumIter<'a>, start: i32, end: i32) -> Int {
        it.set(0, 0);
        if start > end {
            return Err(Errno::EINVAL);
        }
        if i64::from(end) - i64::from(start) > MOST_NUMBERS {
            return Err(Errno::E2BIG);
        }
        it.set(start.wrapping_sub(1), end);
        Ok(0)
    }
}

helper! {
    /// Goes on to the next number, and returns where it is; null after the last.
    0x7ffe_0007 Any => fn bpf_iter_num_next(_cx, it: NumIter<'a>) -> MemOrNull {
        let (current, end) = it.get();
        // Before the first number, the one before it may have become the greatest.
        let next = current.wrapping_add(1);
        if next >= end {
            it.set(0, 0);
            return MemOrNull(None);
        }
        it.set(next, end);
        MemOrNull(Some(it.current()))
    }
}

helper! {
    /// Ends an iteration over numbers.
    0x7ffe_0008 Any => fn bpf_iter_num_destroy(_cx, it: NumIter<'a>) -> () {
        it.set(0, 0);
    }
}

helper! {
    /// Begins an iteration over the bits that are set in `nr_words` words at `unsafe_ptr`, of which
    /// it keeps a copy; what is readable is as for `probe_read_kernel`.
    0x7ffe_0009 Any => fn bpf_iter_bits_new(cx, it: BitsIter<'a>, unsafe_ptr: u64, nr_words: u32) -> Int {
        it.set(&[]);
        if unsafe_ptr == 0 || nr_words == 0 {
            return Err(Errno::EINVAL);
        }
        if nr_words > MOST_WORDS {
            return Err(Errno::E2BIG);
        }
        let bytes = known::bytes(cx, unsafe_ptr, 8 * nr_words as usize).ok_or(Errno::EFAULT)?;
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        it.set(&words);
        Ok(0)
    }
}

helper! {
    /// Goes on to the next bit that is set, and returns where its number is; null after the last.
    0x7ffe_000a Any => fn bpf_iter_bits_next(_cx, it: BitsIter<'a>) -> MemOrNull {
        MemOrNull(it.next())
    }
}

helper! {
    /// Ends an iteration over bits.
    0x7ffe_000b Any => fn bpf_iter_bits_destroy(_cx, it: BitsIter<'a>) -> () {
        it.end();
    }
}
