//! What all maps have: their dimensions, whether they are frozen, who holds them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bpf_abi::Errno;
use bpf_abi::id::MapId;
use bpf_abi::map::{MapFlags, MapSpec, MapType, UpdateFlags};

use crate::error::MapError;
use crate::special::Fields;

/// The dimensions of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Its name.
    pub name: String,
    /// Its type.
    pub map_type: MapType,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes: of one CPU's, in maps that have one a CPU.
    pub value_size: u32,
    /// How many entries it holds at most.
    pub max_entries: u32,
    /// The flags it was made with.
    pub flags: MapFlags,
    /// A further number whose meaning the type knows.
    pub map_extra: u64,
    /// Where in a value its spin lock is, in bytes, if it has one.
    pub spin_lock: Option<u32>,
    /// What else in a value is not data, if anything is.
    pub fields: Option<Fields>,
}

impl MapShape {
    /// The dimensions that a description asks for.
    pub fn of(spec: &MapSpec) -> Self {
        Self {
            name: spec.name.clone(),
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            map_extra: spec.map_extra,
            spin_lock: None,
            fields: None,
        }
    }

    /// Whether all of a value is data.
    pub const fn is_plain(&self) -> bool {
        self.spin_lock.is_none() && self.fields.is_none()
    }

    /// The size of a key.
    pub(crate) const fn key_len(&self) -> usize {
        self.key_size as usize
    }

    /// The size of a value.
    pub(crate) const fn value_len(&self) -> usize {
        self.value_size as usize
    }

    /// The distance of two values, in bytes.
    pub(crate) const fn stride(&self) -> u32 {
        // Sizes near the end of the range fail to be allocated before this matters.
        self.value_size.saturating_add(7) & !7
    }

    /// The index that a key of an array is.
    pub(crate) fn index(&self, key: &[u8]) -> Result<u32, MapError> {
        let Ok(key) = <[u8; 4]>::try_from(key) else {
            return Err(MapError::KeyLength { length: key.len(), expected: 4 });
        };
        Ok(u32::from_le_bytes(key))
    }

    /// The index that a key of an array is, if there is such an entry.
    pub(crate) fn index_within(&self, key: &[u8]) -> Result<u32, MapError> {
        let index = self.index(key)?;
        if index < self.max_entries {
            return Ok(index);
        }
        Err(MapError::OutOfRange { index, max_entries: self.max_entries })
    }

    /// An array's key after this one: wherever that is, even behind the end, it goes on at
    /// the beginning.
    pub(crate) fn next_index(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        let after = match key.map(|key| self.index(key)).transpose()? {
            Some(index) if index == self.max_entries - 1 => return Err(MapError::NotFound),
            Some(index) if index < self.max_entries => index + 1,
            _ => 0,
        };
        next.copy_from_slice(&after.to_le_bytes());
        Ok(())
    }

    /// That maps of this type cannot do this.
    pub(crate) const fn cannot(&self, operation: &'static str, errno: Errno) -> MapError {
        MapError::UnsupportedOperation { map_type: self.map_type, operation, errno }
    }

    /// Checks flags of an update to a map that knows the two kinds of it, and a lock if its
    /// values have one.
    pub(crate) fn check_update_flags(&self, flags: UpdateFlags) -> Result<(), MapError> {
        let presence = flags - UpdateFlags::LOCK;
        let is_known = presence.is_empty()
            || presence == UpdateFlags::NOEXIST
            || presence == UpdateFlags::EXIST;
        let has_lock = self.spin_lock.is_some();
        if is_known && (has_lock || !flags.contains(UpdateFlags::LOCK)) {
            return Ok(());
        }
        Err(MapError::OperationFlags(flags))
    }
}

/// What all maps have besides their entries.
#[derive(Debug)]
pub struct MapCore {
    shape: MapShape,
    frozen: AtomicBool,
    hosts: AtomicUsize,
    id: AtomicU32,
    world: AtomicU64,
}

impl MapCore {
    /// A map of this shape that nobody holds yet.
    pub fn new(shape: MapShape) -> Self {
        Self {
            shape,
            frozen: AtomicBool::new(false),
            hosts: AtomicUsize::new(0),
            id: AtomicU32::new(0),
            world: AtomicU64::new(0),
        }
    }

    /// Its dimensions.
    pub const fn shape(&self) -> &MapShape {
        &self.shape
    }

    /// Its number; 0 until someone gave it one. The host reads it in maps of maps.
    pub fn id(&self) -> MapId {
        MapId(self.id.load(Ordering::Relaxed))
    }

    /// Gives it a number.
    pub fn set_id(&self, id: MapId) {
        self.id.store(id.0, Ordering::Relaxed);
    }

    /// The number of the CPUs that it was made for: programs that run on others may not use it.
    pub fn world(&self) -> u64 {
        self.world.load(Ordering::Relaxed)
    }

    pub(crate) fn set_world(&self, world: u64) {
        self.world.store(world, Ordering::Relaxed);
    }

    /// Whether the host may not change it any more.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Lets the host not change it any more.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    /// Whether the host holds it.
    pub fn has_host(&self) -> bool {
        self.hosts.load(Ordering::Acquire) > 0
    }

    /// Counts one more handle of the host.
    pub(crate) fn take_host(&self) {
        self.hosts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle of the host less, and says whether that was the last.
    pub(crate) fn drop_host(&self) -> bool {
        self.hosts.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
