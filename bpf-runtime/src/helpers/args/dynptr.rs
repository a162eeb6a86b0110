//! Dynptrs: memory whose bounds are looked at when the program runs.
//!
//! ```text
//!   at        at + 8                     at + 12
//!  +---------+--------------------------+--------+
//!  | address | size, kind, read-only    | offset |      on the program's stack, where it cannot look
//!  +---------+--------------------------+--------+
//! ```
//!
//! An address of zero is no memory at all: a dynptr that could not be made. One of a packet has an
//! address that means nothing: which packet it is, the run knows.
//!
//! Linux: `struct bpf_dynptr_kern`.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use bpf_abi::errno::Errno;
use bpf_abi::helper::{ArgKind, ArgProto, TypeFlags};
use bpf_maps::types::ringbuf::RingBuf;
use smallvec::SmallVec;

use super::{Arg, Cx, Int, MemOut, Record, Registers, arg, copy_in, copy_out, low, word_at};

/// The most bytes. Linux: `DYNPTR_MAX_SIZE`.
const MOST: u32 = (1 << 24) - 1;
/// Where the kind stands.
const KIND_SHIFT: u32 = 28;
/// The bits of the kind.
const KIND_BITS: u32 = 7;
/// Nobody may write through it.
const RDONLY: u32 = 1 << 31;
/// The address of a packet's dynptr.
const PACKET: u64 = 1;
/// The most that an XDP packet's parts are counted by.
const XDP_MOST: usize = 0xffff;

/// How many bytes are moved at a time where neither place lies in one piece.
const CHUNK: u32 = 256;

/// What a dynptr is of. Linux: `enum bpf_dynptr_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Memory at an address.
    Memory,
    /// A packet in the network stack.
    Skb,
    /// A packet at a driver's hook.
    Xdp,
    /// What stands before a packet in the network stack.
    SkbMeta,
}

impl Kind {
    const fn bits(self) -> u32 {
        match self {
            Self::Memory => 1,
            Self::Skb => 3,
            Self::Xdp => 4,
            Self::SkbMeta => 5,
        }
    }

    const fn of(word: u32) -> Self {
        match word >> KIND_SHIFT & KIND_BITS {
            3 => Self::Skb,
            4 => Self::Xdp,
            5 => Self::SkbMeta,
            _ => Self::Memory,
        }
    }
}

/// What a dynptr says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    address: u64,
    kind: Kind,
    size: u32,
    offset: u32,
    rdonly: bool,
}

impl View {
    /// One of nothing.
    const NULL: Self = Self { address: 0, kind: Kind::Memory, size: 0, offset: 0, rdonly: false };

    /// One of the packet of a run.
    pub(crate) fn packet(kind: Kind, size: usize, rdonly: bool) -> Result<Self, Errno> {
        let size = u32::try_from(size).ok().filter(|size| *size <= MOST).ok_or(Errno::E2BIG)?;
        Ok(Self { address: PACKET, kind, size, offset: 0, rdonly })
    }

    /// One of memory of the host, which stays there as long as a program has the dynptr.
    pub(crate) const fn host(address: u64, size: u32) -> Self {
        Self { address, kind: Kind::Memory, size, offset: 0, rdonly: false }
    }

    /// What stands on the program's stack.
    pub(crate) fn words(self) -> [u64; 2] {
        let rdonly = if self.rdonly { RDONLY } else { 0 };
        let word = self.size | self.kind.bits() << KIND_SHIFT | rdonly;
        let word = if self.is_null() { 0 } else { word };
        [self.address, u64::from(self.offset) << 32 | u64::from(word)]
    }

    /// Whether it is none.
    pub(crate) const fn is_null(&self) -> bool {
        self.address == 0
    }

    /// Whether nobody may write through it.
    pub(crate) const fn is_rdonly(&self) -> bool {
        self.rdonly
    }

    /// How many bytes it is of.
    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    /// Whether `len` bytes from `off` on are within it. Linux: `bpf_dynptr_check_off_len`.
    fn check(&self, off: u32, len: u32) -> Result<(), Errno> {
        let fits = len <= self.size && off <= self.size - len;
        if fits { Ok(()) } else { Err(Errno::E2BIG) }
    }

    /// That something can be written to `len` bytes from `off` on, however few.
    ///
    /// # Errors
    ///
    /// Returns an error if there are not so many, or if nobody may write to them.
    pub(crate) fn check_room(&self, off: u32, len: u32) -> Result<(), Errno> {
        self.check(off, len)?;
        if self.rdonly && len > 0 { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// The same memory, of its bytes from `start` to `end`.
    ///
    /// # Errors
    ///
    /// Returns an error if it is none, or has not so many.
    pub(crate) fn adjusted(&self, start: u32, end: u32) -> Result<Self, Errno> {
        if self.is_null() || start > end {
            return Err(Errno::EINVAL);
        }
        if start > self.size || end > self.size {
            return Err(Errno::ERANGE);
        }
        Ok(Self { offset: self.offset + start, size: end - start, ..*self })
    }

    /// Where `len` bytes from `off` on are, if it is of memory at an address.
    pub(crate) fn memory(&self, off: u32, len: u32) -> Option<u64> {
        let is_memory = self.kind == Kind::Memory && !self.is_null();
        (is_memory && self.check(off, len).is_ok()).then(|| self.at(off))
    }

    const fn at(&self, off: u32) -> u64 {
        self.address + self.offset as u64 + off as u64
    }

    /// Where `len` bytes from `off` on are, if they lie one after the other.
    pub(crate) fn slice(&self, cx: Cx<'_>, off: u32, len: u32) -> Option<u64> {
        if self.is_null() || self.check(off, len).is_err() {
            return None;
        }
        let (from, bytes) = (self.offset as usize + off as usize, len as usize);
        match self.kind {
            Kind::Memory => Some(self.at(off)),
            Kind::Skb => cx.env().skb()?.frame.contiguous(from, bytes),
            Kind::Xdp if from > XDP_MOST || bytes > XDP_MOST => None,
            Kind::Xdp => cx.env().xdp()?.frame.contiguous(from, bytes),
            Kind::SkbMeta => {
                let frame = &cx.env().skb()?.frame;
                let is_there = from + bytes <= frame.data() - frame.meta();
                is_there.then(|| frame.address(frame.meta() + from))
            }
        }
    }

    /// A copy of `len` bytes from `off` on.
    ///
    /// # Errors
    ///
    /// As of [`read_to`](Self::read_to).
    pub(crate) fn read(
        &self,
        cx: Cx<'_>,
        off: u32,
        len: u32,
    ) -> Result<SmallVec<[u8; 128]>, Errno> {
        if self.is_null() {
            return Err(Errno::EINVAL);
        }
        // Before room is made for them.
        self.check(off, len)?;
        let mut out = SmallVec::from_elem(0, len as usize);
        self.read_to(cx, off, &mut out).map(|()| out)
    }

    /// Copies the bytes from `off` on, as many as `out` has.
    ///
    /// # Errors
    ///
    /// Returns an error if it is none, or not so large, or if the packet is not any more.
    pub(crate) fn read_to(&self, cx: Cx<'_>, off: u32, out: &mut [u8]) -> Result<(), Errno> {
        if self.is_null() {
            return Err(Errno::EINVAL);
        }
        self.check(off, u32::try_from(out.len()).map_err(|_| Errno::E2BIG)?)?;
        let from = self.offset as usize + off as usize;
        match self.kind {
            Kind::Memory => {
                // SAFETY: [helper-args] the bytes are within what the dynptr was made of, which the
                // verifier sees to is there as long as the dynptr is.
                unsafe { copy_in(self.at(off), out) };
                Ok(())
            }
            Kind::Skb => {
                let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
                skb.read(from, out).ok_or(Errno::EFAULT)
            }
            Kind::Xdp => {
                check_xdp(from, out.len())?;
                let buff = cx.env().xdp().ok_or(Errno::EINVAL)?;
                buff.frame.read(from, out).ok_or(Errno::EINVAL)
            }
            Kind::SkbMeta => {
                let frame = &cx.env().skb().ok_or(Errno::EINVAL)?.frame;
                frame.peek(frame.meta() + from, out).ok_or(Errno::EINVAL)
            }
        }
    }

    /// Writes bytes at `off`. `flags` are those of `skb_store_bytes` for a packet in the network
    /// stack, and 0 for all else.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), or if nobody may write to it.
    pub(crate) fn write(
        &self,
        cx: Cx<'_>,
        off: u32,
        bytes: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        if self.is_null() || self.rdonly {
            return Err(Errno::EINVAL);
        }
        self.check(off, u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?)?;
        if flags != 0 && self.kind != Kind::Skb {
            return Err(Errno::EINVAL);
        }
        let to = self.offset as usize + off as usize;
        match self.kind {
            Kind::Memory => {
                // SAFETY: [helper-args] as for reading; the program may write to what it makes
                // writable dynptrs of.
                unsafe { copy_out(self.at(off), bytes) };
                Ok(())
            }
            Kind::Skb => {
                let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
                crate::helpers::skb::store(skb, to, bytes, flags)
            }
            Kind::Xdp => {
                check_xdp(to, bytes.len())?;
                let buff = cx.env().xdp().ok_or(Errno::EINVAL)?;
                buff.frame.write(to, bytes).ok_or(Errno::EINVAL)
            }
            Kind::SkbMeta => {
                let frame = &cx.env().skb().ok_or(Errno::EINVAL)?.frame;
                frame.poke(frame.meta() + to, bytes).ok_or(Errno::EINVAL)
            }
        }
    }

    /// Where the program may write `len` bytes from `off` on, if they lie one after the other.
    pub(crate) fn slice_rdwr(&self, cx: Cx<'_>, off: u32, len: u32) -> Option<u64> {
        if self.rdonly { None } else { self.slice(cx, off, len) }
    }

    /// Sets `size` bytes from `off` on.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); of nothing, nothing can be set.
    pub(crate) fn set_bytes(&self, cx: Cx<'_>, off: u32, size: u32, byte: u8) -> Result<(), Errno> {
        if self.rdonly {
            return Err(Errno::EINVAL);
        }
        self.check(off, size)?;
        let mut done = 0;
        while done < size {
            let now = CHUNK.min(size - done);
            let bytes = [byte; CHUNK as usize];
            self.write(cx, off + done, bytes.get(..now as usize).unwrap_or(&bytes), 0)?;
            done += now;
        }
        Ok(())
    }

    /// Copies `size` bytes from another, which may overlap.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read) and [`write`](Self::write).
    pub(crate) fn copy_from(
        &self,
        cx: Cx<'_>,
        to: u32,
        other: &Self,
        from: u32,
        size: u32,
    ) -> Result<(), Errno> {
        let in_one = other.slice(cx, from, size).is_some();
        if in_one || self.slice_rdwr(cx, to, size).is_some() {
            return self.write(cx, to, &other.read(cx, from, size)?, 0);
        }
        self.check(to, size)?;
        other.check(from, size)?;
        let mut done = 0;
        while done < size {
            let now = CHUNK.min(size - done);
            let bytes = other.read(cx, from + done, now)?;
            self.write(cx, to + done, &bytes, 0)?;
            done += now;
        }
        Ok(())
    }
}

/// Packets at a driver's hook are not longer than this.
fn check_xdp(offset: usize, len: usize) -> Result<(), Errno> {
    if offset > XDP_MOST || len > XDP_MOST { Err(Errno::EFAULT) } else { Ok(()) }
}

/// A dynptr, where the program has it.
#[derive(Clone, Copy, Debug)]
struct Dynptr<'a> {
    at: u64,
    borrowed: PhantomData<&'a ()>,
}

impl Dynptr<'_> {
    /// What it says.
    fn view(&self) -> View {
        // SAFETY: [helper-args] the verifier knows of a dynptr there, of sixteen bytes, aligned.
        let address = unsafe { word_at(self.at) }.load(Ordering::Relaxed);
        // SAFETY: [helper-args] the same.
        let rest = unsafe { word_at(self.at + 8) }.load(Ordering::Relaxed);
        let word = low(rest);
        View {
            address,
            kind: Kind::of(word),
            size: word & MOST,
            offset: low(rest >> 32),
            rdonly: word & RDONLY != 0,
        }
    }

    fn set(&self, view: View) {
        let [address, rest] = view.words();
        // SAFETY: [helper-args] the verifier has room there for a dynptr, aligned.
        unsafe { word_at(self.at) }.store(address, Ordering::Relaxed);
        // SAFETY: [helper-args] the same.
        unsafe { word_at(self.at + 8) }.store(rest, Ordering::Relaxed);
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
    /// Room for one that a kernel function makes.
    DynptrOut TypeFlags::UNINIT.union(TypeFlags::WRITE);
}

impl AnyDynptr<'_> {
    /// What it says.
    pub(crate) fn get(self) -> View {
        self.0.view()
    }

    /// Makes it say something else of the same memory.
    pub(crate) fn set(self, view: View) {
        self.0.set(view);
    }
}

impl DynptrOut<'_> {
    /// Makes one, or one of nothing.
    ///
    /// # Errors
    ///
    /// Returns the error that is given.
    pub(crate) fn set(self, view: Result<View, Errno>) -> Int {
        self.0.set(*view.as_ref().unwrap_or(&View::NULL));
        view.map(|_| 0)
    }
}

impl LocalDynptrOut<'_> {
    /// Makes one of this memory.
    ///
    /// # Errors
    ///
    /// Returns an error if it is too large.
    pub(crate) fn set(&self, memory: &MemOut<'_>) -> Result<(), Errno> {
        let size = u32::try_from(memory.len).ok().filter(|size| *size <= MOST);
        let size = size.ok_or(Errno::E2BIG)?;
        self.0.set(View { address: memory.address, size, ..View::NULL });
        Ok(())
    }

    /// Makes one of nothing.
    pub(crate) fn set_null(&self) {
        self.0.set(View::NULL);
    }
}

impl RecordDynptrOut<'_> {
    /// Makes one of a new record of this many bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if there are too many, or no room for them.
    pub(crate) fn reserve(&self, ring: &RingBuf, size: u64) -> Result<(), Errno> {
        let size = low(size);
        if size > MOST {
            return Err(Errno::E2BIG);
        }
        let address = ring.reserve(u64::from(size)).ok_or(Errno::EINVAL)?;
        self.0.set(View { address, size, ..View::NULL });
        Ok(())
    }

    /// Makes one of nothing.
    pub(crate) fn set_null(&self) {
        self.0.set(View::NULL);
    }
}

impl<'a> RecordDynptr<'a> {
    /// The record, if there is one; afterwards there is none.
    pub(crate) fn take(self) -> Option<Record<'a>> {
        let View { address, .. } = self.0.view();
        self.0.set(View::NULL);
        if address == 0 {
            return None;
        }
        // SAFETY: [ringbuf-record] the verifier held the program to a dynptr of a record that it
        // reserved, and the program keeps the map.
        Some(Record { ring: unsafe { RingBuf::of_record(address) }, address })
    }
}

/// Where the program has room for bytes that do not lie in one piece, if it gives any: as many as
/// the argument behind it says, or more than are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceBuffer<'a> {
    address: u64,
    borrowed: PhantomData<&'a mut ()>,
}

impl SliceBuffer<'_> {
    /// Copies bytes there, and says where they are; nothing if there is no room.
    pub(crate) fn fill(self, bytes: &[u8]) -> Option<u64> {
        if self.address == 0 {
            return None;
        }
        // SAFETY: [helper-args] the verifier measured the memory by the length that the slice has.
        unsafe { copy_out(self.address, bytes) };
        Some(self.address)
    }

    /// Whether there is room.
    pub(crate) const fn is_there(self) -> bool {
        self.address != 0
    }
}

impl<'a> Arg<'a> for SliceBuffer<'a> {
    const PROTO: ArgProto =
        arg(ArgKind::Mem, TypeFlags::UNINIT.union(TypeFlags::WRITE).union(TypeFlags::MAYBE_NULL));

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self { address: registers.take(), borrowed: PhantomData }
    }
}
