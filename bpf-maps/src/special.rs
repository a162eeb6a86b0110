//! What in a value is not data: its spin lock.
//!
//! A value's lock is a 32-bit word in it, 0 when free. Copies of values leave it alone, and
//! are made under it where `BPF_F_LOCK` asks for that.

use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::map::UpdateFlags;

use crate::bytes::{SharedBytes, WORD};
use crate::error::MapError;
use crate::shape::MapShape;

/// The size of a `struct bpf_spin_lock`, in bytes.
pub(crate) const SPIN_LOCK_SIZE: u32 = 4;

/// A value's spin lock: half of one of its words.
struct ValueLock<'a> {
    word: &'a AtomicU64,
    /// The bit that says that it is taken.
    taken: u64,
    /// All bits of the lock.
    bits: u64,
}

impl<'a> ValueLock<'a> {
    fn of(shape: &MapShape, value: SharedBytes<'a>) -> Option<Self> {
        let offset = shape.spin_lock? as usize;
        let word = value.words().get(offset / WORD)?;
        let shift = 8 * (offset % WORD);
        Some(Self { word, taken: 1 << shift, bits: 0xffff_ffff << shift })
    }

    fn acquire(&self) {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            let free = seen & self.bits == 0;
            let taken = seen | self.taken;
            if free
                && self
                    .word
                    .compare_exchange_weak(seen, taken, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn release(&self) {
        self.word.fetch_and(!self.bits, Ordering::Release);
    }
}

impl MapShape {
    /// Sets a value, all but its lock; under the lock if the flags say so.
    pub(crate) fn store(
        &self,
        place: SharedBytes<'_>,
        bytes: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        if bytes.len() != place.len() {
            return Err(MapError::ValueLength { length: bytes.len(), expected: place.len() });
        }
        let Some(lock) = ValueLock::of(self, place) else {
            place.copy_from(bytes);
            return Ok(());
        };
        let is_locked = flags.contains(UpdateFlags::LOCK);
        if is_locked {
            lock.acquire();
        }
        place.copy_from_but(bytes, lock.word, lock.bits);
        if is_locked {
            lock.release();
        }
        Ok(())
    }

    /// Copies a value out, its lock as zeros; under the lock if the flags say so.
    pub(crate) fn load(&self, place: SharedBytes<'_>, out: &mut [u8], flags: UpdateFlags) {
        let lock = ValueLock::of(self, place).filter(|_| flags.contains(UpdateFlags::LOCK));
        if let Some(lock) = &lock {
            lock.acquire();
        }
        place.copy_to(out);
        if let Some(lock) = &lock {
            lock.release();
        }
        if let Some(offset) = self.spin_lock {
            let lock = offset as usize..(offset + SPIN_LOCK_SIZE) as usize;
            if let Some(lock) = out.get_mut(lock) {
                lock.fill(0);
            }
        }
    }
}
