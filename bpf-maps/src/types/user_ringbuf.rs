//! Ring buffers the other way round: samples that the host writes, for programs to read in order.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bpf_abi::Errno;
use bpf_abi::map::UpdateFlags;

use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::{Go, Map};
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;

/// Samples in the order in which the host wrote them. Linux: `user_ringbuf_map_ops`.
#[derive(Debug)]
pub struct UserRingBuf {
    core: MapCore,
    samples: Mutex<Samples>,
    /// Whether a program is reading.
    busy: AtomicBool,
}

/// What a [`UserRingBuf`] holds.
#[derive(Debug, Default)]
struct Samples {
    samples: VecDeque<Vec<u8>>,
    /// How many bytes of the buffer they take.
    bytes: usize,
}

/// The bytes that a sample takes: its header, and itself in words.
const fn room(len: usize) -> usize {
    (len + 8).next_multiple_of(8)
}

impl UserRingBuf {
    /// An empty buffer.
    pub(crate) fn new(shape: MapShape) -> Self {
        let (samples, busy) = (Mutex::default(), AtomicBool::new(false));
        Self { core: MapCore::new(shape), samples, busy }
    }

    /// Host: writes a sample.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for it, now or ever.
    pub fn push(&self, sample: &[u8]) -> Result<(), MapError> {
        let mut samples = hold(&self.samples);
        let bytes = samples.bytes + room(sample.len());
        if bytes > self.shape().max_entries as usize {
            return Err(MapError::NoRoom);
        }
        samples.bytes = bytes;
        samples.samples.push_back(sample.to_vec());
        Ok(())
    }

    /// Program: reads samples until there are none, or until `each` says that it is enough; how
    /// many. One program reads at a time: for others there is nothing.
    pub fn drain<E>(&self, mut each: impl FnMut(&[u8]) -> Result<Go, E>) -> Option<Result<u64, E>> {
        /// The most that are read at once. Linux: `BPF_MAX_USER_RINGBUF_SAMPLES`.
        const MOST: u64 = 128 * 1024;
        self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let mut count = 0;
        let drained = loop {
            if count == MOST {
                break Ok(count);
            }
            let Some(sample) = self.take() else { break Ok(count) };
            count += 1;
            match each(&sample) {
                Ok(Go::On) => {}
                Ok(Go::Stop) => break Ok(count),
                Err(error) => break Err(error),
            }
        };
        self.busy.store(false, Ordering::Release);
        Some(drained)
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut samples = hold(&self.samples);
        let sample = samples.samples.pop_front()?;
        samples.bytes -= room(sample.len());
        Some(sample)
    }
}

impl Map for UserRingBuf {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated", Errno::ENOTSUPP))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("delete entries", Errno::ENOTSUPP))
    }

    fn read(&self, _: &[u8], _: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be looked into", Errno::ENOTSUPP))
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("say which keys there are", Errno::ENOTSUPP))
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::{World, create};

    #[test]
    fn samples_are_read_once_in_order_until_it_is_enough() {
        let spec = MapSpec::new("u", MapType::UserRingbuf, 0, 0, 4096);
        let map = create(&spec, &World::default()).unwrap();
        let ring = map.as_type::<UserRingBuf>().unwrap();
        for sample in [b"abc", b"def", b"ghi"] {
            ring.push(sample).unwrap();
        }
        let mut read = Vec::new();
        let mut two = |sample: &[u8]| -> Result<Go, ()> {
            read.extend_from_slice(sample);
            Ok(if read.len() == 6 { Go::Stop } else { Go::On })
        };
        assert_eq!(ring.drain(&mut two), Some(Ok(2)));
        assert_eq!(ring.drain(&mut two), Some(Ok(1)));
        assert_eq!(ring.drain(&mut two), Some(Ok(0)));
        assert_eq!(read, b"abcdefghi");
        assert_eq!(ring.drain(|_| Err::<Go, _>(())), Some(Ok(0)));
    }

    #[test]
    fn who_reads_while_reading_finds_it_busy_and_a_full_buffer_takes_no_more() {
        let spec = MapSpec::new("u", MapType::UserRingbuf, 0, 0, 4096);
        let map = create(&spec, &World::default()).unwrap();
        let ring = map.as_type::<UserRingBuf>().unwrap();
        ring.push(&[0; 4088]).unwrap();
        assert_eq!(ring.push(&[]), Err(MapError::NoRoom));
        let inner =
            |_: &[u8]| -> Result<Go, bool> { Err(ring.drain(|_| Ok::<_, ()>(Go::On)).is_none()) };
        assert_eq!(ring.drain(inner), Some(Err(true)));
        assert_eq!(ring.push(&[]), Ok(()));
    }
}
