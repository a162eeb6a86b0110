//! Copies of bytes that belong to programs, which programs on other threads may be changing.
//!
//! Bytes are moved by atomic accesses as wide as their addresses and their number allow.
#![expect(unsafe_code, reason = "touches memory that programs address")]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use smallvec::SmallVec;

use super::address;

/// A byte that programs on other threads may be changing.
///
/// # Safety
///
/// There must be a byte at `at` for `'a`.
pub(super) unsafe fn byte_at<'a>(at: u64) -> &'a AtomicU8 {
    // SAFETY: [helper-args] the caller's promise; every address is aligned for a byte.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU8>(address(at)) }
}

/// Two bytes that programs on other threads may be changing.
///
/// # Safety
///
/// There must be two bytes at `at`, a multiple of 2, for `'a`.
unsafe fn two_at<'a>(at: u64) -> &'a AtomicU16 {
    // SAFETY: [helper-args] the caller's promise.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU16>(address(at)) }
}

/// Four bytes that programs on other threads may be changing.
///
/// # Safety
///
/// There must be four bytes at `at`, a multiple of 4, for `'a`.
unsafe fn four_at<'a>(at: u64) -> &'a AtomicU32 {
    // SAFETY: [helper-args] the caller's promise.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU32>(address(at)) }
}

/// Eight bytes that programs on other threads may be changing.
///
/// # Safety
///
/// There must be eight bytes at `at`, a multiple of 8, for `'a`.
pub(super) unsafe fn word_at<'a>(at: u64) -> &'a AtomicU64 {
    // SAFETY: [helper-args] the caller's promise.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(address(at)) }
}

/// Room for so many bytes, all zero, on the stack if they are not many.
#[inline]
pub(crate) fn with_room<R>(len: usize, then: impl FnOnce(&mut [u8]) -> R) -> R {
    let (mut short, mut longer, mut long);
    let room = if len <= 64 {
        short = [0; 64];
        &mut short[..len]
    } else if len <= 512 {
        longer = [0; 512];
        &mut longer[..len]
    } else {
        long = vec![0; len];
        &mut long[..]
    };
    then(room)
}

/// A copy of `len` bytes.
///
/// # Safety
///
/// There must be so many bytes at `from`.
pub(super) unsafe fn copied<const N: usize>(from: u64, len: usize) -> SmallVec<[u8; N]>
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    let mut out = SmallVec::from_elem(0, len);
    // SAFETY: [helper-args] the caller's promise.
    unsafe { copy_in(from, &mut out) };
    out
}

/// Copies bytes out of memory that programs on other threads may be changing.
///
/// # Safety
///
/// There must be as many bytes at `from` as `out` has.
#[inline]
pub(super) unsafe fn copy_in(from: u64, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(before_word(from).min(out.len()));
    let (words, tail) = rest.as_chunks_mut::<8>();
    // SAFETY: [helper-args] the first of the caller's bytes.
    unsafe { few_in(from, head) };
    let mut at = from + head.len() as u64;
    for word in words {
        // SAFETY: [helper-args] eight of the caller's bytes, at a multiple of eight.
        *word = unsafe { word_at(at) }.load(Ordering::Relaxed).to_le_bytes();
        at += 8;
    }
    // SAFETY: [helper-args] the last of the caller's bytes.
    unsafe { few_in(at, tail) };
}

/// Copies fewer than eight bytes out.
///
/// # Safety
///
/// As of [`copy_in`].
#[inline]
unsafe fn few_in(from: u64, out: &mut [u8]) {
    let mut done = 0;
    while done < out.len() {
        let at = from + done as u64;
        if at.is_multiple_of(4)
            && let Some(four) = out[done..].first_chunk_mut()
        {
            // SAFETY: [helper-args] four of the caller's bytes, at a multiple of four.
            *four = unsafe { four_at(at) }.load(Ordering::Relaxed).to_le_bytes();
            done += 4;
        } else if at.is_multiple_of(2)
            && let Some(two) = out[done..].first_chunk_mut()
        {
            // SAFETY: [helper-args] two of the caller's bytes, at a multiple of two.
            *two = unsafe { two_at(at) }.load(Ordering::Relaxed).to_le_bytes();
            done += 2;
        } else {
            // SAFETY: [helper-args] one of the caller's bytes.
            out[done] = unsafe { byte_at(at) }.load(Ordering::Relaxed);
            done += 1;
        }
    }
}

/// Copies bytes into memory that programs on other threads may be reading.
///
/// # Safety
///
/// There must be as much memory at `to`, and it must be writable.
#[inline]
pub(super) unsafe fn copy_out(to: u64, bytes: &[u8]) {
    let (head, rest) = bytes.split_at(before_word(to).min(bytes.len()));
    let (words, tail) = rest.as_chunks::<8>();
    // SAFETY: [helper-args] the first of the caller's bytes.
    unsafe { few_out(to, head) };
    let mut at = to + head.len() as u64;
    for word in words {
        // SAFETY: [helper-args] eight of the caller's bytes, at a multiple of eight.
        unsafe { word_at(at) }.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        at += 8;
    }
    // SAFETY: [helper-args] the last of the caller's bytes.
    unsafe { few_out(at, tail) };
}

/// Copies fewer than eight bytes in.
///
/// # Safety
///
/// As of [`copy_out`].
#[inline]
unsafe fn few_out(to: u64, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let at = to + done as u64;
        if at.is_multiple_of(4)
            && let Some(four) = bytes[done..].first_chunk()
        {
            // SAFETY: [helper-args] four of the caller's bytes, at a multiple of four.
            unsafe { four_at(at) }.store(u32::from_le_bytes(*four), Ordering::Relaxed);
            done += 4;
        } else if at.is_multiple_of(2)
            && let Some(two) = bytes[done..].first_chunk()
        {
            // SAFETY: [helper-args] two of the caller's bytes, at a multiple of two.
            unsafe { two_at(at) }.store(u16::from_le_bytes(*two), Ordering::Relaxed);
            done += 2;
        } else {
            // SAFETY: [helper-args] one of the caller's bytes.
            unsafe { byte_at(at) }.store(bytes[done], Ordering::Relaxed);
            done += 1;
        }
    }
}

/// The bytes from `from` to the first zero.
///
/// # Safety
///
/// There must be a zero.
pub(super) unsafe fn terminated<const N: usize>(from: u64) -> SmallVec<[u8; N]>
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    let mut out = SmallVec::new();
    loop {
        // SAFETY: [helper-args] the caller's promise: the zero has not been passed yet.
        let byte = unsafe { byte_at(from + out.len() as u64) }.load(Ordering::Relaxed);
        if byte == 0 {
            return out;
        }
        out.push(byte);
    }
}

/// How many bytes lie between an address and the next multiple of eight.
#[inline]
const fn before_word(at: u64) -> usize {
    (at.wrapping_neg() & 7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_exact_at_every_alignment() {
        let memory = crate::memory::Memory::new(64);
        let bytes: Vec<u8> = (1..=40).collect();
        for at in 0..16 {
            for len in 0..=40 {
                let address = memory.address() + at;
                memory.clear(0, 64).unwrap();
                // SAFETY: the range lies in `memory`.
                unsafe { copy_out(address, &bytes[..len]) };
                // SAFETY: the range lies in `memory`.
                let back: SmallVec<[u8; 64]> = unsafe { copied(address, len) };
                assert_eq!(back[..], bytes[..len], "{len} bytes at {at}");
                let all = memory.copy(0, 64);
                assert_eq!(all.iter().filter(|byte| **byte != 0).count(), len, "{len} at {at}");
            }
        }
    }

    #[test]
    fn room_is_zero_and_as_long_as_asked_for() {
        for len in [0, 1, 64, 65, 512, 513, 5000] {
            assert!(with_room(len, |room| room.len() == len && room.iter().all(|byte| *byte == 0)));
        }
    }
}
