//! Perf event arrays: where programs write samples for the host, one buffer a slot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bpf_abi::Errno;
use bpf_abi::map::UpdateFlags;

use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;

/// Samples that programs wrote and the host has not read yet; what no room was left for is
/// counted.
///
/// Linux: a `PERF_COUNT_SW_BPF_OUTPUT` event and its pages.
#[derive(Debug)]
pub struct PerfBuffer {
    capacity: usize,
    samples: Mutex<Samples>,
}

/// What a [`PerfBuffer`] holds.
#[derive(Debug, Default)]
struct Samples {
    samples: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
}

impl PerfBuffer {
    /// A buffer for so many bytes of samples.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, samples: Mutex::default() })
    }

    /// Takes the oldest sample.
    pub fn pop(&self) -> Option<Vec<u8>> {
        let mut samples = hold(&self.samples);
        let sample = samples.samples.pop_front()?;
        samples.bytes -= sample.len();
        Some(sample)
    }

    /// How many samples were lost since the last time this was asked.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut hold(&self.samples).lost)
    }

    fn push(&self, sample: Vec<u8>) -> Result<(), MapError> {
        let mut samples = hold(&self.samples);
        if sample.len() > self.capacity - samples.bytes {
            samples.lost += 1;
            return Err(MapError::NoSpace);
        }
        samples.bytes += sample.len();
        samples.samples.push_back(sample);
        Ok(())
    }
}

/// Buffers at indices. Linux: `perf_event_array_map_ops`.
#[derive(Debug)]
pub struct PerfEventArray {
    core: MapCore,
    slots: Mutex<Vec<Option<Arc<PerfBuffer>>>>,
}

impl PerfEventArray {
    /// Empty slots.
    pub(crate) fn new(shape: MapShape) -> Result<Self, MapError> {
        Ok(Self { core: MapCore::new(shape), slots: Mutex::default() })
    }

    /// Host: puts a buffer into a slot.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write to the array or if there is no such slot.
    pub fn set(
        &self,
        index: u32,
        buffer: Arc<PerfBuffer>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        (self as &dyn Map).host().check_writable()?;
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.check_index(index)?;
        self.exchange(index, Some(buffer));
        Ok(())
    }

    /// Program: writes a sample into the buffer of a slot.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such slot, if it is empty, or if the buffer is full.
    pub fn output(&self, index: u32, sample: Vec<u8>) -> Result<(), MapError> {
        self.check_index(index)?;
        let buffer = hold(&self.slots).get(index as usize).cloned().flatten();
        buffer.ok_or(MapError::NotFound)?.push(sample)
    }

    fn check_index(&self, index: u32) -> Result<(), MapError> {
        self.shape().index_within(&index.to_le_bytes()).map(|_| ())
    }

    fn exchange(&self, index: u32, buffer: Option<Arc<PerfBuffer>>) -> Option<Arc<PerfBuffer>> {
        let mut slots = hold(&self.slots);
        let index = index as usize;
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots.get_mut(index).and_then(|slot| std::mem::replace(slot, buffer))
    }
}

impl Map for PerfEventArray {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn write(&self, key: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.shape().index_within(key)?;
        Err(self.shape().cannot("take bytes: a slot is set to a buffer", Errno::EBADF))
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated by programs", Errno::EINVAL))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("be changed by programs", Errno::EINVAL))
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        let index = self.shape().index_within(key)?;
        self.exchange(index, None).map(|_| ()).ok_or(MapError::NotFound)
    }

    fn read(&self, _: &[u8], _: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be looked into", Errno::ENOTSUPP))
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::{World, create};

    #[test]
    fn samples_come_out_in_order_and_lost_ones_are_counted() {
        let spec = MapSpec::new("e", MapType::PerfEventArray, 4, 4, 2);
        let map = create(&spec, &World::with_cpus(2)).unwrap();
        let events = map.as_type::<PerfEventArray>().unwrap();
        assert_eq!(events.output(0, b"x".to_vec()), Err(MapError::NotFound));
        assert_eq!(events.output(2, b"x".to_vec()).unwrap_err().errno(), Errno::E2BIG);
        let buffer = PerfBuffer::new(5);
        events.set(0, Arc::clone(&buffer), UpdateFlags::empty()).unwrap();
        events.output(0, b"abc".to_vec()).unwrap();
        assert_eq!(events.output(0, b"abc".to_vec()), Err(MapError::NoSpace));
        events.output(0, b"de".to_vec()).unwrap();
        assert_eq!(buffer.pop().as_deref(), Some(&b"abc"[..]));
        assert_eq!(buffer.pop().as_deref(), Some(&b"de"[..]));
        assert_eq!((buffer.pop(), buffer.take_lost(), buffer.take_lost()), (None, 1, 0));
    }
}
