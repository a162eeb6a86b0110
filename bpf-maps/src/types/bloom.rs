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
use crate::types::jenkins;
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
    /// `None` if values are to have the bits that they have in every kernel. Linux:
    /// `BPF_F_ZERO_SEED`.
    seed: Option<u64>,
}

impl Bloom {
    /// An empty set.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let hashes = match shape.map_extra {
            0 => 5,
            extra => u8::try_from(extra).unwrap_or(u8::MAX).min(15),
        };
        // The number of bits for the fewest mistakes is n * k / ln 2; where that is large, as many as
        // hashes tell apart.
        let wanted = u64::from(shape.max_entries) * u64::from(hashes) / 5 * 7;
        let count = if wanted > 1 << 31 { 1 << 32 } else { wanted.next_power_of_two().max(64) };
        let bits = Memory::new(count / 64, 64)?;
        let mask = u32::try_from(count - 1).unwrap_or(u32::MAX);
        let seed = (!shape.flags.contains(MapFlags::ZERO_SEED)).then(|| world.seed());
        Ok(Self { core: MapCore::new(shape), bits, mask, hashes, seed })
    }

    /// The bits of a value: a word and a bit in it.
    fn places(&self, value: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        // As good as so many hashes are the multiples of one, added to another.
        let hash = self.seed.map(|seed| hash_wide(seed, value));
        let parts = hash.map(|hash| (low(hash), low(hash >> 32) | 1));
        (0..self.hashes).map(move |nth| {
            let nth = u32::from(nth);
            let hash = match parts {
                Some((first, step)) => first.wrapping_add(step.wrapping_mul(nth)),
                None => jenkins::hash(nth, value),
            };
            let bit = hash & self.mask;
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

    /// Of each size, the first of the values asked for that a kernel's filter has.
    const OF_THE_KERNEL: &[(u32, &[usize])] = &[
        (1, &[0, 4, 5, 6, 7, 12, 13, 14, 19, 20, 21, 22, 25, 26, 27, 32]),
        (4, &[0, 11, 14, 16, 19, 31, 52, 58, 70, 71, 76, 80, 91, 100, 102, 106]),
        (7, &[8, 21, 22, 36, 40, 42, 48, 58, 64, 90, 95, 99, 102, 115, 124, 126]),
        (8, &[2, 5, 20, 21, 41, 42, 44, 45, 48, 53, 56, 59, 73, 80, 88, 89]),
        (12, &[8, 14, 19, 22, 31, 38, 42, 44, 57, 66, 67, 74, 75, 76, 80, 92]),
        (13, &[24, 25, 28, 40, 43, 48, 52, 59, 60, 68, 71, 92, 115, 130, 134, 136]),
        (16, &[36, 37, 40, 52, 53, 60, 64, 66, 71, 83, 86, 97, 101, 109, 131, 134]),
        (24, &[1, 5, 14, 16, 17, 36, 52, 54, 55, 83, 84, 85, 95, 96, 112, 115]),
        (25, &[11, 13, 22, 36, 70, 78, 79, 81, 84, 98, 102, 107, 129, 139, 165, 190]),
    ];

    #[test]
    fn with_a_seed_of_zero_mistakes_are_the_kernels() {
        for (size, expected) in OF_THE_KERNEL {
            let mut spec = MapSpec::new("b", MapType::BloomFilter, 0, *size, 100);
            (spec.flags, spec.map_extra) = (MapFlags::ZERO_SEED, 3);
            let bloom = create(&spec, &World::with_cpus(1)).unwrap();
            let value = |of: &dyn Fn(usize) -> usize| -> Vec<u8> {
                (0..*size as usize).map(|at| of(at).to_le_bytes()[0]).collect()
            };
            for n in 0..120 {
                let put = value(&|at| n * 7 + at * (n + 3));
                bloom.push(&put, UpdateFlags::empty()).unwrap();
            }
            let found = |n: &usize| bloom.peek(&mut value(&|at| n * 11 + at * 5 + n / 25)).is_ok();
            let found: Vec<usize> = (0..400).filter(found).take(16).collect();
            assert_eq!(found, *expected, "{size} bytes");
        }
    }
}
