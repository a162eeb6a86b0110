//! What loads and stores go through.

pub(crate) mod host;
mod checked;

use bpf_isa::{AtomicOp, Size};

pub use checked::{Checked, Permission};

use crate::fault::{BadAccess, FaultKind};

/// Memory, as the machine sees it: addresses are those that registers hold.
pub(crate) trait Memory {
    /// The bytes at `address` as a number; the upper bits are zero.
    fn load(&self, size: Size, address: u64) -> Result<u64, BadAccess>;

    /// The same from an address that may be stale; zero if nothing is there.
    fn load_or_zero(&self, size: Size, address: u64) -> u64;

    /// Stores the low bytes of `value`.
    fn store(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess>;

    /// A read-modify-write; yields what was there. `expected` is what [`AtomicOp::CmpXchg`]
    /// compares with. `size` is `W` or `DW`.
    fn atomic(
        &self,
        op: AtomicOp,
        size: Size,
        address: u64,
        src: u64,
        expected: u64,
    ) -> Result<u64, BadAccess>;

    /// A load that later accesses do not overtake.
    fn load_acquire(&self, size: Size, address: u64) -> Result<u64, BadAccess>;

    /// A store that does not overtake earlier accesses.
    fn store_release(&self, size: Size, address: u64, value: u64) -> Result<(), BadAccess>;

    /// The upper end of the stack.
    fn stack_top(&self) -> u64;

    /// Makes the `depth` bytes of the stack below `top` ready for a function: they are zero.
    fn open_frame(&mut self, top: u64, depth: u32) -> Result<(), FaultKind>;
}
