//! Ring buffers: records that programs write in place, for the host to read in order.
//!
//! ```text
//!            consumer                 producer
//!               v                        v
//!   -----------+------+------+----------+-------------
//!    free      | rec  | busy | rec      |   free
//!   -----------+------+------+----------+-------------
//! ```
//!
//! A record is a header of eight bytes and data, padded to a multiple of eight. The header
//! holds the length (30 bits), whether the record is still written to (*busy*) or to be passed
//! over (*discarded*), and how many pages before it the buffer begins, so that its data's
//! address is enough to find the buffer. The host stops at the first busy record.
//!
//! Linux: `kernel/bpf/ringbuf.c`, whose layout this is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitflags::bitflags;
use bpf_abi::Errno;
use bpf_abi::map::UpdateFlags;

use crate::bytes::{SharedBytes, WORD, wide, words_for};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::mirror::{Mirror, PAGE};
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;

/// Records in the order they were reserved. Linux: `ringbuf_map_ops`.
#[derive(Debug)]
pub struct RingBuf {
    core: MapCore,
    data: Mirror,
    /// The size of the data less one: it is a power of two.
    mask: u64,
    producer: Position,
    consumer: Position,
    /// The lock of who reserves, and where the oldest record may be that is still written to.
    pending: Mutex<u64>,
    /// The lock of who reads.
    reader: Mutex<()>,
    waiting: AtomicU32,
    changed: Condvar,
    sleep: Mutex<()>,
}

/// A position in the stream of all bytes ever, alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Position(AtomicU64);

bitflags! {
    /// What submitting a record does to a waiting reader.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Wakeup: u64 {
        /// It is left to sleep. Linux: `BPF_RB_NO_WAKEUP`.
        const NO = 1;
        /// It is woken in any case. Linux: `BPF_RB_FORCE_WAKEUP`.
        const FORCE = 2;
        /// Bits that no kernel knows are kept, so that they can be refused.
        const _ = !0;
    }
}

const BUSY: u64 = 1 << 31;
const DISCARDED: u64 = 1 << 30;
const LENGTH: u64 = DISCARDED - 1;
/// The longest record. Linux: `RINGBUF_MAX_RECORD_SZ`.
const LONGEST: u64 = 0x3fff_ffff;

/// The bytes that a record with so much data takes.
const fn room(len: u64) -> u64 {
    (len + 8 + 7) & !7
}

impl RingBuf {
    /// An empty buffer.
    pub(crate) fn new(shape: MapShape) -> Result<Arc<Self>, MapError> {
        let size = shape.max_entries;
        let buffer = Arc::new(Self {
            data: Mirror::new(size as usize)?,
            mask: u64::from(size) - 1,
            producer: Position::default(),
            consumer: Position::default(),
            pending: Mutex::new(0),
            reader: Mutex::new(()),
            waiting: AtomicU32::new(0),
            changed: Condvar::new(),
            sleep: Mutex::new(()),
            core: MapCore::new(shape),
        });
        let own = Arc::as_ptr(&buffer).expose_provenance() as u64;
        buffer.data.head().store(own, Ordering::Relaxed);
        Ok(buffer)
    }

    /// Program: reserves a record, and returns the address of its data; `None` if there is no
    /// room. It must be submitted or discarded: until then the host reads nothing after it.
    pub fn reserve(&self, size: u64) -> Option<u64> {
        if size > LONGEST || room(size) > self.mask + 1 {
            return None;
        }
        let mut pending = hold(&self.pending);
        let consumer = self.consumer.0.load(Ordering::Acquire);
        let producer = self.producer.0.load(Ordering::Relaxed);
        while *pending < producer {
            let header = self.header(*pending).load(Ordering::Relaxed);
            if header & BUSY != 0 {
                break;
            }
            *pending += room(header & LENGTH);
        }
        let after = producer + room(size);
        if after - consumer > self.mask || after - *pending > self.mask {
            return None;
        }
        let header = self.header(producer);
        let offset = PAGE as u64 + (producer & self.mask);
        let pages = offset / PAGE as u64;
        header.store(pages << 32 | BUSY | size, Ordering::Relaxed);
        self.producer.0.store(after, Ordering::Release);
        Some(self.data.addr() + offset + 8)
    }

    /// Program: gives a record to the host.
    ///
    /// # Errors
    ///
    /// Returns an error if no record that was reserved and not yet submitted begins there.
    pub fn submit(&self, record: u64, wakeup: Wakeup) -> Result<(), MapError> {
        self.commit(record, 0, wakeup)
    }

    /// Program: gives a record up. The host does not see it.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn discard(&self, record: u64, wakeup: Wakeup) -> Result<(), MapError> {
        self.commit(record, DISCARDED, wakeup)
    }

    /// Program: copies data into a record and gives it to the host.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room, or if the flags are unknown.
    pub fn output(&self, data: &[u8], wakeup: Wakeup) -> Result<(), MapError> {
        if !(wakeup - (Wakeup::NO | Wakeup::FORCE)).is_empty() {
            return Err(MapError::OperationFlags(UpdateFlags::from_bits_retain(wakeup.bits())));
        }
        let record = self.reserve(data.len() as u64).ok_or(MapError::NoRoom)?;
        self.bytes(record, data.len()).ok_or(MapError::NotARecord)?.copy_from(data);
        self.submit(record, wakeup)
    }

    /// The buffer of a record, given the address of its data.
    ///
    /// # Safety
    ///
    /// `[ringbuf-record]`: `record` must be what [`reserve`](Self::reserve) returned, of a
    /// buffer that is kept as long as the result is used.
    #[expect(unsafe_code, reason = "finds a buffer from a record, as the record says")]
    pub unsafe fn of_record<'a>(record: u64) -> &'a Self {
        let header = std::ptr::with_exposed_provenance::<AtomicU64>(wide(record) - 8);
        // SAFETY: [ringbuf-record] a record's header is in the eight bytes before its data.
        let pages = unsafe { &*header }.load(Ordering::Relaxed) >> 32;
        let head = (header.addr() & !(PAGE - 1)) - wide(pages) * PAGE;
        let head = std::ptr::with_exposed_provenance::<AtomicU64>(head);
        // SAFETY: [ringbuf-record] the header says how far the head is.
        let own = unsafe { &*head }.load(Ordering::Relaxed);
        let own = std::ptr::with_exposed_provenance::<Self>(wide(own));
        // SAFETY: [ringbuf-record] the head holds the address of the buffer, which is kept.
        unsafe { &*own }
    }

    /// Host: reads all records that are ready, in order, and frees their room; how many.
    pub fn consume(&self, mut each: impl FnMut(&[u8])) -> usize {
        let _reader = hold(&self.reader);
        let mut consumer = self.consumer.0.load(Ordering::Relaxed);
        let mut count = 0;
        let mut data = Vec::new();
        while consumer < self.producer.0.load(Ordering::Acquire) {
            let header = self.header(consumer).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = header & LENGTH;
            if header & DISCARDED == 0 {
                data.resize(wide(len), 0);
                let record = self.data.addr() + PAGE as u64 + (consumer & self.mask) + 8;
                if let Some(bytes) = self.bytes(record, data.len()) {
                    bytes.copy_to(&mut data);
                }
                each(&data);
                count += 1;
            }
            consumer += room(len);
            self.consumer.0.store(consumer, Ordering::Release);
        }
        count
    }

    /// Host: waits until a record is ready, but no longer than this; whether one is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut guard = hold(&self.sleep);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let is_ready = loop {
            if self.has_ready() {
                break true;
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else { break false };
            let woken = self.changed.wait_timeout(guard, left);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        is_ready
    }

    /// What `bpf_ringbuf_query` answers; 0 to a question that it does not know.
    pub fn query(&self, question: u64) -> u64 {
        let consumer = self.consumer.0.load(Ordering::Acquire);
        let producer = self.producer.0.load(Ordering::Acquire);
        match question {
            0 => producer.saturating_sub(consumer),
            1 => self.mask + 1,
            2 => consumer,
            3 => producer,
            _ => 0,
        }
    }

    fn has_ready(&self) -> bool {
        let consumer = self.consumer.0.load(Ordering::Acquire);
        consumer < self.producer.0.load(Ordering::Acquire)
            && self.header(consumer).load(Ordering::SeqCst) & BUSY == 0
    }

    fn commit(&self, record: u64, discarded: u64, wakeup: Wakeup) -> Result<(), MapError> {
        let start = record.checked_sub(self.data.addr() + PAGE as u64 + 8);
        let start = start.filter(|start| start % 8 == 0 && *start <= self.mask);
        let header = self.header(start.ok_or(MapError::NotARecord)?);
        let busy = header.load(Ordering::Relaxed);
        if busy & BUSY == 0 {
            return Err(MapError::NotARecord);
        }
        // Before looking whether a reader sleeps, as the reader looks here after saying so.
        header.swap(busy & !BUSY | discarded, Ordering::SeqCst);
        let wakes = wakeup.contains(Wakeup::FORCE) || !wakeup.contains(Wakeup::NO);
        if wakes && self.waiting.load(Ordering::SeqCst) != 0 {
            drop(hold(&self.sleep));
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The header of the record at a position.
    fn header(&self, position: u64) -> &AtomicU64 {
        &self.data.words()[wide(position & self.mask) / WORD]
    }

    /// The data of a record, which may reach into the second copy.
    fn bytes(&self, record: u64, len: usize) -> Option<SharedBytes<'_>> {
        let start = record.checked_sub(self.data.addr() + PAGE as u64)?;
        let start = usize::try_from(start).ok()? / WORD;
        let words = self.data.words().get(start..start + words_for(len))?;
        Some(SharedBytes::new(words, len))
    }
}

impl Map for RingBuf {
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
        Err(self.shape().cannot("list keys", Errno::ENOTSUPP))
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", not(miri)))]
mod tests {
    use std::thread;

    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::{World, create};

    const WAKES: Wakeup = Wakeup::empty();

    fn ring(size: u32) -> Arc<dyn Map> {
        create(&MapSpec::new("r", MapType::Ringbuf, 0, 0, size), &World::with_cpus(2)).unwrap()
    }

    fn of(map: &Arc<dyn Map>) -> &RingBuf {
        map.as_type().unwrap()
    }

    fn drain(ring: &RingBuf) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        ring.consume(|record| records.push(record.to_vec()));
        records
    }

    #[test]
    fn records_come_out_in_the_order_they_were_reserved() {
        let map = ring(4096);
        let ring = of(&map);
        let [a, b, c] = [0; 3].map(|_| ring.reserve(5).unwrap());
        for (record, data) in [(a, b"first"), (b, b"secnd"), (c, b"third")] {
            ring.bytes(record, 5).unwrap().copy_from(data);
        }
        ring.submit(c, WAKES).unwrap();
        assert_eq!(drain(ring), Vec::<Vec<u8>>::new());
        ring.submit(a, WAKES).unwrap();
        assert_eq!(drain(ring), [b"first".to_vec()]);
        ring.discard(b, WAKES).unwrap();
        assert_eq!(drain(ring), [b"third".to_vec()]);
    }

    #[test]
    fn a_record_that_wraps_lies_in_one_piece() {
        let map = ring(4096);
        let ring = of(&map);
        for round in 0..50_u8 {
            let data = vec![round; 1000];
            ring.output(&data, WAKES).unwrap();
            assert_eq!(drain(ring), [data]);
        }
    }

    #[test]
    fn a_full_buffer_refuses_until_it_is_read() {
        let map = ring(4096);
        let ring = of(&map);
        // Room for 4095 bytes: 4 * 1016 with headers are 4096, so three fit.
        let fits = (0..5).take_while(|_| ring.output(&[1; 1016], WAKES).is_ok()).count();
        assert_eq!(fits, 3);
        assert_eq!(ring.output(&[1; 1016], WAKES).unwrap_err().errno(), Errno::EAGAIN);
        assert_eq!((ring.query(0), ring.query(1)), (3072, 4096));
        assert_eq!(drain(ring).len(), 3);
        assert_eq!((ring.query(0), ring.query(2), ring.query(3)), (0, 3072, 3072));
        ring.output(&[1; 1016], WAKES).unwrap();
        assert_eq!(ring.reserve(4096), None);
        assert_eq!(ring.reserve(u64::MAX), None);
    }

    #[test]
    fn nothing_else_is_a_record() {
        let map = ring(4096);
        let ring = of(&map);
        let record = ring.reserve(8).unwrap();
        for wrong in [0, record - 8, record + 8, record + 1, u64::MAX] {
            assert_eq!(ring.submit(wrong, WAKES), Err(MapError::NotARecord), "{wrong:#x}");
        }
        ring.submit(record, WAKES).unwrap();
        assert_eq!(ring.submit(record, WAKES), Err(MapError::NotARecord));
    }

    #[test]
    #[expect(unsafe_code, reason = "finds a buffer from a record")]
    fn a_record_knows_its_buffer() {
        let map = ring(8192);
        let ring = of(&map);
        for _ in 0..20 {
            let record = ring.reserve(1500).unwrap();
            // SAFETY: [ringbuf-record] reserved in the line above; `map` keeps the buffer.
            let found = unsafe { RingBuf::of_record(record) };
            assert!(std::ptr::eq(found, ring));
            found.submit(record, WAKES).unwrap();
            assert_eq!(drain(ring).len(), 1);
        }
    }

    #[test]
    fn a_reader_sleeps_until_there_is_something_and_misses_nothing() {
        let map = ring(4096);
        let ring = of(&map);
        assert!(!ring.wait(Duration::from_millis(1)));
        thread::scope(|scope| {
            for writer in 0..2_u32 {
                scope.spawn(move || {
                    for n in 0..2000_u32 {
                        let record = [writer.to_le_bytes(), n.to_le_bytes()].concat();
                        while ring.output(&record, WAKES).is_err() {
                            thread::yield_now();
                        }
                    }
                });
            }
            let mut next = [0_u32; 2];
            while next != [2000, 2000] {
                assert!(ring.wait(Duration::from_secs(20)), "slept through a record: {next:?}");
                ring.consume(|record| {
                    let [writer, n] =
                        [0, 4].map(|at| u32::from_le_bytes(record[at..at + 4].try_into().unwrap()));
                    assert_eq!(n, next[writer as usize]);
                    next[writer as usize] += 1;
                });
            }
        });
    }
}
