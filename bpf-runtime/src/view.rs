//! Maps as Rust types: keys and values that are plain types, and program arrays.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapType, UpdateFlags};
use bpf_maps::types::perf_events::{PerfBuffer, PerfEventArray};
use bpf_maps::types::ringbuf::RingBuf;

use crate::error::Error;
use crate::objects::map::{Map, is_percpu};
use crate::objects::program::{Program, of_runnable};
use crate::plain::Plain;
use crate::runtime::Runtime;

/// A program array: what tail calls jump through. Changes are seen by running programs at once.
#[derive(Clone, Debug)]
pub struct ProgArray {
    map: Map,
}

/// An array of values.
#[derive(Clone, Debug)]
pub struct Array<T> {
    map: Map,
    types: PhantomData<fn() -> T>,
}

/// An array with values for each CPU.
#[derive(Clone, Debug)]
pub struct PerCpuArray<T> {
    map: Map,
    types: PhantomData<fn() -> T>,
}

/// A hash map.
#[derive(Clone, Debug)]
pub struct Hash<K, V> {
    map: Map,
    types: PhantomData<fn() -> (K, V)>,
}

/// A hash map with values for each CPU.
#[derive(Clone, Debug)]
pub struct PerCpuHash<K, V> {
    map: Map,
    types: PhantomData<fn() -> (K, V)>,
}

/// A ring buffer: records that programs write and the host reads, in order.
#[derive(Clone, Debug)]
pub struct RingBuffer {
    map: Map,
}

/// The buffers of a perf event array, one for each CPU: samples that programs write and the host
/// reads.
#[derive(Clone, Debug)]
pub struct PerfEvents {
    map: Map,
    buffers: Vec<Arc<PerfBuffer>>,
}

impl Map {
    /// The map as a ring buffer.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type.
    pub fn ring_buffer(&self) -> Result<RingBuffer, Error> {
        self.clone().try_into()
    }

    /// Puts a buffer for so many bytes of samples into each slot of a perf event array.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type.
    pub fn perf_events(&self, capacity: usize) -> Result<PerfEvents, Error> {
        let Some(array) = self.raw().as_type::<PerfEventArray>() else {
            let (name, map_type) = (self.name().to_owned(), self.map_type());
            return Err(Error::WrongMapType { name, map_type, wanted: "perf_event_array" });
        };
        let mut buffers = Vec::new();
        for slot in 0..self.info().max_entries {
            let buffer = PerfBuffer::new(capacity);
            let set = array.set(slot, Arc::clone(&buffer), UpdateFlags::empty());
            set.map_err(|error| self.failed(error))?;
            buffers.push(buffer);
        }
        Ok(PerfEvents { map: self.clone(), buffers })
    }

    /// The map as a program array.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type.
    pub fn prog_array(&self) -> Result<ProgArray, Error> {
        self.clone().try_into()
    }

    /// The map as an array of values of this type.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type, or if its values have another size.
    pub fn array<T: Plain>(&self) -> Result<Array<T>, Error> {
        self.clone().try_into()
    }

    /// The map as an array with values of this type for each CPU.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type, or if its values have another size.
    pub fn percpu_array<T: Plain>(&self) -> Result<PerCpuArray<T>, Error> {
        self.clone().try_into()
    }

    /// The map as a hash map with keys and values of these types.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type, or if its keys or values have another size.
    pub fn hash<K: Plain, V: Plain>(&self) -> Result<Hash<K, V>, Error> {
        self.clone().try_into()
    }

    /// The map as a hash map with keys and, for each CPU, values of these types.
    ///
    /// # Errors
    ///
    /// Returns an error if it is of another type, or if its keys or values have another size.
    pub fn percpu_hash<K: Plain, V: Plain>(&self) -> Result<PerCpuHash<K, V>, Error> {
        self.clone().try_into()
    }

    fn check(
        &self,
        fits: bool,
        wanted: &'static str,
        key: usize,
        value: usize,
    ) -> Result<(), Error> {
        let info = self.info();
        let name = || self.name().to_owned();
        if !fits {
            return Err(Error::WrongMapType { name: name(), map_type: info.map_type, wanted });
        }
        let (key_size, value_size) = (info.key_size as usize, info.value_size as usize);
        if key_size != key {
            return Err(Error::WrongSize {
                name: name(),
                what: "key",
                size: key_size,
                wanted: key,
            });
        }
        if value_size != value {
            return Err(Error::WrongSize {
                name: name(),
                what: "value",
                size: value_size,
                wanted: value,
            });
        }
        Ok(())
    }

    /// The value at `key`, one or one a CPU.
    fn values<T: Plain>(&self, key: &[u8]) -> Result<Option<Vec<T>>, Error> {
        let value = self.lookup(key)?;
        Ok(value.map(|value| self.values_of(&value).map(T::load).collect()))
    }

    /// Values for each CPU, as the host writes them.
    fn join<T: Plain>(&self, values: &[T]) -> Vec<u8> {
        let stride = if is_percpu(self.map_type()) { T::SIZE.next_multiple_of(8) } else { T::SIZE };
        let mut bytes = vec![0; stride * values.len()];
        for (place, value) in bytes.chunks_mut(stride.max(1)).zip(values) {
            value.store(place);
        }
        bytes
    }
}

impl TryFrom<Map> for ProgArray {
    type Error = Error;

    fn try_from(map: Map) -> Result<Self, Error> {
        map.check(map.raw().as_prog_array().is_some(), "prog_array", 4, 4)?;
        Ok(Self { map })
    }
}

impl ProgArray {
    fn raw(&self) -> &bpf_maps::types::prog_array::ProgArray {
        self.map.raw().as_prog_array().expect("checked when the view was made")
    }

    /// Puts a program into a slot.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such slot, or if the program is of another kind than the
    /// programs that use the array.
    pub fn set(&self, index: u32, program: &Program) -> Result<(), Error> {
        self.set_with(index, program, UpdateFlags::empty())
    }

    /// The same with flags, of which Linux takes none.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and if there is a flag.
    pub fn set_with(&self, index: u32, program: &Program, flags: UpdateFlags) -> Result<(), Error> {
        program.check_runtime(self.map.raw().core().world())?;
        let set = self.raw().set(index, program.as_runnable(), flags);
        set.map_err(|error| self.map.failed(error))
    }

    /// Empties a slot.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such slot, or if it is empty.
    pub fn delete(&self, index: u32) -> Result<(), Error> {
        self.map.delete(&index.to_le_bytes())
    }

    /// The program in a slot of an array of this runtime, if there is one.
    pub fn get(&self, runtime: &Runtime, index: u32) -> Option<Program> {
        let program = Program::new(of_runnable(self.raw().get(index)?)?, runtime.clone());
        program.check_runtime(runtime.shared.cpus.world()).ok().map(|()| program)
    }

    /// Empties every slot.
    ///
    /// # Errors
    ///
    /// Returns an error if the array is frozen.
    pub fn clear(&self) -> Result<(), Error> {
        let emptied = self.map.raw().host().check_writable();
        emptied.map(|()| self.raw().clear()).map_err(|error| self.map.failed(error))
    }

    /// The map.
    pub const fn map(&self) -> &Map {
        &self.map
    }
}

impl TryFrom<Map> for RingBuffer {
    type Error = Error;

    fn try_from(map: Map) -> Result<Self, Error> {
        if map.raw().as_type::<RingBuf>().is_none() {
            let (name, map_type) = (map.name().to_owned(), map.map_type());
            return Err(Error::WrongMapType { name, map_type, wanted: "ringbuf" });
        }
        Ok(Self { map })
    }
}

impl RingBuffer {
    fn raw(&self) -> &RingBuf {
        self.map.raw().as_type().expect("checked when the view was made")
    }

    /// Hands every record that is ready to `each`, in order; returns how many there were.
    pub fn consume(&self, each: impl FnMut(&[u8])) -> usize {
        self.raw().consume(each)
    }

    /// Waits until a record is ready, but no longer than this; whether one is.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.raw().wait(timeout)
    }

    /// The map.
    pub const fn map(&self) -> &Map {
        &self.map
    }
}

impl PerfEvents {
    /// Hands every sample to `each`, with the CPU it was written on; returns how many there were.
    pub fn consume(&self, mut each: impl FnMut(usize, &[u8])) -> usize {
        let mut count = 0;
        for (cpu, buffer) in self.buffers.iter().enumerate() {
            while let Some(sample) = buffer.pop() {
                each(cpu, &sample);
                count += 1;
            }
        }
        count
    }

    /// How many samples had no room, since the last time this was asked.
    pub fn take_lost(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.take_lost()).sum()
    }

    /// The map.
    pub const fn map(&self) -> &Map {
        &self.map
    }
}

/// Implements what arrays and hash maps have in common: making the view of a map.
macro_rules! views {
    ($( $View:ident<$($T:ident),+> $wanted:literal, $key:expr, $value:expr, [$($map_type:ident)+]; )+) => { $(
        impl<$($T: Plain),+> TryFrom<Map> for $View<$($T),+> {
            type Error = Error;

            fn try_from(map: Map) -> Result<Self, Error> {
                let fits = [$( MapType::$map_type ),+].contains(&map.map_type());
                map.check(fits, $wanted, $key, $value)?;
                Ok(Self { map, types: PhantomData })
            }
        }

        impl<$($T: Plain),+> $View<$($T),+> {
            /// The map.
            pub const fn map(&self) -> &Map {
                &self.map
            }
        }
    )+ };
}

views! {
    Array<T> "array", 4, T::SIZE, [Array];
    PerCpuArray<T> "percpu_array", 4, T::SIZE, [PercpuArray];
    Hash<K, V> "hash", K::SIZE, V::SIZE, [Hash LruHash LpmTrie];
    PerCpuHash<K, V> "percpu_hash", K::SIZE, V::SIZE, [PercpuHash LruPercpuHash];
}

impl<T: Plain> Array<T> {
    /// The value at an index.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such index, or if the host may not read the map.
    pub fn get(&self, index: u32) -> Result<T, Error> {
        let value = self.map.lookup(&index.to_le_bytes())?;
        value
            .map(|value| T::load(&value))
            .ok_or_else(|| self.map.failed(bpf_maps::MapError::NotFound))
    }

    /// Sets the value at an index.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such index, or if the host may not write to the map.
    pub fn set(&self, index: u32, value: &T) -> Result<(), Error> {
        self.map.update(&index.to_le_bytes(), &value.to_bytes(), UpdateFlags::empty())
    }
}

impl<T: Plain> PerCpuArray<T> {
    /// The values at an index, one for each CPU, in order.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such index, or if the host may not read the map.
    pub fn get(&self, index: u32) -> Result<Vec<T>, Error> {
        let values = self.map.values(&index.to_le_bytes())?;
        values.ok_or_else(|| self.map.failed(bpf_maps::MapError::NotFound))
    }

    /// Sets the values at an index, one for each CPU.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such index, if there are more or fewer CPUs, or if the
    /// host may not write to the map.
    pub fn set(&self, index: u32, values: &[T]) -> Result<(), Error> {
        self.map.update(&index.to_le_bytes(), &self.map.join(values), UpdateFlags::empty())
    }
}

impl<K: Plain, V: Plain> Hash<K, V> {
    /// The value at a key, if there is one.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        Ok(self.map.lookup(&key.to_bytes())?.map(|value| V::load(&value)))
    }

    /// Sets the value at a key.
    ///
    /// # Errors
    ///
    /// Returns an error if the map is full, or if the host may not write to it.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        self.map.update(&key.to_bytes(), &value.to_bytes(), UpdateFlags::empty())
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write to the map.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        found(self.map.delete(&key.to_bytes()))
    }

    /// Every key and value, in the order of the map.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map.
    pub fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        Ok(self.map.entries()?.iter().map(|(key, value)| (K::load(key), V::load(value))).collect())
    }
}

impl<K: Plain, V: Plain> PerCpuHash<K, V> {
    /// The values at a key, one for each CPU, in order, if there are some.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map.
    pub fn get(&self, key: &K) -> Result<Option<Vec<V>>, Error> {
        self.map.values(&key.to_bytes())
    }

    /// Sets the values at a key, one for each CPU.
    ///
    /// # Errors
    ///
    /// Returns an error if the map is full, if there are more or fewer CPUs, or if the host may
    /// not write to the map.
    pub fn insert(&self, key: &K, values: &[V]) -> Result<(), Error> {
        self.map.update(&key.to_bytes(), &self.map.join(values), UpdateFlags::empty())
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write to the map.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        found(self.map.delete(&key.to_bytes()))
    }

    /// Every key and its values, in the order of the map.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map.
    pub fn entries(&self) -> Result<Vec<(K, Vec<V>)>, Error> {
        let decode = |(key, value): &(Vec<u8>, Vec<u8>)| {
            (K::load(key), self.map.values_of(value).map(V::load).collect())
        };
        Ok(self.map.entries()?.iter().map(decode).collect())
    }
}

/// A removal of something that was not there is no failure.
fn found(removed: Result<(), Error>) -> Result<bool, Error> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Errno::ENOENT => Ok(false),
        Err(error) => Err(error),
    }
}
