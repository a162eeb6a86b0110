//! Storages: a value for each object of some kind, kept with that object.
//!
//! The map says how large values are and what is in them. The values themselves are where the
//! objects are: with a packet's socket, with a run. The host has no object of which it could ask
//! for the value.

use bpf_abi::Errno;
use bpf_abi::map::{MapSpec, MapType, UpdateFlags};

use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};

/// What a storage is, apart from the values.
#[derive(Debug)]
pub(crate) struct Storage {
    core: MapCore,
}

impl Storage {
    /// A storage; those whose keys name objects of the kernel must say what their values are.
    pub(crate) fn new(shape: MapShape, spec: &MapSpec) -> Result<Self, MapError> {
        if !is_of_groups(shape.map_type) && spec.btf_value_type_id == 0 {
            return Err(shape.cannot("be without the types of its keys and values", Errno::EINVAL));
        }
        Ok(Self { core: MapCore::new(shape) })
    }

    fn is_of_groups(&self) -> bool {
        is_of_groups(self.shape().map_type)
    }

    /// What the host is told that names an object: there is none.
    fn no_object(&self) -> MapError {
        if self.is_of_groups() {
            return MapError::NotFound;
        }
        self.shape().cannot("find the object that the key names", Errno::EBADF)
    }
}

/// Whether values are found by the number of a control group, and not by an open file.
const fn is_of_groups(map_type: MapType) -> bool {
    matches!(map_type, MapType::CgroupStorage | MapType::PercpuCgroupStorage)
}

impl Map for Storage {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn read(&self, _: &[u8], _: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.no_object())
    }

    fn write(&self, _: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.shape().check_update_flags(flags)?;
        if self.is_of_groups() && flags.contains(UpdateFlags::NOEXIST) {
            return Err(MapError::OperationFlags(flags));
        }
        Err(self.no_object())
    }

    fn erase(&self, _: &[u8]) -> Result<(), MapError> {
        if self.is_of_groups() {
            return Err(self.shape().cannot("delete entries", Errno::EINVAL));
        }
        Err(self.no_object())
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), MapError> {
        if self.is_of_groups() {
            return Err(MapError::NotFound);
        }
        Err(self.shape().cannot("say which keys there are", Errno::ENOTSUPP))
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::MapFlags;

    use super::*;
    use crate::{World, create};

    #[test]
    fn storages_of_sockets_need_types_and_have_no_entries() {
        let mut spec = MapSpec::new("s", MapType::SkStorage, 4, 8, 0);
        spec.flags = MapFlags::NO_PREALLOC;
        let refused = create(&spec, &World::default()).unwrap_err();
        assert_eq!(refused.errno(), Errno::EINVAL);
        spec.btf_value_type_id = 1;
        let map = create(&spec, &World::default()).unwrap();
        let errno = |done: Result<(), MapError>| done.unwrap_err().errno();
        let host = map.host();
        assert_eq!(errno(host.lookup(&[0; 4], UpdateFlags::empty()).map(drop)), Errno::EBADF);
        assert_eq!(errno(host.next_key(None).map(drop)), Errno::ENOTSUPP);
        spec.max_entries = 1;
        assert!(create(&spec, &World::default()).is_err());
    }

    #[test]
    fn storages_of_groups_are_found_by_number_and_never_made_by_the_host() {
        for key_size in [8, 16] {
            let spec = MapSpec::new("s", MapType::CgroupStorage, key_size, 8, 0);
            let map = create(&spec, &World::default()).unwrap();
            let key = vec![0; key_size as usize];
            let update = |flags| map.host().update(&key, &[0; 8], flags).unwrap_err();
            assert_eq!(update(UpdateFlags::empty()), MapError::NotFound);
            assert_eq!(update(UpdateFlags::NOEXIST).errno(), Errno::EINVAL);
            assert_eq!(map.host().delete(&key).unwrap_err().errno(), Errno::EINVAL);
            assert_eq!(map.host().entries().unwrap(), []);
        }
        let spec = MapSpec::new("s", MapType::CgroupStorage, 12, 8, 0);
        assert_eq!(create(&spec, &World::default()).unwrap_err().errno(), Errno::EINVAL);
    }
}
