//! Queues and stacks: values without keys, in the order they came or the reverse.

use std::sync::Mutex;

use bpf_abi::Errno;
use bpf_abi::map::{MapType, UpdateFlags};

use crate::bytes::{Memory, SharedBytes, WORD, wide};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;

/// Values in a ring. Linux: `queue_map_ops`, `stack_map_ops`.
#[derive(Debug)]
pub(crate) struct QueueStack {
    core: MapCore,
    values: Memory,
    ring: Mutex<Ring>,
}

/// Which places of the ring hold values.
#[derive(Debug, Default)]
struct Ring {
    /// The oldest value.
    oldest: u32,
    count: u32,
}

impl QueueStack {
    /// An empty one.
    pub(crate) fn new(shape: MapShape) -> Result<Self, MapError> {
        let width = u64::from(shape.stride()) / WORD as u64;
        let values = Memory::new(u64::from(shape.max_entries).saturating_mul(width), 64)?;
        Ok(Self { values, ring: Mutex::default(), core: MapCore::new(shape) })
    }

    /// The value at the `nth` place behind the oldest one.
    fn place(&self, ring: &Ring, nth: u32) -> SharedBytes<'_> {
        let shape = self.shape();
        let index = (u64::from(ring.oldest) + u64::from(nth)) % u64::from(shape.max_entries);
        let width = shape.stride() as usize / WORD;
        // The memory has a place for every index below `max_entries`.
        let start = wide(index) * width;
        SharedBytes::new(&self.values[start..start + width], shape.value_len())
    }

    /// The place of the value that is next, behind the oldest one.
    fn next(&self, ring: &Ring) -> Result<u32, MapError> {
        let newest = ring.count.checked_sub(1).ok_or(MapError::NotFound)?;
        Ok(if self.shape().map_type == MapType::Stack { newest } else { 0 })
    }

    fn advance(&self, ring: &mut Ring) {
        ring.oldest = (ring.oldest + 1) % self.shape().max_entries;
        ring.count -= 1;
    }
}

impl Map for QueueStack {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated at a key", Errno::EINVAL))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("delete at a key", Errno::EINVAL))
    }

    /// With `EXIST`, the oldest value makes room in a full map.
    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        let replaces = flags == UpdateFlags::EXIST;
        if !replaces && !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        let mut ring = hold(&self.ring);
        if ring.count == self.shape().max_entries {
            if !replaces {
                return Err(MapError::Full);
            }
            self.advance(&mut ring);
        }
        self.place(&ring, ring.count).copy_from(value);
        ring.count += 1;
        Ok(())
    }

    fn pop(&self, out: &mut [u8]) -> Result<(), MapError> {
        let mut ring = hold(&self.ring);
        let next = self.next(&ring).inspect_err(|_| out.fill(0))?;
        self.place(&ring, next).copy_to(out);
        if next == 0 {
            self.advance(&mut ring);
        } else {
            ring.count -= 1;
        }
        Ok(())
    }

    fn peek(&self, out: &mut [u8]) -> Result<(), MapError> {
        let ring = hold(&self.ring);
        let next = self.next(&ring).inspect_err(|_| out.fill(0))?;
        self.place(&ring, next).copy_to(out);
        Ok(())
    }

    fn read(&self, _: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        self.peek(out)
    }

    fn write(&self, _: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.push(value, flags)
    }

    fn take(&self, _: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        self.pop(out)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("list keys", Errno::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bpf_abi::map::MapSpec;

    use super::*;
    use crate::{World, create};

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn map(map_type: MapType) -> Arc<dyn Map> {
        create(&MapSpec::new("q", map_type, 0, 3, 4), &World::with_cpus(1)).unwrap()
    }

    fn drain(map: &Arc<dyn Map>) -> Vec<u8> {
        let pop = || {
            let mut value = [9; 3];
            map.pop(&mut value).ok().map(|()| value[0])
        };
        std::iter::from_fn(pop).collect()
    }

    #[test]
    fn a_queue_gives_the_oldest_and_a_stack_the_newest() {
        for (map_type, order) in [(MapType::Queue, [1, 2, 3]), (MapType::Stack, [3, 2, 1])] {
            let map = map(map_type);
            for round in 0..3 {
                for value in 1..=3 {
                    map.push(&[value; 3], NONE).unwrap();
                }
                let mut top = [0; 3];
                map.peek(&mut top).unwrap();
                assert_eq!(top, [order[0]; 3], "round {round}");
                assert_eq!(drain(&map), order);
            }
        }
    }

    #[test]
    fn a_full_one_drops_the_oldest_if_asked() {
        for (map_type, order) in [(MapType::Queue, [2, 3, 4, 5]), (MapType::Stack, [5, 4, 3, 2])] {
            let map = map(map_type);
            for value in 1..=4 {
                map.push(&[value; 3], NONE).unwrap();
            }
            assert_eq!(map.push(&[5; 3], NONE), Err(MapError::Full));
            map.push(&[5; 3], UpdateFlags::EXIST).unwrap();
            assert_eq!(drain(&map), order);
        }
    }

    #[test]
    fn an_empty_one_clears_what_was_to_be_filled() {
        let map = map(MapType::Queue);
        let mut out = [7; 3];
        assert_eq!(map.pop(&mut out), Err(MapError::NotFound));
        assert_eq!(out, [0; 3]);
    }
}
