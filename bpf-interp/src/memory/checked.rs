//! Memory in regions with bounds and permissions, for any program.
//!
//! This is what makes the interpreter an oracle: a program that the verifier accepts must never
//! fault here.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_isa::{AtomicOp, Size};

use crate::atomic;
use crate::fault::{Action, BadAccess, FaultKind, Wrong};
use crate::memory::Memory;

/// What a program may do with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// Regions of memory. A program run in it can touch nothing else.
///
/// Addresses are those of this process, so that helpers may be handed them.
#[derive(Debug)]
pub struct Checked {
    regions: Vec<Region>,
    /// The region last used: most accesses go where the one before went.
    last: Cell<usize>,
    stack_top: u64,
    stack_bottom: u64,
}

#[derive(Debug)]
struct Region {
    start: u64,
    len: u64,
    permission: Permission,
    /// The memory, if it is our own. Atomics, since a program and its helpers share it.
    own: Option<Box<[AtomicU64]>>,
}

impl Region {
    /// Whether all `size` bytes at `address` lie in it.
    #[inline]
    fn holds(&self, address: u64, size: u64) -> bool {
        let offset = address.wrapping_sub(self.start);
        offset < self.len && self.len - offset >= size
    }
}

/// How much stack there is below the first frame: for seven more of 512 bytes, and for what the
/// callers of functions that take tail calls hold.
const DEEPER_FRAMES: u64 = 34 * 256;

impl Default for Checked {
    fn default() -> Self {
        Self::new(512, 0)
    }
}

impl Checked {
    /// Memory with nothing in it but the stack: a first frame of `frame` bytes, frames of
    /// functions below it, and `above` bytes above it, which programs that respect their frame
    /// never touch.
    pub fn new(frame: u32, above: u32) -> Self {
        let mut memory =
            Self { regions: Vec::new(), last: Cell::new(0), stack_top: 0, stack_bottom: 0 };
        let below = u64::from(frame.next_multiple_of(8)) + DEEPER_FRAMES;
        let size = below + u64::from(above.next_multiple_of(8));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        memory.stack_bottom = memory.add(&vec![0; size], Permission::ReadWrite);
        memory.stack_top = memory.stack_bottom + below;
        memory
    }

    /// Adds a region with a copy of `bytes`, at an address that is a multiple of 8, and tells
    /// where.
    pub fn add(&mut self, bytes: &[u8], permission: Permission) -> u64 {
        let words: Box<[AtomicU64]> = bytes
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                AtomicU64::new(u64::from_le_bytes(word))
            })
            .collect();
        let start = words.as_ptr().expose_provenance() as u64;
        let len = bytes.len() as u64;
        self.regions.push(Region { start, len, permission, own: Some(words) });
        start
    }

    /// Lets programs touch `len` bytes of this process at `start`.
    ///
    /// # Safety
    ///
    /// `[shared-region]`: as long as this memory is used, the bytes may be read, and written if
    /// `permission` says so, and nobody holds a Rust reference through which they are written, or
    /// to what may be written here.
    #[expect(unsafe_code, reason = "declares an obligation, does nothing unsafe")]
    pub unsafe fn share(&mut self, start: u64, len: u64, permission: Permission) {
        self.regions.push(Region { start, len, permission, own: None });
    }

    /// Takes a region away again; programs cannot touch it any more.
    pub fn remove(&mut self, start: u64) {
        self.regions.retain(|region| region.start != start);
        self.last.set(0);
    }

    /// A copy of `len` bytes at `address`, if they all lie in one region.
    pub fn read(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let region = self.regions.iter().find(|region| region.holds(address, len as u64))?;
        let region_end = region.start + region.len;
        let bytes = (address..region_end).take(len);
        bytes
            .map(|at| self.load(Size::B, at).ok().and_then(|byte| u8::try_from(byte).ok()))
            .collect()
    }

    /// Stores `bytes` at `address`; tells whether the program could have.
    pub fn write(&self, address: u64, bytes: &[u8]) -> bool {
        (address..).zip(bytes).all(|(at, byte)| self.store(Size::B, at, u64::from(*byte)).is_ok())
    }

    #[inline]
    fn check(&self, action: Action, size: Size, address: u64) -> Result<(), BadAccess> {
        let bytes = u64::from(size.bytes());
        let refuse = |wrong| Err(BadAccess { action, address, size: size.bytes(), wrong });
        let last = self.regions.get(self.last.get()).filter(|region| region.holds(address, bytes));
        let region = match last {
            Some(region) => region,
            None => {
                let found = self.regions.iter().position(|region| region.holds(address, bytes));
                let Some(index) = found else { return refuse(Wrong::Outside) };
                self.last.set(index);
                &self.regions[index]
            }
        };
        if action != Action::Load && region.permission == Permission::Read {
            return refuse(Wrong::ReadOnly);
        }
        // Nobody else touches our own memory, so what is not aligned there is still one access.
        if action == Action::Atomic && address & (bytes - 1) != 0 {
            return refuse(Wrong::Misaligned);
        }
        debug_assert!(region.own.is_none() || region.start.is_multiple_of(8));
        Ok(())
    }
}

impl Memory for Checked {
    #[inline]
    #[expect(unsafe_code, reason = "memory by address")]
    fn load(&self, size: Size, address: u64) -> Result<u64, BadAccess> {
        self.check(Action::Load, size, address)?;
        // SAFETY: [shared-region] the region is our own, or `share` was promised this.
        Ok(unsafe { atomic::load(size, address, Ordering::Relaxed) })
    }

    fn load_or_zero(&self, size: Size, address: u64) -> u64 {
        self.load(size, address).unwrap_or(0)
    }

    #[inline]
    #[expect(unsafe_code, reason = "memory by address")]
    fn store(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess> {
        self.check(Action::Store, size, address)?;
        // SAFETY: [shared-region] the region is our own, or `share` was promised this.
        unsafe { atomic::store(size, address, value, Ordering::Relaxed) };
        Ok(())
    }

    #[expect(unsafe_code, reason = "memory by address")]
    fn atomic(
        &self,
        op: AtomicOp,
        size: Size,
        address: u64,
        src: u64,
        expected: u64,
    ) -> Result<u64, BadAccess> {
        self.check(Action::Atomic, size, address)?;
        // SAFETY: [shared-region] the region is our own, or `share` was promised this; aligned,
        // as checked.
        Ok(unsafe { atomic::read_modify_write(op, size, address, src, expected) })
    }

    #[expect(unsafe_code, reason = "memory by address")]
    fn load_acquire(&self, size: Size, address: u64) -> Result<u64, BadAccess> {
        self.check(Action::Load, size, address)?;
        // SAFETY: [shared-region] the region is our own, or `share` was promised this.
        Ok(unsafe { atomic::load(size, address, Ordering::Acquire) })
    }

    #[expect(unsafe_code, reason = "memory by address")]
    fn store_release(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess> {
        self.check(Action::Store, size, address)?;
        // SAFETY: [shared-region] the region is our own, or `share` was promised this.
        unsafe { atomic::store(size, address, value, Ordering::Release) };
        Ok(())
    }

    fn stack_top(&self) -> u64 {
        self.stack_top
    }

    fn open_frame(&mut self, top: u64, depth: u32) -> Result<(), FaultKind> {
        let start = top.wrapping_sub(u64::from(depth));
        if start < self.stack_bottom || start > top || top > self.stack_top {
            return Err(FaultKind::StackOverflow);
        }
        let stack = self.regions.iter().find(|region| region.start == self.stack_bottom);
        let words = stack.and_then(|region| region.own.as_deref()).unwrap_or_default();
        let index = |address: u64| usize::try_from((address - self.stack_bottom) / 8);
        let frame = index(start).ok().zip(index(top).ok());
        let frame = frame.and_then(|(start, top)| words.get(start..top)).unwrap_or_default();
        for word in frame {
            word.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_lies_in_one_region_or_faults() {
        let mut memory = Checked::default();
        let at = memory.add(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], Permission::ReadWrite);
        assert_eq!(memory.load(Size::DW, at), Ok(0x0807_0605_0403_0201));
        assert_eq!(memory.load(Size::DW, at + 2), Ok(0x0a09_0807_0605_0403));
        let wrong = memory.load(Size::DW, at + 3).unwrap_err();
        assert_eq!((wrong.wrong, wrong.action), (Wrong::Outside, Action::Load));
        assert!(memory.load(Size::B, at + 10).is_err());
        assert!(memory.load(Size::B, at - 1).is_err());
        assert!(memory.load(Size::DW, u64::MAX - 3).is_err());
        memory.store(Size::H, at + 8, 0xbbaa).unwrap();
        assert_eq!(memory.read(at + 7, 3), Some(vec![8, 0xaa, 0xbb]));
    }

    #[test]
    fn read_only_memory_is_not_written() {
        let mut memory = Checked::default();
        let at = memory.add(&[0; 8], Permission::Read);
        assert_eq!(memory.store(Size::B, at, 1).unwrap_err().wrong, Wrong::ReadOnly);
        let add = AtomicOp::Add { fetch: false };
        assert_eq!(memory.atomic(add, Size::W, at, 1, 0).unwrap_err().wrong, Wrong::ReadOnly);
        assert_eq!(memory.load(Size::B, at), Ok(0));
    }

    #[test]
    fn atomics_are_aligned() {
        let mut memory = Checked::default();
        let at = memory.add(&[0; 16], Permission::ReadWrite);
        let add = AtomicOp::Add { fetch: true };
        assert_eq!(memory.atomic(add, Size::W, at + 2, 1, 0).unwrap_err().wrong, Wrong::Misaligned);
        assert_eq!(memory.atomic(add, Size::W, at + 4, 7, 0), Ok(0));
        assert_eq!(memory.load(Size::W, at + 4), Ok(7));
    }

    #[test]
    fn a_region_that_was_removed_is_gone() {
        let mut memory = Checked::default();
        let at = memory.add(&[0; 8], Permission::ReadWrite);
        assert!(memory.load(Size::B, at).is_ok());
        memory.remove(at);
        assert!(memory.load(Size::B, at).is_err());
    }
}
