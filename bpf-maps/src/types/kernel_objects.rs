//! Maps of things that only a kernel has: sockets and control groups. Here they stay empty.
//!
//! Programs that name such maps can be loaded and run, and find nothing in them, as in a kernel in
//! which nobody has put anything there.

use bpf_abi::Errno;
use bpf_abi::map::{MapType, UpdateFlags};

use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};

/// A map that nothing can be put into. Linux: `xsk_map_ops`, `sock_map_ops`, `sock_hash_ops`,
/// `cgroup_array_ops`, `reuseport_array_ops`.
#[derive(Debug)]
pub(crate) struct KernelObjects {
    core: MapCore,
}

impl KernelObjects {
    /// An empty map.
    pub(crate) fn new(shape: MapShape) -> Result<Self, MapError> {
        /// Linux: `MAX_BPF_STACK`.
        const LONGEST_KEY: u32 = 512;
        if shape.map_type == MapType::Sockhash && shape.key_size > LONGEST_KEY {
            return Err(MapError::KeySize {
                map_type: shape.map_type,
                size: shape.key_size,
                wanted: "512 at most",
                errno: Errno::E2BIG,
            });
        }
        Ok(Self { core: MapCore::new(shape) })
    }

    fn is_indexed(&self) -> bool {
        self.shape().map_type != MapType::Sockhash
    }
}

impl Map for KernelObjects {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated by programs", Errno::EOPNOTSUPP))
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.erase(key)
    }

    fn write(&self, key: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        let of_groups = self.shape().map_type == MapType::CgroupArray;
        let is_known = flags.is_empty()
            || (!of_groups && (flags == UpdateFlags::NOEXIST || flags == UpdateFlags::EXIST));
        if !is_known {
            return Err(MapError::OperationFlags(flags));
        }
        if self.is_indexed() {
            self.shape().index_within(key)?;
        }
        Err(self.shape().cannot("hold anything: there are no such objects here", Errno::EBADF))
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        let map_type = self.shape().map_type;
        let index = if self.is_indexed() { self.shape().index_within(key) } else { Ok(0) };
        if matches!(map_type, MapType::Sockmap | MapType::Xskmap) {
            let is_done = map_type == MapType::Xskmap && index.is_ok();
            let refused = || self.shape().cannot("delete this entry", Errno::EINVAL);
            return is_done.then_some(()).ok_or_else(refused);
        }
        index.and(Err(MapError::NotFound))
    }

    fn read(&self, _: &[u8], _: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        let refused = |errno| Err(self.shape().cannot("be looked into", errno));
        let shape = self.shape();
        if shape.map_type == MapType::Xskmap {
            return refused(Errno::EOPNOTSUPP);
        }
        if shape.map_type == MapType::CgroupArray {
            return refused(Errno::ENOTSUPP);
        }
        if shape.value_size == 4 { refused(Errno::ENOSPC) } else { Err(MapError::NotFound) }
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        if self.is_indexed() { self.shape().next_index(key, next) } else { Err(MapError::NotFound) }
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::MapSpec;

    use super::*;
    use crate::{World, create};

    #[test]
    fn nothing_can_be_put_in_and_nothing_is_found() {
        use MapType::{CgroupArray, ReuseportSockarray, Sockhash, Sockmap, Xskmap};
        for (map_type, read, delete) in [
            (Xskmap, Errno::EOPNOTSUPP, None),
            (Sockmap, Errno::ENOSPC, Some(Errno::EINVAL)),
            (Sockhash, Errno::ENOSPC, Some(Errno::ENOENT)),
            (ReuseportSockarray, Errno::ENOSPC, Some(Errno::ENOENT)),
            (CgroupArray, Errno::ENOTSUPP, Some(Errno::ENOENT)),
        ] {
            let map = create(&MapSpec::new("k", map_type, 4, 4, 2), &World::default()).unwrap();
            let (host, any) = (map.host(), UpdateFlags::empty());
            assert_eq!(host.update(&[0; 4], &[3; 4], any).unwrap_err().errno(), Errno::EBADF);
            assert_eq!(host.lookup(&[0; 4], any).unwrap_err().errno(), read, "{map_type}");
            let deleted = host.delete(&[0; 4]).map_err(|error| error.errno()).err();
            assert_eq!(deleted, delete, "{map_type}");
            assert!(map.lookup(CpuId(0), &[0; 4]).is_none());
        }
    }
}
