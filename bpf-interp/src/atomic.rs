//! Accesses to memory that others may touch at the same time, by address.
//!
//! All go through the standard library's atomics, so that programs on many threads may share
//! map values: plain loads and stores are relaxed ones, which cost what ordinary ones cost. An
//! access that is not aligned is made byte by byte; the machine gives no promise about those
//! either.

use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use bpf_isa::{AtomicOp, Size};

use crate::alu::low;

/// A register's value as an address of this process.
#[inline(always)]
pub(crate) fn pointer<T>(address: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}

/// The bytes at `address` as a number.
///
/// # Safety
///
/// `[verified-memory]`: the bytes are memory of this process that may be read, and nobody holds a
/// Rust reference through which they are written.
#[expect(unsafe_code, reason = "memory by address")]
#[inline(always)]
pub(crate) unsafe fn load(size: Size, address: u64, ordering: Ordering) -> u64 {
    if address & u64::from(size.bytes() - 1) != 0 {
        // SAFETY: [verified-memory] passed on.
        return unsafe { load_bytes(size, address) };
    }
    match size {
        Size::B => {
            // SAFETY: [verified-memory] by the caller.
            let place = unsafe { AtomicU8::from_ptr(pointer(address)) };
            u64::from(place.load(ordering))
        }
        Size::H => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU16::from_ptr(pointer(address)) };
            u64::from(place.load(ordering))
        }
        Size::W => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU32::from_ptr(pointer(address)) };
            u64::from(place.load(ordering))
        }
        Size::DW => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU64::from_ptr(pointer(address)) };
            place.load(ordering)
        }
    }
}

/// A load that is not aligned.
///
/// # Safety
///
/// As [`load`].
#[expect(unsafe_code, reason = "memory by address")]
#[inline(never)]
unsafe fn load_bytes(size: Size, address: u64) -> u64 {
    (0..u64::from(size.bytes())).fold(0, |value, index| {
        // SAFETY: [verified-memory] by the caller; a byte is always aligned.
        let place = unsafe { AtomicU8::from_ptr(pointer(address.wrapping_add(index))) };
        value | u64::from(place.load(Ordering::Relaxed)) << (8 * index)
    })
}

/// Stores the low bytes of `value` at `address`.
///
/// # Safety
///
/// `[verified-memory]`: the bytes are memory of this process that may be written, and nobody holds
/// a Rust reference to them.
#[expect(unsafe_code, reason = "memory by address")]
#[inline(always)]
pub(crate) unsafe fn store(size: Size, address: u64, value: u64, ordering: Ordering) {
    if address & u64::from(size.bytes() - 1) != 0 {
        // SAFETY: [verified-memory] passed on.
        return unsafe { store_bytes(size, address, value) };
    }
    let [b0, b1, ..] = value.to_le_bytes();
    match size {
        Size::B => {
            // SAFETY: [verified-memory] by the caller.
            let place = unsafe { AtomicU8::from_ptr(pointer(address)) };
            place.store(b0, ordering);
        }
        Size::H => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU16::from_ptr(pointer(address)) };
            place.store(u16::from_le_bytes([b0, b1]), ordering);
        }
        Size::W => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU32::from_ptr(pointer(address)) };
            place.store(low(value), ordering);
        }
        Size::DW => {
            // SAFETY: [verified-memory] by the caller; aligned, as checked above.
            let place = unsafe { AtomicU64::from_ptr(pointer(address)) };
            place.store(value, ordering);
        }
    }
}

/// A store that is not aligned.
///
/// # Safety
///
/// As [`store`].
#[expect(unsafe_code, reason = "memory by address")]
#[inline(never)]
unsafe fn store_bytes(size: Size, address: u64, value: u64) {
    let bytes = value.to_le_bytes();
    for (index, byte) in (0..u64::from(size.bytes())).zip(bytes) {
        // SAFETY: [verified-memory] by the caller; a byte is always aligned.
        let place = unsafe { AtomicU8::from_ptr(pointer(address.wrapping_add(index))) };
        place.store(byte, Ordering::Relaxed);
    }
}

/// A read-modify-write of 4 or 8 bytes; yields what was there.
///
/// Those that yield the old value are full barriers, as the kernel's are; the others order
/// nothing.
///
/// # Safety
///
/// As [`store`]; `address` is a multiple of the size.
#[expect(unsafe_code, reason = "memory by address")]
#[inline]
pub(crate) unsafe fn read_modify_write(
    op: AtomicOp,
    size: Size,
    address: u64,
    src: u64,
    expected: u64,
) -> u64 {
    if size == Size::DW {
        // SAFETY: [verified-memory] by the caller.
        let place = unsafe { AtomicU64::from_ptr(pointer(address)) };
        return match op {
            AtomicOp::Add { fetch } => place.fetch_add(src, ordering(fetch)),
            AtomicOp::Or { fetch } => place.fetch_or(src, ordering(fetch)),
            AtomicOp::And { fetch } => place.fetch_and(src, ordering(fetch)),
            AtomicOp::Xor { fetch } => place.fetch_xor(src, ordering(fetch)),
            AtomicOp::Xchg => place.swap(src, Ordering::SeqCst),
            AtomicOp::CmpXchg => {
                either(place.compare_exchange(expected, src, Ordering::SeqCst, Ordering::SeqCst))
            }
        };
    }
    let (src, expected) = (low(src), low(expected));
    // SAFETY: [verified-memory] by the caller.
    let place = unsafe { AtomicU32::from_ptr(pointer(address)) };
    u64::from(match op {
        AtomicOp::Add { fetch } => place.fetch_add(src, ordering(fetch)),
        AtomicOp::Or { fetch } => place.fetch_or(src, ordering(fetch)),
        AtomicOp::And { fetch } => place.fetch_and(src, ordering(fetch)),
        AtomicOp::Xor { fetch } => place.fetch_xor(src, ordering(fetch)),
        AtomicOp::Xchg => place.swap(src, Ordering::SeqCst),
        AtomicOp::CmpXchg => {
            either(place.compare_exchange(expected, src, Ordering::SeqCst, Ordering::SeqCst))
        }
    })
}

const fn ordering(fetch: bool) -> Ordering {
    if fetch { Ordering::SeqCst } else { Ordering::Relaxed }
}

/// What was there, exchanged or not.
fn either<T>(result: Result<T, T>) -> T {
    result.unwrap_or_else(|found| found)
}
