//! One row a map type: what a description must say, and what makes the map.

mod array;
mod hash;
pub mod prog_array;
#[cfg(test)]
pub(crate) mod fake;

use std::sync::Arc;

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapSpec, MapType};

use crate::error::MapError;
use crate::map::Map;
use crate::shape::MapShape;
use crate::special::SPIN_LOCK_SIZE;
use crate::world::World;

use array::{Array, PercpuArray};
use hash::Hash;
use prog_array::ProgArray;

/// Makes the map that `spec` describes: empty, or all zeros. What the description says is to
/// be put into it, and that it is to be frozen, is left to the caller.
///
/// # Errors
///
/// Returns an error if Linux would not make it either, or if there is no such type here.
pub fn create(spec: &MapSpec, world: &World) -> Result<Arc<dyn Map>, MapError> {
    create_with(spec, None, world)
}

/// As [`create`], for values with a spin lock, at this byte.
///
/// # Errors
///
/// As [`create`], or if values of this map cannot have a lock there.
pub fn create_with(
    spec: &MapSpec,
    spin_lock: Option<u32>,
    world: &World,
) -> Result<Arc<dyn Map>, MapError> {
    let row = ROWS.iter().find(|row| row.map_type == spec.map_type);
    let row = row.ok_or(MapError::UnsupportedType(spec.map_type))?;
    row.check(spec)?;
    let mut shape = MapShape::of(spec);
    if let Some(offset) = spin_lock {
        row.check_spin_lock(spec, offset)?;
        shape.spin_lock = Some(offset);
    }
    (row.make)(shape, spec, world)
}

/// What a description of a map of one type must say.
struct Row {
    map_type: MapType,
    key: Size,
    value: Size,
    entries: Entries,
    /// Flags that the type has.
    allowed: MapFlags,
    /// Flags that it cannot do without.
    needed: MapFlags,
    spin_lock: SpinLock,
    make: fn(MapShape, &MapSpec, &World) -> Result<Arc<dyn Map>, MapError>,
}

/// The sizes that a key or a value may have.
#[derive(Clone, Copy)]
enum Size {
    /// So many bytes.
    Exactly(u32, &'static str),
    /// From the first to the last number of bytes.
    Within(u32, u32, &'static str),
    /// Not none, and key and value together less than the kernel allocates at once.
    Element,
    /// Not none, and no more than the kernel has of a CPU's own memory.
    Percpu,
    /// A multiple of 8 up to so many bytes.
    Words(u32, &'static str),
}

/// How many entries a map may have.
#[derive(Clone, Copy)]
enum Entries {
    /// At least one.
    Some,
    /// A power of two, a whole number of pages.
    Pages,
}

/// Whether values may have a spin lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpinLock {
    Possible,
    Impossible,
}

/// Linux: `KMALLOC_MAX_SIZE`, less what an element has besides key and value.
const ELEMENT: u64 = (4 << 20) - 48;
/// Linux: `PCPU_MIN_UNIT_SIZE`.
const PERCPU: u32 = 32 << 10;
/// Linux: the page size of x86-64.
const PAGE: u32 = 4096;

const FOUR: Size = Size::Exactly(4, "4");
const NO_BYTES: Size = Size::Exactly(0, "none");
const ANY: Size = Size::Within(1, i32::MAX as u32, "1 to 2147483647");

/// The flags about who may read and write: programs, the host.
const HOST: MapFlags = MapFlags::RDONLY.union(MapFlags::WRONLY);
const ACCESS: MapFlags = HOST.union(MapFlags::RDONLY_PROG).union(MapFlags::WRONLY_PROG);
const NUMA: MapFlags = MapFlags::NUMA_NODE;

const ROWS: &[Row] = &[
    Row {
        map_type: MapType::Array,
        key: FOUR,
        value: ANY,
        entries: Entries::Some,
        allowed: ACCESS.union(NUMA).union(MapFlags::MMAPABLE).union(MapFlags::INNER_MAP),
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Possible,
        make: |shape, _, _| Ok(Arc::new(Array::new(shape)?)),
    },
    Row {
        map_type: MapType::PercpuArray,
        key: FOUR,
        value: Size::Percpu,
        entries: Entries::Some,
        allowed: ACCESS,
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Impossible,
        make: |shape, _, world| Ok(Arc::new(PercpuArray::new(shape, world)?)),
    },
    Row {
        map_type: MapType::Hash,
        key: Size::Element,
        value: Size::Element,
        entries: Entries::Some,
        allowed: ACCESS.union(NUMA).union(MapFlags::NO_PREALLOC).union(MapFlags::ZERO_SEED),
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Possible,
        make: |shape, _, world| Ok(Arc::new(Hash::new(shape, world)?)),
    },
    Row {
        map_type: MapType::PercpuHash,
        key: Size::Element,
        value: Size::Percpu,
        entries: Entries::Some,
        allowed: ACCESS.union(MapFlags::NO_PREALLOC).union(MapFlags::ZERO_SEED),
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Impossible,
        make: |shape, _, world| Ok(Arc::new(Hash::new(shape, world)?)),
    },
    Row {
        map_type: MapType::ProgArray,
        key: FOUR,
        value: FOUR,
        entries: Entries::Some,
        allowed: HOST.union(NUMA),
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Impossible,
        make: |shape, _, world| Ok(Arc::new(ProgArray::new(shape, world)?)),
    },
];

impl Row {
    fn check(&self, spec: &MapSpec) -> Result<(), MapError> {
        self.check_flags(spec)?;
        if spec.map_extra != 0 && spec.map_type != MapType::BloomFilter {
            return Err(MapError::Extra { map_type: spec.map_type, extra: spec.map_extra });
        }
        self.check_entries(spec)?;
        let map_type = spec.map_type;
        self.key.check(spec, spec.key_size).map_err(|(wanted, errno)| MapError::KeySize {
            map_type,
            size: spec.key_size,
            wanted,
            errno,
        })?;
        self.value.check(spec, spec.value_size).map_err(|(wanted, errno)| MapError::ValueSize {
            map_type,
            size: spec.value_size,
            wanted,
            errno,
        })
    }

    fn check_flags(&self, spec: &MapSpec) -> Result<(), MapError> {
        let flags = spec.flags;
        let both = |a, b| flags.contains(a | b);
        let possible = (flags - self.allowed).is_empty()
            && flags.contains(self.needed)
            && !both(MapFlags::RDONLY, MapFlags::WRONLY)
            && !both(MapFlags::RDONLY_PROG, MapFlags::WRONLY_PROG);
        if !possible {
            let is_lru = matches!(spec.map_type, MapType::LruHash | MapType::LruPercpuHash);
            let errno = if is_lru && flags == MapFlags::NO_PREALLOC {
                Errno::ENOTSUPP
            } else {
                Errno::EINVAL
            };
            return Err(MapError::CreateFlags { map_type: spec.map_type, flags, errno });
        }
        // There is one memory node; the highest number stands for none in particular.
        if flags.contains(NUMA) && !matches!(spec.numa_node, 0 | u32::MAX) {
            return Err(MapError::NumaNode(spec.numa_node));
        }
        Ok(())
    }

    fn check_entries(&self, spec: &MapSpec) -> Result<(), MapError> {
        let count = spec.max_entries;
        let (possible, wanted, errno) = match self.entries {
            Entries::Some => (count > 0, "one at least", Errno::EINVAL),
            Entries::Pages => (
                count.is_power_of_two() && count % PAGE == 0,
                "a power of two of bytes, whole pages",
                Errno::EINVAL,
            ),
        };
        if possible {
            return Ok(());
        }
        let map_type = spec.map_type;
        Err(MapError::MaxEntries { map_type, max_entries: count, wanted, errno })
    }

    fn check_spin_lock(&self, spec: &MapSpec, offset: u32) -> Result<(), MapError> {
        let end = offset.checked_add(SPIN_LOCK_SIZE);
        let is_inside =
            offset % SPIN_LOCK_SIZE == 0 && end.is_some_and(|end| end <= spec.value_size);
        if is_inside && self.spin_lock == SpinLock::Possible {
            return Ok(());
        }
        Err(MapError::SpinLock { offset })
    }
}

impl Size {
    /// Whether this is one of the sizes; if not, which they are, and what Linux says.
    fn check(self, spec: &MapSpec, size: u32) -> Result<(), (&'static str, Errno)> {
        let (possible, wanted, errno) = match self {
            Self::Exactly(bytes, wanted) => (size == bytes, wanted, Errno::EINVAL),
            Self::Within(least, most, wanted) => {
                ((least..=most).contains(&size), wanted, Errno::EINVAL)
            }
            Self::Words(most, wanted) => {
                (size > 0 && size % 8 == 0 && size <= most, wanted, Errno::EINVAL)
            }
            Self::Element | Self::Percpu if size == 0 => (false, "one at least", Errno::EINVAL),
            Self::Element => {
                let both = u64::from(spec.key_size) + u64::from(spec.value_size);
                (both < ELEMENT, "less than 4 MiB with its key or value", Errno::E2BIG)
            }
            Self::Percpu => (size <= PERCPU, "32768 at most", Errno::E2BIG),
        };
        if possible { Ok(()) } else { Err((wanted, errno)) }
    }
}
