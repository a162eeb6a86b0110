//! Bloom filters: sets of values that are never wrong about what was put in, and sometimes
//! about what was not.

use std::sync::atomic::Ordering;

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, UpdateFlags};

use crate::bytes::{Memory, low};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::types::hash::hash_wide;
use crate::world::World;

/// Bits, some of them set for each value. Linux: `bloom_filter_map_ops`.
#[derive(Debug)]
pub(crate) struct Bloom {
    core: MapCore,
    bits: Memory,
    /// The number of bits less one: they are a power of two.
    mask: u32,
    /// How many bits a value has.
    hashes: u8,
    seed: u64,
}

impl Bloom {
    /// An empty set.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let hashes = match shape.map_extra {
            0 => 5,
            extra => u8::try_from(extra).unwrap_or(u8::MAX).min(15),
        };
        // The number of bits for the fewest mistakes is n * k / ln 2.
        let wanted = u64::from(shape.max_entries) * u64::from(hashes) * 7 / 5;
        let count = wanted.next_power_of_two().clamp(64, 1 << 32);
        let bits = Memory::new(count / 64, 64)?;
        let mask = u32::try_from(count - 1).unwrap_or(u32::MAX);
        let seed = if shape.flags.contains(MapFlags::ZERO_SEED) { 0 } else { world.seed() };
        Ok(Self { core: MapCore::new(shape), bits, mask, hashes, seed })
    }

    /// The bits of a value: a word and a bit in it.
    fn places(&self, value: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        // As good as so many hashes are the multiples of one, added to another.
        let hash = hash_wide(self.seed, value);
        let (first, step) = (low(hash), low(hash >> 32) | 1);
        (0..self.hashes).map(move |nth| {
            let bit = first.wrapping_add(step.wrapping_mul(nth.into())) & self.mask;
            (bit as usize / 64, 1 << (bit % 64))
        })
    }
}

impl Map for Bloom {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated at a key", Errno::EINVAL))
    }

    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        for (word, bit) in self.places(value) {
            self.bits[word].fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), MapError> {
        let mut places = self.places(value);
        if places.all(|(word, bit)| self.bits[word].load(Ordering::Relaxed) & bit != 0) {
            return Ok(());
        }
        Err(MapError::NotFound)
    }

    fn read(&self, _: &[u8], value: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        self.peek(value)
    }

    fn write(&self, _: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.push(value, flags)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("list keys", Errno::EOPNOTSUPP))
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::create;

    #[test]
    fn what_was_put_in_is_found_and_few_others_are() {
        let spec = MapSpec::new("b", MapType::BloomFilter, 0, 4, 1000);
        let bloom = create(&spec, &World::with_cpus(1)).unwrap();
        for n in 0..1000_u32 {
            bloom.push(&n.to_le_bytes(), UpdateFlags::empty()).unwrap();
        }
        let found = |n: u32| bloom.peek(&mut n.to_le_bytes()).is_ok();
        assert!((0..1000).all(found));
        let mistakes = (1000..11_000).filter(|n| found(*n)).count();
        assert!(mistakes < 500, "{mistakes} of 10000");
    }
}
