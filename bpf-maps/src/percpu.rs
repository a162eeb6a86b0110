//! Values of which each CPU has its own.

use crate::bytes::{Memory, SharedBytes, WORD, wide};
use crate::cpu::CpuId;
use crate::error::MapError;
use crate::shape::MapShape;

/// What CPUs' values are kept apart by, in words: two cache lines, since they are fetched in
/// pairs.
const APART: u64 = 16;

/// Numbered values, each once a CPU.
///
/// ```text
///   CPU 0                            CPU 1
///   +---------+---------+---+ - - +  +---------+---------+
///   | value 0 | value 1 | … | pad |  | value 0 | value 1 | …
///   +---------+---------+---+ - - +  +---------+---------+
/// ```
#[derive(Debug)]
pub(crate) struct PercpuValues {
    memory: Memory,
    cpus: u32,
    values: u32,
    value_len: usize,
    /// How many words a value has.
    width: usize,
    /// How many words a CPU has.
    cpu_width: usize,
}

impl PercpuValues {
    /// So many zeros for so many CPUs.
    pub(crate) fn new(shape: &MapShape, values: u32, cpus: u32) -> Result<Self, MapError> {
        let width = u64::from(shape.stride()) / WORD as u64;
        let cpu_width = (u64::from(values) * width).next_multiple_of(APART);
        let words = cpu_width.saturating_mul(u64::from(cpus));
        let memory = Memory::new(words, 128)?;
        // Both fit, since their product was allocated.
        let [width, cpu_width] = [width, cpu_width].map(wide);
        Ok(Self { memory, cpus, values, value_len: shape.value_len(), width, cpu_width })
    }

    /// The address of the first value of the first CPU.
    pub(crate) fn addr(&self) -> u64 {
        self.memory.addr()
    }

    /// How many CPUs have values.
    pub(crate) const fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The distance of two CPUs' values, in bytes.
    pub(crate) const fn cpu_stride(&self) -> u64 {
        (self.cpu_width * WORD) as u64
    }

    /// How they lie. Each value has the room of whole words.
    pub(crate) fn layout(&self) -> bpf_abi::map::PercpuValues {
        bpf_abi::map::PercpuValues {
            values: self.addr(),
            // Lengths of values are limited.
            stride: crate::bytes::low((self.width * WORD) as u64),
            cpu_stride: self.cpu_stride(),
        }
    }

    /// How long the values of all CPUs are, in bytes.
    pub(crate) const fn host_value_size(&self) -> usize {
        self.width * WORD * self.cpus as usize
    }

    /// One CPU's value.
    pub(crate) fn value(&self, cpu: CpuId, index: u32) -> Option<SharedBytes<'_>> {
        if cpu.0 >= self.cpus || index >= self.values {
            return None;
        }
        let start = cpu.index() * self.cpu_width + index as usize * self.width;
        let words = self.memory.get(start..start + self.width)?;
        Some(SharedBytes::new(words, self.value_len))
    }

    /// All CPUs' values.
    fn all(&self, index: u32) -> impl Iterator<Item = SharedBytes<'_>> {
        (0..self.cpus).filter_map(move |cpu| self.value(CpuId(cpu), index))
    }

    /// Copies all CPUs' values out, one after the other.
    pub(crate) fn read(&self, index: u32, out: &mut [u8]) {
        for (value, out) in self.all(index).zip(out.chunks_mut(self.width * WORD)) {
            value.copy_to(out);
        }
    }

    /// Sets all CPUs' values, which come one after the other.
    pub(crate) fn write(&self, index: u32, bytes: &[u8]) {
        for (value, bytes) in self.all(index).zip(bytes.chunks(self.width * WORD)) {
            value.copy_from(bytes);
        }
    }

    /// Sets one CPU's value and clears the others'.
    pub(crate) fn write_one(&self, cpu: CpuId, index: u32, bytes: &[u8]) {
        for (other, value) in (0..).map(CpuId).zip(self.all(index)) {
            if other == cpu {
                value.copy_from(bytes);
            } else {
                value.clear();
            }
        }
    }
}
