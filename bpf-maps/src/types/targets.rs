//! Where packets can be sent: interfaces and CPUs at keys.
//!
//! Any number but 0 names an interface: which of them there are is for whoever carries the packets
//! out to know. Programs look entries of interfaces up in place, a number and that of a program.

use std::sync::atomic::Ordering;

use bpf_abi::Errno;
use bpf_abi::map::{MapType, UpdateFlags};

use crate::bytes::{Memory, SharedBytes, WORD};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::types::hash::Hash;
use crate::world::World;

/// What a value says: a number, and in values of eight bytes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    /// The interface, or how long a CPU's queue is; 0 for no entry.
    number: u32,
    /// The program that is to run there: none can be named here.
    program: i32,
}

impl Target {
    fn read(value: &[u8]) -> Self {
        let word = |at: usize| value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        Self {
            number: word(0).map_or(0, u32::from_le_bytes),
            program: word(4).map_or(-1, i32::from_le_bytes),
        }
    }

    /// The entry as it is kept.
    fn word(self) -> [u8; WORD] {
        u64::from(self.number).to_le_bytes()
    }
}

/// Checks what all these maps check of an update, in the kernel's order.
fn check_flags(flags: UpdateFlags) -> Result<(), MapError> {
    let is_known = flags.is_empty() || flags == UpdateFlags::NOEXIST || flags == UpdateFlags::EXIST;
    if is_known { Ok(()) } else { Err(MapError::OperationFlags(flags)) }
}

/// A program cannot be named by a number that the host has for an open file.
fn check_program(shape: &MapShape, target: Target) -> Result<(), MapError> {
    if target.program <= 0 {
        return Ok(());
    }
    let errno = if target.number == 0 { Errno::EINVAL } else { Errno::EBADF };
    Err(shape.cannot("name a program by an open file", errno))
}

/// Interfaces, or CPUs, at indices. Linux: `dev_map_ops`, `cpu_map_ops`.
#[derive(Debug)]
pub(crate) struct Targets {
    core: MapCore,
    values: Memory,
    /// How many CPUs there are, in maps of CPUs.
    cpus: u32,
}

impl Targets {
    /// No entries.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        /// The most CPUs of the kernel that was asked. Linux: `NR_CPUS`.
        const MOST_CPUS: u32 = 256;
        let of_cpus = shape.map_type == MapType::Cpumap;
        if of_cpus && shape.max_entries > MOST_CPUS {
            return Err(MapError::MaxEntries {
                map_type: shape.map_type,
                max_entries: shape.max_entries,
                wanted: "256 at most",
                errno: Errno::E2BIG,
            });
        }
        let values = Memory::new(u64::from(shape.max_entries), 64)?;
        Ok(Self { values, cpus: world.cpus().count(), core: MapCore::new(shape) })
    }

    fn of_cpus(&self) -> bool {
        self.shape().map_type == MapType::Cpumap
    }

    /// The entry at an index, if there is one.
    fn entry(&self, index: u32) -> Option<SharedBytes<'_>> {
        let index = index as usize;
        let words = self.values.get(index..index + 1)?;
        let is_there = words.first()?.load(Ordering::Relaxed) != 0;
        is_there.then(|| SharedBytes::new(words, self.shape().value_len()))
    }

    /// Checks a value, and says what is kept of it.
    fn checked(&self, index: u32, value: &[u8]) -> Result<Target, MapError> {
        /// Linux: the longest `ptr_ring` of a CPU.
        const LONGEST_QUEUE: u32 = 16384;
        let target = Target::read(value);
        if self.of_cpus() {
            if target.number > LONGEST_QUEUE {
                return Err(self.shape().cannot("have so long a queue", Errno::EOVERFLOW));
            }
            if index >= self.cpus {
                return Err(self.shape().cannot("name a CPU that there is not", Errno::ENODEV));
            }
        }
        check_program(self.shape(), target)?;
        Ok(target)
    }
}

impl Map for Targets {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn lookup(&self, _: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        self.entry(self.shape().index(key).ok()?)
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated by programs", Errno::EINVAL))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("be changed by programs", Errno::EINVAL))
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        check_flags(flags)?;
        let index = self.shape().index_within(key)?;
        if flags == UpdateFlags::NOEXIST {
            return Err(MapError::Exists);
        }
        let target = self.checked(index, value)?;
        if let Some(word) = self.values.get(index as usize) {
            word.store(u64::from_le_bytes(target.word()), Ordering::Relaxed);
        }
        Ok(())
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        let index = self.shape().index(key)? as usize;
        let word = self.values.get(index).filter(|_| index < self.shape().max_entries as usize);
        let word =
            word.ok_or_else(|| self.shape().cannot("delete behind its end", Errno::EINVAL))?;
        word.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        self.entry(self.shape().index(key)?).ok_or(MapError::NotFound)?.copy_to(out);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }
}

/// Interfaces at any numbers. Linux: `dev_map_hash_ops`.
#[derive(Debug)]
pub(crate) struct TargetsByHash {
    core: MapCore,
    entries: Hash,
}

impl TargetsByHash {
    /// No entries.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let entries = Hash::new(MapShape { map_type: MapType::Hash, ..shape.clone() }, world)?;
        Ok(Self { entries, core: MapCore::new(shape) })
    }
}

impl Map for TargetsByHash {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn lookup(&self, cpu: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        self.entries.lookup(cpu, key)
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated by programs", Errno::EINVAL))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("be changed by programs", Errno::EINVAL))
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        check_flags(flags)?;
        let target = Target::read(value);
        if target.number == 0 {
            return Err(self.shape().cannot("name no interface", Errno::EINVAL));
        }
        check_program(self.shape(), target)?;
        // Only new keys are told from old ones.
        let flags = flags & UpdateFlags::NOEXIST;
        let word = target.word();
        self.entries.write(key, word.get(..value.len()).unwrap_or(&word), flags)
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        self.entries.erase(key)
    }

    fn read(&self, key: &[u8], out: &mut [u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.entries.read(key, out, flags)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.entries.next_key(key, next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bpf_abi::map::MapSpec;

    use super::*;
    use crate::create;

    fn map(map_type: MapType, value_size: u32) -> Arc<dyn Map> {
        create(&MapSpec::new("t", map_type, 4, value_size, 2), &World::with_cpus(2)).unwrap()
    }

    fn errno(done: Result<(), MapError>) -> Errno {
        done.unwrap_err().errno()
    }

    const ANY: UpdateFlags = UpdateFlags::empty();

    #[test]
    fn an_interface_is_found_until_it_is_deleted() {
        for map_type in [MapType::Devmap, MapType::DevmapHash] {
            let map = map(map_type, 8);
            let (key, value) = ([1, 0, 0, 0], [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            assert!(map.lookup(CpuId(0), &key).is_none());
            map.host().update(&key, &value, UpdateFlags::EXIST).unwrap();
            let found = map.lookup(CpuId(0), &key).unwrap().to_vec();
            assert_eq!(found, [7, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(errno(map.host().update(&key, &value, UpdateFlags::NOEXIST)), Errno::EEXIST);
            let named = [7, 0, 0, 0, 5, 0, 0, 0];
            assert_eq!(errno(map.host().update(&key, &named, ANY)), Errno::EBADF);
            map.host().delete(&key).unwrap();
            assert!(map.lookup(CpuId(0), &key).is_none());
            assert_eq!(errno(map.host().lookup(&key, ANY).map(drop)), Errno::ENOENT);
        }
    }

    #[test]
    fn indices_have_an_end_and_hashes_are_full() {
        let array = map(MapType::Devmap, 4);
        assert_eq!(errno(array.host().update(&[2, 0, 0, 0], &[1, 0, 0, 0], ANY)), Errno::E2BIG);
        assert_eq!(errno(array.host().delete(&[2, 0, 0, 0])), Errno::EINVAL);
        array.host().update(&[0; 4], &[0; 4], ANY).unwrap();
        assert!(array.lookup(CpuId(0), &[0; 4]).is_none(), "no interface is no entry");
        let hash = map(MapType::DevmapHash, 4);
        for key in 0..2 {
            hash.host().update(&[key, 0, 0, 0], &[1, 0, 0, 0], ANY).unwrap();
        }
        assert_eq!(errno(hash.host().update(&[2, 0, 0, 0], &[1, 0, 0, 0], ANY)), Errno::E2BIG);
    }

    #[test]
    fn a_cpu_must_be_there_and_its_queue_has_a_longest_length() {
        let spec = MapSpec::new("t", MapType::Cpumap, 4, 4, 8);
        let map = create(&spec, &World::with_cpus(2)).unwrap();
        let update = |key: u8, queue: u32| {
            map.host().update(&[key, 0, 0, 0], &queue.to_le_bytes(), ANY).map_err(|e| e.errno())
        };
        assert_eq!(update(1, 192), Ok(()));
        assert_eq!(update(2, 192), Err(Errno::ENODEV));
        assert_eq!(update(1, 16385), Err(Errno::EOVERFLOW));
        assert_eq!(map.host().lookup(&[1, 0, 0, 0], ANY).unwrap(), 192_u32.to_le_bytes());
        let spec = MapSpec::new("t", MapType::Cpumap, 4, 4, 257);
        assert_eq!(errno(create(&spec, &World::default()).map(drop)), Errno::E2BIG);
    }
}
