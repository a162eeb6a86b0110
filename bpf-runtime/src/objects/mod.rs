//! Loaded objects: their numbers, and who keeps them alive.
//!
//! | who | keeps |
//! |---|---|
//! | a handle of the host | its program, map or link |
//! | a program | the maps it uses |
//! | a program array | the programs in it |
//! | a map of maps | the maps in it |
//! | a link | its program, and the program whose function it is on |
//! | an extension or probe that was never attached | the program it was loaded for |
//! | a pin | its link, until it is taken away |
//!
//! A program array that holds a program that uses it would keep itself forever; so when the
//! host's last handle of a program array goes, the array is emptied, as in Linux.

pub(crate) mod map;
pub(crate) mod program;
pub(crate) mod link;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bpf_abi::id::{LinkId, MapId, ProgId};
use bpf_abi::map::MapLayout;

use map::MapObject;
use program::ProgramObject;

/// What is loaded in a runtime, by number. It keeps nothing alive.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: Mutex<Tables>,
    /// The arrays among the maps, by where their values begin: for reads of any address.
    arrays: RwLock<BTreeMap<u64, Weak<MapObject>>>,
}

#[derive(Debug, Default)]
struct Tables {
    programs: Table<ProgramObject>,
    maps: Table<MapObject>,
    links: u32,
    pins: BTreeMap<String, link::Link>,
}

/// Objects of one kind. Numbers are never given twice.
#[derive(Debug)]
struct Table<T> {
    last: u32,
    objects: BTreeMap<u32, Weak<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { last: 0, objects: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    /// Makes an object that knows its number, and remembers it.
    fn insert(&mut self, make: impl FnOnce(u32) -> T) -> Arc<T> {
        self.objects.retain(|_, object| object.strong_count() > 0);
        self.last += 1;
        let object = Arc::new(make(self.last));
        self.objects.insert(self.last, Arc::downgrade(&object));
        object
    }

    fn get(&self, id: u32) -> Option<Arc<T>> {
        self.objects.get(&id)?.upgrade()
    }

    fn all(&self) -> Vec<Arc<T>> {
        self.objects.values().filter_map(Weak::upgrade).collect()
    }
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_program(
        &self,
        make: impl FnOnce(ProgId) -> ProgramObject,
    ) -> Arc<ProgramObject> {
        self.tables().programs.insert(|id| make(ProgId(id)))
    }

    pub(crate) fn add_map(&self, make: impl FnOnce(MapId) -> MapObject) -> Arc<MapObject> {
        let map = self.tables().maps.insert(|id| make(MapId(id)));
        if let MapLayout::Array { values, .. } = map.map().layout() {
            let mut arrays = self.arrays.write().unwrap_or_else(PoisonError::into_inner);
            arrays.retain(|_, map| map.strong_count() > 0);
            arrays.insert(values, Arc::downgrade(&map));
        }
        map
    }

    pub(crate) fn next_link(&self) -> LinkId {
        let mut tables = self.tables();
        tables.links += 1;
        LinkId(tables.links)
    }

    /// Keeps a link under a name; whether the name was free.
    pub(crate) fn pin(&self, name: &str, link: &link::Link) -> bool {
        use std::collections::btree_map::Entry;
        match self.tables().pins.entry(name.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(link.clone());
                true
            }
        }
    }

    /// The link that is kept under a name.
    pub(crate) fn pinned(&self, name: &str) -> Option<link::Link> {
        self.tables().pins.get(name).cloned()
    }

    /// Keeps it no longer.
    pub(crate) fn unpin(&self, name: &str) -> Option<link::Link> {
        self.tables().pins.remove(name)
    }

    pub(crate) fn program(&self, id: ProgId) -> Option<Arc<ProgramObject>> {
        self.tables().programs.get(id.0)
    }

    pub(crate) fn programs(&self) -> Vec<Arc<ProgramObject>> {
        self.tables().programs.all()
    }

    pub(crate) fn map(&self, id: MapId) -> Option<Arc<MapObject>> {
        self.tables().maps.get(id.0)
    }

    pub(crate) fn maps(&self) -> Vec<Arc<MapObject>> {
        self.tables().maps.all()
    }

    /// Copies the bytes at an address, if they lie in a value of an array.
    pub(crate) fn read_map_memory(&self, address: u64, out: &mut [u8]) -> Option<()> {
        let arrays = self.arrays.read().unwrap_or_else(PoisonError::into_inner);
        // The memory of one that has gone may be part of another's that begins before.
        let mut before = arrays.range(..=address).rev();
        before.find_map(|(_, map)| map.upgrade())?.read_memory(address, out)
    }
}
