//! Dynptrs: memory whose bounds are looked at when the program runs.
//!
//! ```text
//!   at        at + 8     at + 12
//!  +---------+----------+--------+
//!  | address |   size   |   0    |      on the program's stack, where it cannot look
//!  +---------+----------+--------+
//! ```
//!
//! An address of zero is no memory at all: a dynptr that could not be made.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use bpf_abi::errno::Errno;
use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};
use bpf_maps::types::ringbuf::RingBuf;
use smallvec::SmallVec;

use super::{Arg, MemOut, Record, Registers, arg, copied, copy_out, low, word_at};

/// The most bytes. Linux: `DYNPTR_MAX_SIZE`.
const MOST: u64 = (1 << 24) - 1;

/// A dynptr, where the program has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dynptr<'a> {
    at: u64,
    borrowed: PhantomData<&'a ()>,
}

impl Dynptr<'_> {
    /// The address and the number of bytes there.
    fn memory(&self) -> (u64, u64) {
        // SAFETY: [helper-args] the verifier knows of a dynptr there, of sixteen bytes, aligned.
        let address = unsafe { word_at(self.at) }.load(Ordering::Relaxed);
        // SAFETY: [helper-args] the same.
        let size = unsafe { word_at(self.at + 8) }.load(Ordering::Relaxed);
        (address, size)
    }

    fn set(&self, address: u64, size: u64) {
        // SAFETY: [helper-args] the verifier has room there for a dynptr, aligned.
        unsafe { word_at(self.at) }.store(address, Ordering::Relaxed);
        // SAFETY: [helper-args] the same.
        unsafe { word_at(self.at + 8) }.store(size, Ordering::Relaxed);
    }

    /// Makes it one of no memory.
    pub(crate) fn set_null(&self) {
        self.set(0, 0);
    }

    /// Where `len` bytes from `off` on are.
    ///
    /// # Errors
    ///
    /// Returns an error if it is none, or not so large.
    pub(crate) fn slice(&self, off: u64, len: u64) -> Result<u64, Errno> {
        let (address, size) = self.memory();
        if address == 0 {
            return Err(Errno::EINVAL);
        }
        let fits = len <= size && off <= size - len;
        if fits { Ok(address + off) } else { Err(Errno::E2BIG) }
    }

    /// A copy of `len` bytes from `off` on.
    pub(crate) fn read(&self, off: u64, len: usize) -> Result<SmallVec<[u8; 128]>, Errno> {
        let from = self.slice(off, len as u64)?;
        // SAFETY: [helper-args] the bytes are within what the dynptr was made of, which the
        // verifier sees to is there as long as the dynptr is.
        Ok(unsafe { copied(from, len) })
    }

    /// Writes bytes at `off`.
    pub(crate) fn write(&self, off: u64, bytes: &[u8]) -> Result<(), Errno> {
        let to = self.slice(off, bytes.len() as u64)?;
        // SAFETY: [helper-args] as for reading; none of memory that is only read is made here.
        unsafe { copy_out(to, bytes) };
        Ok(())
    }
}

/// Defines the ways in which helpers take dynptrs.
macro_rules! dynptrs {
    ($( $(#[$meta:meta])* $Type:ident $flags:expr; )+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $Type<'a>(Dynptr<'a>);

        impl<'a> Arg<'a> for $Type<'a> {
            const PROTO: ArgProto = arg(ArgKind::Dynptr, $flags);

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                Self(Dynptr { at: registers.take(), borrowed: PhantomData })
            }
        }
    )+ };
}

dynptrs! {
    /// One that is there.
    AnyDynptr TypeFlags::empty();
    /// Room for one of memory that the program has.
    LocalDynptrOut TypeFlags::DYNPTR_LOCAL.union(TypeFlags::UNINIT).union(TypeFlags::WRITE);
    /// Room for one of a record in a ring buffer.
    RecordDynptrOut TypeFlags::DYNPTR_RINGBUF.union(TypeFlags::UNINIT).union(TypeFlags::WRITE);
    /// One of a record in a ring buffer, given back.
    RecordDynptr TypeFlags::DYNPTR_RINGBUF.union(TypeFlags::RELEASE);
}

impl<'a> AnyDynptr<'a> {
    /// It.
    pub(crate) const fn get(self) -> Dynptr<'a> {
        self.0
    }
}

impl LocalDynptrOut<'_> {
    /// Makes one of this memory.
    ///
    /// # Errors
    ///
    /// Returns an error if it is too large.
    pub(crate) fn set(&self, memory: &MemOut<'_>) -> Result<(), Errno> {
        let size = memory.len as u64;
        if size > MOST {
            return Err(Errno::E2BIG);
        }
        self.0.set(memory.address, size);
        Ok(())
    }

    /// Makes one of nothing.
    pub(crate) fn set_null(&self) {
        self.0.set_null();
    }
}

impl RecordDynptrOut<'_> {
    /// Makes one of a new record of this many bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if there are too many, or no room for them.
    pub(crate) fn reserve(&self, ring: &RingBuf, size: u64) -> Result<(), Errno> {
        let size = u64::from(low(size));
        if size > MOST {
            return Err(Errno::E2BIG);
        }
        let record = ring.reserve(size).ok_or(Errno::EINVAL)?;
        self.0.set(record, size);
        Ok(())
    }

    /// Makes one of nothing.
    pub(crate) fn set_null(&self) {
        self.0.set_null();
    }
}

impl<'a> RecordDynptr<'a> {
    /// The record, if there is one; afterwards there is none.
    pub(crate) fn take(self) -> Option<Record<'a>> {
        let (address, _) = self.0.memory();
        self.0.set_null();
        if address == 0 {
            return None;
        }
        // SAFETY: [ringbuf-record] the verifier held the program to a dynptr of a record that it
        // reserved, and the program keeps the map.
        Some(Record { ring: unsafe { RingBuf::of_record(address) }, address })
    }
}
