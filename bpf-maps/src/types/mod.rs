//! One row a map type: what a description must say, and what makes the map.

mod array;
mod hash;
mod lru;
mod lpm_trie;
mod queue_stack;
mod jenkins;
mod bloom;
pub mod map_of_maps;
pub mod ringbuf;
pub mod perf_events;
pub mod stack_trace;
pub mod prog_array;
pub mod user_ringbuf;
mod targets;
mod local_storage;
mod kernel_objects;
#[cfg(test)]
pub(crate) mod fake;

use std::sync::Arc;

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapSpec, MapType};

use crate::error::MapError;
use crate::map::Map;
use crate::shape::MapShape;
use crate::special::{Fields, SPIN_LOCK_SIZE};
use crate::world::World;

use array::{Array, PercpuArray};
use bloom::Bloom;
use hash::Hash;
use kernel_objects::KernelObjects;
use local_storage::Storage;
use lpm_trie::LpmTrie;
use map_of_maps::{ArrayOfMaps, HashOfMaps};
use perf_events::PerfEventArray;
use prog_array::ProgArray;
use queue_stack::QueueStack;
use ringbuf::RingBuf;
use stack_trace::StackTrace;
use targets::{Targets, TargetsByHash};
use user_ringbuf::UserRingBuf;

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
    create_with_fields(spec, spin_lock, None, world)
}

/// As [`create_with`], for values that have other fields besides that are not data: in arrays and
/// hash maps of one value an entry.
///
/// # Errors
///
/// As [`create_with`], or if maps of this type cannot have such fields.
pub fn create_with_fields(
    spec: &MapSpec,
    spin_lock: Option<u32>,
    fields: Option<Fields>,
    world: &World,
) -> Result<Arc<dyn Map>, MapError> {
    let row = row_of(spec.map_type)?;
    row.check(spec)?;
    let mut shape = MapShape::of(spec);
    if let Some(offset) = spin_lock {
        row.check_spin_lock(spec, offset)?;
        shape.spin_lock = Some(offset);
    }
    if fields.is_some() {
        let keeps = matches!(spec.map_type, MapType::Array | MapType::Hash | MapType::LruHash);
        if !keeps {
            return Err(shape.cannot("own objects", Errno::EOPNOTSUPP));
        }
        shape.fields = fields;
    }
    let map = (row.make)(shape, spec, world)?;
    map.core().set_world(world.cpus().world());
    Ok(map)
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
    make: Make,
}

/// What makes a map whose description has been checked.
type Make = fn(MapShape, &MapSpec, &World) -> Result<Arc<dyn Map>, MapError>;

/// The sizes that a key or a value may have.
#[derive(Clone, Copy)]
enum Size {
    /// So many bytes.
    Exactly(u32, &'static str),
    /// The first or the second number of bytes.
    Either(u32, u32, &'static str),
    /// Not none, and no more than so many of bytes.
    UpTo(u32, &'static str),
    /// From the first to the last number of bytes.
    Within(u32, u32, &'static str),
    /// Not none, and less than the kernel allocates at once.
    Key,
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
    /// None: the entries are with the objects that they are about.
    Elsewhere,
}

/// Whether values may have a spin lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpinLock {
    Possible,
    Impossible,
}

/// A row of a type without special flags, of values without locks.
const fn row(map_type: MapType, key: Size, value: Size, make: Make) -> Row {
    Row {
        map_type,
        key,
        value,
        entries: Entries::Some,
        allowed: MapFlags::empty(),
        needed: MapFlags::empty(),
        spin_lock: SpinLock::Impossible,
        make,
    }
}

/// Linux: `KMALLOC_MAX_SIZE`, less what an element has besides key and value.
const ELEMENT: u64 = (4 << 20) - 48;
/// Linux: `LPM_VAL_SIZE_MAX`, for the longest key.
const TRIE_VALUE: u32 = (4 << 20) - 256 - 60;
/// Linux: `PCPU_MIN_UNIT_SIZE`.
const PERCPU: u32 = 32 << 10;
/// Linux: the page size of x86-64.
const PAGE: u32 = 4096;

const FOUR: Size = Size::Exactly(4, "4");
const NO_BYTES: Size = Size::Exactly(0, "none");
/// The number of an interface or a CPU, and a program for it if there is room.
const TARGET: Size = Size::Either(4, 8, "4 or 8");
/// What storages have room for. Linux: `BPF_LOCAL_STORAGE_MAX_VALUE_SIZE`.
const STORED: Size = Size::UpTo(65407, "1 to 65407");
/// The number of a control group, with or without how a program is attached to it.
const GROUP: Size = Size::Either(8, 16, "8 or 16");
const ANY: Size = Size::Within(1, i32::MAX as u32, "1 to 2147483647");

/// The flags about who may read and write: programs, the host.
const HOST: MapFlags = MapFlags::RDONLY.union(MapFlags::WRONLY);
const ACCESS: MapFlags = HOST.union(MapFlags::RDONLY_PROG).union(MapFlags::WRONLY_PROG);
const NUMA: MapFlags = MapFlags::NUMA_NODE;

const HASH: MapFlags = ACCESS.union(MapFlags::ZERO_SEED);

const ROWS: &[Row] = &[
    Row {
        allowed: ACCESS.union(NUMA).union(MapFlags::MMAPABLE).union(MapFlags::INNER_MAP),
        spin_lock: SpinLock::Possible,
        ..row(MapType::Array, FOUR, ANY, |shape, _, _| Ok(Arc::new(Array::new(shape)?)))
    },
    Row {
        allowed: ACCESS,
        ..row(MapType::PercpuArray, FOUR, Size::Percpu, |shape, _, world| {
            Ok(Arc::new(PercpuArray::new(shape, world)?))
        })
    },
    Row {
        allowed: HASH.union(NUMA).union(MapFlags::NO_PREALLOC),
        spin_lock: SpinLock::Possible,
        ..row(MapType::Hash, Size::Key, Size::Element, make_hash)
    },
    Row {
        allowed: HASH.union(MapFlags::NO_PREALLOC),
        ..row(MapType::PercpuHash, Size::Key, Size::Percpu, make_hash)
    },
    Row {
        allowed: HASH.union(NUMA).union(MapFlags::NO_COMMON_LRU),
        ..row(MapType::LruHash, Size::Key, Size::Element, make_hash)
    },
    Row {
        allowed: HASH.union(MapFlags::NO_COMMON_LRU),
        ..row(MapType::LruPercpuHash, Size::Key, Size::Percpu, make_hash)
    },
    Row {
        allowed: HOST.union(NUMA),
        ..row(MapType::ProgArray, FOUR, FOUR, |shape, _, world| {
            Ok(Arc::new(ProgArray::new(shape, world)?))
        })
    },
    Row {
        allowed: ACCESS.union(NUMA).union(MapFlags::NO_PREALLOC),
        needed: MapFlags::NO_PREALLOC,
        ..row(
            MapType::LpmTrie,
            Size::Within(5, 260, "5 to 260"),
            Size::Within(1, TRIE_VALUE, "1 to 4193988"),
            |shape, _, world| Ok(Arc::new(LpmTrie::new(shape, world)?)),
        )
    },
    Row {
        allowed: HOST.union(NUMA),
        ..row(MapType::ArrayOfMaps, FOUR, FOUR, |shape, spec, world| {
            Ok(Arc::new(ArrayOfMaps::new(shape, inner_of(spec)?, world)?))
        })
    },
    Row {
        allowed: HASH.union(NUMA).union(MapFlags::NO_PREALLOC),
        ..row(MapType::HashOfMaps, Size::Key, FOUR, |shape, spec, world| {
            Ok(Arc::new(HashOfMaps::new(shape, inner_of(spec)?, world)?))
        })
    },
    Row { allowed: ACCESS.union(NUMA), ..row(MapType::Queue, NO_BYTES, ANY, make_queue_stack) },
    Row { allowed: ACCESS.union(NUMA), ..row(MapType::Stack, NO_BYTES, ANY, make_queue_stack) },
    Row {
        allowed: HASH.union(NUMA),
        ..row(MapType::BloomFilter, NO_BYTES, ANY, |shape, _, world| {
            Ok(Arc::new(Bloom::new(shape, world)?))
        })
    },
    Row {
        entries: Entries::Pages,
        allowed: NUMA,
        ..row(MapType::Ringbuf, NO_BYTES, NO_BYTES, |shape, _, _| Ok(RingBuf::new(shape)?))
    },
    Row {
        allowed: HOST.union(NUMA).union(MapFlags::PRESERVE_ELEMS),
        ..row(MapType::PerfEventArray, FOUR, FOUR, |shape, _, _| {
            Ok(Arc::new(PerfEventArray::new(shape)?))
        })
    },
    Row {
        allowed: HOST.union(NUMA),
        ..row(
            MapType::StackTrace,
            FOUR,
            Size::Words(1016, "a multiple of 8, 1016 at most"),
            |shape, _, world| Ok(Arc::new(StackTrace::new(shape, world)?)),
        )
    },
    Row { allowed: HOST.union(NUMA), ..row(MapType::Devmap, FOUR, TARGET, make_targets) },
    Row { allowed: HOST.union(NUMA), ..row(MapType::DevmapHash, FOUR, TARGET, make_targets) },
    Row { allowed: NUMA, ..row(MapType::Cpumap, FOUR, TARGET, make_targets) },
    Row { allowed: HOST.union(NUMA), ..row(MapType::Xskmap, FOUR, FOUR, make_empty) },
    Row { allowed: HOST.union(NUMA), ..row(MapType::Sockmap, FOUR, TARGET, make_empty) },
    Row { allowed: HOST.union(NUMA), ..row(MapType::Sockhash, Size::Key, TARGET, make_empty) },
    Row { allowed: HOST.union(NUMA), ..row(MapType::CgroupArray, FOUR, FOUR, make_empty) },
    Row {
        allowed: ACCESS.union(NUMA),
        ..row(MapType::ReuseportSockarray, FOUR, TARGET, make_empty)
    },
    Row {
        entries: Entries::Pages,
        allowed: NUMA,
        ..row(MapType::UserRingbuf, NO_BYTES, NO_BYTES, |shape, _, _| {
            Ok(Arc::new(UserRingBuf::new(shape)))
        })
    },
    storage(MapType::SkStorage),
    storage(MapType::InodeStorage),
    storage(MapType::TaskStorage),
    storage(MapType::CgrpStorage),
    group_storage(MapType::CgroupStorage, STORED),
    group_storage(MapType::PercpuCgroupStorage, Size::Percpu),
];

fn make_targets(shape: MapShape, _: &MapSpec, world: &World) -> Result<Arc<dyn Map>, MapError> {
    // The kernel adds the flag itself: programs look at entries, and do not change them.
    let added =
        if shape.map_type == MapType::Cpumap { MapFlags::empty() } else { MapFlags::RDONLY_PROG };
    let shape = MapShape { flags: shape.flags | added, ..shape };
    if shape.map_type == MapType::DevmapHash {
        return Ok(Arc::new(TargetsByHash::new(shape, world)?));
    }
    Ok(Arc::new(Targets::new(shape, world)?))
}

fn make_storage(shape: MapShape, spec: &MapSpec, _: &World) -> Result<Arc<dyn Map>, MapError> {
    Ok(Arc::new(Storage::new(shape, spec)?))
}

fn make_empty(shape: MapShape, _: &MapSpec, _: &World) -> Result<Arc<dyn Map>, MapError> {
    Ok(Arc::new(KernelObjects::new(shape)?))
}

/// A row of a type whose values are kept with objects of the kernel.
const fn storage(map_type: MapType) -> Row {
    Row {
        entries: Entries::Elsewhere,
        allowed: MapFlags::NO_PREALLOC.union(MapFlags::CLONE),
        needed: MapFlags::NO_PREALLOC,
        spin_lock: SpinLock::Possible,
        ..row(map_type, FOUR, STORED, make_storage)
    }
}

/// A row of a type whose values are kept with control groups.
const fn group_storage(map_type: MapType, value: Size) -> Row {
    Row {
        entries: Entries::Elsewhere,
        allowed: ACCESS.union(NUMA),
        ..row(map_type, GROUP, value, make_storage)
    }
}

fn make_hash(shape: MapShape, _: &MapSpec, world: &World) -> Result<Arc<dyn Map>, MapError> {
    Ok(Arc::new(Hash::new(shape, world)?))
}

fn make_queue_stack(shape: MapShape, _: &MapSpec, _: &World) -> Result<Arc<dyn Map>, MapError> {
    Ok(Arc::new(QueueStack::new(shape)?))
}

/// What the maps in a map of maps look like.
fn inner_of(spec: &MapSpec) -> Result<MapShape, MapError> {
    let inner = spec.inner.as_deref().ok_or(MapError::NoInner(spec.map_type))?;
    let map_type = inner.map_type;
    let refuse = |errno| Err(MapError::InnerType { map_type, errno });
    if matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
        return refuse(Errno::EINVAL);
    }
    let row = row_of(map_type)?;
    row.check(inner)?;
    if map_type == MapType::ProgArray {
        return refuse(Errno::ENOTSUPP);
    }
    Ok(MapShape::of(inner))
}

fn row_of(map_type: MapType) -> Result<&'static Row, MapError> {
    ROWS.iter().find(|row| row.map_type == map_type).ok_or(MapError::UnsupportedType(map_type))
}

impl Row {
    fn check(&self, spec: &MapSpec) -> Result<(), MapError> {
        self.check_flags(spec)?;
        let most = if spec.map_type == MapType::BloomFilter { 15 } else { 0 };
        if spec.map_extra > most {
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
            Entries::Elsewhere => (count == 0, "none", Errno::EINVAL),
            Entries::Pages => (
                count.is_power_of_two() && count.is_multiple_of(PAGE),
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
            offset.is_multiple_of(SPIN_LOCK_SIZE) && end.is_some_and(|end| end <= spec.value_size);
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
            Self::Either(one, other, wanted) => {
                (size == one || size == other, wanted, Errno::EINVAL)
            }
            Self::UpTo(most, wanted) if size > most => (false, wanted, Errno::E2BIG),
            Self::UpTo(_, wanted) => (size > 0, wanted, Errno::EINVAL),
            Self::Words(most, wanted) => {
                (size > 0 && size.is_multiple_of(8) && size <= most, wanted, Errno::EINVAL)
            }
            Self::Key | Self::Element | Self::Percpu if size == 0 => {
                (false, "one at least", Errno::EINVAL)
            }
            Self::Key => (u64::from(size) < ELEMENT, "less than 4 MiB", Errno::E2BIG),
            Self::Element => {
                let both = u64::from(spec.key_size) + u64::from(spec.value_size);
                (both < ELEMENT, "less than 4 MiB with its key or value", Errno::E2BIG)
            }
            Self::Percpu => (size <= PERCPU, "32768 at most", Errno::E2BIG),
        };
        if possible { Ok(()) } else { Err((wanted, errno)) }
    }
}
