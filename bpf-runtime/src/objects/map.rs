//! Maps, as the host holds them.

use std::fmt;
use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::id::MapId;
use bpf_abi::image::BoundMap;
use bpf_abi::map::{MapFlags, MapLayout, MapSpec, MapType, UpdateFlags};
use bpf_btf::record::FieldKind;
use bpf_btf::{Btf, TypeId};
use bpf_maps::{CpuId, HostHandle, MapError, MapHandle};
use bpf_verifier::host::MapFacts;

use crate::data::Data;
use crate::error::Error;

/// A map of a runtime.
///
/// A cheap handle: clones are the same map. When the last handle of a program array is dropped,
/// the array is emptied, though programs may still hold it.
#[derive(Clone)]
pub struct Map {
    pub(crate) object: Arc<MapObject>,
    host: HostHandle,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

/// What the runtime keeps of a map.
pub(crate) struct MapObject {
    pub(crate) id: MapId,
    pub(crate) handle: Arc<MapHandle>,
    types: Types,
    inner: Option<MapSpec>,
}

impl fmt::Debug for MapObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("id", &self.id)
            .field("name", &self.shape().name)
            .finish_non_exhaustive()
    }
}

/// The types of a map's keys and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types {
    pub(crate) btf: Option<Arc<Btf>>,
    pub(crate) key: TypeId,
    pub(crate) value: TypeId,
}

/// What is known of a map. Linux: `struct bpf_map_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Its number.
    pub id: MapId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub map_type: MapType,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// How many entries it holds at most.
    pub max_entries: u32,
    /// Its flags.
    pub flags: MapFlags,
    /// Whether the host may not change it any more.
    pub frozen: bool,
}

/// An entry of a map: its key, and its value as the host reads it.
pub type RawEntry = (Vec<u8>, Vec<u8>);

/// An entry of a map, its key and values decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Data,
    /// The value; in maps with a value a CPU, one for each CPU, in order.
    pub values: Vec<Data>,
}

impl MapObject {
    pub(crate) fn new(
        id: MapId,
        map: Arc<dyn bpf_maps::Map>,
        spec: &MapSpec,
        btf: Option<&Arc<Btf>>,
    ) -> Self {
        let has_types = spec.btf_value_type_id != 0;
        let types = Types {
            btf: btf.filter(|_| has_types).cloned(),
            key: TypeId(spec.btf_key_type_id),
            value: TypeId(spec.btf_value_type_id),
        };
        map.core().set_id(id);
        Self { id, handle: MapHandle::new(map), types, inner: spec.inner.as_deref().cloned() }
    }

    pub(crate) fn map(&self) -> &Arc<dyn bpf_maps::Map> {
        self.handle.map()
    }

    pub(crate) fn shape(&self) -> &bpf_maps::MapShape {
        self.map().shape()
    }

    /// Whether its values own no objects, or it knows how to let them go. Maps inside may be any
    /// that look alike, whatever the types of their values, so theirs must own none.
    pub(crate) fn owns_objects(&self) -> bool {
        let owns = |value: TypeId, size: u32| {
            let btf = self.types.btf.as_ref().filter(|_| value.0 != 0);
            let record = btf.and_then(|btf| btf.record(value, size).ok());
            record.is_some_and(|record| {
                record.fields().iter().any(|field| match field.kind {
                    FieldKind::Graph { .. } | FieldKind::Pointer { .. } => true,
                    FieldKind::Named(_) => false,
                })
            })
        };
        let shape = self.shape();
        let inner_owns = self
            .inner
            .as_ref()
            .is_some_and(|spec| owns(TypeId(spec.btf_value_type_id), spec.value_size));
        !inner_owns && (shape.fields.is_some() || !owns(self.types.value, shape.value_size))
    }

    /// What the verifier is told.
    pub(crate) fn facts(&self) -> MapFacts {
        let shape = self.shape();
        let facts = |spec: &MapSpec| MapFacts {
            id: 0,
            name: MapSpec::kernel_name(&spec.name).to_owned(),
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            map_extra: spec.map_extra,
            frozen: false,
            btf: self.types.btf.clone(),
            btf_key_type_id: TypeId(spec.btf_key_type_id),
            btf_value_type_id: TypeId(spec.btf_value_type_id),
            inner: None,
            host: None,
        };
        MapFacts {
            id: self.id.0,
            name: MapSpec::kernel_name(&shape.name).to_owned(),
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            flags: shape.flags,
            map_extra: shape.map_extra,
            frozen: self.map().core().is_frozen(),
            btf: self.types.btf.clone(),
            btf_key_type_id: self.types.key,
            btf_value_type_id: self.types.value,
            inner: self.inner.as_ref().map(|spec| Arc::new(facts(spec))),
            host: None,
        }
    }

    /// What a program's reference to it becomes.
    pub(crate) fn bound(self: &Arc<Self>) -> BoundMap {
        let shape = self.shape();
        BoundMap {
            name: shape.name.clone(),
            map_type: shape.map_type,
            handle: self.handle.addr(),
            layout: self.map().layout(),
            value: self.map().value_addr(),
            key_size: shape.key_size,
            value_size: shape.value_size,
            keep: Arc::<Self>::clone(self),
        }
    }

    /// Up to eight bytes of the only value, if nobody can change them any more.
    pub(crate) fn constant(&self, off: u32, size: u32) -> Option<u64> {
        let shape = self.shape();
        let fixed = self.map().core().is_frozen() && shape.flags.contains(MapFlags::RDONLY_PROG);
        if !fixed || shape.map_type != MapType::Array || size > 8 {
            return None;
        }
        let mut value = vec![0; self.map().host_value_size()];
        self.map().read(&[0; 4], &mut value, UpdateFlags::empty()).ok()?;
        let from = off as usize;
        let bytes = value.get(from..from.checked_add(size as usize)?)?;
        let mut raw = [0; 8];
        raw.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(raw))
    }

    /// Copies the bytes at an address, if they lie in a value of an array.
    pub(crate) fn read_memory(&self, address: u64, out: &mut [u8]) -> Option<()> {
        let MapLayout::Array { values, stride, max_entries } = self.map().layout() else {
            return None;
        };
        let at = address.checked_sub(values)?;
        let index = u32::try_from(at.checked_div(u64::from(stride))?).ok()?;
        if index >= max_entries {
            return None;
        }
        let from = usize::try_from(at % u64::from(stride)).ok()?;
        let (map, key) = (self.map(), index.to_le_bytes());
        if map.shape().is_plain() {
            return map.lookup(CpuId(0), &key)?.read_at(from, out);
        }
        // A copy for the host, in which what is no data is zero.
        let mut value = vec![0; map.host_value_size()];
        map.read(&key, &mut value, UpdateFlags::empty()).ok()?;
        let there = value.get(from..from.checked_add(out.len())?)?;
        out.copy_from_slice(there);
        Some(())
    }
}

impl Map {
    pub(crate) fn new(object: Arc<MapObject>) -> Self {
        let host = HostHandle::new(Arc::clone(object.map()));
        Self { object, host }
    }

    /// That it is of the runtime with these CPUs.
    pub(crate) fn check_runtime(&self, world: u64) -> Result<(), Error> {
        if self.raw().core().world() == world {
            return Ok(());
        }
        Err(Error::OtherRuntime { what: "map", name: self.name().to_owned() })
    }

    /// Its number.
    pub fn id(&self) -> MapId {
        self.object.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.shape().name
    }

    /// Its type.
    pub fn map_type(&self) -> MapType {
        self.object.shape().map_type
    }

    /// What is known of it.
    pub fn info(&self) -> MapInfo {
        let shape = self.object.shape();
        MapInfo {
            id: self.object.id,
            name: shape.name.clone(),
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            flags: shape.flags,
            frozen: self.object.map().core().is_frozen(),
        }
    }

    /// The map itself, as the crate of maps knows it.
    pub fn raw(&self) -> &Arc<dyn bpf_maps::Map> {
        self.host.map()
    }

    /// The value at `key`, copied; in maps with a value a CPU, the values of all CPUs, each
    /// padded to a multiple of eight bytes. `None` if there is none.
    ///
    /// # Errors
    ///
    /// Returns an error if the key has another length than the map's, or if the host may not or
    /// cannot read the map.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.raw().host().lookup(key, UpdateFlags::empty()) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sets the value at `key`; in maps with a value a CPU, those of all CPUs.
    ///
    /// # Errors
    ///
    /// Returns an error if lengths or flags are not possible, if the host may not write to the
    /// map, or if it is full.
    pub fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Error> {
        self.raw().host().update(key, value, flags).map_err(|error| self.failed(error))
    }

    /// Removes the entry at `key`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none, or if the host may not or cannot remove it.
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.raw().host().delete(key).map_err(|error| self.failed(error))
    }

    /// Every entry: keys and values, in the order of the map.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not read the map, or if it has no keys.
    pub fn entries(&self) -> Result<Vec<RawEntry>, Error> {
        self.raw().host().entries().map_err(|error| self.failed(error))
    }

    /// Lets the host not change the map any more. Programs still may.
    ///
    /// # Errors
    ///
    /// Returns an error if the host could not change it before.
    pub fn freeze(&self) -> Result<(), Error> {
        self.raw().host().freeze().map_err(|error| self.failed(error))
    }

    /// The types of the object the map comes from, if its keys and values have types.
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.object.types.btf.as_ref()
    }

    /// Every entry, decoded by the map's types; where they are not known, as bytes. Program
    /// arrays show the numbers of the programs in them.
    ///
    /// # Errors
    ///
    /// As [`entries`](Self::entries).
    pub fn dump(&self) -> Result<Vec<Entry>, Error> {
        let entries = self.entries()?;
        Ok(entries.iter().map(|(key, value)| self.decode(key, value)).collect())
    }

    /// An entry, decoded.
    pub fn decode(&self, key: &[u8], value: &[u8]) -> Entry {
        let types = &self.object.types;
        let index_keyed = self.object.shape().key_size == 4 && types.key == TypeId(0);
        let key = match &types.btf {
            Some(btf) if types.key != TypeId(0) => Data::decode(btf, types.key, key),
            _ if index_keyed => little_endian(key),
            _ => Data::Bytes(key.to_vec()),
        };
        let values = self.values_of(value).map(|value| match &types.btf {
            Some(btf) => Data::decode(btf, types.value, value),
            None if is_table_of_ids(self.map_type()) => little_endian(value),
            None => Data::Bytes(value.to_vec()),
        });
        Entry { key, values: values.collect() }
    }

    /// The values in what the host reads: one, or one a CPU.
    pub(crate) fn values_of<'a>(
        &self,
        value: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = self.object.shape().value_size as usize;
        let stride =
            if is_percpu(self.map_type()) { size.next_multiple_of(8) } else { value.len() };
        value.chunks(stride.max(1)).map(move |chunk| chunk.get(..size).unwrap_or(chunk))
    }

    /// Puts a map into this map of maps.
    ///
    /// # Errors
    ///
    /// Returns an error if this is no map of maps, or if the other is not like the maps that it
    /// holds.
    pub fn set_inner(&self, key: &[u8], inner: &Self) -> Result<(), Error> {
        let Some(outer) = self.raw().as_map_of_maps() else {
            let (name, map_type) = (self.name().to_owned(), self.map_type());
            return Err(Error::WrongMapType { name, map_type, wanted: "a map of maps" });
        };
        let set = outer.set(key, Arc::clone(&inner.object.handle), UpdateFlags::empty());
        set.map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, error: MapError) -> Error {
        Error::Map { name: self.name().to_owned(), error }
    }
}

/// Whether maps of this type have a value for each CPU.
pub(crate) const fn is_percpu(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::PercpuArray
            | MapType::PercpuHash
            | MapType::LruPercpuHash
            | MapType::PercpuCgroupStorage
    )
}

/// Whether the values of such a map are numbers of objects.
const fn is_table_of_ids(map_type: MapType) -> bool {
    matches!(map_type, MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps)
}

/// Up to eight bytes as a number.
fn little_endian(bytes: &[u8]) -> Data {
    let mut raw = [0; 8];
    match raw.get_mut(..bytes.len()) {
        Some(place) => {
            place.copy_from_slice(bytes);
            Data::Int(i128::from(u64::from_le_bytes(raw)))
        }
        None => Data::Bytes(bytes.to_vec()),
    }
}
