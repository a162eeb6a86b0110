//! Maps as programs hold them: one address in a register.

use std::fmt;
use std::sync::{Arc, Weak};

use bpf_abi::map::MapLayout;

use crate::bytes::wide;
use crate::cpu::CpuId;
use crate::map::Map;

/// A map behind a thin address that stays: what a register that holds a map holds.
///
/// ```
/// use bpf_abi::map::{MapSpec, MapType};
/// use bpf_maps::{MapHandle, World, create};
///
/// let map = create(&MapSpec::new("a", MapType::Array, 4, 8, 1), &World::default())?;
/// let handle = MapHandle::new(map);
/// assert_ne!(handle.addr(), 0);
/// # Ok::<(), bpf_maps::MapError>(())
/// ```
#[derive(Clone)]
pub struct MapHandle {
    map: Arc<dyn Map>,
    layout: MapLayout,
    key_size: u32,
    this: Weak<Self>,
}

impl MapHandle {
    /// A handle of this map. It stays where it is as long as someone keeps the result.
    pub fn new(map: Arc<dyn Map>) -> Arc<Self> {
        let (layout, key_size) = (map.layout(), map.shape().key_size);
        Arc::new_cyclic(|this| Self { map, layout, key_size, this: Weak::clone(this) })
    }

    /// The map.
    pub fn map(&self) -> &Arc<dyn Map> {
        &self.map
    }

    /// This handle, to be kept.
    pub fn keep(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// What a register holds.
    pub fn addr(self: &Arc<Self>) -> u64 {
        Arc::as_ptr(self).expose_provenance() as u64
    }

    /// The handle in a register.
    ///
    /// # Safety
    ///
    /// `[const-map]`: `addr` must be the [`addr`](Self::addr) of a handle that is kept as long
    /// as the result is used. A program's own maps are kept with the program; maps found in
    /// other maps are kept until the run ends.
    #[inline]
    #[expect(unsafe_code, reason = "turns a register back into the handle it was made of")]
    pub unsafe fn from_addr<'a>(addr: u64) -> &'a Self {
        let handle = std::ptr::with_exposed_provenance::<Self>(wide(addr));
        // SAFETY: [const-map] the caller promises that it is a handle, and kept.
        unsafe { &*handle }
    }

    /// Looks a key up as programs do: the address of the value, or of the inner map in a map
    /// of maps, or 0.
    ///
    /// # Safety
    ///
    /// `[sized-by-map]`: `key` must be the address of as many readable bytes as the map's keys
    /// have, at any alignment.
    #[inline]
    #[expect(unsafe_code, reason = "reads a key where a program left it")]
    pub unsafe fn lookup_raw(&self, cpu: CpuId, key: u64) -> u64 {
        if self.key_size == 4 {
            let key = std::ptr::with_exposed_provenance::<[u8; 4]>(wide(key));
            // SAFETY: [sized-by-map] there are four bytes, and bytes are never misaligned.
            let key = unsafe { key.read_volatile() };
            return self.lookup_index(cpu, &key);
        }
        // A copy of a known length is a few instructions, any other a call.
        if self.key_size == 8 {
            // SAFETY: [sized-by-map] there are eight bytes.
            return self.map.lookup_addr(cpu, &unsafe { bytes_at::<8>(key) });
        }
        if self.key_size == 16 {
            // SAFETY: [sized-by-map] there are sixteen bytes.
            return self.map.lookup_addr(cpu, &unsafe { bytes_at::<16>(key) });
        }
        let mut short = [0_u8; 64];
        let len = self.key_size as usize;
        if let Some(short) = short.get_mut(..len) {
            // SAFETY: [sized-by-map] as many bytes as the map's keys have.
            unsafe { copy_in(key, short) };
            return self.map.lookup_addr(cpu, short);
        }
        let mut long = vec![0; len];
        // SAFETY: [sized-by-map] as many bytes as the map's keys have.
        unsafe { copy_in(key, &mut long) };
        self.map.lookup_addr(cpu, &long)
    }

    #[inline]
    fn lookup_index(&self, cpu: CpuId, key: &[u8; 4]) -> u64 {
        let index = u32::from_le_bytes(*key);
        match self.layout {
            MapLayout::Array { values, stride, max_entries } => {
                if index >= max_entries {
                    return 0;
                }
                values + u64::from(index) * u64::from(stride)
            }
            MapLayout::PercpuArray { values, stride, cpu_stride, max_entries, cpus: _ } => {
                if index >= max_entries {
                    return 0;
                }
                values + u64::from(cpu.0) * cpu_stride + u64::from(index) * u64::from(stride)
            }
            MapLayout::Opaque | MapLayout::Hash(_) | MapLayout::ProgArray { .. } => {
                self.map.lookup_addr(cpu, key)
            }
        }
    }
}

/// So many bytes of memory that a program may be writing to.
///
/// # Safety
///
/// `[sized-by-map]`: `from` must be the address of as many readable bytes.
#[inline]
#[expect(unsafe_code, reason = "reads bytes where a program left them")]
unsafe fn bytes_at<const LEN: usize>(from: u64) -> [u8; LEN] {
    let from = std::ptr::with_exposed_provenance::<[u8; LEN]>(wide(from));
    // SAFETY: [sized-by-map] the caller promises them, and bytes are never misaligned.
    unsafe { from.read() }
}

/// Copies bytes out of memory that a program may be writing to.
///
/// # Safety
///
/// `[sized-by-map]`: `from` must be the address of as many readable bytes as `to` has.
#[inline]
#[expect(unsafe_code, reason = "reads bytes where a program left them")]
unsafe fn copy_in(from: u64, to: &mut [u8]) {
    let from = std::ptr::with_exposed_provenance::<u8>(wide(from));
    // SAFETY: [sized-by-map] the caller promises them; `to` is memory of our own.
    unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
}

impl fmt::Debug for MapHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapHandle").field(&self.map).finish()
    }
}
