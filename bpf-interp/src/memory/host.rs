//! Memory by the addresses of this process, for programs that somebody vouches for.

use std::cell::OnceCell;
use std::fs::File;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use bpf_isa::{AtomicOp, Size};

use crate::atomic;
use crate::fault::{BadAccess, FaultKind};
use crate::memory::Memory;

/// The memory of this process, unchecked.
///
/// Whoever makes one promises `[verified-memory]`: that the program run in it touches only memory
/// it may touch.
pub(crate) struct Host<'s> {
    stack: Stack<'s>,
    /// This process' memory as a file, opened when a program first loads from an address that may
    /// be stale.
    looked_at: OnceCell<Option<File>>,
}

/// How much stack a run may use: a program's 512 bytes, and below them for each tail call from a
/// function the at most 256 bytes that its callers hold.
pub(crate) const STACK_SIZE: usize = 512 + 34 * 256;

/// Room for [`Host`]'s stack: not initialised, which costs nothing.
pub(crate) type StackRoom = [MaybeUninit<u64>; STACK_SIZE / 8];

/// A stack by its addresses.
struct Stack<'s> {
    bottom: u64,
    top: u64,
    room: std::marker::PhantomData<&'s mut StackRoom>,
}

impl<'s> Host<'s> {
    /// The memory of this process, with this stack.
    ///
    /// # Safety
    ///
    /// `[verified-memory]`: a program run in it touches only memory it may touch, so.
    #[expect(unsafe_code, reason = "passes an obligation on, does nothing unsafe")]
    pub(crate) unsafe fn new(room: &'s mut StackRoom) -> Self {
        let range = room.as_mut_ptr_range();
        let address = |end: *mut MaybeUninit<u64>| end.expose_provenance() as u64;
        let (bottom, top) = (address(range.start), address(range.end));
        let stack = Stack { bottom, top, room: std::marker::PhantomData };
        Self { stack, looked_at: OnceCell::new() }
    }
}

impl Memory for Host<'_> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "memory by address")]
    fn load(&self, size: Size, address: u64) -> Result<u64, BadAccess> {
        // SAFETY: [verified-memory] promised to `new`.
        Ok(unsafe { atomic::load(size, address, Ordering::Relaxed) })
    }

    fn load_or_zero(&self, size: Size, address: u64) -> u64 {
        let memory = self.looked_at.get_or_init(|| File::open("/proc/self/mem").ok());
        memory.as_ref().map_or(0, |memory| probe(memory, size, address))
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "memory by address")]
    fn store(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess> {
        // SAFETY: [verified-memory] promised to `new`.
        unsafe { atomic::store(size, address, value, Ordering::Relaxed) };
        Ok(())
    }

    #[inline]
    #[expect(unsafe_code, reason = "memory by address")]
    fn atomic(
        &self,
        op: AtomicOp,
        size: Size,
        address: u64,
        src: u64,
        expected: u64,
    ) -> Result<u64, BadAccess> {
        // SAFETY: [verified-memory] promised to `new`; atomics of verified programs are aligned.
        Ok(unsafe { atomic::read_modify_write(op, size, address, src, expected) })
    }

    #[inline]
    #[expect(unsafe_code, reason = "memory by address")]
    fn load_acquire(&self, size: Size, address: u64) -> Result<u64, BadAccess> {
        // SAFETY: [verified-memory] promised to `new`.
        Ok(unsafe { atomic::load(size, address, Ordering::Acquire) })
    }

    #[inline]
    #[expect(unsafe_code, reason = "memory by address")]
    fn store_release(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess> {
        // SAFETY: [verified-memory] promised to `new`.
        unsafe { atomic::store(size, address, value, Ordering::Release) };
        Ok(())
    }

    #[inline]
    fn stack_top(&self) -> u64 {
        self.stack.top
    }

    #[inline]
    #[expect(unsafe_code, reason = "the stack by address")]
    fn open_frame(&mut self, top: u64, depth: u32) -> Result<(), FaultKind> {
        let start = top.wrapping_sub(u64::from(depth));
        if start < self.stack.bottom || top > self.stack.top || start > top {
            return Err(FaultKind::StackOverflow);
        }
        let words = usize::try_from(depth / 8).unwrap_or(0);
        // SAFETY: [run-stack] these bytes lie in the room that `new` borrowed, as checked above.
        unsafe { atomic::pointer::<u64>(start).write_bytes(0, words) };
        Ok(())
    }
}

/// What lies at an address that may be stale: the system looks, so that nothing can go wrong.
fn probe(memory: &File, size: Size, address: u64) -> u64 {
    let mut bytes = [0; 8];
    let count = usize::try_from(size.bytes()).unwrap_or(0);
    if read_exact_at(memory, &mut bytes[..count], address) { u64::from_le_bytes(bytes) } else { 0 }
}

#[cfg(unix)]
fn read_exact_at(memory: &File, bytes: &mut [u8], address: u64) -> bool {
    use std::os::unix::fs::FileExt;
    memory.read_exact_at(bytes, address).is_ok()
}

#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}
